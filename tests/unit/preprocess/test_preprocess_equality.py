"""Three slices only, and the same numbers as the whole volume would give."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import SimpleITK as sitk

from gtr_batch.domain.model import N4Settings, PreprocessingContract
from gtr_batch.preprocess import Volume, prepare, prepare_all_for_locator, prepare_case, prepare_volume, read_series
from tests.phantoms import abdomen_hu, write_series
from tests.unit.preprocess import reference

TOLERANCE = 1e-4  # of the z-scored input; ten times closer than is promised


@pytest.fixture(scope="module")
def phantom() -> np.ndarray:
    """An abdomen whose brightness falls by a third from one side to the other."""
    hu = abdomen_hu(30, 128)
    fall = np.linspace(40, -40, 128)
    return np.round(np.where(hu > -500, hu + fall, hu))


@pytest.mark.parametrize("key_index", [0, 11, 29])
def test_three_slices_equal_the_plain_full_volume_computation(phantom, key_index):
    contract = PreprocessingContract()

    ours, _ = prepare_volume(Volume.from_hu(phantom, (3.0, 2.5, 2.5)), key_index, contract)

    theirs = reference.full_volume(reference.image_of(phantom, (3.0, 2.5, 2.5)), key_index, contract)
    assert np.abs(ours - theirs).max() < TOLERANCE


@pytest.mark.parametrize("spacing_mm", [(2.5, 2.5, 2.5), (1.25, 0.7, 2.1), (5.0, 2.7, 1.3)])
def test_equal_where_slices_lie_off_the_grid_and_pixels_are_not_square(phantom, spacing_mm):
    contract = PreprocessingContract()

    ours, _ = prepare_volume(Volume.from_hu(phantom, spacing_mm), 7, contract)

    theirs = reference.full_volume(reference.image_of(phantom, spacing_mm), 7, contract)
    assert np.abs(ours - theirs).max() < TOLERANCE


def test_equal_without_n4(phantom):
    contract = attrs.evolve(PreprocessingContract(), n4=None)

    ours, geometry = prepare_volume(Volume.from_hu(phantom, (3.0, 2.5, 2.5)), 11, contract)

    theirs = reference.full_volume(reference.image_of(phantom, (3.0, 2.5, 2.5)), 11, contract)
    assert np.abs(ours - theirs).max() < TOLERANCE
    assert "n4_iterations" not in geometry.facts


def test_n4_changes_a_slice_of_uneven_brightness(phantom):
    """Guards the equality tests: they would pass with a field that is zero everywhere."""
    volume = Volume.from_hu(phantom, (3.0, 2.5, 2.5))

    with_n4, geometry = prepare_volume(volume, 11, PreprocessingContract())
    without, _ = prepare_volume(volume, 11, attrs.evolve(PreprocessingContract(), n4=None))

    assert np.abs(with_n4 - without).max() > 50 * TOLERANCE
    assert geometry.facts["n4_log_field_std"] > 0.01


def test_equal_through_files_written_and_read_by_another_library(tmp_path, phantom):
    paths = write_series(tmp_path, phantom, spacing_mm=2.5, thickness_mm=3.0)
    contract = PreprocessingContract()
    volume = read_series(tmp_path)

    ours, _ = prepare_case(tmp_path, volume.sop_instance_uids[12], contract)

    assert len(paths) == 30
    assert np.abs(ours - reference.full_volume(reference.read(tmp_path), 12, contract)).max() < TOLERANCE


@pytest.mark.slow
def test_real_ct_equals_the_plain_full_volume_computation(shared_data):
    """Shrink 4, the contract's default; our N4 on both sides."""
    folder = shared_data / "ct" / "tcga_coad_siemens"
    contract = PreprocessingContract()
    volume = read_series(folder)

    ours, _ = prepare_volume(volume, 40, contract)

    assert np.abs(ours - reference.full_volume(reference.read(folder), 40, contract)).max() < TOLERANCE


@pytest.mark.slow
def test_real_ct_equals_with_the_field_that_simpleitk_evaluates(shared_data, monkeypatch):
    """N4 and its full-size field by SimpleITK on one side; its control points given to ours on the other."""
    folder = shared_data / "ct" / "tcga_coad_siemens"
    contract = PreprocessingContract(n4=N4Settings(shrink=8, levels=3))
    fitted = {}

    def full_field(volume, small, mask, settings):
        n4 = reference.itk_n4(small, mask, settings)
        fitted["bias"] = reference.lattice_of(n4, small, settings)
        return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(volume))

    theirs = reference.full_volume(reference.read(folder), 40, contract, full_field)
    monkeypatch.setattr(prepare, "fit_bias_field", lambda *_: fitted["bias"])

    ours, _ = prepare_volume(read_series(folder), 40, contract)

    assert np.abs(ours - theirs).max() < TOLERANCE


def test_the_locator_sees_what_the_network_will_see(phantom):
    """At a spacing of whole millimetres every anchor gives one and the same grid."""
    volume = Volume.from_hu(phantom, (3.0, 2.5, 2.5))

    everything = prepare_all_for_locator(volume, PreprocessingContract())
    three, _ = prepare_volume(volume, 11, PreprocessingContract())

    assert everything.shape == (30, 224, 224)
    assert np.abs(everything[10:13] - three).max() < TOLERANCE


def test_same_input_twice_gives_the_same_bits(phantom):
    volume = Volume.from_hu(phantom, (3.0, 2.5, 2.5))

    first, _ = prepare_volume(volume, 11, PreprocessingContract())
    second, _ = prepare_volume(volume, 11, PreprocessingContract())

    np.testing.assert_array_equal(first, second)
