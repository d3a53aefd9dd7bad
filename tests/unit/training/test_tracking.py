"""MLflow watches where it is told to, and a fault of it ends no training."""

from __future__ import annotations

import os

import pytest
from attrs import evolve

from gtr_batch.training.loop import Settings, train
from gtr_batch.training.tracking import EXPERIMENT, tracked
from tests.unit.training.small import Small, squares

QUICK = Settings(epochs=2, batch=8, learning_rate=0.01)


def test_without_an_address_nothing_is_tracked():
    with tracked("", "run", {"seed": 0}) as note:
        epochs = train(Small(), squares(8, 1), squares(8, 2), QUICK, note)

    assert len(epochs) == 2


def test_a_dead_server_ends_no_training():
    with tracked("postgresql://nobody@127.0.0.1:9/none?connect_timeout=1", "run", {"seed": 0}) as note:
        epochs = train(Small(), squares(8, 1), squares(8, 2), evolve(QUICK, epochs=1), note)

    assert len(epochs) == 1


def test_epochs_and_settings_are_found_again(tmp_path):
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with tracked(uri, "run", {"backbone": "small"}) as note:
        train(Small(), squares(8, 1), squares(8, 2), QUICK, note)

    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert run.data.params == {"backbone": "small"}
    assert len(client.get_metric_history(run.info.run_id, "validation_loss")) == 2
    assert run.info.status == "FINISHED"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
