"""A case and the states it goes through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from gtr_batch.domain.identity import PatientIdentity, SeriesIdentity
from gtr_batch.domain.refusal import Refusal
from gtr_batch.domain.series import InstanceRecord


class CaseState(StrEnum):
    """States of a case, in order; a case is done when the PACS has *committed* it."""

    FOUND = "found"
    RETRIEVED = "retrieved"
    VALIDATED = "validated"
    PREPROCESSED = "preprocessed"
    STAGED = "staged"
    SCORED = "scored"
    REPORTED = "reported"
    STORED = "stored"
    COMMITTED = "committed"
    REFUSED = "refused"
    FAILED = "failed"


# The order of the path. `refused` and `failed` lie beside it.
PATH: tuple[CaseState, ...] = tuple(s for s in CaseState if s not in (CaseState.REFUSED, CaseState.FAILED))


class Step(StrEnum):
    """The steps of the path: module, DAG task, log field `step` and working folder have these names."""

    PACS = "pacs"
    INTAKE = "intake"
    RETRIEVE = "retrieve"
    VALIDATE = "validate"
    PREPROCESS = "preprocess"
    STAGE = "stage"
    EXPLAIN = "explain"
    NOMOGRAM = "nomogram"
    REPORT = "report"
    DELIVER = "deliver"


# The states in which a step finds its work. `deliver` waits for the commitment of what it has stored already.
NEEDS: dict[Step, tuple[CaseState, ...]] = {
    Step.RETRIEVE: (CaseState.FOUND,),
    Step.VALIDATE: (CaseState.RETRIEVED,),
    Step.PREPROCESS: (CaseState.VALIDATED,),
    Step.STAGE: (CaseState.PREPROCESSED,),
    Step.NOMOGRAM: (CaseState.STAGED,),
    Step.REPORT: (CaseState.SCORED,),
    Step.DELIVER: (CaseState.REPORTED, CaseState.STORED),
}


@frozen
class Failure:
    """A case that stopped for a reason that is not its own.

    `back_to`: the earlier state that the case goes back to, where what a step had left is gone; not kept.
    """

    step: Step = field(converter=Step)
    error: str = ""  # "PacsUnreachable: …", no PHI
    retryable: bool = False
    back_to: CaseState | None = None


@frozen
class Selected:
    """How a case's series was selected among those of its study.

    `phase_confirmed` is False where words alone speak for the portal venous phase. `detail` holds the reasons with
    their weights, the sentence and the numbers, as they are shown.
    """

    flags: tuple[str, ...] = ()
    phase_confirmed: bool = True
    detail: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen
class Case:
    """One CT series staged for one patient (or one study refused before a series was chosen).

    `reached` is the last state on the path, also after a failure, so that a retry resumes there.
    PatientID and accession number are in memory and in Postgres only: `repr` leaves them out.
    """

    case_id: str
    night: date
    study_uid: str
    series_uid: str = ""  # empty where intake refused the whole study
    patient_id: str = field(default="", repr=False)
    accession_number: str = field(default="", repr=False)
    study_at: datetime | None = None
    expected_sop_uids: tuple[str, ...] = ()
    state: CaseState = field(default=CaseState.FOUND, converter=CaseState)
    reached: CaseState = field(default=CaseState.FOUND, converter=CaseState)
    refusal: Refusal | None = None
    failure: Failure | None = None
    issuer_of_patient_id: str = field(default="", repr=False)  # empty where the PACS does not say
    ehr_changed_at: datetime | None = None  # when the EHR last had new rows on what it was refused for

    @property
    def patient(self) -> PatientIdentity:
        """Whose case it is."""
        return PatientIdentity(self.patient_id, self.issuer_of_patient_id)

    def identity(self, series_uid: str = "", instances: Sequence[InstanceRecord] = ()) -> SeriesIdentity:
        """What the instances of a series of the case's study must say of themselves.

        Parameters
        ----------
        series_uid : str
            Empty: of any series of the study.
        instances : sequence of InstanceRecord
            What C-FIND listed of it.
        """
        classes = {i.sop_instance_uid: i.sop_class_uid for i in instances if i.sop_class_uid}
        return SeriesIdentity(self.study_uid, series_uid, self.patient, classes)

    def ready_for(self, step: Step) -> bool:
        """Whether `step` is the next thing to do: in the state it needs, or failed retryably there."""
        if self.state is CaseState.REFUSED:
            return False
        if self.state is CaseState.FAILED and not (self.failure and self.failure.retryable):
            return False
        return self.reached in NEEDS[step]
