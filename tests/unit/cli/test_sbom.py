"""The bill of materials: what CycloneDX requires, every package once, the same every time."""

import json
from importlib.metadata import version
from pathlib import Path

from typer.testing import CliRunner

from gtr_batch.cli import app
from gtr_batch.cli.sbom import bill_of_materials


def test_the_bill_has_what_cyclonedx_requires(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["sbom", "--out", str(tmp_path / "sbom.json")])

    assert run.exit_code == 0, run.output
    bill = json.loads((tmp_path / "sbom.json").read_text())
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert bill["metadata"]["component"]["name"] == "gtr-batch"
    assert all(c["type"] == "library" and c["name"] and c["purl"] for c in bill["components"])
    references = [c["bom-ref"] for c in bill["components"]]
    assert len(references) == len(set(references))
    assert f"pkg:pypi/pydicom@{version('pydicom')}" in references


def test_the_bill_is_the_same_for_the_same_packages() -> None:
    assert bill_of_materials() == bill_of_materials()
