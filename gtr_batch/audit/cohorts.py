"""Which patients the numbers of a report stand on: pathology that came lately, and that of this period alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
from attrs import field, fields, frozen

from gtr_batch.audit.found.findings import ShownSettings
from gtr_batch.audit.found.performance import Tally
from gtr_batch.domain.audit import AuditCase, Classification
from gtr_batch.domain.audit_run import AuditInputs

WINDOW_DAYS = 365


@frozen(eq=False)
class Cohort:
    """Patients with a pT, one case each: `labels`, `votes` (n,) 0 to 3; `probabilities` (n, 4); `subjects` (n,)."""

    cases: tuple[AuditCase, ...] = field(repr=False)
    labels: np.ndarray = field(repr=False)
    votes: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    subjects: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def right(self) -> int:
        """Patients whom the vote staged as pathology did."""
        return int((self.labels == self.votes).sum())

    def where(self, keep: Sequence[bool] | np.ndarray) -> Cohort:
        """The patients at which `keep` is true."""
        kept = np.asarray(keep, bool)
        cases = tuple(c for c, k in zip(self.cases, kept.tolist(), strict=True) if k)
        return Cohort(cases, self.labels[kept], self.votes[kept], self.probabilities[kept], self.subjects[kept])


@frozen(eq=False)
class Cohorts:
    """`window`: pathology reported from `window_first` to `until`; `period`: in the period; `everybody`: ever."""

    window_first: date
    until: date
    since_promotion: bool  # the model has been champion for less than the window
    everybody: Cohort
    window: Cohort
    period: Cohort


def cohorts(inputs: AuditInputs) -> Cohorts:
    """Patients whom this model staged and whose pT was reported within the last 12 months, and within the period.

    The day of the report decides, not that of the CT: a cohort by staging month is never whole, and what is known of it
    early comes from patients operated early.
    """
    until = min(inputs.last, inputs.as_of)
    term = first_night(inputs)
    year = until - timedelta(days=WINDOW_DAYS - 1)
    first = max(year, term)
    labelled = _labelled(of_model(inputs), inputs.as_of)
    reported = [_reported_on(c) for c in labelled.cases]
    return Cohorts(
        window_first=first,
        until=until,
        since_promotion=term > year,
        everybody=labelled,
        window=labelled.where([first <= day <= until for day in reported]),
        period=labelled.where([inputs.first <= day <= until for day in reported]),
    )


def first_night(inputs: AuditInputs) -> date:
    """The night from which this model stages, as the registry has it; else that of its first case in the data."""
    if inputs.model.first_night is not None:
        return inputs.model.first_night
    nights = [c.night for c in of_model(inputs) if c.t_stage is not None]
    return min(nights, default=inputs.first)


def of_model(inputs: AuditInputs) -> list[AuditCase]:
    """Cases of this model, and those that no model saw since they were refused or broke."""
    return [c for c in inputs.cases if not c.model_version or c.model_version == inputs.model_version]


def in_period(inputs: AuditInputs) -> list[AuditCase]:
    """Cases of the period's nights, of whatever model."""
    return [c for c in inputs.cases if inputs.first <= c.night <= inputs.last]


def tally(cases: Sequence[AuditCase]) -> Tally:
    """What became of the cases of some nights."""
    return Tally(
        seen=len(cases),
        staged=sum(c.t_stage is not None for c in cases),
        refused=sum(bool(c.refusal) for c in cases),
        failed=sum(c.failed for c in cases),
        patients=len({c.subject for c in cases}),
        not_staged=sum(bool(c.not_staged) for c in cases),
    )


def settings_of(inputs: AuditInputs) -> ShownSettings:
    """The settings that the report shows."""
    given = inputs.settings
    named = [a.name for a in fields(type(given)) if a.name.startswith("share_")]
    shares = {name.removeprefix("share_"): getattr(given, name) for name in sorted(named)}
    shown = {a.name: getattr(given, a.name) for a in fields(ShownSettings) if a.name != "shares"}
    return ShownSettings(**shown, shares=shares)


def _labelled(cases: Sequence[AuditCase], as_of: date) -> Cohort:
    from gtr_batch.audit.labels import labelled

    found = labelled(cases, as_of, Classification.PT)
    return Cohort(
        tuple(found.cases),
        np.asarray(found.labels, int),
        np.asarray(found.votes, int),
        np.asarray(found.probabilities, float).reshape(-1, 4),
        np.asarray(found.subjects),
    )


def _reported_on(case: AuditCase) -> date:
    assert case.surgery is not None and case.surgery.reported_on is not None  # it has a pT
    return case.surgery.reported_on
