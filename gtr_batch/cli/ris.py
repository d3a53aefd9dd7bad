"""`gtr ris`: what the RIS is told of results, dead letters, sending them again; and what it says of merged patients."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from gtr_batch.cli.model_options import By, Json, Why
from gtr_batch.cli.shell import foreign, out, print_json, speaks_plainly
from gtr_batch.domain.message_channel import Channel, SendingState
from gtr_batch.errors import InputRefused

app = typer.Typer(help="Messages to the RIS about results, and from it about merged patients.")

_States = Annotated[
    list[SendingState] | None,
    typer.Option("--state", help="Only these; without it what waits and what is a dead letter."),
]


@app.command("send")
@speaks_plainly
def send(as_json: Json = False) -> None:
    """Send every message that is due; for cron or a systemd timer, beside the night's own task."""
    from gtr_batch.wiring import send_result_messages

    sent = send_result_messages()
    if as_json:
        print_json({"taken": sent.taken, "waiting": sent.waiting, "dead": sent.dead})
    else:
        out.print(f"{sent.taken} taken, {sent.waiting} wait, {sent.dead} became dead letters", highlight=False)


@app.command("list")
@speaks_plainly
def show(
    state: _States = None,
    most: Annotated[int, typer.Option(help="How many, the newest ones.", min=1)] = 100,
    as_json: Json = False,
) -> None:
    """Show messages with what became of them; never whose they are."""
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.wiring import open_messages

    with open_messages() as messages:
        found = messages.listed(state or [SendingState.WAITING, SendingState.DEAD], most)
    if as_json:
        print_json(to_json(found))
        return
    table = Table(
        "message", "to", "case", "version", "what", "state", "tries", "last answer", "next try (UTC)", box=None
    )
    for one in found:
        due = f"{one.next_try_at:%Y-%m-%d %H:%M}" if one.state is SendingState.WAITING else ""
        texts = (one.message_id, one.channel, one.case_id, one.version, one.kind, one.state, one.tries, one.answer, due)
        table.add_row(*(foreign(text) for text in texts))
    out.print(table if found else "nothing waits, and there is no dead letter")


@app.command("resend")
@speaks_plainly
def resend(
    message: Annotated[int, typer.Argument(help="Its number, as `gtr ris list` shows it.")],
    by: By,
    why: Why,
    channel: Annotated[Channel, typer.Option(help="To which system.")] = Channel.HL7,
) -> None:
    """Have a dead letter, or a message that was lost over there, sent once more, under the same control id."""
    from gtr_batch.wiring import open_messages

    if not by.strip() or not why.strip():
        raise InputRefused("--by and --why say who wants it and for what reason; both are kept")
    with open_messages() as messages:
        messages.resend(message, channel, by=by.strip(), why=why.strip())
    out.print(f"message {message} is sent by the next `gtr ris send`", highlight=False)


@app.command("listen")
@speaks_plainly
def listen() -> None:
    """Take ADT^A40 (patient merged) at ris.listen_port until the process is ended; a service of its own."""
    from gtr_batch import logs
    from gtr_batch.wiring import listen_for_merges

    logs.configure(level="INFO")
    listen_for_merges()


@app.command("apply-merges")
@speaks_plainly
def apply_merges(as_json: Json = False) -> None:
    """Give cases of merged patients the PatientID under which the PACS lists their studies now."""
    from gtr_batch.wiring import apply_patient_merges

    applied = apply_patient_merges()
    if as_json:
        print_json({"rekeyed": list(applied.rekeyed), "waiting": dict(applied.waiting)})
        return
    for case_id, reason in applied.waiting.items():
        out.print(f"{case_id}: {foreign(reason)}", highlight=False)
    out.print(f"{len(applied.rekeyed)} cases have another PatientID, {len(applied.waiting)} wait", highlight=False)
