"""PostgreSQL behind the ports: nights, cases, the EHR, migrations and extracts. All SQL lies in ``sql/``."""

from gtr_batch.db.cases import PostgresCases
from gtr_batch.db.clinical import PostgresClinicalSource
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.db.deliveries import PostgresDeliveries
from gtr_batch.db.migrate import migrate, pending
from gtr_batch.db.nights import PostgresNights
from gtr_batch.db.rights import deciding_rights

__all__ = [
    "Database",
    "PostgresCases",
    "PostgresClinicalSource",
    "PostgresDeliveries",
    "PostgresNights",
    "Transaction",
    "deciding_rights",
    "migrate",
    "pending",
]
