"""Rows into domain values and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import attrs
from psycopg2.extras import Json

from gtr_batch.domain.abstention import Abstention
from gtr_batch.domain.case import Case, CaseState, Failure, Selected, Step
from gtr_batch.domain.clinical import Markers
from gtr_batch.domain.delivery import ObjectKind, Predecessor, ReportObject
from gtr_batch.domain.refusal import Refusal
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import (
    CaseStaging,
    Flag,
    KeySliceSource,
    SliceStaging,
    StageProbabilities,
    StageSet,
    TStage,
)


def text(value: str) -> str:
    """Text that PostgreSQL can hold: DICOM values may carry NUL padding or undecodable bytes."""
    return str(value).replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def as_json(value: Any) -> Json:
    """A jsonb parameter: plain values, NaN and infinities as words."""
    return Json(json_value(value), dumps=lambda v: json.dumps(v, allow_nan=False))


def json_value(value: Any) -> Any:
    """`value` as JSON can say it; numpy numbers become Python's, sets become sorted lists."""
    if isinstance(value, Mapping):
        return {text(k): json_value(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return [json_value(v) for v in sorted(value, key=str)]
    if isinstance(value, (list, tuple)):
        return [json_value(v) for v in value]
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if not isinstance(value, str) and hasattr(value, "tolist"):  # numpy scalars and arrays
        return json_value(value.tolist())
    return text(value)


def key(case_id: str) -> str:
    """A case id that PostgreSQL takes for a uuid; anything else names no case."""
    try:
        return str(UUID(case_id))
    except ValueError:
        raise KeyError(case_id) from None


def found(row: dict[str, Any] | None, case_id: str) -> dict[str, Any]:
    if row is None:
        raise KeyError(case_id)
    return row


def case_of(row: Mapping[str, Any]) -> Case:
    """A row of staging_case."""
    refusal = failure = None
    if row["refusal_code"] is not None:
        refusal = Refusal(row["refusal_code"], row["refusal_sentence"], row["refusal_numbers"])
    if row["failure_error"] is not None:
        failure = Failure(row["failure_step"], row["failure_error"], row["failure_retryable"])
    return Case(
        case_id=str(row["case_id"]),
        night=row["night"],
        study_uid=row["study_uid"],
        series_uid=row["series_uid"],
        patient_id=row["patient_id"],
        accession_number=row["accession_number"],
        study_at=row["study_at"],
        expected_sop_uids=tuple(row["expected_sop_uids"]),
        state=row["state"],
        reached=row["reached"],
        refusal=refusal,
        failure=failure,
        issuer_of_patient_id=row["issuer_of_patient_id"],
        ehr_changed_at=row["ehr_changed_at"],
    )


def move_of(case: Case, step: Step) -> dict[str, Any]:
    """Parameters of the query ``move``."""
    refusal, failure = case.refusal, case.failure
    return {
        "case_id": case.case_id,
        "night": case.night,
        "state": str(case.state),
        "reached": str(case.reached),
        "refusal_step": str(step) if refusal else None,
        "refusal_code": str(refusal.code) if refusal else None,
        "refusal_sentence": text(refusal.sentence) if refusal else None,
        "refusal_numbers": as_json(refusal.numbers) if refusal else None,
        "failure_step": str(failure.step) if failure else None,
        "failure_error": text(failure.error) if failure else None,
        "failure_retryable": bool(failure.retryable) if failure else None,
    }


def event_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of case_event."""
    return {"at": row["at"], "step": Step(row["step"]), "state": CaseState(row["state"]), "detail": row["detail"]}


def probabilities_of(row: Mapping[str, Any]) -> StageProbabilities:
    """The columns ``p_t1`` … ``p_t4``."""
    return StageProbabilities((row["p_t1"], row["p_t2"], row["p_t3"], row["p_t4"]))


def columns_of(probabilities: StageProbabilities | None) -> dict[str, float | None]:
    """The columns ``p_t1`` … ``p_t4``."""
    values: Sequence[float | None] = (None,) * 4 if probabilities is None else probabilities.values
    return {f"p_t{i}": None if p is None else float(p) for i, p in enumerate(values, start=1)}


def columns_of_abstention(abstention: Abstention | None) -> dict[str, Any]:
    """The columns ``not_staged`` … of staging_result."""
    if abstention is None:
        return {"not_staged": None, "not_staged_sentence": None, "not_staged_numbers": None}
    return {
        "not_staged": str(abstention.code),
        "not_staged_sentence": text(abstention.sentence),
        "not_staged_numbers": as_json(abstention.numbers),
    }


def abstention_of(row: Mapping[str, Any]) -> Abstention | None:
    """Why a row of staging_result has no stage."""
    if row["not_staged"] is None:
        return None
    return Abstention(row["not_staged"], row["not_staged_sentence"], row["not_staged_numbers"])


def staging_of(row: Mapping[str, Any], slices: list[dict[str, Any]]) -> CaseStaging:
    """A row of staging_result and its rows of slice_result."""
    return CaseStaging(
        t_stage=None if row["t_stage"] is None else TStage(row["t_stage"]),
        probabilities=None if row["t_stage"] is None else probabilities_of(row),
        slices=tuple(
            SliceStaging(s["sop_instance_uid"], s["role"], TStage(s["t_stage"]), probabilities_of(s)) for s in slices
        ),
        key_slice_source=KeySliceSource(row["key_slice_source"]),
        model_version=row["model_version"],
        flags=tuple(Flag(f) for f in row["flags"]),
        stage_set=stage_set_of(row),
        abstention=abstention_of(row),
    )


def stage_set_of(row: Mapping[str, Any]) -> StageSet | None:
    """The columns ``set_lowest``, ``set_highest`` and ``set_coverage``."""
    if row["set_lowest"] is None:
        return None
    return StageSet(TStage(row["set_lowest"]), TStage(row["set_highest"]), row["set_coverage"])


def columns_of_stage_set(found: StageSet | None) -> dict[str, Any]:
    """The columns ``set_lowest``, ``set_highest`` and ``set_coverage``."""
    return {
        "set_lowest": None if found is None else str(found.lowest),
        "set_highest": None if found is None else str(found.highest),
        "set_coverage": None if found is None else found.coverage,
    }


def score_of(row: Mapping[str, Any]) -> NomogramScore:
    """A row of nomogram_result."""
    return NomogramScore(
        rad_score=row["rad_score_sd"],
        linear_predictor=row["linear_predictor"],
        points=row["points"],
        probabilities=probabilities_of(row),
        low=tuple(row["low"]),
        high=tuple(row["high"]),
        missing=tuple(row["missing"]),
        coefficients=row["coefficients"],
        rad_score_clipped=row["rad_score_clipped"],
        is_primary=row["is_primary"],
    )


def markers_of(row: Mapping[str, Any]) -> Markers:
    """The columns of a patient's serum markers."""
    return Markers(**{a.name: row[a.name] for a in attrs.fields(Markers)})


def selection_of(value: Mapping[str, Any]) -> Selected:
    """The column ``selection`` of staging_case."""
    return Selected(tuple(value["flags"]), bool(value["phase_confirmed"]), value["detail"])


def columns_of_selection(selection: Selected) -> dict[str, Any]:
    """The column ``selection`` of staging_case."""
    return {
        "flags": list(selection.flags),
        "phase_confirmed": selection.phase_confirmed,
        "detail": dict(selection.detail),
    }


def object_of(row: Mapping[str, Any]) -> ReportObject:
    """A written object of its row."""
    return ReportObject(
        kind=ObjectKind(row["kind"]),
        sop_class_uid=row["sop_class_uid"],
        sop_instance_uid=row["sop_instance_uid"],
        series_uid=row["series_uid"],
        file=row["file"],
        content_digest=row["content_digest"],
        predecessors=tuple(Predecessor(**one) for one in row["predecessors"]),
    )
