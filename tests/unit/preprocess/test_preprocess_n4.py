"""N4 in torch against SimpleITK's."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from gtr_batch.domain.model import N4Settings, PreprocessingContract
from gtr_batch.preprocess.n4 import BiasField, _refine, fit_bias_field
from tests.phantoms import abdomen_hu
from tests.unit.preprocess import reference

LIMIT = 0.002  # standard deviation of the difference of the log fields within the mask


def compare(image: sitk.Image, settings: N4Settings) -> tuple[float, float]:
    """Standard deviations within the mask: of the difference, and of SimpleITK's log field."""
    volume = reference.windowed(image, image.GetSize()[2] // 2, PreprocessingContract())
    small, mask = reference.shrink_and_mask(volume, settings)
    inside = sitk.GetArrayFromImage(mask).astype(bool)
    theirs = sitk.GetArrayFromImage(reference.itk_n4(small, mask, settings).GetLogBiasFieldAsImage(small))
    bias = fit_bias_field(torch.from_numpy(sitk.GetArrayFromImage(small)), torch.from_numpy(inside), settings)
    ours = bias.log_at(*(torch.linspace(0, 1, n, dtype=torch.float64) for n in theirs.shape)).numpy()
    return float((ours - theirs)[inside].std()), float(theirs[inside].std())


def test_log_field_on_a_phantom_is_simpleitk_s():
    hu = abdomen_hu(20, 64)
    hu = np.where(hu > -500, hu + np.linspace(30, -30, 64), hu)

    difference, size = compare(reference.image_of(hu, (5.0, 4.0, 4.0)), N4Settings(shrink=4))

    assert difference < LIMIT
    assert size > 10 * LIMIT


def test_log_field_on_real_ct_at_shrink_8_is_simpleitk_s(shared_data):
    difference, size = compare(reference.read(shared_data / "ct" / "tcga_coad_siemens"), N4Settings(shrink=8))

    assert difference < LIMIT
    assert size > 10 * LIMIT


@pytest.mark.slow
def test_log_field_on_real_ct_at_shrink_4_is_simpleitk_s(shared_data):
    image = reference.read(shared_data / "ct" / "tcga_coad_siemens")
    middle = image[:, :, image.GetSize()[2] // 3 : image.GetSize()[2] * 2 // 3]  # SimpleITK takes two minutes for all

    difference, size = compare(middle, N4Settings(shrink=4))

    assert difference < LIMIT
    assert size > 10 * LIMIT


def test_full_size_field_is_evaluated_where_simpleitk_evaluates_it():
    """`GetLogBiasFieldAsImage` stretches the spline's domain over the image it is given, first to last voxel."""
    image = reference.image_of(abdomen_hu(20, 64), (5.0, 4.0, 4.0))
    settings = N4Settings(shrink=4, levels=3, iterations=10)
    volume = reference.windowed(image, 10, PreprocessingContract())
    small, mask = reference.shrink_and_mask(volume, settings)
    n4 = reference.itk_n4(small, mask, settings)

    bias = reference.lattice_of(n4, small, settings)

    theirs = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(volume))
    ours = bias.log_at(*(torch.linspace(0, 1, n, dtype=torch.float64) for n in theirs.shape)).numpy()
    assert np.abs(theirs).max() > 0.01
    assert np.abs(ours - theirs).max() < 1e-4


def test_refining_the_lattice_leaves_the_spline_as_it_is():
    generator = torch.Generator().manual_seed(3)
    control = torch.randn(5, 7, 11, dtype=torch.float64, generator=generator)
    at = [torch.linspace(0, 1, n, dtype=torch.float64) for n in (9, 14, 23)]

    before = BiasField(control, ()).log_at(*at)
    after = BiasField(_refine(control), ()).log_at(*at)

    assert (before - after).abs().max() < 1e-6


def test_field_of_an_empty_mask_or_a_constant_volume_is_zero():
    volume = torch.full((12, 12, 12), 100.0)
    at = torch.linspace(0, 1, 5, dtype=torch.float64)

    empty = fit_bias_field(volume, torch.zeros(12, 12, 12, dtype=torch.bool), N4Settings())
    constant = fit_bias_field(volume, torch.ones(12, 12, 12, dtype=torch.bool), N4Settings())

    assert empty.log_at(at, at, at).abs().max() == 0
    assert constant.log_at(at, at, at).abs().max() < 1e-6


def test_the_fit_leaves_threads_and_precision_of_others_as_they_were():
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()

    fit_bias_field(torch.rand(12, 12, 12) + 1, torch.ones(12, 12, 12, dtype=torch.bool), N4Settings(levels=1))

    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
