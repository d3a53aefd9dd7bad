"""Nights, cases and deliveries in memory: what a replay writes to, and what a night without a database runs on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import attrs
import numpy as np

from gtr_batch.domain import transitions
from gtr_batch.domain.case import PATH, Case, CaseState, Selected, Step
from gtr_batch.domain.delivery import ANSWER_KINDS, Commitment, ObjectKind, ReportObject, StoreReceipt
from gtr_batch.domain.notice import NightState
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.domain.step_record import Detail, Scored, StepRecord, moved
from gtr_batch.domain.study_look import StudyLook, next_look

_TAKEN = (0xB000, 0xBFFF)  # warnings of C-STORE: stored all the same (PS3.4, B.2.3)


class MemoryNights:
    """Port `Nights` in memory."""

    def __init__(self, model_version: str = "") -> None:
        self._model_version = model_version  # of every night that nobody opened
        self._models: dict[date, str] = {}
        self._summaries: dict[date, Mapping[str, Any]] = {}

    def open(self, night: date, model_version: str) -> None:
        """Note that a night begins (or begins again)."""
        self._models[night] = model_version

    def model_of(self, night: date) -> str:
        """Version of the model that a night was opened with last."""
        return self._models.get(night, self._model_version)

    def close(self, night: date, summary: Mapping[str, Any]) -> None:
        """Write the night's summary."""
        self._models.setdefault(night, self._model_version)
        self._summaries[night] = _through_json(summary)

    def summary(self, night: date) -> Mapping[str, Any] | None:
        """What `close` wrote."""
        return self._summaries.get(night)

    def since(self, at: datetime) -> list[NightState]:
        """All nights that were opened: in memory every one of them is of now."""
        now = datetime.now(UTC)
        closed = dict.fromkeys(self._summaries, now)
        return [NightState(n, now, closed.get(n), self._summaries.get(n)) for n in sorted(self._models)]

    def last(self) -> date | None:
        """The latest night that was opened."""
        return max(self._models, default=None)


class MemoryCases:
    """Port `Cases` in memory. A record is applied to copies and taken over at its end, as a transaction is."""

    def __init__(self, cases: Sequence[Case] = (), selections: Mapping[str, Selected] | None = None) -> None:
        self._cases: dict[str, Case] = {}
        self._selections: dict[str, Selected] = {}
        self._events: dict[str, list[Mapping[str, Any]]] = {}
        self._stagings: dict[tuple[str, str], CaseStaging] = {}
        self._carried: dict[str, str] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._features: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._scores: dict[tuple[str, str], Scored] = {}
        self._objects: dict[str, dict[ObjectKind, ReportObject]] = {}
        self.record(cases, selections)

    def remember(self, case_id: str, events: Sequence[Mapping[str, Any]], facts: Mapping[str, Any] | None) -> None:
        """Take over what another store knows of a case: events before this one's, and what validation measured."""
        self._events[case_id] = [*events, *self._events[case_id]]
        if facts is not None:
            self._facts[case_id] = facts

    def record(self, cases: Sequence[Case], selections: Mapping[str, Selected] | None = None) -> list[str]:
        """Write newly found cases with how their series was selected; returns the ids that were new."""
        new = []
        for case in cases:
            if any(c.series_uid not in ("", case.series_uid) for c in self.of_study(case.study_uid) if case.series_uid):
                continue
            if selections and case.case_id in selections:
                self._selections.setdefault(case.case_id, selections[case.case_id])
            if case.case_id not in self._cases:
                new.append(case.case_id)
                self._begin(case)
        return new

    def _begin(self, case: Case) -> None:
        self._cases[case.case_id] = case
        self._events[case.case_id] = []
        self._note(case.case_id, Step.INTAKE, CaseState.FOUND, {"night": str(case.night)})
        if case.reached is not CaseState.FOUND:
            self._note(case.case_id, transitions.STEP_OF[case.reached], case.reached, {})
        for move, state in ((case.refusal, CaseState.REFUSED), (case.failure, CaseState.FAILED)):
            if move is not None:
                step, detail = moved(StepRecord(case.case_id, Step.INTAKE, move=move))
                self._note(case.case_id, step, state, detail)

    @contextmanager
    def step(self, case_id: str, step: Step) -> Iterator[StepRecord]:
        """A record to fill; written at the end of the block, not at all where the block raises."""
        record = StepRecord(case_id, Step(step))
        yield record
        self._write(record)

    def _write(self, record: StepRecord) -> None:
        case = self._cases[record.case_id]
        record.check(case)
        record.note_what_was(case)
        if record.rekeyed is not None:
            case = transitions.rekeyed(case, record.rekeyed)
        carried = self._carried.get(case.case_id)
        if record.staged is not None:
            carried = record.staged.staging.model_version
        if record.scored is not None and carried is None:
            raise ValueError(f"case {case.case_id} has no staging that a score could belong to")
        after = None if record.move is None else transitions.after(case, record.move)
        # Nothing was changed up to here: what raises has written nothing.
        if record.expected_sop_uids is not None:
            case = attrs.evolve(case, expected_sop_uids=record.expected_sop_uids)
            after = None if after is None else attrs.evolve(after, expected_sop_uids=record.expected_sop_uids)
        self._cases[case.case_id] = after or case
        if record.facts is not None:
            self._facts[case.case_id] = _through_json(record.facts)
        if carried is not None:
            self._results(record, case.case_id, carried)
        for one in record.objects:
            self._objects.setdefault(case.case_id, {})[ObjectKind(one.kind)] = one
        if record.rekeyed is not None:
            self._note(case.case_id, record.step, case.state, {"rekeyed": True, **record.rekeyed_by})
        if record.replaced is not None:
            self._note(case.case_id, record.step, case.reached, record.replaced)
        if after is not None:
            step, detail = moved(record)
            self._note(case.case_id, step, after.state, detail)

    def _results(self, record: StepRecord, case_id: str, carried: str) -> None:
        staged = record.staged
        if staged is not None:
            self._stagings[case_id, carried] = staged.staging
            self._carried[case_id] = carried
            if staged.key_features is not None and staged.logits is not None:
                key = np.asarray(staged.key_features, np.float32).ravel()
                self._features[case_id, carried] = key, np.asarray(staged.logits, np.float32).reshape(3, 4)
        if record.scored is not None:
            self._scores[case_id, carried] = record.scored
        if record.flags:
            staging = self._stagings[case_id, carried]
            flags = tuple(dict.fromkeys((*staging.flags, *record.flags)))
            self._stagings[case_id, carried] = attrs.evolve(staging, flags=flags)

    def _note(self, case_id: str, step: Step, state: CaseState, detail: Detail) -> None:
        self._events[case_id].append(
            {"at": datetime.now(UTC), "step": step, "state": state, "detail": _through_json(detail)}
        )

    def get(self, case_id: str) -> Case:
        """One case; KeyError where there is none."""
        return self._cases[case_id]

    def of_night(self, night: date) -> list[Case]:
        """All cases of a night, by study time, then by study and series."""
        cases = [c for c in self._cases.values() if c.night == night]
        return sorted(cases, key=lambda c: (c.study_at is None, str(c.study_at), c.study_uid, c.series_uid, c.case_id))

    def of_accessions(self, accession_numbers: Sequence[str]) -> list[Case]:
        """All cases of these accession numbers, by night, then by study and series."""
        return self._sorted(c for c in self._cases.values() if c.accession_number in set(accession_numbers) - {""})

    def of_study(self, study_uid: str) -> list[Case]:
        """All cases of a study, of whatever night."""
        return self._sorted(c for c in self._cases.values() if c.study_uid == study_uid)

    def of_patients(self, patient_ids: Sequence[str]) -> list[Case]:
        """All cases of these PatientIDs, whoever issued them."""
        return self._sorted(c for c in self._cases.values() if c.patient_id in patient_ids)

    def of_studies(self, study_uids: Sequence[str]) -> dict[str, list[Case]]:
        """All cases of each of these studies; one without a case is left out."""
        return {uid: found for uid in study_uids if (found := self.of_study(uid))}

    def uncommitted(self, before: date) -> list[Case]:
        """Cases of nights before `before` that the PACS has taken and not committed."""
        return self._sorted(
            c
            for c in self._cases.values()
            if c.night < before and c.reached is CaseState.STORED and c.state is not CaseState.REFUSED
        )

    def unfinished(self, before: date) -> list[Case]:
        """Cases of nights before `before` that are neither committed nor refused."""
        return self._sorted(c for c in self._cases.values() if c.night < before and c.state not in transitions.ENDS)

    @staticmethod
    def _sorted(cases: Iterable[Case]) -> list[Case]:
        return sorted(cases, key=lambda c: (c.night, c.study_uid, c.series_uid, c.case_id))

    def select(self, case_ids: Sequence[str]) -> list[Case]:
        """These cases, in the order of `case_ids`; KeyError where one is not there."""
        return [self._cases[c] for c in case_ids]

    def selection(self, case_id: str) -> Selected | None:
        """How the case's series was selected."""
        return self._selections.get(case_id)

    def events(self, case_id: str) -> list[Mapping[str, Any]]:
        """A case's events, oldest first: ``at``, ``step``, ``state``, ``detail``."""
        return list(self._events.get(case_id, []))

    def staged_before(self, series_uids: Sequence[str], model_version: str) -> frozenset[str]:
        """Which of these series already have a result (staged or beyond) of this model version."""
        return frozenset(
            case.series_uid
            for case in self._cases.values()
            if case.series_uid in series_uids
            and case.state is not CaseState.REFUSED
            and PATH.index(case.reached) >= PATH.index(CaseState.STAGED)
            and (case.case_id, model_version) in self._stagings
        )

    def staging(self, case_id: str) -> CaseStaging | None:
        """The staging that the case carries, with every flag of the result."""
        return self._stagings.get((case_id, self._carried.get(case_id, "")))

    def facts(self, case_id: str) -> Mapping[str, Any] | None:
        """What validation measured of the series."""
        return self._facts.get(case_id)

    def features(self, case_id: str, model_version: str) -> tuple[np.ndarray, np.ndarray] | None:
        """What a model saw: the key slice's features (D,) and the slices' logits (3, 4)."""
        return self._features.get((case_id, model_version))

    def score(self, case_id: str) -> NomogramScore | None:
        """The nomogram's answer on the staging that the case carries."""
        scored = self.scored(case_id)
        return None if scored is None else scored.score

    def scored(self, case_id: str) -> Scored | None:
        """The same with the covariates that it was computed from; None where the staging has no stage."""
        staging = self.staging(case_id)
        if staging is not None and staging.abstention is not None:
            return None
        return self._scores.get((case_id, self._carried.get(case_id, "")))

    def objects(self, case_id: str) -> list[ReportObject]:
        """The newest objects of a case, one a kind, in the order of `ANSWER_KINDS`."""
        return [self._objects[case_id][kind] for kind in ANSWER_KINDS if kind in self._objects.get(case_id, {})]


class MemoryStudyLooks:
    """Port `StudyLooks` in memory."""

    def __init__(self) -> None:
        self._looks: dict[str, StudyLook] = {}

    def note(self, study_uid: str, counts: Mapping[str, int], at: datetime) -> StudyLook:
        """Note what a look saw; returns it with the time since which every look saw the same."""
        self._looks[study_uid] = next_look(self._looks.get(study_uid), counts, at)
        return self._looks[study_uid]

    def of(self, study_uids: Sequence[str]) -> Mapping[str, StudyLook]:
        """The last look at each of these studies."""
        return {uid: self._looks[uid] for uid in study_uids if uid in self._looks}


class MemoryDeliveries:
    """Port `Deliveries` in memory."""

    def __init__(self) -> None:
        self._receipts: dict[str, list[StoreReceipt]] = {}
        self._commitments: dict[str, dict[str, tuple[Commitment, frozenset[str]]]] = {}

    def note_receipts(self, case_id: str, receipts: Sequence[StoreReceipt]) -> None:
        """Note what the PACS said of each C-STORE."""
        self._receipts.setdefault(case_id, []).extend(receipts)

    def stored(self, case_id: str) -> frozenset[str]:
        """SOP Instance UIDs of this case that the PACS took."""
        taken = [r for r in self._receipts.get(case_id, []) if r.status == 0 or _TAKEN[0] <= r.status <= _TAKEN[1]]
        return frozenset(r.sop_instance_uid for r in taken)

    def note_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        """Note what the PACS committed, or what C-FIND listed where it offers no commitment."""
        noted = self._commitments.setdefault(case_id, {})
        noted.pop(commitment.transaction_uid, None)
        noted[commitment.transaction_uid] = commitment, read_back

    def commitments(self, case_id: str) -> list[tuple[Commitment, frozenset[str]]]:
        """What `note_commitment` wrote, the latest last: of each transaction what was noted last."""
        return list(self._commitments.get(case_id, {}).values())


def _through_json(value: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(value, default=str))
