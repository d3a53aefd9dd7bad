"""The stop switch in Airflow."""

from __future__ import annotations

from tests.fixtures_db import *  # noqa: F403
from tests.fixtures_db import logins


def test_who_started_the_run_has_stopped_the_service_and_resumed_it(in_airflow, module_dsn):
    login = logins(module_dsn)

    found = in_airflow(
        "run_switch.py",
        GTR_DATABASE__DSN=login.dsn,
        GTR_DATABASE__GOVERNOR_DSN=login.governor_dsn,
        GTR_NIGHT__RETRIES="0",
    )

    assert found["states"] == ["success", "success", "failed"]  # what runs cannot be resumed
    assert found["history"] == [["stop", "dag_test", "a fire"], ["resume", "dag_test", "put out"]]
