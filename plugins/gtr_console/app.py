"""The console's routes. Who may ask one stands beside it; one without that is refused to everybody.

All but what a reader says are read only; what else is decided on a page is in `gtr_console.actions`. A route that shows
a case reads it for its visitor (`visitor.reader`), and notes that a result is shown (`readers.note_shown`).
`docs/console.md` explains the pages to those who use them.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import jinja2
import structlog
from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware import Middleware

from gtr_batch.console.site import ConsoleSite
from gtr_batch.domain.console import ConsoleCase, Outcome, WorklistFilter, WorklistPlace
from gtr_batch.domain.printable import printable_value
from gtr_batch.domain.reader_word import LONGEST_WHY, Reader, WordKind
from gtr_batch.domain.staging import STAGES, TStage
from gtr_batch.errors import ConfigError, DatabaseBusy, DatabaseRefused, GtrError, InputRefused
from gtr_batch.logs import get_logger
from gtr_console import actions, key_slice, queries, readers
from gtr_console.airflow_runs import DAG_ID, at_once, night_of_run, runs_by_night, with_failed_tasks
from gtr_console.auth import (
    TOKEN_FIELD,
    Asking,
    Visitor,
    admit,
    allowed,
    both,
    everyone,
    those,
    who_see_patients,
    who_see_pixels,
)
from gtr_console.given import MountedApp, Ours, console_of
from gtr_console.given import url as _url
from gtr_console.protection import HEADERS, Bodies, Headers, Turns, with_own_styles
from gtr_console.queries import Console

_HERE = Path(__file__).parent
#: Read once: what can be fetched is these files and nothing else.
STATIC = {path.name: path.read_bytes() for path in sorted((_HERE / "static").iterdir()) if path.is_file()}
_TITLES = {
    401: "Not signed in",
    403: "Not for you",
    404: "Not found",
    409: "Not done",
    422: "Not found",
    503: "Not available now",
}
AT_ONCE_SHOWN, RUNS_SHOWN = 10, 20

Taken = TypeVar("Taken")

router = APIRouter()


def create_app(open_site: Callable[[], ConsoleSite] | None = None) -> FastAPI:
    """The console as an application of its own, to be mounted in Airflow's API server.

    Parameters
    ----------
    open_site : callable, optional
        Default `gtr_batch.wiring.open_console`, with the settings of this process's environment.
    """
    if open_site is None:
        from gtr_batch.wiring import open_console

        open_site = open_console
    handlers: dict[int | type[Exception], Any] = {
        StarletteHTTPException: _http_error,
        RequestValidationError: _no_such_page,
        GtrError: _our_error,
        Exception: _fault,
    }
    app = MountedApp(
        title="gtr-batch console",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(admit)],
        middleware=[Middleware(Headers), Middleware(Bodies), Middleware(Turns)],
        exception_handlers=handlers,
    )
    app.state.console = Console(open_site)
    app.include_router(router)
    app.include_router(actions.router)
    return app


@router.get("/", name="start")
@allowed(everyone)
def start(request: Request, visitor: Asking) -> Response:
    """The page that this visitor works with."""
    name = "worklist" if visitor.has("radiologist") else "nights"
    return RedirectResponse(_url(request, name), 303)


@router.get("/nights", name="nights")
@allowed(everyone)
def nights(request: Request, visitor: Asking, console: Ours, before: date | None = None) -> Response:
    """Page 1: what the nights came to."""
    page = queries.nights_page(console, before)
    asked = at_once()
    runs = runs_by_night(console.site.config, [row.night.night for row in page.rows], asked)
    stop = console.site.switch.stopped()
    return _page(
        request, visitor, "nights", page=page, runs=runs, at_once=asked[:AT_ONCE_SHOWN], stop=stop, before=before
    )


@router.get("/nights/{night}", name="night")
@allowed(everyone)
def night(request: Request, visitor: Asking, console: Ours, night: date) -> Response:
    """One night: its cases that did not end well, and why."""
    page = queries.night_page(console, night, visitor.reader)
    if page is None:
        raise HTTPException(404, f"There was no night of {night}.")
    runs = runs_by_night(console.site.config, [night], at_once()).get(night, [])
    return _page(request, visitor, "night", page=page, runs=with_failed_tasks(runs[:RUNS_SHOWN]))


@router.get("/run", name="run")
@allowed(everyone)
def run(request: Request, visitor: Asking, console: Ours, dag_id: str = "", run_id: str = "") -> Response:
    """The night of a run, as Airflow's tab beside the run asks for it."""
    found = night_of_run(console.site.config, run_id) if dag_id == DAG_ID else None
    if found is None:
        raise HTTPException(404, f"This run is no night: only runs of {DAG_ID} are.")
    return RedirectResponse(_url(request, "night", night=found), 303)


@router.get("/nights/{night}/data-docs/{path:path}", name="data_docs")
@allowed(everyone)
def data_docs(request: Request, visitor: Asking, console: Ours, night: date, path: str) -> Response:
    """A page of the night's validation (Great Expectations)."""
    folder = console.site.files.kept_night_folder(night, "data_docs").resolve()
    file = (folder / path).resolve()
    if not file.is_relative_to(folder) or file.suffix not in (".html", ".css") or not file.is_file():
        raise HTTPException(404, f"The night of {night} has no such page of its validation.")
    kind, text = mimetypes.guess_type(file.name)[0], file.read_bytes()
    return Response(text, 200, {"content-security-policy": with_own_styles(text)}, kind)


@router.get("/worklist", name="worklist")
@allowed(everyone)
def worklist(  # noqa: PLR0917 - as the address has them
    request: Request,
    visitor: Asking,
    console: Ours,
    night: date | None = None,
    stage: Annotated[list[str] | None, Query()] = None,
    outcome: Annotated[list[str] | None, Query()] = None,
    flag: str = "",
    scanner: str = "",
    read: str = "",
    after: str = "",
) -> Response:
    """Page 2: a night's cases in the order in which they are read."""
    wanted = WorklistFilter(
        stages=tuple(one for one in stage or () if one in STAGES),
        outcomes=tuple(one for one in outcome or () if one in set(Outcome)),
        flag=flag[:100],
        scanner=scanner[:200],
        read={"yes": True, "no": False}.get(read),
    )
    try:
        place = WorklistPlace.from_text(after) if after else None
        named_for = visitor.name if visitor.sees_patients else ""
        page = queries.worklist(console, night, wanted, place, named_for=named_for, reader=visitor.reader)
    except (ValueError, KeyError):
        raise HTTPException(404, "This link is not complete; open the worklist anew.") from None
    return _page(request, visitor, "worklist", page=page, wanted=wanted, first=not after)


@router.get("/cases/{case_id}", name="case")
@allowed(everyone)
def case(request: Request, visitor: Asking, console: Ours, case_id: str) -> Response:
    """Page 3: one case."""
    try:
        page = queries.case_page(
            console,
            case_id,
            by=visitor.name,
            named=visitor.sees_patients,
            pixels=visitor.sees_pixels,
            reader=visitor.reader,
        )
    except KeyError:
        raise _no_case() from None
    return _page(request, visitor, "case", page=page, runs=actions.runs_of_case(page.case))


@router.post("/cases/{case_id}/own-stage", name="own_stage")
@allowed(those("radiologist"))
def own_stage(  # noqa: PLR0917 - as the form has them
    request: Request,
    visitor: Asking,
    console: Ours,
    case_id: str,
    result: Annotated[str, Form()] = "",
    stage: Annotated[str, Form()] = "",
) -> Response:
    """A reader gives a stage of their own, before the AI's is shown to them."""
    found = _case(console, visitor, case_id)
    assert visitor.reader is not None  # a radiologist
    try:
        readers.give_own_stage(console.site.words, found, visitor.reader, result, TStage(stage))
    except (InputRefused, DatabaseRefused, ValueError) as err:
        raise _not_kept(err, "stage") from None
    return RedirectResponse(_url(request, "case", case_id=found.case_id), 303)


@router.post("/cases/{case_id}/words", name="say")
@allowed(those("radiologist"))
def say(  # noqa: PLR0917 - as the form has them
    request: Request,
    visitor: Asking,
    console: Ours,
    case_id: str,
    kind: Annotated[str, Form()] = "",
    result: Annotated[str, Form()] = "",
    stage: Annotated[str, Form()] = "",
    why: Annotated[str, Form()] = "",
) -> Response:
    """A reader agrees with the result that they were shown, or overrules it."""
    found = _case(console, visitor, case_id)
    try:
        said = WordKind(kind)
        given = TStage(stage) if stage and said is WordKind.OVERRULE else None
        queries.say(console, found, visitor.name, said, result, given, why)
    except (InputRefused, DatabaseRefused, ValueError) as err:
        raise _not_kept(err) from None
    return RedirectResponse(_url(request, "case", case_id=found.case_id) + "#words", 303)


@router.post("/cases/{case_id}/key-slice", name="say_of_key_slice")
@allowed(both(those("radiologist"), who_see_pixels))
def say_of_key_slice(  # noqa: PLR0917 - as the form has them
    request: Request,
    visitor: Asking,
    console: Ours,
    case_id: str,
    kind: Annotated[str, Form()] = "",
    result: Annotated[str, Form()] = "",
    stack: Annotated[str, Form()] = "",
    number: Annotated[int | None, Form()] = None,
    why: Annotated[str, Form()] = "",
) -> Response:
    """A reader confirms the key slice that they were shown, or moves it to the slice of this number."""
    found = _case(console, visitor, case_id)
    by = Reader(visitor.name, queries.READER_ROLE)
    try:
        key_slice.say_of_key_slice(console, found, by, WordKind(kind), result, stack, number, why)
    except (InputRefused, DatabaseRefused, ValueError) as err:
        raise _not_kept(err) from None
    return RedirectResponse(_url(request, "case", case_id=found.case_id) + "#words", 303)


@router.post("/cases/{case_id}/words/{number}/withdraw", name="withdraw")
@allowed(those("radiologist"))
def withdraw(request: Request, visitor: Asking, console: Ours, case_id: str, number: int) -> Response:
    """A reader takes back a word of theirs."""
    found = _case(console, visitor, case_id)
    try:
        queries.withdraw(console, found, visitor.name, number)
    except (InputRefused, DatabaseRefused) as err:
        raise _not_kept(err) from None
    return RedirectResponse(_url(request, "case", case_id=found.case_id) + "#words", 303)


def _not_kept(err: Exception, what: str = "word") -> HTTPException:
    """What a person is told of what was not kept: our own sentence, or nothing of what was sent."""
    sentence = str(err) if isinstance(err, InputRefused) else "it is not complete, or the result has changed meanwhile"
    return HTTPException(404, f"The {what} was not kept: {sentence}. Open the case again.")


@router.get("/cases/{case_id}/slices/{index}", name="slice")
@allowed(who_see_pixels)
def slice_pixels(request: Request, visitor: Asking, console: Ours, case_id: str, index: int) -> Response:
    """A slice in HU: int16, little endian, row by row; how many in the headers ``X-Rows`` and ``X-Columns``."""
    found = _pixels_of(console, visitor, case_id)
    try:
        hu = console.pictures.slice_hu(found.night, found.case_id, index)
    except KeyError:
        raise HTTPException(404, "This slice is not there, or cannot be read.") from None
    rows, columns = hu.shape
    return Response(hu.tobytes(), 200, {"X-Rows": str(rows), "X-Columns": str(columns)}, "application/octet-stream")


@router.get("/cases/{case_id}/heat/{place}", name="heat")
@allowed(who_see_pixels)
def heat(request: Request, visitor: Asking, console: Ours, case_id: str, place: int) -> Response:
    """The heat map of a staged slice (0: below, 1: key, 2: above): a byte a pixel, 255 the hottest."""
    found = _pixels_of(console, visitor, case_id, result=True)
    try:
        map_ = console.pictures.heat(found.night, found.case_id, place)
    except KeyError:
        raise HTTPException(404, "No heat map was kept for this slice.") from None
    readers.note_shown(console.site.words, [found], visitor.reader)
    rows, columns = map_.shape
    return Response(map_.tobytes(), 200, {"X-Rows": str(rows), "X-Columns": str(columns)}, "application/octet-stream")


@router.get("/cases/{case_id}/overview.png", name="overview")
@allowed(who_see_pixels)
def overview(request: Request, visitor: Asking, console: Ours, case_id: str) -> Response:
    """The overview picture that went to the PACS."""
    found = _pixels_of(console, visitor, case_id, result=True)
    take = console.pictures.overview_png
    picture = _written(console, visitor, found, "secondary_capture", take, "The overview picture")
    return Response(picture, media_type="image/png")


@router.get("/cases/{case_id}/report.dcm", name="report")
@allowed(who_see_patients)
def report(request: Request, visitor: Asking, console: Ours, case_id: str) -> Response:
    """The structured report as a DICOM file; it names the patient."""
    found = _with_result(_case(console, visitor, case_id))
    take = console.pictures.report_file
    path = _written(
        console, visitor, found, "structured_report", take, "The structured report", names_for="structured report"
    )
    return FileResponse(path, media_type="application/dicom", filename=f"report-{found.case_id[:8]}.dcm")


@router.get("/cases/{case_id}/page.pdf", name="page_pdf")
@allowed(who_see_patients)
def page_pdf(request: Request, visitor: Asking, console: Ours, case_id: str) -> Response:
    """The case's page as the PACS got it (`report.pdf`); it names the patient."""
    found = _with_result(_case(console, visitor, case_id))
    take = console.pictures.page_pdf
    pdf = _written(console, visitor, found, "encapsulated_pdf", take, "The page", names_for="page of the case")
    named = {"content-disposition": f'attachment; filename="page-{found.case_id[:8]}.pdf"'}
    return Response(pdf, 200, named, "application/pdf")


@router.get("/audits", name="audits")
@allowed(everyone)
def audits(request: Request, visitor: Asking, console: Ours, before: str = "") -> Response:
    """Page 5: audits with their answers, and alarms."""
    return _page(request, visitor, "audits", page=queries.audits_page(console, before), before=before)


@router.get("/audits/{run_id}/report.pdf", name="audit_report")
@allowed(those("auditor", "admin", "operator"))
def audit_report(request: Request, visitor: Asking, console: Ours, run_id: str) -> Response:
    """An audit's report."""
    path = queries.audit_pdf(console, run_id)
    if path is None:
        raise HTTPException(404, "There is no such report, or it cannot be reached from here.")
    return FileResponse(path, media_type="application/pdf", filename=f"audit-{path.parent.parent.name}.pdf")


@router.get("/models", name="models")
@allowed(those("auditor", "admin", "operator"))
def models(request: Request, visitor: Asking, console: Ours) -> Response:
    """Page 5: model versions."""
    return _page(request, visitor, "models", models=queries.models_page(console))


@router.get("/models/{version}", name="model")
@allowed(those("auditor", "admin", "operator"))
def model(request: Request, visitor: Asking, console: Ours, version: str) -> Response:
    """One version: verdict, history, who approved."""
    try:
        page = queries.model_page(console, version)
    except KeyError:
        raise HTTPException(404, "There is no such model version.") from None
    return _page(request, visitor, "model", page=page)


@router.get("/models/{version}/card/{document}", name="model_card")
@allowed(those("auditor", "admin", "operator"))
def model_card(request: Request, visitor: Asking, console: Ours, version: str, document: str) -> Response:
    """A page of a version's card: the card itself, the checklist of CLAIM 2024, the training report."""
    path = queries.card_page(console, version, document)
    if path is None:
        raise HTTPException(404, "This version has no such page of a card, or it cannot be reached from here.")
    text = path.read_bytes()
    return Response(text, 200, {"content-security-policy": with_own_styles(text, drawn=True)}, "text/html")


@router.get("/static/{name}", name="static")
@allowed(everyone)
def static(request: Request, visitor: Asking, name: str) -> Response:
    """A file of the page's own: the style, and the scripts."""
    if name not in STATIC:
        raise HTTPException(404, "There is no such file.")
    return Response(STATIC[name], media_type=mimetypes.guess_type(name)[0])


def _no_case() -> HTTPException:
    return HTTPException(404, "There is no such case. Perhaps the link is not complete.")


def _case(console: Console, visitor: Visitor, case_id: str) -> ConsoleCase:
    try:
        return console.site.book.case(case_id, visitor.reader)
    except KeyError:
        raise _no_case() from None


def _with_result(found: ConsoleCase) -> ConsoleCase:
    """The case, where its result may be shown to whom it was read for."""
    if found.is_withheld:
        raise HTTPException(403, readers.WITHHELD)
    if not found.shows_result:
        raise HTTPException(404, "This case has no result that may be shown.")
    return found


def _pixels_of(console: Console, visitor: Visitor, case_id: str, *, result: bool = False) -> ConsoleCase:
    """A case whose images, or its `result` in them, are about to be shown; that this visitor looks is noted first."""
    found = _case(console, visitor, case_id)
    found = _with_result(found) if result else found
    console.note_pixels(visitor.name, found.case_id)
    return found


def _written(  # noqa: PLR0917 - what is given is what differs
    console: Console,
    visitor: Visitor,
    found: ConsoleCase,
    kind: str,
    take: Callable[[date, str, str], Taken],
    called: str,
    *,
    names_for: str = "",
) -> Taken:
    """What was written of a case, whose result is shown by it; 404 where it is gone.

    Where it names the patient, `names_for` says for what; that is noted before.
    """
    file = _object_file(console, found, kind)
    if names_for:
        console.site.book.patients([found.case_id], by=visitor.name, why=names_for)
    try:
        taken = take(found.night, found.case_id, file)
    except KeyError:
        raise HTTPException(404, f"{called} is not there any more.") from None
    readers.note_shown(console.site.words, [found], visitor.reader)
    return taken


def _object_file(console: Console, found: ConsoleCase, kind: str) -> str:
    """Name of a written object of a case that shows its result."""
    objects = console.site.cases.objects(found.case_id) if found.shows_result else []
    for one in objects:
        if one.kind == kind:
            return one.file
    raise HTTPException(404, "Nothing of this kind was written for the case, or it may not be shown.")


# Pages


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable_value,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,  # a template is compiled once; a new version comes with a new process
    )
    environment.filters["flag_words"] = queries.flag_words
    environment.tests["attention"] = queries.asks_attention
    return environment


TEMPLATES = _environment()


def _page(request: Request, visitor: Visitor, template: str, **values: Any) -> HTMLResponse:
    console = console_of(request)
    text = TEMPLATES.get_template(f"{template}.html.jinja").render(
        url=partial(_url, request),
        airflow=str(request.scope.get("app_root_path", "")),
        here=str(request.scope["root_path"]),
        visitor=visitor,
        token_field=TOKEN_FIELD,
        section=template,
        notices=queries.notices(console),
        dag_id=DAG_ID,
        zone=console.site.config.night.timezone,
        local=partial(queries.local, console),
        stages=list(STAGES),
        outcomes=list(Outcome),
        longest_why=LONGEST_WHY,
        operate=queries.OPERATE,
        acknowledgers=actions.ACKNOWLEDGE,
        why_not_again=actions.why_not_again,
        **values,
    )
    return HTMLResponse(text)


# Errors


def _http_error(request: Request, error: StarletteHTTPException) -> Response:
    return _answer(request, error.status_code, str(error.detail), error.headers)


def _no_such_page(request: Request, _: RequestValidationError) -> Response:
    """A path or a question that does not read as it should; what was asked is not repeated."""
    return _answer(request, 404, "There is no such page. Perhaps the link is not complete.")


def _our_error(request: Request, error: GtrError) -> Response:
    if isinstance(error, DatabaseBusy):
        return _answer(request, 503, "The database does not answer in time. Try again in a moment.")
    log = get_logger("console")
    log.error("console.refused", error=type(error).__name__, sentence=str(error))
    if isinstance(error, ConfigError):
        return _answer(request, 503, "The console is not set up; the log of Airflow's API server says what is missing.")
    return _answer(request, 500, "Something went wrong; the log of Airflow's API server says what.")


def _fault(request: Request, error: Exception) -> Response:
    structlog.get_logger("gtr_console").error("console.fault", error=type(error).__name__)
    return _answer(request, 500, "Something went wrong; the log of Airflow's API server says what.")


def _answer(request: Request, status: int, sentence: str, headers: Any = None) -> Response:
    """A page that says what is the matter; plain text where no page was asked for. It shows no data."""
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(sentence, status, {**HEADERS, **(headers or {})})
    login = ""
    if status == 401:
        from airflow.api_fastapi.app import get_auth_manager

        login = get_auth_manager().get_url_login()
    text = TEMPLATES.get_template("error.html.jinja").render(
        title=_TITLES.get(status, "Something went wrong"),
        sentence=sentence if status != 401 else "You are not signed in, or your session has ended.",
        login=login,
        style="" if status in (401, 403) else _url(request, "static", name="console.css"),
        start="" if status in (401, 403) else _url(request, "start"),
    )
    return HTMLResponse(text, status, {**HEADERS, **(headers or {})})
