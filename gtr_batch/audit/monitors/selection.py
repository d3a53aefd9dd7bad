"""Who is operated, and what that does to the stages among those with a pT.

Only operated patients get a pT. Where who is operated depends on the stage beyond what the probabilities say, the
stages among the operated are another mix than the probabilities promise, although these are right. How far, follows
from an assumption that labels alone cannot test; so three are made, and a shift is one where it is one under each:

* ``recorded``: given the probabilities, cT and uT, who is operated has nothing to do with the stage (at random).
* ``stage``: given the stage, it has nothing to do with the probabilities (not at random; the farthest from the first).
* ``between``: half of the way, in logarithms.

Each gives relative chances of a pT by stage, by which the probabilities are multiplied. They are learnt from all staged
patients of the last `WINDOW_DAYS`, with and without a pT, anew every `EVERY_DAYS`, from what was known by then: so a
change of who is operated is followed, and the path of an earlier audit is the beginning of a later one's.

References
----------
Begg, Greenes, Biometrics 1983 (verification bias); Kosinski, Barnhart, Biometrics 2003 (not at random); Little, Rubin,
Statistical Analysis with Missing Data, chapter 15; Richardson, JOSA 1972 (the multiplicative EM step)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np
from attrs import field, frozen
from scipy.special import expit

from gtr_batch.domain.audit import AuditCase, Classification, probability_rows
from gtr_batch.domain.staging import TStage

RECORDED, BETWEEN, STAGE = "recorded", "between", "stage"
ASSUMPTIONS: Mapping[str, str] = {
    RECORDED: "it depends on what is recorded (probabilities, cT, uT)",
    BETWEEN: "it lies between the two",
    STAGE: "it depends on the stage itself",
}
WINDOW_DAYS, EVERY_DAYS, YOUNGEST_DAYS = 182, 14, 14
LEAST_LABELLED, LEAST_STAGED = 40, 60
_BANDS = np.array([0, 28, 42, 56, 70, 90])  # days since staging: how many have their report by then
_LEAST_CHANCE = 0.02  # of the stage that is operated most often
_LARGEST_WEIGHT = 5.0
_RIDGE = 1.0
_UNKNOWN = -1


@frozen(eq=False)
class Staged:
    """Staged patients, one row each, with their first case: `night`, `reported` (of the pT; the far future without
    one) and `read` as ordinals; `stage`, `radiologist`, `endosonographer` 0 to 3, -1 where there is none."""

    night: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    stage: np.ndarray = field(repr=False)
    reported: np.ndarray = field(repr=False)
    read: np.ndarray = field(repr=False)
    radiologist: np.ndarray = field(repr=False)
    endosonographer: np.ndarray = field(repr=False)


@frozen(eq=False)
class Operated:
    """Relative chances of a pT by stage (4,), from the day `since` on, by assumption; `chances` those of `STAGE`, the
    largest 1."""

    since: date
    log_chances: Mapping[str, np.ndarray] = field(repr=False)

    @property
    def chances(self) -> tuple[float, ...]:
        """Of each stage, where it depends on the stage itself, as a share of the largest."""
        found = np.exp(self.log_chances[STAGE])
        return tuple((found / found.max()).tolist())


def staged_patients(cases: Sequence[AuditCase]) -> Staged:
    """Of staged cases in the order of nights."""
    first: dict[str, AuditCase] = {}
    for case in cases:
        first.setdefault(case.subject or case.case_id, case)
    chosen = list(first.values())
    never = date.max.toordinal()
    stages, reported = [], []
    for case in chosen:
        surgery = case.surgery
        counts = surgery is not None and surgery.classification is Classification.PT and surgery.t_stage is not None
        day = surgery.reported_on if surgery is not None and counts else None
        stages.append(surgery.t_stage.position if surgery is not None and surgery.t_stage is not None and counts else 0)
        reported.append(never if day is None else day.toordinal())
    reads = [c.read for c in chosen]
    return Staged(
        np.array([c.night.toordinal() for c in chosen], int),
        probability_rows(c.probabilities for c in chosen),
        np.array(stages, int),
        np.array(reported, int),
        np.array([never if r is None else r.read_on.toordinal() for r in reads], int),
        np.array([_position(None if r is None else r.radiologist_ct) for r in reads], int),
        np.array([_position(None if r is None else r.endosonographer_ut) for r in reads], int),
    )


def _position(stage: TStage | None) -> int:
    return _UNKNOWN if stage is None else stage.position


def operated_over_time(staged: Staged, since: date, until: date) -> tuple[Operated, ...]:
    """What was known of who is operated, every `EVERY_DAYS` from `since` to `until`; none before there are enough."""
    found = []
    day = since + timedelta(days=EVERY_DAYS)
    while day <= until:
        known = _operated_by(staged, day)
        if known is not None:
            found.append(known)
        day += timedelta(days=EVERY_DAYS)
    return tuple(found)


def tilted(probabilities: np.ndarray, log_chances: np.ndarray) -> np.ndarray:
    """Probabilities among those with a pT: (n, 4), from those among all staged and relative chances (n, 4) or (4,)."""
    found = np.asarray(probabilities) * np.exp(log_chances)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _operated_by(staged: Staged, day: date) -> Operated | None:
    """As known before `day`; None with too few patients."""
    today = day.toordinal()
    last = today - YOUNGEST_DAYS
    use = np.flatnonzero((staged.night <= last) & (staged.night > last - WINDOW_DAYS))
    labelled = staged.reported[use] < today
    if labelled.sum() < LEAST_LABELLED or len(use) < LEAST_STAGED:
        return None
    p = staged.probabilities[use]
    band = np.searchsorted(_BANDS, today - staged.night[use], side="right") - 1
    by_stage = np.log(np.maximum(chances_by_stage(p, labelled, band), _LEAST_CHANCE))
    known = staged.read[use] < today
    seen = [np.where(known, who[use], _UNKNOWN) for who in (staged.radiologist, staged.endosonographer)]
    recorded = chances_given_recorded(p, staged.stage[use], labelled, band, seen)
    return Operated(
        day,
        {RECORDED: recorded, BETWEEN: (recorded + by_stage - by_stage.mean()) / 2, STAGE: by_stage - by_stage.mean()},
    )


def chances_by_stage(probabilities: np.ndarray, labelled: np.ndarray, band: np.ndarray, steps: int = 60) -> np.ndarray:
    """Relative chances (4,) of a pT, the largest 1, where these depend on the stage alone.

    Then a patient's chance is ``band's share x sum(probability x chance)``, whatever the stages turn out to be: so who
    has a pT is regressed on the probabilities. By multiplicative EM steps, which keep every chance positive.

    Parameters
    ----------
    probabilities : numpy.ndarray
        (n, 4), of all staged.
    labelled : numpy.ndarray
        (n,), bool: with a pT.
    band : numpy.ndarray
        (n,): how long ago the CT was staged, as a small number.
    """
    y, bands = np.asarray(labelled, float), int(band.max()) + 1
    chances = np.ones(4)
    reported = np.bincount(band, y, bands)
    for _ in range(steps):
        said = np.maximum(probabilities @ chances, 1e-9)
        share = reported / np.maximum(np.bincount(band, said, bands), 1e-9)
        chances = chances * (probabilities.T @ (y / said)) / np.maximum(probabilities.T @ share[band], 1e-9)
        chances = chances / chances.max()
    return np.asarray(chances)


def chances_given_recorded(
    probabilities: np.ndarray, stages: np.ndarray, labelled: np.ndarray, band: np.ndarray, seen: Sequence[np.ndarray]
) -> np.ndarray:
    """Logarithms of relative chances (4,) of a pT where these depend on what is recorded, and not on the stage.

    What weighting by the inverse of the chance to have a pT does to the stages of the labelled, beyond what the
    probabilities explain: the difference of two fits of the stages, one without and one with the weights.

    Parameters
    ----------
    stages : numpy.ndarray
        (n,), 0 to 3; those without a pT are not looked at.
    seen : sequence of numpy.ndarray
        (n,) each, 0 to 3, -1 where nothing was seen: cT and uT.
    """
    base = np.column_stack([probabilities[:, 1:], _levels(band, range(1, len(_BANDS)))])
    recorded = np.column_stack([base, *(_levels(s, range(4)) for s in seen)])
    weights = _chance(base, labelled)[labelled] / _chance(recorded, labelled)[labelled]
    weights = np.clip(weights, 1 / _LARGEST_WEIGHT, _LARGEST_WEIGHT)
    p, y = probabilities[labelled], stages[labelled]
    return log_shift(p, y, np.ones(len(y))) - log_shift(p, y, weights / weights.mean())


def log_shift(probabilities: np.ndarray, stages: np.ndarray, weights: np.ndarray, steps: int = 40) -> np.ndarray:
    """Logarithms (4,), mean 0, by which the probabilities are multiplied to fit the stages; one pseudo-patient each."""
    counts = np.bincount(stages, weights, 4) + 1.0
    found = np.zeros(4)
    for _ in range(steps):
        expected = (weights[:, None] * tilted(probabilities, found)).sum(axis=0) + np.exp(found)
        found = found + np.log(counts / expected)
        found -= found.mean()
    return found


def _levels(values: np.ndarray, levels: Sequence[int] | range) -> np.ndarray:
    return np.asarray(values)[:, None] == np.array(list(levels))[None, :]


def _chance(columns: np.ndarray, labelled: np.ndarray, steps: int = 8) -> np.ndarray:
    """Logistic regression with a mild ridge: each patient's chance of a pT."""
    design = np.column_stack([np.ones(len(columns)), columns.astype(float)])
    ridge = np.eye(design.shape[1]) * _RIDGE
    ridge[0, 0] = 1e-6
    beta, y = np.zeros(design.shape[1]), labelled.astype(float)
    for _ in range(steps):
        p = expit(design @ beta)
        weight = np.maximum(p * (1 - p), 1e-6)
        beta = beta + np.linalg.solve((design * weight[:, None]).T @ design + ridge, design.T @ (y - p) - ridge @ beta)
    return np.clip(expit(design @ beta), 1e-3, 1.0)
