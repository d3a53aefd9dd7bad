"""What one step found of one case: gathered while the step works, written together at its end or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import define, field, frozen

from gtr_batch.domain.case import Case, CaseState, Failure, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.delivery import ReportObject
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.refusal import Refusal
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging, Flag
from gtr_batch.domain.transitions import STEP_OF, Move, Reopening
from gtr_batch.errors import CaseTakenOver

Detail = Mapping[str, Any]  # of an event: JSON-able, no PHI


@frozen(eq=False)
class Staged:
    """A case's staging with what the network saw: the key slice's features (D,) and the slices' logits (3, 4)."""

    staging: CaseStaging
    key_features: np.ndarray | None = None
    logits: np.ndarray | None = None


@frozen
class Scored:
    """The nomogram's answer and the covariates that it was computed from."""

    score: NomogramScore
    covariates: Covariates


@define(eq=False)
class StepRecord:
    """What `Cases.step` writes.

    Attributes
    ----------
    case_id, step
        Whose, and which step's.
    expected_sop_uids : tuple of str or None
        The instances that C-FIND promised; None leaves those before.
    facts : mapping or None
        What validation measured of the series; nothing of the patient.
    staged, scored
        Results; the case carries this staging from now on.
    objects : list of ReportObject
        What was written for the PACS.
    flags : list of Flag
        Added to the flags of the result that the case carries.
    rekeyed : PatientIdentity or None
        Whose case it is from now on, by a person's word; before any move.
    seen : Case or None
        The case as the step saw it when it began; None where it does not matter who else was at work on it.
    """

    case_id: str
    step: Step
    expected_sop_uids: tuple[str, ...] | None = None
    facts: Mapping[str, Any] | None = None
    staged: Staged | None = None
    scored: Scored | None = None
    objects: list[ReportObject] = field(factory=list)
    flags: list[Flag] = field(factory=list)
    objects_of: str | None = None
    move: Move | None = None
    detail: dict[str, Any] = field(factory=dict)
    replaced: dict[str, Any] | None = None
    rekeyed: PatientIdentity | None = None
    rekeyed_by: dict[str, Any] = field(factory=dict)
    seen: Case | None = None

    def check(self, case: Case) -> None:
        """Whether the case is still the one that the step saw; asked under the lock, before anything is written.

        Raises
        ------
        CaseTakenOver
            Another night has begun it anew; or another worker of the same night has taken it further, and what that one
            found stays; or it was to be begun anew, and has gone on.
        """
        if self.seen is None:
            return
        moved_on = (case.state, case.reached) != (self.seen.state, self.seen.reached)
        if case.night != self.seen.night or (isinstance(self.move, Reopening) and moved_on):
            raise CaseTakenOver(
                f"case {case.case_id}: night {case.night} has it now ({case.state}); what was found in night "
                f"{self.seen.night} is not written"
            )
        if case.reached is not self.seen.reached:
            raise CaseTakenOver(
                f"case {case.case_id} has reached {case.reached} meanwhile, from {self.seen.reached}: another worker "
                "is at work on this night; what was found here is not written"
            )

    def expects(self, sop_uids: Sequence[str]) -> None:
        """Note the instances that C-FIND promised."""
        self.expected_sop_uids = tuple(sop_uids)

    def measured(self, facts: Mapping[str, Any]) -> None:
        """Note what validation measured of the series."""
        self.facts = dict(facts)

    def stages(
        self, staging: CaseStaging, key_features: np.ndarray | None = None, logits: np.ndarray | None = None
    ) -> None:
        """Note the case's staging; features and logits are those of this staging's model."""
        self.staged = Staged(staging, key_features, logits)

    def scores(self, score: NomogramScore, covariates: Covariates) -> None:
        """Note the nomogram's answer."""
        self.scored = Scored(score, covariates)

    def writes(self, objects: Sequence[ReportObject], model_version: str | None = None) -> None:
        """Note objects; `model_version` where it is not that of the result which the case carries now."""
        self.objects.extend(objects)
        self.objects_of = model_version

    def flag(self, *flags: Flag) -> None:
        """Add flags to the result that the case carries."""
        self.flags.extend(flags)

    def advance(self, to: CaseState, detail: Detail | None = None) -> None:
        """Move the case forward along the path; the same state again changes nothing; never backward."""
        self.move, self.detail = CaseState(to), dict(detail or {})

    def replace(self, detail: Detail) -> None:
        """Note that the result of a case that has one was replaced: an event at the state that it has reached."""
        self.replaced = dict(detail)

    def rekey(self, patient: PatientIdentity, detail: Detail) -> None:
        """Give the case another PatientID: an event that says by whom and why, and never which."""
        self.rekeyed, self.rekeyed_by = patient, dict(detail)

    def refuse(self, refusal: Refusal) -> None:
        """Refuse the case; refused it stays so, with the first reason, until it is reopened."""
        self.move = refusal

    def fail(self, failure: Failure) -> None:
        """Note a failure; `reached` stays as it is."""
        self.move = failure

    def reopen(self, reopening: Reopening) -> None:
        """Begin the case anew."""
        self.move = reopening

    def note_what_was(self, case: Case) -> None:
        """Add to a reopening's event what it took back."""
        if isinstance(self.move, Reopening):
            self.detail = {"was": str(case.state), "night": str(self.move.night or case.night), **self.detail}
            if case.refusal is not None:
                self.detail |= {"code": str(case.refusal.code), "sentence": case.refusal.sentence}


def moved(record: StepRecord) -> tuple[Step, dict[str, Any]]:
    """The step and the detail of the event that a record's move leaves."""
    if isinstance(record.move, Refusal):
        refusal = record.move
        return record.step, {
            "code": str(refusal.code),
            "sentence": refusal.sentence,
            "numbers": dict(refusal.numbers),
        }
    if isinstance(record.move, Failure):
        back = {} if record.move.back_to is None else {"back_to": str(record.move.back_to)}
        return record.move.step, {"error": record.move.error, "retryable": record.move.retryable, **back}
    if isinstance(record.move, Reopening):
        who = {"by": record.move.by} if record.move.by else {}
        return record.step, {"reopened": record.move.why, **who, **record.detail}
    assert record.move is not None  # asked where there is a move
    return STEP_OF.get(record.move, Step.INTAKE), record.detail
