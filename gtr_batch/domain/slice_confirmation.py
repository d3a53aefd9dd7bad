"""A reader's word on a key slice that was found automatically."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from attrs import field, frozen


@frozen
class SliceConfirmation:
    """Who confirmed or moved the key slice of a case; `slices` are the SOP Instance UIDs below, key, above."""

    case_id: str
    was: str  # the key slice that was found automatically
    slices: tuple[str, ...] = field(converter=lambda uids: tuple(str(uid) for uid in uids))
    by_whom: str
    why: str
    at: datetime | None = None  # of a row that is kept

    @property
    def moved(self) -> bool:
        """Whether the reader chose another slice."""
        return self.slices[1] != self.was


def with_neighbours(uids: Sequence[str], at: int) -> tuple[str, str, str]:
    """The instance below, the one at this place and the one above, of a series ascending along its normal.

    Where the key slice is an end of the series its one neighbour is used twice, as preprocessing does.
    """
    last = len(uids) - 1
    return uids[at - 1 if at > 0 else min(1, last)], uids[at], uids[at + 1 if at < last else max(last - 1, 0)]
