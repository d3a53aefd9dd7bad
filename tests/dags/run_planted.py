"""A night, a replay, a training, an audit and the cleaning up, with the DAGs' own tasks and real parts throughout.

The PACS, our database and the settings are those that the environment names. Prints, as JSON, how each run ended and
which files named a patient before the cleaning up.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from gtr_batch.config import Config, load
from gtr_batch.files import REPLAYS
from gtr_batch.writing import make_folder
from tests.planted import FAMILY, WHOSE

NIGHT = date(2026, 3, 1)


def run(dag_id: str, made_by: str = "", until: str = "", **when: object) -> dict[str, str]:
    """Run a DAG, up to a task where one is named; the state of every task."""
    made = getattr(importlib.import_module(dag_id), made_by or dag_id)()
    made.deadline = None  # dag.test() of 3.3.2 cannot end a successful run that has one; see test_nightly_staging.py
    if until:
        made = made.partial_subset(until, include_upstream=True)
    ended = made.test(**{"logical_date": None, **when})
    return {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in ended.get_task_instances()}


def replay(other: str) -> int:
    """Replay the night with another model; how many cases were compared."""
    from gtr_batch.governance import restage
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        return len(restage.compare(gov, other, nights=[NIGHT]).cases)


def write_cards() -> int:
    """The card of every model; how many there are."""
    from gtr_batch.governance.card import write_card
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        models = [model.version for model in gov.registry.all()]
        for version in models:
            write_card(gov.registry, gov.night.config.training.models, version, by="a test")
    return len(models)


def killed_while_it_fetched(config: Config) -> None:
    """What a training leaves that is killed while it prepares a series from the PACS."""
    from tempfile import mkdtemp

    make_folder(config.training.folder)
    shutil.copytree(
        next(config.files.root.glob(f"{NIGHT}/*/retrieve")), mkdtemp(prefix="scratch-", dir=config.training.folder),
        dirs_exist_ok=True,
    )  # fmt: skip


def names_patient(path: Path) -> bool:
    """Whether the name or the number stands in a file, as it is."""
    return path.is_file() and any(text.encode() in path.read_bytes() for text in (FAMILY, WHOSE))


def age(folder: Path) -> None:
    """All in it was written on the night's day."""
    at = datetime(NIGHT.year, NIGHT.month, NIGHT.day, tzinfo=UTC).timestamp()
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (at, at))


def main(other: str) -> None:
    from airflow.utils import db

    sys.path.insert(0, os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    config = load()
    cleaned = NIGHT + timedelta(days=config.files.retention_days + 1)
    with contextlib.redirect_stdout(sys.stderr):
        db.initdb()
        ended = {
            "night": run("nightly_staging", run_conf={"night": str(NIGHT)}),
            "replayed": replay(other),
            "training": run("retraining", until="register"),
            "cards": write_cards(),
            "audit": run("monthly_audit", run_conf={"month": f"{NIGHT:%Y-%m}"}),
        }
        killed_while_it_fetched(config)
        folders = (config.files.root, config.training.folder, config.audit.folder)
        ended["before"] = sorted(str(path) for folder in folders for path in folder.rglob("*") if names_patient(path))
        age(config.files.root / REPLAYS)
        age(config.training.folder)
        at_noon = datetime(cleaned.year, cleaned.month, cleaned.day, 12, tzinfo=UTC)
        ended["housekeeping"] = run("housekeeping", "clean_up", run_after=at_noon)
    print(json.dumps(ended))


if __name__ == "__main__":
    main(*sys.argv[1:])
