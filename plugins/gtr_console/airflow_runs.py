"""Which runs worked on a night, and which were asked for at once, from Airflow's own database.

A run of `nightly_staging` is of the night that its tasks take from it (`gtr_airflow.nights`, by today's time zone), a
run of `stage_now` of the night that its task `take` returned. Where Airflow's database cannot be asked, there are none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from attrs import field, frozen

from gtr_batch.config import Config
from gtr_batch.errors import InputRefused

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

DAG_ID = "nightly_staging"
AT_ONCE_DAG_ID = "stage_now"
_BY_HAND = 500  # newest runs without a place in the schedule: their night is none that their dates would tell
_AT_ONCE = 200
_FAILED_TASKS = 50
_AROUND = timedelta(days=2)
_ACTIVE = ("queued", "running")
_Found = TypeVar("_Found")


@frozen
class TaskLog:
    """A task of a run that failed; `map_index` is -1 where it is not mapped."""

    task_id: str
    map_index: int

    @property
    def words(self) -> str:
        """As pages name it."""
        return self.task_id if self.map_index < 0 else f"{self.task_id} [{self.map_index}]"


@frozen
class Run:
    """A run as Airflow has it.

    `at` is when it began, or when it was asked for while it waits; `by` the user who started it, empty for the
    schedule; `night` the night that it worked on, None where it has taken none.
    """

    dag_id: str
    run_id: str
    state: str
    at: datetime | None
    has_begun: bool
    by: str
    night: date | None
    conf: Mapping[str, Any] = field(factory=dict)
    case_ids: Sequence[str] = ()
    failed: Sequence[TaskLog] = ()

    @property
    def asked_cases(self) -> list[str]:
        """Case ids that a run of `stage_now` was asked for."""
        return [one for one in _texts(self.conf.get("case_ids")) if _is_case_id(one)]

    @property
    def asked_studies(self) -> list[str]:
        """Study Instance UIDs that a run of `stage_now` was asked for."""
        return _texts(self.conf.get("study_uids"))

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in _ACTIVE


def runs_by_night(config: Config, nights: Sequence[date], asked: Sequence[Run] = ()) -> dict[date, list[Run]]:
    """The runs that are of these nights, those `asked` for at once among them: what has begun first, newest first."""
    if not nights:
        return {}
    wanted = set(nights)
    found = _asked(lambda session: _nightly(session, config, min(nights), max(nights))) or []
    found = [*found, *asked]
    by_night: dict[date, list[Run]] = {}
    for run in sorted(found, key=_newest_first):
        if run.night in wanted and run.night is not None:
            by_night.setdefault(run.night, []).append(run)
    return by_night


def with_failed_tasks(runs: Sequence[Run]) -> list[Run]:
    """The same runs with their failed tasks, whose logs say why."""
    import attrs

    failed = _asked(lambda session: _failed_tasks(session, runs)) or {}
    return [attrs.evolve(run, failed=failed.get((run.dag_id, run.run_id), ())) for run in runs]


def night_of_run(config: Config, run_id: str) -> date | None:
    """The night of a run of `nightly_staging`; None where it is not known."""
    from airflow.models.dagrun import DagRun

    found = _asked(lambda session: _of_nights(session, config, [DagRun.run_id == run_id]))
    return found[0].night if found else None


def at_once() -> list[Run]:
    """The last runs of `stage_now`, newest first, each with the night and the cases that it took."""
    return _asked(_at_once) or []


def next_run_id(prefix: str) -> str:
    """The id of the next run of `stage_now` with this prefix: who ask at once are given the same, and one gets it."""
    return f"{prefix}{(_asked(lambda session: _last_number(session, prefix)) or 0) + 1}"


def is_paused(dag_id: str) -> bool:
    """Whether Airflow lets runs of a DAG wait for somebody; False where it cannot be asked."""
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    statement = select(DagModel.is_paused).where(DagModel.dag_id == dag_id)
    return bool(_asked(lambda session: session.scalar(statement)))


def _last_number(session: Session, prefix: str) -> int:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    known = select(DagRun.run_id).where(
        DagRun.dag_id == AT_ONCE_DAG_ID, DagRun.run_id.startswith(prefix, autoescape=True)
    )
    numbers = [run_id.removeprefix(prefix) for run_id in session.scalars(known)]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _newest_first(run: Run) -> tuple[bool, float]:
    return not run.has_begun, -(run.at.timestamp() if run.at else 0.0)


def _nightly(session: Session, config: Config, first: date, last: date) -> list[Run]:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import func, or_

    since = datetime.combine(first, time(), UTC) - _AROUND
    until = datetime.combine(last, time(), UTC) + _AROUND
    due = func.coalesce(DagRun.logical_date, DagRun.run_after)
    scheduled = DagRun.run_type.in_(["scheduled", "backfill"]) & DagRun.partition_key.is_(None)
    return [
        *_of_nights(session, config, [scheduled, due >= since, due < until]),
        *_of_nights(
            session, config, [or_(~DagRun.run_type.in_(["scheduled", "backfill"]), ~DagRun.partition_key.is_(None))]
        ),
    ]


def _of_nights(session: Session, config: Config, which: Sequence[ColumnElement[bool]]) -> list[Run]:
    """Runs of `nightly_staging` with the night that their tasks take from them."""
    rows = session.execute(_select(DAG_ID, which, _BY_HAND)).all()
    return [_run(DAG_ID, row, _night(row, config)) for row in rows]


def _at_once(session: Session) -> list[Run]:
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    rows = session.execute(_select(AT_ONCE_DAG_ID, [], _AT_ONCE)).all()
    kept = select(XComModel).where(
        XComModel.dag_id == AT_ONCE_DAG_ID,
        XComModel.task_id == "take",
        XComModel.key == "return_value",
        XComModel.run_id.in_([row.run_id for row in rows]),
    )
    taken = {one.run_id: _taken(XComModel.deserialize_value(one)) for one in session.scalars(kept)}
    return [_run(AT_ONCE_DAG_ID, row, *taken.get(row.run_id, (None, ()))) for row in rows]


def _failed_tasks(session: Session, runs: Sequence[Run]) -> dict[tuple[str, str], list[TaskLog]]:
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    told = (TaskInstance.dag_id, TaskInstance.run_id, TaskInstance.task_id, TaskInstance.map_index)
    wanted = {(run.dag_id, run.run_id) for run in runs}
    statement = (
        select(*told)
        .where(TaskInstance.run_id.in_([run.run_id for run in runs]), TaskInstance.state == "failed")
        .order_by(TaskInstance.start_date)
        .limit(_FAILED_TASKS)
    )
    found: dict[tuple[str, str], list[TaskLog]] = {}
    for row in session.execute(statement):
        if (row.dag_id, row.run_id) in wanted:
            found.setdefault((row.dag_id, row.run_id), []).append(TaskLog(row.task_id, row.map_index))
    return found


def _select(dag_id: str, which: Sequence[ColumnElement[bool]], most: int) -> Any:
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    told = (
        DagRun.run_id, DagRun.conf, DagRun.partition_key, DagRun.logical_date, DagRun.run_after, DagRun.state,
        DagRun.start_date, DagRun.queued_at, DagRun.triggering_user_name,
    )  # fmt: skip
    return select(*told).where(DagRun.dag_id == dag_id, *which).order_by(DagRun.id.desc()).limit(most)


def _run(dag_id: str, row: Any, night: date | None, case_ids: Sequence[str] = ()) -> Run:
    return Run(
        dag_id=dag_id,
        run_id=row.run_id,
        state=str(getattr(row.state, "value", row.state)),
        at=row.start_date or row.queued_at or row.run_after,
        has_begun=row.start_date is not None,
        by=row.triggering_user_name or "",
        night=night,
        conf=row.conf if isinstance(row.conf, dict) else {},
        case_ids=case_ids,
    )


def _taken(value: Any) -> tuple[date | None, tuple[str, ...]]:
    """Night and cases that a run of `stage_now` took."""
    if not isinstance(value, dict):
        return None, ()
    cases = tuple(one for one in _texts(value.get("case_ids")) if _is_case_id(one))
    try:
        return (date.fromisoformat(str(value.get("night"))), cases) if cases else (None, ())
    except ValueError:  # whoever may change a run may write what they like there
        return None, ()


def _night(row: Any, config: Config) -> date | None:
    from gtr_airflow.nights import night_of

    try:
        return night_of({"dag_run": row, "params": row.conf or {}}, config)  # type: ignore[typeddict-item]
    except InputRefused:
        return None


def _is_case_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _texts(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _asked(question: Callable[[Session], _Found]) -> _Found | None:
    """What Airflow's database answers; None where it cannot be asked."""
    from airflow.utils.session import create_session
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_session() as session:
            return question(session)
    except SQLAlchemyError:
        return None
