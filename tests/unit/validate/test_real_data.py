"""Real CT and real oddities: each refused or passed for the right reason."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest

from gtr_batch.config import ValidateConfig
from gtr_batch.validate import CaseFiles, Verdict, validate_shard


def _case(root: Path, name: str, files: Sequence[Path]) -> CaseFiles:
    folder = root / name
    folder.mkdir()
    for number, path in enumerate(files):
        shutil.copy(path, folder / f"{number:04d}.dcm")
    return CaseFiles(name, folder)


@pytest.fixture(scope="module")
def verdicts(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Everything in the folder of real data, as one shard."""
    root = tmp_path_factory.mktemp("real")
    quirks = shared_data / "quirks"
    with tarfile.open(quirks / "dcmqa_ge_tilt_varspacing" / "series.tar.xz") as archive:
        archive.extractall(root / "ge", filter="data")
    philips = quirks / "dcmqa_philips_localizer_sc"
    cases = [
        CaseFiles("siemens", shared_data / "ct" / "tcga_coad_siemens"),
        _case(root, "jpeg2000", sorted((shared_data / "ct" / "totalsegmentator" / "example_ct_dicom").iterdir())),
        _case(root, "tilted head", sorted((root / "ge").rglob("*.dcm"))),
        _case(root, "localizer", [philips / "S1000" / "I10"]),
        _case(root, "dirfile", [philips / "S1000" / "DIRFILE"]),
        _case(root, "captures", sorted((philips / "S4010").iterdir())),
    ]
    cases += [_case(root, p.name, [p]) for p in sorted((quirks / "wg04_syntaxes").iterdir())]
    return validate_shard(cases, ValidateConfig())


@pytest.mark.slow
def test_passes_the_real_portal_venous_series(verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts["siemens"]

    assert verdict.ok, verdict.refusal
    assert verdict.facts["phase"] == "portal_venous"
    assert verdict.facts["contrast_agent"] is False
    assert (verdict.facts["slices"], verdict.facts["spacing_mm"]) == (87, 5.0)
    assert verdict.facts["aorta_hu"] == pytest.approx(135, abs=20)


@pytest.mark.parametrize(
    ("name", "code", "also"),
    [
        ("jpeg2000", "invalid_uid", "too_few_slices"),
        ("tilted head", "gantry_tilt", "slice_gap"),
        ("localizer", "not_primary_axial", "matrix"),
        ("captures", "not_primary_axial", "scrubbed_pixels"),
        ("CT1_J2KR", "too_few_slices", None),
        ("CT1_JPLL", "too_few_slices", None),
        ("CT1_JLSL", "too_few_slices", None),
        ("CT1_JLSN", "too_few_slices", None),
        ("CT1_J2KI", "too_few_slices", None),
        ("CT1_RLE", "not_primary_axial", "too_few_slices"),
        ("CT2_J2KR", "not_primary_axial", "slice_thickness"),
        ("dirfile", "unreadable_pixels", "too_few_slices"),
    ],
)
def test_refuses_each_oddity_for_the_right_reason(
    verdicts: dict[str, Verdict], name: str, code: str, also: str | None
) -> None:
    refusal = verdicts[name].refusal

    assert refusal is not None
    assert refusal.code == code
    assert also is None or also in refusal.numbers["also"]
    assert "unreadable_pixels" not in refusal.numbers["also"]


def test_says_how_far_the_gantry_was_tilted_and_how_uneven_the_steps_are(verdicts: dict[str, Verdict]) -> None:
    refusal = verdicts["tilted head"].refusal

    assert refusal is not None
    assert refusal.numbers["values"] == "18.5"
    assert refusal.numbers["failing"] == 28


@pytest.mark.parametrize("slice_name", ["CT1", "CT2"])
def test_every_lossless_syntax_decodes_to_the_same_pixels(shared_data: Path, slice_name: str) -> None:
    """JPEG lossless, JPEG-LS, JPEG 2000 and RLE of one slice; the near-lossless ones within their error."""
    folder = shared_data / "quirks" / "wg04_syntaxes"
    images = {
        kind: pydicom.dcmread(folder / f"{slice_name}_{kind}").pixel_array.astype(int)
        for kind in ("RLE", "JPLL", "JLSL", "J2KR", "JLSN", "J2KI")
    }

    worst = {kind: int(np.abs(image - images["RLE"]).max()) for kind, image in images.items()}

    assert {kind: worst[kind] for kind in ("JPLL", "JLSL", "J2KR")} == {"JPLL": 0, "JLSL": 0, "J2KR": 0}
    assert worst["JLSN"] <= 10
    assert np.corrcoef(images["J2KI"].ravel(), images["RLE"].ravel())[0, 1] > 0.99
