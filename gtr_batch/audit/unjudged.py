"""What the audit could not judge, and why: no label, no patients, monitors that cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from gtr_batch.audit.cohorts import Cohorts
from gtr_batch.audit.found.performance import Criterion
from gtr_batch.audit.found.service import Fate
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.domain.audit import AuditCase, Classification
from gtr_batch.domain.audit_run import AuditInputs
from gtr_batch.domain.staging import STAGES

_FATES: Mapping[str, str] = {
    "other_model": "Staged by another model version; that model's audits judge them.",
    "refused": "Refused: the model gave no stage (see the refusals).",
    "not_staged": "The model gave no stage: an image unlike those of its patients, or no sign of a tumour.",
    "failed": "Failed before a stage was given.",
    "earlier_case": "An earlier case of a patient who was staged again before the operation, or the same case twice: "
    "the latest counts.",
    "judged": "With a pT: judged.",
    "ypt": "Operated after neoadjuvant treatment (ypT): what was resected is not what the CT showed.",
    "no_tumour_stage": "Pathology found T0 or Tis, which the model does not know.",
    "waiting": "Operated, the pathology report is still to come.",
    "not_operated": "Not operated and, after this time, hardly ever will be: no pathology. The bounds say how much "
    "that could hide.",
    "open": "Not operated yet, and still may be.",
}


def fates(inputs: AuditInputs, judged: Sequence[AuditCase], wait_days: int) -> tuple[Fate, ...]:
    """What became of every case that the audit looked at; none is counted twice."""
    known = {c.case_id for c in judged}
    latest: dict[str, AuditCase] = {}
    for c in sorted(inputs.cases, key=lambda c: (c.night, c.case_id)):
        if c.t_stage is not None and c.model_version == inputs.model_version:
            latest[c.subject] = c
    counted = Counter(_fate(c, inputs, known, latest, wait_days) for c in inputs.cases)
    return tuple(Fate(fate, counted[fate], _FATES[fate]) for fate in _FATES if counted[fate])


def _fate(
    case: AuditCase, inputs: AuditInputs, judged: set[str], latest: Mapping[str, AuditCase], wait_days: int
) -> str:
    if case.refusal:
        return "refused"
    if case.not_staged:
        return "not_staged"
    if case.t_stage is None:
        return "failed"
    if case.model_version != inputs.model_version:
        return "other_model"
    if case.case_id in judged:
        return "judged"
    surgery = case.surgery
    if surgery is not None and surgery.reported_on is not None and surgery.reported_on <= inputs.as_of:
        if surgery.classification is Classification.YPT:
            return "ypt"
        return "earlier_case" if surgery.t_stage is not None else "no_tumour_stage"
    if latest[case.subject].case_id != case.case_id:
        return "earlier_case"
    if surgery is not None and surgery.operated_on <= inputs.as_of:
        return "waiting"
    return "not_operated" if (inputs.as_of - case.study_on).days > wait_days else "open"


def not_judged(
    inputs: AuditInputs,
    found: Cohorts,
    monitors: Sequence[Watched],
    criteria: Sequence[Criterion],
    minimum_labels: int,
) -> list[str]:
    """Sentences: what these data could not answer, and why."""
    said: list[str] = []
    n = len(found.window)
    if n == 0:
        said.append("Accuracy, calibration and decisions: no patient with a pT within the last 12 months.")
    elif n < minimum_labels:
        who = "1 patient has" if n == 1 else f"{n} patients have"
        said.append(
            f"Accuracy, calibration and decisions: {who} a pT, {minimum_labels} are asked for; the numbers are shown, "
            "and nothing is concluded from them."
        )
    counts = np.bincount(found.window.labels, minlength=4)
    absent = [str(s) for s, count in zip(STAGES, counts, strict=True) if count == 0]
    if n and absent:
        said.append(f"Sensitivity and AUC of {' and '.join(absent)}, and the macro AUC: no patient with that pT.")
    told = ("last_month", "reference") if n == 0 else tuple(c.name for c in criteria)
    said += [c.sentence for c in criteria if c.verdict == "cannot tell" and c.name in told]
    silent: dict[str, list[str]] = {}
    for m in monitors:
        if m.state in ("cannot tell", "off"):
            why = "turned off in the settings." if m.state == "off" else m.sentence
            silent.setdefault(why, []).append(m.title)
    said += [f"{_joined(titles)}: {why}" for why, titles in silent.items()]
    if inputs.reference.is_empty:
        said.append(
            "Drift against the model's own training data: the artefact holds no reference distributions; the monitors "
            "compare with this hospital's own earlier weeks."
        )
    return said


def _joined(titles: Sequence[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"
