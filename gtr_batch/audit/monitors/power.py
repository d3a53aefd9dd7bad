"""What a week's or a quarter's cases would have shown with 80% power: the shift a quiet monitor can speak of."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, norm

from gtr_batch.audit.monitors.exact import gap_p, upper_tail

POWER = 0.8


def least_count(known: int, marked: int, drawn: int, level: float) -> int | None:
    """Fewest of `drawn` cases that cross `level` where `marked` of the `known` comparison are so; None: no count"""
    counts = np.arange(1, drawn + 1)
    if not drawn or not known:
        return None
    tails = upper_tail(known + drawn, marked + counts, drawn, counts)
    crossing = np.flatnonzero(tails <= level)
    return int(counts[crossing[0]]) if len(crossing) else None


def detectable_share(known: int, marked: int, drawn: int, level: float) -> float | None:
    """The smallest share among `drawn` cases that crosses `level` with 80% power; None where none does."""
    needed = least_count(known, marked, drawn, level)
    if needed is None:
        return None
    shares = np.linspace(0, 1, 1001)
    return float(shares[int(np.argmax(binom.sf(needed - 1, drawn, shares) >= POWER))])


def detectable_shift(known: int, drawn: int, level: float) -> float | None:
    """About which shift of a normal number, in SD, Kolmogorov-Smirnov shows with 80% power; None where none does."""
    low, high = 1, known * drawn
    if not known or not drawn or gap_p(known, drawn, high) > level:
        return None
    while low < high:  # the smallest distance that crosses
        middle = (low + high) // 2
        low, high = (low, middle) if gap_p(known, drawn, middle) <= level else (middle + 1, high)
    spread = 0.5 * np.sqrt(1 / known + 1 / drawn)
    distance = low / (known * drawn) + norm.ppf(POWER) * spread - spread  # the largest gap is itself upward biased
    return float(2 * norm.ppf((1 + distance) / 2)) if 0 < distance < 0.98 else None


def percent(share: float) -> str:
    """``12%``."""
    return f"{100 * share:.0f}%"
