"""Every metric of staged patients with pathology, with its interval. The keys are told in docs/audit-metrics.md.

Shares and probabilities run from 0 to 1; `_ci` is a 95% interval; what cannot be computed is None.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from gtr_batch.metrics.selective import RiskCoverage

Interval95 = tuple[float, float]
ByStage = Mapping[str, float | None]
IntervalByStage = Mapping[str, Interval95 | None]
Confusion = tuple[tuple[int, ...], ...]  # (4, 4): rows pathology, columns the stage that was given


@frozen
class CalibrationError:
    """Expected calibration error of the likeliest stage, by stage, and what chance alone stays below in 95%."""

    top: float | None
    classwise: float | None
    null_95: float | None


@frozen
class HosmerLemeshow:
    """Of one stage against the others.

    `p`: on as many degrees of freedom as groups, since the probabilities were not fitted to these patients; `p_df8`: on
    two fewer, as the paper has it; `p_holm`: `p` with the four stages held together.
    """

    statistic: float | None
    p: float | None
    p_df8: float | None = None
    p_holm: float | None = None


@frozen
class CalibrationLine:
    """Logistic regression of T3 or T4 on the logit of its probability; all None where no line can be fitted."""

    slope: float | None = None
    intercept: float | None = None
    slope_se: float | None = None
    intercept_se: float | None = None
    penalised: bool | None = None


@frozen
class NetBenefit:
    """Net benefit a patient of treating as T3 or T4 at a threshold: by the model, all, none."""

    threshold: float
    model: float | None
    all: float | None
    none: float | None


@frozen
class ReliabilityBin:
    """`n` patients of whom `confidence` was said on average; `accuracy` was so, Wilson's interval `low` to `high`."""

    n: int
    confidence: float
    accuracy: float
    low: float
    high: float


@frozen
class Evaluation:
    """All metrics of stages and probabilities against pathology, over `n` rows of so many `patients`."""

    n: int
    patients: int
    stages: Mapping[str, int]
    accuracy: float | None
    accuracy_ci: Interval95 | None
    accuracy_ci_cluster: Interval95 | None
    auc: ByStage  # and ``macro``
    auc_ci: IntervalByStage
    auc_ci_cluster: IntervalByStage
    sensitivity: ByStage
    specificity: ByStage
    ppv: ByStage
    npv: ByStage
    sensitivity_ci: IntervalByStage
    specificity_ci: IntervalByStage
    ppv_ci: IntervalByStage
    npv_ci: IntervalByStage
    confusion: Confusion
    quadratic_kappa: float | None
    quadratic_kappa_ci: Interval95 | None
    rps: float | None
    brier: float | None
    log_loss: float | None
    ece: CalibrationError
    hosmer_lemeshow: Mapping[str, HosmerLemeshow]
    calibration: CalibrationLine
    net_benefit: tuple[NetBenefit, ...] = field(repr=False)
    over_treatment: float | None
    under_treatment: float | None
    nnt: float | None
    reliability: tuple[ReliabilityBin, ...] = field(repr=False)
    roc: Mapping[str, tuple[tuple[float, float], ...] | None] = field(repr=False)
    draws: int
    seed: int
    sentences: tuple[str, ...] = ()
    risk_coverage: RiskCoverage | None = None  # of those who were answered, the surest first

    def rate(self, name: str, stage: str) -> tuple[float | None, Interval95 | None]:
        """``sensitivity``, ``specificity``, ``ppv`` or ``npv`` of a stage, with Wilson's interval."""
        values, intervals = {
            "sensitivity": (self.sensitivity, self.sensitivity_ci),
            "specificity": (self.specificity, self.specificity_ci),
            "ppv": (self.ppv, self.ppv_ci),
            "npv": (self.npv, self.npv_ci),
        }[name]
        return values[stage], intervals[stage]
