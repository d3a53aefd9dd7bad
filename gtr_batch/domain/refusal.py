"""Why a case was not staged: a closed list of codes, each kept, shown and written back."""

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
    PRIOR_CHEMOTHERAPY = "prior_chemotherapy"
    PRIOR_RADIOTHERAPY = "prior_radiotherapy"
    DISTANT_METASTASIS = "distant_metastasis"
    AMBIGUOUS_PATIENT = "ambiguous_patient"  # two patients under one accession number, or study data that disagree
    # intake: the study
    NO_PORTAL_VENOUS_SERIES = "no_portal_venous_series"
    # retrieve
    SERIES_INCOMPLETE = "series_incomplete"
    SERIES_TOO_LARGE = "series_too_large"  # more instances or bytes than the settings allow
    INVALID_UID = "invalid_uid"
    # validate: headers
    WRONG_MODALITY = "wrong_modality"
    NOT_PRIMARY_AXIAL = "not_primary_axial"  # localizer, secondary capture, derived
    WRONG_PHASE = "wrong_phase"
    WRONG_KERNEL = "wrong_kernel"
    SLICE_THICKNESS = "slice_thickness"  # outside 1-5 mm
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


@frozen
class Refusal:
    """A coded reason with its sentence and the measured numbers behind it; never PHI."""

    code: RefusalCode = field(converter=RefusalCode)
    sentence: str
    numbers: Mapping[str, Any] = field(factory=dict)

    @classmethod
    def of(cls, error: CaseRejected) -> Refusal:
        """The refusal that an error carries."""
        return cls(RefusalCode(error.code), error.sentence, error.numbers)
