"""MLflow in a PostgreSQL database of its own."""

from __future__ import annotations

import os

from mlflow import MlflowClient
from psycopg2.extensions import parse_dsn

from gtr_batch.training.loop import Settings, train
from gtr_batch.training.tracking import EXPERIMENT, tracked
from tests.unit.training.small import Small, squares


def test_epochs_and_settings_are_found_again(empty_dsn):
    given = parse_dsn(empty_dsn)
    uri = f"postgresql://{given['user']}:{given['password']}@{given['host']}:{given['port']}/{given['dbname']}"
    with tracked(uri, "run", {"backbone": "small"}) as note:
        train(Small(), squares(8, 1), squares(8, 2), Settings(epochs=2, batch=8, learning_rate=0.01), note)

    client = MlflowClient(tracking_uri=uri)
    (run,) = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert run.data.params == {"backbone": "small"}
    assert len(client.get_metric_history(run.info.run_id, "validation_loss")) == 2
    assert run.info.status == "FINISHED"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
