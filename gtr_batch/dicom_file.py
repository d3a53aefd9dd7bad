"""Whether a DICOM file on our disk is intact: there, not empty, not cut off."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataelem import RawDataElement

from gtr_batch.reading import read_dicom


def is_intact(path: Path, uid: str) -> bool:
    """Whether a file is a DICOM file of this instance that can be read to its end; values are not decoded."""
    try:
        ds = read_dicom(path)
        if ds.file_meta.get("MediaStorageSOPInstanceUID") != uid or not len(ds):
            return False
        last = ds.get_item(max(ds.keys()))
    except Exception:  # noqa: BLE001 - a broken file breaks pydicom in many ways (RecursionError): it is fetched again
        return False
    # The reader takes what is left of a file for the last value; an undefined length it has followed to its end.
    short = isinstance(last, RawDataElement) and last.length != 0xFFFFFFFF and len(last.value or b"") != last.length
    return not short
