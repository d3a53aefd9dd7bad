"""How many images of a study the PACS listed when we looked, and since when that number stands still."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from attrs import frozen


@frozen
class StudyLook:
    """The last look at a study: instances by Series Instance UID, the same in every look since `since`."""

    counts: Mapping[str, int]
    since: datetime

    @property
    def instances(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    def settles_at(self, minutes: float) -> datetime:
        """When the counts will have stood still for so long, if no later look sees others."""
        return self.since + timedelta(minutes=minutes)


def next_look(before: StudyLook | None, counts: Mapping[str, int], at: datetime) -> StudyLook:
    """The look at `at` after the one before it."""
    same = before is not None and dict(before.counts) == dict(counts)
    return StudyLook(dict(counts), before.since if before is not None and same else at)
