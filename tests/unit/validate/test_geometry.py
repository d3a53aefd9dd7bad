"""Geometry of a stack: the same whatever the order of the files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_batch.validate.headers import Series, geometry

steps = st.floats(0.5, 5.0)


def _stack(places: list[float]) -> Series:
    return Series(placed=[(z, 0.0, 0.0) for z in places], sop_uids=[str(k) for k in range(len(places))])


@given(st.lists(st.integers(-400, 400), min_size=2, max_size=40, unique=True), st.randoms())
def test_geometry_does_not_depend_on_the_order_of_files(places: list[int], random: object) -> None:
    shuffled = list(places)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert geometry(_stack([float(p) for p in places])) == geometry(_stack([float(p) for p in shuffled]))


@given(steps, st.integers(3, 60), st.floats(-500, 500))
def test_an_even_stack_has_no_gap(step: float, count: int, start: float) -> None:
    facts = geometry(_stack([start + k * step for k in range(count)]))

    assert facts["spacing_mm"] == pytest.approx(step, abs=1e-3)
    assert facts["gap_share"] < 0.01
    assert facts["missing_positions"] == facts["duplicate_positions"] == 0


@given(steps, st.integers(6, 40), st.data())
def test_each_inner_slice_that_is_left_out_is_counted(step: float, count: int, data: st.DataObject) -> None:
    gone = data.draw(st.integers(1, count - 2))

    facts = geometry(_stack([k * step for k in range(count) if k != gone]))

    assert facts["missing_positions"] == 1
    assert facts["gap_share"] == pytest.approx(1.0, abs=0.01)


def test_a_leaning_stack_has_the_angle_of_its_lean() -> None:
    lean = np.tan(np.radians(12))

    facts = geometry(Series(placed=[(3.0 * k, 0.0, 3.0 * k * lean) for k in range(10)]))

    assert facts["shear_degrees"] == pytest.approx(12, abs=0.01)


def test_one_slice_has_no_spacing() -> None:
    assert geometry(_stack([5.0]))["slices"] == 1
    assert geometry(_stack([5.0]))["spacing_mm"] == 0.0


def test_slices_at_one_position_are_duplicates_and_no_gap() -> None:
    facts = geometry(_stack([0.0, 3.0, 3.0, 6.0, 9.0]))

    assert facts["duplicate_positions"] == 1
    assert facts["gap_share"] == 0.0
