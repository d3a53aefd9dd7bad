"""What phantoms are drawn from: the ranges hold, and the stage stays the depth of the tumour whatever they are."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from gtr_batch.domain.staging import STAGES, TStage
from gtr_batch.simulation.demos.cohort import Drawing
from gtr_batch.simulation.demos.model import WALLS_MM, by_wall, printed
from gtr_batch.simulation.hospital.cohort import draw_phantom
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.simulation.phantom.ranges import NARROW, PUBLISHED
from gtr_batch.simulation.phantom.scanner import PHILIPS
from gtr_batch.simulation.phantom.stomach import Third


def drawn(count: int, ranges=PUBLISHED) -> list[Phantom]:
    return [draw_phantom(31, k, ranges)[0] for k in range(count)]


def test_walls_are_drawn_from_the_whole_range_and_not_beyond():
    walls = np.array([p.stomach.wall_mm for p in drawn(120)])

    low, high = PUBLISHED.wall_mm
    assert low <= walls.min() < low + 1
    assert high - 1 < walls.max() <= high
    assert (walls < WALLS_MM[0]).any()


def test_the_wall_away_from_the_tumour_is_a_normal_stomachs():
    for phantom in drawn(60):
        away = phantom.stomach.wall_mm * phantom.stomach.normal_wall
        low, high = PUBLISHED.antrum_wall_mm if phantom.stomach.third is Third.LOWER else PUBLISHED.body_wall_mm
        assert away <= high + 1e-9
        assert away >= min(low, phantom.stomach.wall_mm) - 1e-9


def test_contrast_and_noise_are_drawn_from_their_ranges():
    phantoms = drawn(120)

    for values, (low, high) in (
        ([p.anatomy.enhancement for p in phantoms], PUBLISHED.enhancement),
        ([p.tumour.brightness for p in phantoms], PUBLISHED.tumour_hu),
        ([p.noise_factor / p.anatomy.scale**1.5 for p in phantoms], PUBLISHED.noise),
    ):
        assert low <= min(values) < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < max(values) <= high


def test_narrow_walls_are_as_thick_as_ever():
    walls = [p.stomach.wall_mm for p in drawn(60, NARROW)]

    assert min(walls) >= 10.2
    assert max(walls) <= 13.0


def test_the_body_does_not_depend_on_the_ranges():
    narrow, published = drawn(1, NARROW)[0], drawn(1)[0]

    assert narrow.anatomy.liver == published.anatomy.liver
    assert narrow.pixel_mm == published.pixel_mm
    assert narrow.anatomy.enhancement != published.anatomy.enhancement


@pytest.mark.parametrize("third", list(Third))
@pytest.mark.parametrize("index", range(4))
def test_the_stage_is_the_depth_in_thin_walls_too(third, index):
    """Of the key slice's tumour pixels: depth below the lumen's surface against the borders of the layers there."""
    for stage in STAGES:
        phantom = Phantom(11, index, stage, third, 4.0, PHILIPS, ranges=attrs.evolve(PUBLISHED, wall_mm=(5.0, 6.0)))
        grid = phantom.grid(float(phantom.positions_mm()[phantom.key_slice()]), 512)
        tumour = phantom.truth(grid.z, 512).tumour
        depth = phantom.stomach.lumen(grid)
        layers = phantom.stomach.layers(phantom.stomach.wall_point(grid, depth).lateral)
        assert tumour.sum() > 30
        if stage is TStage.T1:
            assert (depth[tumour] < layers.submucosa[tumour]).all()
        elif stage is TStage.T2:
            assert (depth > layers.submucosa)[tumour].any()
            assert (depth[tumour] < layers.muscularis[tumour]).all()
        else:
            assert (depth - layers.muscularis)[tumour].max() > 1.0


def test_other_ranges_have_other_files_in_the_cache(tmp_path):
    assert Drawing("one", 1, 2, NARROW).path(tmp_path) != Drawing("one", 1, 2, PUBLISHED).path(tmp_path)
    assert Drawing("one", 1, 2, NARROW).path(tmp_path) == Drawing("one", 1, 2, attrs.evolve(NARROW)).path(tmp_path)


def test_accuracy_is_counted_by_wall_and_stage():
    walls = np.array([5.0, 5.5, 7.0, 12.0, 12.5])
    stages, answers = np.array([0, 1, 2, 3, 3]), np.array([0, 2, 2, 3, 0])

    rows = by_wall(walls, stages, answers)

    assert [(r["wall_mm"], r["right"], r["n"]) for r in rows] == [
        ("below 6", 1, 2),
        ("6 to 8", 1, 1),
        ("8 to 10", 0, 0),
        ("10 and more", 1, 2),
    ]
    assert rows[0]["by_stage"] == {"T1": [1, 1], "T2": [0, 1], "T3": [0, 0], "T4": [0, 0]}
    assert rows[2]["accuracy"] is None
    found = {name: {"n": 1, "mean": 0.25} for name in ("T1", "T2", "T3", "T4")}
    text = printed({"accuracy_by_wall_mm": rows, "heat_unseen": {"dice": found}})
    assert "| below 6 | 1 of 2 | 0.50 (0.09 to 0.91) | 1/1 | 0/1 | 0/0 | 0/0 |" in text
    assert "T1 0.25" in text
