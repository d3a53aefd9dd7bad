"""Single moves of a case as tests arrange them: each a step's record of its own, over memory or over PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from gtr_batch.db import Database, PostgresCases, PostgresDeliveries, PostgresNights
from gtr_batch.domain import transitions
from gtr_batch.domain.case import CaseState, Failure, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.delivery import Commitment, ReportObject, StoreReceipt
from gtr_batch.domain.refusal import Refusal
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.night.memory import MemoryCases, MemoryDeliveries, MemoryNights
from gtr_batch.ports import Cases, Deliveries, Nights


class Moves:
    """Nights, cases and deliveries of one store; what is not a move of its own is asked of the cases."""

    def __init__(self, nights: Nights, cases: Cases, deliveries: Deliveries) -> None:
        self.nights, self.cases, self.deliveries = nights, cases, deliveries

    @classmethod
    def in_memory(cls) -> Moves:
        return cls(MemoryNights(), MemoryCases(), MemoryDeliveries())

    @classmethod
    def on(cls, database: Database) -> Moves:
        return cls(PostgresNights(database), PostgresCases(database), PostgresDeliveries(database))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cases, name)

    def advance(self, case_id: str, to: CaseState, detail: Mapping[str, Any] | None = None) -> None:
        with self.cases.step(case_id, transitions.STEP_OF.get(to, Step.INTAKE)) as record:
            record.advance(to, detail)

    def refuse(self, case_id: str, step: Step, refusal: Refusal) -> None:
        with self.cases.step(case_id, step) as record:
            record.refuse(refusal)

    def fail(self, case_id: str, failure: Failure) -> None:
        with self.cases.step(case_id, failure.step) as record:
            record.fail(failure)

    def expect(self, case_id: str, sop_uids: Sequence[str]) -> None:
        with self.cases.step(case_id, Step.RETRIEVE) as record:
            record.expects(sop_uids)

    def save_staging(self, case_id: str, staging: CaseStaging) -> None:
        with self.cases.step(case_id, Step.STAGE) as record:
            record.stages(staging)

    def save_features(self, case_id: str, model_version: str, features: np.ndarray, logits: np.ndarray) -> None:
        staging = self.cases.staging(case_id)
        assert staging is not None and staging.model_version == model_version
        with self.cases.step(case_id, Step.STAGE) as record:
            record.stages(staging, features, logits)

    def save_facts(self, case_id: str, facts: Mapping[str, Any]) -> None:
        with self.cases.step(case_id, Step.VALIDATE) as record:
            record.measured(facts)

    def save_score(self, case_id: str, score: NomogramScore, covariates: Covariates) -> None:
        with self.cases.step(case_id, Step.NOMOGRAM) as record:
            record.scores(score, covariates)

    def save_objects(self, case_id: str, objects: Sequence[ReportObject]) -> None:
        with self.cases.step(case_id, Step.REPORT) as record:
            record.writes(objects)

    def save_receipts(self, case_id: str, receipts: Sequence[StoreReceipt]) -> None:
        self.deliveries.note_receipts(case_id, receipts)

    def stored(self, case_id: str) -> frozenset[str]:
        return self.deliveries.stored(case_id)

    def save_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        self.deliveries.note_commitment(case_id, commitment, read_back)

    def open_night(self, night: date, model_version: str) -> None:
        self.nights.open(night, model_version)

    def night_model(self, night: date) -> str:
        return self.nights.model_of(night)

    def close_night(self, night: date, summary: Mapping[str, Any]) -> None:
        self.nights.close(night, summary)

    def night_summary(self, night: date) -> Mapping[str, Any] | None:
        return self.nights.summary(night)

    def last_night(self) -> date | None:
        return self.nights.last()
