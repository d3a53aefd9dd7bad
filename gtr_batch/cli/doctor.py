"""`gtr doctor`: what works, what does not, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gtr_batch.cli import doctor_site
from gtr_batch.cli.finding import Finding
from gtr_batch.cli.shell import RED, foreign, out, print_json, speaks_plainly
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.errors import GtrError, ModelArtefactError

if TYPE_CHECKING:
    from gtr_batch.night.site import Site

app = typer.Typer()

PACKAGES = (
    "apache-airflow",
    "torch",
    "torchvision",
    "pydicom",
    "pynetdicom",
    "highdicom",
    "great-expectations",
    "grad-cam",
)
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"
WATCHED_WITHIN = timedelta(minutes=30)  # `gtr watch` is run every few minutes
_BESIDE = ("Airflow",)  # uses nothing of the site
_PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def _checks(site: Site) -> list[tuple[str, Callable[[Site], Finding]]]:
    return [
        (
            "settings",
            lambda h: Finding("settings", "ok", f"PACS {h.config.pacs.called_ae_title}, files {h.config.files.root}"),
        ),
        ("PACS, C-ECHO", _echo),
        ("PACS, C-FIND", _find),
        ("PACS, storage commitment", _commitment),
        ("database", _database),
        ("database, rights", _rights),
        ("stop switch", _switch),
        ("notices", _notices),
        ("file store", _store),
        ("model", _model),
        ("device", _device),
        ("canary", _canary),
        ("versions", _versions),
        *doctor_site.CHECKS,
    ]


def _echo(site: Site) -> Finding:
    site.archive.echo()
    pacs = site.config.pacs
    if not site.config.uses_dimse:
        return Finding("PACS, C-ECHO", "ok", f"{site.config.dicomweb.url} answers QIDO-RS; nothing goes by DIMSE")
    return Finding(
        "PACS, C-ECHO", "ok", f"{pacs.called_ae_title} at {pacs.host}:{pacs.port} answers {pacs.calling_ae_title}"
    )


def _find(site: Site) -> Finding:
    now = site.clock.now().replace(tzinfo=None)
    studies = site.archive.find_studies(now - timedelta(days=1), now)
    return Finding("PACS, C-FIND", "ok", f"{len(studies)} CT studies in the last 24 hours")


def _commitment(site: Site) -> Finding:
    name = "PACS, storage commitment"
    if site.config.dicomweb.deliver:
        return Finding(name, "ok", "DICOMweb has none (dicomweb.deliver): results are read back by QIDO-RS and WADO-RS")
    if site.config.pacs.commitment == "off":
        return Finding(name, "ok", "turned off (pacs.commitment): results are read back by C-FIND")
    # An instance that does not exist: a PACS that offers commitment answers "no such object instance".
    probe = ("1.2.840.10008.5.1.4.1.1.88.34", derived_uid("doctor", "no such instance"))
    answer = site.archive.commit([probe], site.config.pacs.commitment_timeout_s)
    if not answer.offered:
        mend = "nothing to mend if this PACS cannot: results are read back by C-FIND and each case says so"
        return Finding(name, "warn", "the PACS offers no storage commitment", mend)
    return Finding(name, "ok", "the PACS answers commitment requests")


def _database(site: Site) -> Finding:
    from gtr_batch.db import pending

    waiting = pending(site.config.database.dsn)
    if waiting:
        return Finding(
            "database",
            "red",
            f"{len(waiting)} migrations or views are not applied",
            "run `gtr migrate` as the owner role",
        )
    last = site.nights.last()
    return Finding("database", "ok", f"schema up to date; last night {last or 'none yet'}")


def _rights(site: Site) -> Finding:
    from gtr_batch.db import deciding_rights

    name, found = "database, rights", deciding_rights(site.config.database.dsn)
    if found:
        said = f"database.dsn, the night's login, may decide about models and settings: it is {', '.join(found)}"
        return Finding(name, "warn", said, _MEND[name])
    return Finding(name, "ok", "the night's login decides nothing")


def _switch(site: Site) -> Finding:
    stopped = site.switch.stopped()
    if stopped is not None:
        return Finding("stop switch", "red", stopped.sentence, _MEND["stop switch"])
    return Finding("stop switch", "ok", "the service may stage and send")


def _notices(site: Site) -> Finding:
    from gtr_batch.notify import channels_of

    name, channels = "notices", [channel.name for channel in channels_of(site.config.notify)]
    if not channels:
        return Finding(name, "warn", "nobody is told of a red or late night but by Airflow", _MEND[name])
    stuck = [one for one in site.notices.waiting() if one.channel in channels and one.tries]
    if stuck:
        first = stuck[0]
        said = f"{len(stuck)} notices were not delivered, the first ({first.subject}) after {first.tries} tries: "
        return Finding(name, "red", f"{said}{first.error}", _MEND[name])
    last = site.notices.last_look()
    if last is None or site.clock.now() - last > WATCHED_WITHIN:
        seen = "nobody has looked at the nights yet" if last is None else f"nobody looks since {last:%Y-%m-%d %H:%M %Z}"
        return Finding(name, "warn", f"{seen} (`gtr watch`)", _MEND[name])
    return Finding(name, "ok", f"told by {' and '.join(channels)}; looked at {last:%Y-%m-%d %H:%M %Z}")


def _store(site: Site) -> Finding:
    free, wanted = site.files.free_bytes() / 1024**3, site.config.files.min_free_gb
    if free < wanted:
        return Finding(
            "file store", "red", f"{free:.1f} GB free, {wanted:g} wanted", "free space or lower files.retention_days"
        )
    return Finding("file store", "ok", f"{site.config.files.root}: {free:.1f} GB free")


def _model(site: Site) -> Finding:
    from gtr_batch.nomogram import check_model
    from gtr_batch.stage import read_manifest, verify

    folder = site.model_store.champion()
    version, (manifest, _) = verify(folder), read_manifest(folder)
    if manifest.nomogram is not None:
        check_model(manifest.nomogram)
    if manifest.demo:
        return Finding(
            "model", "warn", f"{manifest.name} {version[:12]} is a demo", "set stage.artefact to a clinical artefact"
        )
    return Finding("model", "ok", f"{manifest.name} {version[:12]}, weights match the manifest")


def _device(site: Site) -> Finding:
    import torch

    from gtr_batch.stage import choose_device

    device = choose_device(site.config.stage.device)
    if str(device).startswith("cuda"):
        free, total = torch.cuda.mem_get_info()
        return Finding("device", "ok", f"{torch.cuda.get_device_name()}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
    return Finding("device", "ok", f"CPU, {torch.get_num_threads()} threads (no GPU in use)")


def _canary(site: Site) -> Finding:
    from gtr_batch.domain.canary import CanaryOutcome

    try:
        known = site.canaries.history(site.model_version) if site.canaries is not None else ()
    except ModelArtefactError:
        return Finding("canary", "warn", "no model that could have one", _MEND["model"])
    ran = [event for event in known if event.outcome is not CanaryOutcome.RECORDED]
    if not ran:
        return Finding("canary", "ok", "not staged yet: the next night begins with it" if known else "none known yet")
    last = ran[-1]
    state = {CanaryOutcome.PASSED: "ok", CanaryOutcome.FAILED: "red"}.get(last.outcome, "warn")
    said = f"{last.sentence} ({last.at:%Y-%m-%d %H:%M} UTC, {last.seconds:.1f} s)"
    return Finding("canary", state, said, "" if state == "ok" else _MEND["canary"])


def _versions(site: Site) -> Finding:
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    other = _unlike(CONSTRAINTS.read_text()) if CONSTRAINTS.is_file() else []
    if other:
        return Finding("versions", "warn", f"not as tested: {', '.join(other[:8])}", _MEND["versions"])
    return Finding("versions", "ok", found)


def _unlike(constraints: str) -> list[str]:
    """Packages that are installed in another version than the pinned one."""
    other = []
    for name, pinned in _PIN.findall(constraints):
        try:
            installed = importlib.metadata.version(name)
        except (importlib.metadata.PackageNotFoundError, ValueError):
            continue
        if installed != pinned:
            other.append(f"{name} {installed}, pinned {pinned}")
    return other


_MEND = {
    "settings": "see docs/operations.md, Settings",
    "PACS, C-ECHO": "check pacs.host, pacs.port and both AE titles, and that the PACS knows our AE title and address",
    "PACS, C-FIND": "ask the PACS administrator to allow Study Root C-FIND for our AE title",
    "PACS, storage commitment": "let the PACS reach pacs.commitment_port at our AE, or set pacs.commitment to 'off'",
    "database": "check database.dsn and that PostgreSQL runs, then `gtr migrate`",
    "stop switch": "find out why; `gtr resume --by NAME --why TEXT` ends it, under the governor's login",
    "notices": "set notify.smtp_* or notify.webhook_url, try `gtr watch --test`, and let a timer run `gtr watch`",
    "database, rights": "give the night a login in gtr_app alone, and persons theirs in gtr_governor (sql/README.md)",
    "file store": "check files.root: it must exist and be writable for this user only",
    "model": "set stage.artefact to an artefact folder; `gtr model show FOLDER` says what is wrong with it",
    "device": "set stage.device to 'auto' or 'cpu', or mend the GPU driver",
    "canary": "find what changed (docs/operations.md); `gtr model canary VERSION` tries again, `--record` ends it",
    "versions": "install what was tested: `make install-service`",
    **doctor_site.MEND,
}


def examine(site: Site) -> list[Finding]:
    """All checks, each on its own: one that fails does not hide the next."""
    with ThreadPoolExecutor(1) as beside:  # Airflow is asked in processes of its own, while we look at the rest
        asked = {name: beside.submit(_examined, site, name, check) for name, check in _checks(site) if name in _BESIDE}
        return [
            asked[name].result() if name in asked else _examined(site, name, check) for name, check in _checks(site)
        ]


def _examined(site: Site, name: str, check: Callable[[Site], Finding]) -> Finding:
    try:
        return check(site)
    except (GtrError, OSError, ImportError, RuntimeError) as error:
        return Finding(name, "red", f"{type(error).__name__}: {error}", _MEND[name])


@app.command("doctor")
@speaks_plainly
def doctor(as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False) -> None:
    """Check PACS, database, store, GPU, model and versions, and say how to mend what fails."""
    from gtr_batch.wiring import open_site

    with open_site() as site:
        findings = examine(site)
    red = any(f.state == "red" for f in findings)
    if as_json:
        print_json([{"check": f.check, "state": f.state, "found": f.found, "mend": f.mend} for f in findings])
    else:
        colour = {"ok": "green", "warn": "yellow", "red": "bold red"}
        for f in findings:
            out.print(f"[{colour[f.state]}]{f.state:>4}[/]  [bold]{f.check}[/]: {foreign(f.found)}", highlight=False)
            if f.mend:
                out.print(f"      mend: {foreign(f.mend)}", highlight=False)
    if red:
        raise typer.Exit(RED)
