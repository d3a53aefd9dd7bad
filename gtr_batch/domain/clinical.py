"""What the EHR says of a patient: eligibility facts and nomogram covariates."""

from __future__ import annotations

import math
from datetime import date
from enum import StrEnum

from attrs import field, frozen

from gtr_batch.errors import InputRefused


class Lauren(StrEnum):
    """Lauren classification of the biopsy."""

    INTESTINAL = "intestinal"
    DIFFUSE = "diffuse"
    MIXED = "mixed"


class Differentiation(StrEnum):
    """Histological differentiation of the biopsy."""

    WELL = "well"
    MODERATE = "moderate"
    POOR = "poor"


def parse_choice(kind: type[StrEnum], value: str | None, what: str) -> StrEnum | None:
    """`value` as a member of `kind`; None stays None.

    Raises
    ------
    InputRefused
        Naming `what`, the value and the possible ones.
    """
    if value is None or value == "":
        return None
    try:
        return kind(value.strip().lower())
    except ValueError:
        possible = ", ".join(kind)
        raise InputRefused(f"{what} {value!r} is not known; one of: {possible}") from None


@frozen
class Covariates:
    """What the nomogram takes beside the rad-score; None where the EHR does not say.

    `tumour_size_cm` is the largest diameter, 0 < size <= 40 cm.
    """

    tumour_size_cm: float | None = None
    differentiation: Differentiation | None = None
    lauren: Lauren | None = None

    def __attrs_post_init__(self) -> None:
        size = self.tumour_size_cm
        if size is not None and not (math.isfinite(size) and 0 < size <= 40):
            raise InputRefused(f"tumour size {size:g} cm is not possible: larger than 0 and at most 40")


@frozen
class Markers:
    """Serum tumour markers and PD-L1, the last known by the day of the CT; None where the EHR does not say."""

    cea_ng_ml: float | None = None
    ca19_9_u_ml: float | None = None
    ca72_4_u_ml: float | None = None
    ca125_u_ml: float | None = None
    afp_ng_ml: float | None = None
    pd_l1_percent: float | None = None


@frozen
class Characteristics:
    """What a table of patients says of one; nothing that names them."""

    sex: str = "unknown"
    age_years: int | None = None  # on the day of the CT
    location: str | None = None  # lower | middle | upper third of the stomach
    covariates: Covariates = field(factory=Covariates)
    markers: Markers = field(factory=Markers)


@frozen
class PatientFacts:
    """What intake needs to judge a patient as of the study date, from the EHR tables.

    None means that the EHR does not say. PatientID is not in `repr`.
    """

    patient_id: str = field(repr=False)
    gastric_adenocarcinoma: bool | None = None  # biopsy-proven
    biopsy_date: date | None = None
    prior_chemotherapy: bool = False  # before the study date
    prior_radiotherapy: bool = False
    prior_gastric_surgery: bool = False
    distant_metastasis: bool | None = None
    covariates: Covariates = field(factory=Covariates)
    age_years: int | None = None
    sex: str | None = None
    key_slice_sop_uid: str | None = None  # the EHR's referenced SOP Instance for this study
    radiologist_ct: str | None = None
    endosonographer_ut: str | None = None
