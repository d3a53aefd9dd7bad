"""Which run of nightly_staging a night was, from Airflow's own database; nothing where that cannot be asked."""

from __future__ import annotations

from datetime import date

from gtr_batch.config import Config
from gtr_batch.errors import InputRefused

DAG_ID = "nightly_staging"
_LOOKED_AT = 200


def runs_by_night(config: Config) -> dict[date, str]:
    """Run id of each of the last nights, the newest run of a night."""
    found: dict[date, str] = {}
    for run_id, night in _runs(config):
        found.setdefault(night, run_id)
    return found


def night_of_run(config: Config, run_id: str) -> date | None:
    """The night of a run; None where it is not known."""
    return next((night for one, night in _runs(config) if one == run_id), None)


def _runs(config: Config) -> list[tuple[str, date]]:
    """The last runs with their nights, newest first."""
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select
    from sqlalchemy.exc import SQLAlchemyError

    told = (DagRun.run_id, DagRun.conf, DagRun.partition_key, DagRun.logical_date, DagRun.run_after)
    statement = select(*told).where(DagRun.dag_id == DAG_ID).order_by(DagRun.run_after.desc()).limit(_LOOKED_AT)
    try:
        with create_session() as session:
            runs = session.execute(statement).all()
            return [(run.run_id, night) for run in runs if (night := _night(run, config)) is not None]
    except SQLAlchemyError:
        return []


def _night(run: object, config: Config) -> date | None:
    from gtr_airflow.nights import night_of

    try:
        return night_of({"dag_run": run, "params": getattr(run, "conf", None) or {}}, config)  # type: ignore[typeddict-item]
    except InputRefused:
        return None
