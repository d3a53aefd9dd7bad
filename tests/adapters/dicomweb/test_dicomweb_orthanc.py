"""DICOMweb against Orthanc's plugin: what comes, how it comes, and what is there after it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import attrs
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000Lossless, generate_uid

from gtr_batch.config import PacsConfig
from gtr_batch.dicomweb import Dicomweb
from gtr_batch.domain.identity import PatientIdentity, SeriesIdentity
from gtr_batch.errors import CaseRejected, ConfigError
from gtr_batch.simulation.servers.services import load_files
from tests.adapters.pacs.peers import a_free_port, datasets
from tests.dicomweb_servers import orthanc_with_dicomweb
from tests.phantoms import abdomen_hu, write_series

DAY = (datetime(2026, 3, 1), datetime(2026, 3, 2))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of 12 slices, every second one compressed."""
    folder = tmp_path_factory.mktemp("held")
    for index, path in enumerate(sorted(write_series(folder, abdomen_hu(12, 64), name="held"))):
        if index % 2:
            ds = dcmread(path)
            ds.compress(JPEG2000Lossless, generate_instance_uid=False)
            ds.save_as(path, enforce_file_format=True)
    return folder


@pytest.fixture(scope="module")
def url(held: Path, need_program, dicomweb_plugin: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Orthanc's address, with the series loaded by C-STORE."""
    port, http = a_free_port(), a_free_port()
    folder = tmp_path_factory.mktemp("orthanc-web")
    with orthanc_with_dicomweb(need_program("Orthanc", "orthanc"), dicomweb_plugin, folder, port, http):
        load_files(PacsConfig(port=port, called_ae_title="ORTHANC"), held)
        yield f"http://127.0.0.1:{http}/dicom-web"


@pytest.fixture
def archive(url: str, archive_at) -> Dicomweb:
    """The adapter."""
    return archive_at(url, user="gtr", password="secret", page=5)


def ours(ds: Dataset, folder: Path, count: int) -> list[Path]:
    """Copies of an instance as a new series of the same study."""
    new, paths = generate_uid(), []
    for number in range(count):
        ds.SeriesInstanceUID, ds.SOPInstanceUID = new, generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        paths.append(folder / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def test_the_study_its_series_and_all_instances_are_found_page_by_page(archive, held):
    expected = datasets(held)

    [study] = archive.find_studies(*DAY)
    again = archive.find_study(study.study_uid)
    [series] = archive.find_series(study.study_uid)
    instances = archive.find_instances(study.study_uid, series.series_uid)

    assert (study.study_uid, study.patient_id) == (expected[0].StudyInstanceUID, expected[0].PatientID)
    assert study.modalities == ("CT",)
    assert [one.patient_id for one in again] == [study.patient_id]
    assert [one.study_uid for one in archive.find_accession(study.accession_number)] == [study.study_uid]
    assert (series.modality, series.instances) == ("CT", 12)
    assert {one.sop_instance_uid for one in instances} == {ds.SOPInstanceUID for ds in expected}
    assert {one.sop_class_uid for one in instances} == {expected[0].SOPClassUID}
    assert archive.find_studies(datetime(2026, 3, 2), datetime(2026, 3, 3)) == []
    assert archive.find_study("1.2.3") == archive.find_series("1.2.3") == archive.find_instances("1.2.3", "1.2.4") == []


def test_a_series_comes_whole_and_as_it_is_kept(archive, held, tmp_path):
    expected = {ds.SOPInstanceUID: ds for ds in datasets(held)}
    first = next(iter(expected.values()))
    told = []

    paths = archive.retrieve(
        first.StudyInstanceUID, first.SeriesInstanceUID, list(expected), tmp_path / "in", lambda *n: told.append(n)
    )

    assert [path.stem for path in paths] == list(expected)
    for path in paths:
        came = dcmread(path)
        assert came == expected[path.stem]
        assert came.file_meta.TransferSyntaxUID == expected[path.stem].file_meta.TransferSyntaxUID
        assert path.stat().st_mode & 0o777 == 0o600
    assert told[-1] == (12, 12)


def test_objects_are_stored_in_one_request_and_read_back_with_their_header(archive, held, tmp_path):
    paths = ours(datasets(held)[0], tmp_path, 3)
    [study] = archive.find_studies(*DAY)
    heads = [dcmread(path, stop_before_pixels=True) for path in paths]
    new = [head.SOPInstanceUID for head in heads]
    whose = SeriesIdentity(
        study.study_uid,
        heads[0].SeriesInstanceUID,
        study.patient,
        {head.SOPInstanceUID: head.SOPClassUID for head in heads},
    )
    noted = []

    before = archive.present(study.study_uid, heads[0].SeriesInstanceUID, new, whose)
    receipts = archive.store(paths, noted.append)
    after = archive.present(study.study_uid, heads[0].SeriesInstanceUID, [*new, "1.2.3"], whose)
    twice = archive.store(paths)

    assert (before, after) == (frozenset(), frozenset(new))
    assert [one.sop_instance_uid for one in receipts] == [one.sop_instance_uid for one in noted] == new
    assert {one.status for one in receipts} == {0}
    assert [one.sop_instance_uid for one in twice] == new
    stranger = attrs.evolve(whose, patient=PatientIdentity("SOMEBODY-ELSE"))
    with pytest.raises(CaseRejected, match="another PatientID") as refused:
        archive.present(study.study_uid, heads[0].SeriesInstanceUID, new, stranger)
    assert study.patient_id not in str(refused.value)


def test_the_probe_says_how_many_came_and_a_wrong_password_what_to_mend(archive, archive_at, url):
    assert archive.probe() == 1

    with pytest.raises(ConfigError, match=r"HTTP 401; check dicomweb\.token"):
        archive_at(url, user="gtr", password="wrong").echo()
