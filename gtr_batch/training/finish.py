"""What follows the network: fits, the artefact, and the training report's numbers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from scipy.stats import beta

from gtr_batch import __version__
from gtr_batch.domain.abstention import AbstentionRule, in_words
from gtr_batch.domain.calibration import StagePriors, calibrated, stage_priors
from gtr_batch.domain.cohort import Member, Split
from gtr_batch.domain.locating import lung_share_of
from gtr_batch.domain.model import KeySliceLocator, ModelManifest, NomogramModel, RadScoreModel
from gtr_batch.domain.staging import STAGES
from gtr_batch.errors import ConfigError, ModelArtefactError
from gtr_batch.explain.lesion import body_of, looks
from gtr_batch.metrics.classification import accuracy, auc, auc_intervals, confusion, kappa_of, rates
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.reliability import ece_of, reliability
from gtr_batch.metrics.selective import risk_coverage
from gtr_batch.nomogram.rad_score import rad_score
from gtr_batch.training.cache import Cached, gather
from gtr_batch.training.fit.abstention import fit_abstention
from gtr_batch.training.fit.conformal import conformal_report, fit_conformal
from gtr_batch.training.fit.locator import MarkedSeries, fit_and_measure
from gtr_batch.training.fit.nomogram import NomogramFit, fit_proportional_odds, model_of
from gtr_batch.training.fit.rad_score import fit_rad_score
from gtr_batch.training.fit.reference import reference_of
from gtr_batch.training.fit.temperature import fit_temperature
from gtr_batch.training.loop import PreparedSlices, penultimate, predict, shown_shares, voted
from gtr_batch.training.site import RECIPE, TrainingSite
from gtr_batch.training.slices import fold_folder, members_of, validation_parts
from gtr_batch.training.split import folds_of
from gtr_batch.writing import write_canonical_json

KEY = 1  # of below, key, above
LEAST_FOR_LOCATOR = 8  # series
BATCH = 16


def finish(site: TrainingSite, digest: str) -> str:
    """Fit priors, temperature, rad-score, nomogram, locator, conformal sets and reference; write artefact and report.

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
    stopped_on, fitted_on = validation_parts(site, manifest)
    training = _Part.of(site, members_of(site, manifest, Split.TRAIN), network)
    unseen = _Part.of(site, fitted_on, network)  # neither the weights nor the epoch know them
    validation = _Part.of(site, stopped_on, network).joined(unseen)
    priors = _priors(training, validation)
    temperature = fit_temperature(unseen.logits, unseen.stages, priors)
    groups = np.array([m.subject for m in training.members])
    rad_model = fit_rad_score(training.features, training.stages, groups, site.config.training.seed)
    scored = _scored(site, digest, rad_model, training, unseen)
    nomogram, fitted, nomogram_note = _nomogram(site, digest, scored)
    locator, located, best_scores = _locator(network, training, validation, site.config.training.seed)
    # The network has not been trained on the validation patients: as far as they lie from its own, new ones may.
    abstention = fit_abstention(training.features, validation.features, best_scores)
    probabilities = validation.probabilities(temperature, priors)
    facts = [site.cases.facts(m.case_id) or {} for m in validation.members]
    conformal = fit_conformal(unseen.probabilities(temperature, priors), unseen.stages)
    metrics = _metrics(validation, temperature, priors)
    whom = {
        "weights": training.by_stage(),
        "stopping epoch": _counts_of(stopped_on),
        "stages' shares in the cohort": dict(zip(map(str, STAGES), priors.cohort_counts, strict=True)),
        "temperature and conformal threshold": unseen.by_stage(),
        "rad-score's features": training.by_stage(),
        f"nomogram's fit ({scored.words})": _counts_of(scored.members),
    }
    body: dict[str, Any] = {
        "cohort": {
            "digest": digest,
            "flow": dict(manifest.flow),
            "holdout": dict(manifest.holdout_counts),
            "table_1": dict(manifest.table_1),
        },
        "stages": {"train": training.by_stage(), "validation": validation.by_stage()},
        "fitted_on": whom,
        "slices": json.loads((folder / "slices.json").read_text()),
        "epochs": json.loads((folder / "epochs.json").read_text()),
        "settings": attrs.asdict(site.config.training, filter=lambda a, _: a.name in RECIPE),
        "validation": metrics,
        "temperature": temperature,
        "priors": _prior_rows(priors),
        "rad_score": {"selected": len(rad_model.selected), "of": network.feature_count, "largest": _largest(rad_model)},
        "nomogram": {"note": nomogram_note, "fit": None if fitted is None else fitted.to_json()},
        "locator": located,
        "abstention": _abstention(abstention, validation, temperature, priors, site.config.stage.abstain_level),
        "conformal": conformal_report(conformal, unseen.probabilities(temperature, priors), unseen.stages),
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
        conformal=conformal,
        abstention=abstention,
        cohort_digest=digest,
        metrics={
            "validation_accuracy": metrics["accuracy"],
            "n_validation": metrics["n"],
            "abstention": body["abstention"],
            "locator": located,
            "nomogram_fit": body["nomogram"],
            "fitted_on": whom,
        },
        reference=reference_of(validation.features, probabilities, validation.logits.argmax(axis=2), facts),
        intended_use=site.champion.intended_use,
        demo=site.champion.demo,
        priors=priors,
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
    """Patients, seen by the network."""

    members: list[Member]
    cached: list[Cached]
    stages: np.ndarray
    logits: np.ndarray  # (patients, 3, 4)
    features: np.ndarray  # (patients, D), of key slices

    @classmethod
    def of(cls, site: TrainingSite, members: list[Member], network: Any) -> _Part:
        cached, _, _ = gather(site, members, what="fits")
        slices = np.stack([cached[m.case_id].slices for m in members])
        stages = np.array([m.label.position for m in members])
        return cls(
            members,
            [cached[m.case_id] for m in members],
            stages,
            predict(network, PreparedSlices(slices, stages)),
            penultimate(network, slices[:, KEY]),
        )

    def probabilities(self, temperature: float, priors: StagePriors | None) -> np.ndarray:
        """Mean of the three slices' calibrated probabilities, (patients, 4)."""
        mean: np.ndarray = calibrated(self.logits, temperature, priors).mean(axis=1)
        return mean

    def joined(self, other: _Part) -> _Part:
        """Both, this one first."""
        arrays = ((a, getattr(other, n)) for n, a in (("stages", self.stages), ("logits", self.logits)))
        stages, logits = (np.concatenate(pair) for pair in arrays)
        features = np.concatenate([self.features, other.features])
        return _Part([*self.members, *other.members], [*self.cached, *other.cached], stages, logits, features)

    def by_stage(self) -> dict[str, int]:
        """How many of each stage."""
        return _counts_of(self.members)


@attrs.frozen(eq=False)
class _Scored:
    """Rad-scores for the nomogram, of patients whom neither their network nor their LASSO was fitted on."""

    members: list[Member]
    scores: np.ndarray
    words: str


def _scored(site: TrainingSite, digest: str, rad_model: RadScoreModel, training: _Part, unseen: _Part) -> _Scored:
    """The unseen patients' rad-scores; with `training.folds`, train patients' from networks that never saw them, too.

    A rad-score of the training's own patients would part the stages far better than anybody else's (docs/validity.md,
    section 2). Folds over the LASSO alone mend nothing: the features themselves know the patients.
    """
    members, scores = list(unseen.members), [rad_score(rad_model, f) for f in unseen.features]
    settings = site.config.training
    if not settings.folds:
        return _Scored(members, np.array(scores), "unseen patients")
    folds = folds_of(training.members, settings.folds, settings.seed)
    slices = np.stack([c.slices[KEY] for c in training.cached])
    groups = np.array([m.subject for m in training.members])
    for fold in range(settings.folds):
        out, rest = np.flatnonzero(folds == fold), folds != fold
        features = penultimate(_trained(site, fold_folder(site, digest, fold)), slices)
        try:
            model = fit_rad_score(features[rest], training.stages[rest], groups[rest], settings.seed)
        except ModelArtefactError as err:
            alone = np.array(scores[: len(unseen.members)])
            return _Scored(list(unseen.members), alone, f"unseen patients alone, since in fold {fold + 1} {err}")
        members += [training.members[k] for k in out]
        scores += [rad_score(model, features[k]) for k in out]
    return _Scored(members, np.array(scores), f"unseen patients, and train patients out of {settings.folds} folds")


def _priors(training: _Part, validation: _Part) -> StagePriors:
    """What the sampler showed, and the cohort: train and validation. The sealed patients are drawn in proportion."""
    counts = np.bincount(training.stages, minlength=4) + np.bincount(validation.stages, minlength=4)
    return stage_priors(shown_shares(training.stages).tolist(), counts.tolist())


def _prior_rows(priors: StagePriors) -> list[dict[str, Any]]:
    """A row a stage: its shares, and the 95% interval of the cohort's (Dirichlet posterior)."""
    total = sum(priors.cohort_counts) + 4 * priors.pseudo_count
    rows = zip(STAGES, priors.training, priors.cohort, priors.cohort_counts, strict=True)
    return [
        {
            "stage": str(stage),
            "training": trained,
            "cohort": share,
            "n": n,
            "ci": beta.ppf([0.025, 0.975], n + priors.pseudo_count, total - n - priors.pseudo_count).tolist(),
        }
        for stage, trained, share, n in rows
    ]


def _trained(site: TrainingSite, folder: Path) -> Any:
    from safetensors.torch import load_file

    from gtr_batch.stage.network import GTRNet

    path = folder / "network.safetensors"
    if not path.exists():
        raise ConfigError(f"{folder} holds no trained network: run the training of this cohort first")
    network = GTRNet(site.config.training.backbone)
    network.load_state_dict(load_file(path))
    return network.eval()


def _nomogram(site: TrainingSite, digest: str, scored: _Scored) -> tuple[NomogramModel | None, NomogramFit | None, str]:
    """The cohort's own nomogram; none where its fit is refused, and the report says why.

    The champion's would be of no use: its coefficients are those of the champion's rad-score.
    """
    stages = np.array([m.label.position for m in scored.members])
    covariates = [m.covariates for m in scored.members]
    name = f"cohort {digest[:8]}"
    fitted = None
    try:
        fitted = fit_proportional_odds(name, scored.scores, covariates, stages)
        note = f"Fitted on {fitted.n} patients of cohort {digest[:12]}: {scored.words}."
        model = model_of(name, fitted, covariates, note, site.champion.nomogram)
        return model, fitted, model.note
    except ModelArtefactError as err:
        return None, fitted, f"A nomogram is not available for this model, since the cohort's was refused: {err}"


def _locator(
    network: Any, training: _Part, validation: _Part, seed: int
) -> tuple[KeySliceLocator | None, dict[str, Any], np.ndarray]:
    """The locator, and the distribution of its error on series of patients whom no fit had seen (five folds).

    Where enough of them have a whole series it is fitted on validation patients alone. Where not, train patients help
    to fit it; its error is measured on validation patients all the same, each left out of the fit. The third are the
    best scores of their whole series, by locators fitted without the patient.
    """
    seen = _marked(network, validation.cached)
    unseen = len(seen)
    if unseen < LEAST_FOR_LOCATOR:
        seen += _marked(network, training.cached)
    if len(seen) < LEAST_FOR_LOCATOR:
        why = (
            f"{len(seen)} whole series are in the cache, {LEAST_FOR_LOCATOR} are needed: there is no automatic locator"
        )
        return None, {"n": len(seen), "unseen": unseen, "near": None, "note": why}, np.zeros(0)
    locator, error, best_scores = fit_and_measure(seen, seed, measured=unseen)
    found: dict[str, Any] = {"n": len(seen), "unseen": unseen}
    if error is None:
        why = f"fitted on {len(seen)} train patients' series; nobody unseen has one, so its error is not known"
        return locator, {**found, "near": None, "note": why}, np.zeros(0)
    interval = wilson(round(error.near * error.n), error.n)
    found = {**attrs.asdict(error), **found, "near_ci": interval, "note": "within two slices"}
    return locator, found, best_scores[:unseen]


def _marked(network: Any, cached: list[Cached]) -> list[MarkedSeries]:
    """The whole series that are in the cache, as the locator sees them."""
    return [
        MarkedSeries(
            penultimate(network, one.stack.astype(np.float32)),
            one.heights_mm,
            lung_share_of(one.stack.astype(np.float32)),
            one.key_index,
        )
        for one in cached
        if one.stack is not None and one.heights_mm is not None
    ]


def _abstention(
    rule: AbstentionRule, validation: _Part, temperature: float, priors: StagePriors, level: float
) -> dict[str, Any]:
    """What the rule compares with, and what answering fewer patients would save (risk against coverage)."""
    right = voted(validation.logits, temperature, priors) == validation.stages
    return {
        "words": in_words(rule, level),
        "level": level,
        "patients": len(rule.features.distances) if rule.features else 0,
        "series": len(rule.tumour_scores),
        "risk_coverage": risk_coverage(right, validation.probabilities(temperature, priors).max(axis=1)),
    }


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


def _metrics(validation: _Part, temperature: float, priors: StagePriors) -> dict[str, Any]:
    answers = voted(validation.logits, temperature, priors)
    table = confusion(validation.stages, answers)
    after, before = validation.probabilities(temperature, priors), validation.probabilities(1.0, None)
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


def _counts_of(members: list[Member]) -> dict[str, int]:
    return {str(s): sum(m.label is s for m in members) for s in STAGES}


def _largest(model: RadScoreModel, count: int = 15) -> list[dict[str, float]]:
    pairs = sorted(zip(model.selected, model.coefficients, strict=True), key=lambda p: -abs(p[1]))
    return [{"feature": int(k), "coefficient": float(c)} for k, c in pairs[:count]]
