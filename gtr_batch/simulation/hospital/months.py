"""Months of audit cases drawn as numbers, without images: for the power and the false alarms of the monitors.

Everything that a monitor reads is drawn from fixed distributions until the day of the shift: scanners and protocols,
image quality, refusals, features that go with the stage, probabilities that are calibrated because the pathology is
drawn from them, operations that depend on the stage, and reports that come weeks later.
"""

from __future__ import annotations

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
from attrs import field, frozen
from scipy.special import expit

from gtr_batch.audit.monitors.cusum import shifted
from gtr_batch.config import AuditConfig, Config
from gtr_batch.domain.audit import AuditCase, Classification, Read, Surgery
from gtr_batch.domain.audit_run import AuditInputs, AuditKind
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.domain.audited_model import AuditedModel
from gtr_batch.domain.reconstruction import KernelKind
from gtr_batch.domain.reference import Reference
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import STAGES, KeySliceSource, StageProbabilities
from gtr_batch.errors import InputRefused
from gtr_batch.simulation.phantom.scanner import SCANNERS
from gtr_batch.training.fit.reference import reference_of

FIRST = date(2024, 1, 1)  # a Monday
DAYS_A_MONTH = 365.25 / 12
MODEL = "a" * 64
KINDS = ("none", "or", "scanner", "scanner-midweek", "features", "quality", "refusals")
_USUAL = {
    "none": 1.0,
    "or": 2.0,
    "scanner": 1.0,
    "scanner-midweek": 1.0,
    "features": 1.0,
    "quality": 1.0,
    "refusals": 2.5,
}
_SCANNERS = (0.4, 0.35, 0.25)
_NEW = {"manufacturer": "GE MEDICAL SYSTEMS", "model": "Revolution CT", "kernel": "STANDARD", "thickness_mm": 2.5}
_CUTS = np.array([-2.6, -1.2, 0.9])  # of the latent severity: T1 to T4 about as in the paper's resected patients
_SLOPE = 3.2  # of severity as the network sees it: an accuracy of about 70%
_RESECTED = np.array([0.8, 0.92, 0.88, 0.72])
_REFUSED, _FAILED, _YPT, _AGAIN = 0.14, 0.01, 0.05, 0.05
_CODES = (
    (RefusalCode.PRIOR_CHEMOTHERAPY, 0.35),
    (RefusalCode.DISTANT_METASTASIS, 0.2),
    (RefusalCode.NO_PORTAL_VENOUS_SERIES, 0.15),
    (RefusalCode.SLICE_THICKNESS, 0.1),
    (RefusalCode.WRONG_PHASE, 0.1),
    (RefusalCode.NO_KEY_SLICE, 0.1),
)
_SOURCES = (
    (KeySliceSource.KEY_OBJECT, 0.45),
    (KeySliceSource.EHR, 0.3),
    (KeySliceSource.SEGMENTATION, 0.1),
    (KeySliceSource.AUTOMATIC, 0.15),
)


@frozen
class Shift:
    """What changes, by how much: ``or``: odds ratio of pathology; ``scanner``: share of cases that come from a new one;
    ``features``: SD along one direction; ``quality``: SD of the aorta's density; ``refusals``: times as many."""

    kind: str = "none"
    size: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Shift:
        """From ``none``, ``or=2``, ``scanner``, ``scanner=0.4``, ``features=1``, ``quality``, ``refusals=2.5``."""
        kind, _, size = text.strip().partition("=")
        if kind not in KINDS:
            raise InputRefused(f"shift {text!r} is not known; one of: {', '.join(KINDS)}, with =SIZE where it has one")
        try:
            value = float(size) if size else _USUAL[kind]
        except ValueError as err:
            raise InputRefused(f"shift {text!r}: {size!r} is not a number") from err
        largest = 1.0 if kind.startswith("scanner") else 100.0
        if not 0 < value <= largest:
            raise InputRefused(f"shift {text!r}: the size lies above 0, and not above {largest:g}")
        return cls(kind, value)


@frozen
class Months:
    """A history. `per_month` staged cases; `at`: the shift begins on the first Monday of that month (1: from the start;
    ``scanner-midweek``: the Thursday after). `everyone`: all staged patients are operated and have a pT in the end."""

    months: int = 24
    per_month: int = 60
    shift: Shift = field(factory=Shift)
    at: int = 7
    seed: int = 0
    everyone: bool = False
    width: int = 24
    reference: int = 0  # patients of the artefact's reference; 0: it has none

    @property
    def last(self) -> date:
        """The last night: a Sunday."""
        day = FIRST + timedelta(days=round(self.months * DAYS_A_MONTH) - 1)
        return day - timedelta(days=(day.weekday() + 1) % 7)

    @property
    def shifts_on(self) -> date | None:
        """The first night of the shift; None without one."""
        if self.shift.kind == "none":
            return None
        day = FIRST + timedelta(days=round((self.at - 1) * DAYS_A_MONTH))
        monday = day + timedelta(days=-day.weekday() % 7)
        return monday + timedelta(days=3) if self.shift.kind == "scanner-midweek" else monday


def inputs_of(months: Months, config: AuditConfig | None = None) -> AuditInputs:
    """The whole history as one audit sees it at its end."""
    rng = np.random.default_rng([months.seed, 4721])
    reference = reference_patients(rng, months) if months.reference else Reference()
    return weekly_inputs(tuple(cases_of(months)), months.last, config or AuditConfig(), reference)


def weekly_inputs(
    cases: tuple[AuditCase, ...],
    last: date,
    config: AuditConfig,
    reference: Reference | None = None,
) -> AuditInputs:
    """A whole simulated history as the weekly audit of its last day sees it."""
    import attrs

    return AuditInputs(
        kind=AuditKind.WEEK,
        first=last - timedelta(days=6),
        last=last,
        since=FIRST,
        as_of=last,
        model_version=MODEL,
        model=AuditedModel(name="simulated"),
        code_version="simulated",
        cases=cases,
        settings=AuditSettings.of(attrs.evolve(Config(), audit=config)),
        reference=reference or Reference(),
    )


def reference_patients(rng: np.random.Generator, months: Months) -> Reference:
    """The artefact's reference, of patients like those before the shift."""
    n = months.reference
    drawn = _draw(rng, n, months, np.zeros(n, bool))
    return Reference.read(reference_of(drawn["features"], drawn["probabilities"], drawn["slices"], _facts(drawn, n)))


def cases_of(months: Months) -> list[AuditCase]:
    """The history's cases, in the order of nights."""
    rng = np.random.default_rng([months.seed, 4720])
    days = (months.last - FIRST).days + 1
    on = months.shifts_on
    begins = days if on is None else (on - FIRST).days
    staged = months.per_month * days / DAYS_A_MONTH
    night = np.sort(_workdays(rng, int(rng.poisson(staged)), days))
    n = len(night)
    after = night >= begins
    drawn = _draw(rng, n, months, after)
    again = np.flatnonzero(rng.random(n) < _AGAIN)
    patient = np.arange(n)
    for i in again.tolist():
        j = i - int(rng.integers(1, 12))
        if j >= 0 and after[i] == after[j]:
            _repeat(drawn, patient, night, i, j)
    facts = _facts(drawn, n)
    found = [_case(k, int(night[k]), int(patient[k]), drawn, facts[k]) for k in range(n)]
    return sorted(found + _not_staged(rng, months, days, begins), key=lambda c: (c.night, c.case_id))


def _workdays(rng: np.random.Generator, n: int, days: int) -> np.ndarray:
    weights = np.where(np.arange(days) % 7 < 5, 1.0, 0.15)
    return rng.choice(days, n, p=weights / weights.sum())


def _draw(rng: np.random.Generator, n: int, months: Months, after: np.ndarray) -> dict[str, np.ndarray]:
    """Everything of n staged patients; (n, ...) arrays."""
    kind, size = months.shift.kind, months.shift.size
    severity = rng.normal(size=n)
    below = expit(_CUTS[None, :] - _SLOPE * severity[:, None])
    p = np.diff(np.concatenate([np.zeros((n, 1)), below, np.ones((n, 1))], axis=1), axis=1)
    truth = p.copy()
    if kind == "or":
        truth[after] = shifted(p[after], math.log(size))
    stage = np.minimum((rng.random(n)[:, None] > truth.cumsum(axis=1)).sum(axis=1), 3)
    slices = np.repeat(p.argmax(axis=1)[:, None], 3, axis=1)
    apart = np.flatnonzero(rng.random(n) < 0.2)
    beside = np.clip(slices[apart, 0] + rng.choice([-1, 1], len(apart)), 0, 3)
    slices[apart, rng.choice([0, 2], len(apart))] = beside
    loadings = np.cos(np.arange(months.width))
    features = severity[:, None] * loadings + rng.normal(size=(n, months.width)) * (
        0.5 + 0.5 * (np.arange(months.width) % 3)
    )
    if kind == "features":
        spread = np.sqrt(loadings[0] ** 2 + 0.25)
        features[after, 0] += size * spread
    scanner = rng.choice(len(SCANNERS), n, p=_SCANNERS)
    if kind.startswith("scanner"):
        scanner = np.where(after & (rng.random(n) < size), len(SCANNERS), scanner)
    aorta = rng.normal(150, 22, n) + np.where(after & (kind == "quality"), 22 * size, 0.0)
    return {
        "probabilities": p,
        "stage": stage,
        "slices": slices,
        "features": features.astype(np.float32),
        "scanner": scanner,
        "aorta": aorta,
        "liver": rng.normal(105, 13, n),
        "no_aorta": rng.random(n) < 0.03,
        "air": rng.choice([-1015.0, -1005.0, -995.0, -985.0], n, p=[0.1, 0.4, 0.4, 0.1]),
        "tissue": rng.normal(0.34, 0.05, n),
        "kvp": rng.choice([120.0, 100.0], n, p=[0.9, 0.1]),
        "spacing": np.clip(rng.normal(0.74, 0.06, n), 0.55, 0.97),
        "agent": rng.random(n) < 0.93,
        "coverage": rng.normal(185, 18, n),
        "source": rng.choice(len(_SOURCES), n, p=[w for _, w in _SOURCES]),
        "resected": rng.random(n) < (1.0 if months.everyone else _RESECTED[stage]),
        "ypt": rng.random(n) < (0.0 if months.everyone else _YPT),
        "waits": rng.integers(8, 40, n),
        "reports": rng.integers(7, 22, n),
        "read": np.clip(stage + rng.choice([-1, 0, 1], n, p=[0.2, 0.58, 0.22]), 0, 3),
        "eus": np.where(
            rng.random(n) < 0.4, np.clip(stage + rng.choice([-1, 0, 1], n, p=[0.18, 0.65, 0.17]), 0, 3), -1
        ),
        "with_ai": rng.random(n) < 0.5,
        "female": rng.random(n) < 0.35,
        "age": np.clip(rng.normal(62.5, 9.4, n), 25, 92),
    }


def _repeat(drawn: dict[str, np.ndarray], patient: np.ndarray, night: np.ndarray, i: int, j: int) -> None:
    """Make case i one more CT of the patient of case j: one disease, and one operation after the last."""
    for name in ("stage", "resected", "ypt", "female", "age", "probabilities", "slices"):
        drawn[name][i] = drawn[name][j]
    before = np.flatnonzero(patient == patient[j])
    patient[i] = patient[j]
    drawn["waits"][before] = drawn["waits"][i] + night[i] - night[before]
    drawn["reports"][before] = drawn["reports"][i]


def _facts(drawn: dict[str, np.ndarray], n: int) -> list[dict[str, Any]]:
    machines: list[dict[str, Any]] = [
        {"manufacturer": s.manufacturer, "model": s.model, "kernel": s.kernel, "thickness_mm": s.thickness_mm}
        for s in SCANNERS
    ]
    machines.append(dict(_NEW))
    found = []
    for k in range(n):
        machine = machines[int(drawn["scanner"][k])]
        thickness = machine["thickness_mm"]
        slices = max(int(drawn["coverage"][k] / thickness), 12)
        found.append(
            {
                **machine,
                "kernel_kind": str(KernelKind.SOFT),
                "kvp": float(drawn["kvp"][k]),
                "pixel_spacing_mm": round(float(drawn["spacing"][k]), 4),
                "contrast_agent": bool(drawn["agent"][k]),
                "slices": slices,
                "spacing_mm": thickness,
                "coverage_mm": round(slices * thickness, 2),
                "air_hu": float(drawn["air"][k]),
                "tissue_share": round(float(drawn["tissue"][k]), 4),
                "aorta_hu": None if drawn["no_aorta"][k] else round(float(drawn["aorta"][k]), 1),
                "liver_hu": round(float(drawn["liver"][k]), 1),
            }
        )
    return found


def _case(k: int, night: int, patient: int, drawn: dict[str, np.ndarray], facts: dict[str, Any]) -> AuditCase:
    on = FIRST + timedelta(days=night)
    stage = STAGES[int(drawn["stage"][k])]
    surgery = None
    if drawn["resected"][k]:
        operated = on + timedelta(days=int(drawn["waits"][k]))
        kind = Classification.YPT if drawn["ypt"][k] else Classification.PT
        surgery = Surgery(operated, operated + timedelta(days=int(drawn["reports"][k])), kind, str(stage), stage)
    slices = tuple(STAGES[int(s)] for s in drawn["slices"][k])
    eus = int(drawn["eus"][k])
    p = StageProbabilities(drawn["probabilities"][k].tolist())
    return AuditCase(
        case_id=f"s{k:07d}",
        subject=f"p{patient:07d}",
        night=on,
        study_on=on,
        model_version=MODEL,
        t_stage=slices[1],
        probabilities=p,
        slice_stages=slices,
        key_slice_source=str(_SOURCES[int(drawn["source"][k])][0]),
        nomogram=p,
        features=tuple(drawn["features"][k].tolist()),
        facts=facts,
        sex="female" if drawn["female"][k] else "male",
        age_years=int(drawn["age"][k]),
        delivered_on=on,
        surgery=surgery,
        read=Read(on, STAGES[int(drawn["read"][k])], STAGES[eus] if eus >= 0 else None, bool(drawn["with_ai"][k])),
    )


def _not_staged(rng: np.random.Generator, months: Months, days: int, begins: int) -> list[AuditCase]:
    """Refused studies, and a few that broke."""
    usual = months.per_month * days / DAYS_A_MONTH * (_REFUSED + _FAILED)
    more = months.shift.size if months.shift.kind == "refusals" else 1.0
    nights = _workdays(rng, int(rng.poisson(usual * max(more, 1.0))), days)
    keep = rng.random(len(nights)) < np.where(nights >= begins, more, 1.0) / max(more, 1.0)
    found = []
    for k, night in enumerate(nights[keep].tolist()):
        failed = rng.random() < _FAILED / (_REFUSED + _FAILED)
        code = _CODES[int(rng.choice(len(_CODES), p=[w for _, w in _CODES]))][0]
        on = FIRST + timedelta(days=night)
        refusal = "" if failed else str(code)
        found.append(AuditCase(f"r{k:07d}", f"q{k:07d}", on, on, refusal=refusal, failed=failed))
    return found
