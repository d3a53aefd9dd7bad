"""What the network sees: penultimate features, by a kernel two-sample test and direction by direction.

The kernel test's p-value is a share of permutations, drawn until it is known well enough; so it is exact at any size of
the samples, and small values cost the more draws the smaller they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import define, field
from scipy.stats import gamma

from gtr_batch.audit.monitors.details import Distance, Spread
from gtr_batch.audit.monitors.exact import gap_p, largest_gap
from gtr_batch.audit.monitors.inputs_watched import usable
from gtr_batch.audit.monitors.measures import NOTHING, Judged, Measure
from gtr_batch.audit.monitors.power import detectable_shift
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.audit.monitors.weekly import least, since_of, watch_weekly
from gtr_batch.audit.monitors.weeks import staged_by_this_model, watched_cases
from gtr_batch.domain.audit_run import AuditInputs
from gtr_batch.domain.reference import ReferenceFeatures

NAME = "features"
DIRECTIONS = 16
_EXCEEDED = 20  # draws as large as the statistic: then p is known to a fifth
_MOST_DRAWS = 400_000
_LEARNT = 160  # of the comparison, evenly spread over its nights: more cost time, and hardly add power


def watch_features(inputs: AuditInputs) -> Watched:
    """Kernel test and Kolmogorov-Smirnov tests of the key slices' features, half of the monitor's share each.

    The directions are the artefact's principal components where it has them for features of this size; else those of
    the pooled cases of each comparison, which favours neither side, and keeps the tests exact.
    """
    staged = staged_by_this_model(inputs)
    cases = watched_cases(inputs, since_of(inputs, NAME), lambda c: staged(c) and bool(c.features))
    width = len(cases[-1].features or ()) if cases else 0
    cases = [c for c in cases if len(c.features or ()) == width]
    if not cases:
        return watch_weekly(inputs, NAME, cases, [], _power)
    x = np.array([c.features for c in cases], float)
    x = np.where(np.isfinite(x), x, 0.0)
    known = inputs.reference.features
    directions = None if known is None else _directions(known, width)
    held_out: np.ndarray | None = None
    if known is not None and directions is not None:
        mean, scale, components = directions
        x = ((x - mean) / scale) @ components.T
        sample = np.asarray(known.sample, float)
        fits = sample.ndim == 2 and sample.shape[0] >= least(inputs) and sample.shape[1] == x.shape[1]
        if fits and known.held_out and usable(inputs, NAME):
            held_out = sample
    measures: list[Measure] = [Directions(x, directions is not None), Kernel(x, directions is not None)]
    if held_out is not None:
        for measure in measures:
            measure.take(held_out)  # type: ignore[attr-defined]
    return watch_weekly(inputs, NAME, cases, measures, _power)


def _directions(known: ReferenceFeatures, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    mean, scale, components = (np.asarray(x, float) for x in (known.mean, known.scale, known.components))
    if mean.shape != (width,) or scale.shape != (width,) or components.ndim != 2 or components.shape[1] != width:
        return None
    good = np.isfinite(mean).all() and np.isfinite(components).all() and bool((scale > 0).all())
    return (mean, scale, components) if good else None


@define(eq=False)
class _Vectors:
    x: np.ndarray = field(repr=False)
    fixed: bool  # whether the columns are directions already
    base: np.ndarray = field(factory=lambda: np.zeros((0, 0)), repr=False)

    @property
    def known(self) -> int:
        """As `Measure`."""
        return len(self.base)

    def learn(self, rows: np.ndarray) -> None:
        """As `Measure`."""
        picked = rows[np.linspace(0, len(rows) - 1, min(len(rows), _LEARNT)).astype(int)] if len(rows) else rows
        self.base = self.x[picked]

    def take(self, sample: np.ndarray) -> None:
        """Compare with this sample."""
        self.base = sample

    def pooled(self, rows: np.ndarray) -> np.ndarray:
        """(known + rows, directions), comparison first."""
        both = np.concatenate([self.base, self.x[rows]])
        return both if self.fixed else principal(both)


@define(eq=False)
class Directions(_Vectors):
    """Kolmogorov-Smirnov, direction by direction."""

    name: str = "directions"
    weight: float = 0.5

    def judge(self, rows: np.ndarray, enough: float, seed: Sequence[int]) -> Judged:
        """As `Measure`."""
        if not self.known or not len(rows):
            return NOTHING
        both, n = self.pooled(rows), self.known
        base, block = np.sort(both[:n], axis=0), np.sort(both[n:], axis=0)
        gaps = [largest_gap(base[:, d], block[:, d]) for d in range(both.shape[1])]
        worst = int(np.argmax(gaps))
        p = min(1.0, len(gaps) * gap_p(n, len(rows), gaps[worst]))
        spread = float(base[:, worst].std()) or 1.0
        moved = float(block[:, worst].mean() - base[:, worst].mean()) / spread
        return Judged(
            p, f"features moved by {moved:+.1f} SD in direction {worst + 1} of {len(gaps)}, {len(rows)} cases"
        )

    def summary(self, rows: np.ndarray | None) -> Spread:
        """Mean and SD by direction; only where directions are fixed."""
        x = self.base if rows is None else self.x[rows]
        if not self.fixed or not len(x):
            return Spread(len(x), None, None)
        return Spread(len(x), tuple(x.mean(axis=0).tolist()), tuple(x.std(axis=0).tolist()))


@define(eq=False)
class Kernel(_Vectors):
    """Maximum mean discrepancy with a Gaussian kernel of the median distance, by permutation."""

    name: str = "kernel"
    weight: float = 0.5

    def judge(self, rows: np.ndarray, enough: float, seed: Sequence[int]) -> Judged:
        """As `Measure`."""
        if not self.known or not len(rows):
            return NOTHING
        kernel = gaussian(self.pooled(rows))
        value, p = kernel_test(kernel, self.known, enough, seed)
        return Judged(p, f"kernel distance {math.sqrt(max(value, 0.0)):.2f} over {len(rows)} cases")

    def summary(self, rows: np.ndarray | None) -> Distance:
        """The distance of these cases from the comparison."""
        if rows is None or not len(rows) or not self.known:
            return Distance(self.known if rows is None else len(rows), None)
        kernel = gaussian(self.pooled(rows))
        which = np.arange(self.known, len(kernel))
        return Distance(len(rows), math.sqrt(max(float(_discrepancy(kernel, which[None, :])[0]), 0.0)))


def principal(x: np.ndarray, most: int = DIRECTIONS) -> np.ndarray:
    """Standardised columns on their leading principal components, whichever side a row is of; (n, most or fewer)."""
    spread = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    wide = z.shape[1] > len(z)
    values, vectors = np.linalg.eigh(z @ z.T if wide else z.T @ z)
    order = np.argsort(values)[::-1][:most]
    order = order[values[order] > 1e-9 * max(float(values.max()), 1e-9)]
    if not len(order):
        return np.zeros((len(x), 1))
    scores = vectors[:, order] * np.sqrt(values[order]) if wide else z @ vectors[:, order]
    return np.asarray(scores * np.where(scores[np.abs(scores).argmax(axis=0), np.arange(len(order))] < 0, -1.0, 1.0))


def gaussian(x: np.ndarray) -> np.ndarray:
    """Gaussian kernel of all pairs, its width the median distance."""
    squares = (x**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * x @ x.T, 0.0)
    middle = float(np.median(distances[np.triu_indices(len(x), 1)])) if len(x) > 1 else 1.0
    return np.asarray(np.exp(-distances / max(middle, 1e-12)))


def kernel_test(kernel: np.ndarray, known: int, enough: float, seed: Sequence[int]) -> tuple[float, float]:
    """Squared maximum mean discrepancy of the rows from `known` on against the others, and its permutation p-value.

    Parameters
    ----------
    kernel : numpy.ndarray
        (n, n).
    known : int
    enough : float
        p-values need only be told apart down to this; draws are made until 20 were as large as the statistic, or
        so many that one hit leaves p below that level. From 1 on p is approximate, and for pictures only.
    seed : sequence of int

    Returns
    -------
    statistic, p

    References
    ----------
    Gretton et al, JMLR 2012; Besag, Clifford, Biometrika 1991 (sequential Monte Carlo p-values)
    """
    total = len(kernel)
    small = min(known, total - known)  # permuting the smaller side is the same, and cheaper
    rng = np.random.default_rng(list(seed))
    which = np.arange(known, total) if small == total - known else np.arange(known)
    value = float(_discrepancy(kernel, which[None, :])[0])
    most = int(min(max(3 / enough, 200), _MOST_DRAWS))
    drawn = exceeded = 0
    if enough >= 1.0:  # after the alarm the path is only drawn: a gamma with the permutations' moments will do
        picked = np.argpartition(rng.random((200, total), dtype=np.float32), small - 1, axis=1)[:, :small]
        values = _discrepancy(kernel, picked)
        mean, variance = float(values.mean()), max(float(values.var()), 1e-18)
        return value, float(gamma.sf(value, mean**2 / variance, scale=variance / mean)) if mean > 0 else 1.0
    while drawn < most:
        batch = min(200 if drawn == 0 else 2000, most - drawn)
        picked = np.argpartition(rng.random((batch, total), dtype=np.float32), small - 1, axis=1)[:, :small]
        large = _discrepancy(kernel, picked) >= value - 1e-12
        hits = np.flatnonzero(large)
        if exceeded + len(hits) >= _EXCEEDED:
            return value, _EXCEEDED / (drawn + int(hits[_EXCEEDED - exceeded - 1]) + 1)
        exceeded += len(hits)
        drawn += batch
    return value, (1 + exceeded) / (1 + drawn)


def _discrepancy(kernel: np.ndarray, picked: np.ndarray) -> np.ndarray:
    """(draws,): squared discrepancy of the picked rows (draws, m) against the rest."""
    total, m = len(kernel), picked.shape[1]
    n = total - m
    sums = kernel.sum(axis=1)
    if m <= 24:
        within = kernel[picked[:, :, None], picked[:, None, :]].sum(axis=(1, 2))
    else:
        chosen = np.zeros((len(picked), total), np.float32)
        np.put_along_axis(chosen, picked, 1.0, axis=1)
        within = np.einsum("ij,ij->i", chosen @ kernel.astype(np.float32), chosen, dtype=float)
    across = sums[picked].sum(axis=1) - within
    rest = sums.sum() - 2 * across - within
    return np.asarray(within / m**2 + rest / n**2 - 2 * across / (m * n))


def _power(measures: Sequence[Measure], week: int, quarter: int, alpha: float) -> str:
    if not measures:
        return "Nothing: no features are known."
    known, level = measures[0].known, alpha / 2 * measures[0].weight / DIRECTIONS
    found = [
        (detectable_shift(known, n, level * f), span) for n, span, f in ((week, "week", 1), (quarter, "quarter", 4))
    ]
    seen = [f"about {s:.1f} SD within a {span}" for s, span in found if s is not None]
    if not seen:
        return "No shift in one direction would have crossed with so few cases."
    return f"Features that move in one direction by {' or '.join(seen)} would have crossed with 80% power."
