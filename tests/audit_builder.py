"""Inputs of an audit for tests: months of the simulated hospital, and small hand-made ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import attrs

from gtr_batch.domain.audit import AuditCase, Classification, Surgery
from gtr_batch.domain.audit_run import AuditInputs, AuditKind, known_by
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.domain.audited_model import AuditedModel, ModelMetrics
from gtr_batch.domain.staging import STAGES, StageProbabilities, TStage
from gtr_batch.simulation.hospital.months import Months, Shift, inputs_of

NEW_SCANNER = {"manufacturer": "GE MEDICAL SYSTEMS", "model": "Revolution CT", "kernel": "STANDARD"}
METRICS = ModelMetrics(validation_accuracy=0.71, n_validation=240)


@lru_cache(maxsize=8)
def a_history(months: int, per_month: int, shift: str, at: int, reference: int, seed: int) -> AuditInputs:
    """The simulated hospital's months, as the last week's run sees them."""
    asked = Months(months, per_month, Shift.parse(shift), at, seed, reference=reference)
    return inputs_of(asked)


def a_month(
    *,
    months: int = 6,
    per_month: int = 20,
    shift: str = "none",
    at: int = 4,
    reference: int = 0,
    seed: int = 1,
    draws: int = 50,
    change: Callable[[AuditCase], AuditCase] | None = None,
    **given: Any,
) -> AuditInputs:
    """The monthly run of the last whole month of a history."""
    whole = a_history(months, per_month, shift, at, reference, seed)
    last = (whole.last + timedelta(days=1)).replace(day=1) - timedelta(days=1)
    cases = tuple(known_by(c, last) for c in whole.cases if c.night <= last)
    values: dict[str, Any] = {
        "kind": AuditKind.MONTH,
        "first": last.replace(day=1),
        "last": last,
        "as_of": last,
        "model": AuditedModel(name="gtrnet-simulated", demo=True, metrics=METRICS),
        "cases": cases if change is None else tuple(change(c) for c in cases),
        "settings": attrs.evolve(whole.settings, draws=draws),
    }
    return attrs.evolve(whole, **{**values, **given})


def a_week(inputs: AuditInputs) -> AuditInputs:
    """The weekly run of the last whole week of a month's inputs."""
    sunday = inputs.last - timedelta(days=(inputs.last.weekday() + 1) % 7)
    kept = tuple(known_by(c, sunday) for c in inputs.cases if c.night <= sunday)
    return attrs.evolve(
        inputs, kind=AuditKind.WEEK, first=sunday - timedelta(days=6), last=sunday, as_of=sunday, cases=kept
    )


def on_new_scanner(since: date) -> Callable[[AuditCase], AuditCase]:
    """Every staged case from a day on comes from another scanner."""

    def change(case: AuditCase) -> AuditCase:
        late = case.night >= since and case.t_stage is not None
        return attrs.evolve(case, facts={**case.facts, **NEW_SCANNER}) if late else case

    return change


def labelled_case(
    k: int, stage: TStage, truth: TStage | None, *, night: date, reported: date | None = None, **given: Any
) -> AuditCase:
    """A staged case, fairly sure of its stage; with `truth` operated a week later and reported on `reported`."""
    said = [0.08] * 4
    said[stage.position] = 0.76
    surgery = None
    if truth is not None:
        when = reported or night + timedelta(days=14)
        surgery = Surgery(night + timedelta(days=7), when, Classification.PT, str(truth), truth)
    values: dict[str, Any] = {
        "case_id": f"case-{k:04d}",
        "subject": f"subject-{k:04d}",
        "night": night,
        "study_on": night,
        "model_version": "a" * 64,
        "t_stage": stage,
        "probabilities": StageProbabilities(said),
        "slice_stages": (stage,) * 3,
        "key_slice_source": "automatic",
        "facts": {"manufacturer": "SIEMENS", "model": "Definition", "kvp": 120.0, "kernel": "B30f"},
        "sex": "female" if k % 2 else "male",
        "age_years": 50 + k % 40,
        "location": "lower",
        "surgery": surgery,
    }
    return AuditCase(**{**values, **given})


def hand_made(cases: Sequence[AuditCase], **given: Any) -> AuditInputs:
    """The audit of January 2026 on these cases."""
    values: dict[str, Any] = {
        "kind": AuditKind.MONTH,
        "first": date(2026, 1, 1),
        "last": date(2026, 1, 31),
        "since": date(2025, 11, 1),
        "as_of": date(2026, 1, 31),
        "model_version": "a" * 64,
        "model": AuditedModel(name="gtrnet-simulated"),
        "code_version": "test",
        "cases": tuple(cases),
        "settings": AuditSettings(draws=50),
    }
    return AuditInputs(**{**values, **given})


def every_stage(n: int, night: date = date(2026, 1, 5)) -> list[AuditCase]:
    """`n` patients of the four stages in turn, three of four staged rightly."""
    found = []
    for k in range(n):
        truth = STAGES[k % 4]
        said = truth if k % 5 else STAGES[(k + 1) % 4]
        found.append(labelled_case(k, said, truth, night=night))
    return found
