"""How a case may move: forward along the path, or aside into refused or failed.

It goes backward only by failing, to the step whose files are gone (`Failure.back_to`).

Each function returns the case as it is afterwards, or None where nothing changes. `committed` and `refused` are the two
ends: nothing leaves them.
"""

from __future__ import annotations

import attrs

from gtr_batch.domain.case import PATH, Case, CaseState, Failure, Step
from gtr_batch.domain.refusal import Refusal

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


def after(case: Case, move: CaseState | Refusal | Failure) -> Case | None:
    """The case after any of the three moves; None where nothing changes."""
    if isinstance(move, Refusal):
        return refused(case, move)
    if isinstance(move, Failure):
        return failed(case, move)
    return advanced(case, move)
