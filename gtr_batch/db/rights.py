"""What a login may do beyond the night's work."""

from __future__ import annotations

from gtr_batch.config import DatabaseConfig
from gtr_batch.db import queries
from gtr_batch.db.connection import Transaction, connect


def deciding_rights(dsn: str) -> list[str]:
    """By what a login may decide (promote, withdraw, acknowledge, open a holdout): empty for one in gtr_app alone.

    Raises
    ------
    ConfigError, DatabaseBusy
        There is no way to the server, or not now.
    """
    connection = connect(DatabaseConfig(), dsn, "rights", of_patients=False)
    try:
        rows = Transaction(connection, "rights").all(queries.load("session")["deciding_rights"])
    finally:
        connection.close()
    return [row["held"] for row in rows]
