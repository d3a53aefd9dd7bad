"""How every monitor of unlabelled data works: week by week against a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
from attrs import define, field

from gtr_batch.audit.monitors.budget import QUARTER_EVERY, QUARTER_WEEKS, joined, share_of, weekly_alpha
from gtr_batch.audit.monitors.details import JudgedWeek, Reading, WeeklyDetail
from gtr_batch.audit.monitors.measures import Judged, Measure
from gtr_batch.audit.monitors.watched import ALARM, OFF, QUIET, TITLES, Point, Watched, level_of, silent
from gtr_batch.audit.monitors.weeks import Block, blocks_of, split_baseline, subjects_of, together
from gtr_batch.audit.period import watch_begins
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.audit_run import AuditInputs

Power = Callable[[Sequence[Measure], int, int, float], str]
_SMALLEST = 1e-300


def least(inputs: AuditInputs) -> int:
    """Fewest cases that a comparison may have: four full weeks' worth."""
    return 4 * inputs.settings.minimum_cases


def since_of(inputs: AuditInputs, name: str) -> date:
    """The first night that a monitor watches."""
    return inputs.watching_since.get(name, inputs.since)


def watches_anew(inputs: AuditInputs, name: str) -> bool:
    """Whether somebody let the monitor watch anew after an alarm: they accepted what it alarmed about.

    A person who acknowledges a new scanner does not want to hear of it every week; the artefact's reference would say
    nothing else from then on. So a monitor that watches anew compares with its own first weeks.
    """
    first = inputs.model.first_night
    if first is not None:
        # A horizon that is over begins anew, too: nobody accepted anything then.
        return since_of(inputs, name) > watch_begins(first, inputs.last, inputs.settings.horizon_months)
    return since_of(inputs, name) > min([inputs.since, *inputs.watching_since.values()])


def watch_weekly(
    inputs: AuditInputs,
    name: str,
    cases: Sequence[AuditCase],
    measures: Sequence[Measure],
    could_have_seen: Power,
    *,
    reference_words: str = "the artefact's reference",
    fortnight: bool = False,
) -> Watched:
    """Judge every whole week since the monitor began to watch.

    Parameters
    ----------
    inputs : AuditInputs
    name : str
        The monitor.
    cases : sequence of AuditCase
        As `gtr_batch.audit.monitors.weeks.watched_cases` gives them.
    measures : sequence of Measure
        Over the same cases. Those that know a comparison (the artefact's reference) judge from the first week on; the
        others learn the first weeks, and judge from then on, as `_Own` says.
    could_have_seen : callable
        (measures, size of the last block, of the last quarter, alpha) -> sentence.
    reference_words : str
        What the comparison of measures that knew one is called.
    fortnight : bool
        Whether each week is judged with the one before it, too: a value that a quarter of the cases have is seldom
        more than a handful within one week.

    Returns
    -------
    Watched
    """
    settings, since = inputs.settings, since_of(inputs, name)
    if share_of(settings, name) == 0:
        return silent(inputs, name, since, "Its share of the budget is 0: turned off in the settings.", OFF)
    if not measures:
        return silent(inputs, name, since, "What it looks at is not known of any case.")
    blocks = blocks_of(cases, since, inputs.last, settings.minimum_cases)
    learning = [m for m in measures if not m.known]
    referred = [m for m in measures if m.known]
    split = split_baseline(blocks, settings.baseline_weeks, least(inputs)) if learning else 0
    subjects = subjects_of(cases)
    start = len(blocks) if split is None else split
    own = _Own(blocks, subjects, start, [] if split is None else learning)
    if learning and split is None and not referred:
        return silent(inputs, name, since, _too_few(inputs, len(own.rows), since))
    first = 0 if referred else start
    if not any(block.full for block in blocks[first:]):
        return silent(inputs, name, since, _nothing_yet(inputs, blocks, first))

    alpha = weekly_alpha(settings, name)
    threshold = -float(np.log10(alpha))
    path: list[Point] = []
    judged: list[JudgedWeek] = []
    crossed: int | None = None
    quarter = np.zeros(0, int)
    for k in range(first, len(blocks)):
        block, enough = blocks[k], alpha if crossed is None else 1.0
        late = (k - first) % QUARTER_EVERY == QUARTER_EVERY - 1
        if crossed is None:  # after an alarm the comparison stays as it was before
            own.grow(k)
        able = [*referred, *(own.measures if k >= start else [])]
        level = enough / 4 if fortnight else enough / 2
        found, span = _judge(able, block.rows, level, [settings.seed, k, 0]), "week"
        two = None
        if fortnight:
            two = min(
                _judge(referred, _last_two(blocks[first : k + 1], subjects), level, [settings.seed, k, 2]),
                _judge(
                    own.measures, _last_two(blocks[max(first, start) : k + 1], subjects), level, [settings.seed, k, 3]
                ),
                key=lambda judged: judged.p,
            )
            if two.p < found.p:
                found, span = two, "2 weeks"
        p = joined(found.p, None, None if two is None else two.p)
        if late:
            quarter = _quarter(blocks[first : k + 1], block, subjects)
            ours = _quarter(blocks[max(first, start) : k + 1], block, subjects)
            level, seed = enough * QUARTER_EVERY / 2, [settings.seed, k, 1]
            whole = _judge(referred, quarter, level, seed)
            mine = _judge(own.measures if len(ours) else [], ours, level, [*seed, 1])
            whole = min(whole, mine, key=lambda judged: judged.p)
            if joined(1.0, whole.p) < p:
                found, span = whole, f"{QUARTER_WEEKS} weeks"
                p = joined(1.0, whole.p)
        value = -float(np.log10(max(p, _SMALLEST))) + 0.0
        path.append((block.last, value, threshold))
        compared = _compared(bool(referred), own.words(), reference_words)
        judged.append(JudgedWeek(block.first, block.last, len(block), p, span, found.words, compared))
        if crossed is None and value >= threshold:
            crossed = len(path) - 1

    at = crossed if crossed is not None else int(np.argmax([v for _, v, _ in path]))
    last_size = len([b for b in blocks if b.full][-1])
    able = [*referred, *own.measures]
    period = np.array([i for i, c in enumerate(cases) if inputs.first <= c.night <= inputs.last], int)
    return Watched(
        name,
        TITLES[name],
        QUIET if crossed is None else ALARM,
        level_of(inputs, name),
        since,
        None if crossed is None else path[crossed][0],
        path[-1][1],
        threshold,
        tuple(path),
        _sentence(judged, at, crossed is not None, since),
        could_have_seen(able, last_size, len(quarter) or QUARTER_EVERY * last_size, alpha),
        WeeklyDetail(
            judged[-1].compared_with,
            tuple(judged),
            {m.name: Reading(m.summary(None), m.summary(period)) for m in able},
        ),
    )


@define(eq=False)
class _Own:
    """The hospital's own weeks as comparison: the first ones, and with time all that lie a quarter or more back.

    It grows every fourth week. Which weeks are in it depends on the calendar only, never overlaps what is judged, so
    that every test stays exact; a small or unlucky beginning does not weigh on it permanently.
    """

    blocks: Sequence[Block]
    subjects: np.ndarray
    start: int
    measures: Sequence[Measure]
    rows: np.ndarray = field(init=False)
    last: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.last = self.start
        self.rows = together(self.blocks[: self.start], self.subjects)
        self._teach()

    def grow(self, k: int) -> None:
        """Before block k is judged."""
        if (k - self.start) % QUARTER_EVERY or not self.measures:
            return
        until = self.blocks[k].last - timedelta(weeks=QUARTER_WEEKS)
        old = [i for i, b in enumerate(self.blocks[:k]) if b.full and b.last <= until]
        if old and old[-1] >= self.last:
            self.last = old[-1] + 1
            self.rows = together(self.blocks[: self.last], self.subjects)
            self._teach()

    def words(self) -> str:
        """How this comparison is called; empty where there is none."""
        if not self.measures or not self.last:
            return ""
        days = self.blocks[0].first, self.blocks[self.last - 1].last
        return f"the {len(self.rows)} patients from {days[0]} to {days[1]}"

    def _teach(self) -> None:
        for measure in self.measures:
            measure.learn(self.rows)


def _quarter(blocks: Sequence[Block], block: Block, subjects: np.ndarray) -> np.ndarray:
    since = block.last - timedelta(weeks=QUARTER_WEEKS)
    return together([b for b in blocks if b.first > since], subjects)


def _last_two(blocks: Sequence[Block], subjects: np.ndarray) -> np.ndarray:
    """Rows of the last block and of the one that ended before it began."""
    if not blocks:
        return np.zeros(0, int)
    before = [b for b in blocks if b.last < blocks[-1].first]
    return together([*before[-1:], blocks[-1]], subjects)


def _judge(measures: Sequence[Measure], rows: np.ndarray, enough: float, seed: Sequence[int]) -> Judged:
    """The smallest p-value, each divided by its weight: the union bound over the measures."""
    best = Judged(1.0, "nothing to compare")
    for k, measure in enumerate(measures):
        found = measure.judge(rows, enough * measure.weight, [*seed, k])
        p = min(1.0, found.p / measure.weight)
        if p < best.p or k == 0:
            best = Judged(p, found.words)
    return best


def _too_few(inputs: AuditInputs, grown: int, since: date) -> str:
    return (
        f"Nothing to compare with yet: no usable reference of the artefact, and since {since} {grown} patients in "
        f"whole weeks; the comparison wants the first {inputs.settings.baseline_weeks} weeks with "
        f"{least(inputs)} patients at least."
    )


def _nothing_yet(inputs: AuditInputs, blocks: Sequence[Block], first: int) -> str:
    minimum = inputs.settings.minimum_cases
    if not blocks:
        return f"No whole week with a case up to {inputs.last}."
    after = f" after the comparison's, which end on {blocks[first - 1].last}" if first else ""
    return f"Fewer than {minimum} cases in the whole weeks up to {inputs.last}{after}."


def _compared(referred: bool, own: str, words: str) -> str:
    if not referred:
        return own
    return f"{words}; what that does not hold, with {own}" if own else words


def _sentence(judged: Sequence[JudgedWeek], at: int, alarm: bool, since: date) -> str:
    week = judged[at]
    if alarm:
        return f"Crossed in the {week.span} to {week.last}: {week.words} (compared with {week.compared_with})."
    return (
        f"Quiet over {len(judged)} week{'' if len(judged) == 1 else 's'} since {since}; nearest to an alarm was the "
        f"{week.span} to {week.last}: {week.words} (compared with {week.compared_with})."
    )
