"""A reader's word on a key slice that was found automatically."""

from __future__ import annotations

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
