"""`gtr model`: which models there are, what is known of them, and who decided what about them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gtr_batch.cli import model_import
from gtr_batch.cli.shell import bars, out, print_json, speaks_plainly

app = typer.Typer(help="Models: the registry, promotion, rollback, shadow, withdrawal.", no_args_is_help=True)
app.command("import")(model_import.import_model)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Version = Annotated[str, typer.Argument(help="Version, or the digits that it begins with.")]
By = Annotated[str, typer.Option(help="Your name: who answers for this.")]
Why = Annotated[str, typer.Option(help="Why; kept for ever.")]
Shown = Annotated[str, typer.Option(help="The champion that you were shown (`gtr model list`), or 'none'.")]


@app.command("list")
@speaks_plainly
def list_models(as_json: Json = False) -> None:
    """List every registered model, newest first; where none was ever champion, the one that the settings name."""
    from gtr_batch.stage import read_version
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        rows = [dict(row) for row in gov.registry.all()]
        staging = None
        if not gov.registry.reigns():
            folder = gov.night.shelf.champion()
            staging = {"version": read_version(folder), "folder": str(folder)}
    if as_json:
        print_json({"models": rows, "by_settings": staging})
        return
    table = Table("version", "name", "state", "registered", "cohort", box=None)
    for row in rows:
        mark = "[bold green]champion[/]" if row["state"] == "champion" else row["state"]
        registered = f"{row['registered_at']:%Y-%m-%d %H:%M}"
        table.add_row(row["version"][:12], row["name"], mark, registered, row["cohort_digest"][:12])
    out.print(table)
    if staging is not None:
        out.print(
            f"No model was ever champion: {staging['version'][:12]} stages, because stage.artefact names it. "
            f"`gtr model adopt` writes that down.",
            highlight=False,
        )


@app.command("show")
@speaks_plainly
def show(
    version: Annotated[
        str | None, typer.Argument(help="Version or its first digits, or an artefact's folder; default: the champion.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a model's files against its manifest and show what it says, what the gate said and who decided what."""
    from gtr_batch.governance.registry import check_registered, find
    from gtr_batch.nomogram import check_model
    from gtr_batch.stage import read_manifest, verify
    from gtr_batch.wiring import open_governance

    history: list[dict[str, Any]] = []
    gate: Mapping[str, Any] = {}
    if version is not None and Path(version).is_dir():
        folder = Path(version)
    else:
        with open_governance() as gov:
            champion = gov.registry.champion()
            if version is None and champion is None:
                folder = gov.night.shelf.champion()
            else:
                whole = find(gov.registry, version) if version else str(champion)
                folder = Path(check_registered(gov.registry, whole)["folder"])
                history = [dict(event) for event in gov.registry.history(whole)]
                gate = gov.registry.document(whole, "gate") or {}
    digest = verify(folder)
    manifest, _ = read_manifest(folder)
    check_model(manifest.nomogram)
    if as_json:
        print_json({"version": digest, **manifest.to_json(), "history": history, "gate": dict(gate)})
        return
    contract, nomogram = manifest.contract, manifest.nomogram
    low, high = contract.window_hu
    n4 = f"N4 at shrink {contract.n4.shrink}" if contract.n4 else "no N4"
    for name, value in {
        "version": digest,
        "name": manifest.name + (" (demo, not for patients)" if manifest.demo else ""),
        "intended use": manifest.intended_use,
        "network": f"{manifest.architecture}, {manifest.backbone}, {manifest.feature_count} features, weights verified",
        "contract": f"{contract.spacing_mm:g} mm, {low:g} to {high:g} HU, {n4}, {contract.size} x {contract.size}",
        "temperature": f"{manifest.temperature:.3f}",
        "rad-score": f"{len(manifest.rad_score.selected)} features selected",
        "nomogram": f"{nomogram.name}; thresholds {', '.join(f'{t:.2f}' for t in nomogram.thresholds)}",
        "key slice": "automatic locator fitted" if manifest.key_slice_locator else "no automatic locator",
        "metrics": ", ".join(f"{k} {v}" for k, v in manifest.metrics.items()),
        "gate": f"{gate['verdict']}: {gate['sentence']}" if gate else "not asked",
    }.items():
        out.print(f"[bold]{name:>14}[/]  {value}", highlight=False)
    for event in history:
        said = f"{event['action']} by {event['by_whom']}: {event['why']}"
        out.print(f"[bold]{event['at']:%Y-%m-%d %H:%M}[/]  {said}", highlight=False)


@app.command("diff")
@speaks_plainly
def diff(one: Version, other: Version, as_json: Json = False) -> None:
    """Show every field in which two models' manifests differ."""
    from gtr_batch.governance.differences import differences
    from gtr_batch.governance.registry import find, known
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        a, b = (known(gov.registry, find(gov.registry, digits)) for digits in (one, other))
    found = differences(a["manifest"], b["manifest"])
    if as_json:
        print_json({"versions": [a["version"], b["version"]], "differences": found})
        return
    table = Table("field", a["version"][:12], b["version"][:12], box=None)
    for row in found:
        table.add_row(row["field"], row["one"], row["other"])
    out.print(table if found else "no difference", highlight=False)


@app.command("verify")
@speaks_plainly
def verify_files(
    version: Annotated[str | None, typer.Argument(help="Version or its first digits; default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Load registered models with every check: digest, class order, contract, architecture, every number."""
    from gtr_batch.errors import ModelArtefactError
    from gtr_batch.governance.registry import check_registered, find
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        wanted = [find(gov.registry, version)] if version else [m["version"] for m in gov.registry.all()]
        rows: list[dict[str, Any]] = []
        for one in wanted:
            try:
                check_registered(gov.registry, one)
                rows.append({"version": one, "whole": True, "error": None})
            except ModelArtefactError as err:
                rows.append({"version": one, "whole": False, "error": str(err)})
    if as_json:
        print_json(rows)
    for row in () if as_json else rows:
        out.print(f"{row['version'][:12]}  {'whole' if row['whole'] else '[bold red]' + row['error'] + '[/]'}")
    if not all(row["whole"] for row in rows):
        raise typer.Exit(3)


@app.command("adopt")
@speaks_plainly
def adopt(by: By, why: Why) -> None:
    """Write down the model that the settings name (stage.artefact) as the first champion."""
    from gtr_batch.governance.registry import adopt as run
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        config = gov.night.config
        version = run(gov.registry, config.training.models, config.stage.artefact, by=by, why=why)
    out.print(f"{version[:12]} is the champion", highlight=False)


@app.command("shadow")
@speaks_plainly
def shadow(version: Version, by: By, why: Why) -> None:
    """Let a model stage every night beside the champion; nothing of it leaves the house."""
    from gtr_batch.governance.promotion import to_shadow
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        whole = find(gov.registry, version)
        to_shadow(gov.registry, whole, by=by, why=why)
    out.print(f"{whole[:12]} stages in shadow from the next night on", highlight=False)


@app.command("retire")
@speaks_plainly
def retire(version: Version, by: By, why: Why) -> None:
    """Lay a candidate or a model in shadow aside; it can come back."""
    from gtr_batch.governance.promotion import retire as run
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        whole = find(gov.registry, version)
        run(gov.registry, whole, by=by, why=why)
    out.print(f"{whole[:12]} is retired", highlight=False)


@app.command("promote")
@speaks_plainly
def promote(
    version: Version,
    by: By,
    why: Why,
    replaces: Shown,
    without_gate: Annotated[
        bool, typer.Option("--without-gate", help="The gate could not tell, and you answer for it; never over a fail.")
    ] = False,
) -> None:
    """Make a model the champion and retire the one before it."""
    from gtr_batch.domain.lifecycle import Approval
    from gtr_batch.governance.card import write_card
    from gtr_batch.governance.promotion import promote as run
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        whole, shown = find(gov.registry, version), _shown(gov, replaces)
        run(gov.registry, whole, Approval(whole, shown, by, why), without_gate=without_gate)
        write_card(gov.registry, gov.night.config.training.models, whole, by=by)
    out.print(f"{whole[:12]} is the champion; nights that have begun keep the model they began with", highlight=False)


@app.command("rollback")
@speaks_plainly
def rollback(by: By, why: Why, replaces: Shown) -> None:
    """Bring back the champion before the present one."""
    from gtr_batch.governance.promotion import rollback as run
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        version = run(gov.registry, by=by, why=why, shown=_shown(gov, replaces))
    out.print(f"{version[:12]} is the champion again", highlight=False)


@app.command("withdraw")
@speaks_plainly
def withdraw(
    version: Version,
    by: By,
    why: Why,
    replaces: Shown,
    successor: Annotated[str | None, typer.Option(help="Who stages from now on, where it is the champion.")] = None,
    no_successor: Annotated[
        bool, typer.Option("--no-successor", help="Nobody: nights refuse to stage until a model is promoted.")
    ] = False,
) -> None:
    """Withdraw a model for good, and list every report of it that the PACS holds."""
    from gtr_batch.governance.registry import find
    from gtr_batch.governance.withdrawal import affected
    from gtr_batch.governance.withdrawal import withdraw as run
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        whole = find(gov.registry, version)
        after = find(gov.registry, successor) if successor else None
        run(
            gov.registry,
            whole,
            by=by,
            why=why,
            shown=_shown(gov, replaces),
            successor=after,
            no_successor=no_successor,
        )
        rows = affected(gov.registry, whole)
    due = sum(row["due"] for row in rows)
    out.print(f"{whole[:12]} is withdrawn; it made {len(rows)} reports, {due} stand in the PACS", highlight=False)
    out.print(f"look: gtr model reports {whole[:12]}", highlight=False)
    if due:
        out.print(f"then: gtr model notices {whole[:12]} --approve {due} --by NAME", highlight=False)


@app.command("reports")
@speaks_plainly
def reports(version: Version, as_json: Json = False) -> None:
    """List every structured report that a model produced, and what became of it."""
    from gtr_batch.governance.registry import find
    from gtr_batch.governance.withdrawal import affected
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        rows = affected(gov.registry, find(gov.registry, version))
    if as_json:
        print_json(rows)
        return
    table = Table("night", "case", "SOP Instance UID", "in the PACS", "superseded by", box=None)
    for row in rows:
        after = "a withdrawal notice" if row["notice_stored"] else ("a later result" if row["superseded"] else "")
        table.add_row(
            str(row["night"]), row["case_id"][:8], row["sop_instance_uid"], "yes" if row["stored"] else "no", after
        )
    out.print(table)


@app.command("notices")
@speaks_plainly
def notices(
    version: Version,
    by: By,
    approve: Annotated[int, typer.Option(help="How many reports you were shown to be superseded.")],
    as_json: Json = False,
) -> None:
    """Supersede the reports of a withdrawn model in the PACS, once you have seen the list."""
    from gtr_batch.errors import GovernanceRefused
    from gtr_batch.governance.registry import answered_for, find
    from gtr_batch.governance.withdrawal import affected, send_notices
    from gtr_batch.wiring import open_governance

    answered_for(by, "withdrawal notices")
    with open_governance() as gov, bars() as progress:
        whole = find(gov.registry, version)
        due = [row["sop_instance_uid"] for row in affected(gov.registry, whole) if row["due"]]
        if len(due) != approve:
            raise GovernanceRefused(
                f"{len(due)} reports of model {whole[:12]} are to be superseded, approved were {approve}; nothing is "
                f"sent. Look again: gtr model reports {whole[:12]}"
            )
        bar = progress.add_task("notices", total=len(due))
        found = send_notices(
            gov.night,
            gov.registry,
            whole,
            due,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
        gov.registry.attach(whole, "approval", {"notices": found, "approved": due}, by=by)
    if as_json:
        print_json(found)
    else:
        out.print(f"{found['sent']} reports superseded in the PACS, {len(found['failed'])} failed", highlight=False)
        for uid, sentence in found["failed"].items():
            out.print(f"[red]{uid}: {sentence}[/]", highlight=False)
    if found["failed"]:
        raise typer.Exit(1)


@app.command("card")
@speaks_plainly
def card(version: Version, by: By) -> None:
    """Write the model card as a page and as JSON, from what is known of the model now."""
    from gtr_batch.governance.card import write_card
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        path = write_card(gov.registry, gov.night.config.training.models, find(gov.registry, version), by=by)
    out.print(str(path), highlight=False)


def _shown(gov: Any, digits: str) -> str | None:
    from gtr_batch.governance.registry import find

    return None if digits == "none" else find(gov.registry, digits)
