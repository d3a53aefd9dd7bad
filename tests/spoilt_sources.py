"""Source instances whose values no standard allows, and the objects that are written from them."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from gtr_batch.config import ReportConfig
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.report import write_refusal
from gtr_batch.report.inherited import OPTIONAL, TYPE_2
from tests.builders import a_case, a_manifest, a_series, a_written_report

SIZE = 16
TEXTS = [keyword for keyword in (*TYPE_2, *OPTIONAL) if dictionary_VR(keyword) not in ("US", "UI")]
GEOMETRY = ("Rows", "Columns", "PixelSpacing", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient")
IDENTITY = ("PatientID", "IssuerOfPatientID")  # what is not the case's patient's is refused before anything is copied
SPOILS = {
    "long": b"x" * 12000,
    "two": b"one\\two",
    "control": b"a\x07\x1b[31mb\x00c",
    "number": b"123456.789012345678901234",
    "undecodable": b"M\xfc\xffller^J\xf6rg",
    "many parts": b"a^b^c^d^e^f=g=h=i",
    "empty": b"",
    "blank": b"  ",
    "nan": b"nan",
    "two dates": b"20260101-20260201",
}


def put(ds: Dataset, keyword: str, value: bytes, vr: str | None = None) -> None:
    """Give an element these bytes, padded to an even number."""
    value += b" " * (len(value) % 2)
    tag = Tag(tag_for_keyword(keyword) or 0)
    ds[tag] = RawDataElement(tag, vr or dictionary_VR(keyword), len(value), value, 0, False, True)


def a_spoilt_series(folder: Path, spoil: str) -> list[Path]:
    """A series in which everything that may be copied, but the geometry, has this value."""

    def spoilt(index: int, ds: Dataset) -> None:
        for keyword in TEXTS:
            if keyword not in (*GEOMETRY, *IDENTITY):
                put(ds, keyword, SPOILS[spoil])

    return a_series(folder, size=SIZE, change=spoilt)


def written(folder: Path, series: list[Path], source: list[Path]) -> dict[str, Dataset]:
    """Objects of a case, of its refusal and of a withdrawal, read back; by kind."""
    case = a_case(series)
    objects = a_written_report(folder, series, SIZE, source_files=source)
    [refusal] = write_refusal(
        folder,
        case=case,
        refusal=Refusal(RefusalCode.SLICE_GAP, "A gap."),
        source_file=source[0],
        manifest=a_manifest(),
        config=ReportConfig(refusal_sr=True),
    )
    found = {**{str(o.kind): o for o in objects}, "refusal": refusal}
    return {kind: pydicom.dcmread(folder / one.file) for kind, one in found.items()}
