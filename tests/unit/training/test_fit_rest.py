"""Conformal sets, the drift reference, heat against lesion."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.domain.conformal import ConformalSets, nonconformity, shortest_interval
from gtr_batch.domain.staging import StageProbabilities, StageSet, TStage
from gtr_batch.explain.lesion import body_of, dice, looks, share_outside
from gtr_batch.simulation.worlds.uncalibrated import answers
from gtr_batch.training.fit.conformal import conformal_report, fit_conformal
from gtr_batch.training.fit.reference import reference_of
from tests.bench.conformal import WORLDS, grown_set, measure

probabilities = st.lists(st.floats(0.001, 1), min_size=4, max_size=4).map(lambda p: [v / sum(p) for v in p])


def intervals(p):
    """All ten, by length."""
    return [(first, last, sum(p[first : last + 1])) for first in range(4) for last in range(first, 4)]


@given(probabilities, st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_set_is_the_most_probable_of_the_shortest_intervals_beyond_the_threshold(p, threshold):
    first, last = shortest_interval(p, threshold)

    mine = sum(p[first : last + 1])
    shorter = [mass for a, b, mass in intervals(p) if b - a < last - first]
    alike = [mass for a, b, mass in intervals(p) if b - a == last - first]
    assert all(mass <= threshold + 1e-9 for mass in shorter)
    assert mine > threshold - 1e-9 or (first, last) == (0, 3)
    assert mine >= max(alike) - 1e-9


def test_two_stages_are_said_where_they_suffice_and_not_three_around_the_likeliest():
    p = (0.40, 0.02, 0.30, 0.28)

    assert shortest_interval(p, 0.5) == (2, 3)
    assert grown_set(p, 0.5) == (0, 2)  # as it was


@given(probabilities, st.integers(0, 3), st.floats(0, 0.5))
def test_from_its_score_on_the_set_holds_a_stage(p, true, more):
    first, last = shortest_interval(p, nonconformity(p, true) + more)

    assert first <= true <= last


def test_a_set_in_words():
    sets = ConformalSets(0.5, 0.9)

    assert str(sets.of(StageProbabilities((0.0, 0.4, 0.4, 0.2)))) == "T2-T3 (90%)"
    assert str(sets.of(StageProbabilities((0.0, 0.1, 0.7, 0.2)))) == "T3 (90%)"
    assert TStage.T1 not in sets.of(StageProbabilities((0.0, 0.4, 0.4, 0.2)))


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_nine_in_ten_new_patients_lie_in_their_set_whatever_the_probabilities_mean(world):
    """Mean of 40 hospitals; the bound is 4 standard errors of it below what was promised."""
    found = measure(WORLDS[world], repetitions=40, patients=100, judged=100, seed=5)

    held, size = found["shortest (ours)"]
    assert held.mean() >= 0.9 - 4 * held.std() / np.sqrt(len(held))
    assert size.mean() < found["growing, as before"][1].mean() - 0.5
    assert size.mean() <= found["growing, exclusive"][1].mean() + 0.01


def test_with_too_few_patients_the_set_is_of_all_stages():
    found = fit_conformal(np.full((5, 4), 0.25), np.arange(5) % 4, 0.9)

    assert found.threshold == 1.0
    assert found.of(StageProbabilities((0.0, 0.0, 0.0, 1.0))) == StageSet(TStage.T1, TStage.T4, 0.9)


def test_the_report_counts_patients_at_a_threshold_that_others_made():
    p, stages = answers(200, 3)

    fitted = fit_conformal(p, stages)
    found = conformal_report(fitted, p, stages)

    assert (found["threshold"], found["n"]) == (fitted.threshold, 200)
    assert found["held"] / 200 == found["share"]
    assert found["share"] >= 0.82  # 0.9 less 4 standard errors
    assert 1 <= found["mean_size"] < 3.5


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
