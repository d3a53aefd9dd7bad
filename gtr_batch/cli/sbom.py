"""``gtr sbom``: the software bill of materials of the environment that runs, as CycloneDX JSON."""

from __future__ import annotations

import json
import re
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated
from uuid import uuid5

import typer

from gtr_batch import __version__
from gtr_batch.cli.shell import speaks_plainly
from gtr_batch.domain.identifiers import NAMESPACE
from gtr_batch.writing import READABLE, write_text


@speaks_plainly
def sbom(
    to: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
) -> None:
    """List every Python package that is installed here, with version and licence, as CycloneDX 1.6 JSON."""
    text = json.dumps(bill_of_materials(), indent=1, sort_keys=True) + "\n"
    if to is None:
        typer.echo(text, nl=False)
    else:
        write_text(to, text, mode=READABLE)


def bill_of_materials() -> dict[str, object]:
    """The bill; the same for the same packages.

    References
    ----------
    CycloneDX 1.6 (ECMA-424): ``bomFormat``, ``specVersion``, and of each component ``type`` and ``name`` are required.
    """
    components = sorted(_components().values(), key=lambda c: str(c["name"]))
    product = _component("gtr-batch", __version__, "MIT") | {"type": "application"}
    listed = [c for c in components if c["name"] != "gtr-batch"]
    serial = uuid5(NAMESPACE, json.dumps([product, listed], sort_keys=True))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": product},
        "components": listed,
    }


def _components() -> dict[str, dict[str, object]]:
    found = {}
    for one in distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()  # as package indexes normalise names
        found[name] = _component(name, one.version, str(one.metadata.json.get("license_expression", "")))
    return found


def _component(name: str, version: str, licence: str) -> dict[str, object]:
    purl = f"pkg:pypi/{name}@{version}"
    known = {"licenses": [{"expression": licence}]} if licence else {}
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, **known}
