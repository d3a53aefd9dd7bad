"""Airflow's way to its database as the product has it, less patient: Airflow itself imports this, so only this."""

from gtr_airflow.database import CONNECT_ARGS

QUICK = CONNECT_ARGS | {"options": "-c idle_in_transaction_session_timeout=10s"}
