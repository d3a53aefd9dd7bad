"""What is measured of a slice is what plain convolutions and morphology give, for a fraction of their time."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
from scipy import ndimage

from gtr_batch.domain import aorta_liver
from gtr_batch.domain.aorta_liver import GridSlice, SliceMeasure, _opened, _Sums, disk, measure, outside, sectors
from gtr_batch.domain.contrast import is_decided, phase_from_pixels, phase_of
from tests.phantoms import abdomen_hu

MM = (1.37, 1.61)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Noise with structure of a few pixels, in HU."""
    rng = np.random.default_rng(14)
    return ndimage.gaussian_filter(rng.normal(40, 400, (70, 61)), 1.5).astype(np.float32)


@pytest.fixture(scope="module")
def mask(image: np.ndarray) -> np.ndarray:
    return image > 30


def _kernel(runs: tuple[aorta_liver.Run, ...]) -> np.ndarray:
    """The mask that the runs stand for, as `scipy.ndimage.convolve` takes it."""
    kernel = np.zeros((49, 49))
    for row, first, behind in runs:
        kernel[24 + row, 24 + first : 24 + behind] = 1
    return kernel[::-1, ::-1]


@pytest.mark.parametrize("radius_mm", [5.0, 8.8, 13.0])
def test_a_mean_over_a_disk_is_its_convolution(image: np.ndarray, radius_mm: float) -> None:
    y, x = np.mgrid[-24:25, -24:25]
    plain = ((y * MM[0]) ** 2 + (x * MM[1]) ** 2 <= radius_mm**2).astype(float)

    found = _Sums.of(image, 24).mean(disk(radius_mm, *MM), (3, 60, 5, 61))

    wanted = ndimage.convolve(image.astype(float), plain / plain.sum(), mode="nearest")
    assert found == pytest.approx(wanted[3:60, 5:61], abs=1e-6)


def test_a_mean_over_a_sector_is_its_convolution(image: np.ndarray) -> None:
    ring = sectors(9.0, 15.0, *MM)

    whole = sum(_kernel(runs) for runs in ring)
    y, x = np.mgrid[-24:25, -24:25]
    radius = np.hypot(y * MM[0], x * MM[1])
    assert np.array_equal(whole > 0, (radius >= 9) & (radius <= 15))
    assert whole.max() == 1
    for runs in ring:
        kernel = _kernel(runs)
        wanted = ndimage.convolve(image.astype(float), kernel / kernel.sum(), mode="nearest")
        assert _Sums.of(image, 24).mean(runs, (0, 70, 0, 61)) == pytest.approx(wanted, abs=1e-6)


def test_masks_are_opened_filled_and_shrunk_as_morphology_does_it(mask: np.ndarray) -> None:
    y, x = np.mgrid[-3:4, -3:4]
    around = (y * MM[0]) ** 2 + (x * MM[1]) ** 2 <= 4.0**2

    assert np.array_equal(_opened(mask, disk(4.0, *MM), 5), ndimage.binary_opening(mask, structure=around))
    assert np.array_equal(~outside(mask), ndimage.binary_fill_holes(mask))
    for times in (1, 2, 3):
        assert np.array_equal(aorta_liver._eroded(mask, times), ndimage.binary_erosion(mask, iterations=times))
        assert np.array_equal(aorta_liver._dilated(mask, times), ndimage.binary_dilation(mask, iterations=times))


def test_the_median_of_nine_is_the_median(image: np.ndarray) -> None:
    assert np.array_equal(aorta_liver._median_of_nine(image), ndimage.median_filter(image, size=3))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_slice_is_measured_on_the_means_of_blocks(step: int) -> None:
    hu = np.random.default_rng(step).integers(-1000, 1000, (64, 66)).astype(np.float32)

    found = GridSlice.of(hu, (1.6 / step, 1.6 / step))

    rows, columns = 64 // step, 66 // step
    wanted = hu[: rows * step, : columns * step].reshape(rows, step, columns, step).mean(axis=(1, 3))
    assert found.hu() == pytest.approx(wanted, abs=1 / 16)
    assert found.spacing_mm == pytest.approx((1.6, 1.6))


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (2, 3), (40, 3)])
def test_an_image_of_hardly_any_pixels_shows_no_body(shape: tuple[int, int]) -> None:
    assert not measure(GridSlice.of(np.full(shape, 60.0), (0.8, 0.8))).body


def test_another_image_grid_or_way_of_measuring_has_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    image = GridSlice.of(abdomen_hu(1, 128)[0], (3.2, 3.2))
    changed = image.parts.copy()
    changed[64, 64] += 1

    digests = {
        image.digest,
        GridSlice(changed, image.spacing_mm).digest,
        GridSlice(image.parts, (3.2, 3.1)).digest,
        GridSlice(image.parts.reshape(64, 256), image.spacing_mm).digest,
    }
    monkeypatch.setattr(aorta_liver, "MEASURE", aorta_liver.MEASURE + 1)
    digests.add(image.digest)

    assert len(digests) == 5
    assert GridSlice(image.parts.copy(), image.spacing_mm).digest in digests


VENOUS = SliceMeasure(150.0, 105.0, 9_000.0)


@pytest.mark.parametrize(
    ("slices", "decided"),
    [
        ([VENOUS] * 4, False),  # too few
        ([VENOUS] * 5, True),
        ([VENOUS] * 5 + [SliceMeasure(body=False)] * 9, True),
        ([VENOUS] * 4 + [SliceMeasure(150.0)] * 9, False),  # too few show a liver
        ([SliceMeasure(40.0, 55.0, 9_000.0)] * 5, True),
        ([SliceMeasure(300.0, 65.0, 9_000.0)] * 5, True),
        ([SliceMeasure(200.0, 85.0, 9_000.0)] * 5, False),  # between two phases
        ([SliceMeasure(120.0, 102.0, 9_000.0)] * 5, False),  # portal venous, and delayed were the aorta 10 HU less
        ([VENOUS] * 6 + [SliceMeasure(280.0, 60.0, 9_000.0)], True),  # one is another organ
        ([VENOUS, VENOUS, SliceMeasure(280.0, 60.0, 9_000.0)] * 3, False),  # as many as one in three
        ([VENOUS, SliceMeasure(280.0, 60.0, 9_000.0)] * 4, False),  # slices that tell two things
    ],
)
def test_a_phase_is_decided_where_no_slice_more_would_change_it(slices: list[SliceMeasure], decided: bool) -> None:
    assert is_decided(slices) is decided


def test_measured_slices_show_the_phase_that_their_images_show() -> None:
    volume = abdomen_hu(3, 256)
    measured = [measure(GridSlice.of(one, (1.6, 1.6))) for one in volume]

    assert phase_of(measured) == phase_from_pixels(volume, (1.6, 1.6))
    assert all(np.isfinite(attrs.astuple(one)).all() for one in measured)
