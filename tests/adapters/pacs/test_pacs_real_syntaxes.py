"""Every real image that we have, in the transfer syntax that it came in, through a real PACS and back."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage

from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.reading import decode, read_dicom
from tests.adapters.pacs.peers import a_free_port, orthanc

SYNTAXES = {
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.5",
}
MOST_OF_A_FOLDER = 6  # of the same syntax from the same scanner


def with_uids(path: Path, ds: Dataset) -> Dataset:
    """The same with the UIDs that one of the sources left out; no PACS keeps an instance without."""
    if not ds.get("SOPInstanceUID"):
        ds.SOPClassUID, ds.StudyInstanceUID = CTImageStorage, derived_uid("study", path.parent.name)
        ds.SeriesInstanceUID, ds.SOPInstanceUID = derived_uid("series", path.parent.name), derived_uid(path.name)
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds


@pytest.fixture(scope="module")
def real(shared_data: Path) -> list[Dataset]:
    """Images of every folder."""
    found: dict[Path, list[Dataset]] = defaultdict(list)
    for path in sorted(p for p in shared_data.rglob("*") if p.is_file()):
        if path.parent.name != "wg04_syntaxes" and len(found[path.parent]) >= MOST_OF_A_FOLDER:
            continue
        try:
            ds = dcmread(path)
        except InvalidDicomError:
            continue
        if "PixelData" in ds:
            found[path.parent].append(with_uids(path, ds))
    return [ds for images in found.values() for ds in images]


@pytest.mark.parametrize("mode", ["get", "move"])
def test_real_images_of_every_transfer_syntax_come_as_the_pacs_keeps_them(pacs_at, need_program, real, tmp_path, mode):
    port, ours = a_free_port(), a_free_port()
    files = []
    for number, ds in enumerate(real):
        files.append(tmp_path / f"{number}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
    series = defaultdict(list)
    for ds in real:
        series[ds.StudyInstanceUID, ds.SeriesInstanceUID].append(str(ds.SOPInstanceUID))
    came: dict[str, Path] = {}

    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port, our_port=ours):
        pacs = pacs_at(port, called_ae_title="ORTHANC", retrieve_mode=mode, move_port=ours)
        pacs.store(files)
        with pacs.connected():
            for (study, number), uids in series.items():
                paths = pacs.retrieve(study, number, uids, tmp_path / "out")
                came |= {path.stem: path for path in paths}

    assert {str(ds.file_meta.TransferSyntaxUID) for ds in real} == SYNTAXES
    for ds in real:
        got = read_dicom(came[ds.SOPInstanceUID])
        assert got.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
        assert got.PixelData == ds.PixelData
        np.testing.assert_array_equal(decode(got), ds.pixel_array)
