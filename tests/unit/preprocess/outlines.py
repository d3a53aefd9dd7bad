"""Key objects, segmentations and structure sets that point into a series, as proper DICOM files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom import Dataset, FileMetaDataset
from pydicom import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from gtr_batch.domain.identifiers import derived_uid


def headers(paths: Sequence[Path]) -> list[Dataset]:
    """The series' instances, ascending along z."""
    return sorted((pydicom.dcmread(p) for p in paths), key=lambda ds: float(ds.ImagePositionPatient[2]))


def key_objects(
    path: Path,
    marked: Sequence[Dataset],
    title=codes.DCM.OfInterest,
    at="120000",
    *,
    observer=None,
    description=None,
    series="",
    number=1,
) -> Path:
    """A Key Object Selection of `marked`."""
    ds = hd.ko.KeyObjectSelectionDocument(
        evidence=list(marked),
        content=hd.ko.KeyObjectSelection(
            title, referenced_objects=list(marked), observer_device_context=observer, description=description
        ),
        series_instance_uid=derived_uid("ko-series", path.name),
        series_number=90,
        sop_instance_uid=derived_uid("ko", path.name),
        instance_number=number,
        manufacturer="Phantom",
    )
    ds.ContentDate, ds.ContentTime, ds.SeriesDescription = "20260301", at, series
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.save_as(path)
    return path


def device_observer() -> hd.sr.ObserverContext:
    """A device, as this service writes itself down."""
    return hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(uid=derived_uid("device")),
    )


def segmentation(
    path: Path, sources: Sequence[Dataset], areas: dict[str, Sequence[int]], *, kinds: dict | None = None, regions=None
) -> Path:
    """A Segmentation; `areas` gives per segment label the pixels per slice, `kinds` its property type."""
    shape = (len(sources), int(sources[0].Rows), int(sources[0].Columns), len(areas))
    pixels = np.zeros(shape, np.uint8)
    for number, counts in enumerate(areas.values()):
        for index, count in enumerate(counts):
            pixels[index].reshape(-1, len(areas))[:count, number] = 1
    described = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=(kinds or {}).get(label, codes.SCT.Neoplasm),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
            anatomic_regions=(regions or {}).get(label),
        )
        for number, label in enumerate(areas, 1)
    ]
    ds = hd.seg.Segmentation(
        source_images=list(sources),
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=described,
        series_instance_uid=derived_uid("seg-series", path.name),
        series_number=91,
        sop_instance_uid=derived_uid("seg", path.name),
        instance_number=1,
        manufacturer="Phantom",
        manufacturer_model_name="Phantom",
        software_versions="1",
        device_serial_number="1",
    )
    ds.save_as(path)
    return path


def _square(side_mm: float, z: float, at: float = 0.0) -> list[float]:
    half = side_mm / 2
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    return [value for x, y in corners for value in (x + at, y + at, z)]


def structure_set(
    path: Path,
    sources: Sequence[Dataset],
    regions: dict[str, dict[int, Sequence[float]]],
    *,
    interpreted: dict[str, str] | None = None,
    name_instances: bool = True,
) -> Path:
    """An RT Structure Set; per region of interest and slice the sides in mm of concentric squares."""
    first = sources[0]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("rtstruct", path.name)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = first.StudyInstanceUID, derived_uid("rt-series", path.name)
    ds.Modality, ds.StructureSetLabel = "RTSTRUCT", "PLAN"
    ds.StructureSetROISequence, ds.ROIContourSequence = DicomSequence(), DicomSequence()
    ds.RTROIObservationsSequence = DicomSequence()
    for number, (name, slices) in enumerate(regions.items(), 1):
        roi, contours, observation = Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        roi.ReferencedFrameOfReferenceUID = first.FrameOfReferenceUID
        ds.StructureSetROISequence.append(roi)
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = (interpreted or {}).get(name, "")
        ds.RTROIObservationsSequence.append(observation)
        contours.ReferencedROINumber, contours.ContourSequence = number, DicomSequence()
        for index, sides in slices.items():
            source = sources[index]
            for side in sides:
                contour = Dataset()
                contour.ContourGeometricType = "CLOSED_PLANAR"
                contour.ContourData = _square(side, float(source.ImagePositionPatient[2]))
                contour.NumberOfContourPoints = 4
                if name_instances:
                    image = Dataset()
                    image.ReferencedSOPClassUID = source.SOPClassUID
                    image.ReferencedSOPInstanceUID = source.SOPInstanceUID
                    contour.ContourImageSequence = DicomSequence([image])
                contours.ContourSequence.append(contour)
        ds.ROIContourSequence.append(contours)
    ds.save_as(path, enforce_file_format=True)
    return path
