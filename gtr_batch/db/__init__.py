"""PostgreSQL behind the ports: the case book, the EHR, migrations and extracts. All SQL lies in ``sql/``."""

from gtr_batch.db.cases import PostgresCaseBook
from gtr_batch.db.clinical import PostgresClinicalSource
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.db.migrate import migrate, pending

__all__ = ["Database", "PostgresCaseBook", "PostgresClinicalSource", "Transaction", "migrate", "pending"]
