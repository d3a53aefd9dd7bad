"""A CT series as a stack of slices sorted along its normal: stored values, positions in mm, HU where needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import field, frozen

from gtr_batch.domain.identifiers import derived_uid


@frozen(eq=False)
class Volume:
    """A series in memory, slices ascending along the normal.

    Attributes
    ----------
    stored : numpy.ndarray
        Stored values, shape ``(slices, rows, columns)``; int16 where they fit.
    slope, intercept : numpy.ndarray
        *Rescale Slope* and *Rescale Intercept* of each slice, shape ``(slices,)``.
    padding : tuple of (low, high) or None
        Of each slice, the range of stored values that stand for "outside the field of view", else None
        (*Pixel Padding Value*, *Pixel Padding Range Limit*; PS3.3, C.7.5.1.1.2).
    positions_mm : numpy.ndarray
        Of each slice, *Image Position (Patient)* along the normal, ascending.
    pixel_spacing_mm : tuple
        Distance of rows (along a column) and of columns (along a row).
    origin_mm, orientation : tuple
        *Image Position (Patient)* of the first slice; *Image Orientation (Patient)*.
    """

    stored: np.ndarray = field(repr=False)
    slope: np.ndarray = field(repr=False)
    intercept: np.ndarray = field(repr=False)
    padding: tuple[tuple[int, int] | None, ...] = field(repr=False)
    positions_mm: np.ndarray = field(repr=False)
    pixel_spacing_mm: tuple[float, float]
    sop_instance_uids: tuple[str, ...] = field(repr=False)
    origin_mm: tuple[float, float, float]
    orientation: tuple[float, ...]
    thickness_mm: float | None = None
    frame_of_reference_uid: str = field(default="", repr=False)

    @property
    def normal(self) -> np.ndarray:
        """Unit vector along which the slices ascend: rows' direction times columns' direction."""
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        unit: np.ndarray = normal / np.linalg.norm(normal)
        return unit

    @property
    def heights_mm(self) -> np.ndarray:
        """Heights of the slices, rising towards the head (PS3.3, C.7.6.2.1.1: z points to it)."""
        heights: np.ndarray = self.positions_mm if self.normal[2] >= 0 else -self.positions_mm
        return heights

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        n, rows, columns = self.stored.shape
        return n, rows, columns

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing of slices (median distance of positions), rows and columns in mm."""
        gaps = np.diff(self.positions_mm)
        z = float(np.median(gaps)) if len(gaps) else float(self.thickness_mm or 1.0)
        return z, *self.pixel_spacing_mm

    def index(self, sop_instance_uid: str) -> int:
        """Place of an instance in the stack; ValueError where it is not in the series."""
        return self.sop_instance_uids.index(sop_instance_uid)

    def hu(
        self,
        slices: slice | Sequence[int] = slice(None),
        *,
        rows: Any = None,
        columns: Any = None,
        padding_hu: float = -1024.0,
    ) -> np.ndarray:
        """HU of some slices, or of some rows and columns of them only.

        Parameters
        ----------
        slices, rows, columns : slice or sequence of int
            Which; default all.
        padding_hu : float
            HU given to padding.

        Returns
        -------
        numpy.ndarray
            HU, float32, shape ``(slices, rows, columns)``.

        References
        ----------
        DICOM PS3.3, C.11.1 Modality LUT Module
        """
        part = self.stored[slices]
        if rows is not None:
            part = part[:, rows]
        if columns is not None:
            part = part[:, :, columns]
        hu: np.ndarray = part.astype(np.float32)
        slope, intercept = self.slope[slices], self.intercept[slices]
        if np.any(slope != 1):
            hu *= slope[:, None, None].astype(np.float32)
        if np.any(intercept != 0):
            hu += intercept[:, None, None].astype(np.float32)
        chosen = np.arange(len(self.stored))[slices]
        for place, source in enumerate(chosen):
            limits = self.padding[source]
            if limits is not None:
                hu[place][(part[place] >= limits[0]) & (part[place] <= limits[1])] = padding_hu
        return hu

    @classmethod
    def from_hu(
        cls, hu: np.ndarray, spacing_mm: tuple[float, float, float], thickness_mm: float | None = None
    ) -> Volume:
        """A volume from HU in memory, ``(slices, rows, columns)``, spacing in the same order, head first supine."""
        stored = np.ascontiguousarray(hu, dtype=np.int16 if np.issubdtype(hu.dtype, np.integer) else np.float32)
        n = len(stored)
        z, y, x = (float(s) for s in spacing_mm)
        return cls(
            stored=stored,
            slope=np.ones(n),
            intercept=np.zeros(n),
            padding=(None,) * n,
            positions_mm=np.arange(n) * z,
            pixel_spacing_mm=(y, x),
            sop_instance_uids=tuple(derived_uid("in-memory-slice", str(i)) for i in range(n)),
            origin_mm=(0.0, 0.0, 0.0),
            orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            thickness_mm=z if thickness_mm is None else thickness_mm,
        )
