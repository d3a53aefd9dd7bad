"""The case book in PostgreSQL: a change of state and its event are one transaction, under a lock on the row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from gtr_batch.db import queries, rows
from gtr_batch.db.connection import Database, Transaction
from gtr_batch.domain import transitions
from gtr_batch.domain.case import Case, CaseState, Failure, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.delivery import Commitment, ObjectKind, ReportObject, StoreReceipt
from gtr_batch.domain.refusal import Refusal
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging


class PostgresCaseBook:
    """Port `CaseBook` on PostgreSQL; any number of sessions may write at once.

    Every method raises `DatabaseBusy` where a retry may help and `DatabaseRefused` where it will not.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

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
            return rows.case_of(_found(tx.one(_cases()["get"], case_id=_id(case_id)), case_id))

    def of_night(self, night: date) -> list[Case]:
        """All cases of a night, by study time, then by study and series."""
        with self._database.transaction("of_night") as tx:
            return [rows.case_of(row) for row in tx.all(_cases()["of_night"], night=night)]

    def select(self, case_ids: Sequence[str]) -> list[Case]:
        """These cases, in the order of `case_ids`; KeyError where one is not there."""
        ids = [_id(c) for c in case_ids]
        with self._database.transaction("select") as tx:
            found = [rows.case_of(row) for row in tx.all(_cases()["select"], case_ids=ids)]
        for absent in set(ids) - {c.case_id for c in found}:
            raise KeyError(absent)
        return found

    def expect(self, case_id: str, sop_uids: Sequence[str]) -> None:
        """Note the instances that C-FIND promised for a case."""
        with self._database.transaction("expect") as tx:
            _found(tx.one(_cases()["lock"], case_id=_id(case_id)), case_id)
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
            before = rows.case_of(_found(tx.one(_cases()["lock"], case_id=_id(case_id)), case_id))
            after = move(before)
            if after is not None:
                tx.run(_cases()["move"], **rows.move_of(after, step))
                _note(tx, case_id, step, after.state, detail)

    def events(self, case_id: str) -> list[Mapping[str, Any]]:
        """A case's events, oldest first: ``at``, ``step``, ``state``, ``detail``."""
        with self._database.transaction("events") as tx:
            return [rows.event_of(row) for row in tx.all(_cases()["events"], case_id=_id(case_id))]

    # Results

    def staged_before(self, series_uids: Sequence[str], model_version: str) -> frozenset[str]:
        """Which of these series already have a result (staged or beyond) of this model version."""
        with self._database.transaction("staged_before") as tx:
            found = tx.all(_cases()["staged_before"], series_uids=list(series_uids), model_version=model_version)
        return frozenset(row["series_uid"] for row in found)

    def save_staging(self, case_id: str, staging: CaseStaging) -> None:
        """Upsert the case's staging and its slices; it is the one the case carries from now on."""
        key = {"case_id": _id(case_id), "model_version": staging.model_version}
        with self._database.transaction(f"staging of case {case_id}") as tx:
            _found(tx.one(_cases()["lock"], case_id=_id(case_id)), case_id)
            tx.run(
                _results()["save_staging"],
                **key,
                t_stage=str(staging.t_stage),
                **rows.columns_of(staging.probabilities),
                key_slice_source=str(staging.key_slice_source),
                flags=[str(f) for f in staging.flags],
            )
            tx.run(_results()["clear_slices"], **key)
            for position, one in enumerate(staging.slices):
                tx.run(
                    _results()["save_slice"],
                    **key,
                    position=position,
                    role=one.role,
                    sop_instance_uid=one.sop_instance_uid,
                    t_stage=str(one.t_stage),
                    **rows.columns_of(one.probabilities),
                )
            tx.run(_results()["carry"], **key)

    def staging(self, case_id: str) -> CaseStaging | None:
        """What `save_staging` wrote last."""
        with self._database.transaction("staging") as tx:
            row = tx.one(_results()["staging"], case_id=_id(case_id))
            if row is None:
                return None
            slices = tx.all(_results()["slices"], case_id=case_id, model_version=row["model_version"])
        return rows.staging_of(row, slices)

    def save_score(self, case_id: str, score: NomogramScore, covariates: Covariates) -> None:
        """Upsert the nomogram's answer and what it was computed from; ValueError where nothing is staged."""
        with self._database.transaction(f"score of case {case_id}") as tx:
            _found(tx.one(_cases()["lock"], case_id=_id(case_id)), case_id)
            staged = tx.one(_results()["staging"], case_id=case_id)
            if staged is None:
                raise ValueError(f"case {case_id} has no staging that a score could belong to")
            tx.run(
                _results()["save_score"],
                case_id=case_id,
                model_version=staged["model_version"],
                coefficients=score.coefficients,
                rad_score_sd=float(score.rad_score),
                rad_score_clipped=bool(score.rad_score_clipped),
                linear_predictor=float(score.linear_predictor),
                points=rows.as_json(score.points),
                **rows.columns_of(score.probabilities),
                low=[float(p) for p in score.low],
                high=[float(p) for p in score.high],
                missing=list(score.missing),
                tumour_size_cm=None if covariates.tumour_size_cm is None else float(covariates.tumour_size_cm),
                differentiation=None if covariates.differentiation is None else str(covariates.differentiation),
                lauren=None if covariates.lauren is None else str(covariates.lauren),
            )

    def score(self, case_id: str) -> NomogramScore | None:
        """What `save_score` wrote for the staging that the case carries."""
        with self._database.transaction("score") as tx:
            row = tx.one(_results()["score"], case_id=_id(case_id))
        return None if row is None else rows.score_of(row)

    # Delivery

    def save_objects(self, case_id: str, objects: Sequence[ReportObject]) -> None:
        """Upsert the objects that `report` wrote."""
        with self._database.transaction(f"objects of case {case_id}") as tx:
            _found(tx.one(_cases()["lock"], case_id=_id(case_id)), case_id)
            for one in objects:
                tx.run(
                    _deliveries()["save_object"],
                    case_id=case_id,
                    kind=str(one.kind),
                    sop_class_uid=one.sop_class_uid,
                    sop_instance_uid=one.sop_instance_uid,
                    series_uid=one.series_uid,
                    file=one.file,
                    content_digest=one.content_digest,
                )

    def objects(self, case_id: str) -> list[ReportObject]:
        """The newest objects of a case, one a kind, in the order of `ObjectKind`."""
        with self._database.transaction("objects") as tx:
            found = {row["kind"]: row for row in tx.all(_deliveries()["objects"], case_id=_id(case_id))}
        return [ReportObject(**{**found[kind], "kind": kind}) for kind in ObjectKind if kind in found]

    def save_receipts(self, case_id: str, receipts: Sequence[StoreReceipt]) -> None:
        """Note what the PACS said of each C-STORE."""
        with self._database.transaction(f"receipts of case {case_id}") as tx:
            _found(tx.one(_cases()["lock"], case_id=_id(case_id)), case_id)
            for one in receipts:
                tx.run(
                    _deliveries()["save_receipt"],
                    case_id=case_id,
                    sop_instance_uid=one.sop_instance_uid,
                    status=int(one.status),
                    warning=rows.text(one.warning),
                )

    def stored(self, case_id: str) -> frozenset[str]:
        """SOP Instance UIDs of this case that the PACS took, be it with a warning."""
        with self._database.transaction("stored") as tx:
            found = tx.all(_deliveries()["stored"], case_id=_id(case_id))
        return frozenset(row["sop_instance_uid"] for row in found)

    def save_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        """Note what the PACS committed, or what C-FIND listed where it offers no commitment."""
        with self._database.transaction(f"commitment of case {case_id}") as tx:
            _found(tx.one(_cases()["lock"], case_id=_id(case_id)), case_id)
            tx.run(
                _deliveries()["save_commitment"],
                case_id=case_id,
                transaction_uid=commitment.transaction_uid,
                offered=commitment.offered,
                committed=sorted(commitment.committed),
                failed=rows.as_json(dict(commitment.failed)),
                read_back=sorted(read_back),
            )


def _cases() -> dict[str, queries.Query]:
    return queries.load("cases")


def _results() -> dict[str, queries.Query]:
    return queries.load("results")


def _deliveries() -> dict[str, queries.Query]:
    return queries.load("deliveries")


def _id(case_id: str) -> str:
    """A case id that PostgreSQL takes for a uuid; anything else names no case."""
    try:
        return str(UUID(case_id))
    except ValueError:
        raise KeyError(case_id) from None


def _found(row: dict[str, Any] | None, case_id: str) -> dict[str, Any]:
    if row is None:
        raise KeyError(case_id)
    return row


def _note(tx: Transaction, case_id: str, step: Step, state: CaseState, detail: Mapping[str, Any]) -> None:
    tx.run(_cases()["note_event"], case_id=case_id, step=str(step), state=str(state), detail=rows.as_json(detail))


def _refusal_detail(refusal: Refusal) -> dict[str, Any]:
    return {"code": str(refusal.code), "sentence": refusal.sentence, "numbers": refusal.numbers}


def _failure_detail(failure: Failure) -> dict[str, Any]:
    return {"error": failure.error, "retryable": failure.retryable}
