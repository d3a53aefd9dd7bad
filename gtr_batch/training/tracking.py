"""Experiment tracking with MLflow, in a database of its own. Nothing clinical depends on it: a fault is a warning."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gtr_batch.errors import ConfigError
from gtr_batch.logs import get_logger
from gtr_batch.loopback import is_loopback

log = get_logger("training")
EXPERIMENT = "gtr-retraining"


@contextmanager
def tracked(uri: str, name: str, params: Mapping[str, Any]) -> Iterator[Callable[[Any], None]]:
    """A run in MLflow; gives the function that epochs are told to. Without `uri` it does nothing.

    Parameters
    ----------
    uri : str
        ``postgresql://`` URI of MLflow's own database, or ``sqlite:///`` of a file; MLflow takes no folder any more.
    name : str
        Of the run; no patient.
    params : mapping
        Settings.
    """
    client, run_id = _begin(uri, name, params)

    def note(epoch: Any) -> None:
        if client is not None:
            step = epoch.lesson * 1000 + epoch.number
            _guarded(
                lambda: [
                    client.log_metric(run_id, metric, float(getattr(epoch, metric)), step=step)
                    for metric in ("train_loss", "validation_loss", "validation_accuracy")
                ]
            )

    status = "FAILED"
    try:
        yield note
        status = "FINISHED"
    finally:
        if client is not None:
            _guarded(lambda: client.set_terminated(run_id, status))


def _check_encrypted(uri: str) -> None:
    """Refuse a database on another machine without a checked certificate: its password would be sent to anybody."""
    given = urlsplit(uri)
    mode = parse_qs(given.query).get("sslmode", [""])[-1]
    if given.scheme.startswith("postgres") and not is_loopback(given.hostname or "") and mode != "verify-full":
        raise ConfigError(
            "training.tracking_uri leads to another machine: write sslmode=verify-full and sslrootcert=FILE (or "
            "sslrootcert=system) into it, as postgresql://…?sslmode=verify-full&sslrootcert=system"
        )


def _begin(uri: str, name: str, params: Mapping[str, Any]) -> tuple[Any, str]:
    if not uri:
        return None, ""
    _check_encrypted(uri)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")

    def begin() -> tuple[Any, str]:
        from mlflow import MlflowClient
        from sqlalchemy import create_engine

        if "://" in uri:  # MLflow would try a server that is not there for two minutes
            create_engine(uri).connect().close()
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(EXPERIMENT)
        experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
        run = client.create_run(experiment, run_name=name)
        for key, value in params.items():
            client.log_param(run.info.run_id, key, value)
        return client, run.info.run_id

    return _guarded(begin) or (None, "")


def _guarded(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Exception as err:  # noqa: BLE001 - whatever MLflow and its database raise: a training must not end for it
        log.warning("training.not_tracked", reason=type(err).__name__)
        return None
