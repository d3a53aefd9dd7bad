"""The case book in PostgreSQL: a change of state and its event are one transaction, under a lock on the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Transaction
from gtr_batch.db.results import CaseResults
from gtr_batch.domain import transitions
from gtr_batch.domain.case import Case, CaseState, Failure, Step
from gtr_batch.domain.refusal import Refusal


class PostgresCaseBook(CaseResults):
    """Port `CaseBook` on PostgreSQL; any number of sessions may write at once.

    Every method raises `DatabaseBusy` where a retry may help and `DatabaseRefused` where it will not.
    """

    # The night

    def open_night(self, night: date, model_version: str) -> None:
        """Note that a night begins (or begins again)."""
        with self._database.transaction("open_night") as tx:
            tx.run(_cases()["open_night"], night=night, model_version=model_version)

    def close_night(self, night: date, summary: Mapping[str, Any]) -> None:
        """Write the night's summary."""
        with self._database.transaction("close_night") as tx:
            tx.run(_cases()["close_night"], night=night, summary=rows.as_json(summary))

    def night_summary(self, night: date) -> Mapping[str, Any] | None:
        """What `close_night` wrote."""
        with self._database.transaction("night_summary") as tx:
            row = tx.one(_cases()["night_summary"], night=night)
        return row["summary"] if row else None

    def night_model(self, night: date) -> str:
        """Version of the model that a night was opened with last; empty where nobody opened it."""
        with self._database.transaction("night_model") as tx:
            row = tx.one(_cases()["night_model"], night=night)
        return row["model_version"] if row else ""

    def of_accessions(self, accession_numbers: Sequence[str]) -> list[Case]:
        """All cases of these accession numbers, by night, then by study and series."""
        with self._database.transaction("of_accessions") as tx:
            found = tx.all(_cases()["of_accessions"], accession_numbers=list(accession_numbers))
        return [rows.case_of(row) for row in found]

    def last_night(self) -> date | None:
        """The latest night that was opened."""
        with self._database.transaction("last_night") as tx:
            return (tx.one(_cases()["last_night"]) or {})["night"]

    # Cases

    def record(self, cases: Sequence[Case]) -> list[str]:
        """Write newly found cases; one already there keeps its state and night. Returns ids that were new."""
        new = []
        # In the order of their ids, so that two sessions that record the same cases wait and do not deadlock.
        with self._database.transaction("record") as tx:
            for case in sorted(cases, key=lambda c: c.case_id):
                if self._record(tx, case):
                    new.append(case.case_id)
        return [case.case_id for case in cases if case.case_id in new]

    def _record(self, tx: Transaction, case: Case) -> bool:
        tx.run(_cases()["note_night"], night=case.night)
        row = tx.one(
            _cases()["record"],
            case_id=case.case_id,
            night=case.night,
            study_uid=case.study_uid,
            series_uid=case.series_uid,
            patient_id=rows.text(case.patient_id),
            accession_number=rows.text(case.accession_number),
            study_at=case.study_at,
            expected_sop_uids=list(case.expected_sop_uids),
        )
        if row is None:
            return False
        _note(tx, case.case_id, Step.INTAKE, CaseState.FOUND, {"night": case.night})
        # A case may come with a history: what it has reached, then why it stopped.
        if case.reached is not CaseState.FOUND:
            _note(tx, case.case_id, transitions.STEP_OF[case.reached], case.reached, {})
        if case.refusal is not None:
            _note(tx, case.case_id, Step.INTAKE, CaseState.REFUSED, _refusal_detail(case.refusal))
        if case.failure is not None:
            _note(tx, case.case_id, case.failure.step, CaseState.FAILED, _failure_detail(case.failure))
        if case.state is not CaseState.FOUND:
            tx.run(_cases()["move"], **rows.move_of(case, Step.INTAKE))
        return True

    def get(self, case_id: str) -> Case:
        """One case; KeyError where there is none."""
        with self._database.transaction("get") as tx:
            return rows.case_of(rows.found(tx.one(_cases()["get"], case_id=rows.key(case_id)), case_id))

    def of_night(self, night: date) -> list[Case]:
        """All cases of a night, by study time, then by study and series."""
        with self._database.transaction("of_night") as tx:
            return [rows.case_of(row) for row in tx.all(_cases()["of_night"], night=night)]

    def select(self, case_ids: Sequence[str]) -> list[Case]:
        """These cases, in the order of `case_ids`; KeyError where one is not there."""
        ids = [rows.key(c) for c in case_ids]
        with self._database.transaction("select") as tx:
            found = [rows.case_of(row) for row in tx.all(_cases()["select"], case_ids=ids)]
        for absent in set(ids) - {c.case_id for c in found}:
            raise KeyError(absent)
        return found

    def expect(self, case_id: str, sop_uids: Sequence[str]) -> None:
        """Note the instances that C-FIND promised for a case."""
        with self._database.transaction("expect") as tx:
            rows.found(tx.one(_cases()["lock"], case_id=rows.key(case_id)), case_id)
            tx.run(_cases()["expect"], case_id=case_id, sop_uids=list(sop_uids))

    # States

    def advance(self, case_id: str, to: CaseState, detail: Mapping[str, Any] | None = None) -> None:
        """Move a case forward along the path; the same state again changes nothing; never backward."""
        step = transitions.STEP_OF.get(to, Step.INTAKE)
        self._move(case_id, step, lambda case: transitions.advanced(case, to), detail or {})

    def refuse(self, case_id: str, step: Step, refusal: Refusal) -> None:
        """Refuse a case; once refused it stays so, with the first reason. A committed case stays committed."""
        detail = _refusal_detail(refusal)
        self._move(case_id, step, lambda case: transitions.refused(case, refusal), detail)

    def fail(self, case_id: str, failure: Failure) -> None:
        """Note a failure, each attempt anew; `reached` stays as it is."""
        detail = _failure_detail(failure)
        self._move(case_id, failure.step, lambda case: transitions.failed(case, failure), detail)

    def _move(self, case_id: str, step: Step, move: Callable[[Case], Case | None], detail: Mapping[str, Any]) -> None:
        with self._database.transaction(f"{step}: state of case {case_id}") as tx:
            before = rows.case_of(rows.found(tx.one(_cases()["lock"], case_id=rows.key(case_id)), case_id))
            after = move(before)
            if after is not None:
                tx.run(_cases()["move"], **rows.move_of(after, step))
                _note(tx, case_id, step, after.state, detail)

    def events(self, case_id: str) -> list[Mapping[str, Any]]:
        """A case's events, oldest first: ``at``, ``step``, ``state``, ``detail``."""
        with self._database.transaction("events") as tx:
            return [rows.event_of(row) for row in tx.all(_cases()["events"], case_id=rows.key(case_id))]


def _cases() -> dict[str, queries.Query]:
    return queries.load("cases")


def _note(tx: Transaction, case_id: str, step: Step, state: CaseState, detail: Mapping[str, Any]) -> None:
    tx.run(_cases()["note_event"], case_id=case_id, step=str(step), state=str(state), detail=rows.as_json(detail))


def _refusal_detail(refusal: Refusal) -> dict[str, Any]:
    return {"code": str(refusal.code), "sentence": refusal.sentence, "numbers": refusal.numbers}


def _failure_detail(failure: Failure) -> dict[str, Any]:
    return {"error": failure.error, "retryable": failure.retryable}
