"""Patients that the hospital found to be one: which PatientID holds after any number of merges."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from gtr_batch.domain.identity import PatientIdentity


@frozen
class PatientMerge:
    """What was filed under `old` is filed under `new` from now on; neither is in `repr`."""

    old: PatientIdentity
    new: PatientIdentity
    merge_id: int = 0  # 0: not kept yet


def names_since(merges: Sequence[PatientMerge], patient: PatientIdentity) -> list[tuple[PatientIdentity, int]]:
    """Every PatientID that a patient got after this one, the last the one that holds, each with its merge.

    The merges are gone through once, in the order in which they came: a chain (A to B, B to C) is followed, also where
    its end came first (B to C, then A to B), and a cycle (A to B, then B to A) ends where it was last said to end.
    """
    found: list[tuple[PatientIdentity, int]] = []
    everybody = {patient, *(one for merge in merges for one in (merge.old, merge.new))}
    now = {one: one for one in everybody}  # who each of them is by now
    for merge in merges:
        after = now[merge.new]  # where `new` was merged into another one before
        elsewhere = bool(after.differences(merge.new)) and bool(after.differences(merge.old))
        end = after if elsewhere else merge.new
        moved = [one for one, name in now.items() if not name.differences(merge.old)]
        if patient in moved:
            found += [(merge.new, merge.merge_id)] + [(end, merge.merge_id)] * elsewhere
        now.update(dict.fromkeys(moved, end))
    return found


def surviving(merges: Sequence[PatientMerge], patient: PatientIdentity) -> PatientIdentity:
    """The PatientID that holds now; `patient` itself where it was never merged."""
    names = names_since(merges, patient)
    return names[-1][0] if names else patient


def contradicts(merges: Sequence[PatientMerge], said: PatientMerge) -> bool:
    """Whether a patient was merged into somebody else before, who is not the one that is named now."""
    before = surviving(merges, said.old)
    return bool(before.differences(said.old)) and bool(before.differences(surviving(merges, said.new)))
