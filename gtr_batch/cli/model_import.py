"""`gtr model import`: weights from elsewhere as an artefact, and an artefact into the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtr_batch.cli.shell import err, out, print_json, speaks_plainly

app = typer.Typer()


@app.command("import")
@speaks_plainly
def import_model(
    source: Annotated[
        Path, typer.Argument(help="An artefact's folder; or torch.save of a plain ResNet's state dict, four outputs.")
    ],
    to: Annotated[Path | None, typer.Option("--out", help="Of a file: folder of the artefact that is made.")] = None,
    md5: Annotated[
        str | None, typer.Option(help="Of a file: MD5 that it must have; empty: any. Default: the published one's.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="Of a file: its depth.")] = "resnet152",
    by: Annotated[str, typer.Option(help="Of a folder: your name, who answers for the candidate.")] = "",
    why: Annotated[str, typer.Option(help="Of a folder: why; kept permanently.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Make an artefact of the published checkpoint (a file), or register an artefact (a folder) as a candidate.

    Nothing in a file is executed, and an artefact is checked in every way before it is registered. ImageNet's weights
    are no model of stages: name their file as training.imagenet, and train.
    """
    from gtr_batch.errors import InputRefused

    if source.is_dir():
        version, folder = _registered(source, by, why)
        result = f"model {version[:12]} is a candidate; its files are kept in {folder}"
    elif to is None:
        raise InputRefused(f"{source} is not an artefact's folder; of a checkpoint, name with --out where to put one")
    else:
        version, folder = _made(source, to, md5, backbone), to
        result = f"model {version[:12]} in {to}: not calibrated, not fitted, not validated here"
    if as_json:
        print_json({"version": version, "folder": str(folder)})
    else:
        out.print(result, highlight=False)


def _registered(source: Path, by: str, why: str) -> tuple[str, Path]:
    from gtr_batch.governance.registry import register_artefact
    from gtr_batch.wiring import open_governance

    with open_governance() as gov:
        models = gov.night.config.training.models
        version = register_artefact(gov.registry, models, source, by=by, why=why)
    return version, models / version


def _made(source: Path, to: Path, md5: str | None, backbone: str) -> str:
    from gtr_batch.stage.importing import PUBLISHED_MD5, import_published

    with err.status("reading"):
        return str(import_published(source, to, md5=PUBLISHED_MD5 if md5 is None else md5, backbone=backbone))
