"""Conformal sets, the drift reference, heat against lesion."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.domain.conformal import growth, ordinal_score, ordinal_set
from gtr_batch.explain.lesion import body_of, dice, looks, share_outside
from gtr_batch.training.fit.conformal import fit_conformal
from gtr_batch.training.fit.reference import reference_of

probabilities = st.lists(st.floats(0.001, 1), min_size=4, max_size=4).map(lambda p: [v / sum(p) for v in p])


@given(probabilities, st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_set_is_of_neighbours_holds_the_likeliest_and_reaches_the_threshold(p, threshold):
    first, last = ordinal_set(p, threshold)

    assert first <= int(np.argmax(p)) <= last
    assert sum(p[first : last + 1]) >= min(threshold, 1) - 1e-9


@given(probabilities)
def test_a_set_grows_by_one_neighbour_at_a_time(p):
    order = growth(p)

    assert sorted(order) == [0, 1, 2, 3]
    assert all(max(order[:k]) - min(order[:k]) == k - 1 for k in range(1, 5))


@given(probabilities, st.integers(0, 3))
def test_the_score_of_a_stage_is_the_threshold_at_which_its_set_holds_it(p, true):
    first, last = ordinal_set(p, ordinal_score(p, true) - 1e-12)

    assert first <= true <= last


def test_nine_in_ten_new_patients_lie_in_their_set():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        p = rng.dirichlet([1, 1, 1, 1], 160)
        labels = np.array([rng.choice(4, p=row) for row in p])
        threshold = fit_conformal(p[:80], labels[:80], 0.9)["threshold"]
        inside = [
            ordinal_set(row, threshold)[0] <= k <= ordinal_set(row, threshold)[1]
            for row, k in zip(p[80:].tolist(), labels[80:], strict=True)
        ]
        covered.append(np.mean(inside))

    assert np.mean(covered) >= 0.895


def test_with_too_few_patients_the_set_is_of_all_stages():
    found = fit_conformal(np.full((5, 4), 0.25), np.arange(5) % 4, 0.9)

    assert found["threshold"] == 1.0


def test_the_reference_is_bounded_and_plain():
    rng = np.random.default_rng(0)
    facts = [{"manufacturer": "A", "kvp": 120.0, "slices": 60}] * 250

    found = reference_of(rng.normal(size=(250, 2048)), rng.dirichlet([1] * 4, 250), rng.integers(0, 4, (250, 3)), facts)

    assert len(json.dumps(found, allow_nan=False)) < 600_000
    assert np.array(found["features"]["sample"]).shape == (125, 16)
    assert found["n"] == 250
    assert found["headers"]["manufacturer"] == {"A": 1.0}
    assert sum(found["output"]["t_stage"]) == pytest.approx(1, abs=1e-3)


def test_patients_who_come_later_spread_as_the_references_sample_does():
    """Along directions that they made themselves patients spread wider: the sample is of others."""
    rng = np.random.default_rng(0)
    strong = rng.normal(size=(4, 2048)) * 0.5
    features = rng.normal(size=(900, 4)) @ strong + rng.normal(size=(900, 2048))
    at_first, later = features[:300], features[300:]

    found = reference_of(at_first, rng.dirichlet([1] * 4, 300), rng.integers(0, 4, (300, 3)), [{}] * 300)["features"]

    mean, scale, components, sample = (np.array(found[k]) for k in ("mean", "scale", "components", "sample"))
    new = ((later - mean) / scale) @ components.T
    made = ((at_first[::2] - mean) / scale) @ components.T
    assert sample.std(axis=0) / new.std(axis=0) == pytest.approx(np.ones(16), abs=0.25)
    assert (made.std(axis=0) / new.std(axis=0)).max() > 2


def test_heat_that_is_the_lesion_has_a_dice_of_one_and_heat_beside_it_none():
    lesion = np.zeros((20, 20), bool)
    lesion[5:9, 5:9] = True

    assert dice(lesion.astype(float), lesion) == 1.0
    assert dice(np.roll(lesion, 9, axis=1).astype(float), lesion) == 0.0
    assert dice(np.zeros((20, 20)), lesion) == 0.0
    assert dice(lesion.astype(float), np.zeros((20, 20), bool)) is None


def test_heat_outside_the_body_is_counted_by_its_strength():
    body = np.zeros((10, 10), bool)
    body[:, :5] = True
    heat = np.where(body, 3.0, 1.0)

    assert share_outside(heat, body) == pytest.approx(0.25)
    assert share_outside(np.zeros((10, 10)), body) is None


def test_the_body_is_what_is_not_air():
    image = np.full((200, 200), -2.0)
    yy, xx = np.mgrid[:200, :200]
    from_middle = np.hypot(yy - 100, xx - 100)
    round_body = from_middle < 70
    image[round_body] = -1.8  # a ring of fat, hardly brighter than air
    image[from_middle < 60] = 0.8
    image[95:105, 95:105] = -2.0  # air in the stomach is inside the body

    found = body_of(image)

    assert (found == round_body).mean() > 0.97
    assert found[100, 100]


def test_a_cohort_without_outlines_says_so():
    heat = np.ones((8, 8))

    found = looks([heat, heat], [None, None], [heat > 0, heat > 0], [0, 3])

    assert found["dice"]["all"] == {"n": 0, "mean": None, "sd": None}
    assert found["outside_body"]["mean"] == 0.0
