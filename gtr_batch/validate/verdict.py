"""The verdict on each case of a shard: one Great Expectations run decides, one refusal says why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from attrs import field, frozen

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.aorta_liver import MeasuredSlice
from gtr_batch.domain.contrast import Phase, PhaseEvidence
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.refusal import Refusal
from gtr_batch.domain.series_fact import FactSource, from_source
from gtr_batch.domain.stack import LENGTH_TOLERANCE_MM, ORIENTATION_TOLERANCE, distinct, patients_among
from gtr_batch.errors import StorageFull, fault_of
from gtr_batch.logs import get_logger
from gtr_batch.validate.docs import write_docs
from gtr_batch.validate.expectations import Check, SuiteRun, checks, run_suites
from gtr_batch.validate.headers import Series, geometry, read_series
from gtr_batch.validate.pixels import PixelLook

T = TypeVar("T")

_CONTRADICTS = (Phase.UNENHANCED, Phase.ARTERIAL)
_STORED = (0.0, 4095.0)  # between which a rescale is compared
# Of the slices, and at least two: where more lie out of order, the numbers follow no order, and accuse nobody.
MOST_MISPLACED = 0.1


@frozen
class CaseFiles:
    """A case's series on disk: every ``*.dcm`` directly in `folder`.

    `expected_sop_uids` are what C-FIND promised (empty: not judged); `expected_phase` what intake chose (empty: not
    judged); `identity` what every instance must say of itself (None: not judged). `measured` is what intake measured of
    some of its slices: it counts for an instance that is still the very same.
    """

    case_id: str
    folder: Path
    expected_sop_uids: tuple[str, ...] = ()
    expected_phase: str = "portal_venous"
    identity: SeriesIdentity | None = None
    measured: tuple[MeasuredSlice, ...] = ()


@frozen
class Verdict:
    """What validation says of a case. `facts` are for the drift monitor: plain values, nothing of the patient.

    `fault`: what kept the case from being judged, for the caller to raise; then nothing is said of the case.
    """

    refusal: Refusal | None
    facts: Mapping[str, Any] = field(factory=dict)
    fault: Exception | None = field(default=None, eq=False)

    @property
    def ok(self) -> bool:
        """Whether the case may be staged."""
        return self.refusal is None and self.fault is None


@frozen
class _Seen:
    """A case as its files show it: a row for each instance, by label, one for the stack, and the facts."""

    instances: Mapping[str, dict[str, Any]]
    stack: Mapping[str, Any]
    facts: Mapping[str, Any]


def validate_shard(
    cases: Sequence[CaseFiles], config: ValidateConfig, docs_folder: Path | None = None
) -> dict[str, Verdict]:
    """Judge the series of a shard in one Great Expectations run.

    Parameters
    ----------
    cases : sequence of CaseFiles
        Read one after the other; the answer does not depend on the order of files or cases.
    config : ValidateConfig
        Limits, mm and degrees.
    docs_folder : Path, optional
        Where the night's Data Docs lie: ``index.html`` and a page a suite for this shard. None: none are written.

    Returns
    -------
    dict
        Verdict by case id. Where several checks fail, the first in the order of
        `gtr_batch.validate.expectations.checks` names the refusal and ``numbers["also"]`` lists the other codes.
        A case that could not be read or judged has a ``fault``; the others are judged without it.
    """
    if not cases:
        return {}
    all_checks = checks(config)
    seen, faults = _each_alone(cases, lambda case: _look(case, config))
    try:
        run = _run(seen, all_checks) if seen else SuiteRun({})
    except Exception:  # noqa: BLE001 - whose rows they were that could not be checked, each case alone tells
        here = [case for case in cases if case.case_id in seen]
        runs, unjudged = _each_alone(here, lambda case: _run({case.case_id: seen[case.case_id]}, all_checks))
        faults |= unjudged
        run = _together(runs.values())
    verdicts = {
        case.case_id: Verdict(None, fault=faults[case.case_id])
        if case.case_id in faults
        else Verdict(_refusal(case.case_id, all_checks, run, seen[case.case_id]), seen[case.case_id].facts)
        for case in cases
    }
    if docs_folder is not None:
        refusals = {case_id: v.refusal for case_id, v in verdicts.items() if v.fault is None}
        _write_docs(docs_folder, _shard_name(cases), all_checks, run, refusals)
    log = get_logger("validate")
    for case_id, verdict in verdicts.items():
        code = str(verdict.refusal.code) if verdict.refusal else ""
        aside = seen[case_id].stack["set_aside"] if case_id in seen else 0
        log.info("case.judged", case_id=case_id, ok=verdict.ok, code=code, set_aside=aside)
    return verdicts


def _write_docs(
    folder: Path, shard: str, all_checks: Sequence[Check], run: SuiteRun, refusals: Mapping[str, Refusal | None]
) -> None:
    """The shard's pages; they tell of the verdicts and must not keep one from being written."""
    try:
        write_docs(folder, shard, all_checks, run, refusals)
    except StorageFull:
        raise
    except Exception as err:  # noqa: BLE001 - pages for people, made anew by the next run
        get_logger("validate").error("data_docs.not_written", shard=shard, error=fault_of(err))


def _each_alone(
    cases: Sequence[CaseFiles], work: Callable[[CaseFiles], T]
) -> tuple[dict[str, T], dict[str, Exception]]:
    """What `work` gave for each case, and what it raised: one bad case never stops the shard."""
    done: dict[str, T] = {}
    faults: dict[str, Exception] = {}
    for case in cases:
        try:
            done[case.case_id] = work(case)
        except Exception as err:  # noqa: BLE001 - raised where the case is written, which notes it
            faults[case.case_id] = err
    return done, faults


def _look(case: CaseFiles, config: ValidateConfig) -> _Seen:
    look = PixelLook(case.measured)
    series = read_series(case.folder, config, look, case.identity)
    evidence = look.phase()
    stack = _case_row(case, series, look, evidence)
    rows = {f"{case.case_id}#{n:05d}": row for n, row in enumerate(series.rows)}
    return _Seen(rows, stack, _facts(series, stack, evidence))


def _run(seen: Mapping[str, _Seen], all_checks: Sequence[Check]) -> SuiteRun:
    """One Great Expectations run over the rows of these cases."""
    import pandas as pd

    instances = {label: row for one in seen.values() for label, row in one.instances.items()}
    stacks = {case_id: one.stack for case_id, one in seen.items()}
    frames = {
        "instances": _frame(pd, "instances", instances, all_checks),
        "cases": _frame(pd, "cases", stacks, all_checks),
    }
    return run_suites(frames, all_checks)


def _together(runs: Iterable[SuiteRun]) -> SuiteRun:
    failing: dict[str, tuple[str, ...]] = {}
    for run in runs:
        for name, labels in run.failing.items():
            failing[name] = (*failing.get(name, ()), *labels)
    return SuiteRun(failing)


def _shard_name(cases: Sequence[CaseFiles]) -> str:
    """A name that the same cases always give, so that a run again replaces its own page."""
    return "shard-" + hashlib.sha256("|".join(sorted(c.case_id for c in cases)).encode()).hexdigest()[:12]


def _frame(pd: Any, name: str, rows: Mapping[str, Mapping[str, Any]], all_checks: Sequence[Check]) -> Any:
    """Rows as a frame that has every column a check asks for; what a row does not have is missing, and not judged."""
    columns = list(dict.fromkeys(r.column for r in all_checks if r.frame == name))
    data = {c: pd.Series([row.get(c) for row in rows.values()], index=list(rows), dtype=object) for c in columns}
    return pd.DataFrame(data, index=list(rows))


def _case_row(case: CaseFiles, series: Series, look: PixelLook, evidence: PhaseEvidence) -> dict[str, Any]:
    promised, there = set(case.expected_sop_uids), set(series.sop_uids)
    readable = [r for r in series.rows if r["readable"]]
    numbers, stack = evidence.numbers(), geometry(series)
    out = stack["out_of_order"]
    measured = ", ".join(
        f"{what} {numbers[key]:.0f} HU"
        for what, key in (("aorta", "aorta_hu"), ("liver", "liver_hu"))
        if key in numbers
    )
    return {
        "files": len(series.rows),
        "set_aside": series.set_aside,
        "expected": len(promised) or len(series.rows),
        "missing": len(promised - there) if promised else 0,
        "unexpected": len(there - promised) if promised else 0,
        "foreign": series.foreign,
        "differs": " and ".join(sorted(series.differs)),
        "patients": max(1, patients_among(series.patients)),
        "studies": max(1, len(series.studies)),
        "series": max(1, len(series.series)),
        "frames": max(1, len(series.frames)),
        "orientations": max(1, distinct(series.orientations, ORIENTATION_TOLERANCE)),
        "thicknesses": max(1, distinct([(r["thickness_mm"],) for r in readable], LENGTH_TOLERANCE_MM)),
        "pixel_spacings": max(1, distinct([(r["pixel_spacing_mm"],) for r in readable], LENGTH_TOLERANCE_MM)),
        **stack,
        "misplaced": out if out <= max(2, MOST_MISPLACED * len(series.numbered)) else 0,
        "other_rescales": _other_rescales(readable),
        **look.facts(),
        "phase": str(evidence.phase).replace("_", " "),
        "expected_phase": case.expected_phase.replace("_", " "),
        "phase_contradicts": bool(case.expected_phase)
        and evidence.phase in _CONTRADICTS
        and evidence.liver_slices > 0  # without a liver this is no abdomen, and the vessel may be none
        and str(evidence.phase) != case.expected_phase,
        "measured": measured,
        "aorta_hu": numbers.get("aorta_hu"),
        "liver_hu": numbers.get("liver_hu"),
    }


def _other_rescales(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many slices have another rescale than most: one by which some value would be another HU."""
    ends = [
        tuple(round(row["slope"] * stored + row["intercept"]) for stored in _STORED)
        for row in rows
        if row["rescale_known"]
    ]
    return len(ends) - max(Counter(ends).values(), default=0)


def _refusal(
    case_id: str,
    all_checks: Sequence[Check],
    run: SuiteRun,
    seen: _Seen,
) -> Refusal | None:
    """The refusal that GX's failures of this case are, or None."""
    failed: list[tuple[Check, dict[str, Any]]] = []
    for check in all_checks:
        labels = [label for label in run.failing.get(check.name, ()) if label.split("#")[0] == case_id]
        if not labels:
            continue
        numbers: dict[str, Any] = {"rule": check.name, "low": check.low, "high": check.high}
        if check.frame == "cases":
            numbers |= {name: seen.stack.get(name) for name in (check.column, *check.says)}
        else:
            bad = [seen.instances[label] for label in labels]
            numbers |= {"failing": len(bad), "of": seen.stack["files"]}
            if not (check.among and isinstance(check.among[0], bool)):
                numbers["values"] = _distinct(bad, check.column)
            if check.name == "kernel":
                numbers["kernel"] = _distinct(bad, "kernel")
        failed.append((check, {k: v for k, v in numbers.items() if v is not None}))
    if not failed:
        return None
    check, numbers = failed[0]
    also = list(dict.fromkeys(str(r.code) for r, _ in failed[1:] if r.code is not check.code))
    numbers["also"] = also
    return Refusal(check.code, check.sentence.format(**numbers), numbers)


def _distinct(rows: Sequence[Mapping[str, Any]], column: str) -> str:
    """The differing values of a column as a short text, at most four of them."""
    values = sorted({f"{v:g}" if isinstance(v, float) else (str(v) or "none") for v in (r[column] for r in rows)})
    return ", ".join(values[:4]) + (", …" if len(values) > 4 else "")


def _facts(series: Series, case_row: Mapping[str, Any], evidence: PhaseEvidence) -> dict[str, Any]:
    """What the drift monitor wants to know of a series, from its middle readable instance and the stack."""
    readable = [r for r in series.rows if r["readable"]]
    facts: dict[str, Any] = {fact.name: case_row[fact.name] for fact in from_source(FactSource.STACK)}
    facts |= {"phase": str(evidence.phase), "phase_scores": dict(evidence.scores), **evidence.numbers()}
    if readable:
        header = readable[len(readable) // 2]
        facts |= {
            fact.name: header[fact.name]
            for fact in from_source(FactSource.HEADER)
            if not fact.optional or header[fact.name] is not None
        }
    return {k: (v.item() if isinstance(v, np.generic) else v) for k, v in facts.items()}
