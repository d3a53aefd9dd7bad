"""What is read of a case, and how a block's readings are held against a baseline: named values, and numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from attrs import define, field, frozen

from gtr_batch.audit.monitors.details import Quantiles, Shares, Summary
from gtr_batch.audit.monitors.exact import (
    LEVELS,
    more_of_a_value,
    placements,
    ranks_of_quantiles,
    ranks_of_sample,
)
from gtr_batch.domain.audit import AuditCase
from gtr_batch.domain.series_fact import UNKNOWN


@frozen
class Judged:
    """The p-value of one block in one respect, and the finding behind it in words."""

    p: float
    words: str


NOTHING = Judged(1.0, "nothing to compare")


class Measure(Protocol):
    """One respect in which blocks are held against a baseline. Weights split the monitor's share and sum to 1."""

    name: str
    weight: float

    @property
    def known(self) -> int:
        """Size of the baseline; 0 before there is one."""
        ...

    def learn(self, rows: np.ndarray) -> None:
        """Take these cases as the baseline."""
        ...

    def judge(self, rows: np.ndarray, enough: float, seed: Sequence[int]) -> Judged:
        """Hold these cases against the baseline; p-values need only be told apart down to `enough`."""
        ...

    def summary(self, rows: np.ndarray | None) -> Summary:
        """Numbers of these cases for tables and pictures; None: of the baseline."""
        ...


@frozen(eq=False)
class Reading:
    """A value or number that is read of a case; `reference` as the artefact holds it."""

    name: str
    title: str
    of: Callable[[AuditCase], Any]
    weight: float = 1.0
    numeric: bool = False
    unit: str = ""
    reference: Shares | Quantiles | None = None


def measure_of(reading: Reading, cases: Sequence[AuditCase]) -> Measure:
    """The measure of a reading over a monitor's cases."""
    values = [reading.of(c) for c in cases]
    if reading.numeric:
        return Numbers(reading, np.array([np.nan if v is None else float(v) for v in values], float))
    return Values(reading, [UNKNOWN if v is None or v == "" else str(v) for v in values])


@define(eq=False)
class Values:
    """Named values: Fisher's test of each."""

    reading: Reading
    values: Sequence[str]
    names: list[str] = field(factory=list)
    codes: np.ndarray = field(factory=lambda: np.zeros(0, int))
    baseline: np.ndarray = field(factory=lambda: np.zeros(0, int))
    name: str = ""
    weight: float = 1.0

    def __attrs_post_init__(self) -> None:
        self.name, self.weight = self.reading.name, self.reading.weight
        reference = self.reading.reference
        shares = reference.shares if isinstance(reference, Shares) else {}
        self.names = sorted(set(self.values) | set(shares))
        place = {name: k for k, name in enumerate(self.names)}
        self.codes = np.array([place[v] for v in self.values], int)
        self.baseline = np.zeros(len(self.names), int)
        if reference is not None:
            for value, share in shares.items():
                self.baseline[place[value]] = round(share * reference.n)

    @property
    def known(self) -> int:
        """As `Measure`."""
        return int(self.baseline.sum())

    def learn(self, rows: np.ndarray) -> None:
        """As `Measure`."""
        self.baseline = self._counts(rows)

    def judge(self, rows: np.ndarray, enough: float, seed: Sequence[int]) -> Judged:
        """As `Measure`."""
        counts = self._counts(rows)
        p, worst = more_of_a_value(self.baseline, counts)
        if not self.names:
            return NOTHING
        words = (
            f"{self.reading.title} '{self.names[worst]}': {counts[worst]} of {counts.sum()}, "
            f"in the comparison {self.baseline[worst]} of {self.baseline.sum()}"
        )
        return Judged(p, words)

    def summary(self, rows: np.ndarray | None) -> Shares:
        """Shares by value."""
        counts = self.baseline if rows is None else self._counts(rows)
        n = int(counts.sum())
        return Shares(n, {v: int(k) / n for v, k in zip(self.names, counts, strict=True) if k} if n else {})

    def _counts(self, rows: np.ndarray) -> np.ndarray:
        return np.bincount(self.codes[rows], minlength=len(self.names))


@define(eq=False)
class Numbers:
    """Numbers: how many lie beyond the comparison's quantiles, and how many are missing."""

    reading: Reading
    values: np.ndarray
    edges: np.ndarray = field(factory=lambda: np.zeros(0))
    below_from: np.ndarray = field(factory=lambda: np.zeros(0, int))
    above_from: np.ndarray = field(factory=lambda: np.zeros(0, int))
    sizes: tuple[int, int] = (0, 0)  # present, missing, in the comparison
    name: str = ""
    weight: float = 1.0
    missing_known: bool = False

    def __attrs_post_init__(self) -> None:
        self.name, self.weight = self.reading.name, self.reading.weight
        reference = self.reading.reference
        if isinstance(reference, Quantiles):
            levels, n = np.asarray(reference.levels, float), reference.n
            kept = np.flatnonzero(np.isclose(levels[:, None], np.array(LEVELS)[None, :]).any(axis=1))
            self.edges = np.asarray(reference.quantiles, float)[kept]
            self.below_from, self.above_from = ranks_of_quantiles(n, levels[kept])
            self.sizes = (n, 0)

    @property
    def known(self) -> int:
        """As `Measure`."""
        return self.sizes[0]

    def learn(self, rows: np.ndarray) -> None:
        """As `Measure`."""
        there = np.sort(self._present(rows))
        self.sizes, self.missing_known = (len(there), len(rows) - len(there)), True
        if len(there):
            at, self.below_from, self.above_from = ranks_of_sample(len(there))
            self.edges = there[at]

    def judge(self, rows: np.ndarray, enough: float, seed: Sequence[int]) -> Judged:
        """As `Measure`."""
        block = self._present(rows)
        missing = len(rows) - len(block)
        found = NOTHING
        if self.known and len(block):
            p, at, side = placements((self.known, len(block)), self.edges, self.below_from, self.above_from, block)
            edge = self.edges[at]
            beyond = int((block < edge).sum() if side == "below" else (block > edge).sum())
            unit = f" {self.reading.unit}" if self.reading.unit else ""
            words = f"{self.reading.title}: {beyond} of {len(block)} {side} {edge:g}{unit}"
            words += f", median {np.median(block):g}{unit}"
            found = Judged(p, words)
        if not self.missing_known:
            return found
        p_missing, _ = more_of_a_value(np.array(self.sizes), np.array([len(block), missing]))
        if p_missing < found.p:
            before = f"before in {self.sizes[1]} of {sum(self.sizes)}"
            words = f"{self.reading.title} not measured in {missing} of {len(rows)}, {before}"
            found = Judged(p_missing, words)
        return Judged(min(1.0, 2 * found.p), found.words)

    def summary(self, rows: np.ndarray | None) -> Quantiles:
        """Size, missing, and the quantiles at `exact.LEVELS`."""
        if rows is None:
            return Quantiles(*self.sizes, LEVELS, tuple(self.edges.tolist()) if self.known else None)
        block = self._present(rows)
        quantiles = tuple(np.quantile(block, LEVELS).tolist()) if len(block) else None
        return Quantiles(len(block), len(rows) - len(block), LEVELS, quantiles)

    def _present(self, rows: np.ndarray) -> np.ndarray:
        values = self.values[rows]
        return values[np.isfinite(values)]


def number_of(value: Any) -> float | None:
    """A finite number, or None; truth values are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if np.isfinite(value) else None
