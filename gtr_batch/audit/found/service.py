"""What came in, what the model said, what was refused or overruled, and what became of every case."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from gtr_batch.audit.found.evaluation import Confusion, Interval95


@frozen
class SharesOverTime:
    """Counts of each value by period; `n` cases a period, the rarest values joined."""

    periods: tuple[str, ...]  # Mondays, or months as 2026-03
    n: tuple[int, ...]
    values: Mapping[str, tuple[int, ...]]


@frozen
class HeaderOverTime(SharesOverTime):
    """With the shares that the artefact's reference had, where it holds some."""

    reference: Mapping[str, float] | None


@frozen
class RefusalsOverTime(SharesOverTime):
    """Refusals by code and month, with how many cases were `seen` and how many `failed`."""

    seen: tuple[int, ...]
    failed: tuple[int, ...]


@frozen
class WeekOfMeasure:
    """The 10%, 50% and 90% points of one measure in a week; None where nothing was measured."""

    n: int
    low: float | None
    median: float | None
    high: float | None


@frozen
class QualityOverTime:
    """`reference`: the artefact's 10%, 50% and 90% points."""

    weeks: tuple[WeekOfMeasure, ...]
    reference: tuple[float, ...] | None


@frozen
class CameIn:
    """Headers and image quality of staged cases by week."""

    headers: Mapping[str, HeaderOverTime]
    quality: Mapping[str, QualityOverTime]
    weeks: tuple[str, ...]


@frozen
class Disagreement:
    """By month, of `n` votes those whose slices lie `apart`."""

    n: tuple[int, ...]
    apart: tuple[int, ...]


@frozen
class WentOut:
    """What the model said, by month; `reference`: the artefact's shares of T1 to T4."""

    stages: SharesOverTime
    key_slice: SharesOverTime
    disagreement: Disagreement
    reference: tuple[float, ...] | None


@frozen
class RefusalCount:
    """Refusals of the period with one code, beside the share that the code had before."""

    code: str
    n: int
    share: float | None
    before: float | None


@frozen
class Refusals:
    """In the period, and by month."""

    now: tuple[RefusalCount, ...]
    over_time: RefusalsOverTime


@frozen
class MonthOfOverrides:
    """Of `n` reads of a staging month so many say another stage."""

    month: str
    n: int
    over: int


@frozen
class WhoWasRight:
    """Of `n` overrides with a pT by now."""

    n: int
    model: int
    reader: int


@frozen
class Overrides:
    """Readers who saw the model's answer and wrote another stage. `table`: rows the model, columns the reader."""

    n: int
    over: int
    share: float | None
    ci: Interval95 | None
    higher: int
    lower: int
    table: Confusion
    months: tuple[MonthOfOverrides, ...]
    with_pathology: WhoWasRight
    unread: int


@frozen
class AgreementByStage:
    """Of the `n` readings of results that show this stage, those whose reader says the same."""

    stage: str
    n: int
    agree: int
    share: float | None
    ci: Interval95 | None


@frozen
class ReadingsOfAKind:
    """Readings with, or without, the AI's stage before the reader's eyes.

    `agree` of `n` say the AI's stage; `overruled` of `words` were overruled by these readers in the end.
    """

    n: int
    agree: int
    share: float | None
    ci: Interval95 | None
    by_stage: tuple[AgreementByStage, ...]
    words: int
    overruled: int
    overrule_rate: float | None
    overrule_ci: Interval95 | None


@frozen
class ConsoleReadings:
    """What readers said in the console of the period's results, by what the console had shown them before.

    `unaided`: who gave a stage of their own before the AI's was shown; `aided`: the others. Of the unaided who said a
    word afterwards, `came_over` differed first and then agreed, `turned_away` agreed first and then overruled.
    """

    cases: int
    unaided: ReadingsOfAKind
    aided: ReadingsOfAKind
    came_over: int
    turned_away: int
    sentences: tuple[str, ...]


@frozen
class Fate:
    """What became of `n` of the cases that the audit looked at."""

    fate: str
    n: int
    sentence: str
