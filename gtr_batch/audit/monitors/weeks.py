"""Weeks, Monday to Sunday, as blocks of cases; thin weeks joined with the next; a patient counts once a block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

import numpy as np
from attrs import field, frozen

from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_run import AuditInputs

Choice = Callable[[AuditCase], bool]


@frozen(eq=False)
class Block:
    """What is judged on a Sunday: its week, with the thin weeks before it; `rows` are positions in the monitor's cases.

    A week with too few cases is judged with what it has (`full` False), and again with the next week's: a new scanner
    must not wait because its first week was a quiet one.
    """

    first: date
    last: date  # a Sunday
    rows: np.ndarray = field(repr=False)
    full: bool = True

    def __len__(self) -> int:
        return len(self.rows)


def watched_cases(inputs: AuditInputs, since: date, choice: Choice) -> list[AuditCase]:
    """The monitor's cases since it began to watch, by night, then by id: the order of rows does not matter."""
    chosen = (c for c in inputs.cases if since <= c.night <= inputs.last and choice(c))
    return sorted(chosen, key=lambda c: (c.night, c.case_id))


def staged_by_this_model(inputs: AuditInputs) -> Choice:
    """Cases that the model under audit staged; where the inputs name no model, that any staged."""
    version = inputs.model_version
    return lambda c: (
        c.t_stage is not None and c.probabilities is not None and (not version or c.model_version == version)
    )


def blocks_of(cases: Sequence[AuditCase], since: date, last: date, minimum: int) -> list[Block]:
    """A block for every whole week with cases up to `last`; what is left over at the end waits for its Sunday.

    Parameters
    ----------
    cases : sequence of AuditCase
        In the order of nights.
    since, last : date
        The first block begins on `since` (also within a week); no block ends after `last`.
    minimum : int
        Patients in a full block; the cases of one with fewer are in the next block, too.
    """
    found: list[Block] = []
    first, k = since, 0
    rows: list[int] = []
    seen: set[str] = set()
    sunday = since + timedelta(days=6 - since.weekday())
    while sunday <= last:
        fresh = k
        while k < len(cases) and cases[k].night <= sunday:
            who = cases[k].subject or cases[k].case_id
            if who not in seen:
                rows.append(k)
                seen.add(who)
            k += 1
        full = len(rows) >= max(minimum, 1)
        if k > fresh:
            found.append(Block(first, sunday, np.array(rows), full))
        if full:
            first, rows, seen = sunday + timedelta(days=1), [], set()
        sunday += timedelta(days=7)
    return found


def together(blocks: Iterable[Block], subjects: np.ndarray) -> np.ndarray:
    """Rows of several blocks, each patient once: the first time."""
    rows = np.concatenate([np.zeros(0, int), *(b.rows for b in blocks)])
    _, first = np.unique(subjects[rows], return_index=True)
    return np.sort(rows[np.sort(first)])


def subjects_of(cases: Sequence[AuditCase]) -> np.ndarray:
    """(n,): a number for each patient; a case without one stands for itself."""
    if not cases:
        return np.zeros(0, int)
    return np.unique([c.subject or c.case_id for c in cases], return_inverse=True)[1]


def split_baseline(blocks: Sequence[Block], weeks: int, cases: int) -> int | None:
    """How many of the first blocks make a baseline of so many weeks and cases at least; None where all do not.

    It ends with a full block, so that no case is in the baseline and judged against it.
    """
    total = 0
    for k, block in enumerate(blocks):
        total += len(block) if block.full else 0
        if block.full and (block.last - blocks[0].first).days >= 7 * weeks - 7 and total >= cases:
            return k + 1
    return None
