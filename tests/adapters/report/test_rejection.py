"""The key object that rejects a withdrawn model's report (IHE IOCM): what it says, and before whom it stands."""

from __future__ import annotations

import subprocess
from datetime import datetime

import pydicom
import pytest

from gtr_batch.config import KEY_OBJECT_TITLES, PacsConfig, ReportConfig
from gtr_batch.deliver import DeliveryOutcome, Parcel, deliver_case
from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.errors import PermanentError
from gtr_batch.pacs import Pacs
from gtr_batch.preprocess.key_objects import read_key_object
from gtr_batch.report import write_rejection
from tests.adapters.pacs.peers import a_free_port, orthanc
from tests.adapters.report.test_report_peers import Forgetful
from tests.builders import (
    MODEL_VERSION,
    a_case,
    a_manifest,
    a_series,
    a_written_report,
)

SIZE = 32
AT = datetime(2026, 3, 9, 14, 30)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder, series, what was written of a case, and its rejection."""
    folder = tmp_path_factory.mktemp("report")
    series = a_series(tmp_path_factory.mktemp("series"), size=SIZE)
    objects = a_written_report(folder, series, SIZE, manifest=a_manifest(demo=True))
    return folder, series, objects, _rejection(folder, series, objects)


def _report(objects):
    [report] = [o for o in objects if o.kind is ObjectKind.STRUCTURED_REPORT]
    return report


def _rejection(folder, series, objects, into=None, **given):
    report = _report(objects)
    common = {
        "case": a_case(series),
        "report_file": folder / report.file,
        "rejected": report,
        "beside": [o.as_predecessor() for o in objects if o is not report],
        "manifest": a_manifest(demo=True),
        "model_version": MODEL_VERSION,
        "withdrawn_at": AT,
        "config": ReportConfig(),
    }
    return write_rejection(into or folder, **(common | given))


def test_it_rejects_the_report_and_its_pictures_in_the_same_study_for_the_safety_of_the_patient(written):
    folder, _, objects, rejection = written
    old, new = (pydicom.dcmread(folder / one.file) for one in (_report(objects), rejection))

    title = new.ConceptNameCodeSequence[0]
    [study] = new.CurrentRequestedProcedureEvidenceSequence
    listed = {one.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for one in s.ReferencedSOPSequence}

    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113037", "DCM")
    assert title.CodeMeaning == "Rejected for Patient Safety Reasons"
    assert new.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.59"
    assert study.StudyInstanceUID == new.StudyInstanceUID == old.StudyInstanceUID
    assert listed == {one.sop_instance_uid for one in objects}
    assert new.PatientID == old.PatientID
    assert new.SeriesInstanceUID not in {one.series_uid for one in objects}
    assert (new.ContentDate, new.ContentTime) == ("20260309", "143000")


def test_written_again_it_is_the_same_object_byte_for_byte(written, tmp_path):
    folder, series, objects, rejection = written

    again = _rejection(folder, series, objects, into=tmp_path)

    assert again == rejection
    assert (tmp_path / again.file).read_bytes() == (folder / rejection.file).read_bytes()


def test_of_a_file_that_is_another_object_nothing_is_rejected(written, tmp_path):
    folder, series, objects, _ = written
    other = next(o for o in objects if o.kind is ObjectKind.KEY_OBJECTS)

    with pytest.raises(PermanentError, match="is not the report"):
        _rejection(folder, series, objects, into=tmp_path, report_file=folder / other.file)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("titles", [KEY_OBJECT_TITLES, (*KEY_OBJECT_TITLES, "113037")])
def test_our_own_intake_takes_it_for_no_mark_of_a_key_slice(written, titles):
    """Not by its title, which no site may accept either; and were it accepted, not since a device wrote it."""
    folder, _, _, rejection = written
    notes = []

    assert read_key_object(pydicom.dcmread(folder / rejection.file), titles, notes) is None
    assert len(notes) == 1


def test_dciodvfy_finds_no_error_in_it(written, dciodvfy):
    folder, _, _, rejection = written

    said = dciodvfy(folder / rejection.file)

    assert [line for line in said.splitlines() if line.startswith("Error")] == []


@pytest.mark.slow
def test_pixelmed_finds_no_error_in_it(written, pixelmed):
    folder, _, _, rejection = written
    java, *rest = pixelmed

    said = _run(java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *rest, str(folder / rejection.file))

    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_orthanc_takes_and_commits_it_once_and_dcmtk_shows_what_it_rejects(need_program, written, tmp_path):
    folder, series, objects, rejection = written
    port, ours = a_free_port(), a_free_port()
    config = PacsConfig(port=port, called_ae_title="ORTHANC", commitment_port=ours, commitment_timeout_s=30.0)
    case = a_case(series)

    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port, our_port=ours):
        pacs, notes = Pacs(config), Forgetful()
        pacs.store(series)
        deliver_case(pacs, notes, Parcel(case, objects, folder), config)
        first, second = (deliver_case(pacs, notes, Parcel(case, [rejection], folder), config) for _ in range(2))
        [path] = pacs.retrieve(case.study_uid, rejection.series_uid, [rejection.sop_instance_uid], tmp_path / "back")
        said = _run(need_program("dsrdump", "dcmtk"), "+Pl", "+Pu", str(path))

    assert (first, second) == (DeliveryOutcome(sent=1), DeliveryOutcome(sent=0))
    assert notes.answers[-1][0].committed == {rejection.sop_instance_uid}
    assert "Rejected for Patient Safety Reasons" in said
    assert all(one.sop_instance_uid in said for one in objects)
    assert "E: " not in said


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
