"""Make the demo's model from nothing: ``python -m gtr_batch.simulation.demos.model --out DIR``.

Phantom patients are drawn, prepared by the contract and cached; GTRNet (ResNet-10, the last layer's cells 8 pixels
apart) is trained first on windows about the tumour, where an image costs a twelfth and there is little else to look at,
then on wider ones, then on whole slices, and its map of the true class is drawn to the tumour's outline; temperature,
rad-score, nomogram and locator are fitted; everything is measured on whole slices of patients never seen; a twin is
trained on slices whose stomach is blanked. "Demo, not for patients": it has never seen one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from attrs import frozen

from gtr_batch.domain.calibration import calibrated, stage_priors
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.conformal import ConformalSets
from gtr_batch.domain.model import KeySliceLocator, ModelManifest, NomogramModel, PreprocessingContract
from gtr_batch.domain.staging import STAGES
from gtr_batch.explain.gradcam import GradCamForward
from gtr_batch.explain.lesion import body_of, looks
from gtr_batch.governance.canary import with_canary
from gtr_batch.metrics.intervals import wilson
from gtr_batch.nomogram.rad_score import rad_score
from gtr_batch.simulation.demos.abstention import REFERENCE_PATIENTS, REFERENCE_SEED, rule_of
from gtr_batch.simulation.demos.cohort import Drawing, Drawn, Say, blanked, drawn_together, gather
from gtr_batch.simulation.hospital.cohort import draw_phantom
from gtr_batch.simulation.hospital.ehr import draw_clinical
from gtr_batch.simulation.hospital.mix import STAGE_MIX, in_turn
from gtr_batch.simulation.phantom import ranges as phantom_ranges
from gtr_batch.simulation.phantom.ranges import Ranges
from gtr_batch.stage.artefact import load_artefact, write_artefact
from gtr_batch.stage.network import GTRNet, backbone_of
from gtr_batch.training.fit import SIZE_AT_LEAST_CM, fit_nomogram, fit_rad_score, fit_temperature
from gtr_batch.training.fit.conformal import fit_conformal
from gtr_batch.training.fit.locator import MarkedSeries, error_on, fit_and_measure, located
from gtr_batch.training.loop import (
    Epoch,
    Objective,
    PreparedSlices,
    Settings,
    device_of,
    penultimate,
    predict,
    shown_shares,
    train,
    voted,
)
from gtr_batch.training.objective import LESION_WEIGHT, on_the_lesion

BACKBONE = "resnet10-stride8"
WALLS_MM = (6.0, 8.0, 10.0)  # borders between the groups by which accuracy is reported
TRAINING_SEED, VALIDATION_SEED, UNSEEN_SEED, LOCATOR_SEED, LOCATOR_UNSEEN_SEED = 100, 300, 200, 400, 600


@frozen
class Plan:
    """How much of everything; the defaults made the committed artefact.

    `reference`: patients among whom a new one is ranked, to tell whether the model may answer. `batch` is of slices.
    `ranges`: a name in `gtr_batch.simulation.phantom.ranges`. `workers`: processes that draw. `lesion_weight`: the
    price of a class's map that is not on the tumour's outline (`on_the_lesion`); 0: cross-entropy alone.
    """

    families: int = 238
    validation: int = 120
    unseen: int = 400
    locator: int = 60
    reference: int = REFERENCE_PATIENTS
    locator_unseen: int = 60
    near_epochs: int = 35
    wide_epochs: int = 8
    whole_epochs: int = 14
    last_epochs: int = 14
    seed: int = 0
    batch: int = 64
    backbone: str = BACKBONE
    lesion_weight: float = LESION_WEIGHT
    ranges: str = "USUAL"
    device: str = "cpu"
    workers: int = 1

    def drawn_from(self) -> Ranges:
        """What the phantoms are drawn from."""
        found: Ranges = getattr(phantom_ranges, self.ranges)
        return found


def trained(
    training: PreparedSlices,
    validation: PreparedSlices,
    plan: Plan,
    say: Say,
    what: str,
    *,
    objective: Objective | None = None,
) -> GTRNet:
    """A GTRNet trained from random weights: on windows about the tumour, on wider ones, on whole slices."""
    torch.manual_seed(plan.seed)
    network = GTRNet(plan.backbone, dropout=0.2)
    lesson = partial(Settings, batch=plan.batch, seed=plan.seed)
    lessons = [
        lesson(epochs=plan.near_epochs, learning_rate=2e-3, patience=12, window=(64, 64)),
        lesson(epochs=plan.wide_epochs, learning_rate=1e-3, patience=5, window=(96, 96)),
        lesson(epochs=plan.wide_epochs, learning_rate=8e-4, patience=5, window=(144, 144)),
        lesson(epochs=plan.whole_epochs, learning_rate=6e-4, patience=5),
        lesson(epochs=plan.last_epochs, learning_rate=5e-4, patience=6, seed=plan.seed + 1),
    ]
    names = [f"window {lesson.window[0]}" if lesson.window else "whole slices" for lesson in lessons]
    told = partial(_tell, say, what, names, lessons)
    train(network, training, validation, lessons, told, device=plan.device, objective=objective)
    return network


def _tell(say: Say, what: str, names: list[str], lessons: list[Settings], epoch: Epoch) -> None:
    say(
        f"{what}, {names[epoch.lesson]}: epoch {epoch.number}/{lessons[epoch.lesson].epochs}, "
        f"loss {epoch.train_loss:.3f}, validation {epoch.validation_loss:.3f}, "
        f"accuracy {epoch.validation_accuracy:.3f}{' *' if epoch.best else ''}"
    )


def whole_series(
    network: GTRNet, seed: int, count: int, cache: Path, say: Say, *, ranges: Ranges, workers: int
) -> list[MarkedSeries]:
    """All axial slices of phantoms that the network was not trained on, as the locator sees them."""
    drawings = [Drawing("series", seed, index, ranges) for index in range(count)]
    drawn_together(drawings, cache, workers, say, "whole series for the locator")
    series = []
    for one in drawings:
        with np.load(one.path(cache)) as kept:
            features = penultimate(network, kept["slices"])
            areas = kept["areas"]
            series.append(MarkedSeries(features, kept["heights"], kept["lungs"], int(np.argmax(areas)), areas))
    return series


def locator_of(network: GTRNet, cache: Path, plan: Plan, say: Say) -> tuple[KeySliceLocator, dict[str, Any]]:
    """The locator, with its error in five folds and on phantoms of another seed that it was not fitted on."""
    of = partial(whole_series, network, cache=cache, say=say, ranges=plan.drawn_from(), workers=plan.workers)
    series = of(LOCATOR_SEED, plan.locator)
    locator, cross_fitted, _ = fit_and_measure(series, plan.seed)
    assert cross_fitted is not None  # all series are measured
    others = of(LOCATOR_UNSEEN_SEED, plan.locator_unseen)
    unseen = error_on(others, [located(locator, one) for one in others])
    return locator, {"locator": attrs.asdict(cross_fitted), "locator_unseen": attrs.asdict(unseen)}


def refit_locator(out: Path, cache: Path, plan: Plan, say: Say) -> dict[str, Any]:
    """Fit and measure the locator of the artefact under `out` anew; weights and all else stay as they are."""
    made = load_artefact(out)
    locator, errors = locator_of(made.network, cache, plan, say)
    manifest = attrs.evolve(made.manifest, key_slice_locator=locator, metrics={**made.manifest.metrics, **errors})
    with_canary(out, write_artefact(out, made.network, manifest, dtype=torch.float16))
    return errors


def demo_nomogram(rad_scores: np.ndarray, stages: np.ndarray, covariates: list[Covariates], seed: int) -> NomogramModel:
    """Proportional odds on a simulated cohort of 4000.

    Images of 4000 patients would take hours. Each simulated EHR therefore borrows the rad-score of an imaged patient
    of the same stage and, where there is one, the same class of size, whom the network was not trained on.
    """
    rng = np.random.default_rng([seed, 77])
    large = np.array([(c.tumour_size_cm or 0) >= SIZE_AT_LEAST_CM for c in covariates])
    scores, drawn, truth = [], [], []
    drawn_stages = in_turn(STAGE_MIX, 4000)
    for k in range(4000):
        stage = STAGES[drawn_stages[k]]
        who = draw_clinical(rng, stage)
        alike = (stages == stage.position) & (large == (who.size_cm >= SIZE_AT_LEAST_CM))
        pool = np.flatnonzero(alike if alike.any() else stages == stage.position)
        scores.append(rad_scores[rng.choice(pool)])
        drawn.append(Covariates(who.size_cm, who.differentiation, who.lauren))
        truth.append(stage.position)
    note = (
        "Demo cohort, simulated; not for patients. 4000 records of the synthetic hospital, each with the rad-score of "
        f"one of {len(stages)} phantom patients of the same stage whom the network was not trained on."
    )
    return fit_nomogram("demo cohort", np.array(scores), drawn, np.array(truth), note=note)


def sets_of(network: GTRNet, temperature: float, shown: Sequence[float], others: PreparedSlices) -> ConformalSets:
    """The sets of likely stages: the threshold of patients who chose nothing of the network or its temperature.

    `shown`: the stages' shares in training; `others` come in a mix of their own, for which the answers are corrected.
    """
    priors = stage_priors(shown, np.bincount(others.stages, minlength=4).tolist())
    return fit_conformal(calibrated(predict(network, others), temperature, priors).mean(axis=1), others.stages)


def make(out: Path, cache: Path, plan: Plan, say: Say) -> dict[str, Any]:
    """Make the artefact under `out`; returns its metrics."""
    drawn_from = partial(gather, cache=cache, say=say, ranges=plan.drawn_from(), workers=plan.workers)
    training = drawn_from("family", TRAINING_SEED, plan.families)
    validation = drawn_from("one", VALIDATION_SEED, plan.validation)
    unseen = drawn_from("one", UNSEEN_SEED, plan.unseen)
    outlined = attrs.evolve(training.cohort, lesions=training.lesions)
    objective = on_the_lesion(backbone_of(plan.backbone)[2], plan.lesion_weight) if plan.lesion_weight else None
    network = trained(outlined, parted(validation.cohort)[0], plan, say, "GTRNet", objective=objective)
    blind = trained(blanked(training), parted(blanked(validation))[0], plan, say, "blind twin")
    return complete(out, network, training, validation, unseen, cache, plan, say, blind=blind)


def complete(  # noqa: PLR0917 - the second half of `make`
    out: Path,
    network: GTRNet,
    training: Drawn,
    validation: Drawn,
    unseen: Drawn,
    cache: Path,
    plan: Plan,
    say: Say,
    *,
    blind: GTRNet,
) -> dict[str, Any]:
    """Fit what follows the network, write the artefact and measure it; `blind` was trained without the stomach."""
    _, fitted = parted(validation.cohort)
    # Fitted in the validation patients' mix, and used in the simulated hospital's: as if 1000 of it had been counted.
    shown = shown_shares(training.cohort.stages).tolist()
    validated = stage_priors(shown, np.bincount(fitted.stages, minlength=4).tolist())
    temperature = fit_temperature(predict(network, fitted), fitted.stages, validated)
    priors = stage_priors(shown, [round(1000 * share) for share in STAGE_MIX])
    rad_model = fit_rad_score(
        penultimate(network, training.cohort.slices[:, 1]), training.cohort.stages, training.indices, plan.seed
    )
    key_features = penultimate(network, validation.cohort.slices[:, 1])
    rad_scores = np.array([rad_score(rad_model, f) for f in key_features])
    covariates = [_covariates(VALIDATION_SEED, k) for k in validation.indices]
    nomogram = demo_nomogram(rad_scores, validation.cohort.stages, covariates, plan.seed)

    locator, errors = locator_of(network, cache, plan, say)
    others = gather("one", REFERENCE_SEED, plan.reference, cache, say, ranges=plan.drawn_from(), workers=plan.workers)

    manifest = ModelManifest(
        name="gtrnet-demo",
        architecture="gtrnet",
        backbone=network.backbone,
        feature_count=network.feature_count,
        weights_sha256="",
        contract=PreprocessingContract(),
        temperature=temperature,
        rad_score=rad_model,
        nomogram=nomogram,
        key_slice_locator=locator,
        conformal=sets_of(network, temperature, shown, others.cohort),
        abstention=rule_of(network, locator, validation.cohort, others.cohort),
        cohort_digest=_digest(training.cohort),
        intended_use="Demo of the service on simulated phantoms. Not for patients.",
        demo=True,
        priors=priors,
    )
    metrics: dict[str, Any] = {
        "cohort": "phantoms of gtr_batch.simulation",
        "phantoms": attrs.asdict(plan.drawn_from()),
        "lesion_weight": plan.lesion_weight,
        "trained_on": _processor(plan.device),
        "n_training": len(training.cohort),
        "n_validation": len(validation.cohort),
        **errors,
    }
    write_artefact(out, network, manifest, dtype=torch.float16)
    # What is measured is what was written: float16 weights, read back.
    written = load_artefact(out, device_of(network)).network
    metrics |= measure(written, unseen.cohort, temperature)  # as many of each stage: no prior
    answers = voted(predict(written, unseen.cohort), temperature)
    metrics["accuracy_by_wall_mm"] = by_wall(unseen.walls, unseen.cohort.stages, answers)
    metrics["heat_unseen"] = heat_of(written, unseen)
    answers = voted(predict(blind, blanked(unseen)))
    metrics["accuracy_box_without_stomach"] = float((answers == unseen.cohort.stages).mean())
    return _finish(out, manifest, metrics)


def by_wall(walls_mm: np.ndarray, stages: np.ndarray, answers: np.ndarray) -> list[dict[str, Any]]:
    """Stages right of all, by the thickness of the wall at the tumour's site and by the stage."""
    names = [
        f"below {WALLS_MM[0]:g}",
        *(f"{a:g} to {b:g}" for a, b in pairwise(WALLS_MM)),
        f"{WALLS_MM[-1]:g} and more",
    ]
    group, rows = np.digitize(walls_mm, WALLS_MM), []
    for k, name in enumerate(names):
        here = stages[group == k]
        right = answers[group == k] == here
        n, hits = len(here), int(right.sum())
        row: dict[str, Any] = {"wall_mm": name, "n": n, "right": hits, "accuracy": hits / n if n else None}
        row["accuracy_ci"] = wilson(hits, n)
        of = [here == stage.position for stage in STAGES]
        row["by_stage"] = {str(s): [int(right[o].sum()), int(o.sum())] for s, o in zip(STAGES, of, strict=True)}
        rows.append(row)
    return rows


def heat_of(network: GTRNet, drawn: Drawn) -> dict[str, Any]:
    """Where the heat of the key slices lies, as the training report counts it: on the tumour, outside the body."""
    forward = GradCamForward(network)
    keys = drawn.cohort.slices[:, 1].astype(np.float32)
    heats: list[np.ndarray] = []
    for start in range(0, len(keys), 48):
        images = torch.from_numpy(keys[start : start + 48])[:, None].expand(-1, 3, -1, -1).to(device_of(network))
        heats += list(forward(images, lambda logits: logits.argmax(axis=1).tolist())[2])
    bodies = [body_of(key) for key in keys]
    return dict(looks(heats, list(drawn.lesions[:, 1]), bodies, drawn.cohort.stages.tolist()))


def printed(metrics: dict[str, Any]) -> str:
    """The accuracy by wall and stage, and the heat, as tables."""
    lines = ["| wall at the tumour, mm | right | accuracy | T1 | T2 | T3 | T4 |", "| --- |" + " --- |" * 6]
    for row in metrics["accuracy_by_wall_mm"]:
        low, high = row["accuracy_ci"] or (0.0, 1.0)
        share = f"{row['accuracy']:.2f} ({low:.2f} to {high:.2f})" if row["n"] else ""
        stages = " | ".join(f"{right}/{n}" for right, n in row["by_stage"].values())
        lines.append(f"| {row['wall_mm']} | {row['right']} of {row['n']} | {share} | {stages} |")
    dice = {name: found["mean"] for name, found in metrics["heat_unseen"]["dice"].items() if found["n"]}
    lines.append(
        "Dice of the heat with the tumour: " + ", ".join(f"{name} {value:.2f}" for name, value in dice.items())
    )
    return "\n".join(lines) + "\n"


def parted(validation: PreparedSlices) -> tuple[PreparedSlices, PreparedSlices]:
    """Who chooses the epoch, and whom the temperature is of: fours take turns, so that each part holds every stage."""
    first = np.arange(len(validation)) // len(STAGES) % 2 == 0
    return tuple(  # type: ignore[return-value]  # two of them
        PreparedSlices(
            validation.slices[rows],
            validation.stages[rows],
            None if validation.centres is None else validation.centres[rows],
        )
        for rows in (first, ~first)
    )


def measure(network: GTRNet, unseen: PreparedSlices, temperature: float) -> dict[str, Any]:
    """Accuracy of patients never seen, after the vote of the three slices, and the confusion behind it."""
    answers = voted(predict(network, unseen), temperature)
    confusion = np.zeros((4, 4), int)
    np.add.at(confusion, (unseen.stages, answers), 1)
    return {
        "accuracy_unseen": float((answers == unseen.stages).mean()),
        "n_unseen": len(unseen),
        "confusion_unseen": confusion.tolist(),
    }


def _covariates(seed: int, index: int) -> Covariates:
    _, clinical, _ = draw_phantom(seed, int(index))
    return Covariates(clinical.size_cm, clinical.differentiation, clinical.lauren)


def _processor(device: str) -> str:
    """The name of what trained: a GPU's, or CPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else "CPU"


def _digest(cohort: PreparedSlices) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(cohort.slices).tobytes())
    digest.update(np.ascontiguousarray(cohort.stages).tobytes())
    return digest.hexdigest()


def _finish(out: Path, manifest: ModelManifest, metrics: dict[str, Any]) -> dict[str, Any]:
    """Write the artefact once more, with what was measured."""
    network = load_artefact(out).network
    whole = attrs.evolve(manifest, metrics=metrics, created=f"{datetime.now(tz=UTC):%Y-%m-%d}")
    with_canary(out, write_artefact(out, network, whole, dtype=torch.float16))
    return metrics


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when the model is good enough for the demo, 1 when it is not."""
    plan = Plan()
    parser = argparse.ArgumentParser(description="Make the demo's model on simulated phantoms. Not for patients.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the artefact; replaced where it is there")
    parser.add_argument("--cache", type=Path, default=Path(".cache/demo-model"), help="prepared phantoms are kept here")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads, 0: torch's choice")
    for name in (
        "families",
        "validation",
        "unseen",
        "locator",
        "reference",
        "locator_unseen",
        "near_epochs",
        "wide_epochs",
        "whole_epochs",
        "last_epochs",
        "seed",
        "batch",
        "workers",
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(plan, name))
    parser.add_argument("--backbone", default=plan.backbone)
    parser.add_argument("--lesion-weight", type=float, default=plan.lesion_weight)
    parser.add_argument("--ranges", choices=("USUAL", "NARROW", "PUBLISHED"), default=plan.ranges)
    parser.add_argument("--device", default=plan.device, help="where it trains: cpu, cuda")
    parser.add_argument("--locator-only", action="store_true", help="fit the locator of --out anew, and nothing else")
    given = vars(parser.parse_args(arguments))
    out, cache, threads = given.pop("out"), given.pop("cache"), given.pop("threads")
    locator_only = given.pop("locator_only")
    if threads:
        torch.set_num_threads(threads)
    if locator_only:
        sys.stdout.write(json.dumps(refit_locator(out, cache, Plan(**given), Say()), indent=1) + "\n")
        return 0
    metrics = make(out, cache, Plan(**given), Say())
    sys.stdout.write(json.dumps(metrics, indent=1) + "\n" + printed(metrics))
    good = metrics["accuracy_unseen"] >= 0.80 and metrics["accuracy_box_without_stomach"] <= 0.40
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
