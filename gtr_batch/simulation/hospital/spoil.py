"""What goes wrong with a series on its way into a PACS: changes for `simulation.phantom.dicom.write_phase`."""

from __future__ import annotations

from pydicom import Dataset

from gtr_batch.simulation.phantom.dicom import Change


def drop_slice(index: int) -> Change:
    """Leave one slice out: a gap in the middle of the stack."""

    def change(at: int, ds: Dataset) -> Dataset | None:
        return None if at == index else ds

    return change


def truncate_pixels(index: int, share: float = 0.4) -> Change:
    """Cut one instance's pixel data short; its header still promises all of it, and a PACS still takes it."""

    def change(at: int, ds: Dataset) -> Dataset:
        if at == index:
            ds.PixelData = ds.PixelData[: int(len(ds.PixelData) * share) // 2 * 2]
        return ds

    return change
