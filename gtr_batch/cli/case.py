"""`gtr case`: what a person decides about one case, with name and reason."""

from __future__ import annotations

from typing import Annotated

import typer

from gtr_batch.cli.model_options import By, Json, Why
from gtr_batch.cli.shell import out, print_json, speaks_plainly

app = typer.Typer(help="One case: what a person decides about it.", no_args_is_help=True)
CaseId = Annotated[str, typer.Option("--case", help="The case id, as `gtr status --json` prints it.")]


@app.callback()
def cases() -> None:
    """One case: what a person decides about it."""


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
