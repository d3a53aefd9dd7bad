"""The canary series: a small enhanced abdomen with a thickened stomach wall, drawn when a model is registered.

It is stored with the model as the DICOM files that it is read from, so no later version of a library draws it anew.
It shows nobody: its patient is called CANARY.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from gtr_batch.domain.identifiers import derived_uid

SLICES, SIDE, PIXEL_MM, THICKNESS_MM = 12, 160, 2.4, 5.0
KEY = SLICES // 2
PATIENT = "CANARY"
SCANNED_AT = datetime(2000, 1, 1, 12, 0)  # noqa: DTZ001 - as DICOM has it
STUDY_UID = derived_uid("canary", "study")
SERIES_UID = derived_uid("canary", "series")
KEY_UID = derived_uid("canary", "instance", str(KEY))


def draw() -> Mapping[str, bytes]:
    """The series' DICOM files by SOP Instance UID, feet to head."""
    noise = np.random.default_rng(20000101)
    found = {}
    for index in range(SLICES):
        ds = _instance(index, _slice_hu(index) + noise.integers(-6, 7, (SIDE, SIDE)))
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        found[str(ds.SOPInstanceUID)] = buffer.getvalue()
    return found


def _slice_hu(index: int) -> np.ndarray:
    """One slice in HU: fat, muscle, liver, spleen, spine, aorta, and a stomach whose wall is thickest in the middle."""
    y, x = ((np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2) * PIXEL_MM).astype(float)
    height = index / (SLICES - 1)  # 0 at the feet

    def inside(centre_x: float, centre_y: float, radius_x: float, radius_y: float) -> np.ndarray:
        return ((x - centre_x) / radius_x) ** 2 + ((y - centre_y) / radius_y) ** 2 < 1

    wall_mm = 5.0 + 14.0 * np.exp(-(((index - KEY) / 2.5) ** 2))
    image = np.full((SIDE, SIDE), -1000.0)
    for where, hu in (
        (inside(0, 0, 165, 120), -95.0),
        (inside(0, 0, 150, 105), 52.0),
        (inside(-75, -15, 62 + 10 * height, 58), 112.0),
        (inside(95, 35, 28, 34), 125.0),
        (inside(0, 62, 22, 20), 320.0),
        (inside(14, 34, 11, 11), 155.0),
        (inside(42, -35, 46, 36), 88.0),
        (inside(42 + wall_mm / 3, -35, 46 - wall_mm, 31 - wall_mm / 2), 8.0),
        (inside(42, -52, 20, 9), -900.0),
    ):
        image[where] = hu
    image *= np.where(image > -200, 1 + 0.04 * np.cos(x / 90) * np.sin(y / 70), 1.0)
    return image


def _instance(index: int, hu: np.ndarray) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(derived_uid("canary", "instance", str(index)))
    ds.StudyInstanceUID, ds.SeriesInstanceUID = UID(STUDY_UID), UID(SERIES_UID)
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = UID(derived_uid("canary", "frame")), ""
    ds.PatientName, ds.PatientID = PATIENT, PATIENT
    ds.PatientBirthDate, ds.PatientSex = "", "O"
    for what in ("Study", "Series", "Acquisition", "Content"):
        setattr(ds, f"{what}Date", f"{SCANNED_AT:%Y%m%d}")
        setattr(ds, f"{what}Time", f"{SCANNED_AT:%H%M%S}")
    ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = "", "1", ""
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "gtr-batch", "canary"
    ds.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
    ds.BodyPartExamined, ds.PatientPosition = "ABDOMEN", "HFS"
    ds.StudyDescription, ds.SeriesDescription = "CT abdomen", "Canary, portal venous"
    ds.ConvolutionKernel, ds.KVP = "none", "120"
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = "1", str(index + 1), "1"
    corner = -(SIDE - 1) / 2 * PIXEL_MM
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [corner, corner, index * THICKNESS_MM], [1, 0, 0, 0, 1, 0]
    ds.SliceLocation, ds.SliceThickness, ds.PixelSpacing = index * THICKNESS_MM, THICKNESS_MM, [PIXEL_MM, PIXEL_MM]
    ds.Rows = ds.Columns = SIDE
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = "1", "0", "HU"
    ds.PixelData = np.round(hu).astype("<i2").tobytes()
    return ds
