"""Whatever a source instance holds: our objects can be written, and hold only values that the standard allows."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM
from pydicom.uid import UID
from pydicom.uid import UID_dictionary as KNOWN_UIDS
from pydicom.valuerep import MAX_VALUE_LEN, validate_value

from gtr_batch.config import ReportConfig
from gtr_batch.domain.delivery import ANSWER_KINDS
from gtr_batch.report import write_case, write_withdrawal
from gtr_batch.report.inherited import SEQUENCES, TYPE_2, inherit
from gtr_batch.report.quiet import quiet
from tests.builders import (
    MODEL_VERSION,
    NIGHT,
    a_case,
    a_geometry,
    a_heat,
    a_manifest,
    a_series,
    a_staging,
    an_overlay,
)
from tests.spoilt_sources import SIZE, SPOILS, TEXTS, a_spoilt_series, put, written


def elements(ds: Dataset) -> Iterator[pydicom.DataElement]:
    for element in ds:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def assert_valid(ds: Dataset) -> None:
    """Every value is what its VR allows, and no more of them than the dictionary has."""
    for element in elements(ds):
        if element.VR in ("SQ", "OB", "OW", "OF") or element.tag.is_private:
            continue
        values = [element.value] if element.VM == 1 else list(element.value or [])
        most = dictionary_VM(element.tag).split("-")[-1]
        assert "n" in most or len(values) <= int(most), element.keyword
        for value in filter(None, values):
            shown = str(value) if element.VR in ("DA", "TM", "DT", "DS", "IS", "PN", "UI") else value
            validate_value(element.VR, shown, config.RAISE)
            assert "�" not in str(shown), element.keyword
            if element.VR not in ("LT", "ST", "UT"):
                assert not any(unicodedata.category(c) == "Cc" for c in str(shown)), element.keyword


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return a_series(tmp_path_factory.mktemp("series"), size=SIZE)


@settings(max_examples=300, deadline=None)
@given(
    keyword=st.sampled_from(TEXTS),
    value=st.one_of(
        st.sampled_from(list(SPOILS.values())), st.binary(max_size=120), st.text(max_size=80).map(str.encode)
    ),
    vr=st.sampled_from([None, "UN", "OB", "LO", "SH"]),
    characters=st.sampled_from(["", "ISO_IR 100", "ISO_IR 192", "LATIN-1", "ISO 2022 IR 6\\ISO 2022 IR 87", "GBK"]),
)
def test_every_attribute_that_is_copied_is_valid_whatever_the_source_has(keyword, value, vr, characters, series):
    source = pydicom.dcmread(series[0], stop_before_pixels=True)
    put(source, "SpecificCharacterSet", characters.encode())
    put(source, keyword, value, vr)

    with quiet():
        copy, _ = inherit(source)
        buffer = pydicom.filebase.DicomBytesIO()
        pydicom.dcmwrite(buffer, copy, implicit_vr=False, little_endian=True)
        again = pydicom.dcmread(pydicom.filebase.DicomBytesIO(buffer.getvalue()), force=True)

    assert_valid(again)
    assert all(k in again for k in TYPE_2)


@pytest.mark.parametrize("spoil", ["long", "two", "control", "undecodable"])
def test_all_objects_are_written_where_everything_that_may_be_copied_is_spoilt(spoil, series, tmp_path):
    source = a_spoilt_series(tmp_path / "series", spoil)

    found = written(tmp_path / "report", series, source)

    assert set(found) == {*map(str, ANSWER_KINDS), "refusal"}
    for ds in found.values():
        assert_valid(ds)
        assert ds.StudyInstanceUID == pydicom.dcmread(source[0], stop_before_pixels=True).StudyInstanceUID


@pytest.mark.parametrize(
    ("meaning", "written_as"),
    [("ü" * 65, "ü" * 64), (["one", "two"], "one"), ("", "Computed tomography of abdomen")],
)
def test_a_code_meaning_that_breaks_the_standard_is_cut_or_its_code_left_out(meaning, written_as, series, tmp_path):
    def coded(index: int, ds: Dataset) -> None:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "CTABD", "99SITE", meaning
        for keyword in SEQUENCES:
            setattr(ds, keyword, [item])
        ds.SpecificCharacterSet = "ISO_IR 100"

    source = a_series(tmp_path / "series", size=SIZE, change=coded)

    found = written(tmp_path / "report", series, source)

    for ds in found.values():
        assert_valid(ds)
    procedures = found["structured_report"].PerformedProcedureCodeSequence
    assert [i.CodeMeaning for i in procedures] == [written_as]


def test_a_code_value_of_more_than_16_characters_is_a_long_code_value(series, tmp_path):
    def coded(index: int, ds: Dataset) -> None:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "CT-ABDOMEN-PORTAL-VENOUS", "99SITE", "CT"
        ds.ProcedureCodeSequence = [item]

    source = a_series(tmp_path / "series", size=SIZE, change=coded)

    found = written(tmp_path / "report", series, source)

    [code] = found["structured_report"].PerformedProcedureCodeSequence
    assert (code.LongCodeValue, "CodeValue" in code) == ("CT-ABDOMEN-PORTAL-VENOUS", False)


@pytest.mark.parametrize(
    "absent",
    [("Modality",), ("SamplesPerPixel", "FrameOfReferenceUID"), ("Manufacturer", *(set(TYPE_2) - {"PatientID"}))],
)
def test_all_objects_are_written_where_a_source_lacks(absent, series, tmp_path):
    def without(index: int, ds: Dataset) -> None:
        for keyword in absent:
            del ds[keyword]

    source = a_series(tmp_path / "series", size=SIZE, change=without)

    found = written(tmp_path / "report", series, source)

    assert set(found) == {*map(str, ANSWER_KINDS), "refusal"}


@pytest.mark.parametrize("vr", ["OB", "UN"])
def test_a_name_that_stands_there_as_bytes_is_read(vr, series, tmp_path):
    source = a_series(
        tmp_path / "series", size=SIZE, change=lambda index, ds: put(ds, "PatientName", b"Phantom^Other", vr)
    )

    found = written(tmp_path / "report", series, source)

    assert {str(ds.PatientName) for ds in found.values()} == {"Phantom^Other"}


def test_an_identifier_is_never_cut_and_the_log_says_so_without_its_value(series, tmp_path):
    def spoilt(index: int, ds: Dataset) -> None:
        put(ds, "StudyID", b"PHANTOM-1" * 10)
        put(ds, "AccessionNumber", b"ACC1\\ACC2")
        put(ds, "StudyDescription", b"CT abdomen " * 10)

    source = a_series(tmp_path / "series", size=SIZE, change=spoilt)

    with structlog.testing.capture_logs() as log:
        found = written(tmp_path / "report", series, source)

    assert {(ds.StudyID, ds.AccessionNumber) for ds in found.values()} == {("", "")}
    assert {ds.StudyDescription for ds in found.values()} == {("CT abdomen " * 10)[:64].strip()}
    [remarks] = {tuple(entry["remarks"]) for entry in log if entry["event"] == "report.source_values"}
    assert remarks == (
        "StudyID left out: 90 characters where 16 are allowed",
        "AccessionNumber left out: 2 values where 1 is expected",
        "StudyDescription changed: 109 characters where 64 are allowed",
    )
    assert not any(value in str(log) for value in ("PHANTOM", "ACC1", "CT abdomen"))


def test_valid_values_are_copied_as_they_are_and_nothing_is_logged(tmp_path):
    def complete(index: int, ds: Dataset) -> None:
        ds.PatientAge, ds.PatientWeight, ds.Allergies = "066Y", "71.5", ["Iodine", "Latex"]
        ds.IssuerOfPatientID, ds.PatientComments, ds.SmokingStatus = "HOSPITAL", "one\r\ntwo \\ three", "UNKNOWN"
        ds.OtherPatientIDsSequence = [Dataset()]
        ds.OtherPatientIDsSequence[0].PatientID, ds.OtherPatientIDsSequence[0].TypeOfPatientID = "OLD-1", "TEXT"

    source = a_series(tmp_path / "series", size=SIZE, change=complete)

    with structlog.testing.capture_logs() as log:
        found = written(tmp_path / "report", source, source)

    [before, *_] = [pydicom.dcmread(p, stop_before_pixels=True) for p in source]
    copied = ("PatientAge", "PatientWeight", "Allergies", "IssuerOfPatientID", "PatientComments", "SmokingStatus")
    for ds in found.values():
        assert [ds.get(k) for k in (*copied, *TYPE_2)] == [before.get(k) for k in (*copied, *TYPE_2)]
        assert ds.OtherPatientIDsSequence == before.OtherPatientIDsSequence
    assert [e for e in log if e["event"] == "report.source_values"] == []


def test_a_notice_supersedes_a_report_that_an_older_version_wrote_with_invalid_values(series, tmp_path):
    geometry, case = a_geometry(series), a_case(series)
    only_report = ReportConfig(parametric_map=False, secondary_capture=False, key_objects=False)
    [old] = write_case(
        tmp_path,
        case=case,
        source_files=series,
        staging=a_staging(geometry),
        geometry=geometry,
        heat=a_heat(SIZE),
        overlay=an_overlay(SIZE),
        manifest=a_manifest(),
        config=only_report,
    )
    ds = pydicom.dcmread(tmp_path / old.file)
    put(ds, "StudyDescription", b"x" * 200)
    put(ds, "PatientName", b"One^A\\Two^B")
    ds.save_as(tmp_path / old.file)

    notice = write_withdrawal(
        tmp_path / "notice",
        case=case,
        report_file=tmp_path / old.file,
        superseded=old,
        manifest=a_manifest(),
        model_version=MODEL_VERSION,
        withdrawn_at=pydicom.valuerep.DT(f"{NIGHT:%Y%m%d}120000"),
        config=only_report,
    )

    assert_valid(pydicom.dcmread(tmp_path / "notice" / notice.file))


def test_highdicom_knows_the_iod_of_every_image_class_that_is_read():
    from highdicom._standard_utils import get_sop_class_iod_map

    from gtr_batch.report.sources import _RETIRED

    images = {u for u, entry in KNOWN_UIDS.items() if entry[4].endswith("ImageStorage")}
    unknown = images - set(get_sop_class_iod_map())

    assert all(UID(u).keyword.startswith(_RETIRED) for u in unknown)


def test_the_lengths_that_we_cut_to_are_those_of_the_standard():
    assert {vr: MAX_VALUE_LEN[vr] for vr in ("SH", "LO", "ST", "LT", "CS", "DS")} == {
        "SH": 16, "LO": 64, "ST": 1024, "LT": 10240, "CS": 16, "DS": 16,
    }  # fmt: skip
    assert "ISO_IR 192" in python_encoding


def test_slices_that_are_parallel_within_the_tolerance_have_a_heat_map(series, tmp_path):
    """Scanners print the orientation of each slice anew; highdicom asks for the same digits in all."""

    def turned(index: int, ds: Dataset) -> None:
        ds.ImageOrientationPatient = [1, 2e-6 * index, 0, 0, 1, 0]

    source = a_series(tmp_path / "series", size=SIZE, change=turned)

    assert set(written(tmp_path / "report", series, source)) == {*map(str, ANSWER_KINDS), "refusal"}
