"""In-memory ports, one small class each. The same contract tests run over them and over the real adapters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import attrs
import numpy as np

from gtr_batch.domain import transitions
from gtr_batch.domain.case import PATH, Case, CaseState, Failure, Step
from gtr_batch.domain.clinical import Covariates, PatientFacts
from gtr_batch.domain.delivery import Commitment, ObjectKind, ReportObject, StoreReceipt
from gtr_batch.domain.refusal import Refusal
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging


class FakeCaseBook:
    """`CaseBook` in dictionaries."""

    def __init__(self) -> None:
        self._nights: dict[date, dict[str, Any]] = {}
        self._cases: dict[str, Case] = {}
        self._events: dict[str, list[Mapping[str, Any]]] = {}
        self._stagings: dict[tuple[str, str], CaseStaging] = {}
        self._carried: dict[str, str] = {}
        self._facts: dict[str, Any] = {}
        self._features: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._scores: dict[tuple[str, str], NomogramScore] = {}
        self._objects: dict[str, dict[ObjectKind, ReportObject]] = {}
        self._receipts: dict[str, list[StoreReceipt]] = {}
        self.commitments: dict[str, tuple[Commitment, frozenset[str]]] = {}

    def open_night(self, night: date, model_version: str) -> None:
        self._nights.setdefault(night, {})["model_version"] = model_version

    def night_model(self, night: date) -> str:
        return self._nights.get(night, {}).get("model_version", "")

    def of_accessions(self, accession_numbers: Sequence[str]) -> list[Case]:
        cases = [c for c in self._cases.values() if c.accession_number and c.accession_number in accession_numbers]
        return sorted(cases, key=lambda c: (c.night, c.study_uid, c.series_uid, c.case_id))

    def close_night(self, night: date, summary: Mapping[str, Any]) -> None:
        self._nights.setdefault(night, {})["summary"] = _plain(summary)

    def night_summary(self, night: date) -> Mapping[str, Any] | None:
        return self._nights.get(night, {}).get("summary")

    def last_night(self) -> date | None:
        return max(self._nights, default=None)

    def record(self, cases: Sequence[Case]) -> list[str]:
        new = []
        for case in cases:
            if case.case_id not in self._cases:
                new.append(case.case_id)
                self._record(case)
        return new

    def _record(self, case: Case) -> None:
        self._nights.setdefault(case.night, {})
        self._cases[case.case_id] = case
        self._events[case.case_id] = []
        self._note(case.case_id, Step.INTAKE, CaseState.FOUND, {"night": str(case.night)})
        if case.reached is not CaseState.FOUND:
            self._note(case.case_id, transitions.STEP_OF[case.reached], case.reached, {})
        if case.refusal is not None:
            self._note(case.case_id, Step.INTAKE, CaseState.REFUSED, attrs.asdict(case.refusal))
        if case.failure is not None:
            self._note(case.case_id, case.failure.step, CaseState.FAILED, _failure(case.failure))

    def get(self, case_id: str) -> Case:
        return self._cases[case_id]

    def of_night(self, night: date) -> list[Case]:
        cases = [c for c in self._cases.values() if c.night == night]
        return sorted(
            cases, key=lambda c: (c.study_at is None, c.study_at or datetime.min, c.study_uid, c.series_uid, c.case_id)
        )

    def select(self, case_ids: Sequence[str]) -> list[Case]:
        return [self._cases[c] for c in case_ids]

    def expect(self, case_id: str, sop_uids: Sequence[str]) -> None:
        self._cases[case_id] = attrs.evolve(self._cases[case_id], expected_sop_uids=tuple(sop_uids))

    def advance(self, case_id: str, to: CaseState, detail: Mapping[str, Any] | None = None) -> None:
        step = transitions.STEP_OF.get(to, Step.INTAKE)
        self._move(case_id, step, lambda case: transitions.advanced(case, to), detail or {})

    def refuse(self, case_id: str, step: Step, refusal: Refusal) -> None:
        self._move(case_id, step, lambda case: transitions.refused(case, refusal), attrs.asdict(refusal))

    def fail(self, case_id: str, failure: Failure) -> None:
        self._move(case_id, failure.step, lambda case: transitions.failed(case, failure), _failure(failure))

    def _move(self, case_id: str, step: Step, move: Callable[[Case], Case | None], detail: Mapping[str, Any]) -> None:
        after = move(self._cases[case_id])
        if after is not None:
            self._cases[case_id] = after
            self._note(case_id, step, after.state, detail)

    def _note(self, case_id: str, step: Step, state: CaseState, detail: Mapping[str, Any]) -> None:
        self._events[case_id].append({"at": datetime.now(UTC), "step": step, "state": state, "detail": _plain(detail)})

    def events(self, case_id: str) -> list[Mapping[str, Any]]:
        return list(self._events.get(case_id, []))

    def staged_before(self, series_uids: Sequence[str], model_version: str) -> frozenset[str]:
        return frozenset(
            case.series_uid
            for case in self._cases.values()
            if case.series_uid in series_uids
            and case.state is not CaseState.REFUSED
            and PATH.index(case.reached) >= PATH.index(CaseState.STAGED)
            and (case.case_id, model_version) in self._stagings
        )

    def save_staging(self, case_id: str, staging: CaseStaging) -> None:
        self.get(case_id)
        self._stagings[case_id, staging.model_version] = staging
        self._carried[case_id] = staging.model_version

    def staging(self, case_id: str) -> CaseStaging | None:
        return self._stagings.get((case_id, self._carried.get(case_id, "")))

    def save_facts(self, case_id: str, facts: Mapping[str, Any]) -> None:
        self._facts[self._cases[case_id].case_id] = _plain(facts)

    def facts(self, case_id: str) -> Mapping[str, Any] | None:
        return self._facts.get(case_id)

    def save_features(self, case_id: str, model_version: str, features: np.ndarray, logits: np.ndarray) -> None:
        if (self._cases[case_id].case_id, model_version) not in self._stagings:
            raise ValueError(f"case {case_id} has no staging of this model that features could belong to")
        kept = np.asarray(features, np.float32).ravel(), np.asarray(logits, np.float32).reshape(3, 4)
        self._features[case_id, model_version] = kept

    def features(self, case_id: str, model_version: str) -> tuple[np.ndarray, np.ndarray] | None:
        return self._features.get((case_id, model_version))

    def save_score(self, case_id: str, score: NomogramScore, covariates: Covariates) -> None:
        self.get(case_id)
        if case_id not in self._carried:
            raise ValueError(f"case {case_id} has no staging that a score could belong to")
        self._scores[case_id, self._carried[case_id]] = score

    def score(self, case_id: str) -> NomogramScore | None:
        return self._scores.get((case_id, self._carried.get(case_id, "")))

    def save_objects(self, case_id: str, objects: Sequence[ReportObject]) -> None:
        self.get(case_id)
        for one in objects:
            self._objects.setdefault(case_id, {})[ObjectKind(one.kind)] = one

    def objects(self, case_id: str) -> list[ReportObject]:
        return [self._objects[case_id][kind] for kind in ObjectKind if kind in self._objects.get(case_id, {})]

    def save_receipts(self, case_id: str, receipts: Sequence[StoreReceipt]) -> None:
        self.get(case_id)
        self._receipts.setdefault(case_id, []).extend(receipts)

    def stored(self, case_id: str) -> frozenset[str]:
        taken = [r for r in self._receipts.get(case_id, []) if r.status == 0 or 0xB000 <= r.status <= 0xBFFF]
        return frozenset(r.sop_instance_uid for r in taken)

    def save_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        self.get(case_id)
        self.commitments[case_id] = (commitment, read_back)


class FakeClinicalSource:
    """`ClinicalSource` over facts by PatientID, said to hold on every date."""

    def __init__(self, facts: Mapping[str, PatientFacts] | None = None) -> None:
        self._facts = dict(facts or {})

    def facts(self, patient_id: str, study_uid: str, on: date) -> PatientFacts | None:
        return self._facts.get(patient_id)


def _failure(failure: Failure) -> dict[str, Any]:
    return {"error": failure.error, "retryable": failure.retryable}


def _plain(value: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(value, default=str))
