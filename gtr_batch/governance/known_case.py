"""A case that a person names by its id."""

from __future__ import annotations

from gtr_batch.domain.case import Case
from gtr_batch.errors import InputRefused
from gtr_batch.ports import Cases


def known_case(cases: Cases, case_id: str) -> Case:
    """The case of this id; `InputRefused` where there is none."""
    try:
        return cases.get(case_id)
    except KeyError:
        raise InputRefused(f"there is no case {case_id!r}; `gtr status --json` lists the ids of a night") from None
