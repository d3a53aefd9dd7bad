"""What each page is told: read through the console's site, in a few short transactions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from attrs import field, frozen

from gtr_batch.config import ConsoleConfig
from gtr_batch.console.drawing import NightsChart, chart_of
from gtr_batch.console.pictures import CasePictures, Pictures
from gtr_batch.console.site import ConsoleSite
from gtr_batch.domain.access import SUCCESS
from gtr_batch.domain.audit_run import AlarmLevel, RaisedAlarm
from gtr_batch.domain.case import Step
from gtr_batch.domain.console import (
    ATTENTION,
    CaseReader,
    ConsoleAudit,
    ConsoleCase,
    ConsoleNight,
    ConsolePatient,
    WorklistFilter,
    WorklistPage,
    WorklistPlace,
)
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.drawn_nomogram import NomogramDrawing
from gtr_batch.domain.lifecycle import ModelRecord, RegisteredModel, RegistryEvent
from gtr_batch.domain.model import ModelManifest
from gtr_batch.domain.reader_word import KeptWord, NewWord, OwnStage, Reader, WordKind
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import FLAG_MEANINGS, CaseStaging, Flag, TStage
from gtr_batch.errors import InputRefused, ModelArtefactError
from gtr_batch.logs import get_logger
from gtr_batch.night.watch import due_night, why_red
from gtr_batch.nomogram.drawing import nomogram_of
from gtr_console import readers
from gtr_console.key_slice import KeySliceForm, key_slice_form

NIGHTS_SHOWN = 30
CASES_A_PAGE = 50
STOPPED_SHOWN = 200
CARD_PAGES = ("card.html", "claim.html", "report.html")
AUDITS_SHOWN = 60  # a year of weeks
READER_ROLE = "radiologist"
OPERATE = ("operator", "admin")  # who starts runs, and stops and resumes the service
#: What an event may say of a case whose result must not be shown: of steps before the network all, of others these.
_BEFORE_THE_ANSWER = frozenset({Step.INTAKE, Step.RETRIEVE, Step.VALIDATE, Step.PREPROCESS})
_NO_ANSWER = frozenset({
    "seconds", "objects", "sent", "error", "retryable", "back_to", "code", "sentence", "reopened", "by", "was", "night",
    "rekeyed",
})  # fmt: skip
_MADE_UP_FOR = timedelta(days=1)  # a night that begins so long after its worklist was due: nobody waits for it any more
_NOTED_S = 600  # a case's pixels are many requests: that somebody looks is noted once in this time


class Console:
    """The site, opened when it is first asked for, and what is remembered between requests."""

    def __init__(self, open_site: Callable[[], ConsoleSite]) -> None:
        self._open_site = open_site
        self._lock = threading.Lock()
        self._site: ConsoleSite | None = None
        self._noted: dict[tuple[str, str], float] = {}
        self._pictures: CasePictures | None = None

    @property
    def site(self) -> ConsoleSite:
        """The console's site; raises `ConfigError` as `gtr_batch.wiring.open_console`."""
        with self._lock:
            if self._site is None:
                self._site = self._open_site()
            return self._site

    @property
    def settings(self) -> ConsoleConfig:
        """The section ``[console]``."""
        return self.site.config.console

    @property
    def pictures(self) -> CasePictures:
        """Reads the pictures of cases."""
        if self._pictures is None:
            self._pictures = CasePictures(self.site.files)
        return self._pictures

    def note_pixels(self, by: str, case_id: str) -> None:
        """Note that somebody looks at a case's images; once in ten minutes."""
        now = time.monotonic()
        with self._lock:
            if now - self._noted.get((by, case_id), -_NOTED_S) < _NOTED_S:
                return
            self._noted = {key: at for key, at in self._noted.items() if now - at < _NOTED_S}
        self.site.trail.note("pixels.look", "case", case_id, by=by, outcome=SUCCESS)
        with self._lock:
            self._noted[by, case_id] = now


@frozen
class Notice:
    """What stands on top of a page: `level` is ``stop``, ``look`` or ``info``.

    `link` leads to more, with its words; where `roles` are named, for these alone.
    """

    level: str
    text: str
    link: str = ""
    words: str = ""
    roles: Sequence[str] = ()


@frozen
class NightRow:
    """A night as its row says it; `ready` in words, `level` how bad that is (``ok``, ``look``, ``stop``)."""

    night: ConsoleNight
    ready: str
    level: str
    red: str


@frozen
class NightsPage:
    """The page of nights."""

    rows: Sequence[NightRow]
    chart: NightsChart | None
    before: date | None


@frozen
class NightPage:
    """One night."""

    row: NightRow
    stopped: Sequence[ConsoleCase]
    more_stopped: bool
    waiting: int
    reasons: Sequence[tuple[str, int]]
    canary: Sequence[Mapping[str, Any]]
    has_data_docs: bool


@frozen
class Worklist:
    """The worklist of a night; `patients` is empty for who may not see them."""

    night: date | None
    running: bool
    nights: Sequence[date]
    page: WorklistPage
    wanted: WorklistFilter
    scanners: Sequence[str]
    flags: Sequence[str]
    patients: Mapping[str, ConsolePatient]


@frozen
class CaseEventRow:
    """A change of state as the page lists it; `detail` is what the step noted, as pairs."""

    at: datetime
    step: str
    state: str
    detail: Sequence[tuple[str, str]]


@frozen
class CasePage:
    """One case. `staging` and `score` are None where nothing may be shown; `own_stage` is the visitor's, a reader."""

    case: ConsoleCase
    patient: ConsolePatient | None
    staging: CaseStaging | None
    score: NomogramScore | None
    drawing: NomogramDrawing | None
    no_nomogram: str
    pictures: Pictures | None
    window: tuple[float, float]
    facts: Mapping[str, Any]
    events: Sequence[CaseEventRow]
    objects: Sequence[tuple[ReportObject, bool]]
    report: ReportObject | None
    pdf: ReportObject | None
    overview: ReportObject | None
    others: Sequence[ConsoleCase]
    model_name: str
    words: Sequence[KeptWord]
    own_stage: OwnStage | None
    key_slice: KeySliceForm | None
    viewer: Sequence[tuple[str, str]] = field(factory=tuple)


@frozen
class AuditsPage:
    """Audits, newest first, and alarms: the open ones, then those that somebody has acknowledged.

    `before` is the run before which the list goes on; None at its end.
    """

    open_alarms: Sequence[RaisedAlarm]
    closed_alarms: Sequence[RaisedAlarm]
    runs: Sequence[ConsoleAudit]
    before: str | None


@frozen
class ModelPage:
    """One model version with what became of it, and its gate's verdict where it went through one."""

    model: ModelRecord
    history: Sequence[RegistryEvent]
    gate: Mapping[str, Any] | None
    has_card: bool
    shows_card: bool


def notices(console: Console) -> list[Notice]:
    """What is stopped, held back, late or alarmed, worst first; on top of every page."""
    site, now = console.site, console.site.clock.now()
    found = []
    if (stopped := site.switch.stopped()) is not None:
        words = f"Nothing is staged or sent: {stopped.sentence}."
        found.append(Notice("stop", words, "nights#service", "Resume", OPERATE))
    for alarm in site.audits.alarms(only_open=True):
        if alarm.level is AlarmLevel.STOP:
            found.append(Notice("stop", f"Alarm: {alarm.sentence}", "audits", "Alarms"))
    due, _, ready = due_night(site.config, now)
    nights = {night.night: night for night in site.book.nights(3)}
    last = nights.get(due)
    if last is None and nights:
        if now >= ready:
            found.append(Notice("look", f"The night of {due} has not begun; its worklist was due at {ready:%H:%M}."))
    elif last is not None and last.is_running and now >= ready:
        words = f"The night of {due} is late: its worklist was due at {ready:%H:%M} and it still runs."
        found.append(Notice("look", words, f"nights/{due}", "The night"))
    elif last is not None and last.is_running:
        found.append(
            Notice(
                "info", f"The night of {due} is running; results appear as they are done.", f"nights/{due}", "The night"
            )
        )
    return found


def nights_page(console: Console, before: date | None) -> NightsPage:
    """The last nights, or those before one."""
    found = console.site.book.nights(NIGHTS_SHOWN + 1, before)
    shown = found[:NIGHTS_SHOWN]
    rows = [_row(console, night) for night in shown]
    return NightsPage(rows, chart_of(shown), shown[-1].night if len(found) > NIGHTS_SHOWN else None)


def _row(console: Console, night: ConsoleNight) -> NightRow:
    config = console.site.config
    zone = ZoneInfo(config.night.timezone)
    due = datetime.combine(night.night + timedelta(days=1), config.night.ready_by, zone)
    red = why_red(night.summary, config)
    if night.is_running:
        late = console.site.clock.now() >= due
        again = " again" if night.closed_at is not None else ""
        words, level = (f"late, running{again}", "stop") if late else (f"running{again}", "look")
    elif night.closed_at is not None and night.opened_at >= due + _MADE_UP_FOR:
        words, level = f"run later, on {local(console, night.closed_at, '%Y-%m-%d')}", "look"
    elif night.reopened_at is not None and night.reopened_at >= due:
        words, level = "run again later", "look"
    elif night.closed_at is not None and night.closed_at > due:
        minutes = (night.closed_at - due).total_seconds() / 60
        words, level = f"{_duration(minutes)} late", "stop"
    else:
        words, level = "in time", "ok"
    return NightRow(night, words, level, red)


def _duration(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def night_page(console: Console, night: date, reader: CaseReader | None = None) -> NightPage | None:
    """One night; None where there was none."""
    book = console.site.book
    found = [one for one in book.nights(1, night + timedelta(days=1)) if one.night == night]
    if not found:
        return None
    summary = found[0].summary or {}
    stopped = book.stopped_cases(night, STOPPED_SHOWN + 1, reader)
    reasons: dict[str, int] = {}
    for case in stopped:
        reasons[case.reason_code or case.outcome] = reasons.get(case.reason_code or case.outcome, 0) + 1
    docs = console.site.files.kept_night_folder(night, "data_docs") / "index.html"
    return NightPage(
        row=_row(console, found[0]),
        stopped=stopped[:STOPPED_SHOWN],
        more_stopped=len(stopped) > STOPPED_SHOWN,
        waiting=len(summary.get("intake", {}).get("waiting", {})),
        reasons=sorted(reasons.items(), key=lambda pair: -pair[1]),
        canary=summary.get("canary", []),
        has_data_docs=docs.is_file(),
    )


def worklist(
    console: Console,
    night: date | None,
    wanted: WorklistFilter,
    after: WorklistPlace | None,
    *,
    named_for: str,
    reader: CaseReader | None,
) -> Worklist:
    """A night's worklist, the last one where none is named; with PatientIDs for `named_for`, whose look is noted.

    That its results are shown to the `reader` is noted too.
    """
    book = console.site.book
    nights = book.opened_nights(NIGHTS_SHOWN)
    night = night or book.last_night()
    if night is None:
        return Worklist(None, False, nights, WorklistPage([], None), wanted, [], [], {})
    page = book.worklist(night, wanted, CASES_A_PAGE, after, reader)
    scanners, flags = book.choices(night, reader)
    patients = book.patients([c.case_id for c in page.cases], by=named_for, why="worklist") if named_for else {}
    running = any(one.night == night and one.is_running for one in book.nights(1, night + timedelta(days=1)))
    known = [str(flag) for flag in FLAG_MEANINGS]
    readers.note_shown(console.site.words, page.cases, reader)
    return Worklist(night, running, nights, page, wanted, scanners, sorted(flags, key=_place_in(known)), patients)


def _place_in(order: Sequence[str]) -> Callable[[str], int]:
    return lambda name: order.index(name) if name in order else len(order)


def case_page(
    console: Console, case_id: str, *, by: str, named: bool, pixels: bool, reader: CaseReader | None
) -> CasePage:
    """One case; `named`: with its PatientID. That `by` looks is noted before anything is shown.

    A `reader` who gives their own stage first is shown neither the result nor what says something of it: what readers
    said, and earlier results of the patient.

    Raises
    ------
    KeyError
        There is no such case.
    """
    site = console.site
    case = site.book.case(case_id, reader)
    if named:
        patient = site.book.patients([case.case_id], by=by, why="case").get(case.case_id)
    else:
        patient = None
        site.trail.note("case.look", "case", case.case_id, by=by, outcome=SUCCESS)
    staging = site.cases.staging(case.case_id) if case.model_version is not None else None
    viewer = _viewer(console.settings, case, staging)
    staging = staging if case.shows_result else None
    score = site.cases.score(case.case_id) if case.shows_result and case.points is not None else None
    manifest, model_name = _manifest(site, case.model_version)
    drawing, no_nomogram = _nomogram(manifest, staging, score)
    objects = site.cases.objects(case.case_id) if case.shows_result else []
    taken = site.book.in_the_pacs(case.case_id)
    by_kind = {one.kind: one for one in objects}
    overview = by_kind.get(ObjectKind.SECONDARY_CAPTURE)
    shown = pixels and case.series_uid
    others = [] if case.is_withheld else site.book.others_of_patient(case.case_id, reader)
    readers.note_shown(site.words, [case, *others], reader)
    pictures = console.pictures.of(case.night, case.case_id, overview.file if overview else None) if shown else None
    return CasePage(
        case=case,
        patient=patient,
        staging=staging,
        score=score,
        drawing=drawing,
        no_nomogram=no_nomogram,
        pictures=pictures,
        window=manifest.contract.window_hu if manifest else (-125.0, 225.0),
        facts=site.cases.facts(case.case_id) or {},
        events=[_event(one, answer=case.shows_result) for one in site.cases.events(case.case_id)],
        objects=[(one, one.sop_instance_uid in taken) for one in objects],
        report=by_kind.get(ObjectKind.STRUCTURED_REPORT),
        pdf=by_kind.get(ObjectKind.ENCAPSULATED_PDF),
        overview=overview,
        others=others,
        model_name=model_name,
        words=[] if case.is_withheld else site.words.of_case(case.case_id),
        own_stage=readers.own_stage(site.words, case, reader),
        key_slice=key_slice_form(staging, pictures),
        viewer=viewer,
    )


def say(  # noqa: PLR0917 - as the form has them
    console: Console, case: ConsoleCase, by: str, kind: WordKind, seen: str, stage: TStage | None, why: str
) -> None:
    """Keep a radiologist's word on the result that their page showed.

    Raises
    ------
    InputRefused
        Their own stage comes first, the case carries another result than the page showed, or the word is not complete.
    """
    if case.is_withheld:  # before anything else: what is refused of a word would say what the result is
        raise InputRefused("your own stage comes first")
    about = console.site.words.result(case.case_id)
    if about.digest != seen:
        raise InputRefused("the result has changed since this page was opened")
    console.site.words.say(NewWord(about, Reader(by, READER_ROLE), kind, why, stage))
    get_logger("console").info("case.reader_word", case_id=case.case_id, kind=str(kind))


def withdraw(console: Console, case: ConsoleCase, by: str, number: int) -> None:
    """Take back a radiologist's word; raises `InputRefused` where it is none of theirs."""
    console.site.words.withdraw(case.case_id, number, Reader(by, READER_ROLE), "")
    get_logger("console").info("case.reader_word", case_id=case.case_id, kind=str(WordKind.WITHDRAWN))


def _manifest(site: ConsoleSite, version: str | None) -> tuple[ModelManifest | None, str]:
    """The manifest of a registered model, and its name; None where the registry does not know it, or it is of old."""
    if version is None:
        return None, ""
    try:
        record = site.registry.model(version)
    except KeyError:
        return None, ""
    try:
        return ModelManifest.from_json(record.manifest), record.name
    except (ModelArtefactError, KeyError, TypeError, ValueError):
        return None, record.name


def _nomogram(
    manifest: ModelManifest | None, staging: CaseStaging | None, score: NomogramScore | None
) -> tuple[NomogramDrawing | None, str]:
    """The drawn nomogram, or why there is none to draw."""
    if staging is None or staging.t_stage is None:
        return None, ""
    if score is None:
        if Flag.NO_NOMOGRAM in staging.flags:
            return None, "This model has no nomogram: the answer is the network's alone."
        return None, "The nomogram has not been computed for this case."
    if manifest is None or manifest.nomogram is None:
        return None, "The model is not in the registry, so its nomogram cannot be drawn; the points are below."
    try:
        return nomogram_of(manifest.nomogram, score), ""
    except ModelArtefactError:
        return None, "The model's nomogram cannot be drawn; the points are below."


def _viewer(settings: ConsoleConfig, case: ConsoleCase, staging: CaseStaging | None) -> list[tuple[str, str]]:
    """Links to the study, and to its key slice, in the PACS viewer."""
    if not settings.pacs_viewer:
        return []
    key = next((one.sop_instance_uid for one in staging.slices if one.role == "key"), "") if staging else ""
    fields = {"study_uid": case.study_uid, "series_uid": case.series_uid, "sop_instance_uid": key}
    return [("Open in the PACS viewer", settings.pacs_viewer.format(**fields))]


def _event(row: Mapping[str, Any], *, answer: bool) -> CaseEventRow:
    """A change of state; of what it noted, where the `answer` must not be shown, only what says nothing of it."""
    whole = answer or row["step"] in _BEFORE_THE_ANSWER
    noted = {name: value for name, value in row["detail"].items() if whole or name in _NO_ANSWER}
    detail = [(str(name).replace("_", " "), _short(value)) for name, value in noted.items()]
    return CaseEventRow(row["at"], str(row["step"]), str(row["state"]), detail)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value)) or "none"
    if isinstance(value, Mapping):
        return f"{len(value)} entries"
    text = str(value)
    return text if len(text) <= 160 else f"{text[:157]} ..."


def audits_page(console: Console, before: str = "") -> AuditsPage:
    """The last audits with their answers, or those before one, and every alarm."""
    found = console.site.book.audits(AUDITS_SHOWN + 1, before)
    shown = found[:AUDITS_SHOWN]
    alarms = list(reversed(console.site.audits.alarms()))
    return AuditsPage(
        [alarm for alarm in alarms if alarm.is_open],
        [alarm for alarm in alarms if not alarm.is_open],
        shown,
        shown[-1].run_id if len(found) > AUDITS_SHOWN else None,
    )


def models_page(console: Console) -> Sequence[RegisteredModel]:
    """Every model version: the champion first, then the newest."""
    return sorted(console.site.registry.all(), key=lambda model: model.state != "champion")


def model_page(console: Console, version: str) -> ModelPage:
    """One version; KeyError where it is not registered."""
    registry = console.site.registry
    model = registry.model(version)
    gate, card = registry.document(version, "gate"), registry.document(version, "model_card")
    return ModelPage(
        model, registry.history(version), gate, card is not None, card_page(console, version, "card.html") is not None
    )


def card_page(console: Console, version: str, document: str) -> Path | None:
    """A page of a registered version's card; None where there is none."""
    try:
        console.site.registry.model(version)
    except KeyError:
        return None
    path = console.site.config.training.models / "cards" / version / document
    return path if document in CARD_PAGES and path.is_file() else None


def flag_words(flag: str) -> str:
    """A flag as pages write it."""
    try:
        return FLAG_MEANINGS[Flag(flag)].words
    except ValueError:
        return flag.replace("_", " ")


_ASKING = frozenset(str(one) for one in ATTENTION)


def asks_attention(flag: str) -> bool:
    """Whether a flag asks a reader to look closer."""
    return flag in _ASKING


def local(console: Console, at: datetime | None, form: str = "%Y-%m-%d %H:%M") -> str:
    """A time in the hospital's zone."""
    return "" if at is None else at.astimezone(ZoneInfo(console.site.config.night.timezone)).strftime(form)


def audit_pdf(console: Console, run_id: str) -> Path | None:
    """The PDF of an audit; None where there is none."""
    from gtr_batch.audit.report_store import report_folder

    run = console.site.audits.run(run_id) if len(run_id) == 64 else None
    name = next((name for name in run.files if name.endswith(".pdf")), None) if run else None
    if run is None or name is None or Path(name).name != name:
        return None
    path = report_folder(console.site.config.audit.folder, run) / name
    return path if path.is_file() else None
