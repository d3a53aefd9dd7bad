"""Data Docs: readable offline, and nothing of the patient in any file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from gtr_batch.config import ValidateConfig
from gtr_batch.validate import CaseFiles, validate_shard
from tests.phantoms import abdomen_hu, write_series

NAME, PATIENT_ID, BORN, DESCRIPTION = "Zzyzxova^Quirina", "MRN-8675309", "19310409", "Zzyzxova venous"
SECRETS = ("zzyzx", "quirina", "8675309", "19310409", "1931")
SMALL = ValidateConfig(min_slices=5, min_coverage_mm=10.0)


def _named(index: int, ds: Dataset) -> None:
    """Identity where it belongs, and where a careless technologist types it."""
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = NAME, PATIENT_ID, BORN
    ds.SeriesDescription = ds.ProtocolName = DESCRIPTION
    ds.ContrastBolusAgent = f"for {PATIENT_ID}"


def _named_and_thick(index: int, ds: Dataset) -> None:
    _named(index, ds)
    ds.SliceThickness = 9.0


@pytest.fixture(scope="module")
def volume() -> np.ndarray:
    return abdomen_hu(6, size=512)


@pytest.fixture(scope="module")
def docs(volume: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data Docs of two shards of one night, the first validated twice."""
    root = tmp_path_factory.mktemp("night")
    write_series(root / "good", volume, change=_named)
    write_series(root / "thick", volume, change=_named_and_thick)
    first = [CaseFiles("case-good", root / "good"), CaseFiles("case-thick", root / "thick")]
    validate_shard(first, SMALL, root / "docs")
    validate_shard(first, SMALL, root / "docs")
    validate_shard([CaseFiles("case-other", root / "good")], SMALL, root / "docs")
    return root / "docs"


def _texts(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("secret", SECRETS)
def test_data_docs_hold_nothing_of_the_patient(docs: Path, secret: str) -> None:
    texts = _texts(docs)

    assert len(texts) >= 7
    assert [name for name, text in texts.items() if secret in text.lower()] == []


def test_refusals_hold_nothing_of_the_patient(volume: np.ndarray, tmp_path: Path) -> None:
    def spoil(index: int, ds: Dataset) -> None:
        _named_and_thick(index, ds)
        if index == 2:
            ds.PatientID = f"{PATIENT_ID}-B"

    write_series(tmp_path / "case", volume, change=spoil)

    verdict = validate_shard([CaseFiles("case", tmp_path / "case")], SMALL)["case"]

    shown = f"{verdict!r} {json.dumps(dict(verdict.facts))}".lower()
    assert verdict.refusal is not None and verdict.refusal.code == "inconsistent_headers"
    assert [s for s in SECRETS if s in shown] == []


def test_data_docs_fetch_and_run_nothing(docs: Path) -> None:
    pages = {name: text for name, text in _texts(docs).items() if name.endswith(".html")}

    fetched = {name: re.findall(r"(?:src|href)=[\"']?(?:https?:)?//[^\"'> ]+|url\(\s*['\"]?https?:|<script", text)
               for name, text in pages.items()}  # fmt: skip

    assert len(pages) == 5
    assert {name: found for name, found in fetched.items() if found} == {}


def test_index_lists_every_case_of_every_shard_once(docs: Path) -> None:
    index = (docs / "index.html").read_text()

    assert [index.count(f"<code>{case}</code>") for case in ("case-good", "case-thick", "case-other")] == [1, 1, 1]
    assert index.count("slice_thickness") == 1
    assert "2 passed" in index and "1 refused" in index


def test_links_of_the_pages_lead_somewhere(docs: Path) -> None:
    for page in docs.rglob("*.html"):
        for target in re.findall(r'href="([^"#]+)"', page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"


def test_pages_say_which_checks_were_met_and_by_whom_not(docs: Path) -> None:
    headers = [p.read_text() for p in docs.glob("shards/*-headers.html")]

    assert all("thickness mm" in page and "1 to 5" in page for page in headers)
    refused = [page for page in headers if "not met</span><br>" in page]
    assert len(refused) == 1
    assert "<code>case-thick</code>: 6 instances" in refused[0]
    assert "<code>case-good</code>" not in refused[0]


def test_pages_and_their_facts_are_for_the_services_account_alone(docs: Path) -> None:
    files = [p for p in docs.rglob("*") if p.is_file() and p.suffix in (".html", ".json")]

    assert {p.stat().st_mode & 0o777 for p in files} == {0o600}
