"""An audit, run and run again: inputs -> findings -> report, and what is written down of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import attrs
from attrs import frozen

from gtr_batch.audit import alarms as about_alarms
from gtr_batch.audit import report_store
from gtr_batch.audit.code_version import code_version
from gtr_batch.audit.found.filed import headline_to_json
from gtr_batch.audit.found.findings import Findings
from gtr_batch.audit.period import nights_of, since, watched_anew_from, watches_since
from gtr_batch.audit.site import AuditSite
from gtr_batch.audit.term import Term, term_on
from gtr_batch.domain.audit_json import from_json
from gtr_batch.domain.audit_run import (
    AuditInputs,
    AuditKind,
    AuditRecord,
    Headline,
    RaisedAlarm,
    StandingAlarm,
    period_name,
)
from gtr_batch.domain.audit_settings import AuditSettings
from gtr_batch.domain.audited_model import AuditedModel, ModelMetrics
from gtr_batch.domain.reference import Reference
from gtr_batch.errors import InputRefused, ModelArtefactError
from gtr_batch.logs import get_logger


@frozen
class Makers:
    """What turns inputs into findings, and findings into files; `makers` gives the real ones."""

    compute: Callable[[AuditInputs], Findings]
    write_report: Callable[[Findings, Path], Mapping[str, Path]]


@frozen
class Audited:
    """An audit that was run just now: its `answer` with the `reasons`, and the `alarms` that are new."""

    run_id: str
    kind: AuditKind
    period: str
    model_version: str
    answer: str
    reasons: tuple[str, ...]
    folder: Path
    files: Mapping[str, str]  # name -> SHA-256
    alarms: tuple[RaisedAlarm, ...]


@frozen
class FileAgain:
    """SHA-256 of a file of a report: as it was written down, as it came out now, and as it lies in the folder."""

    kept: str | None
    now: str | None
    lies: str | None


@frozen
class CodeAgain:
    """The code that had made a run, and this."""

    kept: str
    now: str


@frozen
class MadeAgain:
    """An audit that was made again: `same` where every file came out, byte for byte, as it was written down."""

    run_id: str
    same: bool
    files: Mapping[str, FileAgain]
    code: CodeAgain
    sentence: str


def makers() -> Makers:
    """The audit's own."""
    from gtr_batch.audit.findings import compute
    from gtr_batch.audit.report import write_report

    return Makers(compute, write_report)


def run_audit(
    site: AuditSite,
    kind: AuditKind,
    day: date,
    asked_by: str,
    *,
    as_of: date | None = None,
    make: Makers | None = None,
) -> Audited:
    """Audit the week or the month that a day lies in; write down inputs, report, run and alarms.

    Run twice it gives the same run: nothing in it depends on when it is run, but on what book and EHR hold.

    Parameters
    ----------
    day : date
        Any day of the period.
    asked_by : str
        A person, or the DAG's run.
    as_of : date, optional
        Day by whose end pathology had to be reported to count; default the period's last.

    Raises
    ------
    InputRefused
        Nobody asked, or `as_of` lies before the period.
    ModelArtefactError
        No model was champion by then, and there is no artefact where the settings say.
    """
    if not asked_by.strip():
        raise InputRefused("asked_by is empty: the history of audits says who asked for each")
    make = make or makers()
    site.progress("cases")
    content = inputs_of(site, AuditKind(kind), day, as_of).content()
    run_id = report_store.keep_inputs(site.folder, content)
    # From here on what was kept is looked at, not what was read: that is what a rerun has.
    inputs = AuditInputs.from_content(content)
    site.progress("findings")
    findings = make.compute(inputs)
    run = AuditRecord(
        run_id=run_id,
        kind=inputs.kind,
        period=inputs.period,
        as_of=inputs.as_of,
        model_version=inputs.model_version,
        code_version=inputs.code_version,
        settings=inputs.settings,
        answer=findings.answer,
        headline=headline_to_json(findings.headline),
        asked_by=asked_by,
    )
    site.progress("report")
    files = report_store.keep_report(site.folder, run, lambda folder: make.write_report(findings, folder))
    site.book.save_run(attrs.evolve(run, files=files))
    new = site.book.raise_alarms(run_id, about_alarms.alarms_in(findings.monitors, inputs.model_version))
    if site.settings.audit.pause_delivery:
        about_alarms.StopAlarms(site.book).held()  # from now on, not only from the next night's delivery on
    log = get_logger("audit")
    for alarm in new:
        named = {"monitor": alarm.monitor, "level": str(alarm.level), "night": str(alarm.night)}
        log.warning("audit.alarm", alarm_id=str(alarm.alarm_id), **named)
    log.info("audit.done", run_id=run_id, period=inputs.period, answer=run.answer, cases=len(inputs.cases))
    return Audited(
        run_id=run_id,
        kind=run.kind,
        period=run.period,
        model_version=run.model_version,
        answer=run.answer,
        reasons=tuple(findings.reasons),
        folder=report_store.report_folder(site.folder, run),
        files=files,
        alarms=tuple(new),
    )


def inputs_of(site: AuditSite, kind: AuditKind, day: date, as_of: date | None = None) -> AuditInputs:
    """Gather everything that the audit of a period looks at; see `run_audit`."""
    first, last = nights_of(kind, day)
    if as_of is not None and as_of < first:
        raise InputRefused(f"as of {as_of}: nothing was known then of the nights {first} to {last}")
    as_of = as_of or last
    term, horizon_months = term_on(site, last), site.settings.audit.horizon_months
    begin = since(last, horizon_months, term.first)
    start, alarms = term.first or begin, site.book.alarms()
    inputs = AuditInputs(
        kind=kind,
        first=first,
        last=last,
        since=begin,
        as_of=as_of,
        model_version=term.version,
        model=_model(site, term),
        code_version=code_version(),
        cases=tuple(site.source.cases(begin, last, as_of)),
        settings=AuditSettings.of(site.settings),
        watching_since=watches_since(
            site.settings.audit.shares, watched_anew_from(alarms, term.version, last), start, last, horizon_months
        ),
        reference=Reference.read(term.manifest.get("reference")),
    )
    return attrs.evolve(inputs, alarms=_standing(alarms, inputs), previous=_previous(site, inputs))


def _model(site: AuditSite, term: Term) -> AuditedModel:
    """What is said of the model: its own metrics, and those of the sealed holdout where the gate has judged it."""
    try:
        metrics = from_json(dict(term.manifest.get("metrics") or {}), ModelMetrics)
    except (TypeError, ValueError) as err:
        raise ModelArtefactError(
            f"the metrics in the manifest of model {term.version[:12]} are no numbers: {err}"
        ) from err
    gate = site.registry.document(term.version, "gate") or {}
    judged = (gate.get("models") or {}).get("candidate") or {}
    if judged.get("n") and judged.get("accuracy") is not None:
        metrics = attrs.evolve(metrics, holdout_accuracy=judged["accuracy"], n_holdout=judged["n"])
    named = {name: term.manifest.get(name) for name in ("name", "backbone", "demo", "created", "cohort_digest")}
    return AuditedModel(**named, state=term.state, first_night=term.first, metrics=metrics)


def _standing(alarms: Sequence[RaisedAlarm], inputs: AuditInputs) -> tuple[StandingAlarm, ...]:
    """Alarms about this model that are open, or acknowledged while their monitor watches on as before.

    Not those of later nights; and not this very period's own while they are open, so that twice is as once.
    """

    def stands(alarm: RaisedAlarm) -> bool:
        if alarm.model_version != inputs.model_version or alarm.night > inputs.last:
            return False
        if alarm.is_open:
            return (alarm.kind, alarm.period) != (inputs.kind, inputs.period)
        return alarm.watching_since == inputs.watching_since.get(alarm.monitor)

    names = [a.name for a in attrs.fields(StandingAlarm)]
    return tuple(StandingAlarm(**{name: getattr(a, name) for name in names}) for a in alarms if stands(a))


def _previous(site: AuditSite, inputs: AuditInputs) -> Headline:
    """The headline of the latest run of the month, or the week, just before; empty where that was not audited."""
    before = period_name(inputs.kind, inputs.first - timedelta(days=1))
    return next((r.headline for r in site.book.runs(inputs.kind) if r.period == before), {})  # newest first


def rerun(site: AuditSite, digits: str, *, make: Makers | None = None) -> MadeAgain:
    """Compute and render a run again from its kept inputs, and compare file by file.

    Raises
    ------
    InputRefused
        No, or more than one, run begins so; its inputs are gone or are not what they were.
    """
    run = find(site, digits)
    inputs = AuditInputs.from_content(report_store.kept_inputs(site.folder, run.run_id))
    make = make or makers()
    site.progress("findings")
    findings = make.compute(inputs)
    site.progress("report")
    with tempfile.TemporaryDirectory(prefix="gtr-audit-") as folder:
        now = {name: report_store.digest_of(path) for name, path in make.write_report(findings, Path(folder)).items()}
    filed = report_store.report_folder(site.folder, run)
    files = {
        name: FileAgain(
            run.files.get(name),
            now.get(name),
            report_store.digest_of(filed / name) if (filed / name).is_file() else None,
        )
        for name in sorted({*run.files, *now})
    }
    code = CodeAgain(run.code_version, code_version())
    same = all(f.kept == f.now for f in files.values())
    return MadeAgain(run.run_id, same, files, code, _compared_in_words(files, code))


def find(site: AuditSite, digits: str) -> AuditRecord:
    """The one run whose id begins so; `InputRefused` where there is not exactly one."""
    run = site.book.run(digits)
    if run is None:
        raise InputRefused(f"audit {digits!r}: not exactly one run begins so; `gtr audit list` shows them all")
    return run


def _compared_in_words(files: Mapping[str, FileAgain], code: CodeAgain) -> str:
    other = [name for name, f in files.items() if f.kept != f.now]
    spoilt = [name for name, f in files.items() if f.lies != f.kept]
    words = ["The same, byte for byte." if not other else f"Not the same: {', '.join(other)}."]
    if code.kept != code.now:
        words.append(f"It was made by code {code.kept}; this is {code.now}.")
    if spoilt:
        words.append(f"What lies in the report's folder is not what was written down, or is gone: {', '.join(spoilt)}.")
    return " ".join(words)
