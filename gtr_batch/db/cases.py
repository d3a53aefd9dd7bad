"""The cases in PostgreSQL: what a step found, the change of state and its event are one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import numpy as np

from gtr_batch.db import queries, rows, step_writer
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.domain import transitions
from gtr_batch.domain.case import Case, CaseState, Selected, Step
from gtr_batch.domain.delivery import ANSWER_KINDS, ReportObject
from gtr_batch.domain.result_message import Channel
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.domain.step_record import StepRecord, moved


class PostgresCases:
    """Port `Cases` on PostgreSQL; any number of sessions may write at once.

    Every method raises `DatabaseBusy` where a retry may help and `DatabaseRefused` where it will not.
    """

    def __init__(self, database: Database, channels: Sequence[Channel] = ()) -> None:
        self._database, self._channels = database, tuple(channels)  # channels: who is told of committed results

    # Writing

    def record(self, cases: Sequence[Case], selections: Mapping[str, Selected] | None = None) -> list[str]:
        """Write newly found cases with how their series was selected; returns the ids that were new.

        A study gets one series: of two sessions that chose different ones the first is kept.
        """
        new, chosen = [], selections or {}
        # In one order, so that two sessions that record the same studies wait and do not deadlock.
        with self._database.transaction("record") as tx:
            for case in sorted(cases, key=lambda c: (c.study_uid, c.case_id)):
                tx.run(_cases()["hold_study"], study_uid=case.study_uid)
                if _record(tx, case, chosen.get(case.case_id)):
                    new.append(case.case_id)
        return [case.case_id for case in cases if case.case_id in new]

    @contextmanager
    def step(self, case_id: str, step: Step) -> Iterator[StepRecord]:
        """A record to fill; written in one transaction at the end of the block, not at all where the block raises."""
        record = StepRecord(case_id, Step(step))
        yield record
        with self._database.transaction(f"{step} of case {case_id}") as tx:
            step_writer.write(tx, record, self._channels)

    # Cases

    def get(self, case_id: str) -> Case:
        """One case; KeyError where there is none."""
        with self._database.transaction("get") as tx:
            return rows.case_of(rows.found(tx.one(_cases()["get"], case_id=rows.key(case_id)), case_id))

    def of_night(self, night: date) -> list[Case]:
        """All cases of a night, by study time, then by study and series."""
        return self._all("of_night", night=night)

    def of_accessions(self, accession_numbers: Sequence[str]) -> list[Case]:
        """All cases of these accession numbers, by night, then by study and series."""
        return self._all("of_accessions", accession_numbers=list(accession_numbers))

    def of_study(self, study_uid: str) -> list[Case]:
        """All cases of a study, of whatever night."""
        return self._all("of_study", study_uid=study_uid)

    def of_patients(self, patient_ids: Sequence[str]) -> list[Case]:
        """All cases of these PatientIDs, whoever issued them."""
        return self._all("of_patients", patient_ids=[rows.text(one) for one in patient_ids])

    def of_studies(self, study_uids: Sequence[str]) -> dict[str, list[Case]]:
        """All cases of each of these studies; one without a case is left out."""
        found: dict[str, list[Case]] = {}
        for case in self._all("of_studies", study_uids=[rows.text(uid) for uid in study_uids]):
            found.setdefault(case.study_uid, []).append(case)
        return found

    def uncommitted(self, before: date) -> list[Case]:
        """Cases of nights before `before` that the PACS has taken and not committed."""
        return self._all("uncommitted", before=before)

    def unfinished(self, before: date) -> list[Case]:
        """Cases of nights before `before` that are neither committed nor refused."""
        return self._all("unfinished", before=before)

    def select(self, case_ids: Sequence[str]) -> list[Case]:
        """These cases, in the order of `case_ids`; KeyError where one is not there."""
        ids = [rows.key(c) for c in case_ids]
        found = self._all("select", case_ids=ids)
        for absent in set(ids) - {c.case_id for c in found}:
            raise KeyError(absent)
        return found

    def _all(self, query: str, **parameters: Any) -> list[Case]:
        with self._database.transaction(query) as tx:
            return [rows.case_of(row) for row in tx.all(_cases()[query], **parameters)]

    def selection(self, case_id: str) -> Selected | None:
        """How the case's series was selected; None where intake has not written it."""
        with self._database.transaction("selection") as tx:
            row = tx.one(_cases()["selection"], case_id=rows.key(case_id))
        return None if row is None or row["selection"] is None else rows.selection_of(row["selection"])

    def events(self, case_id: str) -> list[Mapping[str, Any]]:
        """A case's events, oldest first: ``at``, ``step``, ``state``, ``detail``."""
        with self._database.transaction("events") as tx:
            return [rows.event_of(row) for row in tx.all(_cases()["events"], case_id=rows.key(case_id))]

    # Results

    def staged_before(self, series_uids: Sequence[str], model_version: str) -> frozenset[str]:
        """Which of these series already have a result (staged or beyond) of this model version."""
        with self._database.transaction("staged_before") as tx:
            found = tx.all(_results()["staged_before"], series_uids=list(series_uids), model_version=model_version)
        return frozenset(row["series_uid"] for row in found)

    def staging(self, case_id: str) -> CaseStaging | None:
        """The staging that the case carries, with every flag of the result."""
        with self._database.transaction("staging") as tx:
            row = tx.one(_results()["staging"], case_id=rows.key(case_id))
            if row is None:
                return None
            slices = tx.all(_results()["slices"], case_id=case_id, model_version=row["model_version"])
        return rows.staging_of(row, slices)

    def facts(self, case_id: str) -> Mapping[str, Any] | None:
        """What validation measured of the series."""
        with self._database.transaction("facts") as tx:
            row = tx.one(_results()["facts"], case_id=rows.key(case_id))
        return None if row is None else row["facts"]

    def features(self, case_id: str, model_version: str) -> tuple[np.ndarray, np.ndarray] | None:
        """What a model saw: the key slice's features (D,) and the slices' logits (3, 4)."""
        with self._database.transaction("features") as tx:
            row = tx.one(_results()["features"], case_id=rows.key(case_id), model_version=model_version)
        if row is None:
            return None
        return np.array(row["features"], np.float32), np.array(row["logits"], np.float32).reshape(3, 4)

    def score(self, case_id: str) -> NomogramScore | None:
        """The nomogram's answer on the staging that the case carries."""
        with self._database.transaction("score") as tx:
            row = tx.one(_results()["score"], case_id=rows.key(case_id))
        return None if row is None else rows.score_of(row)

    def objects(self, case_id: str) -> list[ReportObject]:
        """The newest objects of a case, one a kind, in the order of `ANSWER_KINDS`."""
        with self._database.transaction("objects") as tx:
            found = {row["kind"]: row for row in tx.all(_deliveries()["objects"], case_id=rows.key(case_id))}
        return [rows.object_of(found[kind]) for kind in ANSWER_KINDS if kind in found]


def _record(tx: Transaction, case: Case, selection: Selected | None) -> bool:
    tx.run(_cases()["note_night"], night=case.night)
    chosen = None if selection is None else rows.as_json(rows.columns_of_selection(selection))
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
        selection=chosen,
        issuer_of_patient_id=rows.text(case.issuer_of_patient_id),
    )
    if row is None:
        if chosen is not None:
            tx.run(_cases()["add_selection"], case_id=case.case_id, selection=chosen)
        return False
    step_writer.note(tx, case.case_id, Step.INTAKE, CaseState.FOUND, {"night": case.night})
    # A case may come with a history: what it has reached, then why it stopped.
    if case.reached is not CaseState.FOUND:
        step_writer.note(tx, case.case_id, transitions.STEP_OF[case.reached], case.reached, {})
    for move, state in ((case.refusal, CaseState.REFUSED), (case.failure, CaseState.FAILED)):
        if move is not None:
            step, detail = moved(StepRecord(case.case_id, Step.INTAKE, move=move))
            step_writer.note(tx, case.case_id, step, state, detail)
    if case.state is not CaseState.FOUND:
        tx.run(_cases()["move"], **rows.move_of(case, Step.INTAKE))
    return True


def _cases() -> dict[str, queries.Query]:
    return queries.load("cases")


def _results() -> dict[str, queries.Query]:
    return queries.load("results")


def _deliveries() -> dict[str, queries.Query]:
    return queries.load("deliveries")
