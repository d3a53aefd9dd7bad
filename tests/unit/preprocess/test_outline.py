"""An outlined tumour as a mask on the network's grid."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.domain.staging import KeySliceSource
from gtr_batch.preprocess.outline import lesion_on_grid
from tests.phantoms import abdomen_hu, write_series
from tests.unit.preprocess.outlines import segmentation


@pytest.fixture
def sources(tmp_path):
    """Six slices with their pixels, feet to head."""
    paths = write_series(tmp_path / "ct", abdomen_hu(6))
    found = [pydicom.dcmread(p) for p in paths]
    return sorted(found, key=lambda ds: float(ds.ImagePositionPatient[2]))


def geometry_of(sources, size=64):
    rows = int(sources[0].Rows)
    return PreparedGeometry(
        source_rows=rows,
        source_columns=int(sources[0].Columns),
        row_origin=(rows / size - 1) / 2,
        row_step=rows / size,
        column_origin=(rows / size - 1) / 2,
        column_step=rows / size,
        size=size,
        sop_instance_uids=[str(ds.SOPInstanceUID) for ds in sources[2:5]],
        positions_mm=[0.0, 5.0, 10.0],
        key_slice_source=KeySliceSource.KEY_OBJECT,
    )


def test_the_tumour_lies_where_it_was_outlined_on_each_of_the_three_slices(sources, tmp_path):
    columns = int(sources[0].Columns)
    areas = {"gastric tumour": [0, 0, 0, columns * 16, columns * 32, 0], "liver": [columns * 400] * 6}
    path = segmentation(tmp_path / "seg.dcm", sources, areas)

    found = lesion_on_grid([path], geometry_of(sources))

    step = columns // 64
    assert found.shape == (3, 64, 64)
    assert [int(mask.sum()) for mask in found] == [0, 16 // step * 64, 32 // step * 64]
    assert found[1][: 16 // step].all()


def test_without_an_outlined_tumour_there_is_no_mask(sources, tmp_path):
    path = segmentation(tmp_path / "seg.dcm", sources, {"liver": [500] * 6})
    (tmp_path / "torn.dcm").write_bytes(path.read_bytes()[:500])
    (tmp_path / "none.dcm").write_text("not DICOM")

    assert lesion_on_grid([path, tmp_path / "torn.dcm", tmp_path / "none.dcm"], geometry_of(sources)) is None


def test_a_tumour_on_other_slices_is_no_mask(sources, tmp_path):
    path = segmentation(tmp_path / "seg.dcm", sources, {"gastric tumour": [900, 0, 0, 0, 0, 0]})

    assert np.all(lesion_on_grid([path], geometry_of(sources)) is None)
