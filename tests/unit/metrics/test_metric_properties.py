"""What holds of the metrics whatever the table: order, calibration, the limit of chance, what redrawing covers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.audit.evaluation import evaluate
from gtr_batch.audit.found.filed import evaluation_to_json
from gtr_batch.metrics.calibration import at_least_t3, ece_null_95, ece_top, recalibration
from gtr_batch.metrics.classification import auc, confusion, kappa_of
from gtr_batch.metrics.redrawing import WeightedAuc, confusion_by_patient, kappas_of, redrawn_counts


def probabilities(rng, n, spread=1.2):
    x = rng.normal(0, spread, (n, 4))
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


def outcomes(rng, p):
    return (rng.random(len(p))[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 3)


@st.composite
def tables(draw):
    """Small tables with ties, absent stages and patients with several rows."""
    n = draw(st.integers(0, 40))
    raw = np.array(draw(st.lists(st.lists(st.integers(0, 4), min_size=4, max_size=4), min_size=n, max_size=n)), float)
    raw = raw.reshape(n, 4) + 1e-3
    labels = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), int)
    patients = np.array(draw(st.lists(st.integers(0, 12), min_size=n, max_size=n)), int)
    order = np.array(draw(st.permutations(range(n))), int)
    return labels, raw / raw.sum(axis=1, keepdims=True), patients, order


@settings(max_examples=60, deadline=None)
@given(tables(), st.booleans())
def test_metrics_do_not_depend_on_the_order_of_the_rows(table, grouped):
    labels, p, patients, order = table

    one = evaluate(labels, p, patients=patients if grouped else None, draws=20)
    other = evaluate(labels[order], p[order], patients=patients[order] if grouped else None, draws=20)

    assert json.dumps(evaluation_to_json(one)) == json.dumps(evaluation_to_json(other))


@settings(max_examples=60, deadline=None)
@given(tables())
def test_no_table_gives_nan_or_infinity(table):
    labels, p, patients, _ = table

    found = evaluate(labels, p, patients=patients, draws=20)

    assert json.loads(json.dumps(evaluation_to_json(found), allow_nan=False))["n"] == len(labels)
    assert found.sentences or found.n


@settings(max_examples=40, deadline=None)
@given(tables(), st.integers(0, 1000))
def test_redrawn_counts_give_what_redrawn_rows_give(table, seed):
    labels, p, patients, _ = table
    _, who = np.unique(np.r_[patients, 99], return_inverse=True)  # never without a patient
    labels, p = np.r_[labels, 0], np.vstack([p, [0.4, 0.3, 0.2, 0.1]])
    said, m = p.argmax(axis=1), int(who.max()) + 1

    counts = next(redrawn_counts(m, len(labels), 3, seed))
    kappas = kappas_of((counts @ confusion_by_patient(labels, said, who, m)).reshape(-1, 4, 4))
    aucs = WeightedAuc(labels, p)(counts[:, who])

    for k, drawn in enumerate(counts.astype(int)):
        rows = np.repeat(np.arange(len(labels)), drawn[who])
        by_rows = kappa_of(confusion(labels[rows], said[rows]))
        assert kappas[k] == pytest.approx(np.nan if by_rows is None else by_rows, nan_ok=True)
        found = [np.nan if v is None else v for v in auc(labels[rows], p[rows]).values()]
        assert aucs[k] == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
def test_slope_is_1_and_intercept_0_on_calibrated_data(seed):
    rng = np.random.default_rng(seed)
    p = probabilities(rng, 100_000)

    line = recalibration(*at_least_t3(outcomes(rng, p), p))

    assert abs(line.slope - 1) < 3.5 * line.slope_se < 0.05
    assert abs(line.intercept) < 3.5 * line.intercept_se < 0.05


def test_slope_of_a_model_twice_as_sure_is_a_half():
    rng = np.random.default_rng(6)
    p = probabilities(rng, 50_000)
    said = p[:, 2] + p[:, 3]
    sure = said**2 / (said**2 + (1 - said) ** 2)

    line = recalibration(rng.random(len(p)) < said, sure)

    assert line.slope == pytest.approx(0.5, abs=4 * line.slope_se)


@pytest.mark.parametrize("n", [20, 60, 1500])
def test_the_null_limit_of_ece_holds_95_of_100_calibrated_samples(n):
    """Of 800 samples 5% lie above with a standard error of 0.8 points: a limit at 90% or at 99% would fail here."""
    rng = np.random.default_rng(n)
    above = []
    for k in range(800):
        p = probabilities(rng, n)
        above.append(ece_top(outcomes(rng, p), p) > ece_null_95(p, draws=500, seed=k))

    assert 0.025 < np.mean(above) < 0.075


@pytest.mark.parametrize("spread", [0.3, 2.5])
def test_the_null_limit_moves_with_how_sure_the_model_is(spread):
    """A limit for one kind of probabilities does not serve another: at 60 rows the two differ by half."""
    rng = np.random.default_rng(8)
    above = []
    for k in range(800):
        p = probabilities(rng, 60, spread)
        above.append(ece_top(outcomes(rng, p), p) > ece_null_95(p, draws=500, seed=k))

    assert 0.025 < np.mean(above) < 0.075


def test_cluster_intervals_hold_the_truth_where_rows_of_a_patient_are_alike():
    """Five like rows a patient: Wilson's interval of the rows is too narrow, that of redrawn patients is not."""
    rng = np.random.default_rng(9)
    held, wilson_held = [], []
    for k in range(300):
        right = np.repeat(rng.random(80) < 0.7, 5)
        labels = np.zeros(400, int)
        p = np.where(right[:, None], [0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1])
        found = evaluate(labels, p, patients=np.repeat(np.arange(80), 5), draws=300, seed=k)
        held.append(found.accuracy_ci_cluster[0] <= 0.7 <= found.accuracy_ci_cluster[1])
        wilson_held.append(found.accuracy_ci[0] <= 0.7 <= found.accuracy_ci[1])

    assert np.mean(held) > 0.9
    assert np.mean(wilson_held) < 0.75
