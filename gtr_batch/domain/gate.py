"""What the gate says of a candidate held against the champion: verdict, criteria, metrics of both, curves.

A verdict is kept with its model as a document; `gtr_batch.domain.model_json` writes and reads it. What earlier versions
did not write has a default, so that their documents are still read. No patient is in any of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from attrs import field, frozen

from gtr_batch.domain.governed_settings import SettingValue

Interval = tuple[float, float]
T = TypeVar("T")


class Verdict(StrEnum):
    """The three answers of the gate, of one criterion and of all together."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    CANNOT_TELL = "cannot tell"


@frozen
class GateCriterion:
    """One answer of the gate: `low` and `high` are one-sided bounds of `value`, `limit` what it is held against."""

    name: str
    verdict: Verdict
    sentence: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None


@frozen
class Subgroup:
    """Accuracy of both models among `n` patients of a group.

    `bounds` of the difference share one error rate among the groups that are judged; None where a group is too small.
    """

    by: str
    group: str
    n: int
    candidate: float
    candidate_ci: Interval | None
    champion: float
    difference: float
    bounds: Interval | None
    verdict: Verdict


@frozen
class Power:
    """Whether there were patients enough to show the margin of accuracy.

    `margin`, `assumed_discordance`, `seen_discordance` and the powers are shares; `needed` patients by the usual
    formula, which have `power_at_needed` by the gate's own criterion, and `needed_by_rule` by that criterion itself.
    """

    margin: float
    assumed_discordance: float
    seen_discordance: float | None
    patients: int
    needed: int
    power_at_needed: float
    needed_by_rule: int
    power: float | None
    sentence: str


@frozen
class RecalibrationLine:
    """Calibration of P(T3 or T4): slope 1 and intercept 0 are ideal; `penalised` where Firth's penalty was needed."""

    slope: float
    intercept: float
    slope_se: float
    intercept_se: float
    penalised: bool = False


@frozen
class ModelPerformance:
    """What a model does on the holdout; 95% intervals end in ``_ci``. None where a number is not defined.

    `confusion` has a row for each pathological stage, a column for each stage of the model. `auc`, `sensitivity` and
    their like are by stage (``T1`` to ``T4``; `auc` has ``macro`` too). `over_treatment` and `under_treatment` are
    shares of all patients, `nnt` patients for each one rightly treated.
    """

    n: int
    accuracy: float | None
    accuracy_ci: Interval | None
    quadratic_kappa: float | None
    quadratic_kappa_ci: Interval | None
    confusion: tuple[tuple[int, ...], ...]
    auc: Mapping[str, float | None] | None
    auc_ci: Mapping[str, Interval | None] | None
    sensitivity: Mapping[str, float | None]
    specificity: Mapping[str, float | None]
    ppv: Mapping[str, float | None]
    npv: Mapping[str, float | None]
    rates_ci: Mapping[str, Mapping[str, Interval | None]]
    rps: float | None
    brier: float | None
    log_loss: float | None
    ece: float | None
    ece_ci: Interval | None
    ece_null_95: float | None
    calibration: RecalibrationLine | None
    over_treatment: float | None
    under_treatment: float | None
    nnt: float | None


@frozen
class ReliabilityBin:
    """`n` patients whose likeliest stage had about this probability: mean `confidence`, share right, Wilson's 95%."""

    n: int
    confidence: float
    accuracy: float
    low: float
    high: float


@frozen
class NetBenefit:
    """Net benefit of treating at a threshold of P(T3 or T4): by the model, treating all, treating none."""

    threshold: float
    model: float | None
    all: float | None
    none: float | None


@frozen
class ModelCurves:
    """What the card draws of a model: ROC points (1 - specificity, sensitivity) by stage, reliability, decisions."""

    roc: Mapping[str, tuple[Interval, ...]]
    reliability: tuple[ReliabilityBin, ...]
    decision: tuple[NetBenefit, ...]


@frozen
class SetCoverage:
    """Of `n` patients of the holdout the sets of neighbouring stages `held` the true one; `promised` was this share."""

    promised: float
    n: int
    held: int
    ci: Interval | None
    mean_size: float  # stages a set


@frozen
class Both(Generic[T]):
    """The same of the candidate and of the champion it was held against."""

    candidate: T
    champion: T


@frozen
class GateAnswer:
    """What a decision about a model looks at: the verdict (None: none was kept), and against which champion."""

    verdict: Verdict | None = None
    sentence: str = ""
    champion: str | None = None


@frozen
class Look:
    """The `number`-th model that is judged on the same sealed patients: at the one-sided `level`.

    All looks share the error rate `budget`. `power`: how often a candidate as good as the champion passes the criterion
    of accuracy at this level; `left`: how many more looks have at least half.
    """

    number: int
    level: float
    budget: float
    left: int
    power: float
    sentence: str


@frozen
class Judgement:
    """What the gate says of two models' answers on the same `patients` (`n` rows).

    `draws` and `seed` are the bootstrap's: the same answers give the same judgement.
    """

    verdict: Verdict
    sentence: str
    n: int
    patients: int
    criteria: tuple[GateCriterion, ...]
    subgroups: tuple[Subgroup, ...]
    power: Power
    models: Both[ModelPerformance]
    draws: int
    seed: int
    look: Look | None = field(default=None, kw_only=True)  # None: on patients that are not sealed


@frozen
class GateVerdict(Judgement):
    """A judgement that is kept with its model: of whom, against whom, on which holdout, under which settings.

    `unreadable`: series of the holdout that could not be read; `judged`: when, as text, UTC; `by`: who asked.
    """

    model_version: str = ""
    champion: str = ""
    cohort: str = ""
    unreadable: int = 0
    curves: Both[ModelCurves] | None = field(default=None, repr=False)
    sets: SetCoverage | None = None  # the candidate's; None where it makes none
    settings: Mapping[str, SettingValue] = field(factory=dict, repr=False)
    settings_digest: str = ""
    code_version: str = ""
    judged: str = ""
    by: str = ""


@frozen
class HoldoutEvaluation:
    """What a registered model does on the sealed holdout of a cohort, beside an untrained twin of its architecture.

    `origins`: where the slices came from, and how many. Metrics as in `ModelPerformance`.
    """

    cohort: str
    model_version: str
    opened_by: str
    why: str
    n: int
    unreadable: int
    origins: Mapping[str, int]
    accuracy: float | None
    accuracy_ci: Interval | None
    untrained_accuracy: float | None
    untrained_ci: Interval | None
    quadratic_kappa: float | None
    confusion: tuple[tuple[int, ...], ...]
    auc: Mapping[str, float | None]
    auc_ci: Mapping[str, Interval | None]
    sensitivity: Mapping[str, float | None]
    specificity: Mapping[str, float | None]
    ppv: Mapping[str, float | None]
    npv: Mapping[str, float | None]
