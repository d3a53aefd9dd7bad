"""The process that tasks are forked from imports the steps' libraries once, and only that process."""

from __future__ import annotations

import pytest

from gtr_airflow.preload import LIBRARIES, forks_tasks
from tests.dags.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("command", "executor", "forks"),
    [
        ("airflow scheduler --skip-serve-logs", "LocalExecutor", True),
        ("airflow celery worker --queues cpu", "CeleryExecutor", True),
        ("airflow scheduler", "CeleryExecutor", False),  # its tasks are forked elsewhere
        ("airflow scheduler", "KubernetesExecutor", False),  # a pod a task
        ("airflow celery flower", "CeleryExecutor", False),
        ("airflow api-server", "LocalExecutor", False),
        ("airflow dag-processor", "LocalExecutor", False),
        ("airflow triggerer", "LocalExecutor", False),
        ("airflow", "LocalExecutor", False),
        ("gtr doctor", "LocalExecutor", False),
    ],
)
def test_only_what_tasks_are_forked_from_imports_for_them(monkeypatch, command, executor, forks):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)

    assert forks_tasks(command.split()) is forks


def test_tasks_of_an_interpreter_of_their_own_are_not_forked(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTE_TASKS_NEW_PYTHON_INTERPRETER", "True")

    assert not forks_tasks(["airflow", "scheduler"])


@pytest.mark.slow
def test_a_scheduler_has_the_libraries_and_what_it_forks_works(in_airflow):
    found = in_airflow("run_preload.py")

    assert found["local_settings"] == str(REPOSITORY / "plugins" / "airflow_local_settings.py")
    assert found["missing"] == []
    assert found["threads"] == ["MainThread"]
    assert found["sockets"] == 0
    assert found["cuda"] == [False, False]
    assert found["ours"] == []  # a task runs the code that is installed, not what the scheduler began with
    assert found["task"] == {"gradient": 8.0 * 9, "product": 300.0, "cuda": [False, False]}


def test_a_site_may_want_it_otherwise(in_airflow):
    heavy = {"torch", "great_expectations.expectations", "pytorch_grad_cam", "highdicom.sr"}

    found = in_airflow("run_preload.py", GTR_NIGHT__PRELOAD_LIBRARIES="false")

    assert heavy <= set(LIBRARIES)
    assert heavy <= set(found["missing"])
