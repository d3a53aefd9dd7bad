"""`evaluate` where a number cannot be had, where a vote decides, and where patients have several rows."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gtr_batch.audit.evaluation import evaluate
from gtr_batch.audit.found.evaluation import HosmerLemeshow
from gtr_batch.audit.found.filed import evaluation_to_json
from gtr_batch.errors import InputRefused


def a_table(n=120, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.5, (n, 4))
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    labels = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    labels[:4] = range(4)
    return labels, p


def told(found):
    json.dumps(evaluation_to_json(found), allow_nan=False)
    return " ".join(found.sentences)


def test_a_stage_that_nobody_has_leaves_its_numbers_out_and_says_so():
    labels, p = a_table()
    there = labels != 0

    found = evaluate(labels[there], p[there], draws=50)

    assert found.auc["T1"] is None
    assert found.auc["macro"] is None
    assert found.auc_ci["macro"] is None
    assert found.sensitivity["T1"] is None
    assert found.hosmer_lemeshow["T1"] == HosmerLemeshow(None, None)
    assert found.auc["T2"] is not None
    assert "No row of pathological T1" in told(found)


def test_one_patient_has_no_cluster_interval_and_a_sentence():
    found = evaluate([2], [[0.1, 0.2, 0.6, 0.1]], draws=50)

    assert found.accuracy == 1.0
    assert found.accuracy_ci_cluster is None
    assert found.calibration.slope is None
    assert "All rows are of one patient" in told(found)
    assert "Calibration of T3 or more cannot be fitted" in told(found)


def test_patients_with_several_rows_are_counted_once_and_differing_labels_named():
    labels, p = a_table()

    found = evaluate(labels, p, patients=np.arange(120) // 2, draws=50)

    assert (found.n, found.patients) == (120, 60)
    assert "120 rows are of 60 patients" in told(found)
    assert "patients have rows with different pathological stages" in told(found)


@pytest.mark.parametrize("grouped", [True, False])
def test_rows_that_repeat_are_named(grouped):
    labels, p = a_table()
    twice = np.arange(120).repeat(2)

    found = evaluate(labels[twice], p[twice], patients=twice if grouped else None, draws=0)

    assert "120 rows repeat another row" in told(found)
    assert "repeat" not in told(evaluate(labels, p, draws=0))


def test_every_row_said_twice_widens_the_cluster_interval_over_wilsons():
    labels, p = a_table()
    twice = np.arange(120).repeat(4)

    found = evaluate(labels[twice], p[twice], patients=twice, draws=400)
    once = evaluate(labels, p, draws=400)

    width = np.ptp(found.accuracy_ci_cluster)
    assert width > 1.7 * np.ptp(found.accuracy_ci)
    assert width == pytest.approx(np.ptp(once.accuracy_ci_cluster), rel=0.15)


def test_nearly_separated_calibration_is_penalised_and_says_so():
    labels = np.repeat([0, 3], 15)
    p = np.repeat([[0.85, 0.1, 0.03, 0.02], [0.02, 0.03, 0.1, 0.85]], 15, axis=0)
    p[:, :2] += np.linspace(-0.01, 0.01, 30)[:, None]
    p[:, 2:] -= np.linspace(-0.01, 0.01, 30)[:, None]

    found = evaluate(labels, p, draws=50)

    assert found.calibration.penalised is True
    assert 0 < found.calibration.slope < 5
    assert "Firth" in told(found)
    assert found.accuracy_ci_cluster is None  # all right: redrawing changes nothing


def test_what_was_said_to_be_impossible_gives_no_infinity():
    labels, p = a_table()
    p[:60] = [0.0, 0.5, 0.25, 0.25]

    found = evaluate(labels, p, draws=0)

    assert found.hosmer_lemeshow["T1"] == HosmerLemeshow(None, 0.0, 0.0, 0.0)
    assert np.isfinite(found.log_loss)
    assert "had a probability of 0 for the true stage" in told(found)


def test_the_vote_decides_accuracy_and_treatment_but_not_the_probabilities_scores():
    labels, p = a_table()

    by_mean = evaluate(labels, p, draws=0)
    by_vote = evaluate(labels, p, predicted=labels, draws=0)

    assert by_vote.accuracy == 1.0
    assert (by_vote.over_treatment, by_vote.under_treatment) == (0.0, 0.0)
    assert by_vote.nnt == pytest.approx(120 / (labels >= 2).sum())
    for key in ("auc", "rps", "brier", "log_loss", "ece", "calibration", "net_benefit"):
        assert getattr(by_vote, key) == getattr(by_mean, key)


def test_treatment_rates_and_nnt_are_those_of_the_paper():
    """Test cohort of the paper: 239 patients, 120 at T3 or T4, five over-treated, six under-treated; NNT 2.19."""
    labels = np.r_[np.full(120, 2), np.full(119, 1)]
    given = np.r_[np.full(114, 2), np.full(6, 1), np.full(5, 2), np.full(114, 1)]

    found = evaluate(labels, np.full((239, 4), 0.25), predicted=given, draws=0)

    assert found.nnt == pytest.approx(2.19, abs=0.005)
    assert found.over_treatment == pytest.approx(5 / 239)
    assert found.under_treatment == pytest.approx(6 / 239)


def test_without_draws_nothing_is_redrawn():
    found = evaluate(*a_table(), draws=0)

    assert found.accuracy_ci_cluster is None
    assert found.quadratic_kappa_ci is None
    assert set(found.auc_ci_cluster.values()) == {None}


def test_delongs_interval_and_the_redrawn_one_agree_where_a_row_is_a_patient():
    found = evaluate(*a_table(1500), draws=1000)

    for name in ("T1", "T2", "T3", "T4", "macro"):
        assert found.auc_ci[name] == pytest.approx(found.auc_ci_cluster[name], abs=0.004)


@pytest.mark.parametrize(
    ("labels", "p", "patients", "said"),
    [
        ([4], [[0.25] * 4], None, "whole numbers 0 to 3"),
        ([-1], [[0.25] * 4], None, "whole numbers 0 to 3"),
        ([1.0], [[0.25] * 4], None, "whole numbers 0 to 3"),
        ([1, 2], [[0.25] * 4], None, "labels must be"),
        ([1], [[0.25] * 3], None, "must be \\(n, 4\\)"),
        ([1], [[0.5, 0.5, 0.5, 0.5]], None, "not four finite probabilities"),
        ([1], [[np.nan, 0.5, 0.5, 0]], None, "not four finite probabilities"),
        ([1], [[0.25] * 4], ["a", "b"], "2 patients for 1 rows"),
    ],
)
def test_what_does_not_belong_together_is_refused(labels, p, patients, said):
    with pytest.raises(InputRefused, match=said):
        evaluate(labels, p, patients=patients)
