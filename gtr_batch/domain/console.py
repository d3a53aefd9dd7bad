"""What the console shows: a night with its counts, and a case with its result, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from attrs import evolve, field, frozen
from attrs.converters import optional

from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.staging import FLAG_MEANINGS, Flag


class Outcome(StrEnum):
    """What became of a case, as a reader is told it."""

    STAGED = "staged"
    NOT_STAGED = "not_staged"
    HELD = "held"
    WITHDRAWN = "withdrawn"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    REFUSED = "refused"

    @property
    def words(self) -> str:
        """As pages write it."""
        return self.value.replace("_", " ")


_ANSWER = (
    "t_stage", "p_t1", "p_t2", "p_t3", "p_t4", "answer_by", "set_lowest", "set_highest", "set_coverage", "points",
    "key_slice_source",
)  # fmt: skip

#: Flags that ask a reader to look closer; the others are of the model or the PACS, and the same for every case.
ATTENTION: tuple[Flag, ...] = tuple(flag for flag, meaning in FLAG_MEANINGS.items() if meaning.on_overlay)


@frozen
class ConsoleNight:
    """A night and what became of its cases; `summary` is what close_night wrote, None until it is closed."""

    night: date
    model_version: str
    opened_at: datetime
    reopened_at: datetime | None
    closed_at: datetime | None
    summary: Mapping[str, Any] | None
    found: int
    staged: int
    not_staged: int
    refused: int
    failed: int
    committed: int
    last_committed_at: datetime | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was begun, or begun again, and not closed since."""
        begun = self.reopened_at or self.opened_at
        return self.closed_at is None or self.closed_at < begun

    @property
    def minutes(self) -> float | None:
        """From its (last) beginning to its close; None while it runs."""
        if self.is_running or self.closed_at is None:
            return None
        return (self.closed_at - (self.reopened_at or self.opened_at)).total_seconds() / 60


@frozen
class ConsoleAudit:
    """A run of the audit as the list of audits has it."""

    run_id: str
    kind: str
    period: str
    as_of: date
    model_version: str
    answer: str
    asked_by: str
    made_at: datetime


@frozen
class CaseReader:
    """The radiologist whom a page is for: results that are shown to them are noted as such.

    `own_stage_first`: a result with a stage is withheld until they have given a stage of their own.
    """

    name: str = field(converter=lambda name: name.strip())
    own_stage_first: bool = False


class ResultStanding(StrEnum):
    """How a result stands for the reader whom a page is for."""

    WITHHELD = "withheld"  # their own stage comes first
    NEW = "new"  # to be noted as shown
    NOTED = "noted"


@frozen
class ConsoleCase:
    """A case; `reason_code` and `reason` say why it has no result, or why it stopped.

    `standing` is None where the page is for no reader, or there is no result.
    """

    case_id: str = field(converter=str)
    night: date
    study_uid: str
    series_uid: str
    study_at: datetime | None
    state: str
    reached: str
    outcome: Outcome = field(converter=Outcome)
    reason_code: str | None
    reason: str | None
    retryable: bool
    t_stage: str | None
    p_t1: float | None
    p_t2: float | None
    p_t3: float | None
    p_t4: float | None
    answer_by: str | None
    set_lowest: str | None
    set_highest: str | None
    set_coverage: float | None
    flags: Sequence[str]
    key_slice_source: str | None
    points: float | None
    model_version: str | None
    scanner: str | None
    result: str | None = None  # digest by which a reader's word names the result
    is_read: bool = False
    standing: ResultStanding | None = field(default=None, converter=optional(ResultStanding))

    @property
    def probabilities(self) -> tuple[float, ...] | None:
        """P(T1) to P(T4) of the answer that counts."""
        found = (self.p_t1, self.p_t2, self.p_t3, self.p_t4)
        return None if None in found else tuple(float(p) for p in found if p is not None)

    @property
    def probability(self) -> float | None:
        """Of the stage that is shown."""
        p = self.probabilities
        return None if p is None or self.t_stage is None else p[int(self.t_stage[1]) - 1]

    @property
    def shows_result(self) -> bool:
        """Whether there is a result, with or without a stage, that may be shown."""
        return self.model_version is not None and not self.is_withheld

    @property
    def is_withheld(self) -> bool:
        """Whether the reader whom the page is for gives a stage of their own first."""
        return self.standing is ResultStanding.WITHHELD

    def without_answer(self) -> ConsoleCase:
        """The case without what the model answered; its result is still named by its digest."""
        nothing: dict[str, Any] = dict.fromkeys(_ANSWER)
        return evolve(self, flags=(), **nothing)


@frozen
class WorklistPlace:
    """Where a page of the worklist ended; in the URL of the next page, and about no person."""

    rank: int
    place: int
    at: datetime
    case_id: str

    def __str__(self) -> str:
        return f"{self.rank}.{self.place}.{self.at:%Y%m%dT%H%M%S%f}.{self.case_id}"

    @classmethod
    def from_text(cls, text: str) -> WorklistPlace:
        """What `str` wrote; ValueError for anything else."""
        rank, place, at, case_id = text.split(".")
        return cls(int(rank), int(place), datetime.strptime(at, "%Y%m%dT%H%M%S%f"), case_id)  # noqa: DTZ007 - the PACS tells no zone


@frozen
class WorklistFilter:
    """Which of a night's cases are wanted; empty: all."""

    stages: tuple[str, ...] = ()
    outcomes: tuple[str, ...] = ()
    flag: str = ""
    scanner: str = ""
    read: bool | None = None  # whether a reader has said something of the result

    @property
    def is_set(self) -> bool:
        """Whether anything is left out."""
        return bool(self.stages or self.outcomes or self.flag or self.scanner) or self.read is not None


@frozen
class WorklistPage:
    """Some cases of a night, and where the next page begins; None where there is none."""

    cases: Sequence[ConsoleCase]
    next: WorklistPlace | None


@frozen
class ConsolePatient:
    """Whose a case is, as only those see it who may."""

    patient: PatientIdentity = field(repr=False)
    accession_number: str = field(repr=False)
