"""The outlined tumour on the network's grid, where the study holds a segmentation of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.errors import fault_of
from gtr_batch.logs import get_logger
from gtr_batch.preprocess.cross_section import tumour_frames
from gtr_batch.reading import read_dicom


def lesion_on_grid(segmentations: Sequence[Path], geometry: PreparedGeometry) -> np.ndarray | None:
    """Where the tumour was outlined on the three slices.

    Parameters
    ----------
    segmentations : sequence of Path
        DICOM Segmentations of the study; files that are none, or cannot be read, are passed over.
    geometry : PreparedGeometry
        The slices' instances, and the way to their pixels.

    Returns
    -------
    numpy.ndarray or None
        bool, (3, size, size), nearest neighbour; None where no gastric tumour is outlined on any of them. Frames are
        found by the one source instance that they name, and must have its rows and columns.
    """
    masks: dict[str, np.ndarray] = {}
    for path in segmentations:
        try:
            ds = read_dicom(path)
            for uid, mask in tumour_frames(ds, set(geometry.sop_instance_uids)):
                if mask.shape == (geometry.source_rows, geometry.source_columns):
                    masks[uid] = masks.get(uid, np.zeros(mask.shape, bool)) | mask
        except Exception as err:  # noqa: BLE001 - whatever is wrong with it: an outline is a help, not a condition
            get_logger("preprocess").warning("outline.unreadable", error=fault_of(err))
    if not any(mask.any() for mask in masks.values()):
        return None
    grid = np.arange(geometry.size)
    rows = np.round(geometry.row_origin + geometry.row_step * grid).astype(int)
    columns = np.round(geometry.column_origin + geometry.column_step * grid).astype(int)
    known = np.outer((rows >= 0) & (rows < geometry.source_rows), (columns >= 0) & (columns < geometry.source_columns))
    at = np.ix_(np.clip(rows, 0, geometry.source_rows - 1), np.clip(columns, 0, geometry.source_columns - 1))
    empty = np.zeros(known.shape, bool)
    return np.stack([masks[u][at] & known if u in masks else empty for u in geometry.sop_instance_uids])
