"""What challengers said, in PostgreSQL, apart from every result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import numpy as np

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database
from gtr_batch.domain.shadow import ShadowAnswer
from gtr_batch.domain.staging import CaseStaging


class PostgresShadows:
    """Port `ShadowBook`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(
        self,
        case_id: str,
        champion: CaseStaging,
        challenger: CaseStaging,
        features: np.ndarray,
        logits: np.ndarray,
        *,
        own_preparation: bool = False,
    ) -> None:
        """Upsert what a challenger said of a case: key slice's features (D,), logits of the slices (3, 4)."""
        self._save(
            case_id,
            champion,
            challenger.model_version,
            t_stage=str(challenger.t_stage),
            probabilities=None if challenger.probabilities is None else list(challenger.probabilities.values),
            flags=[str(f) for f in challenger.flags],
            features=np.asarray(features, np.float32).ravel().tolist(),
            logits=np.asarray(logits, np.float32).reshape(12).tolist(),
            own_preparation=own_preparation,
            error=None,
        )

    def save_error(self, case_id: str, champion: CaseStaging, model_version: str, error: str) -> None:
        """Upsert why a challenger could not stage a case; no PHI."""
        self._save(
            case_id,
            champion,
            model_version,
            t_stage=None,
            probabilities=None,
            flags=[],
            features=None,
            logits=None,
            own_preparation=False,
            error=error,
        )

    def _save(self, case_id: str, champion: CaseStaging, model_version: str, **found: Any) -> None:
        with self._database.transaction(f"shadow of case {case_id}") as tx:
            tx.run(
                _queries()["save"],
                case_id=rows.key(case_id),
                model_version=model_version,
                champion_version=champion.model_version,
                champion_stage=str(champion.t_stage),
                **found,
            )

    def done(self, case_ids: Sequence[str], model_version: str) -> frozenset[str]:
        """Which of these cases a challenger has staged already."""
        ids = [rows.key(c) for c in case_ids]
        with self._database.transaction("shadow") as tx:
            found = tx.all(_queries()["done"], case_ids=ids, model_version=model_version)
        return frozenset(str(row["case_id"]) for row in found)

    def of_night(self, night: date) -> Sequence[ShadowAnswer]:
        """What challengers said of a night's cases, without their probabilities."""
        with self._database.transaction("shadow of a night") as tx:
            return [ShadowAnswer(**row) for row in tx.all(_queries()["of_night"], night=night)]

    def of_model(self, model_version: str) -> Sequence[ShadowAnswer]:
        """What one challenger said on all its nights, with its probabilities."""
        with self._database.transaction("shadow of a model") as tx:
            return [ShadowAnswer(**row) for row in tx.all(_queries()["of_model"], model_version=model_version)]


def _queries() -> dict[str, queries.Query]:
    return queries.load("shadow")
