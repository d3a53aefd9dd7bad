"""`gtr case`: one case as a person looks at it, and what a person decides about it, with name and reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gtr_batch.cli.model_options import By, Json, Why
from gtr_batch.cli.shell import foreign, out, print_json, speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.domain.case_history import CaseHistory

app = typer.Typer(help="One case: what is known of it, and what a person decides about it.", no_args_is_help=True)
CaseId = Annotated[str, typer.Option("--case", help="The case id, as `gtr status --json` prints it.")]


@app.callback()
def cases() -> None:
    """One case: what is known of it, and what a person decides about it."""


@app.command("show")
@speaks_plainly
def show(
    case: Annotated[str, typer.Argument(help="The case id, as `gtr status --json` prints it.")],
    by: Annotated[
        str, typer.Option(help="Your name: who looks at the patient. With --why, whose case it is is shown.")
    ] = "",
    why: Annotated[str, typer.Option(help="Why you must know whose case it is; kept permanently.")] = "",
    as_json: Json = False,
) -> None:
    """Show what is in the book for a case, what happened to it and who touched it; changes nothing."""
    from gtr_batch.governance.looking import look_at
    from gtr_batch.wiring import open_site

    with open_site() as site:
        found = look_at(site, case, by=by, why=why)
    if as_json:
        print_json(found.to_json())
    else:
        _show(found)


def _show(found: CaseHistory) -> None:
    from gtr_batch.cli.table import show_night

    show_night(out, found.night, [found.case])
    out.print(
        f"study {foreign(found.case.study_uid)}, series {foreign(found.case.series_uid or 'none')}", highlight=False
    )
    if found.patient is not None:
        who = found.patient.patient
        issuer = f" of {foreign(who.issuer)}" if who.issuer else ""
        accession = foreign(found.patient.accession_number or "none")
        out.print(
            f"PatientID {foreign(who.patient_id or 'none')}{issuer}, accession number {accession}", highlight=False
        )
    objects = Table("object", "SOP Instance UID", "in the PACS", box=None)
    for one in found.objects:
        objects.add_row(str(one.written.kind), one.written.sop_instance_uid, "yes" if one.stored else "no")
    events = Table("when (UTC)", "step", "state", "what", box=None)
    for event in found.events:
        what = ", ".join(f"{name}: {value}" for name, value in event.detail.items())
        events.add_row(_at(event.at), event.step, event.state, foreign(what))
    accesses = Table("when (UTC)", "who", "account", "login", "what", "how it ended", "why", box=None)
    for did in found.accesses:
        texts = map(foreign, (did.actor, did.os_user, did.db_user, did.action, did.outcome, did.why))
        accesses.add_row(_at(did.at), *texts)
    for table in (objects, events, accesses):
        if table.row_count:
            out.print(table)


def _at(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


@app.command("rekey")
@speaks_plainly
def rekey(
    case: CaseId,
    by: By,
    why: Why,
    patient_id: Annotated[
        str,
        typer.Option(
            help="PatientID that the study has in the PACS now; asked for where it is not given.",
            prompt="PatientID",
            hide_input=True,
        ),
    ],
    issuer: Annotated[str, typer.Option(help="Issuer of the PatientID, where the PACS keeps one.")] = "",
    as_json: Json = False,
) -> None:
    """Give a case another PatientID after a merge of patients in the PACS; its report is made anew and delivered."""
    from gtr_batch.domain.case import CaseState
    from gtr_batch.domain.identity import PatientIdentity
    from gtr_batch.governance.rekey import rekey as run
    from gtr_batch.wiring import open_site

    with open_site() as site:
        after = run(site, case, PatientIdentity(patient_id, issuer), by=by, why=why)
    if as_json:
        print_json({"case_id": after.case_id, "night": str(after.night), "state": str(after.state)})
        return
    out.print(f"{after.case_id[:8]} has another PatientID and is {after.state}", highlight=False)
    if after.state is CaseState.FOUND:
        out.print(f"then run its night again: gtr night --night {after.night}", highlight=False)
    elif after.refusal is not None:
        out.print(f"{after.refusal.code}: {after.refusal.sentence}", highlight=False, markup=False)


@app.command("reopen")
@speaks_plainly
def reopen(
    case: Annotated[str, typer.Argument(help="The case id, as `gtr status --json` prints it.")],
    by: By,
    why: Why,
    as_json: Json = False,
) -> None:
    """Take back a refusal: the case is retrieved and judged anew by the next run."""
    from gtr_batch.governance.reopening import reopen as taken_back
    from gtr_batch.wiring import open_site

    with open_site() as site:
        opened = taken_back(site, case, by=by, why=why)
    if as_json:
        print_json({"case_id": opened.case_id, "night": str(opened.night), "state": str(opened.state)})
    else:
        out.print(
            f"case {opened.case_id} is reopened: run its night again (`gtr night --night {opened.night}`); a "
            "night that still looks back on it takes it too",
            highlight=False,
        )


@app.command("confirm-slice")
@speaks_plainly
def confirm_slice(
    case: Annotated[str, typer.Argument(help="The case id, as `gtr status --json` prints it.")],
    by: By,
    why: Why,
    number: Annotated[
        int | None, typer.Option("--slice", help="Instance Number of the key slice, where it is another one.")
    ] = None,
    instance: Annotated[str | None, typer.Option(help="Its SOP Instance UID instead.")] = None,
    as_json: Json = False,
) -> None:
    """Confirm or move a key slice that was found automatically; cohorts take the case from then on."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.governance.confirm_slice import confirm_slice as confirmed
    from gtr_batch.wiring import open_governance

    with open_governance() as gov, refusals_noted(gov.night.trail, "case.confirm_slice", "case", case, by=by):
        word = confirmed(gov, case, by=by, why=why, number=number, instance=instance)
    if as_json:
        print_json({"case_id": word.case_id, "was": word.was, "slices": list(word.slices), "moved": word.moved})
    else:
        done = f"moved to {word.slices[1]}" if word.moved else "confirmed"
        out.print(f"the key slice of case {word.case_id} is {done}; cohorts take the case from now on", highlight=False)


@app.command("read")
@speaks_plainly
def read(
    case: Annotated[str, typer.Argument(help="The case id, as `gtr status --json` prints it.")],
    by: By,
    agree: Annotated[bool, typer.Option("--agree", help="The reader agrees with the stage.")] = False,
    overrule: Annotated[str, typer.Option(help="The reader gives another stage: T1, T2, T3 or T4.")] = "",
    withdraw: Annotated[int | None, typer.Option(help="Number of a word of yours to take back.")] = None,
    why: Annotated[str, typer.Option(help="Why; who overrules says it. No patient's name.")] = "",
    as_json: Json = False,
) -> None:
    """Keep a reader's word on a result, for a site without the console; who it is stands on the name alone."""
    from gtr_batch.domain.reader_word import Reader
    from gtr_batch.governance.reader_word import NAMED, word_of
    from gtr_batch.wiring import open_words

    reader = Reader(by, NAMED)
    with open_words() as words:
        number = word_of(words, case, reader, agree=agree, overrule=overrule, withdraw=withdraw, why=why)
    if as_json:
        print_json({"case_id": case, "word": number})
    else:
        out.print(f"word {number} on case {foreign(case)} is kept", highlight=False)


@app.command("words")
@speaks_plainly
def words(
    case: Annotated[str, typer.Argument(help="The case id, as `gtr status --json` prints it.")],
    as_json: Json = False,
) -> None:
    """List what readers said of a case's results, oldest first."""
    import attrs

    from gtr_batch.governance.reader_word import words_on
    from gtr_batch.wiring import open_words

    with open_words() as book:
        found = words_on(book, case)
    if as_json:
        print_json({"words": [attrs.asdict(word) for word in found]})
        return
    table = Table("word", "when (UTC)", "reader", "what", "own stage", "AI's shown", "holds", "why", box=None)
    for word in found:
        what = f"{word.kind.words} {word.t_stage or word.withdraws or ''}".strip()
        holds = "yes" if word.stands else "no"
        own = f"{word.own_stage}, {_at(word.own_stage_at)}" if word.own_stage and word.own_stage_at else ""
        shown = _at(word.ai_shown_at) if word.ai_shown_at else ""
        table.add_row(str(word.number), _at(word.at), foreign(word.reader), what, own, shown, holds, foreign(word.why))
    out.print(table)


@app.command("fhir")
@speaks_plainly
def fhir(
    case: Annotated[str, typer.Argument(help="The case id, as `gtr status --json` prints it.")],
    to: Annotated[Path, typer.Option("--out", help="The file to write; it holds the PatientID.", dir_okay=False)],
    by: By,
    why: Why,
) -> None:
    """Write a case's result as FHIR R4 (a transaction Bundle with DiagnosticReport and Observations) into a file."""
    from gtr_batch.wiring import fhir_of_case
    from gtr_batch.writing import write_text

    write_text(to, fhir_of_case(case, by=by, why=why))
    out.print(f"written: {foreign(to)}", highlight=False)
