"""Cluster intervals of very many patients, without drawing: those that drawing approaches."""

from __future__ import annotations

import numpy as np
import pytest

from gtr_batch.audit import evaluation
from gtr_batch.audit.evaluation import evaluate
from gtr_batch.metrics import linearised


def visits(patients: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Patients with up to four rows each that share a stage and much of the error."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    y = rng.integers(4, size=patients)[who]
    said = rng.dirichlet(np.ones(4), patients)[who] + rng.dirichlet(np.ones(4), len(who)) / 2
    said[np.arange(len(y)), y] += 0.25
    return {"labels": y, "probabilities": said / said.sum(axis=1, keepdims=True), "patients": who}


def cluster_intervals(found) -> dict[str, tuple[float, float]]:
    return {"accuracy": found.accuracy_ci_cluster, "kappa": found.quadratic_kappa_ci, **found.auc_ci_cluster}


def test_they_are_those_of_the_bootstrap(monkeypatch):
    """2,000 draws tell each edge to a twentieth of the width; the error of 25 sixtieths would be eight of these."""
    rows = visits(1500)
    redrawn = cluster_intervals(evaluate(**rows, draws=2000))
    monkeypatch.setattr(linearised, "FROM", 0)

    computed = cluster_intervals(evaluate(**rows, draws=2000))

    assert computed.keys() == redrawn.keys()
    for name, (low, high) in redrawn.items():
        assert computed[name] == pytest.approx((low, high), abs=(high - low) / 6), name


def test_rows_of_one_patient_count_as_one(monkeypatch):
    monkeypatch.setattr(linearised, "FROM", 0)
    once = visits(400)
    thrice = {name: np.repeat(values, 3, axis=0) for name, values in once.items()}

    alone = cluster_intervals(evaluate(**thrice | {"patients": None}))
    together, single = cluster_intervals(evaluate(**thrice)), cluster_intervals(evaluate(**once))

    for name, (low, high) in single.items():
        assert together[name] == pytest.approx((low, high), abs=1e-9), name
        assert alone[name][1] - alone[name][0] < 0.7 * (high - low), name


def test_a_thousand_draws_of_a_large_table_are_not_drawn(monkeypatch):
    def never(*_arguments):
        raise AssertionError("drawn")

    monkeypatch.setattr(evaluation, "redrawn_counts", never)
    done: list[int] = []

    found = evaluate(**visits(linearised.FROM + 1), progress=done.append)

    assert done == [1000]
    assert any("nothing was drawn" in sentence for sentence in found.sentences)
    assert found.accuracy_ci_cluster[0] < found.accuracy < found.accuracy_ci_cluster[1]


def test_without_a_stage_there_is_no_interval_of_it():
    monkey = pytest.MonkeyPatch()
    monkey.setattr(linearised, "FROM", 0)
    rows = visits(200)
    kept = rows["labels"] != 3

    found = evaluate(**{name: values[kept] for name, values in rows.items()})

    monkey.undo()
    assert found.auc_ci_cluster["T4"] is None
    assert found.auc_ci_cluster["macro"] is None
    assert found.auc_ci_cluster["T1"] is not None


@pytest.mark.parametrize("patients", [["b", "a", "c", "a"], ["a" * 70, "b", "b", "c"], [3, 1, 2, 1]])
def test_patients_are_in_the_order_of_their_names(patients):
    rows = {"labels": [0, 1, 2, 3], "probabilities": np.eye(4)}

    as_words = evaluate(**rows, patients=np.array(patients, object), draws=50, seed=1)
    by_rank = evaluate(**rows, patients=np.unique(patients, return_inverse=True)[1], draws=50, seed=1)

    assert as_words == by_rank
