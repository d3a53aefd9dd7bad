"""Probes: plain headers, HU evidence and coverage from a few instances, whatever state they are in."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset

from gtr_batch.domain.series import SeriesEvidence, SeriesRecord
from gtr_batch.intake import probe_indices, read_probe, select_portal_venous
from tests.phantoms import abdomen_hu, write_series


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_series(tmp_path_factory.mktemp("probe") / "series", abdomen_hu(3), thickness_mm=5.0)


def test_reads_headers_evidence_and_coverage(paths: list[Path]) -> None:
    headers, contrast, coverage = read_probe(paths, instances=40)

    assert headers["SeriesDescription"] == "Abdomen portal venous 3.0"
    assert headers["ImageType"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert contrast["aorta_hu"] == pytest.approx(150, abs=10)
    assert contrast["liver_hu"] == pytest.approx(110, abs=5)
    assert contrast["score_portal_venous"] > 0.6
    assert coverage == pytest.approx(195.0)


def test_keeps_no_identity_in_the_headers(paths: list[Path]) -> None:
    text = repr(read_probe(paths).headers).lower()

    assert not [word for word in ("phantom^test", "phantom-1", "1960", "acc1") if word in text]


def test_coverage_is_unknown_where_it_cannot_be_told(paths: list[Path]) -> None:
    assert read_probe(paths).coverage_mm is None
    assert read_probe(paths[:1], instances=40).coverage_mm is None


def test_a_prone_stack_is_turned_before_it_is_measured(tmp_path: Path) -> None:
    def turn(index: int, ds: Dataset) -> None:
        ds.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]

    prone = write_series(tmp_path / "prone", abdomen_hu(1)[:, ::-1, ::-1], change=turn)

    assert read_probe(prone).contrast["liver_hu"] == pytest.approx(110, abs=5)


def test_what_cannot_be_read_or_decoded_is_left_out(paths: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"not DICOM")
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(paths[0].read_bytes()[:-1000])

    assert read_probe([broken]).headers == {}
    assert read_probe([]).contrast == {}
    assert read_probe([cut]).contrast == {}
    assert read_probe([cut]).headers["Modality"] == "CT"
    assert read_probe([broken, paths[1]]).contrast["liver_hu"] == pytest.approx(110, abs=5)


def test_chooses_the_real_series_without_contrast_tags_as_portal_venous(shared_data: Path) -> None:
    """TCGA-COAD, Siemens: enhanced, and no ContrastBolusAgent, no phase in any description."""
    import pydicom

    folder = shared_data / "ct" / "tcga_coad_siemens"
    by_number = sorted(
        folder.glob("*.dcm"),
        key=lambda p: int(pydicom.dcmread(p, specific_tags=["InstanceNumber"], stop_before_pixels=True).InstanceNumber),
    )
    probe = read_probe([by_number[i] for i in probe_indices(len(by_number))], instances=len(by_number))
    record = SeriesRecord("1.1", "1.2", "CT", probe.headers["SeriesDescription"], instances=len(by_number))

    selection = select_portal_venous([SeriesEvidence(record, probe.headers, probe.contrast, probe.coverage_mm)])

    assert "ContrastBolusAgent" not in probe.headers
    assert selection.series_uid == "1.2"
    assert selection.confirmed
    assert [str(f) for f in selection.flags] == ["contrast_tags_absent"]
    assert probe.coverage_mm == pytest.approx(430.0)
