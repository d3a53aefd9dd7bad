"""A candidate before the gate: the holdout is opened, both models stage it, and the verdict is kept with the model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from gtr_batch import __version__
from gtr_batch.domain.governed_settings import digest_of_settings, governed
from gtr_batch.domain.lifecycle import CANDIDATE, SHADOW
from gtr_batch.errors import GovernanceRefused, InputRefused
from gtr_batch.governance.criteria import Paired
from gtr_batch.governance.gate import judge
from gtr_batch.governance.holdout import stage_holdout
from gtr_batch.governance.registry import adopt, answered_for, check_registered
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.logs import get_logger
from gtr_batch.metrics.calibration import at_least_t3
from gtr_batch.metrics.reliability import reliability
from gtr_batch.metrics.utility import decision_curve
from gtr_batch.training.site import TrainingSite
from gtr_batch.writing import write_canonical_json


def evaluate(
    gov: GovernanceSite, training: TrainingSite, version: str, *, by: str, why: str, cohort: str | None = None
) -> dict[str, Any]:
    """Bring a candidate before the gate; the verdict becomes a document of the model.

    Where no model was ever champion, the one that the settings name is adopted first: there must be something to
    compare with, and to go back to.

    Parameters
    ----------
    version : str
        A candidate, or a model in shadow.
    by, why : str
        Who opens the sealed holdout, and why: a row that cannot be changed.
    cohort : str, optional
        On whose holdout; default the model's own cohort. For a model from elsewhere, whoever asks answers for it that
        none of these patients taught it.

    Returns
    -------
    dict
        What `gtr_batch.governance.gate.judge` gives, and ``model_version``, ``champion``, ``cohort``, ``curves``,
        ``settings`` and ``settings_digest``.

    Raises
    ------
    GovernanceRefused
        The model is not a candidate, or the champion was withdrawn without a successor.
    InputRefused
        The model belongs to no cohort that was frozen here, so there is no holdout to judge it on.
    """
    answered_for(by, why)
    registry, config = gov.registry, gov.night.settings
    model = check_registered(registry, version)
    if model["state"] not in (CANDIDATE, SHADOW):
        raise GovernanceRefused(f"model {version[:12]} is {model['state']}; a candidate, or one in shadow, is judged")
    cohort = cohort or str(model["cohort_digest"])
    _frozen_here(training, version, cohort)
    champion = registry.champion()
    if champion is None:
        champion = adopt(
            registry,
            config.training.models,
            config.stage.artefact,
            by="settings",
            why="stage.artefact named it when the first candidate came before the gate",
        )
    check_registered(registry, champion)
    paired, opened = stage_holdout(training, cohort, candidate=version, champion=champion, by=by, why=why)
    settings = governed(config)
    found = judge(paired, config.governance, shadow=shadow_of(gov, version))
    found |= {
        "model_version": version,
        "champion": champion,
        "cohort": cohort,
        "unreadable": len(opened.unreadable),
        "curves": curves(paired),
        "settings": settings,
        "settings_digest": digest_of_settings(settings),
        "code_version": __version__,
        "judged": f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC",
        "by": by,
    }
    registry.attach(version, "gate", found, by=by)
    write_canonical_json(training.run_folder(cohort) / f"gate-{version[:12]}.json", found)
    get_logger("gate").info("gate.judged", model_version=version, champion=champion, verdict=found["verdict"])
    return found


def _frozen_here(training: TrainingSite, version: str, cohort: str) -> None:
    if not cohort:
        raise InputRefused(f"model {version[:12]} belongs to no frozen cohort: no sealed holdout to judge it on")
    try:
        training.cohorts.cohort(cohort)
    except KeyError:
        raise InputRefused(
            f"model {version[:12]} names cohort {cohort[:12]}, which was not frozen here: name one that was"
        ) from None


def shadow_of(gov: GovernanceSite, version: str) -> dict[str, int]:
    """How long a model has staged in shadow: ``nights``, ``cases``, ``errors``."""
    if gov.night.shadows is None:
        return {"nights": 0, "cases": 0, "errors": 0}
    rows = gov.night.shadows.of_model(version)
    good = [row for row in rows if row["t_stage"]]
    return {"nights": len({row["night"] for row in good}), "cases": len(good), "errors": len(rows) - len(good)}


def shadow_in_words(gov: GovernanceSite, version: str) -> str:
    """How long a model has staged in shadow, and how often as the champion; empty where it never did."""
    if gov.night.shadows is None:
        return ""
    rows = [row for row in gov.night.shadows.of_model(version) if row["t_stage"]]
    agree = sum(row["t_stage"] == row["champion_stage"] for row in rows)
    nights = len({row["night"] for row in rows})
    return f"{nights} nights, {len(rows)} cases, {agree} as the champion" if rows else ""


def curves(paired: Paired) -> dict[str, Any]:
    """What the card draws of both models: ROC points of each stage, reliability, decision curves. No patient in it."""
    found: dict[str, Any] = {}
    for name, answers in (("candidate", paired.candidate), ("champion", paired.champion)):
        positive, said = at_least_t3(paired.stages, answers.probabilities)
        found[name] = {
            "roc": {f"T{k + 1}": roc_points(paired.stages == k, answers.probabilities[:, k]) for k in range(4)},
            "reliability": reliability(paired.stages, answers.probabilities, bins=8),
            "decision": decision_curve(positive, said),
        }
    return found


def roc_points(positive: np.ndarray, said: np.ndarray, most: int = 101) -> list[list[float]]:
    """At most `most` points (1 - specificity, sensitivity) of a ROC curve; empty where one side is."""
    from sklearn.metrics import roc_curve

    if not positive.any() or positive.all():
        return []
    x, y, _ = roc_curve(positive, said)
    keep = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return [[round(float(x[k]), 4), round(float(y[k]), 4)] for k in keep]


def in_words(found: Mapping[str, Any]) -> str:
    """The verdict as Markdown for the person who is asked; no PHI."""
    lines = [
        f"**Verdict: {found['verdict']}.** {found['sentence']}",
        "",
        f"Candidate `{found['model_version'][:12]}` against champion `{found['champion'][:12]}` on {found['patients']} "
        f"sealed patients. {found['power']['sentence']}",
        "",
        "| criterion | answer | |",
        "| --- | --- | --- |",
        *(f"| {c['name'].replace('_', ' ')} | {c['verdict']} | {c['sentence']} |" for c in found["criteria"]),
    ]
    return "\n".join(lines)
