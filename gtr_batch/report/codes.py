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

from gtr_batch.domain.abstention import ABSTENTIONS, AbstentionCode
from gtr_batch.domain.refusal import REASONS, ReasonKind, RefusalCode
from gtr_batch.domain.score import AnswerSource
from gtr_batch.domain.staging import FLAG_MEANINGS, Flag, KeySliceSource, TStage

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
REJECTED_FOR_PATIENT_SAFETY = Code("113037", "DCM", "Rejected for Patient Safety Reasons")
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
SLICE_VOTE = own("slice_vote", "Category that the slice votes for")
ANSWER_BY = own("answer_by", "Who gives the category and its probabilities")
SUPPORTING_CATEGORY = own("supporting_cat", "Supporting category, not the answer")
SLICE_ROLE = own("slice_role", "Slice among the three that vote")
FLAG = own("flag", "Flag")
SET_LOWEST = own("set_lowest", "Lowest category of the set that holds the category")
SET_HIGHEST = own("set_highest", "Highest category of the set that holds the category")
SET_COVERAGE = own("set_coverage", "Probability with which the set holds the category")
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
ANSWERS: Mapping[AnswerSource, Code] = MappingProxyType(
    {
        AnswerSource.NETWORK: own("by_network", "The network, by vote and mean of three slices"),
        AnswerSource.NOMOGRAM: own("by_nomogram", "The nomogram"),
    }
)
SUPPORTING_PROBABILITY: Mapping[AnswerSource, Code] = MappingProxyType(
    {
        AnswerSource.NETWORK: own("prob_network", "Supporting probability, of the network"),
        AnswerSource.NOMOGRAM: own("prob_nomogram", "Supporting probability, of the nomogram"),
    }
)
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
        KeySliceSource.READER: own("ks_reader", "Found automatically, confirmed or moved by a reader"),
    }
)
FLAGS: Mapping[Flag, Code] = MappingProxyType(
    {flag: own(meaning.coded_value, meaning.meaning) for flag, meaning in FLAG_MEANINGS.items()}
)
COVARIATES: Mapping[str, Code] = MappingProxyType(
    {
        "tumour_size": own("cov_size", "Tumour size"),
        "differentiation": own("cov_diff", "Differentiation"),
        "lauren": own("cov_lauren", "Lauren type"),
    }
)
REFUSALS: Mapping[RefusalCode, Code] = MappingProxyType(
    {code: own(reason.coded_value, reason.meaning) for code, reason in REASONS.items()}
)
NOT_STAGED = own("not_staged", "Not staged")
ABSTAINED: Mapping[AbstentionCode, Code] = MappingProxyType(
    {code: own(one.coded_value, one.meaning) for code, one in ABSTENTIONS.items()}
)
_STANDARD_REASONS: Mapping[ReasonKind, Code] = MappingProxyType(
    {
        ReasonKind.QUALITY: INSUFFICIENT_QUALITY,
        ReasonKind.UNUSABLE: UNUSABLE,
        ReasonKind.INCOMPLETE: OBJECT_SET_INCOMPLETE,
        ReasonKind.OTHER: UNSPECIFIED_REASON,
    }
)


# Messages to other systems (HL7, FHIR), beside those above
CLINICAL_T = Code("21905-5", "LN", "Primary tumor.clinical [Class] Cancer")
T_STAGING = own("t_staging", "AI T staging of gastric cancer on CT")
STUDY_INSTANCE_UID = Code("110180", "DCM", "Study Instance UID")
STAGE_PROBABILITY: Mapping[TStage, Code] = MappingProxyType(
    {stage: own(f"prob_{stage.lower()}", f"Probability of c{stage}") for stage in TStage}
)
MODEL_VERSION = own("model_version", "Version of the model")
RESULT_VERSION = own("result_version", "Version of this result")
READER_WORD = own("reader_word", "Word of the reader")
READER_CATEGORY = own("reader_cat", "Category that the reader gives")
READER_WORDS: Mapping[bool, Code] = MappingProxyType(
    {
        True: own("reader_agrees", "The reader agrees"),
        False: own("reader_other", "The reader gives another category"),
    }
)


# What a reader says of a result, after IHE's AI Result Assessment; who rejects a stage gives another one: modified
ASSESSMENT = own("assessment", "Assessment of the AI result by a reader")
ASSESSED_SLICE = own("assessed_slice", "Assessment of the key slice by a reader")
ASSESSED_RESULT = own("assessed_result", "AI result that is assessed")
READERS_KEY_SLICE = own("readers_slice", "Key slice that the reader names")
ACCEPTED = own("accepted", "Accepted")
MODIFIED = own("modified", "Modified")
TAKEN_BACK = own("taken_back", "Assessment taken back")


def refusal_finding(code: RefusalCode) -> Code:
    """The standard reason beside ours, of CID 9303 (Interpretation Request Discontinuation Reason) or 6044 for pixels.

    A patient who is not eligible is not an image of bad quality: that reason stays unspecified in DICOM's terms.
    """
    return _STANDARD_REASONS[REASONS[code].kind]


def concept(code: Code) -> CodedConcept:
    """A fresh content item value; pydicom datasets are mutable and must not be shared."""
    return CodedConcept(code.value, code.scheme_designator, code.meaning)
