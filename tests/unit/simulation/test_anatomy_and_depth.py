"""The stage is the depth of the tumour, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from gtr_batch.domain.staging import STAGES, TStage
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.simulation.phantom.ranges import NARROW
from gtr_batch.simulation.phantom.scanner import INGENUITY, PHILIPS, SCANNERS, TOSHIBA, Phase, quantum_noise
from gtr_batch.simulation.phantom.stomach import Third


def a_phantom(stage: TStage | None = TStage.T3, index: int = 1, third: Third = Third.MIDDLE, **options) -> Phantom:
    """Of the first phantoms' ranges: what is asserted here holds at their means (others: `test_ranges.py`)."""
    options.setdefault("scanner", PHILIPS)
    options.setdefault("ranges", NARROW)
    return Phantom(11, index, stage, third, 4.0, **options)


def depths(phantom: Phantom, matrix: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the key slice's tumour pixels: depth below the lumen's surface, and that of two borders there, mm."""
    grid = phantom.grid(float(phantom.positions_mm()[phantom.key_slice()]), matrix)
    tumour = phantom.truth(grid.z, matrix).tumour
    depth = phantom.stomach.lumen(grid)
    layers = phantom.stomach.layers(phantom.stomach.wall_point(grid, depth).lateral)
    return depth[tumour], layers.submucosa[tumour], layers.muscularis[tumour]


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("third", list(Third))
def test_a_t1_ends_before_the_muscularis(third, index):
    depth, submucosa, _ = depths(a_phantom(TStage.T1, index, third))

    assert len(depth) > 30
    assert (depth < submucosa).all()


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("third", list(Third))
def test_a_t2_reaches_the_muscularis_and_stays_within(third, index):
    depth, submucosa, muscularis = depths(a_phantom(TStage.T2, index, third))

    assert (depth > submucosa).any()
    assert (depth < muscularis).all()


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("third", list(Third))
def test_a_t3_leaves_the_wall_but_not_the_fat(third, index):
    phantom = a_phantom(TStage.T3, index, third)
    depth, _, muscularis = depths(phantom)

    beyond = (depth - muscularis).max()
    assert beyond > 1.0
    assert beyond < phantom.stomach.gap * 1.6


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("third", list(Third))
def test_a_t4_crosses_the_fat_into_the_neighbouring_organ(third, index):
    phantom = a_phantom(TStage.T4, index, third)
    depth, _, muscularis = depths(phantom)

    assert (depth - muscularis).max() > phantom.stomach.gap + 2.0


def test_a_t3_blurs_the_fat_about_it_and_a_t2_does_not():
    """Mean HU of the ring of fat just outside the wall, near the site."""

    def coat(stage: TStage) -> float:
        phantom = a_phantom(stage, 1)
        grid = phantom.grid(float(phantom.positions_mm()[phantom.key_slice()]))
        depth = phantom.stomach.lumen(grid)
        point = phantom.stomach.wall_point(grid, depth)
        beyond = depth - phantom.stomach.layers(point.lateral).muscularis
        ring = (beyond > 1.5) & (beyond < 4.5) & (point.lateral < 15)
        return float(phantom.noiseless(grid.z)[ring].mean())

    assert coat(TStage.T2) < -60
    assert coat(TStage.T3) > coat(TStage.T2) + 40


def test_no_other_part_of_the_body_depends_on_the_stage():
    images = [a_phantom(stage).noiseless(a_phantom(TStage.T3).stomach.site[2]) for stage in STAGES]
    phantom = a_phantom()
    grid = phantom.grid(float(phantom.stomach.site[2]))
    far = phantom.stomach.lumen(grid) >= 38.0  # past every strand and infiltration

    assert far.mean() > 0.4
    for image in images[1:]:
        np.testing.assert_array_equal(image[far], images[0][far])


def test_the_site_and_the_wall_about_it_are_drawn_alike_for_every_stage():
    stomachs = [a_phantom(stage).stomach for stage in STAGES]

    assert len({s.neighbour for s in stomachs}) == 1
    assert len({tuple(s.site) for s in stomachs}) == 1
    assert len({tuple(s.layer_mm) for s in stomachs}) == 1


def test_the_same_seed_gives_the_same_pixels_and_another_gives_others():
    z = float(a_phantom().stomach.site[2])

    first, again = a_phantom().slice_hu(z), a_phantom().slice_hu(z)
    other = a_phantom(index=2).slice_hu(z)

    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 10


def test_the_key_slice_is_the_one_with_the_largest_cross_section():
    phantom = a_phantom(TStage.T2)
    areas = np.array([phantom.truth(float(z), 128).tumour.sum() for z in phantom.positions_mm()])

    assert areas[phantom.key_slice()] == areas.max() > 0


def test_without_a_tumour_there_is_no_key_slice():
    phantom = a_phantom(None)

    with pytest.raises(ValueError, match="no tumour"):
        phantom.key_slice()
    assert not phantom.truth(float(phantom.stomach.site[2])).tumour.any()


@pytest.mark.parametrize(
    ("phase", "liver", "aorta"),
    [
        (Phase.UNENHANCED, (48, 64), (32, 50)),
        (Phase.ARTERIAL, (58, 80), (230, 330)),
        (Phase.PORTAL_VENOUS, (92, 124), (135, 185)),
    ],
)
def test_organs_take_up_contrast_as_in_each_phase(phase, liver, aorta):
    phantom = a_phantom()
    (cx, cy, cz), _ = phantom.anatomy.liver
    grid = phantom.grid(cz)
    image = phantom.slice_hu(cz, phase)

    in_liver = np.hypot(grid.x - cx, grid.y - cy) < 15
    (ax, ay), wobble = phantom.anatomy.aorta, 4 * np.sin(cz / 55)
    in_aorta = np.hypot(grid.x - ax - wobble, grid.y - ay) < 5
    assert liver[0] < np.median(image[in_liver]) < liver[1]
    assert aorta[0] < image[in_aorta].mean() < aorta[1]


def test_the_wall_is_layered():
    """Out from the lumen, opposite to the site: bright mucosa, dark submucosa, grey muscularis, fat."""
    phantom = a_phantom(None)
    grid = phantom.grid(float(phantom.stomach.site[2]))
    image, depth = phantom.noiseless(grid.z), phantom.stomach.lumen(grid)
    lateral = phantom.stomach.wall_point(grid, depth).lateral
    layers = phantom.stomach.layers(lateral)
    near = lateral < phantom.stomach.oedema_radius

    def mean_between(inner, outer) -> float:
        return float(image[near & (depth > inner + 0.5) & (depth < outer - 0.5)].mean())

    mucosa = mean_between(1.6, layers.mucosa)
    submucosa = mean_between(layers.mucosa, layers.submucosa)
    muscularis = mean_between(layers.submucosa, layers.muscularis)
    assert mucosa > muscularis + 15
    assert muscularis > submucosa + 15
    assert mean_between(layers.muscularis + 1, layers.muscularis + 4) < -60


@pytest.mark.parametrize("scanner", SCANNERS, ids=lambda s: s.name)
def test_each_scanner_covers_the_stomach_and_obeys_table_4(scanner):
    phantom = a_phantom(scanner=scanner)
    z = phantom.positions_mm()
    curve = phantom.stomach.curve

    assert scanner.kvp == 120
    assert 1 <= scanner.thickness_mm <= 5
    assert np.allclose(np.diff(z), scanner.thickness_mm)
    assert 100 <= z[-1] - z[0] <= 200
    assert z[0] < curve[:, 2].min()
    assert curve[:, 2].max() < z[-1]


def test_delays_and_doses_are_those_of_table_4():
    assert [s.portal_delay_s for s in (TOSHIBA, PHILIPS, INGENUITY)] == [(50, 60), (70, 70), (65, 70)]
    assert [s.dose_ml for s in (TOSHIBA, PHILIPS, INGENUITY)] == [60, 80, 80]
    assert [s.concentration_mg_ml for s in (TOSHIBA, PHILIPS, INGENUITY)] == [320, 350, 350]


def test_noise_is_correlated_and_as_strong_as_asked():
    noise = quantum_noise(np.random.default_rng(3), (256, 256), 0.7, 12.0, 0.2)

    beside = np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]
    far = np.corrcoef(noise[:, :-40].ravel(), noise[:, 40:].ravel())[0, 1]
    assert noise.std() == pytest.approx(12.0, rel=1e-3)
    assert beside > 0.3
    assert abs(far) < 0.05
