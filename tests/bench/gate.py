"""``python -m tests.bench.gate sizes|looks|chain``: how often the gate errs, measured where the truth is known.

``sizes``: whole gate with the default settings in four worlds, for a candidate as good as the champion and one worse by
the margin; what passes, and what passes each criterion. ``looks``: ten candidates in a row on one holdout, each worse
than the champion by the margin; in how many holdouts at least one passes, each judged at 5% and each at what its look
leaves. ``chain``: six candidates in a row, each worse by 0.6 of the margin than the champion of its day, and promoted
where it passes; how far the last champion ends below the best one, held against the present champion alone and against
the best there was. Intervals are Wilson's, 95%.
"""

from __future__ import annotations

import argparse

import numpy as np

from gtr_batch.config import GovernanceConfig
from gtr_batch.governance.error_rates import Draw, World, error_rates, simulate
from gtr_batch.metrics.intervals import wilson
from gtr_batch.simulation.hospital import gate_worlds
from gtr_batch.simulation.hospital.successors import chain_of_champions, looks_that_pass
from gtr_batch.simulation.worlds.successors import SharedPatients

SETTINGS = GovernanceConfig()
WORLDS: dict[str, tuple[Draw, World]] = {
    "accuracy 0.92, T4 apart": (simulate, World(0)),
    "accuracy 0.92, T4 lower in 8%": (gate_worlds.draw, World(0, t4=0.08)),
    "accuracy 0.867, T4 lower in 3%": (gate_worlds.draw, World(0, champion=0.867, t4=0.03)),
    "accuracy 0.867, 15/15/35/35, T4 lower in 18%": (
        gate_worlds.draw,
        World(0, champion=0.867, mix=(0.15, 0.15, 0.35, 0.35), t4=0.18),
    ),
}


def share(count: int, runs: int) -> str:
    """In words, with its interval."""
    low, high = wilson(count, runs) or (0.0, 1.0)
    return f"{count / runs:.1%} ({low:.1%} to {high:.1%})"


def sizes(patients: list[int], runs: int, draws: int, look: int) -> None:
    for n in patients:
        for name, (draw, world) in WORLDS.items():
            for difference in (0.0, -SETTINGS.accuracy_margin):
                here = World(n, difference, world.champion, world.discordance, world.mix, world.t4)
                found = error_rates(here, SETTINGS, runs=runs, draws=draws, draw=draw, look=look)
                each = ", ".join(f"{k} {v:.0%}" for k, v in found.criteria.items() if k != "patients")
                kind = "equal" if difference == 0 else f"worse by {-difference:g}"
                passed = share(round(found.passes * runs), runs)
                print(f"{n} | {name} | {kind} | {passed} | fails {found.fails:.1%} | {each}", flush=True)


def looks(patients: list[int], runs: int, draws: int) -> None:
    for n in patients:
        for spend in (False, True):
            passed = [
                looks_that_pass(
                    SharedPatients(n), SETTINGS, k, looks=10, worse=SETTINGS.accuracy_margin, spend=spend, draws=draws
                )
                for k in range(runs)
            ]
            how = "each look spends" if spend else "each look at 5%"
            any_of = share(sum(p > 0 for p in passed), runs)
            print(
                f"{n} | {how} | at least one of ten passes: {any_of} | passed a holdout {np.mean(passed):.2f}",
                flush=True,
            )


def chain(patients: list[int], runs: int, draws: int) -> None:
    worse = 0.6 * SETTINGS.accuracy_margin
    for n in patients:
        for hold_former in (False, True):
            lost = [
                chain_of_champions(
                    SharedPatients(n), SETTINGS, k, steps=6, worse=worse, hold_former=hold_former, draws=draws
                ).lost
                for k in range(runs)
            ]
            how = "against the best there was" if hold_former else "against the present champion"
            beyond = share(sum(one > SETTINGS.accuracy_margin + 1e-9 for one in lost), runs)
            print(f"{n} | {how} | ends more than the margin below: {beyond} | most {max(lost):.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["sizes", "looks", "chain"])
    parser.add_argument("--patients", type=int, nargs="+", default=[700])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--draws", type=int, default=200, help="bootstrap draws of each holdout")
    parser.add_argument("--look", type=int, default=1)
    args = parser.parse_args()
    if args.what == "sizes":
        sizes(args.patients, args.runs, args.draws, args.look)
    else:
        {"looks": looks, "chain": chain}[args.what](args.patients, args.runs, args.draws)


if __name__ == "__main__":
    main()
