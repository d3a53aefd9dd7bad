"""``python -m tests.bench.unseen``: what is fitted on patients whom the network knows, in a world where it overfits.

First the effect of the rad-score in the nomogram (log-odds a unit), by four ways to get the rad-scores that it is
fitted on, and what it is in 4000 new patients: ``train and validation`` (as it was), ``folds of the LASSO`` over
the same features, ``unseen patients`` (`training.folds` = 0) and ``out-of-fold networks`` (`training.folds` = 5).
Then, where all validation patients choose the step to stop at and are what is fitted on, or one half is for each: the
log-loss of new patients less what those who are fitted on promise, and the coverage of 90% sets in new patients (split
conformal on the true stage's probability, which comes to 90% where nobody was used twice).
"""

from __future__ import annotations

import argparse
import math

import attrs
import numpy as np
from rich.console import Console
from rich.table import Table
from statsmodels.miscmodels.ordinal_model import OrderedModel

from gtr_batch.domain.calibration import calibrated, stage_priors
from gtr_batch.domain.model import RadScoreModel
from gtr_batch.nomogram.rad_score import rad_score
from gtr_batch.simulation.worlds.overfitting import Network, Overfitting, Patients, drawn, trained
from gtr_batch.training.fit import fit_rad_score, fit_temperature

FOLDS, NEW = 5, 4000
LEARNABLE = Overfitting(apart=1.6, inputs=20, hidden=48)
STOPS = (20, 30, 40, 50, 60, 80, 100, 130, 160, 200)  # steps at which the training may end


def effect(scores: np.ndarray, stages: np.ndarray) -> float:
    """Log-odds of a deeper stage a unit of the rad-score, by proportional odds."""
    return float(OrderedModel(stages, scores[:, None], distr="logit").fit(method="bfgs", disp=False).params[0])


def scores_of(model: RadScoreModel, network: Network, patients: Patients) -> np.ndarray:
    """Their rad-scores."""
    return np.array([rad_score(model, f) for f in network.features(patients)])


def lasso(network: Network, patients: Patients) -> RadScoreModel:
    """The rad-score as training fits it."""
    return fit_rad_score(network.features(patients), patients.stages, np.arange(len(patients)))


def effects(
    world: Overfitting, train: int, unseen: int, seed: int, new: int = NEW, folds: int = FOLDS
) -> dict[str, float]:
    """The rad-score's effect by each way, and among new patients."""
    rng = np.random.default_rng(seed)
    seen, others, later = (drawn(world, n, rng) for n in (train, unseen, new))
    network = trained(world, seen, rng)
    model = lasso(network, seen)
    of_seen, of_others = scores_of(model, network, seen), scores_of(model, network, others)
    fold = np.arange(train) % folds
    relasso, honest = np.zeros(train), np.zeros(train)
    for k in range(folds):
        rest, out = seen.of(fold != k), seen.of(fold == k)
        relasso[fold == k] = scores_of(lasso(network, rest), network, out)
        apart = trained(world, rest, rng)
        honest[fold == k] = scores_of(lasso(apart, rest), apart, out)
    both = np.concatenate([seen.stages, others.stages])
    return {
        "train and validation": effect(np.concatenate([of_seen, of_others]), both),
        "folds of the LASSO": effect(relasso, seen.stages),
        "unseen patients": effect(of_others, others.stages),
        "out-of-fold networks": effect(np.concatenate([honest, of_others]), both),
        "new patients": effect(scores_of(model, network, later), later.stages),
    }


def stopped(world: Overfitting, seen: Patients, chooses: Patients, seed: int) -> Network:
    """The network of the step at which those who choose lose least."""
    networks = [trained(attrs.evolve(world, steps=n), seen, np.random.default_rng(seed)) for n in STOPS]
    rows = np.arange(len(chooses))
    losses = [-np.log(calibrated(n.logits(chooses), 1.0)[rows, chooses.stages] + 1e-12).mean() for n in networks]
    return networks[int(np.argmin(losses))]


def fitted_apart(world: Overfitting, train: int, validation: int, seed: int, *, shared: bool) -> tuple[float, float]:
    """What the log-loss flatters, and the coverage in new patients, where choice and fits share patients or do not."""
    rng = np.random.default_rng(seed)
    seen, later, held = drawn(world, train, rng), drawn(world, NEW, rng), drawn(world, validation, rng)
    first = np.arange(validation) < validation // 2
    chooses, fits = (held, held) if shared else (held.of(first), held.of(~first))
    network = stopped(world, seen, chooses, seed)
    priors = stage_priors([0.25] * 4, np.bincount(np.concatenate([seen.stages, held.stages]), minlength=4).tolist())
    temperature = fit_temperature(network.logits(fits)[:, None], fits.stages, priors)
    fitted, new = (
        calibrated(network.logits(some), temperature, priors)[np.arange(len(some)), some.stages]
        for some in (fits, later)
    )
    rank = min(math.ceil((len(fits) + 1) * 0.9), len(fits))
    covered = float((new >= np.sort(fitted)[::-1][rank - 1]).mean())
    return float(np.log(fitted).mean() - np.log(new).mean()), covered


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    given = parser.parse_args()
    world, console = Overfitting(), Console(width=120)
    table = Table("train / unseen patients", "rad-scores of", "effect: mean (SD)", title="the rad-score's effect")
    for train, unseen in ((160, 34), (600, 75)):
        found = [effects(world, train, unseen, seed) for seed in range(given.runs)]
        for way in found[0]:
            values = [f[way] for f in found]
            table.add_row(f"{train} / {unseen}", way, f"{np.mean(values):.2f} ({np.std(values):.2f})")
    console.print(table)
    table = Table("validation", "epoch and fits", "log-loss flattered by", "coverage", title="300 train patients")
    for validation in (34, 150):
        for shared in (True, False):
            runs = range(10 * given.runs)
            pairs = np.array([fitted_apart(LEARNABLE, 300, validation, s, shared=shared) for s in runs])
            (loss, cover), errors = pairs.mean(axis=0), pairs.std(axis=0) / np.sqrt(len(pairs))
            words = "of the same patients" if shared else "of two halves"
            table.add_row(str(validation), words, f"{loss:+.3f} ({errors[0]:.3f})", f"{cover:.3f} ({errors[1]:.3f})")
    console.print(table)
    console.print("In brackets: SD of the runs (first table), standard error of the mean (second).")


if __name__ == "__main__":
    main()
