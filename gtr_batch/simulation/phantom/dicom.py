"""Phantoms as DICOM CT series with headers as the three scanners write them, and key object selections."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
from attrs import field, frozen
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian
from scipy.ndimage import zoom

from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.simulation.phantom.scanner import Phase, Scanner

Change = Callable[[int, Dataset], Dataset | None]
THIN_MM, THICK_MM = 5.0, 7.5
SERIES_NUMBER = {Phase.UNENHANCED: 2, Phase.ARTERIAL: 3, Phase.PORTAL_VENOUS: 4}


@frozen
class StudyIdentity:
    """Whose study it is; simulated throughout, and kept out of `repr` as a patient's would be."""

    patient_id: str = field(repr=False)
    name: str = field(repr=False)
    sex: str = field(repr=False)
    birth_date: date = field(repr=False)
    accession_number: str = field(repr=False)
    study_uid: str
    study_at: datetime

    @property
    def age_years(self) -> int:
        """Age on the study date."""
        born, on = self.birth_date, self.study_at.date()
        return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def series_uid(identity: StudyIdentity, what: str) -> UID:
    """Series Instance UID of one of the study's series, by its name."""
    return UID(derived_uid("simulation-series", identity.study_uid, what))


def sop_uid(identity: StudyIdentity, what: str, index: int) -> UID:
    """SOP Instance UID of a series' slice, counted from the feet."""
    return UID(derived_uid("simulation-instance", identity.study_uid, what, str(index)))


def write_phase(
    folder: Path,
    phantom: Phantom,
    identity: StudyIdentity,
    phase: Phase,
    *,
    thickness_mm: float | None = None,
    change: Change | None = None,
) -> list[Path]:
    """Write one phase of a phantom as a CT series.

    Parameters
    ----------
    folder : Path
        Made where it is absent; a file an instance, named by its SOP Instance UID.
    phantom, identity, phase
        What is scanned, whose it is, when after the injection.
    thickness_mm : float, optional
        Of the reconstruction; default the scanner's.
    change : callable, optional
        ``change(index, ds)`` may spoil an instance; where it returns None the instance is left out.

    Returns
    -------
    list of Path
        Feet to head.
    """
    folder.mkdir(parents=True, exist_ok=True)
    thickness = thickness_mm or phantom.scanner.thickness_mm
    template = _series_header(phantom, identity, phase, thickness)
    positions = phantom.positions_mm(thickness)
    paths = []
    for index, z in enumerate(positions):
        ds = copy.deepcopy(template)
        _place(ds, phantom, identity, phase, index=index, count=len(positions), z=float(z))
        _set_pixels(ds, phantom.slice_hu(float(z), phase, thickness), phantom.scanner)
        changed = ds if change is None else change(index, ds)
        if changed is not None:
            paths.append(_save(changed, folder))
    return paths


def write_localizer(folder: Path, phantom: Phantom, identity: StudyIdentity) -> Path:
    """Write the frontal localizer from which the range was planned: a projection, not a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    positions = phantom.positions_mm(8.0)[::-1]
    rows = np.stack([phantom.noiseless(float(z), Phase.UNENHANCED, 128).clip(-1000).mean(0) for z in positions])
    attenuation = (rows + 1000) * 0.9 - 250
    image = zoom(attenuation, (8, 4), order=1)
    ds = _common(phantom, identity, identity.study_at + timedelta(minutes=2))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.SeriesInstanceUID = series_uid(identity, "localizer")
    ds.SOPInstanceUID = sop_uid(identity, "localizer", 0)
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 1, 1, 1
    ds.SeriesDescription = "Surview" if phantom.scanner.manufacturer == "Philips" else "Scano"
    ds.SliceThickness, ds.ConvolutionKernel = 1.0, phantom.scanner.kernel
    width_mm = phantom.pixel_mm * phantom.matrix
    ds.PixelSpacing = [1.0, round(width_mm / image.shape[1], 5)]
    ds.ImagePositionPatient = [round(-width_mm / 2, 3), 0.0, round(float(positions[0]), 3)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    _set_pixels(ds, image, phantom.scanner)
    ds.RescaleType = "US"  # a projection is not in HU
    return _save(ds, folder)


def write_key_objects(folder: Path, evidence: Dataset, identity: StudyIdentity) -> Path:
    """Write a Key Object Selection ("Of Interest") that points at one CT instance of the study.

    References
    ----------
    DICOM PS3.3, C.17.6 Key Object Document Module; PS3.16, TID 2010
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    selection = hd.ko.KeyObjectSelection(
        document_title=codes.DCM.OfInterest,
        referenced_objects=[evidence],
        description="Largest axial cross-section of the gastric tumour",
    )
    document = hd.ko.KeyObjectSelectionDocument(
        evidence=[evidence],
        content=selection,
        series_instance_uid=series_uid(identity, "key-objects"),
        series_number=100,
        sop_instance_uid=sop_uid(identity, "key-objects", 0),
        instance_number=1,
        manufacturer=evidence.get("Manufacturer"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    for item in document.ContentSequence:
        if item.ValueType == "IMAGE":  # TID 2010, row 8: no concept name
            item.pop("ConceptNameCodeSequence", None)
    read_at = identity.study_at + timedelta(minutes=35)
    document.ContentDate, document.ContentTime = f"{read_at:%Y%m%d}", f"{read_at:%H%M%S}"
    document.SeriesDescription = "Key images"
    folder.mkdir(parents=True, exist_ok=True)
    return _save(document, folder)


def _common(phantom: Phantom, identity: StudyIdentity, at: datetime) -> Dataset:
    """Patient, study, equipment and acquisition elements that all of a study's images share."""
    scanner = phantom.scanner
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.SOPClassUID, ds.Modality = CTImageStorage, "CT"
    ds.PatientName, ds.PatientID = identity.name, identity.patient_id
    ds.PatientBirthDate = f"{identity.birth_date:%Y%m%d}"
    ds.PatientSex, ds.PatientAge = identity.sex, f"{identity.age_years:03d}Y"
    ds.StudyInstanceUID, ds.StudyID = identity.study_uid, identity.accession_number[-8:]
    ds.AccessionNumber, ds.ReferringPhysicianName = identity.accession_number, ""
    ds.StudyDate, ds.StudyTime = f"{identity.study_at:%Y%m%d}", f"{identity.study_at:%H%M%S}"
    for what in ("Series", "Acquisition", "Content"):
        setattr(ds, f"{what}Date", f"{at:%Y%m%d}")
        setattr(ds, f"{what}Time", f"{at:%H%M%S}.{at.microsecond // 1000:03d}")
    ds.StudyDescription, ds.ProtocolName = "CT upper abdomen, stomach, 3 phases", scanner.protocol
    ds.Manufacturer, ds.ManufacturerModelName = scanner.manufacturer, scanner.model
    ds.InstitutionName, ds.StationName = "Simulated hospital", scanner.station
    ds.SoftwareVersions, ds.DeviceSerialNumber = scanner.software, f"SIM{sum(map(ord, scanner.name)):05d}"
    ds.BodyPartExamined, ds.PatientPosition = "ABDOMEN", "HFS"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = (
        UID(derived_uid("simulation-frame", identity.study_uid)),
        "",
    )
    ds.KVP, ds.DataCollectionDiameter = scanner.kvp, 500
    ds.ReconstructionDiameter = round(phantom.pixel_mm * phantom.matrix, 3)
    ds.GantryDetectorTilt, ds.TableHeight, ds.RotationDirection = 0, 150, "CW"
    ds.ExposureTime, ds.XRayTubeCurrent = 500, int(180 * phantom.anatomy.scale**2)
    ds.Exposure = ds.XRayTubeCurrent // 2
    ds.FilterType, ds.GeneratorPower, ds.FocalSpots = "BODY", 40, [1.0]
    ds.SingleCollimationWidth, ds.TotalCollimationWidth = scanner.collimation_mm
    ds.SpiralPitchFactor, ds.ExposureModulationType = 0.9, scanner.modulation
    return ds


def _series_header(phantom: Phantom, identity: StudyIdentity, phase: Phase, thickness_mm: float) -> Dataset:
    scanner = phantom.scanner
    injected_at = identity.study_at + timedelta(minutes=6)
    low, high = scanner.portal_delay_s
    delay = {
        Phase.UNENHANCED: -90,
        Phase.ARTERIAL: scanner.arterial_delay_s,
        Phase.PORTAL_VENOUS: low + phantom.index % (high - low + 1),
    }[phase]
    ds = _common(phantom, identity, injected_at + timedelta(seconds=delay))
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesInstanceUID = series_uid(identity, phase)
    ds.SeriesNumber = ds.AcquisitionNumber = SERIES_NUMBER[phase]
    ds.SeriesDescription = scanner.descriptions[phase]
    ds.SliceThickness, ds.ConvolutionKernel = thickness_mm, scanner.kernel
    if phase is not Phase.UNENHANCED:
        ds.ContrastBolusAgent, ds.ContrastBolusRoute = scanner.agent, "IV"
        ds.ContrastBolusVolume = ds.ContrastBolusTotalDose = scanner.dose_ml
        ds.ContrastFlowRate = scanner.rate_ml_s
        ds.ContrastFlowDuration = round(scanner.dose_ml / scanner.rate_ml_s, 1)
        ds.ContrastBolusIngredient = "IODINE"
        ds.ContrastBolusIngredientConcentration = scanner.concentration_mg_ml
        ds.ContrastBolusStartTime = f"{injected_at:%H%M%S}"
    spacing = round(phantom.pixel_mm, 6)
    ds.PixelSpacing, ds.ImageOrientationPatient = [spacing, spacing], [1, 0, 0, 0, 1, 0]
    return ds


def _place(
    ds: Dataset, phantom: Phantom, identity: StudyIdentity, phase: Phase, *, index: int, count: int, z: float
) -> None:
    ds.SOPInstanceUID = sop_uid(identity, phase, index)
    ds.InstanceNumber = count - index  # scanned from head to feet
    corner = round(-(phantom.matrix - 1) / 2 * phantom.pixel_mm, 4)
    ds.ImagePositionPatient = [corner, corner, round(z, 3)]
    ds.SliceLocation = round(z, 3)
    scanned_at = datetime.strptime(ds.AcquisitionDate + ds.AcquisitionTime[:6], "%Y%m%d%H%M%S") + timedelta(  # noqa: DTZ007
        seconds=(count - 1 - index) * 0.08
    )
    ds.AcquisitionTime = f"{scanned_at:%H%M%S}.{scanned_at.microsecond // 1000:03d}"
    shown_at = scanned_at + timedelta(seconds=20)
    ds.ContentTime = f"{shown_at:%H%M%S}.{shown_at.microsecond // 1000:03d}"


def _set_pixels(ds: Dataset, image_hu: np.ndarray, scanner: Scanner) -> None:
    stored = np.round(image_hu) + scanner.offset
    ds.Rows, ds.Columns = stored.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = 16 if scanner.signed else 12
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = int(scanner.signed)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -scanner.offset, 1, "HU"
    ds.WindowCenter, ds.WindowWidth = 50, 350
    low, high = (-2048, 4095) if scanner.signed else (0, 4095)
    ds.PixelData = np.clip(stored, low, high).astype("<i2" if scanner.signed else "<u2").tobytes()


def _save(ds: Dataset, folder: Path) -> Path:
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path
