"""The pictures of a case as a page shows them: slices in HU, heat maps, and the overview that outlives the pixels."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from gtr_batch.domain.case import Step
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.domain.stack import padding_range
from gtr_batch.errors import UnreadableFile
from gtr_batch.ports import KeptFiles
from gtr_batch.reading import BROKEN, decode, read_dicom

_HEADER: list[Any] = [
    *("SOPClassUID", "SOPInstanceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"),
]
_PIXELS: list[Any] = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("RescaleSlope", "RescaleIntercept", "PixelData"),
]
_PADDING_HU = -1024
_KEPT_STACKS = 32


@frozen
class Slice:
    """One instance of the stack: its file's name and its place along the normal."""

    sop_instance_uid: str
    file: str
    position_mm: float


@frozen
class Stack:
    """The slices of a series, ascending along the normal."""

    slices: tuple[Slice, ...]
    rows: int
    columns: int
    spacing_mm: tuple[float, float]

    @property
    def digest(self) -> str:
        """SHA-256 of its instances in their order: by it a form names the slices among which a place is given."""
        return hashlib.sha256("\n".join(one.sop_instance_uid for one in self.slices).encode()).hexdigest()

    def index(self, sop_instance_uid: str) -> int | None:
        """Place of an instance; None where its file is gone."""
        return next((i for i, one in enumerate(self.slices) if one.sop_instance_uid == sop_instance_uid), None)


@frozen
class Pictures:
    """What of a case can be shown.

    `stack` is None where the pixels are gone (past `files.retention_days`) or cannot be read from here; `staged` are
    the places in it of the three staged slices, in the order of `ROLES`; `has_heat`: a heat map was kept; `overview`:
    so was the picture that went to the PACS.
    """

    stack: Stack | None
    staged: tuple[int | None, ...]
    has_heat: bool
    overview: str | None


class CasePictures:
    """Reads the pictures of cases; remembers how the last stacks are ordered, so that a slice is one file read."""

    def __init__(self, files: KeptFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._stacks: OrderedDict[tuple[str, int], Stack] = OrderedDict()

    def of(self, night: date, case_id: str, overview_file: str | None) -> Pictures:
        """What can be shown of a case.

        Parameters
        ----------
        overview_file : str or None
            Name of the secondary capture in the case's ``report`` folder.
        """
        stack, geometry = self.stack(night, case_id), self.geometry(night, case_id)
        staged = tuple(stack.index(uid) if stack else None for uid in geometry.sop_instance_uids) if geometry else ()
        heat = self._files.kept_folder(night, case_id, Step.EXPLAIN) / "heat.npz"
        overview = self._written(night, case_id, overview_file)
        return Pictures(stack, staged, heat.is_file(), overview_file if overview else None)

    def geometry(self, night: date, case_id: str) -> PreparedGeometry | None:
        """Where the three staged slices lie; None where no step has written it, or it cannot be read."""
        try:
            return PreparedGeometry.from_json(self._files.read_json(night, case_id, Step.PREPROCESS, "geometry"))
        except (OSError, ValueError, TypeError):
            return None

    def stack(self, night: date, case_id: str) -> Stack | None:
        """The retrieved slices in order; None where there are none."""
        folder = self._files.kept_folder(night, case_id, Step.RETRIEVE)
        try:
            key = (case_id, folder.stat().st_mtime_ns)
        except OSError:
            return None
        with self._lock:
            if key in self._stacks:
                self._stacks.move_to_end(key)
                return self._stacks[key]
        found = _stack(folder)
        if found is not None:
            with self._lock:
                self._stacks[key] = found
                while len(self._stacks) > _KEPT_STACKS:
                    self._stacks.popitem(last=False)
        return found

    def slice_hu(self, night: date, case_id: str, index: int) -> np.ndarray:
        """A slice in HU, int16, shape ``(rows, columns)``.

        Raises
        ------
        KeyError
            There is no such slice (any more), or it cannot be read.
        """
        stack = self.stack(night, case_id)
        if stack is None or not 0 <= index < len(stack.slices):
            raise KeyError(index)
        path = self._files.kept_folder(night, case_id, Step.RETRIEVE) / stack.slices[index].file
        try:
            return _hounsfield(path)
        except (UnreadableFile, *BROKEN):
            raise KeyError(index) from None

    def heat(self, night: date, case_id: str, place: int) -> np.ndarray:
        """Heat of a staged slice (its place in `ROLES`) in source pixels, 0 to 255, uint8; KeyError without one."""
        try:
            heat = self._files.read_arrays(night, case_id, Step.EXPLAIN, "heat")["heat"]
            if not 0 <= place < len(ROLES):
                raise KeyError(place)
            return np.round(np.clip(np.nan_to_num(heat[place].astype(np.float32)), 0, 1) * 255).astype(np.uint8)
        except (OSError, ValueError, LookupError):
            raise KeyError(place) from None

    def overview_png(self, night: date, case_id: str, file: str) -> bytes:
        """The picture that went to the PACS, as PNG; KeyError where it is gone."""
        from PIL import Image

        path = self._written(night, case_id, file)
        if path is None:
            raise KeyError(file)
        try:
            pixels = decode(read_dicom(path))
        except (UnreadableFile, *BROKEN):
            raise KeyError(file) from None
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        return png.getvalue()

    def page_pdf(self, night: date, case_id: str, file: str) -> bytes:
        """The case's page out of its encapsulated PDF; KeyError where it is gone, or cannot be read."""
        path = self._written(night, case_id, file)
        if path is None:
            raise KeyError(file)
        try:
            ds = read_dicom(path)
            pdf = bytes(ds.EncapsulatedDocument)
            return pdf[: int(ds.get("EncapsulatedDocumentLength") or len(pdf))]
        except (UnreadableFile, *BROKEN):
            raise KeyError(file) from None

    def report_file(self, night: date, case_id: str, file: str) -> Path:
        """A written object in the case's ``report`` folder; KeyError where it is gone."""
        path = self._written(night, case_id, file)
        if path is None:
            raise KeyError(file)
        return path

    def _written(self, night: date, case_id: str, file: str | None) -> Path | None:
        if not file or Path(file).name != file:
            return None
        path = self._files.kept_folder(night, case_id, Step.REPORT) / file
        return path if path.is_file() and not path.is_symlink() else None


def _stack(folder: Path) -> Stack | None:
    """The slices of the folder's own files, of the size that most of them have."""
    headers: list[tuple[Path, Mapping[str, Any]]] = []
    for path in sorted(folder.glob("*.dcm")):
        try:
            ds = read_dicom(path, tags=_HEADER, stop_before_pixels=True)
            orientation = [float(v) for v in ds.ImageOrientationPatient]
            normal = np.cross(orientation[:3], orientation[3:])
            position = float(np.dot([float(v) for v in ds.ImagePositionPatient], normal))
            size = (int(ds.Rows), int(ds.Columns))
            spacing = (float(ds.PixelSpacing[0]), float(ds.PixelSpacing[1]))
            fact = {"uid": str(ds.SOPInstanceUID), "at": position, "size": size, "spacing": spacing}
            headers.append((path, fact))
        except (UnreadableFile, *BROKEN):  # one cut file hides no others
            continue
    if not headers:
        return None
    sizes = [fact["size"] for _, fact in headers]
    usual = max(set(sizes), key=sizes.count)
    kept = sorted(((p, f) for p, f in headers if f["size"] == usual), key=lambda pair: pair[1]["at"])
    slices = tuple(Slice(f["uid"], p.name, f["at"]) for p, f in kept)
    return Stack(slices, usual[0], usual[1], kept[0][1]["spacing"])


def _hounsfield(path: Path) -> np.ndarray:
    """One instance in HU, int16; padding as air (PS3.3, C.11.1 and C.7.5.1.1.2)."""
    ds = read_dicom(path, tags=_PIXELS)
    stored = decode(ds)
    if stored.ndim != 2:
        raise ValueError("not a single frame of grey values")
    hu = stored.astype(np.float32) * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    signed = ds.PixelRepresentation == 1
    limits = padding_range(ds.get("PixelPaddingValue"), ds.get("PixelPaddingRangeLimit"), signed)
    if limits is not None:
        hu[(stored >= limits[0]) & (stored <= limits[1])] = _PADDING_HU
    whole: np.ndarray = np.round(np.clip(hu, -32768, 32767)).astype("<i2")
    return whole
