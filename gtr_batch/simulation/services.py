"""The servers of the synthetic hospital: its database and its PACS."""

from __future__ import annotations

from gtr_batch.simulation.postgres import EmbeddedPostgres, embedded_postgres

__all__ = ["EmbeddedPostgres", "embedded_postgres"]
