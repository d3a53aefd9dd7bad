"""The simulated hospital's files are proper DICOM, and its faults are the ones it claims."""

from __future__ import annotations

import subprocess
from datetime import date, timedelta
from pathlib import Path

import attrs
import numpy as np
import pydicom
import pytest

from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import KeySliceSource, TStage
from gtr_batch.errors import InputRefused
from gtr_batch.simulation.hospital.adopt import adopt_series
from gtr_batch.simulation.hospital.hospital import Hospital, demo_night, write_study
from gtr_batch.simulation.hospital.patient import Fault, Patient, key_sop_uid
from gtr_batch.simulation.hospital.spoil import drop_slice, truncate_pixels
from gtr_batch.simulation.phantom.dicom import write_key_objects, write_localizer, write_phase
from gtr_batch.simulation.phantom.scanner import SCANNERS, Phase

NIGHT = date(2026, 3, 2)


def a_patient(scanner=SCANNERS[0], slices: int = 6, **given) -> Patient:
    """One whose series is short, about the tumour's middle: pictures cost time."""
    options = {"true_stage": TStage.T2, "key_slice": KeySliceSource.KEY_OBJECT, "history": "eligible"} | given
    short = attrs.evolve(scanner, slices=slices, thickness_mm=5.0)
    return Hospital(3).patient(8, NIGHT, scanner=short, **options)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[Patient, Path]:
    patient = a_patient()
    folder = tmp_path_factory.mktemp("study")
    write_study(patient, folder)
    return patient, folder / patient.study_uid


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.name)
def test_every_kind_of_object_passes_dciodvfy(dciodvfy, tmp_path, scanner):
    patient = a_patient(scanner, slices=2)
    phantom = patient.phantom()

    paths = [write_localizer(tmp_path / "1", phantom, patient.identity)]
    for phase in Phase:
        paths += write_phase(tmp_path / phase, phantom, patient.identity, phase)
    marked = pydicom.dcmread(paths[-1], stop_before_pixels=True)
    paths.append(write_key_objects(tmp_path / "100", marked, patient.identity))

    errors = [line for path in paths for line in dciodvfy(path).splitlines() if line.startswith("Error")]
    assert errors == []


def test_the_key_objects_pass_pixelmed(pixelmed, study):
    _, folder = study
    (path,) = (folder / "100").iterdir()

    answer = subprocess.run([*pixelmed, str(path)], capture_output=True, text=True, check=False)

    assert [line for line in (answer.stdout + answer.stderr).splitlines() if line.startswith("Error")] == []


def test_a_study_has_a_localizer_three_phases_and_key_objects(study):
    patient, folder = study
    first = {p.name: pydicom.dcmread(next(p.iterdir()), stop_before_pixels=True) for p in folder.iterdir()}

    assert set(first) == {"1", "2", "3", "4", "100"}
    assert first["1"].ImageType[2] == "LOCALIZER"
    assert len({str(ds.SeriesInstanceUID) for ds in first.values()}) == 5
    assert {str(ds.StudyInstanceUID) for ds in first.values()} == {patient.study_uid}
    assert {ds.StudyDate for ds in first.values()} == {"20260302"}


def test_the_key_objects_point_at_the_slice_with_the_largest_cross_section(study):
    patient, folder = study
    (path,) = (folder / "100").iterdir()

    ds = pydicom.dcmread(path)

    (series,) = ds.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == key_sop_uid(patient, patient.phantom())


def test_headers_tell_the_phase(study):
    _, folder = study
    plain, arterial, portal = (
        pydicom.dcmread(next((folder / n).iterdir()), stop_before_pixels=True) for n in ("2", "3", "4")
    )

    def delay(ds) -> timedelta:
        as_seconds = lambda t: int(t[:2]) * 3600 + int(t[2:4]) * 60 + int(t[4:6])  # noqa: E731
        return timedelta(seconds=as_seconds(ds.AcquisitionTime) - as_seconds(ds.ContrastBolusStartTime))

    assert "ContrastBolusAgent" not in plain
    assert timedelta(seconds=25) < delay(arterial) < timedelta(seconds=40)
    assert timedelta(seconds=45) <= delay(portal) <= timedelta(seconds=90)
    assert portal.ConvolutionKernel == "FC13"


def test_slices_stand_equally_spaced_and_pixels_are_the_phantoms(study):
    patient, folder = study
    read = sorted((pydicom.dcmread(p) for p in (folder / "4").iterdir()), key=lambda ds: ds.ImagePositionPatient[2])
    heights = [float(ds.ImagePositionPatient[2]) for ds in read]
    phantom = patient.phantom()

    assert np.allclose(np.diff(heights), 5.0)
    assert sorted(int(ds.InstanceNumber) for ds in read) == list(range(1, len(read) + 1))
    hu = read[2].pixel_array * float(read[2].RescaleSlope) + float(read[2].RescaleIntercept)
    assert np.abs(hu - phantom.slice_hu(heights[2])).max() <= 0.51


def test_the_same_patient_written_again_is_the_same_bytes(study, tmp_path):
    patient, folder = study

    write_phase(tmp_path, patient.phantom(), patient.identity, Phase.PORTAL_VENOUS)

    written = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert written == {p.name: p.read_bytes() for p in (folder / "4").iterdir()}


def test_a_dropped_slice_leaves_a_gap(tmp_path):
    patient = a_patient()

    paths = write_phase(tmp_path, patient.phantom(), patient.identity, Phase.PORTAL_VENOUS, change=drop_slice(3))

    heights = sorted(float(pydicom.dcmread(p, stop_before_pixels=True).SliceLocation) for p in paths)
    assert len(paths) == 5
    assert np.diff(heights).max() == pytest.approx(10.0)


def test_truncated_pixel_data_is_readable_dicom_with_too_few_bytes(tmp_path):
    patient = a_patient(slices=2)

    paths = write_phase(tmp_path, patient.phantom(), patient.identity, Phase.PORTAL_VENOUS, change=truncate_pixels(1))

    sizes = [len(pydicom.dcmread(p).PixelData) for p in paths]
    assert sizes[0] == 512 * 512 * 2
    assert sizes[1] < sizes[0] / 2


def test_a_study_without_portal_venous_series_has_only_the_unenhanced_one(tmp_path):
    patient = a_patient(slices=2, fault=Fault.NO_PORTAL_VENOUS)

    write_study(patient, tmp_path)

    assert {p.name for p in (tmp_path / patient.study_uid).iterdir()} == {"1", "2"}
    assert patient.expected_refusal is RefusalCode.NO_PORTAL_VENOUS_SERIES


def test_the_demo_night_has_every_stage_scanner_and_source_of_the_key_slice(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "gtr_batch.simulation.hospital.hospital.write_night", lambda *_: []
    )  # the plan, without its pictures

    patients = demo_night(tmp_path, tmp_path, NIGHT)

    staged = [p for p in patients if p.expected_refusal is None]
    assert {p.true_stage for p in staged} == set(TStage)
    assert {p.scanner.name for p in staged} == {"toshiba", "philips", "ingenuity"}
    assert {p.key_slice for p in staged} == {
        KeySliceSource.KEY_OBJECT,
        KeySliceSource.EHR,
        KeySliceSource.AUTOMATIC,
    }
    assert {p.expected_refusal for p in patients} == {
        None,
        RefusalCode.PRIOR_CHEMOTHERAPY,
        RefusalCode.NO_PORTAL_VENOUS_SERIES,
        RefusalCode.SLICE_GAP,
    }


def test_an_adopted_series_gets_the_nights_identity_and_keeps_its_pixels(tmp_path, study):
    _, folder = study
    source = sorted(folder.glob("4/*.dcm"))
    marked = pydicom.dcmread(source[0], stop_before_pixels=True)

    patient = adopt_series(
        folder / "4", tmp_path / "out", tmp_path / "ehr", date(2026, 3, 5), key_slice=str(marked.InstanceNumber)
    )

    read = [pydicom.dcmread(p) for p in (tmp_path / "out").iterdir()]
    images = [ds for ds in read if ds.Modality == "CT"]
    (key_objects,) = [ds for ds in read if ds.Modality == "KO"]
    evidence = key_objects.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(images) == len(source)
    assert {ds.StudyDate for ds in images} == {"20260305"}
    assert {str(ds.PatientID) for ds in images} == {patient.patient_id}
    assert evidence.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == marked.SOPInstanceUID
    assert (tmp_path / "ehr" / "patient.csv").read_text().count(patient.patient_id) == 1
    twin = next(ds for ds in images if ds.SOPInstanceUID == marked.SOPInstanceUID)
    assert twin.PixelData == pydicom.dcmread(source[0]).PixelData


def test_empty_uids_are_replaced_by_lawful_ones(tmp_path, study):
    _, folder = study
    for number, path in enumerate(sorted(folder.glob("4/*.dcm"))):
        ds = pydicom.dcmread(path)
        ds.SOPInstanceUID = ds.StudyInstanceUID = ds.SeriesInstanceUID = ""
        (tmp_path / "in").mkdir(exist_ok=True)
        ds.save_as(tmp_path / "in" / f"{number}.dcm")

    adopt_series(tmp_path / "in", tmp_path / "out", tmp_path / "ehr", NIGHT)

    read = [pydicom.dcmread(p, stop_before_pixels=True) for p in (tmp_path / "out").iterdir()]
    assert len({str(ds.SOPInstanceUID) for ds in read}) == 6
    assert len({str(ds.SeriesInstanceUID) for ds in read}) == 1
    assert all(pydicom.uid.UID(ds.SOPInstanceUID).is_valid for ds in read)


def test_a_folder_without_a_ct_series_or_with_an_unknown_key_slice_is_refused(tmp_path, study):
    _, folder = study
    (tmp_path / "empty").mkdir()

    with pytest.raises(InputRefused, match="0 CT series"):
        adopt_series(tmp_path / "empty", tmp_path / "out", tmp_path / "ehr", NIGHT)
    with pytest.raises(InputRefused, match="key slice 999"):
        adopt_series(folder / "4", tmp_path / "out", tmp_path / "ehr", NIGHT, key_slice="999")
    assert not (tmp_path / "ehr").exists()


def test_real_ct_is_adopted_whole(tmp_path, shared_data):
    patient = adopt_series(
        shared_data / "ct" / "tcga_coad_siemens", tmp_path / "out", tmp_path / "ehr", NIGHT, key_slice=40
    )

    paths = list((tmp_path / "out").iterdir())
    assert len(paths) == 88
    assert {str(pydicom.dcmread(p, stop_before_pixels=True).PatientName) for p in paths} == {patient.identity.name}
