"""What operators and auditors decide on a page: a study staged at once, the service stopped, an alarm acknowledged.

Each is done under the name whom Airflow has signed in, noted in the audit trail, and answered by the page that shows
what came of it; what is refused says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date
from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from gtr_batch.access import refusals_noted
from gtr_batch.domain.access import FAILURE, SUCCESS
from gtr_batch.domain.case import PATH, CaseState
from gtr_batch.domain.console import ConsoleCase, Outcome
from gtr_batch.domain.identifiers import Uid
from gtr_batch.errors import CaseRejected, DatabaseRefused, GovernanceRefused, InputRefused
from gtr_batch.logs import get_logger
from gtr_console import airflow_runs
from gtr_console.airflow_api import start_run
from gtr_console.airflow_runs import AT_ONCE_DAG_ID, Run
from gtr_console.auth import Asking, Visitor, allowed, those
from gtr_console.given import Ours, url
from gtr_console.queries import OPERATE, Console

ACKNOWLEDGE = ("auditor", "admin")
#: What a person asks for at once may have begun or failed, and has no report yet.
_MAY_BE_TRIED = (Outcome.FAILED, Outcome.UNFINISHED)

router = APIRouter()


@router.post("/cases/{case_id}/retry", name="retry")
@allowed(those(*OPERATE))
def retry(request: Request, visitor: Asking, console: Ours, case_id: str) -> Response:
    """Try a case again at once that failed or was not finished: a run of `stage_now`."""
    try:
        case = console.site.book.case(case_id)
    except KeyError:
        raise HTTPException(404, "There is no such case.") from None
    if why := why_not_again(case):
        raise _not_done(why)
    _stage_at_once(request, visitor, console, case.study_uid, case)
    return RedirectResponse(url(request, "case", case_id=case.case_id) + "#runs", 303)


@router.post("/studies/stage", name="stage_study")
@allowed(those(*OPERATE))
def stage_study(request: Request, visitor: Asking, console: Ours, study_uid: Annotated[str, Form()] = "") -> Response:
    """Stage one study at once, by its Study Instance UID: a run of `stage_now`."""
    try:
        study = str(Uid(study_uid.strip()))
    except CaseRejected:
        raise _not_done("this is no Study Instance UID (digits and dots, at most 64 characters)") from None
    _stage_at_once(request, visitor, console, study)
    return RedirectResponse(url(request, "nights") + "#runs", 303)


@router.post("/service/stop", name="stop_service")
@allowed(those(*OPERATE))
def stop_service(request: Request, visitor: Asking, console: Ours, why: Annotated[str, Form()] = "") -> Response:
    """Stop the whole service: from now on nothing is staged and nothing is sent."""
    from gtr_batch.governance import switch

    with _refused_in_words(console, visitor, "service.stop", "switch", "service"):
        switch.stop(console.site, by=visitor.name, why=why)
    return RedirectResponse(url(request, "nights") + "#service", 303)


@router.post("/service/resume", name="resume_service")
@allowed(those(*OPERATE))
def resume_service(
    request: Request,
    visitor: Asking,
    console: Ours,
    why: Annotated[str, Form()] = "",
    stopped_at: Annotated[str, Form()] = "",
) -> Response:
    """Let the service work again, where the stop that holds is the one that the page showed."""
    from gtr_batch.governance import switch

    with _refused_in_words(console, visitor, "service.resume", "switch", "service"):
        found = console.site.switch.stopped()
        if found is not None and found.at.isoformat() != stopped_at:
            raise InputRefused("it was stopped once more since this page was opened; read why, then decide")
        switch.resume(console.site, by=visitor.name, why=why)
    return RedirectResponse(url(request, "nights") + "#service", 303)


@router.post("/alarms/{alarm_id}/acknowledge", name="acknowledge")
@allowed(those(*ACKNOWLEDGE))
def acknowledge(  # noqa: PLR0917 - as the form has them
    request: Request,
    visitor: Asking,
    console: Ours,
    alarm_id: int,
    note: Annotated[str, Form()] = "",
    watch_from: Annotated[str, Form()] = "",
) -> Response:
    """Close an alarm with what was found."""
    from gtr_batch.audit import alarms

    with _refused_in_words(console, visitor, "alarm.acknowledge", "alarm", str(alarm_id)):
        alarms.acknowledge(
            console.site.audits,
            alarm_id,
            by=visitor.name,
            note=note,
            watch_from=_date(watch_from) if watch_from else None,
        )
    return RedirectResponse(url(request, "audits") + "#acknowledged", 303)


def why_not_again(case: ConsoleCase) -> str:
    """Why a case is not tried again at once; empty where it may be."""
    if case.outcome not in _MAY_BE_TRIED:
        return f"the case is {case.outcome.words}: there is nothing to try again"
    if PATH.index(CaseState(case.reached)) >= PATH.index(CaseState.REPORTED):
        return "its report is written already, and is sent when its night is run again"
    return ""


def runs_of_case(case: ConsoleCase) -> list[Run]:
    """The runs of `stage_now` that were asked for this case or its study, or took it; newest first."""
    return [
        run
        for run in airflow_runs.at_once()
        if case.case_id in (*run.asked_cases, *run.case_ids) or case.study_uid in run.asked_studies
    ]


def _studies(console: Console, run: Run) -> set[str]:
    """The studies that a run was asked for."""
    found = set(run.asked_studies)
    for case_id in run.asked_cases:
        with suppress(KeyError):  # a run that was started by hand for what is no case
            found.add(console.site.book.case(case_id).study_uid)
    return found


def _stage_at_once(
    request: Request, visitor: Visitor, console: Console, study_uid: str, case: ConsoleCase | None = None
) -> None:
    """Start a run of `stage_now` for a study, or for a case of it, as the visitor; 409 where that is not done."""
    if (stopped := console.site.switch.stopped()) is not None:
        raise _not_done(f"{stopped.sentence}. Nothing is staged until somebody resumes it")
    active = [run for run in airflow_runs.at_once() if run.is_active]
    if waiting := next((run for run in active if study_uid in _studies(console, run)), None):
        raise _not_done(f"the run {waiting.run_id} is {waiting.state} for it already")
    if airflow_runs.is_paused(AT_ONCE_DAG_ID):
        raise _not_done(f"{AT_ONCE_DAG_ID} is paused in Airflow, where somebody has to let it run first")
    run_id = airflow_runs.next_run_id(f"console_{sha256(study_uid.encode()).hexdigest()[:16]}_")
    conf = {"case_ids": [case.case_id]} if case else {"study_uids": [study_uid]}
    kind, object_id = ("case", case.case_id) if case else ("study", study_uid)
    status = start_run(request, AT_ONCE_DAG_ID, run_id, conf)
    outcome = SUCCESS if status == 200 else FAILURE
    console.site.trail.note(f"{kind}.stage_now", kind, object_id, by=visitor.name, outcome=outcome, why=run_id)
    get_logger("console").info("run.asked_for", run_id=run_id, status=status)
    if status != 200:
        raise _not_done(_WHY_NOT.get(status, f"Airflow answered {status}; the log of its API server says why"))


_WHY_NOT = {
    401: "Airflow says that your session has ended; sign in again",
    403: f"Airflow does not let you start runs of {AT_ONCE_DAG_ID}; who administers Airflow can",
    404: f"Airflow knows no DAG {AT_ONCE_DAG_ID}",
    409: "somebody has started a run for it in this very moment",
}


@contextmanager
def _refused_in_words(console: Console, visitor: Visitor, action: str, kind: str, object_id: str) -> Iterator[None]:
    """Answer a refusal with our own sentence, and note it where it was one of governance or of the database."""
    try:
        with refusals_noted(console.site.trail, action, kind, object_id, by=visitor.name):
            yield
    except (InputRefused, GovernanceRefused) as err:
        raise _not_done(str(err)) from None
    except DatabaseRefused:
        raise _not_done("the database does not take it") from None


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputRefused("the night from which to watch anew is no date; write it as 2026-03-01") from None


def _not_done(why: str) -> HTTPException:
    return HTTPException(409, f"Nothing was done: {why}.")
