"""From the network's pixels back to the source's, and the small rules of the grid."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.domain.model import PreprocessingContract
from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.domain.staging import KeySliceSource
from gtr_batch.preprocess import Volume, prepare_volume
from gtr_batch.preprocess.resample import Axis, resize
from gtr_batch.preprocess.window import window, z_score
from tests.phantoms import abdomen_hu

WITHOUT_N4 = attrs.evolve(PreprocessingContract(), n4=None)


@pytest.mark.parametrize(("row", "column"), [(20, 100), (64, 64), (110, 15)])
@pytest.mark.parametrize("spacing_mm", [(3.0, 2.5, 2.5), (3.0, 3.1, 1.9)])
def test_a_marker_is_found_where_the_geometry_says(row, column, spacing_mm):
    hu = np.full((3, 128, 128), -1000.0)
    hu[1, row - 1 : row + 2, column - 1 : column + 2] = 200

    slices, geometry = prepare_volume(Volume.from_hu(hu, spacing_mm), 1, WITHOUT_N4)

    weight = slices[1] - slices[1].min()
    i = (weight.sum(1) * np.arange(224)).sum() / weight.sum()
    j = (weight.sum(0) * np.arange(224)).sum() / weight.sum()
    assert abs(geometry.row_origin + geometry.row_step * i - row) < geometry.row_step / 2
    assert abs(geometry.column_origin + geometry.column_step * j - column) < geometry.column_step / 2


def test_rows_and_columns_keep_their_direction():
    hu = np.full((3, 64, 64), -1000.0)
    hu[:, :16, 40:] = 100  # top right

    slices, _ = prepare_volume(Volume.from_hu(hu, (3.0, 4.0, 4.0)), 1, WITHOUT_N4)

    assert slices[1, :40, 180:].min() > slices[1, 100:, :100].max()


@pytest.mark.parametrize(("key_index", "expected"), [(0, (1, 0, 1)), (2, (1, 2, 3)), (4, (3, 4, 3))])
def test_at_the_end_of_the_stack_the_one_neighbour_is_used_twice(key_index, expected):
    hu = abdomen_hu(5, 32) + 20 * np.arange(5)[:, None, None]
    volume = Volume.from_hu(hu, (3.0, 8.0, 8.0))

    slices, geometry = prepare_volume(volume, key_index, WITHOUT_N4, KeySliceSource.EHR)

    assert geometry.sop_instance_uids == tuple(volume.sop_instance_uids[i] for i in expected)
    assert geometry.positions_mm == tuple(3.0 * i for i in expected)
    assert geometry.key_slice_source is KeySliceSource.EHR
    assert np.array_equal(slices[0], slices[2]) == (expected[0] == expected[2])


def test_a_key_slice_outside_the_stack_is_our_own_mistake():
    with pytest.raises(IndexError):
        prepare_volume(Volume.from_hu(np.zeros((4, 8, 8)), (1.0, 1.0, 1.0)), -1, WITHOUT_N4)


def test_geometry_survives_json_and_carries_the_drift_monitor_s_facts():
    import json

    volume = Volume.from_hu(abdomen_hu(10, 64), (5.0, 5.0, 5.0))

    slices, geometry = prepare_volume(volume, 4, PreprocessingContract())
    back = PreparedGeometry.from_json(json.loads(json.dumps(geometry.to_json())))

    assert attrs.asdict(back) == attrs.asdict(geometry)
    assert geometry.facts["spacing_mm"] == [5.0, 5.0, 5.0]
    assert len(geometry.facts["n4_iterations"]) == 4
    assert 0 < geometry.facts["n4_mask_share"] < 1
    assert slices.dtype == np.float32
    np.testing.assert_allclose(slices.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(slices.std((1, 2)), 1, atol=1e-4)


def test_a_constant_slice_becomes_zero_and_stays_finite():
    volume = Volume.from_hu(np.full((6, 32, 32), 40.0), (3.0, 4.0, 4.0))

    slices, _ = prepare_volume(volume, 2, PreprocessingContract())

    assert np.isfinite(slices).all()
    assert np.abs(slices).max() == 0


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 60), factor=st.integers(1, 8))
def test_shrinking_keeps_the_voxels_that_simpleitk_keeps(count, factor):
    image = sitk.GetImageFromArray(np.tile(np.arange(count, dtype=np.float32), (8, 8, 1)))

    theirs = sitk.GetArrayFromImage(sitk.Shrink(image, [factor, 1, 1]))[0, 0]

    np.testing.assert_array_equal(Axis(0.0, 1.0, count).shrunk(factor), theirs)


@settings(max_examples=60, deadline=None)
@given(
    slices=st.integers(1, 90),
    spacing=st.floats(0.5, 6.0),
    key=st.integers(0, 89),
    step=st.sampled_from([0.5, 1.0, 1.5]),
)
def test_the_grid_passes_through_the_key_slice_and_never_leaves_the_stack(slices, spacing, key, step):
    at = min(key, slices - 1) * spacing
    length = (slices - 1) * spacing

    axis = Axis.spanning(length, step, through=at)

    samples = axis.at(np.arange(axis.count))
    assert np.abs(samples - at).min() < 1e-6
    assert samples[0] >= 0
    assert samples[-1] <= length + 1e-3
    assert samples[0] < step
    assert samples[-1] > length - step - 1e-3


@pytest.mark.parametrize(("rows", "columns"), [(413, 413), (301, 512), (100, 224)])
def test_resizing_is_torch_s_antialiased_bilinear(rows, columns):
    slices = torch.rand(2, rows, columns, generator=torch.Generator().manual_seed(1))

    theirs = torch.nn.functional.interpolate(
        slices[:, None], (224, 224), mode="bilinear", antialias=True, align_corners=False
    )[:, 0]

    assert (resize(slices, 224) - theirs).abs().max() < 1e-5


@given(hu=st.lists(st.floats(-1024, 1024, width=32), min_size=2, max_size=40))
def test_the_window_is_monotone_and_bounded(hu):
    values = torch.tensor(sorted(hu), dtype=torch.float32)

    out = window(values.clone(), PreprocessingContract())

    assert (out.diff() >= 0).all()
    assert float(out.min()) >= 1
    assert float(out.max()) <= 256


def test_z_score_is_blind_to_scale_and_offset():
    slices = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(2))

    assert (z_score(slices) - z_score(slices * 3 + 7)).abs().max() < 1e-4
