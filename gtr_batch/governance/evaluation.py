"""A candidate before the gate: the holdout is opened, both models stage it, and the verdict is kept with the model."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

import attrs
import numpy as np

from gtr_batch import __version__
from gtr_batch.domain.conformal import ConformalSets
from gtr_batch.domain.gate import Both, GateVerdict, Interval, ModelCurves, NetBenefit, ReliabilityBin, SetCoverage
from gtr_batch.domain.governed_settings import digest_of_settings, governed
from gtr_batch.domain.lifecycle import CANDIDATE, CHAMPION, SHADOW, WITHDRAWN
from gtr_batch.domain.model import ModelManifest
from gtr_batch.domain.model_json import from_json, to_json
from gtr_batch.domain.shadow import ShadowCount
from gtr_batch.domain.staging import STAGES, StageProbabilities
from gtr_batch.errors import GovernanceRefused, InputRefused, ModelArtefactError
from gtr_batch.governance.criteria import Answers, Paired
from gtr_batch.governance.gate import judge
from gtr_batch.governance.holdout import stage_holdout
from gtr_batch.governance.looks import look, number_of
from gtr_batch.governance.registry import adopt, answered_for, check_registered
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.logs import get_logger
from gtr_batch.metrics.calibration import at_least_t3
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.reliability import reliability
from gtr_batch.metrics.utility import decision_curve
from gtr_batch.ports import ModelRegistry
from gtr_batch.training.site import TrainingSite
from gtr_batch.writing import write_canonical_json


def evaluate(
    gov: GovernanceSite, training: TrainingSite, version: str, *, by: str, why: str, cohort: str | None = None
) -> GateVerdict:
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
    GateVerdict

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
    if model.state not in (CANDIDATE, SHADOW):
        raise GovernanceRefused(f"model {version[:12]} is {model.state}; a candidate, or one in shadow, is judged")
    cohort = cohort or model.cohort_digest
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
    former, not_asked = former_champions(registry, besides=(version, champion))
    paired, opened = stage_holdout(
        training, cohort, candidate=version, champion=champion, former=former, by=by, why=why
    )
    paired = attrs.evolve(paired, not_asked=not_asked)
    settings = governed(config)
    number = number_of(registry.looks(cohort), cohort, version)
    judgement = judge(
        paired,
        config.governance,
        shadow=shadow_of(gov, version),
        tolerated_odds_ratio=config.audit.tolerated_odds_ratio,
        look=look(number, len(np.unique(paired.subjects)), config.governance),
    )
    found = GateVerdict(
        **attrs.asdict(judgement, recurse=False),
        model_version=version,
        champion=champion,
        cohort=cohort,
        unreadable=len(opened.unreadable),
        curves=curves(paired),
        sets=set_coverage(ModelManifest.from_json(model.manifest).conformal, paired.stages, paired.candidate),
        settings=settings,
        settings_digest=digest_of_settings(settings),
        code_version=__version__,
        judged=f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC",
        by=by,
    )
    document = to_json(found)
    registry.attach(version, "gate", document, by=by)
    write_canonical_json(training.run_folder(cohort) / f"gate-{version[:12]}.json", document)
    get_logger("gate").info("gate.judged", model_version=version, champion=champion, verdict=str(found.verdict))
    return found


def former_champions(registry: ModelRegistry, *, besides: Collection[str]) -> tuple[list[str], list[str]]:
    """Versions that were champion before and can be asked again, and those that cannot: their files are not intact.

    What was withdrawn is no measure for others, and is in neither.
    """
    crowned = dict.fromkeys(e.version for e in registry.champion_events() if e.to_state == CHAMPION)
    asked: list[str] = []
    not_asked: list[str] = []
    for version in crowned:
        if version in besides or registry.state(version) == WITHDRAWN:
            continue
        try:
            check_registered(registry, version)
        except ModelArtefactError:
            not_asked.append(version)
        else:
            asked.append(version)
    return asked, not_asked


def _frozen_here(training: TrainingSite, version: str, cohort: str) -> None:
    if not cohort:
        raise InputRefused(f"model {version[:12]} belongs to no frozen cohort: no sealed holdout to judge it on")
    try:
        training.cohorts.cohort(cohort)
    except KeyError:
        raise InputRefused(
            f"model {version[:12]} names cohort {cohort[:12]}, which was not frozen here: name one that was"
        ) from None


def shadow_of(gov: GovernanceSite, version: str) -> ShadowCount:
    """How long a model has staged in shadow."""
    if gov.night.shadows is None:
        return ShadowCount()
    answers = gov.night.shadows.of_model(version)
    staged = [answer for answer in answers if answer.t_stage]
    return ShadowCount(len({answer.night for answer in staged}), len(staged), len(answers) - len(staged))


def shadow_in_words(gov: GovernanceSite, version: str) -> str:
    """How long a model has staged in shadow, and how often as the champion; empty where it never did."""
    if gov.night.shadows is None:
        return ""
    staged = [answer for answer in gov.night.shadows.of_model(version) if answer.t_stage]
    agree = sum(answer.t_stage is answer.champion_stage for answer in staged)
    nights = len({answer.night for answer in staged})
    return f"{nights} nights, {len(staged)} cases, {agree} as the champion" if staged else ""


def openings_in_words(gov: GovernanceSite, version: str) -> str:
    """How often the holdout of a model's cohort was opened, for whatever model, and by whom last; empty where never."""
    opened = gov.registry.openings(gov.registry.model(version).cohort_digest)
    if not opened:
        return ""
    last = opened[-1]
    return (
        f"opened {len(opened)} time{'' if len(opened) == 1 else 's'}, last on {last.opened_at:%Y-%m-%d %H:%M} UTC for "
        f"{last.model_version[:12]} by {last.opened_by}: {last.why}"
    )


def curves(paired: Paired) -> Both[ModelCurves]:
    """What the card draws of both models: ROC points of each stage, reliability, decision curves. No patient in it."""
    return Both(candidate=_curves(paired.stages, paired.candidate), champion=_curves(paired.stages, paired.champion))


def _curves(stages: np.ndarray, answers: Answers) -> ModelCurves:
    positive, predicted = at_least_t3(stages, answers.probabilities)
    return ModelCurves(
        roc={f"T{k + 1}": roc_points(stages == k, answers.probabilities[:, k]) for k in range(4)},
        reliability=tuple(ReliabilityBin(**b) for b in reliability(stages, answers.probabilities, bins=8)),
        decision=tuple(from_json(row, NetBenefit) for row in decision_curve(positive, predicted)),
    )


def set_coverage(conformal: ConformalSets | None, stages: np.ndarray, answers: Answers) -> SetCoverage | None:
    """How often a model's sets of neighbouring stages hold the true one, in patients who did not make its threshold."""
    if conformal is None or not len(stages):
        return None
    sets = [conformal.of(StageProbabilities(row)) for row in answers.probabilities.tolist()]
    held = sum(STAGES[k] in found for found, k in zip(sets, stages.tolist(), strict=True))
    return SetCoverage(
        promised=conformal.coverage,
        n=len(sets),
        held=held,
        ci=wilson(held, len(sets)),
        mean_size=float(np.mean([len(found) for found in sets])),
    )


def roc_points(positive: np.ndarray, predicted: np.ndarray, most: int = 101) -> tuple[Interval, ...]:
    """At most `most` points (1 - specificity, sensitivity) of a ROC curve; empty where one side is."""
    from sklearn.metrics import roc_curve

    if not positive.any() or positive.all():
        return ()
    x, y, _ = roc_curve(positive, predicted)
    keep = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return tuple((round(float(x[k]), 4), round(float(y[k]), 4)) for k in keep)


def in_words(found: GateVerdict) -> str:
    """The verdict as Markdown for the person who is asked; no PHI."""
    lines = [
        f"**Verdict: {found.verdict}.** {found.sentence}",
        "",
        f"Candidate `{found.model_version[:12]}` against champion `{found.champion[:12]}` on {found.patients} "
        f"sealed patients. {found.look.sentence if found.look else ''} {found.power.sentence}",
        "",
        "| criterion | answer | |",
        "| --- | --- | --- |",
        *(f"| {c.name.replace('_', ' ')} | {c.verdict} | {c.sentence} |" for c in found.criteria),
    ]
    return "\n".join(lines)
