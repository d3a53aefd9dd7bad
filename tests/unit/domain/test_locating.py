"""From scores to the key slice: neighbours count, the place in the body counts, and doubt is a number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_batch.domain.locating import locate, log_posterior, lung_base_mm, lung_share_of, threshold_of
from gtr_batch.domain.model import KeySliceLocator

HEIGHTS = 5.0 * np.arange(100)
LUNGS = np.where(HEIGHTS >= 400, 0.5, 0.0)


def a_locator(**changes: float) -> KeySliceLocator:
    return KeySliceLocator((0.0,), (1.0,), (1.0,), **changes)


def peak(at: int, width: float, strength: float) -> np.ndarray:
    return strength * np.exp(-0.5 * ((np.arange(100) - at) / width) ** 2)


def test_one_odd_slice_does_not_outweigh_neighbours_that_agree():
    scores = peak(60, 3, 6.0) + peak(20, 0.1, 8.0)

    alone = locate(log_posterior(a_locator(), scores, HEIGHTS, LUNGS), HEIGHTS)
    together = locate(log_posterior(a_locator(smoothing_mm=5.0), scores, HEIGHTS, LUNGS), HEIGHTS)

    assert alone.index == 20
    assert together.index == 60


def test_what_lies_in_the_pelvis_is_not_the_stomach():
    scores = peak(10, 2, 7.0) + peak(66, 2, 6.0)
    body = {"height_mm": -70.0, "height_sd_mm": 50.0}

    anywhere = locate(log_posterior(a_locator(), scores, HEIGHTS, LUNGS), HEIGHTS)
    placed = locate(log_posterior(a_locator(**body), scores, HEIGHTS, LUNGS), HEIGHTS)

    assert anywhere.index == 10
    assert placed.index == 66


def test_the_place_in_the_body_is_not_used_where_the_lungs_are_not_seen():
    scores = peak(10, 2, 7.0) + peak(66, 2, 6.0)
    locator = a_locator(height_mm=-70.0, height_sd_mm=50.0)

    found = [locate(log_posterior(locator, scores, HEIGHTS, lungs), HEIGHTS) for lungs in (np.zeros(100), np.ones(100))]

    assert [f.index for f in found] == [10, 10]


def test_a_stack_whose_slices_run_from_head_to_feet_has_the_same_key_slice():
    scores = peak(10, 2, 7.0) + peak(66, 2, 6.0)
    locator = a_locator(smoothing_mm=4.0, height_mm=-70.0, height_sd_mm=50.0)

    up = locate(log_posterior(locator, scores, HEIGHTS, LUNGS), HEIGHTS)
    down = locate(log_posterior(locator, scores[::-1], HEIGHTS[::-1], LUNGS[::-1]), HEIGHTS[::-1])

    assert down.index == 99 - up.index
    assert down.p_near == pytest.approx(up.p_near)


@given(st.lists(st.floats(-30, 30), min_size=1, max_size=60))
def test_certainty_is_a_probability_and_the_choice_has_the_largest(scores):
    heights = 3.0 * np.arange(len(scores))
    log_p = np.array(scores)

    found = locate(log_p, heights, threshold=0.5)

    p = np.exp(log_p - np.logaddexp.reduce(log_p))
    windows = [p[max(k - 2, 0) : k + 3].sum() for k in range(len(p))]
    assert 0 <= found.p_near <= 1
    assert found.p_near == pytest.approx(max(windows))
    assert windows[found.index] == pytest.approx(max(windows))
    assert found.expected_error_mm == pytest.approx(sum(p * np.abs(heights - heights[found.index])))
    assert found.certain is bool(found.p_near >= 0.5)


def test_a_slice_without_a_score_is_never_chosen_and_none_at_all_is_no_answer():
    scores = np.array([1.0, -np.inf, 0.5])

    found = locate(log_posterior(a_locator(smoothing_mm=5.0), scores, HEIGHTS[:3], LUNGS[:3]), HEIGHTS[:3])

    assert found.index != 1
    assert locate(np.full(3, -np.inf), HEIGHTS[:3]) is None


def test_the_threshold_is_the_least_certainty_that_keeps_the_wanted_share():
    p_near = np.array([0.9, 0.8, 0.7, 0.6])

    assert threshold_of(p_near, np.array([True, True, False, False]), 0.6) == 0.7
    assert threshold_of(p_near, np.array([True, True, True, True]), 0.85) == 0.6
    assert threshold_of(p_near, np.array([False, False, False, False]), 0.85) > 1


def test_lungs_are_known_by_their_air_and_a_stomach_s_gas_is_not_taken_for_them():
    yy, xx = np.mgrid[:96, :96]
    body = np.hypot((yy - 48) / 30, (xx - 48) / 40) < 1
    slices = np.where(body, 0.8, -2.0)[None].repeat(3, 0)
    slices[1][np.hypot(yy - 40, xx - 55) < 7] = -2.0  # gas
    slices[2][(np.hypot(yy - 48, xx - 25) < 14) | (np.hypot(yy - 48, xx - 71) < 14)] = -2.0  # lungs

    shares = lung_share_of(slices)

    assert shares[0] == pytest.approx(0, abs=0.01)
    assert lung_base_mm(HEIGHTS[:3], shares) == HEIGHTS[2]
