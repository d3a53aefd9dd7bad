"""What follows the network: fits, the artefact, and the training report's numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from gtr_batch import __version__
from gtr_batch.domain.cohort import CohortManifest, Member, Split
from gtr_batch.domain.locating import lung_share_of
from gtr_batch.domain.model import KeySliceLocator, ModelManifest, NomogramModel, RadScoreModel
from gtr_batch.domain.staging import STAGES
from gtr_batch.errors import ConfigError, ModelArtefactError
from gtr_batch.explain.lesion import body_of, looks
from gtr_batch.metrics.classification import accuracy, auc, auc_intervals, confusion, kappa_of, rates
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.reliability import ece_of, reliability
from gtr_batch.nomogram.rad_score import rad_score
from gtr_batch.training.cache import Cached, gather
from gtr_batch.training.fit.conformal import fit_conformal
from gtr_batch.training.fit.locator import MarkedSeries, fit_and_measure
from gtr_batch.training.fit.nomogram import NomogramFit, fit_proportional_odds, model_of
from gtr_batch.training.fit.rad_score import fit_rad_score
from gtr_batch.training.fit.reference import reference_of
from gtr_batch.training.fit.temperature import fit_temperature
from gtr_batch.training.loop import PreparedSlices, penultimate, predict, voted
from gtr_batch.training.site import RECIPE, TrainingSite
from gtr_batch.training.slices import members_of
from gtr_batch.writing import write_canonical_json

KEY = 1  # of below, key, above
LEAST_FOR_LOCATOR = 8  # series
BATCH = 16


def finish(site: TrainingSite, digest: str) -> str:
    """Fit temperature, rad-score, nomogram, locator, conformal sets and reference; write artefact and report.

    Returns
    -------
    str
        The model version.

    Raises
    ------
    ConfigError
        There is no trained network of this cohort and recipe.
    ModelArtefactError
        Something cannot be fitted at all; says what.
    """
    from gtr_batch.stage import write_artefact
    from gtr_batch.training.report import write_report

    folder = site.run_folder(digest)
    manifest = site.cohorts.cohort(digest)
    network = _trained(site, folder)
    part = {split: _Part.of(site, manifest, split, network) for split in (Split.TRAIN, Split.VALIDATION)}
    training, validation = part[Split.TRAIN], part[Split.VALIDATION]
    temperature = fit_temperature(validation.logits.reshape(-1, 4), np.repeat(validation.stages, 3))
    groups = np.array([m.subject for m in training.members])
    rad_model = fit_rad_score(training.features, training.stages, groups, site.config.training.seed)
    nomogram, fitted, nomogram_note = _nomogram(site, digest, rad_model, training, validation)
    locator, located = _locator(network, training, validation, site.config.training.seed)
    probabilities = validation.probabilities(temperature)
    facts = [site.cases.facts(m.case_id) or {} for m in validation.members]
    metrics = _metrics(validation, temperature)
    body: dict[str, Any] = {
        "cohort": {"digest": digest, "flow": dict(manifest.flow), "holdout": dict(manifest.holdout_counts)},
        "stages": {str(s): _by_stage(p) for s, p in part.items()},
        "slices": json.loads((folder / "slices.json").read_text()),
        "epochs": json.loads((folder / "epochs.json").read_text()),
        "settings": attrs.asdict(site.config.training, filter=lambda a, _: a.name in RECIPE),
        "validation": metrics,
        "temperature": temperature,
        "rad_score": {"selected": len(rad_model.selected), "of": network.feature_count, "largest": _largest(rad_model)},
        "nomogram": {"note": nomogram_note, "fit": None if fitted is None else fitted.to_json()},
        "locator": located,
        "conformal": fit_conformal(probabilities, validation.stages),
        "heat": _heat(network, validation),
        "code_version": __version__,
    }
    artefact = ModelManifest(
        name=f"gtrnet-{digest[:8]}",
        architecture="gtrnet",
        backbone=network.backbone,
        feature_count=network.feature_count,
        weights_sha256="",
        contract=site.champion.contract,
        temperature=temperature,
        rad_score=rad_model,
        nomogram=nomogram,
        key_slice_locator=locator,
        cohort_digest=digest,
        metrics={
            "validation_accuracy": metrics["accuracy"],
            "n_validation": metrics["n"],
            "conformal": body["conformal"],
            "locator": located,
            "nomogram_fit": body["nomogram"],
        },
        reference=reference_of(validation.features, probabilities, validation.logits.argmax(axis=2), facts),
        intended_use=site.champion.intended_use,
        demo=site.champion.demo,
        # The day of the cohort, not of the clock: the same cohort and recipe give the same model version.
        created=str(max(m.study_on for m in manifest.members)),
    )
    version = write_artefact(folder / "artefact", network, artefact)
    body |= {"model_version": version, "demo": artefact.demo, "written": f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"}
    write_canonical_json(folder / "report.json", body)
    write_report(folder, body, nomogram)
    return version


@attrs.frozen(eq=False)
class _Part:
    """A split, seen by the network."""

    members: list[Member]
    cached: list[Cached]
    stages: np.ndarray
    logits: np.ndarray  # (patients, 3, 4)
    features: np.ndarray  # (patients, D), of key slices

    @classmethod
    def of(cls, site: TrainingSite, manifest: CohortManifest, split: Split, network: Any) -> _Part:
        members = members_of(site, manifest, split)
        cached, _, _ = gather(site, members, what=f"{split} again")
        slices = np.stack([cached[m.case_id].slices for m in members])
        stages = np.array([m.label.position for m in members])
        return cls(
            members,
            [cached[m.case_id] for m in members],
            stages,
            predict(network, PreparedSlices(slices, stages)),
            penultimate(network, slices[:, KEY]),
        )

    def probabilities(self, temperature: float) -> np.ndarray:
        """Mean of the three slices' calibrated probabilities, (patients, 4)."""
        z = self.logits.astype(np.float64) / temperature
        p = np.exp(z - z.max(axis=2, keepdims=True))
        mean: np.ndarray = (p / p.sum(axis=2, keepdims=True)).mean(axis=1)
        return mean


def _trained(site: TrainingSite, folder: Path) -> Any:
    from safetensors.torch import load_file

    from gtr_batch.stage.network import GTRNet

    path = folder / "network.safetensors"
    if not path.exists():
        raise ConfigError(f"{folder} holds no trained network: run the training of this cohort first")
    network = GTRNet(site.config.training.backbone)
    network.load_state_dict(load_file(path))
    return network.eval()


def _nomogram(
    site: TrainingSite, digest: str, rad_model: RadScoreModel, training: _Part, validation: _Part
) -> tuple[NomogramModel, NomogramFit | None, str]:
    """The cohort's own nomogram; where its fit is refused, the champion's stays, and the report says why."""
    features = np.concatenate([training.features, validation.features])
    stages = np.concatenate([training.stages, validation.stages])
    covariates = [m.covariates for m in (*training.members, *validation.members)]
    scores = np.array([rad_score(rad_model, f) for f in features])
    name = f"cohort {digest[:8]}"
    fitted = None
    try:
        fitted = fit_proportional_odds(name, scores, covariates, stages)
        note = f"Fitted on {fitted.n} patients of cohort {digest[:12]}, train and validation."
        return model_of(name, fitted, covariates, note, site.champion.nomogram), fitted, note
    except ModelArtefactError as err:
        kept = site.champion.nomogram
        note = f"The champion's nomogram ({kept.name}) was kept, since the cohort's own was refused: {err}"
        return attrs.evolve(kept, note=f"{kept.note} {note}".strip()), fitted, note


def _locator(
    network: Any, training: _Part, validation: _Part, seed: int
) -> tuple[KeySliceLocator | None, dict[str, Any]]:
    """The locator, and the distribution of its error on series that it was not fitted on (five folds)."""
    seen = [
        MarkedSeries(
            penultimate(network, one.stack.astype(np.float32)),
            one.heights_mm,
            lung_share_of(one.stack.astype(np.float32)),
            one.key_index,
        )
        for one in (*validation.cached, *training.cached)
        if one.stack is not None and one.heights_mm is not None
    ]
    if len(seen) < LEAST_FOR_LOCATOR:
        why = (
            f"{len(seen)} whole series are in the cache, {LEAST_FOR_LOCATOR} are needed: there is no automatic locator"
        )
        return None, {"n": len(seen), "near": None, "note": why}
    locator, error = fit_and_measure(seen, seed)
    interval = wilson(round(error.near * error.n), error.n)
    return locator, {**attrs.asdict(error), "near_ci": interval, "note": "within two slices"}


def _heat(network: Any, validation: _Part) -> dict[str, Any]:
    """Where the validation patients' heat lies: on the lesion, outside the body."""
    import torch

    from gtr_batch.explain import GradCamForward

    forward = GradCamForward(network)
    heats: list[np.ndarray] = []
    for start in range(0, len(validation.cached), BATCH):
        keys = np.stack([c.slices[KEY] for c in validation.cached[start : start + BATCH]]).astype(np.float32)
        images = torch.from_numpy(keys)[:, None].expand(-1, 3, -1, -1)
        _, _, heat = forward(images, lambda logits: logits.argmax(axis=1).tolist())
        heats += list(heat)
    lesions = [None if c.lesion is None else c.lesion[KEY] for c in validation.cached]
    bodies = [body_of(c.slices[KEY].astype(np.float32)) for c in validation.cached]
    return dict(looks(heats, lesions, bodies, validation.stages.tolist()))


def _metrics(validation: _Part, temperature: float) -> dict[str, Any]:
    answers = voted(validation.logits, temperature)
    table = confusion(validation.stages, answers)
    after, before = validation.probabilities(temperature), validation.probabilities(1.0)
    bins = {"before": reliability(validation.stages, before), "after": reliability(validation.stages, after)}
    n = len(answers)
    return {
        "n": n,
        "accuracy": accuracy(validation.stages, answers),
        "accuracy_ci": wilson(int((answers == validation.stages).sum()), n),
        "quadratic_kappa": kappa_of(table),
        "confusion": table.tolist(),
        "auc": auc(validation.stages, after),
        "auc_ci": auc_intervals(validation.stages, after),
        **rates(table),
        "reliability": bins,
        "ece": {k: ece_of(v) for k, v in bins.items()},
    }


def _by_stage(part: _Part) -> dict[str, int]:
    return {str(s): int((part.stages == s.position).sum()) for s in STAGES}


def _largest(model: RadScoreModel, count: int = 15) -> list[dict[str, float]]:
    pairs = sorted(zip(model.selected, model.coefficients, strict=True), key=lambda p: -abs(p[1]))
    return [{"feature": int(k), "coefficient": float(c)} for k, c in pairs[:count]]
