"""What our objects inherit from the source instances: patient, study, geometry, the imaging procedure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.sr.coding import Code

from gtr_batch.domain.stack import ORIENTATION_TOLERANCE, distinct
from gtr_batch.errors import CaseRejected, UnreadableFile
from gtr_batch.logs import get_logger
from gtr_batch.reading import read_dicom
from gtr_batch.report.codes import COMPUTED_TOMOGRAPHY, CT_OF_ABDOMEN
from gtr_batch.report.inherited import UTF_8, code_value, frame_of_reference, inherit

log = get_logger("report")

_RETIRED = ("Hardcopy", "XRayAngiographicBiPlane", "DICOS", "EddyCurrent")  # highdicom knows no IOD of them
_DIRECTIONS = (("L", "R"), ("P", "A"), ("H", "F"))  # towards +x, -x; +y, -y; +z, -z (PS3.3, C.7.6.1.1.1)


def read_sources(paths: Sequence[Path], case_id: str) -> list[Dataset]:
    """What objects may inherit from source instances: see `gtr_batch.report.inherited`.

    What could not be copied as it is stands in the log, once for all of them, by attribute and without any value.

    Raises
    ------
    CaseRejected
        ``invalid_uid``, or ``wrong_modality`` for a SOP class that is no standard image.
    InvalidDicomError
        Not a DICOM file, or one whose header cannot be read.
    """
    found = [_read(path) for path in paths]
    remarks = dict.fromkeys(remark for _, of_one in found for remark in of_one)
    if remarks:
        log.warning("report.source_values", case_id=case_id, remarks=list(remarks))
    sources = [ds for ds, _ in found]
    _share_orientation(sources)
    return sources


def _share_orientation(sources: Sequence[Dataset]) -> None:
    """Give slices that are parallel within the tolerance one orientation: highdicom asks for the same digits."""
    first = sources[0].get("ImageOrientationPatient")
    for ds in sources[1:]:
        own = ds.get("ImageOrientationPatient")
        if first and own and distinct([tuple(map(float, first)), tuple(map(float, own))], ORIENTATION_TOLERANCE) == 1:
            ds.ImageOrientationPatient = list(first)


def _read(path: Path) -> tuple[Dataset, tuple[str, ...]]:
    try:
        source = read_dicom(path, stop_before_pixels=True)
    except UnreadableFile as err:
        raise InvalidDicomError(f"header cannot be read: {err}") from err
    ds, remarks = inherit(source)
    kind = ds.SOPClassUID.keyword
    if not kind.endswith("ImageStorage") or kind.startswith(_RETIRED):
        raise CaseRejected("wrong_modality", f"SOP class {str(ds.SOPClassUID)[:64]!r} is no image")
    ds.FrameOfReferenceUID = frame_of_reference(ds)
    ds.Modality, ds.SamplesPerPixel = _modality(kind), 1  # highdicom asks for both; neither is copied
    return ds, remarks


def _modality(sop_class: str) -> str:
    return "CT" if sop_class.startswith(("CTImage", "EnhancedCT", "LegacyConvertedEnhancedCT")) else "OT"


def performed_procedures(source: Dataset) -> list[Code]:
    """The imaging procedure: what the source's *Procedure Code Sequence* says, else CT of what was examined."""
    found = []
    for item in source.get("ProcedureCodeSequence") or []:
        found.append(Code(code_value(item), item.CodingSchemeDesignator, item.CodeMeaning))
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
    return source.get("SpecificCharacterSet") if all(t.isascii() for t in own_text) else UTF_8
