"""Every object before other people's eyes: dciodvfy, PixelMed's SR validator and DCMTK."""

from __future__ import annotations

import subprocess
from pathlib import Path

import attrs
import pydicom
import pytest
from pydicom import Dataset

from gtr_batch.config import ReportConfig
from gtr_batch.domain.clinical import Covariates, Differentiation
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.staging import Flag, StageSet, TStage
from gtr_batch.report import write_case, write_refusal
from tests.builders import (
    MODEL_VERSION,
    a_case,
    a_geometry,
    a_heat,
    a_manifest,
    a_score,
    a_series,
    a_staging,
    an_overlay,
    not_staged,
    page_drawings,
)
from tests.spoilt_sources import SIZE as SMALL
from tests.spoilt_sources import a_spoilt_series, written

SIZE = 32
A_TIE = [(0.7, 0.1, 0.1, 0.1), (0.1, 0.7, 0.1, 0.1), (0.1, 0.1, 0.7, 0.1)]
REFUSED = (RefusalCode.SLICE_GAP, RefusalCode.SCRUBBED_PIXELS, RefusalCode.NOT_IN_EHR)
DOCUMENTS = (ObjectKind.STRUCTURED_REPORT, ObjectKind.KEY_OBJECTS)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Objects of a plain case, of one with everything that may be said, its successor and refusals; by name."""
    folder = tmp_path_factory.mktemp("report")
    series = a_series(tmp_path_factory.mktemp("series"), size=SIZE)
    geometry = a_geometry(series)
    common = {
        "case": a_case(series),
        "source_files": series,
        "geometry": geometry,
        "heat": a_heat(SIZE),
        "overlay": an_overlay(SIZE),
        "manifest": a_manifest(demo=True),
        "drawings": page_drawings(SIZE),
    }
    plain = write_case(folder, staging=a_staging(geometry), config=ReportConfig(pdf=True), **common)
    tied = a_staging(geometry, A_TIE, flags=tuple(Flag))
    full = write_case(
        folder,
        staging=attrs.evolve(tied, stage_set=StageSet(TStage.T1, TStage.T3, 0.9)),
        score=a_score(missing=("tumour_size", "lauren")),
        covariates=Covariates(differentiation=Differentiation.POOR),
        config=ReportConfig(institution="Universitätsklinikum", pdf=True),
        previous=plain,
        **common,
    )
    scanned = write_case(
        folder,
        case=common["case"],
        source_files=a_series(tmp_path_factory.mktemp("odd"), size=SIZE, change=_as_some_scanners_do),
        staging=a_staging(geometry),
        geometry=geometry,
        heat=a_heat(SIZE),
        overlay=an_overlay(SIZE),
        manifest=a_manifest(),
        config=ReportConfig(pdf=True),
        drawings=page_drawings(SIZE),
        score=a_score(),
    )
    nomogram = write_case(
        folder,
        staging=a_staging(geometry),
        config=ReportConfig(parametric_map=False, secondary_capture=False, key_objects=False),
        score=attrs.evolve(a_score((0.1, 0.6, 0.2, 0.1)), is_primary=True),
        **common,
    )
    refusals = [_refuse(folder, series, code) for code in REFUSED]
    unlike = write_case(folder, staging=not_staged(a_staging(geometry)), config=ReportConfig(pdf=True), **common)
    named = {
        **{"plain": plain, "unlike": unlike, "full": full, "scanned": scanned},
        **{"nomogram": nomogram, "refused": refusals},
    }
    return {f"{n} {o.kind} {i}": folder / o.file for n, found in named.items() for i, o in enumerate(found)}


def _as_some_scanners_do(index: int, ds: Dataset) -> None:
    for keyword in ("BodyPartExamined", "StudyID", "ReferringPhysicianName", "StudyDescription", "ContrastBolusAgent"):
        if keyword in ds:
            delattr(ds, keyword)
    ds.PatientAge, ds.PatientWeight, ds.InstitutionName = "066Y", "71.5", "Another hospital"


def _refuse(folder: Path, series: list[Path], code: RefusalCode) -> ReportObject:
    [written] = write_refusal(
        folder,
        case=a_case(series),
        refusal=Refusal(code, "What is wrong, with its numbers: 9.0 mm."),
        source_file=series[0],
        manifest=a_manifest(),
        config=ReportConfig(refusal_sr=True),
        model_version=MODEL_VERSION,
    )
    return written


def test_dciodvfy_finds_no_error_in_any_object(objects, dciodvfy):
    for name, path in objects.items():
        said = dciodvfy(path)

        assert [line for line in said.splitlines() if line.startswith("Error")] == [], name
        warnings = {line for line in said.splitlines() if line.startswith("Warning")}
        # The scheme is declared; dciodvfy knows registered designators only. Study ID is the source's to give.
        expected = ("Unrecognized defined term <99GTR>", "needed to build DICOMDIR - Study ID")
        assert [w for w in warnings if not any(e in w for e in expected)] == [], name


@pytest.mark.parametrize("spoil", ["long", "two", "control", "undecodable", "number"])
def test_dciodvfy_finds_no_error_where_every_attribute_of_the_source_is_invalid(spoil, dciodvfy, tmp_path):
    series = a_series(tmp_path / "valid", size=SMALL)

    written(tmp_path / "report", series, a_spoilt_series(tmp_path / "series", spoil))

    for path in (tmp_path / "report").iterdir():
        assert [line for line in dciodvfy(path).splitlines() if line.startswith("Error")] == [], path.name


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "full structured_report 4",
        "nomogram structured_report 0",
        "full key_objects 2",
        "refused structured_report 0",
        "unlike structured_report 4",
    ],
)
def test_pixelmed_finds_no_error_in_any_kind_of_document(objects, pixelmed, name):
    # It compiles its templates anew on every start: the light compiler halves the time.
    java, *rest = pixelmed

    said = _run(java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *rest, str(objects[name]))

    assert [line for line in said.splitlines() if line.startswith("Error")] == []
    assert "Root Template Validation Complete" in said


def test_dcmtk_reads_every_document_and_shows_the_answer(objects, need_program):
    dsrdump = need_program("dsrdump", "dcmtk")
    documents = {n: p for n, p in objects.items() if any(kind in n for kind in DOCUMENTS)}

    for name, path in documents.items():
        said = _run(dsrdump, str(path))

        assert "AI result - not verified" in said, name
        assert "E: " not in said, said
    staged = _run(dsrdump, str(objects["full structured_report 4"]))
    assert '"cT category")=(1228889001,SCT,"cT1")' in staged
    assert "Verification Flag   : UNVERIFIED" in staged
    assert "Completion Flag     : COMPLETE" in staged
    by_nomogram = _run(dsrdump, str(objects["nomogram structured_report 0"]))
    assert '"cT category")=(1228929004,SCT,"cT2")' in by_nomogram
    assert '"Supporting category, not the answer")=(1228938002,SCT,"cT3")' in by_nomogram


def test_dcmtk_renders_a_report_with_the_names_beside_the_values(objects, need_program, tmp_path):
    page = tmp_path / "report.html"

    _run(
        need_program("dsr2html", "dcmtk"),
        str(objects["full structured_report 4"]),
        str(page),
    )

    shown = page.read_text(errors="replace")
    for name in ("cT category:", "Flag:", "Probability:", "Nomogram points, total:", "Source of the key slice:"):
        assert name in shown


def test_real_headers_are_inherited_without_an_error(shared_data, dciodvfy, tmp_path):
    files = (shared_data / "ct/tcga_coad_siemens").glob("*.dcm")
    headers = {p: pydicom.dcmread(p, stop_before_pixels=True) for p in files}
    series = sorted(headers, key=lambda p: float(headers[p].ImagePositionPatient[2]))[40:43]
    geometry = a_geometry(series)

    written = write_case(
        tmp_path,
        case=a_case(series),
        source_files=series,
        staging=a_staging(geometry),
        geometry=geometry,
        heat=a_heat(512),
        overlay=an_overlay(512),
        manifest=a_manifest(),
        config=ReportConfig(),
    )

    for one in written:
        errors = [line for line in dciodvfy(tmp_path / one.file).splitlines() if line.startswith("Error")]
        assert errors == [], one.kind


@pytest.mark.parametrize("name", ["CT1_J2KI", "CT2_RLE"])
def test_a_real_file_in_any_transfer_syntax_can_be_refused(shared_data, dciodvfy, tmp_path, name):
    [source] = (shared_data / "quirks/wg04_syntaxes").rglob(name)

    [written] = write_refusal(
        tmp_path,
        case=a_case([source]),
        refusal=Refusal(RefusalCode.UNREADABLE_PIXELS, "Pixels cannot be decoded."),
        source_file=source,
        manifest=a_manifest(),
        config=ReportConfig(refusal_sr=True),
    )

    said = dciodvfy(tmp_path / written.file)
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    return done.stdout + done.stderr
