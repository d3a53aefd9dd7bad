"""``python -m tests.bench.conformal``: coverage and length of sets of stages, of probabilities that are not calibrated.

Each repetition draws a hospital (`gtr_batch.simulation.worlds.uncalibrated`), fits thresholds on some patients and
counts on others. Beside ours: the sets that grow from the likeliest stage by the likelier neighbour, which this service
had before, at a threshold that counts the last stage in, as it was, and at one that does not, as ours.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from gtr_batch.domain.conformal import nonconformity, shortest_interval
from gtr_batch.simulation.worlds import uncalibrated

COVERAGE = 0.9
WORLDS = {
    "calibrated": {"mix": (0.25,) * 4, "sharpness": 1.0, "torn": 0.0},
    "too sure, another mix": {"torn": 0.0},
    "too sure, another mix, torn": {},
    "torn between two": {"sharpness": 1.0, "torn": 0.6},
    "mostly T1": {"mix": (0.6, 0.2, 0.1, 0.1), "sharpness": 4.0},
    "hardly sure": {"sharpness": 0.3},
}

Score = Callable[[Sequence[float], int], float]
Find = Callable[[Sequence[float], float], tuple[int, int]]


def grown(p: Sequence[float]) -> list[tuple[int, int, float, float]]:
    """The growing set: first, last, probability, and probability before the last stage came in; of each length."""
    low = high = max(range(len(p)), key=lambda k: p[k])
    found = [(low, high, p[low], 0.0)]
    while high - low < len(p) - 1:
        below = p[low - 1] if low > 0 else -1.0
        above = p[high + 1] if high < len(p) - 1 else -1.0
        low, high = (low - 1, high) if below > above else (low, high + 1)
        before = found[-1][2]
        found.append((low, high, before + max(below, above), before))
    return found


def grown_inclusive(p: Sequence[float], true: int) -> float:
    """Its probability when it first holds the true stage, that stage's own with it: the score of before."""
    return next(total for first, last, total, _ in grown(p) if first <= true <= last)


def grown_exclusive(p: Sequence[float], true: int) -> float:
    """Its probability right before it holds the true stage."""
    return next(before for first, last, _, before in grown(p) if first <= true <= last)


def grown_set(p: Sequence[float], threshold: float) -> tuple[int, int]:
    """The growing set once it reaches the threshold: the set of before."""
    return next((s[:2] for s in grown(p) if s[2] >= threshold), (0, len(p) - 1))


def grown_set_beyond(p: Sequence[float], threshold: float) -> tuple[int, int]:
    """The growing set once it is beyond the threshold."""
    return next((s[:2] for s in grown(p) if s[2] > threshold), (0, len(p) - 1))


RULES: dict[str, tuple[Score, Find]] = {
    "shortest (ours)": (nonconformity, shortest_interval),
    "growing, as before": (grown_inclusive, grown_set),
    "growing, exclusive": (grown_exclusive, grown_set_beyond),
}


def measure(
    world: dict[str, object], repetitions: int, patients: int, judged: int, seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Coverage and mean length of each rule, one number a repetition."""
    found: dict[str, list[tuple[float, float]]] = {rule: [] for rule in RULES}
    for k in range(repetitions):
        p, stages = uncalibrated.answers(patients + judged, seed + k, **world)  # type: ignore[arg-type]
        rows, truth = p.tolist(), stages.tolist()
        for rule, (score, find) in RULES.items():
            scores = sorted(score(row, t) for row, t in zip(rows[:patients], truth[:patients], strict=True))
            threshold = scores[math.ceil((patients + 1) * COVERAGE) - 1]
            sets = [find(row, threshold) for row in rows[patients:]]
            held = [a <= t <= b for (a, b), t in zip(sets, truth[patients:], strict=True)]
            found[rule].append((float(np.mean(held)), float(np.mean([b - a + 1 for a, b in sets]))))
    return {rule: (np.array([h for h, _ in rows]), np.array([s for _, s in rows])) for rule, rows in found.items()}


def main() -> None:
    """Print a table: coverage with its Monte-Carlo error, and stages a set, by world and rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=300)
    parser.add_argument("--patients", type=int, default=200, help="of whom the threshold is fitted")
    parser.add_argument("--judged", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    table = Table(
        title=f"{given.repetitions} x ({given.patients} fitted, {given.judged} judged), promised {COVERAGE:.0%}"
    )
    for heading in ("world", *RULES):
        table.add_column(heading)
    for name, world in WORLDS.items():
        found = measure(world, given.repetitions, given.patients, given.judged, given.seed)
        cells = [
            f"{held.mean():.3f} +- {held.std() / math.sqrt(len(held)):.3f}, {size.mean():.2f} stages"
            for held, size in found.values()
        ]
        table.add_row(name, *cells)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
