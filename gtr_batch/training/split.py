"""Who is trained on, who validates, who is sealed: by patient, stratified by stage and scanner, the same every time."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence

import attrs
import numpy as np

from gtr_batch.domain.cohort import Member, Split
from gtr_batch.domain.staging import STAGES


def split_members(
    members: Sequence[Member],
    *,
    holdout_share: float,
    validation_share: float,
    seed: int,
    sealed: Collection[str] = (),
    trained: Collection[str] = (),
) -> list[Member]:
    """Give each member its split, in the order of their subjects.

    Who is chosen follows from a digest of seed and subject, never from the order of the members. A patient who was
    sealed once stays sealed when the cohort grows; one who was trained on once is never sealed, since the champion may
    know them.

    Parameters
    ----------
    members : sequence of Member
        One a patient; their `split` is ignored.
    holdout_share, validation_share : float
        Of each stage's patients, spread over its scanners in proportion.
    seed : int
    sealed, trained : collection of str
        Subjects of earlier cohorts.

    Returns
    -------
    list of Member
    """
    given: dict[str, Split] = {}
    for stage in STAGES:
        group = [m for m in members if m.label is stage]
        spread = _spread(group, seed)
        before = [m.subject for m in spread if m.subject in sealed]
        fresh = [m.subject for m in spread if m.subject not in sealed and m.subject not in trained]
        missing = max(0, round(holdout_share * len(group)) - len(before))
        holdout = {*before, *fresh[:missing]}
        rest = [m.subject for m in reversed(spread) if m.subject not in holdout]
        validation = set(rest[: round(validation_share * len(group))])
        for m in group:
            given[m.subject] = (
                Split.HOLDOUT if m.subject in holdout else Split.VALIDATION if m.subject in validation else Split.TRAIN
            )
    return [attrs.evolve(m, split=given[m.subject]) for m in sorted(members, key=lambda m: m.subject)]


def stopping_and_fits(validation: Sequence[Member], share: float, seed: int) -> tuple[list[Member], list[Member]]:
    """Part the validation patients: who chooses the epoch, and whom the fits are of. Each stage is parted alike."""
    order = _by_stage(validation, seed)
    chosen = {m.subject for k, m in enumerate(order) if math.floor((k + 1) * share) > math.floor(k * share)}
    return [m for m in validation if m.subject in chosen], [m for m in validation if m.subject not in chosen]


def folds_of(members: Sequence[Member], folds: int, seed: int) -> np.ndarray:
    """The fold of each member, 0 to `folds` - 1, (n,): each stage is spread over all of them."""
    fold = {m.subject: k % folds for k, m in enumerate(_by_stage(members, seed))}
    return np.array([fold[m.subject] for m in members], int)


def _by_stage(members: Sequence[Member], seed: int) -> list[Member]:
    return sorted(members, key=lambda m: (m.label.position, _draw(m.subject, seed)))


def _spread(group: Sequence[Member], seed: int) -> list[Member]:
    """A stage's patients so ordered that every beginning holds the scanners in proportion."""
    places: list[tuple[float, str, Member]] = []
    for scanner in sorted({m.scanner for m in group}):
        alike = sorted(((_draw(m.subject, seed), m) for m in group if m.scanner == scanner), key=lambda pair: pair[0])
        places += [((k + 0.5) / len(alike), draw, m) for k, (draw, m) in enumerate(alike)]
    return [m for _, _, m in sorted(places, key=lambda place: place[:2])]


def _draw(subject: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}|{subject}".encode()).hexdigest()
