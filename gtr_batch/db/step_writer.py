"""Write what one step found of one case: results, state and event in the transaction that the caller opened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import asdict

from gtr_batch.db import messages, queries, rows
from gtr_batch.db.connection import Transaction
from gtr_batch.domain import transitions
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.result_message import Channel
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.domain.step_record import Detail, Scored, Staged, StepRecord, moved


def write(tx: Transaction, record: StepRecord, channels: Sequence[Channel] = ()) -> None:
    """Write a record under a lock on its case.

    Where that makes the case `committed`, or its result another one, the message to each of `channels` is written too.

    Raises
    ------
    CaseTakenOver
        The case is not as the step saw it any more.
    KeyError
        There is no such case.
    ValueError
        A score without a staging that it could belong to, or a state that is not on the path.
    """
    messages.hold(tx, channels)
    case = rows.case_of(rows.found(tx.one(_cases()["lock"], case_id=rows.key(record.case_id)), record.case_id))
    record.check(case)
    if record.rekeyed is not None:
        case = _rekey(tx, case, record, record.rekeyed)
    if record.expected_sop_uids is not None:
        tx.run(_cases()["expect"], case_id=case.case_id, sop_uids=list(record.expected_sop_uids))
    if record.facts is not None:
        tx.run(_results()["save_facts"], case_id=case.case_id, facts=rows.as_json(dict(record.facts)))
    if record.staged is not None:
        _staging(tx, case.case_id, record.staged)
    if record.scored is not None:
        _score(tx, case.case_id, record.scored)
    if record.flags:
        tx.run(_results()["add_flags"], case_id=case.case_id, flags=[str(f) for f in record.flags])
    for one in record.objects:
        tx.run(
            _deliveries()["save_object"],
            case_id=case.case_id,
            kind=str(one.kind),
            sop_class_uid=one.sop_class_uid,
            sop_instance_uid=one.sop_instance_uid,
            series_uid=one.series_uid,
            file=one.file,
            content_digest=one.content_digest,
            model_version=record.objects_of,
            predecessors=rows.as_json([asdict(p) for p in one.predecessors]),
        )
    _move(tx, case, record)
    if record.move is CaseState.COMMITTED and case.state is not CaseState.REFUSED:
        messages.write_result(tx, case.case_id, channels)


def note(tx: Transaction, case_id: str, step: Step, state: CaseState, detail: Detail) -> None:
    """An event, in the transaction of what it tells."""
    tx.run(_cases()["note_event"], case_id=case_id, step=str(step), state=str(state), detail=rows.as_json(detail))


def _rekey(tx: Transaction, case: Case, record: StepRecord, patient: PatientIdentity) -> Case:
    case = transitions.rekeyed(case, patient)
    tx.run(
        _cases()["rekey"],
        case_id=case.case_id,
        patient_id=rows.text(case.patient_id),
        issuer_of_patient_id=rows.text(case.issuer_of_patient_id),
    )
    if case.state is CaseState.FOUND:
        tx.run(_cases()["move"], **rows.move_of(case, record.step))
    note(tx, case.case_id, record.step, case.state, {"rekeyed": True, **record.rekeyed_by})
    return case


def _move(tx: Transaction, case: Case, record: StepRecord) -> None:
    if record.replaced is not None:
        note(tx, case.case_id, record.step, case.reached, record.replaced)
    if record.move is None:
        return
    record.note_what_was(case)
    after = transitions.after(case, record.move)
    if after is not None:
        step, detail = moved(record)
        if after.night != case.night:
            tx.run(_cases()["note_night"], night=after.night)
        tx.run(_cases()["move"], **rows.move_of(after, step))
        note(tx, case.case_id, step, after.state, detail)


def _staging(tx: Transaction, case_id: str, staged: Staged) -> None:
    staging: CaseStaging = staged.staging
    key = {"case_id": case_id, "model_version": staging.model_version}
    tx.run(
        _results()["save_staging"],
        **key,
        t_stage=None if staging.t_stage is None else str(staging.t_stage),
        **rows.columns_of(staging.probabilities),
        **rows.columns_of_abstention(staging.abstention),
        key_slice_source=str(staging.key_slice_source),
        flags=[str(f) for f in staging.flags],
        **rows.columns_of_stage_set(staging.stage_set),
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
    if staged.key_features is not None and staged.logits is not None:
        tx.run(
            _results()["save_features"],
            **key,
            features=np.asarray(staged.key_features, np.float32).ravel().tolist(),
            logits=np.asarray(staged.logits, np.float32).reshape(12).tolist(),
        )


def _score(tx: Transaction, case_id: str, scored: Scored) -> None:
    score, covariates = scored.score, scored.covariates
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
        is_primary=bool(score.is_primary),
    )


def _cases() -> dict[str, queries.Query]:
    return queries.load("cases")


def _results() -> dict[str, queries.Query]:
    return queries.load("results")


def _deliveries() -> dict[str, queries.Query]:
    return queries.load("deliveries")
