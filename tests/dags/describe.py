"""Import one DAG file in this fresh process and tell, as JSON, what Airflow made of it and what it had to import."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import airflow.sdk

BEFORE = set(sys.modules)


def main(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    imported = sorted({name.split(".")[0] for name in set(sys.modules) - BEFORE})

    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    bag = DagBag(path, bundle_path=path.parent)
    dags = {dag_id: describe(dag) for dag_id, dag in bag.dags.items()}
    for dag in bag.dags.values():
        DagSerialization.serialize_dag(dag)  # raises where the scheduler could not read it
    print(json.dumps({"imported": imported, "errors": bag.import_errors, "dags": dags}, default=str))


def describe(dag: airflow.sdk.DAG) -> dict:
    times = getattr(dag.timetable, "timetable", dag.timetable)  # within one that waits for an asset too
    assets = getattr(dag.timetable, "asset_condition", None)
    return {
        "doc": dag.doc_md,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "schedule": getattr(times, "expression", None),  # none where it is only ever started by hand
        "timezone": str(getattr(times, "timezone", None)),
        "params": sorted(dag.params),
        "assets": sorted(asset.name for asset in assets.objects) if assets else [],
        "deadlines": [
            {
                "reference": d.reference.reference_name,
                "hours": d.interval.total_seconds() / 3600,
                "tells": d.callback.path,
            }
            for d in dag.deadline or []
        ],
        "tasks": {task.task_id: task_of(task) for task in dag.tasks},
    }


def deadline_of(deadline: airflow.sdk.DeadlineAlert) -> dict:
    return {
        "reference": deadline.reference.reference_name,
        "hours": deadline.interval.total_seconds() / 3600,
        "tells": deadline.callback.path,
    }


def task_of(task: airflow.sdk.BaseOperator) -> dict:
    return {
        "owner": task.owner,
        "retries": task.retries,
        "policy": type(task.retry_policy).__name__,
        "operator": type(task).__name__,
        "timeout_s": (task.execution_timeout or task.response_timeout).total_seconds(),
        "doc": task.doc_md,
        "pool": task.pool,
        "queue": task.queue,
        "priority": task.priority_weight,
        "upstream": sorted(task.upstream_task_ids),
        "trigger_rule": str(task.trigger_rule),
        "mapped_over": bool(task.get_closest_mapped_task_group()),
        "map_index_template": task.map_index_template,
        "tells_of_failure": bool(task.on_failure_callback),
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
