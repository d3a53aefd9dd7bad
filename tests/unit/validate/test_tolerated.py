"""What scanners and archives do to a good series, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from gtr_batch.config import ValidateConfig
from gtr_batch.errors import CaseRejected
from gtr_batch.preprocess import read_series
from gtr_batch.validate import CaseFiles, Verdict, validate_shard
from tests.phantoms import abdomen_hu, write_series

SLICES, SIZE = 9, 128
SMALL = ValidateConfig(min_slices=8, min_coverage_mm=20.0, matrix=SIZE)
Change = Callable[[int, Dataset], None]


def every_other(**values: tuple[object, object]) -> Change:
    """Set header values to one thing in even slices and to another in odd ones."""

    def change(index: int, ds: Dataset) -> None:
        for keyword, (even, odd) in values.items():
            setattr(ds, keyword, odd if index % 2 else even)

    return change


def issuers(*of_first: str) -> Change:
    """The first slices have these issuers of the PatientID, the others HOSPITAL."""

    def change(index: int, ds: Dataset) -> None:
        ds.IssuerOfPatientID = of_first[index] if index < len(of_first) else "HOSPITAL"

    return change


def padded(declared: bool) -> Change:
    """Outside the circle of reconstruction lies the largest stored value."""

    def change(index: int, ds: Dataset) -> None:
        image = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns).copy()
        y, x = np.mgrid[: ds.Rows, : ds.Columns] / ds.Rows - 0.5
        image[x**2 + y**2 > 0.24] = 32767
        ds.PixelData = image.tobytes()
        if declared:
            ds.PixelPaddingValue = 32767

    return change


def padded_and_stamped(index: int, ds: Dataset) -> None:
    padded(declared=True)(index, ds)
    image = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, ds.Columns).copy()
    image[6:20, 40:90:3] = 3000
    ds.PixelData = image.tobytes()


def localizers(*places: int) -> Change:
    """Some instances are coronal localizers."""

    def change(index: int, ds: Dataset) -> None:
        if index in places:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
            ds.FrameOfReferenceUID = "1.2.3.77"

    return change


def dose_page(index: int, ds: Dataset) -> None:
    """The last instance is a page of the dose in colour, without a place in the patient."""
    if index == SLICES:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        ds.ImageType = ["DERIVED", "SECONDARY", "DOSE_INFO"]
        del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.FrameOfReferenceUID, ds.SliceThickness
        del ds.RescaleSlope, ds.RescaleIntercept
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.Rows = ds.Columns = 100
        ds.PixelData = np.full((100, 100, 3), 255, np.uint8).tobytes()


def stranger_dose_page(index: int, ds: Dataset) -> None:
    dose_page(index, ds)
    if index == SLICES:
        ds.PatientID = "SOMEBODY-ELSE"


ACCEPTED: dict[str, Change] = {
    "orientation in the sixth digit": every_other(ImageOrientationPatient=([1, 0, 0, 0, 1, 0], [1, 2e-6, 0, 0, 1, 0])),
    "orientation on two sides of a rounding": every_other(
        ImageOrientationPatient=([1, 0.0004999, 0, 0, 1, 0], [1, 0.0005001, 0, 0, 1, 0])
    ),
    "spacing in the seventh digit": every_other(PixelSpacing=([1.50005, 1.50005], [1.5000501, 1.5000501])),
    "thickness in the seventh digit": every_other(SliceThickness=(3.00005, 3.0000501)),
    "padding is the largest value": padded(declared=True),
    "no issuer on one slice": issuers("HOSPITAL", ""),
    "a localizer before the slices": localizers(0),
    "two localizers": localizers(0, SLICES),
    "a dose page after the slices": dose_page,
}
REFUSED: dict[str, tuple[str, Change]] = {
    "another orientation": (
        "inconsistent_headers",
        lambda index, ds: setattr(ds, "ImageOrientationPatient", [1, 0.002 * (index == 4), 0, 0, 1, 0]),
    ),
    "another spacing": ("inconsistent_headers", every_other(PixelSpacing=([1.5, 1.5], [1.502, 1.502]))),
    "two issuers": ("inconsistent_headers", issuers("HOSPITAL", "ANOTHER")),
    "padding that no header declares": ("scrubbed_pixels", padded(declared=False)),
    "text beside padding": ("scrubbed_pixels", padded_and_stamped),
    "a localizer in the place of a slice": ("slice_gap", localizers(4)),
    "four localizers": ("not_primary_axial", localizers(0, 1, 2, 3)),
    "a dose page of another patient": ("inconsistent_headers", stranger_dose_page),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    volume = abdomen_hu(SLICES + 1, SIZE)
    for name, change in (*ACCEPTED.items(), *((n, c) for n, (_, c) in REFUSED.items())):
        write_series(folder / name, volume, change=change, spacing_mm=1.5)
    return folder


@pytest.fixture(scope="module")
def shard(root: Path) -> dict[str, Verdict]:
    """All of them in one Great Expectations run."""
    return validate_shard([CaseFiles(name, root / name) for name in (*ACCEPTED, *REFUSED)], SMALL)


@pytest.mark.parametrize("name", ACCEPTED)
def test_validation_and_preprocessing_both_take_a_series_with(shard: dict[str, Verdict], root: Path, name: str) -> None:
    aside = {"a localizer before the slices": 1, "two localizers": 2, "a dose page after the slices": 1}.get(name, 0)

    volume = read_series(root / name)

    assert shard[name].ok, shard[name].refusal
    assert shard[name].facts["slices"] == len(volume.positions_mm) == SLICES + 1 - aside


@pytest.mark.parametrize("name", REFUSED)
def test_validation_refuses_a_series_with(shard: dict[str, Verdict], name: str) -> None:
    refusal = shard[name].refusal

    assert refusal is not None
    assert refusal.code == REFUSED[name][0], refusal


@pytest.mark.parametrize("name", ["another orientation", "another spacing", "four localizers"])
def test_preprocessing_refuses_the_geometry_that_validation_refuses(root: Path, name: str) -> None:
    with pytest.raises(CaseRejected):
        read_series(root / name)
