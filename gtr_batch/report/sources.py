"""What our objects inherit from the source instances: patient, study, geometry, the imaging procedure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import UID
from pydicom.valuerep import DA, TM

from gtr_batch.domain.identifiers import Uid
from gtr_batch.errors import CaseRejected
from gtr_batch.report.codes import COMPUTED_TOMOGRAPHY, CT_OF_ABDOMEN

# Type 2 elements of the Patient and General Study Modules: ours must carry them, although a source may lack them.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_DIRECTIONS = (("L", "R"), ("P", "A"), ("H", "F"))  # towards +x, -x; +y, -y; +z, -z (PS3.3, C.7.6.1.1.1)


def read_source(path: Path) -> Dataset:
    """Header of a source instance, without pixels, fit to be inherited from.

    Type 2 elements that the source lacks are empty, as are dates and a sex that no DICOM object may carry.

    Raises
    ------
    CaseRejected
        ``invalid_uid``, or ``wrong_modality`` for a SOP class that is no standard image.
    InvalidDicomError
        Not a DICOM file.
    """
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    if not UID(str(ds.get("SOPClassUID", ""))).keyword.endswith("ImageStorage"):
        raise CaseRejected("wrong_modality", f"SOP class {str(ds.get('SOPClassUID', ''))[:64]!r} is no image")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        Uid(str(ds.get(keyword, "")))
    for keyword in _TYPE_2:
        if keyword not in ds or ds.get(keyword) is None:
            setattr(ds, keyword, "")
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(ds.get(keyword))
        except ValueError:
            setattr(ds, keyword, "")
    if ds.PatientSex not in ("M", "F", "O"):
        ds.PatientSex = ""
    return ds


def performed_procedures(source: Dataset) -> list[Code]:
    """The imaging procedure: what the source's *Procedure Code Sequence* says, else CT of what was examined."""
    found = []
    for item in source.get("ProcedureCodeSequence") or []:
        code, scheme, meaning = (
            str(item.get(k, "") or "") for k in ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
        )
        if code and scheme and meaning:
            found.append(Code(code, scheme, meaning))
    if found:
        return found
    words = f"{source.get('BodyPartExamined', '')} {source.get('StudyDescription', '')}".upper()
    return [CT_OF_ABDOMEN if any(w in words for w in ("ABD", "STOMACH", "GASTR")) else COMPUTED_TOMOGRAPHY]


def patient_orientation(source: Dataset) -> tuple[str, str]:
    """*Patient Orientation* (0020,0020) of rows and columns: the nearest direction of each."""
    cosines = np.asarray(source.ImageOrientationPatient, dtype=float).reshape(2, 3)
    letters = []
    for vector in cosines:
        axis = int(np.abs(vector).argmax())
        letters.append(_DIRECTIONS[axis][0 if vector[axis] >= 0 else 1])
    return letters[0], letters[1]


def character_set(source: Dataset, own_text: Sequence[str]) -> Any:
    """The source's *Specific Character Set*, or UTF-8 where our own text needs more than ASCII."""
    return source.get("SpecificCharacterSet") if all(t.isascii() for t in own_text) else "ISO_IR 192"
