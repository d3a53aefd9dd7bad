"""Labels as they come, readers beside the model, and subgroups. `_ci` and `ci` are 95% intervals, shares 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import frozen

from gtr_batch.audit.found.evaluation import ByStage, Confusion, Interval95, IntervalByStage

SubgroupVerdict = Literal["worse", "better", "not shown", "too small"]


@frozen
class MonthOfLabels:
    """What is known by now of the patients who were staged in a month (``2026-03``), in patients.

    `reported` with a pT, `ypt`, `other_report` (names neither); `no_stage` (T0 or Tis, within the two); `waiting`
    (operated, no report yet); `unresected`; `open` (may yet be operated). `maturity`: share whose fate is known.
    """

    month: str
    staged: int
    operated: int
    reported: int
    ypt: int
    other_report: int
    no_stage: int
    waiting: int
    unresected: int
    open: int
    maturity: float | None


@frozen
class NaiveAccuracy:
    """Of labelled patients as they are."""

    accuracy: float | None
    ci: Interval95 | None
    quadratic_kappa: float | None


@frozen
class WeightedAccuracy:
    """Of labelled patients, weighted by the inverse of their chance to be labelled; see `audit.weighting`."""

    accuracy: float | None
    ci: Interval95 | None
    quadratic_kappa: float | None
    n: int
    effective_n: float | None
    covariates: tuple[str, ...]
    truncated: int
    sentence: str


@frozen
class Bounds:
    """Accuracy if all patients without a label were staged wrongly, and if all rightly."""

    low: float | None
    high: float | None


@frozen
class ApartAccuracy:
    """Of the other kind of pathology."""

    kind: str
    n: int
    accuracy: float | None
    ci: Interval95 | None


@frozen
class AgainstPathology:
    """Patients of whom reader and model say different stages, and pathology came: who was right."""

    n: int
    reader_right: int
    ai_right: int


@frozen
class SecondReference:
    """Accuracy with pathology where it came, and the reader elsewhere."""

    n: int
    from_pathology: int
    from_reader: int
    accuracy: float | None
    ci: Interval95 | None


@frozen
class ReaderAsReference:
    """The radiologist who read with the AI result at hand, as a second reference. `table`: rows AI, columns reader."""

    n: int
    agree: int
    share: float | None
    ci: Interval95 | None
    kappa: float | None
    higher: int
    lower: int
    table: Confusion
    against_pathology: AgainstPathology
    second_reference: SecondReference
    sentence: str


@frozen
class Estimates:
    """Accuracy on all staged patients, of whom only some have pathology of this `kind`."""

    kind: str
    rule: str
    n_staged: int
    n_labelled: int
    naive: NaiveAccuracy
    ipw: WeightedAccuracy
    bounds: Bounds
    worst_best: str  # the bounds in words
    apart: ApartAccuracy
    overrides: ReaderAsReference
    sentences: tuple[str, ...]


@frozen
class Labels:
    """How much is known by now, and how far missing labels could bend the accuracy."""

    maturity: tuple[MonthOfLabels, ...]
    estimates: Estimates


@frozen
class Rater:
    """One rater on all `n` patients with a pT whom it staged."""

    n: int
    accuracy: float | None
    accuracy_ci: Interval95 | None
    sensitivity: ByStage
    sensitivity_ci: IntervalByStage
    kappa: float | None
    over_staging: float | None
    under_staging: float | None
    confusion: Confusion


@frozen
class ReadsBesideNetwork(Rater):
    """Radiologists with, or without, the AI result; and the network on the same patients."""

    gtrnet_accuracy: float | None


@frozen
class RaterPair:
    """Two raters on the same patients: `a` less `b`. `ci` by bootstrap, `score_ci` Tango's."""

    a: str
    b: str
    n: int
    accuracy_difference: float | None
    ci: Interval95 | None
    score_ci: Interval95 | None
    only_one_right: int
    only_other_right: int
    mcnemar_p: float | None
    kappa_difference: float | None
    kappa_ci: Interval95 | None
    sentence: str


@frozen
class WithAgainstWithout:
    """Readers with the AI result less readers without, who read different patients."""

    n_with: int
    n_without: int
    accuracy_difference: float
    ci: Interval95 | None
    fisher_p: float
    kappa_difference: float | None
    kappa_ci: Interval95 | None
    sentence: str


@frozen
class Readers:
    """Every rater against pT on the site's own `n` patients, and every pair on the patients that both staged."""

    n: int
    raters: Mapping[str, Rater]  # gtrnet, nomogram, radiologist, eus
    pairs: tuple[RaterPair, ...]
    with_ai: ReadsBesideNetwork | None
    without_ai: ReadsBesideNetwork | None
    with_against_without: WithAgainstWithout | None
    sentences: tuple[str, ...]


@frozen
class Subgroup:
    """Accuracy of one group, and `rest`, that of all others of its grouping; Fisher's `p` where it is judged."""

    by: str  # scanner | sex | age | location
    group: str
    n: int
    right: int
    accuracy: float | None
    ci: Interval95 | None
    rest: float | None
    p: float | None
    verdict: SubgroupVerdict
