"""The codes that our objects carry: standard ones, and our own under the declared scheme ``99GTR``.

Own code values are at most 16 characters (Code Value is SH; PS3.3, 8.1) and never change their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import Flag, KeySliceSource, TStage

PRIVATE = "99GTR"
NOT_VERIFIED = "AI result - not verified"
BODY_PART = "STOMACH"  # Body Part Examined (PS3.16, Annex L): not a paired organ, so Laterality is not asked for


def own(value: str, meaning: str) -> Code:
    """A code of our scheme."""
    return Code(value, PRIVATE, meaning)


def coding_schemes(organisation: str) -> list[CodingSchemeIdentificationItem]:
    """The declaration that PS3.3, 12.1 asks for where a private scheme is used."""
    return [
        CodingSchemeIdentificationItem(
            designator=PRIVATE,
            name="Gastric T staging batch service",
            version="1",
            responsible_organization=organisation or "gtr-batch",
        )
    ]


# SNOMED CT and DICOM terminology (PS3.16)
REPORT_TITLE = codes.DCM.ImagingMeasurementReport
ARTIFICIAL_INTELLIGENCE = codes.DCM.ArtificialIntelligence
GRADIENT_WEIGHTED_CLASS_ACTIVATION = codes.DCM.GradientWeightedClassActivation
PROBABILITY = codes.DCM.Probability
COMMENT = codes.DCM.Comment
OF_INTEREST = codes.DCM.OfInterest
NO_UNITS = Code("1", "UCUM", "no units")
STANDARD_DEVIATIONS = Code("{SD}", "UCUM", "standard deviations")
POINTS = Code("{points}", "UCUM", "points")
STOMACH = Code("69695003", "SCT", "Stomach")
GASTRIC_CANCER = Code("363349007", "SCT", "Malignant tumor of stomach")
CT_CATEGORY = Code("399504009", "SCT", "cT category")
AJCC_8 = Code("897275008", "SCT", "AJCC Cancer Staging Manual, 8th edition")
T_STAGE: Mapping[TStage, Code] = MappingProxyType(
    {
        TStage.T1: Code("1228889001", "SCT", "cT1"),
        TStage.T2: Code("1228929004", "SCT", "cT2"),
        TStage.T3: Code("1228938002", "SCT", "cT3"),
        TStage.T4: Code("1228944003", "SCT", "cT4"),
    }
)
CT_OF_ABDOMEN = Code("169070004", "SCT", "Computed tomography of abdomen")
COMPUTED_TOMOGRAPHY = Code("77477000", "SCT", "Computed tomography")
CT_PROCEDURE = Code("25045-6", "LN", "CT unspecified body region")  # the only CT of a body in CID 100
MEASUREMENT_METHOD = Code("370129005", "SCT", "Measurement Method")
INSUFFICIENT_QUALITY = Code("110531", "DCM", "Insufficient quality for interpretation")
UNUSABLE = Code("111235", "DCM", "Unusable - Quality renders image unusable")
OBJECT_SET_INCOMPLETE = Code("110523", "DCM", "Object Set incomplete")
UNSPECIFIED_REASON = Code("110513", "DCM", "Discontinued for unspecified reason")

# Ours: names
RESULT_STATUS = own("status", "Result status")
KEY_SLICE_SOURCE = own("key_slice_source", "Source of the key slice")
SLICE_ROLE = own("slice_role", "Slice among the three that vote")
FLAG = own("flag", "Flag")
MISSING_COVARIATE = own("missing", "Covariate missing in the EHR")
REASON = own("reason", "Reason why the case was not staged")
RAD_SCORE = own("rad_score", "Rad-score")
LINEAR_PREDICTOR = own("linear_predictor", "Linear predictor of the nomogram")
LOWEST_PROBABILITY = own("probability_low", "Lowest probability over the missing covariates")
HIGHEST_PROBABILITY = own("probability_high", "Highest probability over the missing covariates")
NOMOGRAM_POINTS: Mapping[str, Code] = MappingProxyType(
    {
        "rad_score": own("points_rad", "Nomogram points, rad-score"),
        "tumour_size": own("points_size", "Nomogram points, tumour size"),
        "differentiation": own("points_diff", "Nomogram points, differentiation"),
        "lauren": own("points_lauren", "Nomogram points, Lauren type"),
        "total": own("points_total", "Nomogram points, total"),
    }
)

# Ours: values
AI_NOT_VERIFIED = own("ai_not_verified", NOT_VERIFIED)
WITHDRAWN_RESULT = own("result_withdrawn", "Result of a withdrawn model")
AI_WITHDRAWN = own("ai_withdrawn", "AI result - withdrawn, not to be used")
ROLES: Mapping[str, Code] = MappingProxyType(
    {
        "below": own("slice_below", "Slice below the key slice"),
        "key": own("slice_key", "Key slice"),
        "above": own("slice_above", "Slice above the key slice"),
    }
)
KEY_SLICE_SOURCES: Mapping[KeySliceSource, Code] = MappingProxyType(
    {
        KeySliceSource.KEY_OBJECT: own("ks_key_object", "Key Object Selection in the study"),
        KeySliceSource.EHR: own("ks_ehr", "Referenced in the EHR"),
        KeySliceSource.SEGMENTATION: own("ks_segmentation", "Largest cross-section of a tumour segmentation"),
        KeySliceSource.AUTOMATIC: own("ks_automatic", "Found automatically, not chosen by a person"),
    }
)
FLAGS: Mapping[Flag, Code] = MappingProxyType(
    {
        Flag.TIE: own("three_way_tie", "Three slices voted for three stages"),
        Flag.VOTE_MEAN_DISAGREE: own("vote_vs_mean", "Vote and mean probabilities disagree"),
        Flag.NOMOGRAM_DISAGREES: own("nomogram_differs", "The nomogram's most likely stage differs"),
        Flag.AUTOMATIC_KEY_SLICE: own("auto_key_slice", "Key slice found automatically"),
        Flag.MISSING_COVARIATES: own("no_covariates", "Clinical covariates missing"),
        Flag.CONTRAST_TAGS_ABSENT: own("no_contrast_tags", "Contrast phase not documented in the headers"),
        Flag.PHASE_FROM_WORDS: own("phase_by_words", "Portal venous phase by description alone"),
        Flag.NO_STORAGE_COMMITMENT: own("no_commitment", "The PACS offers no storage commitment"),
        Flag.DEMO_MODEL: own("demo_model", "Demo model, not for patients"),
    }
)
COVARIATES: Mapping[str, Code] = MappingProxyType(
    {
        "tumour_size": own("cov_size", "Tumour size"),
        "differentiation": own("cov_diff", "Differentiation"),
        "lauren": own("cov_lauren", "Lauren type"),
    }
)
REFUSALS: Mapping[RefusalCode, Code] = MappingProxyType(
    {
        RefusalCode.NOT_IN_EHR: own("not_in_ehr", "Patient not in the EHR extract"),
        RefusalCode.NO_GASTRIC_ADENOCARCINOMA: own("no_gastric_ca", "No biopsy-proven gastric adenocarcinoma"),
        RefusalCode.PRIOR_CHEMOTHERAPY: own("prior_chemo", "Chemotherapy before the study"),
        RefusalCode.PRIOR_RADIOTHERAPY: own("prior_radio", "Radiotherapy before the study"),
        RefusalCode.DISTANT_METASTASIS: own("metastasis", "Distant metastasis"),
        RefusalCode.AMBIGUOUS_PATIENT: own("ambiguous", "Patient identity ambiguous"),
        RefusalCode.NO_PORTAL_VENOUS_SERIES: own("no_portal_venous", "No portal venous series"),
        RefusalCode.SERIES_INCOMPLETE: own("incomplete", "Series incomplete"),
        RefusalCode.SERIES_TOO_LARGE: own("too_large", "Series larger than the settings allow"),
        RefusalCode.INVALID_UID: own("invalid_uid", "Invalid DICOM UID"),
        RefusalCode.WRONG_MODALITY: own("wrong_modality", "Wrong modality"),
        RefusalCode.NOT_PRIMARY_AXIAL: own("not_axial", "Not an original primary axial image"),
        RefusalCode.WRONG_PHASE: own("wrong_phase", "Not in the portal venous phase"),
        RefusalCode.WRONG_KERNEL: own("wrong_kernel", "Not a soft tissue kernel"),
        RefusalCode.SLICE_THICKNESS: own("slice_thickness", "Slice thickness outside the limits"),
        RefusalCode.MATRIX: own("matrix", "Image matrix outside the limits"),
        RefusalCode.GANTRY_TILT: own("gantry_tilt", "Gantry tilted"),
        RefusalCode.SLICE_GAP: own("slice_gap", "Slices missing or unevenly spaced"),
        RefusalCode.DUPLICATE_SLICES: own("duplicate_slices", "Duplicate slices"),
        RefusalCode.TOO_FEW_SLICES: own("too_few_slices", "Too few slices"),
        RefusalCode.INCONSISTENT_HEADERS: own("inconsistent", "Headers of the series disagree"),
        RefusalCode.UNREADABLE_PIXELS: own("unreadable", "Pixels truncated or undecodable"),
        RefusalCode.SCRUBBED_PIXELS: own("scrubbed_pixels", "Pixels constant, blanked or burned over"),
        RefusalCode.NOT_HOUNSFIELD: own("not_hounsfield", "Pixel values are not Hounsfield units"),
        RefusalCode.NO_KEY_SLICE: own("no_key_slice", "No key slice found"),
        RefusalCode.NON_FINITE_OUTPUT: own("non_finite", "The model's output is not a number"),
    }
)

_UNUSABLE = frozenset(
    {RefusalCode.UNREADABLE_PIXELS, RefusalCode.SCRUBBED_PIXELS, RefusalCode.NOT_HOUNSFIELD}
)  # the image itself is of no use
_NOT_QUALITY = frozenset(
    {
        RefusalCode.NOT_IN_EHR,
        RefusalCode.NO_GASTRIC_ADENOCARCINOMA,
        RefusalCode.PRIOR_CHEMOTHERAPY,
        RefusalCode.PRIOR_RADIOTHERAPY,
        RefusalCode.DISTANT_METASTASIS,
        RefusalCode.AMBIGUOUS_PATIENT,
        RefusalCode.SERIES_TOO_LARGE,
        RefusalCode.INVALID_UID,
        RefusalCode.NON_FINITE_OUTPUT,
    }
)


def refusal_finding(code: RefusalCode) -> Code:
    """The standard reason beside ours, of CID 9303 (Interpretation Request Discontinuation Reason) or 6044 for pixels.

    A patient who is not eligible is not an image of bad quality: that reason stays unspecified in DICOM's terms.
    """
    if code in _UNUSABLE:
        return UNUSABLE
    if code is RefusalCode.SERIES_INCOMPLETE:
        return OBJECT_SET_INCOMPLETE
    return UNSPECIFIED_REASON if code in _NOT_QUALITY else INSUFFICIENT_QUALITY


def concept(code: Code) -> CodedConcept:
    """A fresh content item value; pydicom datasets are mutable and must not be shared."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)
