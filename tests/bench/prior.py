"""``python -m tests.bench.prior``: an ideal network in hospitals of three mixes, as our own audit and monitor see it.

A network that was shown every stage equally often, in a hospital with another mix. Each row is so many hospitals of one
kind: each takes the prior from a cohort of ``--cohort`` patients, fits on ``--fits`` unseen ones, and stages 24 months
of 50 patients, who are all operated. Calibration intercept and slope of P(T3 or T4), and the odds ratio by which
pathology departs from the probabilities, are the audit's own code over 5000 new patients a hospital: their mean, and
their SD. ``stopped`` is how many the monitor of pathology stops. ``before``: softmax of logits over a temperature that
was fitted on single slices; ``prior, then temperature`` divides the cohort's prior by the temperature as well; ``now``
is what `gtr_batch.domain.calibration` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import attrs
import numpy as np
from attrs import frozen
from rich.console import Console
from rich.table import Table

from gtr_batch.audit.monitors.cusum import estimate_shift
from gtr_batch.audit.monitors.stage_shift import watch_stage_shift
from gtr_batch.domain.audit import AuditCase, Classification, Surgery
from gtr_batch.domain.calibration import StagePriors, calibrated, stage_priors
from gtr_batch.domain.staging import STAGES, StageProbabilities
from gtr_batch.metrics.calibration import at_least_t3, recalibration
from gtr_batch.simulation.hospital.months import FIRST, MODEL, Months, inputs_of
from gtr_batch.simulation.worlds.ideal_network import MIXES, Answered, IdealNetwork, answered
from gtr_batch.training.fit.temperature import fit_temperature

MONTHS, A_MONTH, MEASURED = 24, 50, 5000
BALANCED = (0.25, 0.25, 0.25, 0.25)
KINDS = {  # apart, alike, sharpness
    "usual": (1.5, 1.0, 1.0),
    "hard": (1.0, 1.0, 1.0),
    "easy": (2.2, 1.0, 1.0),
    "slices differ": (1.5, 0.7, 1.0),
    "too sure": (1.5, 0.7, 2.0),
}
Probabilities = Callable[[np.ndarray], np.ndarray]  # logits (n, 3, 4) to (n, 4)


@frozen(eq=False)
class Cohort:
    """What a hospital can fit on: how many of each stage its cohort holds, and patients whom no training saw."""

    counts: list[int]
    unseen: Answered


def cohort_of(world: IdealNetwork, patients: int, fits: int, seed: int) -> Cohort:
    """Draw a hospital's cohort."""
    rng = np.random.default_rng([seed, 3])
    counts = rng.multinomial(patients - fits, world.mix)
    unseen = answered(world, fits, rng)
    return Cohort((counts + np.bincount(unseen.stages, minlength=4)).tolist(), unseen)


def mean_of_slices(logits: np.ndarray, temperature: float, priors: StagePriors | None) -> np.ndarray:
    """What is reported: the mean of the three slices' probabilities."""
    return calibrated(logits, temperature, priors).mean(axis=1)


def before(seen: Cohort) -> Probabilities:
    """A temperature on single slices, and no prior."""
    temperature = fit_temperature(seen.unseen.logits.reshape(-1, 1, 4), np.repeat(seen.unseen.stages, 3))
    return partial(mean_of_slices, temperature=temperature, priors=None)


def prior_first(seen: Cohort) -> Probabilities:
    """The cohort's prior in the logits, then one temperature over both."""
    log_prior = np.log(stage_priors(BALANCED, seen.counts).cohort)
    temperature = fit_temperature(seen.unseen.logits + log_prior, seen.unseen.stages)
    return lambda logits: mean_of_slices(logits + log_prior, temperature, None)


def now(seen: Cohort) -> Probabilities:
    """As training fits it and staging applies it."""
    priors = stage_priors(BALANCED, seen.counts)
    return partial(
        mean_of_slices, temperature=fit_temperature(seen.unseen.logits, seen.unseen.stages, priors), priors=priors
    )


WAYS: dict[str, Callable[[Cohort], Probabilities]] = {
    "before": before,
    "prior, then temperature": prior_first,
    "now": now,
}


def history(world: IdealNetwork, answer: Probabilities, seed: int) -> tuple[AuditCase, ...]:
    """Two years of patients, all of whom are operated and reported four weeks later."""
    drawn = answered(world, MONTHS * A_MONTH, np.random.default_rng([seed, 1]))
    said = answer(drawn.logits)
    found = []
    for k, (p, stage) in enumerate(zip(said, drawn.stages.tolist(), strict=True)):
        on = FIRST + timedelta(days=int(k * 730 / len(said)))
        reported = on + timedelta(days=28)
        found.append(
            AuditCase(
                case_id=f"s{k:05d}",
                subject=f"p{k:05d}",
                night=on,
                study_on=on,
                model_version=MODEL,
                t_stage=STAGES[int(p.argmax())],
                probabilities=StageProbabilities(tuple(p)),
                surgery=Surgery(
                    on + timedelta(days=20), reported, Classification.PT, str(STAGES[stage]), STAGES[stage]
                ),
            )
        )
    return tuple(found)


def stopped(world: IdealNetwork, answer: Probabilities, seed: int) -> bool:
    """Whether the monitor of pathology says stop within the history."""
    empty = inputs_of(Months(months=MONTHS, per_month=1, seed=seed))
    inputs = attrs.evolve(empty, cases=history(world, answer, seed))
    return watch_stage_shift(inputs).crossed_on is not None


def measured(world: IdealNetwork, name: str, given: argparse.Namespace) -> list[str]:
    """One row: many hospitals of one kind."""
    slopes, intercepts, shifts, stops = [], [], [], 0
    for k in range(given.hospitals):
        answer = WAYS[name](cohort_of(world, given.cohort, given.fits, k))
        new = answered(world, MEASURED, np.random.default_rng([k, 2]))
        said = answer(new.logits)
        fitted, shift = recalibration(*at_least_t3(new.stages, said)), estimate_shift(new.stages, said)
        assert fitted is not None and shift is not None  # so many patients have every outcome
        slopes.append(fitted.slope)
        intercepts.append(fitted.intercept)
        shifts.append(shift.odds_ratio)
        stops += stopped(world, answer, k)
    return [
        f"{np.mean(intercepts):+.2f} ({np.std(intercepts):.2f})",
        f"{np.mean(slopes):.2f} ({np.std(slopes):.2f})",
        f"{np.exp(np.mean(np.log(shifts))):.2f}",
        f"{stops} of {given.hospitals}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hospitals", type=int, default=40)
    parser.add_argument("--cohort", type=int, default=1000)
    parser.add_argument("--fits", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    given = parser.parse_args()
    table = Table(title=f"cohorts of {given.cohort}, fits on {given.fits} unseen patients")
    for heading in ("mix", "network", "way", "intercept (SD)", "slope (SD)", "odds ratio", "stopped"):
        table.add_column(heading, justify="left" if heading in ("mix", "network", "way") else "right")
    for mix, shares in MIXES.items():
        for kind in given.kinds:
            for name in given.ways:
                table.add_row(mix, kind, name, *measured(IdealNetwork(shares, *KINDS[kind]), name, given))
        table.add_section()
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
