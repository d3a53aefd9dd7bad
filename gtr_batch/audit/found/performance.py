"""How right the model is: this month's numbers, what they are compared with, and what the comparisons say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal

from attrs import field, frozen

from gtr_batch.audit.found.evaluation import Evaluation, Interval95, NetBenefit, ReliabilityBin
from gtr_batch.metrics.utility import Treatment

CriterionVerdict = Literal["worse", "not shown", "cannot tell"]


@frozen
class Tally:
    """Cases of the period's nights: of those `seen` some were `staged`, `refused` or `failed`; of how many patients.

    `not_staged` got no stage from the model.
    """

    seen: int
    staged: int
    refused: int
    failed: int
    patients: int
    not_staged: int = 0


@frozen
class T4Understaging:
    """Of `n` patients with pT4 so many were staged `lower`; the share with Wilson's interval."""

    n: int
    lower: int
    share: float | None
    ci: Interval95 | None


@frozen
class ReferenceNumbers:
    """What the artefact says of its own accuracy on `what`; the last five only where it holds a confusion table."""

    what: str
    n: int | None
    accuracy: float
    right: int | None
    quadratic_kappa: float | None = None
    sensitivity_T1: float | None = None
    sensitivity_T2: float | None = None
    sensitivity_T3: float | None = None
    sensitivity_T4: float | None = None


@frozen
class WeeklyHeadline:
    """The numbers that a weekly run keeps: cases of its nights, and patients with a pT within the last 12 months."""

    seen: int
    staged: int
    refused: int
    failed: int
    patients: int
    n: int
    right: int
    not_staged: int = 0


@frozen
class Headline:
    """The numbers that the next month's run compares itself with; None where one could not be computed."""

    accuracy: float | None = None
    quadratic_kappa: float | None = None
    macro_auc: float | None = None
    rps: float | None = None
    brier: float | None = None
    log_loss: float | None = None
    ece: float | None = None
    ece_null_95: float | None = None
    calibration_slope: float | None = None
    calibration_intercept: float | None = None
    sensitivity_T1: float | None = None
    sensitivity_T2: float | None = None
    sensitivity_T3: float | None = None
    sensitivity_T4: float | None = None
    over_treatment: float | None = None
    under_treatment: float | None = None
    nnt: float | None = None
    n: int | None = None
    right: int | None = None
    n_period: int | None = None
    right_period: int | None = None
    accuracy_period: float | None = None
    t4_understaging: float | None = None
    n_t4: int | None = None
    seen: int | None = None
    staged: int | None = None
    refused: int | None = None
    failed: int | None = None
    patients: int | None = None
    not_staged: int | None = None


@frozen
class Criterion:
    """One comparison behind the answer; `p` is None where nothing could be compared."""

    name: str  # last_month | reference | ece | slope | t4_understaging
    verdict: CriterionVerdict
    sentence: str
    p: float | None = None


@frozen
class MonthOfReports:
    """Accuracy on patients whose pathology was reported in a month (``2026-03``)."""

    month: str
    n: int
    right: int
    accuracy: float | None
    ci: Interval95 | None


@frozen
class NetBenefitBesideEus(NetBenefit):
    """Beside the model also the decision by endoscopic ultrasound."""

    eus: float | None


@frozen
class EusDecision:
    """Decisions for treatment on the `n` patients who had an endoscopic ultrasound: by the model and by it."""

    n: int
    curve: tuple[NetBenefitBesideEus, ...] = field(repr=False)
    model: Treatment
    eus: Treatment


@frozen
class Performance:
    """`window`: pathology reported from `window_first` to `until`; `period`: in the period; None without patients."""

    window: Evaluation | None
    period: Evaluation | None
    window_first: date
    until: date
    since_promotion: bool  # the model has been champion for less than 12 months
    t4: T4Understaging
    reliability: Mapping[str, tuple[ReliabilityBin, ...]] = field(repr=False)  # T1 to T4, and ``T3 or T4``
    stages: tuple[int, ...]  # patients with pT1 to pT4
    by_month: tuple[MonthOfReports, ...]
    eus: EusDecision | None


@frozen
class Coverage:
    """Of `n` patients the sets of stages `held` the true one; `share` against what was `promised`."""

    promised: float
    n: int
    held: int
    share: float
    ci: Interval95 | None
    mean_size: float  # stages a set
