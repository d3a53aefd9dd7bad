"""Why a case was not staged: a closed list of codes, each kept, shown and written back.

Only what lies in the patient or the images is a refusal. What lies with us (the transfer, the disk, the settings, the
model) has a code too, since a step may find it in the place of a verdict; the night then records a failure, which is
asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from gtr_batch.errors import CaseRejected


class RefusalCode(StrEnum):
    """Coded reasons; the value is what Postgres, the CLI and the refusal SR carry."""

    # intake: the patient
    NOT_IN_EHR = "not_in_ehr"
    NO_GASTRIC_ADENOCARCINOMA = "no_gastric_adenocarcinoma"
    PRIOR_GASTRIC_SURGERY = "prior_gastric_surgery"
    PRIOR_CHEMOTHERAPY = "prior_chemotherapy"
    PRIOR_RADIOTHERAPY = "prior_radiotherapy"
    DISTANT_METASTASIS = "distant_metastasis"
    AMBIGUOUS_PATIENT = "ambiguous_patient"  # two patients under one accession number, or study data that disagree
    # intake: the study
    NO_PORTAL_VENOUS_SERIES = "no_portal_venous_series"
    # from the first image to the delivery
    IDENTITY_MISMATCH = "identity_mismatch"  # images, report or study in the PACS are not of the case's patient
    # retrieve
    SERIES_INCOMPLETE = "series_incomplete"
    SERIES_TOO_LARGE = "series_too_large"  # more instances or bytes than the settings allow
    INVALID_UID = "invalid_uid"
    # validate: headers
    WRONG_MODALITY = "wrong_modality"
    NOT_PRIMARY_AXIAL = "not_primary_axial"  # localizer, secondary capture, derived
    WRONG_PHASE = "wrong_phase"
    WRONG_KERNEL = "wrong_kernel"
    SLICE_THICKNESS = "slice_thickness"  # outside the settings' limits, or not said
    MATRIX = "matrix"
    GANTRY_TILT = "gantry_tilt"
    SLICE_GAP = "slice_gap"  # missing or unevenly spaced slices
    DUPLICATE_SLICES = "duplicate_slices"
    TOO_FEW_SLICES = "too_few_slices"
    INCONSISTENT_HEADERS = "inconsistent_headers"  # two patients, frames of reference or orientations in one series
    # validate: pixels
    UNREADABLE_PIXELS = "unreadable_pixels"  # truncated or undecodable
    SCRUBBED_PIXELS = "scrubbed_pixels"  # constant, blanked or burned over
    NOT_HOUNSFIELD = "not_hounsfield"
    # preprocess
    NO_KEY_SLICE = "no_key_slice"
    # stage
    NON_FINITE_OUTPUT = "non_finite_output"


class ReasonKind(StrEnum):
    """What a reason is about, which decides the standard code beside ours in a refusal's report."""

    QUALITY = "quality"  # the series is not fit to be read by the model
    UNUSABLE = "unusable"  # its pixels are of no use to anybody
    INCOMPLETE = "incomplete"  # not all of it is here
    OTHER = "other"  # the patient, the study or the service; no word about the images


class Subject(StrEnum):
    """In what a reason lies, which decides whether it is a verdict."""

    PATIENT = "patient"  # what the EHR or the PACS says of the patient: a refusal
    IMAGES = "images"  # the study as it was taken: a refusal
    SERVICE = "service"  # the transfer, the settings, the model: no verdict, so a failure that is asked again


@frozen
class Reason:
    """What one refusal code is called, in what it lies, and whether waiting can mend it.

    `coded_value` and `meaning` (at most 64 characters) stand in the refusal's report under our coding scheme; `words`
    stand in tables and figures. `waiting_can_mend`: later EHR extracts, images that are still on their way, or a key
    slice that a reader marks later may change the answer, so the study is worth another look; a refusal of the
    patient's or the scan's own stays until a person reopens it (`gtr case reopen`). `written_back`: whether a report of
    the refusal may go to the PACS; not where it is not clear whose study it would be filed under.
    """

    coded_value: str
    meaning: str
    words: str
    kind: ReasonKind
    waiting_can_mend: bool
    about: Subject = Subject.IMAGES
    written_back: bool = True


REASONS: Mapping[RefusalCode, Reason] = {
    RefusalCode.NOT_IN_EHR: Reason(
        "not_in_ehr",
        "Patient not in the EHR extract",
        "patient not in the EHR",
        ReasonKind.OTHER,
        True,
        Subject.PATIENT,
    ),
    RefusalCode.NO_GASTRIC_ADENOCARCINOMA: Reason(
        "no_gastric_ca",
        "No biopsy-proven gastric adenocarcinoma",
        "no biopsy-proven gastric adenocarcinoma",
        ReasonKind.OTHER,
        True,
        Subject.PATIENT,
    ),
    RefusalCode.PRIOR_GASTRIC_SURGERY: Reason(
        "prior_surgery",
        "Stomach operated before the study",
        "stomach operated before the CT",
        ReasonKind.OTHER,
        False,
        Subject.PATIENT,
    ),
    RefusalCode.PRIOR_CHEMOTHERAPY: Reason(
        "prior_chemo",
        "Chemotherapy before the study",
        "chemotherapy before the CT",
        ReasonKind.OTHER,
        False,
        Subject.PATIENT,
    ),
    RefusalCode.PRIOR_RADIOTHERAPY: Reason(
        "prior_radio",
        "Radiotherapy before the study",
        "radiotherapy before the CT",
        ReasonKind.OTHER,
        False,
        Subject.PATIENT,
    ),
    RefusalCode.DISTANT_METASTASIS: Reason(
        "metastasis", "Distant metastasis", "distant metastasis", ReasonKind.OTHER, False, Subject.PATIENT
    ),
    RefusalCode.AMBIGUOUS_PATIENT: Reason(
        "ambiguous",
        "Two patients under one number",
        "two patients under one number",
        ReasonKind.OTHER,
        True,
        Subject.PATIENT,
        False,
    ),
    RefusalCode.NO_PORTAL_VENOUS_SERIES: Reason(
        "no_portal_venous", "No portal venous series", "no portal venous series", ReasonKind.QUALITY, True
    ),
    RefusalCode.IDENTITY_MISMATCH: Reason(
        "identity",
        "Images not of the case's patient",
        "images of another patient",
        ReasonKind.OTHER,
        False,
        Subject.PATIENT,
        False,
    ),
    RefusalCode.SERIES_INCOMPLETE: Reason(
        "incomplete", "Series incomplete", "series incomplete", ReasonKind.INCOMPLETE, True, Subject.SERVICE
    ),
    RefusalCode.SERIES_TOO_LARGE: Reason(
        "too_large",
        "Series larger than the settings allow",
        "series too large",
        ReasonKind.OTHER,
        True,
        Subject.SERVICE,
    ),
    RefusalCode.INVALID_UID: Reason(
        "invalid_uid",
        "DICOM identifier missing or malformed",
        "DICOM identifier missing or malformed",
        ReasonKind.OTHER,
        False,
    ),
    RefusalCode.WRONG_MODALITY: Reason(
        "wrong_modality", "Not a CT series", "wrong modality", ReasonKind.QUALITY, False
    ),
    RefusalCode.NOT_PRIMARY_AXIAL: Reason(
        "not_axial", "Not an original axial image", "no primary axial images", ReasonKind.QUALITY, False
    ),
    RefusalCode.WRONG_PHASE: Reason(
        "wrong_phase", "Not in the portal venous phase", "wrong contrast phase", ReasonKind.QUALITY, False
    ),
    RefusalCode.WRONG_KERNEL: Reason(
        "wrong_kernel", "Not a soft tissue kernel", "wrong kernel", ReasonKind.QUALITY, False
    ),
    RefusalCode.SLICE_THICKNESS: Reason(
        "slice_thickness",
        "Slice thickness outside the limits",
        "slice thickness outside the limits",
        ReasonKind.QUALITY,
        False,
    ),
    RefusalCode.MATRIX: Reason("matrix", "Image matrix outside the limits", "wrong matrix", ReasonKind.QUALITY, False),
    RefusalCode.GANTRY_TILT: Reason("gantry_tilt", "Gantry was tilted", "gantry tilt", ReasonKind.QUALITY, False),
    RefusalCode.SLICE_GAP: Reason(
        "slice_gap", "Slices missing or unevenly spaced", "missing or unevenly spaced slices", ReasonKind.QUALITY, True
    ),
    RefusalCode.DUPLICATE_SLICES: Reason(
        "duplicate_slices", "Duplicate slices", "duplicate slices", ReasonKind.QUALITY, False
    ),
    RefusalCode.TOO_FEW_SLICES: Reason("too_few_slices", "Too few slices", "too few slices", ReasonKind.QUALITY, True),
    RefusalCode.INCONSISTENT_HEADERS: Reason(
        "inconsistent",
        "Headers of the series contradict each other",
        "headers contradict one another",
        ReasonKind.QUALITY,
        False,
    ),
    RefusalCode.UNREADABLE_PIXELS: Reason(
        "unreadable", "Pixel data cut off or not decodable", "pixels unreadable", ReasonKind.UNUSABLE, True
    ),
    RefusalCode.SCRUBBED_PIXELS: Reason(
        "scrubbed_pixels", "Pixels blanked, constant or written over", "pixels scrubbed", ReasonKind.UNUSABLE, False
    ),
    RefusalCode.NOT_HOUNSFIELD: Reason(
        "not_hounsfield", "Pixel values are not Hounsfield units", "not Hounsfield units", ReasonKind.UNUSABLE, False
    ),
    RefusalCode.NO_KEY_SLICE: Reason("no_key_slice", "No key slice found", "no key slice", ReasonKind.QUALITY, True),
    RefusalCode.NON_FINITE_OUTPUT: Reason(
        "non_finite",
        "The model gave no usable number",
        "model gave no finite output",
        ReasonKind.OTHER,
        True,
        Subject.SERVICE,
    ),
}

# Refusals that rest on what the EHR had not said yet: new rows of the patient are news of them.
MENDED_BY_EHR = frozenset({RefusalCode.NOT_IN_EHR, RefusalCode.NO_GASTRIC_ADENOCARCINOMA, RefusalCode.NO_KEY_SLICE})


@frozen
class Refusal:
    """A coded reason with its sentence and the measured numbers behind it; never PHI."""

    code: RefusalCode = field(converter=RefusalCode)
    sentence: str
    numbers: Mapping[str, Any] = field(factory=dict)

    @property
    def written_back(self) -> bool:
        """Whether a report of it may go to the PACS."""
        return REASONS[self.code].written_back

    @property
    def waiting_can_mend(self) -> bool:
        """Whether the study is worth another look by the nights that look back on it."""
        return REASONS[self.code].waiting_can_mend

    @classmethod
    def of(cls, error: CaseRejected) -> Refusal:
        """The refusal that an error carries."""
        return cls(RefusalCode(error.code), error.sentence, error.numbers)
