"""A real CT series as one more patient of the simulated hospital's night."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from pathlib import Path
from zlib import crc32

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from gtr_batch.domain.identifiers import Uid, derived_uid
from gtr_batch.domain.staging import KeySliceSource, TStage
from gtr_batch.errors import CaseRejected, InputRefused, UnreadableFile
from gtr_batch.query_answers import integer, study_time, text
from gtr_batch.reading import check_pixels, read_dicom
from gtr_batch.simulation.hospital.ehr import clinical_rows, draw_clinical, write_extracts
from gtr_batch.simulation.hospital.patient import Patient
from gtr_batch.simulation.phantom.dicom import StudyIdentity, write_key_objects

_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")


def adopt_series(
    folder: Path, out_folder: Path, ehr_folder: Path, night: date, key_slice: str | int | None = None
) -> Patient:
    """Put a real CT series among the night's studies.

    The files are copied with a fresh Patient ID and accession number and the night's dates; pixels, geometry and valid
    UIDs stay; empty or invalid UIDs are replaced by derived ones. The EHR gets an eligible patient whose tumour size,
    Lauren type and differentiation are left unknown.

    Parameters
    ----------
    folder : Path
        Holds one CT series; files that are not DICOM are passed over.
    out_folder : Path
        Gets the copies.
    ehr_folder : Path
        Gets one more row in the patient and biopsy extracts.
    night : date
        Study date of the copies.
    key_slice : str or int, optional
        SOP Instance UID or instance number; a Key Object Selection is written for it.

    Returns
    -------
    Patient
        Of unknown stage; expected to be staged.

    Raises
    ------
    InputRefused
        No CT series in the folder, more than one, or no such key slice.
    """
    read = _read(folder)
    marked = _marked(read, key_slice)
    identity = _identity(read[0], night)
    out_folder.mkdir(parents=True, exist_ok=True)
    for place, ds in enumerate(read):
        _become(ds, identity, place)
        try:
            ds.save_as(out_folder / f"{ds.SOPInstanceUID}.dcm", enforce_file_format=True)
        except Exception as err:  # a header that pydicom read and cannot write again: it raises as it likes
            raise InputRefused(
                f"instance {place + 1} of the series cannot be copied: its header is malformed ({type(err).__name__})"
            ) from err
    if marked is not None:
        write_key_objects(out_folder, marked, identity)
    clinical = draw_clinical(np.random.default_rng(crc32(identity.study_uid.encode())), TStage.T3)
    rows = clinical_rows(identity.patient_id, identity.birth_date, clinical, night)
    rows["tumour"], rows["marker"] = [], []
    rows["biopsy"][0] |= {"lauren": "", "differentiation": ""}
    write_extracts(ehr_folder, [rows])
    source = KeySliceSource.AUTOMATIC if marked is None else KeySliceSource.KEY_OBJECT
    return Patient(identity=identity, clinical=clinical, scanner=None, true_stage=None, key_slice=source)


def _read(folder: Path) -> list[Dataset]:
    """The folder's CT instances, in the order of their numbers."""
    if not folder.is_dir():
        raise InputRefused(f"no folder {folder}")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    read, unread = [], []
    for path in files:
        try:
            ds = _instance(path)
        except UnreadableFile as err:
            unread.append(f"{path.name} {err.why}")
            continue
        if ds is None or text(ds, "SOPClassUID") != CTImageStorage:
            continue
        try:
            check_pixels(ds)
        except UnreadableFile as err:
            raise InputRefused(f"{path.name} {err.why}") from err
        read.append(ds)
    series = {text(ds, "SeriesInstanceUID") for ds in read}
    if len(series) != 1:
        passed_over = f"; passed over {len(unread)}: {unread[0]}" if unread else ""
        raise InputRefused(
            f"{folder} holds {len(series)} CT series, not one: {len(read)} of its {len(files)} files are CT images"
            f"{passed_over}"
        )
    return sorted(read, key=lambda ds: integer(ds, "InstanceNumber") or 0)


def _instance(path: Path) -> Dataset | None:
    """The data set of a file, also of one without preamble and file meta information; None where it holds none.

    Raises
    ------
    UnreadableFile
        It cannot be read, or would cost more than any real one does.
    """
    ds = read_dicom(path, force=True)
    try:
        if "TransferSyntaxUID" not in ds.file_meta:
            explicit = not ds.original_encoding[0]
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if explicit else ImplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    except Exception:  # noqa: BLE001 - a file that is no DICOM breaks the parser in many ways
        return None
    return ds


def _marked(read: list[Dataset], key_slice: str | int | None) -> Dataset | None:
    if key_slice is None or key_slice == "":
        return None
    wanted = str(key_slice)
    for ds in read:
        if wanted in (text(ds, "SOPInstanceUID"), text(ds, "InstanceNumber")):
            return ds
    raise InputRefused(f"key slice {wanted} is neither a SOP Instance UID nor an instance number of the series")


def _identity(ds: Dataset, night: date) -> StudyIdentity:
    at = datetime.combine(night, study_time(ds) or time(17))
    study = _valid(ds.get("StudyInstanceUID"), "adopted-study", str(ds.get("SeriesInstanceUID", "")), night.isoformat())
    number = crc32(study.encode()) % 1_000_000
    sex = str(ds.get("PatientSex", "") or "O")
    return StudyIdentity(
        patient_id=f"SIM-A{number:06d}",
        name=f"Phantom^Adopted{number:06d}",
        sex=sex if sex in ("F", "M") else "F",
        birth_date=night - timedelta(days=62 * 365),
        accession_number=f"SIMA{night:%y%m%d}{number:06d}",
        study_uid=study,
        study_at=at,
    )


def _become(ds: Dataset, identity: StudyIdentity, place: int) -> None:
    """Give an instance its new identity, in place."""
    series = str(ds.get("SeriesInstanceUID", ""))
    ds.SOPInstanceUID = UID(
        _valid(ds.get("SOPInstanceUID"), "adopted-instance", identity.study_uid, series, str(place))
    )
    ds.SeriesInstanceUID = UID(_valid(series, "adopted-series", identity.study_uid))
    ds.StudyInstanceUID = UID(identity.study_uid)
    ds.FrameOfReferenceUID = UID(_valid(ds.get("FrameOfReferenceUID"), "adopted-frame", identity.study_uid))
    ds.PatientID, ds.PatientName = identity.patient_id, identity.name
    ds.PatientBirthDate, ds.PatientSex = f"{identity.birth_date:%Y%m%d}", identity.sex
    ds.PatientAge = f"{identity.age_years:03d}Y"
    ds.AccessionNumber, ds.StudyID = identity.accession_number, identity.accession_number[-8:]
    ds.StudyTime = f"{identity.study_at:%H%M%S}"
    for keyword in _DATES:
        setattr(ds, keyword, f"{identity.study_at:%Y%m%d}")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID


def _valid(value: object, *parts: str) -> str:
    try:
        return Uid(str(value or ""))
    except CaseRejected:
        return derived_uid(*parts)
