"""What is computed of many redrawn cohorts at once is what each of them says by itself."""

from __future__ import annotations

import numpy as np
import pytest

from gtr_batch.metrics.calibration import ece_of_redrawn, ece_top, recalibration, slopes_of_redrawn
from gtr_batch.metrics.classification import kappas_of_redrawn, quadratic_kappa
from gtr_batch.metrics.intervals import redrawn_counts


def holdout(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stages, and probabilities that more or less mean what they say."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(4, 0.6), n)
    return np.array([rng.choice(4, p=row) for row in p]), p


@pytest.mark.parametrize("n", [8, 12, 40, 300])  # of few patients some redrawn cohorts are parted: need the penalty
def test_every_redrawn_cohort_has_the_metrics_of_its_rows(n):
    stages, p = holdout(n)
    votes = p.argmax(axis=1)
    (counts,) = redrawn_counts(np.arange(n), 60, 1)

    kappas = kappas_of_redrawn(stages, votes, counts)
    errors = ece_of_redrawn(votes == stages, p.max(axis=1), counts)
    slopes = slopes_of_redrawn(stages >= 2, p[:, 2] + p[:, 3], counts)

    for k, each in enumerate(counts):
        rows = _rows(each)
        line = recalibration(stages[rows] >= 2, p[rows, 2] + p[rows, 3])
        assert kappas[k] == pytest.approx(quadratic_kappa(stages[rows], votes[rows]), abs=1e-12)
        assert errors[k] == pytest.approx(ece_top(stages[rows], p[rows]), abs=1e-12)
        assert slopes[k] == pytest.approx(np.nan if line is None else line.slope, abs=1e-7, nan_ok=True)


@pytest.mark.parametrize("seed", range(20))
def test_the_penalised_slopes_of_parted_cohorts_are_those_of_each_alone(seed):
    stages, p = holdout(7, seed)
    positive, said = stages >= 2, p[:, 2] + p[:, 3]
    (counts,) = redrawn_counts(np.arange(7), 40, seed)

    lines = [recalibration(positive[rows], said[rows]) for rows in map(_rows, counts)]

    slopes = [np.nan if line is None else line.slope for line in lines]
    assert any(line is None or line.penalised for line in lines)
    assert slopes_of_redrawn(positive, said, counts) == pytest.approx(np.array(slopes), abs=1e-6, nan_ok=True)


def _rows(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts.astype(int))


def test_a_redrawn_cohort_without_two_outcomes_has_no_slope_and_one_without_two_stages_no_kappa():
    stages, p = np.array([0, 0, 3]), np.tile([0.4, 0.3, 0.2, 0.1], (3, 1))
    counts = np.array([[2.0, 1.0, 0.0]])

    assert np.isnan(slopes_of_redrawn(stages >= 2, np.array([0.1, 0.3, 0.6]), counts)).all()
    assert np.isnan(kappas_of_redrawn(stages, p.argmax(axis=1), counts)).all()


def test_all_rows_of_a_patient_are_drawn_together_and_as_many_patients_as_there_are():
    groups = np.array(["a", "b", "b", "c", "c", "c"])

    counts = np.concatenate(list(redrawn_counts(groups, 50, 3, block=20)))

    assert counts.shape == (50, 6)
    assert (counts[:, 1] == counts[:, 2]).all()
    assert (counts[:, 3] == counts[:, 5]).all()
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_cohorts_do_not_depend_on_the_blocks_they_come_in():
    groups = np.arange(9)

    assert np.array_equal(
        np.concatenate(list(redrawn_counts(groups, 50, 3, block=7))), next(redrawn_counts(groups, 50, 3))
    )
