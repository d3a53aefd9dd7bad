"""N4 and the whole preparation on the GPU give what the CPU gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gtr_batch.domain.model import N4Settings, PreprocessingContract
from gtr_batch.preprocess import Volume, prepare_volume, read_series
from gtr_batch.preprocess.n4 import fit_bias_field
from tests.phantoms import abdomen_hu

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture(scope="module")
def volume() -> Volume:
    """An abdomen whose brightness falls from one side to the other."""
    hu = abdomen_hu(30, 128)
    return Volume.from_hu(np.where(hu > -500, hu + np.linspace(40, -40, 128), hu), (3.0, 2.5, 2.5))


def test_slices_prepared_on_the_gpu_equal_the_cpu_s(volume):
    ours, _ = prepare_volume(volume, 12, PreprocessingContract(), device="cuda")
    theirs, _ = prepare_volume(volume, 12, PreprocessingContract(), device="cpu")

    assert np.abs(ours - theirs).max() < 1e-3


def test_slices_of_real_ct_prepared_on_the_gpu_equal_the_cpu_s(shared_data):
    real = read_series(shared_data / "ct" / "tcga_coad_siemens")

    ours, _ = prepare_volume(real, 40, PreprocessingContract(), device="cuda")
    theirs, _ = prepare_volume(real, 40, PreprocessingContract(), device="cpu")

    assert np.abs(ours - theirs).max() < 1e-3


def test_the_gpu_gives_the_same_bits_twice(volume):
    first, _ = prepare_volume(volume, 12, PreprocessingContract(), device="cuda")
    second, _ = prepare_volume(volume, 12, PreprocessingContract(), device="cuda")

    np.testing.assert_array_equal(first, second)


def test_tf32_allowed_by_others_does_not_reach_n4():
    generator = torch.Generator().manual_seed(5)
    values = (100 + 20 * torch.rand(40, 40, 40, generator=generator)).cuda()
    mask = torch.ones(40, 40, 40, dtype=torch.bool, device="cuda")
    exact = fit_bias_field(values, mask, N4Settings())
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        allowed = fit_bias_field(values, mask, N4Settings())

        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(allowed.control, exact.control, rtol=0, atol=0)
