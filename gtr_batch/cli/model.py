"""`gtr model`: which models there are, what is known of them, and who decided what about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gtr_batch.cli import model_canary, model_error_rates, model_gate, model_import, model_withdrawal
from gtr_batch.cli.model_options import By, Json, Shown, Version, Why, cards_of, shown_champion
from gtr_batch.cli.shell import foreign, out, print_json, speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.domain.gate import GateVerdict
    from gtr_batch.domain.lifecycle import RegistryEvent
    from gtr_batch.domain.model import ModelManifest

app = typer.Typer(help="Models: the registry, promotion, rollback, shadow, withdrawal.", no_args_is_help=True)
app.add_typer(model_import.app)
app.add_typer(model_error_rates.app)
app.add_typer(model_gate.app)
app.add_typer(model_withdrawal.app)
app.add_typer(model_canary.app)


@app.command("list")
@speaks_plainly
def list_models(as_json: Json = False) -> None:
    """List every registered model, newest first; where none was ever champion, the one that the settings name."""
    from gtr_batch.domain.lifecycle import CHAMPION
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.stage import read_version
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        models = gov.registry.all()
        staging = None
        if not gov.registry.champion_events():
            folder = gov.night.model_store.champion()
            staging = {"version": read_version(folder), "folder": str(folder)}
    if as_json:
        print_json({"models": to_json(models), "by_settings": staging})
        return
    table = Table("version", "name", "state", "registered", "cohort", box=None)
    for model in models:
        state = "[bold green]champion[/]" if model.state == CHAMPION else model.state
        registered = f"{model.registered_at:%Y-%m-%d %H:%M}"
        table.add_row(model.version[:12], foreign(model.name), state, registered, model.cohort_digest[:12])
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
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.governance.evaluation import openings_in_words, shadow_in_words
    from gtr_batch.governance.registry import check_registered, find, gate_verdict
    from gtr_batch.nomogram import check_model
    from gtr_batch.stage import read_manifest, verify
    from gtr_batch.wiring import open_governance

    history: Sequence[RegistryEvent] = ()
    gate: GateVerdict | None = None
    beside, opened = "", ""
    if version is not None and Path(version).is_dir():
        folder = Path(version)
    else:
        with open_governance() as gov:
            champion = gov.registry.champion()
            if version is None and champion is None:
                folder = gov.night.model_store.champion()
            else:
                wanted = find(gov.registry, version) if version else str(champion)
                folder = check_registered(gov.registry, wanted).folder
                history = gov.registry.history(wanted)
                gate = gate_verdict(gov.registry, wanted)
                beside, opened = shadow_in_words(gov, wanted), openings_in_words(gov, wanted)
    digest = verify(folder)
    manifest, _ = read_manifest(folder)
    if manifest.nomogram is not None:
        check_model(manifest.nomogram)
    if as_json:
        judged = to_json(gate) if gate else {}
        known = {"history": to_json(history), "gate": judged, "holdout": opened}
        print_json({"version": digest, **manifest.to_json(), **known})
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
        "calibration": _calibration(manifest),
        "rad-score": f"{len(manifest.rad_score.selected)} features selected",
        "nomogram": f"{nomogram.name}; thresholds {', '.join(f'{t:.2f}' for t in nomogram.thresholds)}"
        if nomogram
        else "not available for this model",
        "key slice": "automatic locator fitted" if manifest.key_slice_locator else "no automatic locator",
        "metrics": ", ".join(f"{k} {v}" for k, v in manifest.metrics.items()),
        "gate": f"{gate.verdict}: {gate.sentence}" if gate else "not asked",
        "holdout": opened or "never opened",
        "in shadow": beside or "never",
    }.items():
        out.print(f"[bold]{name:>14}[/]  {foreign(value)}", highlight=False)
    for event in history:
        decision = f"{event.action} by {event.by_whom}: {event.why}"
        out.print(f"[bold]{event.at:%Y-%m-%d %H:%M}[/]  {foreign(decision)}", highlight=False)


def _calibration(manifest: ModelManifest) -> str:
    """Temperature and priors in a line."""
    if manifest.priors is None:
        return f"not calibrated here: the stages' priors are not known; temperature {manifest.temperature:.3f}"
    trained, cohort = (
        "/".join(f"{100 * s:.0f}" for s in p) for p in (manifest.priors.training, manifest.priors.cohort)
    )
    return f"T1/T2/T3/T4 {trained} in training, {cohort} in the cohort; temperature {manifest.temperature:.3f}"


@app.command("diff")
@speaks_plainly
def diff(one: Version, other: Version, as_json: Json = False) -> None:
    """Show every field in which two models' manifests differ."""
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.governance.differences import differences
    from gtr_batch.governance.registry import find, known
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        a, b = (known(gov.registry, find(gov.registry, digits)) for digits in (one, other))
    found = differences(a.manifest, b.manifest)
    if as_json:
        print_json({"versions": [a.version, b.version], "differences": to_json(found)})
        return
    table = Table("field", a.version[:12], b.version[:12], box=None)
    for row in found:
        table.add_row(*map(foreign, (row.field, row.one, row.other)))
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
        wanted = [find(gov.registry, version)] if version else [m.version for m in gov.registry.all()]
        errors: dict[str, str | None] = {}
        for one in wanted:
            try:
                check_registered(gov.registry, one)
                errors[one] = None
            except ModelArtefactError as err:
                errors[one] = str(err)
    if as_json:
        print_json([{"version": v, "intact": error is None, "error": error} for v, error in errors.items()])
    else:
        for one, error in errors.items():
            out.print(f"{one[:12]}  " + ("intact" if error is None else f"[bold red]{escape(error)}[/]"))
    if any(errors.values()):
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
        cards_of(gov, version, by=by)
    out.print(f"{version[:12]} is the champion", highlight=False)


@app.command("shadow")
@speaks_plainly
def shadow(version: Version, by: By, why: Why) -> None:
    """Let a model stage every night beside the champion; its answers are kept apart and never sent."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.governance.promotion import to_shadow
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        chosen = find(gov.registry, version)
        with refusals_noted(gov.night.trail, "model.shadow", "model", chosen, by=by):
            to_shadow(gov.registry, chosen, by=by, why=why)
        cards_of(gov, chosen, by=by)
    out.print(f"{chosen[:12]} stages in shadow from the next night on", highlight=False)


@app.command("retire")
@speaks_plainly
def retire(version: Version, by: By, why: Why) -> None:
    """Take a candidate or a model in shadow out of use; it can come back."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.governance.promotion import retire as run
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        chosen = find(gov.registry, version)
        with refusals_noted(gov.night.trail, "model.retire", "model", chosen, by=by):
            run(gov.registry, chosen, by=by, why=why)
        cards_of(gov, chosen, by=by)
    out.print(f"{chosen[:12]} is retired", highlight=False)


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
    from gtr_batch.access import refusals_noted
    from gtr_batch.domain.lifecycle import Approval
    from gtr_batch.governance.promotion import promote as run
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        chosen, shown = find(gov.registry, version), shown_champion(gov, replaces)
        with refusals_noted(gov.night.trail, "model.promote", "model", chosen, by=by):
            run(gov.registry, chosen, Approval(chosen, shown, by, why), without_gate=without_gate)
        cards_of(gov, shown, chosen, by=by)
    out.print(f"{chosen[:12]} is the champion; nights that have begun keep the model they began with", highlight=False)


@app.command("rollback")
@speaks_plainly
def rollback(by: By, why: Why, replaces: Shown) -> None:
    """Bring back the champion before the present one."""
    from gtr_batch.access import refusals_noted
    from gtr_batch.governance.promotion import rollback as run
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        shown = shown_champion(gov, replaces)
        with refusals_noted(gov.night.trail, "model.rollback", "model", shown or "none", by=by):
            version = run(gov.registry, by=by, why=why, shown=shown)
        cards_of(gov, shown, version, by=by)
    out.print(f"{version[:12]} is the champion again", highlight=False)


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


@app.command("claim")
@speaks_plainly
def claim(
    version: Version,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output.")] = False,
) -> None:
    """Show the checklist of CLAIM 2024 for a model: where each item is reported, or that it is not."""
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.errors import InputRefused
    from gtr_batch.governance.card import claim_checklist
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    if as_json and as_csv:
        raise InputRefused("--json or --csv, not both")
    with open_governance() as gov:
        found = claim_checklist(gov.registry, find(gov.registry, version))
    if as_json:
        print_json(to_json(found) | {"counts": found.counts})
        return
    if as_csv:
        typer.echo(found.to_csv(), nl=False)
        return
    table = Table("", "item", "answer", "where", box=None)
    for line in found.lines:
        missing = f"not found: {'; '.join(line.missing)}" if line.missing else line.note
        where = ". ".join(filter(None, ("; ".join(one.words for one in line.where), missing)))
        table.add_row(str(line.number), foreign(line.topic), line.answer, foreign(where))
    out.print(table)
    out.print(", ".join(f"{n} {answer}" for answer, n in found.counts.items()), highlight=False)
