"""MLflow watches where it is told to, and a fault of it ends no training."""

from __future__ import annotations

import pytest
from attrs import evolve

from gtr_batch.errors import ConfigError
from gtr_batch.training.loop import Settings, train
from gtr_batch.training.tracking import tracked
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


@pytest.mark.parametrize("mode", ["", "?sslmode=require", "?sslmode=verify-full&sslmode=prefer"])
def test_a_tracking_database_elsewhere_is_reached_with_a_checked_certificate_only(mode):
    uri = f"postgresql+psycopg2://mlflow:hunter2@db.hospital.example/mlflow{mode}"

    with pytest.raises(ConfigError, match="sslmode=verify-full") as refused, tracked(uri, "run", {"seed": 0}):
        pass

    assert "hunter2" not in str(refused.value)
