"""`gtr model import`: weights from elsewhere as an artefact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gtr_batch.cli.shell import err, out, print_json, speaks_plainly
from gtr_batch.stage.importing import PUBLISHED_MD5


@speaks_plainly
def import_model(
    file: Annotated[Path, typer.Argument(help="torch.save of a plain ResNet's state dict with four outputs.")],
    to: Annotated[Path, typer.Option("--out", help="Folder of the artefact.")],
    md5: Annotated[str, typer.Option(help="MD5 that the file must have; empty: any.")] = PUBLISHED_MD5,
    backbone: Annotated[str, typer.Option(help="Its depth.")] = "resnet152",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
) -> None:
    """Make an artefact of the published checkpoint; nothing in the file is executed.

    ImageNet's weights are no model of stages: name their file as training.imagenet, and train.
    """
    from gtr_batch.nomogram import paper_table_3
    from gtr_batch.stage.importing import import_published

    with err.status("reading"):
        version = import_published(file, to, paper_table_3(), md5=md5, backbone=backbone)
    if as_json:
        print_json({"version": version, "folder": str(to)})
    else:
        out.print(f"model {version[:12]} in {to}: not calibrated, not fitted, not validated here", highlight=False)
