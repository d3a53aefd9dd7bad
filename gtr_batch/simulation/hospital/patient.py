"""A simulated patient: what is drawn of them, what the EHR says, and how their case ought to end."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

import numpy as np
from attrs import frozen

from gtr_batch.domain.case import CaseState
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import KeySliceSource, TStage
from gtr_batch.simulation.hospital.ehr import Clinical, Rows, clinical_rows, misread
from gtr_batch.simulation.phantom.dicom import StudyIdentity, sop_uid
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.simulation.phantom.scanner import Phase, Scanner


class History(StrEnum):
    """What the EHR says beside the tumour (paper, Fig. 1: reasons of exclusion)."""

    ELIGIBLE = "eligible"
    PRIOR_CHEMOTHERAPY = "prior chemotherapy"
    DISTANT_METASTASIS = "distant metastasis"
    NO_CANCER = "no gastric cancer"


class Fault(StrEnum):
    """What is wrong with the study's images."""

    NONE = "none"
    NO_PORTAL_VENOUS = "no portal venous series"
    MISSING_SLICE = "a slice is missing"
    TRUNCATED = "an instance's pixel data is cut short"
    THICK = "slices of 7.5 mm"


_REFUSED_FOR: dict[History | Fault, RefusalCode] = {
    History.PRIOR_CHEMOTHERAPY: RefusalCode.PRIOR_CHEMOTHERAPY,
    History.DISTANT_METASTASIS: RefusalCode.DISTANT_METASTASIS,
    History.NO_CANCER: RefusalCode.NO_GASTRIC_ADENOCARCINOMA,
    Fault.NO_PORTAL_VENOUS: RefusalCode.NO_PORTAL_VENOUS_SERIES,
    Fault.MISSING_SLICE: RefusalCode.SLICE_GAP,
    Fault.TRUNCATED: RefusalCode.UNREADABLE_PIXELS,
    Fault.THICK: RefusalCode.SLICE_THICKNESS,
}


@frozen
class Patient:
    """A simulated patient with one study, and how its case ought to end.

    `true_stage` is None where there is no tumour, or nobody knows (an adopted series).
    """

    identity: StudyIdentity
    clinical: Clinical
    scanner: Scanner | None
    true_stage: TStage | None
    seed: int = 0
    index: int = 0
    key_slice: KeySliceSource = KeySliceSource.KEY_OBJECT
    history: History = History.ELIGIBLE
    fault: Fault = Fault.NONE

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return self.identity.study_uid

    @property
    def patient_id(self) -> str:
        """Patient ID."""
        return self.identity.patient_id

    @property
    def expected_refusal(self) -> RefusalCode | None:
        """The code that the case ought to be refused with; the EHR is asked before the images are."""
        return _REFUSED_FOR.get(self.history) or _REFUSED_FOR.get(self.fault)

    @property
    def expected_state(self) -> CaseState:
        """The state that the case ought to end in."""
        return CaseState.REFUSED if self.expected_refusal else CaseState.COMMITTED

    def phantom(self) -> Phantom:
        """The patient as a scanner sees it."""
        if self.scanner is None:
            raise ValueError("an adopted series has no phantom")
        stage = None if self.history is History.NO_CANCER else self.true_stage
        return Phantom(self.seed, self.index, stage, self.clinical.third, self.clinical.size_cm, self.scanner)


def ehr_rows(patient: Patient) -> Rows:
    """What the EHR says of a patient on the evening of the study."""
    identity, on = patient.identity, patient.identity.study_at.date()
    cancer = patient.history is not History.NO_CANCER
    rows = clinical_rows(patient.patient_id, identity.birth_date, patient.clinical, on, cancer=cancer)
    who = {"patient_id": patient.patient_id}
    if patient.history is History.PRIOR_CHEMOTHERAPY:
        began, ended = on - timedelta(days=75), on - timedelta(days=20)
        rows["treatment"].append(
            who | {"kind": "chemotherapy", "started_on": began.isoformat(), "ended_on": ended.isoformat()}
        )
    if patient.history is History.DISTANT_METASTASIS:
        rows["metastasis"][0]["distant_metastasis"] = "yes"
    if patient.true_stage is not None and cancer:
        rng = np.random.default_rng([patient.seed, patient.index, 4712])
        reader = misread(rng, patient.true_stage, 0.584)  # radiologists alone, Hospital A
        sonographer = misread(rng, patient.true_stage, 0.65)
        said = {"radiologist_ct": str(reader), "endosonographer_ut": str(sonographer) if rng.uniform() < 0.4 else ""}
        rows["read"].append(who | {"study_uid": patient.study_uid, "read_on": on.isoformat()} | said)
    if patient.key_slice is KeySliceSource.EHR and patient.scanner is not None and cancer:
        rows["key_slice"].append(
            who
            | {
                "study_uid": patient.study_uid,
                "accession_number": identity.accession_number,
                "sop_instance_uid": key_sop_uid(patient, patient.phantom()),
            }
        )
    return rows


def key_sop_uid(patient: Patient, phantom: Phantom) -> str:
    """SOP Instance UID of the portal venous slice with the largest tumour cross-section."""
    return str(sop_uid(patient.identity, Phase.PORTAL_VENOUS, phantom.key_slice()))
