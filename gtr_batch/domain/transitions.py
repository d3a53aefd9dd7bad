"""How a case may move: forward along the path, aside into refused or failed, and back to its beginning.

It goes back along the path only by failing, to the step whose files are gone (`Failure.back_to`).

Each function returns the case as it is afterwards, or None where nothing changes. `committed` and `refused` are the two
ends: nothing leaves them but a `Reopening`, which begins the case anew and says why, and a case that a person gives
another PatientID (`rekeyed`).
"""

from __future__ import annotations

from datetime import date

import attrs
from attrs import frozen

from gtr_batch.domain.case import PATH, Case, CaseState, Failure, Step
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.refusal import Refusal, RefusalCode

# The step whose work a state on the path is.
STEP_OF: dict[CaseState, Step] = {
    CaseState.FOUND: Step.INTAKE,
    CaseState.RETRIEVED: Step.RETRIEVE,
    CaseState.VALIDATED: Step.VALIDATE,
    CaseState.PREPROCESSED: Step.PREPROCESS,
    CaseState.STAGED: Step.STAGE,
    CaseState.SCORED: Step.NOMOGRAM,
    CaseState.REPORTED: Step.REPORT,
    CaseState.STORED: Step.DELIVER,
    CaseState.COMMITTED: Step.DELIVER,
}
ENDS = (CaseState.COMMITTED, CaseState.REFUSED)


@frozen
class Reopening:
    """A case that begins anew: wherever it is, it is `found` again, in `night` where that is given.

    `by` names the person who wanted it; empty where intake found by itself that there is something new to judge.
    """

    why: str
    by: str = ""
    night: date | None = None


def advanced(case: Case, to: CaseState) -> Case | None:
    """The case moved forward to `to`, its failure forgotten; None where it is there or further, or refused.

    A failed case that is advanced to the state it had reached already stays failed: that work is not what failed.

    Raises
    ------
    ValueError
        `to` is not on the path.
    """
    if to not in PATH:
        raise ValueError(f"{to} is not a state on the path")
    if case.state in ENDS or PATH.index(to) <= PATH.index(case.reached):
        return None
    return attrs.evolve(case, state=to, reached=to, failure=None)


def refused(case: Case, refusal: Refusal) -> Case | None:
    """The case refused; None where it is refused already (the first reason stays) or committed."""
    if case.state in ENDS:
        return None
    return attrs.evolve(case, state=CaseState.REFUSED, refusal=refusal, failure=None)


def failed(case: Case, failure: Failure) -> Case | None:
    """The case failed; None where it is refused or committed.

    What it had reached is kept, unless the files of a step are gone: then it has reached no more than `back_to`.

    A failure that repeats is news (another attempt), so it is never None for being the same.
    """
    if case.state in ENDS:
        return None
    back = failure.back_to
    reached = back if back is not None and PATH.index(back) < PATH.index(case.reached) else case.reached
    return attrs.evolve(case, state=CaseState.FAILED, reached=reached, failure=attrs.evolve(failure, back_to=None))


def rekeyed(case: Case, patient: PatientIdentity) -> Case:
    """The case under another PatientID; what was written under the old one and not sent is done again.

    What the PACS took already it has merged itself: a stored or committed case keeps its state. So does a case that was
    refused for a reason that has nothing to do with whose it is.
    """
    case = attrs.evolve(case, patient_id=patient.patient_id, issuer_of_patient_id=patient.issuer)
    if case.refusal is not None:
        again = case.refusal.code is RefusalCode.IDENTITY_MISMATCH
    else:
        again = PATH.index(case.reached) < PATH.index(CaseState.STORED)
    if not again:
        return case
    return attrs.evolve(case, state=CaseState.FOUND, reached=CaseState.FOUND, refusal=None, failure=None)


def reopened(case: Case, reopening: Reopening) -> Case:
    """The case at its beginning, refusal and failure forgotten; results and reports stay until new ones come."""
    night = reopening.night or case.night
    return attrs.evolve(case, state=CaseState.FOUND, reached=CaseState.FOUND, night=night, refusal=None, failure=None)


Move = CaseState | Refusal | Failure | Reopening


def after(case: Case, move: Move) -> Case | None:
    """The case after any of the moves; None where nothing changes."""
    if isinstance(move, Reopening):
        return reopened(case, move)
    if isinstance(move, Refusal):
        return refused(case, move)
    if isinstance(move, Failure):
        return failed(case, move)
    return advanced(case, move)
