"""What a reader says of a result: agreed, overruled, key slice confirmed or moved, or an earlier word taken back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from attrs import field, frozen

from gtr_batch.domain.delivery import ReportObject
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import InputRefused

LONGEST_WHY = 2000
LONGEST_NAME = 200


class WordKind(StrEnum):
    """What a reader says."""

    AGREE = "agree"
    OVERRULE = "overrule"
    SLICE_CONFIRMED = "slice_confirmed"
    SLICE_MOVED = "slice_moved"
    WITHDRAWN = "withdrawn"

    @property
    def words(self) -> str:
        """As pages and tables write it."""
        return _WORDS[self]


_WORDS = {
    WordKind.AGREE: "agrees",
    WordKind.OVERRULE: "overrules",
    WordKind.SLICE_CONFIRMED: "key slice confirmed",
    WordKind.SLICE_MOVED: "key slice moved",
    WordKind.WITHDRAWN: "takes back",
}


@frozen
class Reader:
    """Who speaks, and in which role."""

    name: str
    role: str

    def __attrs_post_init__(self) -> None:
        if not 0 < len(self.name.strip()) <= LONGEST_NAME:
            raise InputRefused(f"a reader's name has 1 to {LONGEST_NAME} characters")


@frozen
class ResultInQuestion:
    """The result that a case carries; `digest` is of the whole answer, so that a changed one is another result."""

    case_id: str
    model_version: str
    digest: str
    t_stage: TStage | None
    is_read: bool = False


@frozen
class NewWord:
    """A word as it is said; raises `InputRefused` where it is not complete."""

    about: ResultInQuestion
    by: Reader
    kind: WordKind
    why: str = ""
    t_stage: TStage | None = None
    slices: tuple[str, ...] | None = None

    def __attrs_post_init__(self) -> None:
        checked_why(self.why)
        if self.kind is WordKind.WITHDRAWN:
            raise InputRefused("a word is taken back by its number")
        if self.kind in (WordKind.AGREE, WordKind.OVERRULE) and self.about.t_stage is None:
            raise InputRefused(
                f"case {self.about.case_id} was not staged: there is no stage to agree with or to overrule"
            )
        if (self.kind is WordKind.OVERRULE) != (self.t_stage is not None):
            raise InputRefused("who overrules gives a stage, T1 to T4, and nobody else does")
        if self.kind is WordKind.OVERRULE and not self.why.strip():
            raise InputRefused("who overrules says why")
        if self.kind is WordKind.OVERRULE and self.t_stage is self.about.t_stage:
            raise InputRefused(f"{self.t_stage} is the stage of the result: that is to agree")
        if (self.kind in (WordKind.SLICE_CONFIRMED, WordKind.SLICE_MOVED)) != (self.slices is not None):
            raise InputRefused("a word on the key slice names it and its neighbours, and no other word does")


@frozen
class KeptWord:
    """A word as it is kept; `stands`: it is the reader's newest on this, and was not taken back.

    `own_stage` is what the reader had given before the AI's was shown, where the site asks for it; `ai_shown_at` when a
    page of the console first showed it to them.
    """

    number: int
    case_id: str
    model_version: str
    result: str
    reader: str
    role: str
    kind: WordKind
    t_stage: TStage | None
    slices: Sequence[str] | None
    withdraws: int | None
    why: str = field(repr=False)
    own_stage: TStage | None
    own_stage_at: datetime | None
    ai_shown_at: datetime | None
    at: datetime
    stands: bool


@frozen
class WordToSend:
    """A word that goes to the PACS: what its reader says of the result's stage, or of its key slice, since `at`.

    `kind` is what holds of their words then, `WITHDRAWN` where none does. `report` is the AI's report that it is about,
    `previous` what was sent for the reader's word before, `written` what was written for this one, perhaps sent.
    """

    number: int
    case_id: str
    reader: str
    about_slice: bool
    kind: WordKind
    t_stage: TStage | None
    key_slice: str | None
    why: str = field(repr=False)
    at: datetime
    report: ReportObject
    previous: ReportObject | None
    written: ReportObject | None
    with_why: bool
    tries: int


@frozen
class WaitingWords:
    """Words that the PACS did not take when they were sent: how many, the most tries, the last error's class."""

    words: int
    tries: int
    trouble: str


@frozen
class OwnStage:
    """The stage that a reader gave of their own, when, and when the AI's was shown to them; None: not yet."""

    t_stage: TStage
    at: datetime
    shown_at: datetime | None


def checked_why(why: str) -> str:
    """A reason or comment, without blanks round it; `InputRefused` where it is too long to be kept."""
    if len(why.strip()) > LONGEST_WHY:
        raise InputRefused(f"the reason has {len(why.strip())} characters, at most {LONGEST_WHY} are kept")
    return why.strip()
