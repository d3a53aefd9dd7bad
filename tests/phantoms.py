"""Small CT series whose answers are known, as proper DICOM files. No patient data, ever.

For whole abdomens with a stomach and a T stage see `gtr_batch.simulation`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from gtr_batch.domain.identifiers import derived_uid

Change = Callable[[int, Dataset], None]


def ct_dataset(
    index: int,
    pixels: np.ndarray,
    *,
    name: str = "a",
    position_mm: float | None = None,
    spacing_mm: float = 0.8,
    thickness_mm: float = 3.0,
    study: str | None = None,
) -> Dataset:
    """One CT instance of the series `name`; `pixels` in HU, shape (rows, columns)."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = UID(derived_uid("phantom", name, str(index)))
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.StudyInstanceUID = UID(study or derived_uid("phantom-study", name))
    ds.SeriesInstanceUID = UID(derived_uid("phantom-series", name))
    ds.FrameOfReferenceUID = UID(derived_uid("phantom-frame", name))
    ds.PositionReferenceIndicator = ""
    ds.PatientName, ds.PatientID = "Phantom^Test", "PHANTOM-1"
    ds.PatientBirthDate, ds.PatientSex = "19600101", "F"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260301"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "201500"
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "ACC1", "1", ""
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "Phantom", "Phantom 64"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.BodyPartExamined, ds.PatientPosition = "ABDOMEN", "HFS"
    ds.StudyDescription, ds.SeriesDescription = "CT abdomen", "Abdomen portal venous 3.0"
    ds.ProtocolName, ds.ConvolutionKernel, ds.KVP = "Abdomen 3 phase", "B30f", "120"
    ds.ContrastBolusAgent, ds.GantryDetectorTilt = "Iohexol 350", "0"
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = "4", str(index + 1), "1"
    z = index * thickness_mm if position_mm is None else position_mm
    rows, columns = pixels.shape
    ds.ImagePositionPatient = [-columns * spacing_mm / 2, -rows * spacing_mm / 2, z]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceLocation = z
    ds.PixelSpacing = [spacing_mm, spacing_mm]
    ds.SliceThickness = thickness_mm
    ds.Rows, ds.Columns = rows, columns
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", "0", "HU"
    ds.WindowCenter, ds.WindowWidth = "50", "350"
    ds.PixelData = np.ascontiguousarray(np.round(pixels).astype("<i2")).tobytes()
    return ds


def abdomen_hu(slices: int, size: int = 512, seed: int = 0) -> np.ndarray:
    """A simple enhanced abdomen in HU, shape (slices, size, size): air, body 60, a spine, an aorta, a 110 HU liver."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    volume = np.full((slices, size, size), -1000.0)
    body = (x / 0.42) ** 2 + (y / 0.3) ** 2 < 1
    fat = body & ~((x / 0.38) ** 2 + (y / 0.26) ** 2 < 1)
    for z in range(slices):
        image = volume[z]
        image[body] = 60
        image[fat] = -100
        image[((x + 0.18) / 0.15) ** 2 + (y / 0.16) ** 2 < 1] = 110
        image[x**2 + (y - 0.16) ** 2 < 0.04**2] = 400
        image[(x - 0.03) ** 2 + (y - 0.09) ** 2 < 0.02**2] = 150
        image[body] += rng.normal(0, 10, int(body.sum()))
    return volume


def write_series(
    folder: Path, volume: np.ndarray, *, change: Change | None = None, shuffle: bool = True, **options: object
) -> list[Path]:
    """Write a volume (slices, rows, columns) in HU as a series; `change(index, ds)` may spoil any instance.

    File names do not tell the order when `shuffle`. Other options as `ct_dataset`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, pixels in enumerate(volume):
        ds = ct_dataset(index, pixels, **options)  # type: ignore[arg-type]
        if change is not None:
            change(index, ds)
        number = (index * 7919) % 100_003 if shuffle else index
        path = folder / f"{number:06d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
