"""When the demo's model gives no stage, and what it does in worlds that it was not made for.

``python -m gtr_batch.simulation.demos.abstention --artefact DIR`` prints a table of those worlds: a normal stomach,
thin walls, tumours of the liver and the colon; ``--fit`` first writes the rule, and the sets of likely stages, into
the artefact. Not for patients.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from gtr_batch.domain.abstention import AbstentionRule, in_words
from gtr_batch.domain.model import KeySliceLocator, PreprocessingContract
from gtr_batch.domain.staging import STAGES
from gtr_batch.governance.canary import with_canary
from gtr_batch.preprocess import Volume, prepare_all_for_locator
from gtr_batch.simulation.demos.cohort import Say, gather
from gtr_batch.simulation.hospital.cohort import draw_phantom, sketched_volume
from gtr_batch.simulation.phantom.elsewhere import Elsewhere
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.stage.artefact import load_artefact, write_artefact
from gtr_batch.stage.network import GTRNet
from gtr_batch.training.fit import fit_abstention
from gtr_batch.training.loop import PreparedSlices, penultimate

REFERENCE_SEED, WORLD_SEED = 600, 700
REFERENCE_PATIENTS = 120  # at least 99, so that a p of 0.01 can be had
EVERY = 3  # of a series' slices are painted in full and looked at
LEVEL = 0.01

# What is changed of a phantom patient; empty: nothing.
WORLDS: Mapping[str, Mapping[str, Any]] = {
    "gastric cancer, as the model knows it": {},
    "normal stomach": {"stage": None},
    "liver metastases, normal stomach": {"stage": None, "elsewhere": Elsewhere.LIVER},
    "colon cancer, normal stomach": {"stage": None, "elsewhere": Elsewhere.COLON},
    "gastric cancer, wall half as thick": {"wall": 0.5},
}


def rule_of(network: GTRNet, locator: KeySliceLocator, known: PreparedSlices, others: PreparedSlices) -> AbstentionRule:
    """The rule: `known` make the reference, `others` the distances and the locator's scores.

    The best score of three slices about the tumour stands for the best of the series, which is no smaller: so the
    p-values of tumour signs are no smaller than they should be, and costs no more good cases.
    """
    seen = np.stack([penultimate(network, others.slices[:, k]) for k in range(others.slices.shape[1])], axis=1)
    best = scores_of(locator, seen.reshape(-1, seen.shape[2])).reshape(seen.shape[:2]).max(axis=1)
    return fit_abstention(penultimate(network, known.slices[:, 1]), seen[:, 1], best)


def scores_of(locator: KeySliceLocator, features: np.ndarray) -> np.ndarray:
    """The locator's log-odds of slices' features (n, D)."""
    mean, scale = np.array(locator.feature_mean), np.array(locator.feature_scale)
    scores: np.ndarray = locator.intercept + (features.astype(float) - mean) / scale @ np.array(locator.coefficients)
    return scores


@frozen
class Outcome:
    """What became of one phantom: `not_staged` a code or empty; `stage` what the key slice alone says."""

    not_staged: str
    stage: str
    p_distance: float
    p_tumour_sign: float


def outcome_of(artefact: Any, phantom: Phantom, level: float) -> Outcome:
    """The model's answer at the slice that its locator chooses of every third one."""
    hu, heights = sketched_volume(phantom), phantom.positions_mm()
    chosen = list(range(0, len(heights), EVERY))
    for k in chosen:
        hu[k] = phantom.slice_hu(float(heights[k]))
    mm = phantom.pixel_mm
    volume = Volume.from_hu(hu, (phantom.scanner.thickness_mm, mm, mm))
    prepared = prepare_all_for_locator(volume, PreprocessingContract())[chosen]
    features = penultimate(artefact.network, prepared)
    scores = scores_of(artefact.manifest.key_slice_locator, features)
    key = int(np.argmax(scores))
    evidence = artefact.manifest.abstention.evidence(features[key], float(scores[key]))
    abstention = evidence.abstention(level)
    return Outcome(
        str(abstention.code) if abstention else "",
        str(STAGES[_class_of(artefact.network, features[key])]),
        evidence.p_distance or 1.0,
        evidence.p_tumour_sign or 1.0,
    )


def _class_of(network: GTRNet, features: np.ndarray) -> int:
    import torch

    with torch.inference_mode():
        return int(network.classify(torch.from_numpy(features[None]).float()).argmax())


def table_of(artefact: Any, patients: int, level: float, say: Say) -> list[str]:
    """A line a world: how many got no stage and why, and what the others got."""
    lines = [
        "| world | phantoms | no stage: unlike | no stage: no sign | stages given | median p (unlike; sign) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for world, change in WORLDS.items():
        found = []
        for index in say.bar(world, list(range(patients))):
            drawn, clinical, stage = draw_phantom(WORLD_SEED, index)
            asked = {"stage": stage, **change}
            phantom = Phantom(
                WORLD_SEED, index, third=clinical.third, size_cm=clinical.size_cm, scanner=drawn.scanner, **asked
            )
            found.append(outcome_of(artefact, phantom, level))
        why = Counter(one.not_staged for one in found)
        given = Counter(one.stage for one in found if not one.not_staged)
        p = [float(np.median([getattr(one, name) for one in found])) for name in ("p_distance", "p_tumour_sign")]
        lines.append(
            f"| {world} | {len(found)} | {why['unlike_reference']} | {why['no_tumour_sign']} | "
            f"{', '.join(f'{n} {s}' for s, n in sorted(given.items())) or 'none'} | {p[0]:.3f}; {p[1]:.3f} |"
        )
    return lines


def fit(folder: Path, cache: Path, say: Say) -> None:
    """Write the rule, and the sets of likely stages, into the artefact; its weights stay as they are."""
    import torch

    from gtr_batch.simulation.demos.model import VALIDATION_SEED, Plan, sets_of

    artefact = load_artefact(folder)
    made = artefact.manifest
    assert made.key_slice_locator is not None and made.priors is not None  # the demo's model has both
    known = gather("one", VALIDATION_SEED, Plan().validation, cache, say).cohort
    others = gather("one", REFERENCE_SEED, REFERENCE_PATIENTS, cache, say).cohort
    rule = rule_of(artefact.network, made.key_slice_locator, known, others)
    sets = sets_of(artefact.network, made.temperature, made.priors.training, others)
    whole = attrs.evolve(made, abstention=rule, conformal=sets)
    with_canary(folder, write_artefact(folder, artefact.network, whole, dtype=torch.float16))


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="When the demo's model gives no stage. Not for patients.")
    parser.add_argument("--artefact", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path(".cache/demo-model"), help="prepared phantoms are kept here")
    parser.add_argument("--fit", action="store_true", help="write rule and sets into the artefact first")
    parser.add_argument("--patients", type=int, default=8, help="phantoms of each world; 0: no table")
    parser.add_argument("--level", type=float, default=LEVEL)
    given = parser.parse_args(arguments)
    say = Say()
    if given.fit:
        fit(given.artefact, given.cache, say)
    artefact = load_artefact(given.artefact)
    table = table_of(artefact, given.patients, given.level, say) if given.patients else []
    sys.stdout.write("\n".join([in_words(artefact.manifest.abstention, given.level), *table]) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
