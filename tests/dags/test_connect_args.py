"""Airflow's own connections: what a killed process leaves in its database does not hold the others permanently."""

from __future__ import annotations

import contextlib

import psycopg2

from gtr_airflow.database import CONNECT_ARGS, IDLE_IN_TRANSACTION_S
from tests.fixtures_db import *  # noqa: F403


def test_postgres_ends_a_transaction_that_nobody_goes_on_with(empty_dsn):
    with contextlib.closing(psycopg2.connect(empty_dsn, **CONNECT_ARGS)) as session, session.cursor() as cursor:
        cursor.execute(
            "select current_setting('idle_in_transaction_session_timeout')::interval = make_interval(secs => %s)",
            [IDLE_IN_TRANSACTION_S],
        )
        assert cursor.fetchone() == (True,)
