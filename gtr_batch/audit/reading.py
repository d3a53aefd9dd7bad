"""What the readers made of the model's answer: overrides, and decisions by endoscopic ultrasound beside the model's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import evolve

from gtr_batch.audit.cohorts import Cohort
from gtr_batch.audit.evaluation import FEW
from gtr_batch.audit.found.performance import EusDecision, NetBenefitBesideEus
from gtr_batch.audit.found.service import (
    AgreementByStage,
    ConsoleReadings,
    MonthOfOverrides,
    Overrides,
    ReadingsOfAKind,
    WhoWasRight,
)
from gtr_batch.audit.over_time import months
from gtr_batch.domain.audit import AuditCase, ConsoleReading
from gtr_batch.domain.audit_run import AuditInputs
from gtr_batch.domain.staging import STAGES, TStage
from gtr_batch.metrics.calibration import at_least_t3
from gtr_batch.metrics.classification import confusion
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.utility import THRESHOLDS, decision_curve, net_benefit, treatment


def overrides(inputs: AuditInputs, cases: Sequence[AuditCase]) -> Overrides:
    """Readers who saw the model's answer and wrote another stage.

    An override is no error of the model: the reader may be wrong. It is what pathology is not, known at once and for
    every patient who is read.

    Returns
    -------
    Overrides
        `n` reads with the answer at hand in the period's nights, `over` of them that say otherwise; by staging month;
        `with_pathology`: of overrides with a pT by now, how often reader and model were right.
    """
    read = [c for c in cases if c.t_stage is not None and c.read is not None and c.read.radiologist_ct is not None]
    seen = [c for c in read if c.read is not None and c.read.with_ai]
    now = [c for c in seen if inputs.first <= c.night <= inputs.last]
    model, reader = _pair(now)
    over = int((model != reader).sum())
    by_month = []
    for month in months(inputs.since, inputs.last):
        said, wrote = _pair([c for c in seen if c.month == month])
        by_month.append(MonthOfOverrides(month, len(said), int((said != wrote).sum())))
    return Overrides(
        n=len(now),
        over=over,
        share=over / len(now) if now else None,
        ci=wilson(over, len(now)),
        higher=int((reader > model).sum()),
        lower=int((reader < model).sum()),
        table=tuple(tuple(row) for row in confusion(model, reader).tolist()),
        months=tuple(by_month),
        with_pathology=_who_was_right(inputs, seen),
        unread=sum(c.t_stage is not None and inputs.first <= c.night <= inputs.last for c in cases) - len(now),
    )


def console_readings(inputs: AuditInputs, cases: Sequence[AuditCase]) -> ConsoleReadings:
    """Readers against the AI's stage, by what the console had shown them when they said theirs.

    Who gave a stage of their own before the AI's was shown is the unaided reading; every other word is an aided one.
    What a reader had seen elsewhere, in the PACS or before the case was staged anew, the console does not know.

    Parameters
    ----------
    inputs : AuditInputs
    cases : sequence of AuditCase
        Those of the judged model; the period's nights count.
    """
    readings = [c.readings for c in cases if inputs.first <= c.night <= inputs.last]
    said = [one for of_case in readings for one in of_case]
    unaided = [one for one in said if one.own_stage is not None]
    aided = [one for one in said if one.own_stage is None and one.said is not None]
    after = [one for one in unaided if one.said is not None]
    found = ConsoleReadings(
        cases=sum(bool(of_case) for of_case in readings),
        unaided=_of_a_kind([(one.ai_stage, one.own_stage) for one in unaided], after),
        aided=_of_a_kind([(one.ai_stage, one.said) for one in aided], aided),
        came_over=sum(one.own_stage is not one.ai_stage and one.said is one.ai_stage for one in after),
        turned_away=sum(one.own_stage is one.ai_stage and one.said is not one.ai_stage for one in after),
        sentences=(),
    )
    return evolve(found, sentences=tuple(_of_readings(found)))


def _of_a_kind(pairs: Sequence[tuple[TStage, TStage | None]], words: Sequence[ConsoleReading]) -> ReadingsOfAKind:
    """`pairs`: the AI's stage and the reader's; `words`: of these readers who said one."""
    agree, overruled = sum(ai is own for ai, own in pairs), sum(w.said is not w.ai_stage for w in words)
    rows = []
    for stage in STAGES:
        of_stage = [own for ai, own in pairs if ai is stage]
        k, n = sum(own is stage for own in of_stage), len(of_stage)
        rows.append(AgreementByStage(str(stage), n, k, k / n if n else None, wilson(k, n)))
    return ReadingsOfAKind(
        n=len(pairs),
        agree=agree,
        share=agree / len(pairs) if pairs else None,
        ci=wilson(agree, len(pairs)),
        by_stage=tuple(rows),
        words=len(words),
        overruled=overruled,
        overrule_rate=overruled / len(words) if words else None,
        overrule_ci=wilson(overruled, len(words)),
    )


def _of_readings(found: ConsoleReadings) -> list[str]:
    """What to know before using these numbers."""
    told = []
    for name, kind in _both(found):
        if kind.n == 0:
            told.append(f"No {name} reading this month.")
        elif kind.n < FEW:
            told.append(f"Only {kind.n} {name} reading{'s' * (kind.n > 1)}, fewer than {FEW}: too few to say much.")
    few = [f"{row.stage} {name}" for name, kind in _both(found) for row in kind.by_stage if 0 < row.n < FEW <= kind.n]
    if few:
        told.append(f"Fewer than {FEW} readings of {', '.join(few)}: too few to say much of these.")
    n = found.unaided.n + found.aided.n
    if n > found.cases:
        told.append(f"{n} readings are of {found.cases} cases: Wilson's intervals take them as independent.")
    if n:
        told.append("A reader may have seen the AI's stage elsewhere, in the PACS: the console knows what it showed.")
    return told


def _both(found: ConsoleReadings) -> list[tuple[str, ReadingsOfAKind]]:
    return [("unaided", found.unaided), ("aided", found.aided)]


def eus_decision(cohort: Cohort) -> EusDecision | None:
    """Decisions for treatment (T3 or T4) on the patients who had an endoscopic ultrasound: by the model and by it.

    Returns
    -------
    EusDecision or None
        None without such patients.
    """
    with_eus = cohort.where([c.read is not None and c.read.endosonographer_ut is not None for c in cohort.cases])
    if not len(with_eus):
        return None
    positive, said = at_least_t3(with_eus.labels, with_eus.probabilities)
    by_eus = np.array([_ut(c) >= 2 for c in with_eus.cases])
    by_model = with_eus.votes >= 2
    curve = tuple(
        NetBenefitBesideEus(**row, eus=net_benefit(positive, by_eus, t))  # type: ignore[arg-type]
        for row, t in zip(decision_curve(positive, said), THRESHOLDS, strict=True)
    )
    return EusDecision(len(with_eus), curve, treatment(positive, by_model), treatment(positive, by_eus))


def _pair(cases: Sequence[AuditCase]) -> tuple[np.ndarray, np.ndarray]:
    model = np.array([c.t_stage.position for c in cases if c.t_stage is not None], int)
    reader = [c.read.radiologist_ct.position for c in cases if c.read is not None and c.read.radiologist_ct is not None]
    return model, np.array(reader, int)


def _who_was_right(inputs: AuditInputs, seen: Sequence[AuditCase]) -> WhoWasRight:
    known = [(c, c.pathology(inputs.as_of)) for c in seen]
    judged = [(c, truth) for c, truth in known if truth is not None and c.read is not None]
    apart = [(c, truth) for c, truth in judged if c.read is not None and c.read.radiologist_ct is not c.t_stage]
    return WhoWasRight(
        n=len(apart),
        model=sum(c.t_stage is truth for c, truth in apart),
        reader=sum(c.read is not None and c.read.radiologist_ct is truth for c, truth in apart),
    )


def _ut(case: AuditCase) -> int:
    assert case.read is not None and case.read.endosonographer_ut is not None  # `eus_decision` asked
    return case.read.endosonographer_ut.position
