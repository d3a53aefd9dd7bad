"""Parametric map, secondary capture and key objects of a case, and what all objects share."""

from __future__ import annotations

import io
import logging
import warnings
from datetime import date
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from gtr_batch.config import ReportConfig
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.report import codes, write_case, write_refusal
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
)

SIZE = 32


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return a_series(tmp_path_factory.mktemp("series"), size=SIZE)


@pytest.fixture(scope="module")
def written(series: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[ObjectKind, pydicom.Dataset]:
    """The objects of a case, read back, by kind."""
    folder = tmp_path_factory.mktemp("report")
    return {o.kind: pydicom.dcmread(folder / o.file) for o in write(folder, series)}


def write(folder: Path, series: list[Path], **changes: object) -> list[ReportObject]:
    geometry = a_geometry(series)
    arguments = {
        "case": a_case(series),
        "source_files": series,
        "staging": a_staging(geometry),
        "geometry": geometry,
        "heat": a_heat(SIZE),
        "overlay": an_overlay(SIZE),
        "manifest": a_manifest(),
        "config": ReportConfig(institution="Test hospital"),
        "score": a_score(),
        **changes,
    }
    return write_case(folder, **arguments)


def test_each_heat_map_frame_lies_on_its_source_slice_and_keeps_its_values(written, series):
    found = hd.pm.ParametricMap.from_dataset(written[ObjectKind.PARAMETRIC_MAP])

    sources = {ds.SOPInstanceUID: (i, ds) for i, ds in enumerate(pydicom.dcmread(p) for p in series)}
    values = np.frombuffer(found.FloatPixelData, dtype="<f4").reshape(3, SIZE, SIZE)
    for frame, array in zip(found.PerFrameFunctionalGroupsSequence, values, strict=True):
        uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        index, source = sources.pop(uid)
        assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == list(source.ImagePositionPatient)
        np.testing.assert_array_equal(array, a_heat(SIZE)[index])
    assert not sources


def test_the_heat_map_has_the_source_geometry_and_says_what_its_values_are(written, series):
    found = written[ObjectKind.PARAMETRIC_MAP]

    source = pydicom.dcmread(series[0])
    assert found.FrameOfReferenceUID == source.FrameOfReferenceUID
    shared = found.SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == list(source.PixelSpacing)
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert list(orientation) == list(source.ImageOrientationPatient)
    mapping = shared.RealWorldValueMappingSequence[0]
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "130403"


def test_a_neighbour_that_is_used_twice_is_one_frame(series, tmp_path):
    twice = [series[0], series[1], series[0]]

    objects = {o.kind: o for o in write(tmp_path, twice)}

    assert pydicom.dcmread(tmp_path / objects[ObjectKind.PARAMETRIC_MAP].file).NumberOfFrames == 2


def test_the_capture_says_that_its_label_is_burned_in_and_where_it_comes_from(written, series):
    capture = written[ObjectKind.SECONDARY_CAPTURE]

    assert capture.BurnedInAnnotation == "YES"
    assert list(capture.PatientOrientation) == ["L", "P"]
    np.testing.assert_array_equal(capture.pixel_array, an_overlay(SIZE))
    key = pydicom.dcmread(series[1])
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == key.SOPInstanceUID
    assert capture.PatientID == key.PatientID


def test_the_key_objects_are_the_key_slice_and_the_capture(written, series):
    selection = written[ObjectKind.KEY_OBJECTS]

    named = [
        i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in selection.ContentSequence if i.ValueType == "IMAGE"
    ]
    assert named == [pydicom.dcmread(series[1]).SOPInstanceUID, written[ObjectKind.SECONDARY_CAPTURE].SOPInstanceUID]
    evidence = {
        one.ReferencedSOPInstanceUID
        for study in selection.CurrentRequestedProcedureEvidenceSequence
        for group in study.ReferencedSeriesSequence
        for one in group.ReferencedSOPSequence
    }
    assert evidence == set(named)


def test_every_object_belongs_to_the_study_names_its_model_and_is_labelled_not_verified(written, series):
    source = pydicom.dcmread(series[0])

    for kind, ds in written.items():
        assert ds.StudyInstanceUID == source.StudyInstanceUID, kind
        assert ds.PatientID == source.PatientID, kind
        assert MODEL_VERSION in ds.SoftwareVersions, kind
        assert ds.SeriesDescription.startswith("AI result - not verified"), kind
        assert ds.InstitutionName == "Test hospital", kind
    assert len({ds.SeriesInstanceUID for ds in written.values()}) == 4
    assert len({ds.SeriesNumber for ds in written.values()}) == 4
    assert all(UID(ds.SOPInstanceUID).is_valid for ds in written.values())


def test_a_retry_writes_the_same_bytes(series, tmp_path):
    first, second = write(tmp_path / "a", series), write(tmp_path / "b", series)

    assert first == second
    for one in first:
        assert (tmp_path / "a" / one.file).read_bytes() == (tmp_path / "b" / one.file).read_bytes()


def test_no_object_takes_a_date_from_the_clock(written):
    today = date.today().strftime("%Y%m%d").encode()

    for kind, ds in written.items():
        buffer = io.BytesIO()
        ds.save_as(buffer)
        assert today not in buffer.getvalue(), kind
        assert ds.ContentDate == "20260301", kind


def test_an_object_is_never_dated_before_the_images_that_it_is_about(tmp_path):
    def after_midnight(index: int, ds: pydicom.Dataset) -> None:
        ds.AcquisitionDate, ds.AcquisitionTime = "20260302", "033000.5"

    late = a_series(tmp_path / "series", size=SIZE, change=after_midnight)

    for one in write(tmp_path / "report", late):
        ds = pydicom.dcmread(tmp_path / "report" / one.file)
        assert (ds.ContentDate, ds.ContentTime) == ("20260302", "033000")


def test_another_model_writes_into_other_series(series, tmp_path):
    other = a_staging(a_geometry(series), model_version="77" * 32)

    before, after = write(tmp_path, series), write(tmp_path, series, staging=other)

    assert not {o.series_uid for o in before} & {o.series_uid for o in after}


def test_a_site_without_images_in_its_pacs_gets_the_report_alone(series, tmp_path):
    config = ReportConfig(parametric_map=False, secondary_capture=False, key_objects=False)

    assert [o.kind for o in write(tmp_path, series, config=config)] == [ObjectKind.STRUCTURED_REPORT]
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"heat": a_heat(SIZE - 1)},
        {"overlay": an_overlay(SIZE).astype(np.float32)},
        {"overlay": an_overlay(SIZE)[..., 0]},
    ],
)
def test_arrays_that_do_not_fit_the_geometry_are_our_mistake(series, tmp_path, wrong):
    with pytest.raises(ValueError, match="shape"):
        write(tmp_path, series, **wrong)


def test_source_files_in_another_order_are_our_mistake(series, tmp_path):
    with pytest.raises(ValueError, match="geometry"):
        write(tmp_path, series, source_files=series[::-1])


def test_odd_headers_are_inherited_as_far_as_they_are_lawful_and_never_quoted(tmp_path, caplog, recwarn):
    def odd(index: int, ds: pydicom.Dataset) -> None:
        ds.PatientName = "SECRETNAME"
        ds.PatientSex = "F"
        del ds.StudyID, ds.ReferringPhysicianName
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds.PatientBirthDate = "1960-01-01"
            ds.PatientSex = "W"

    series = a_series(tmp_path / "series", size=SIZE, change=odd)
    recwarn.clear()
    caplog.clear()

    with caplog.at_level(logging.DEBUG):
        objects = write(tmp_path / "report", series)
        write_refusal(
            tmp_path / "report",
            case=a_case(series),
            refusal=Refusal(RefusalCode.SLICE_GAP, "A gap of 9 mm ± 1 mm."),
            source_file=series[0],
            manifest=a_manifest(),
            config=ReportConfig(refusal_sr=True),
        )

    said = caplog.text + " ".join(str(w.message) for w in recwarn)
    assert "SECRETNAME" not in said
    assert "1960" not in said
    for one in objects:
        ds = pydicom.dcmread(tmp_path / "report" / one.file)
        assert ds.PatientName == "SECRETNAME"
        assert ds.PatientSex == ""
        assert ds.StudyID == ""


def test_a_sentence_beyond_ascii_is_written_whole(series, tmp_path):
    [written] = write_refusal(
        tmp_path,
        case=a_case(series),
        refusal=Refusal(RefusalCode.GANTRY_TILT, "Tilted by 18.5° ± 0.1°."),
        source_file=series[0],
        manifest=a_manifest(),
        config=ReportConfig(refusal_sr=True),
    )

    document = hd.sr.srread(tmp_path / written.file)
    [group] = document.content.get_image_measurement_groups()
    assert [i.value for i in group[0].ContentSequence if i.name == codes.COMMENT] == ["Tilted by 18.5° ± 0.1°."]
