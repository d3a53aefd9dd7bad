"""When a model gives no stage: p-values over its own patients, and what they cost."""

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.config import StageConfig
from gtr_batch.domain.abstention import AbstentionCode, AbstentionRule, in_words, smallest_p
from gtr_batch.domain.staging import CaseStaging, KeySliceSource, StageProbabilities, TStage
from gtr_batch.errors import ConfigError
from gtr_batch.training.fit import fit_abstention


def patients(rng, n, width=24, shift=0.0):
    """Features of a cohort with a few strong directions, like a network's."""
    mixing = np.random.default_rng(5).normal(size=(4, width))
    return rng.normal(size=(n, 4)) @ mixing + 0.3 * rng.normal(size=(n, width)) + shift


@pytest.fixture(scope="module")
def rule():
    rng = np.random.default_rng(1)
    return fit_abstention(patients(rng, 80), patients(rng, 199), rng.normal(5, 1, 199))


def test_it_costs_no_more_good_cases_than_its_level(rule):
    """2000 patients of the same kind: at a level of 0.05 a rule of 199 costs between 2 and 9 in 100."""
    rng = np.random.default_rng(2)

    p = [rule.evidence(f).p_distance for f in patients(rng, 2000)]

    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


def test_features_off_the_usual_directions_are_found_although_each_is_within_its_range(rule):
    strange = np.random.default_rng(3).normal(size=(50, 24)) * np.array(rule.features.scale) + np.array(
        rule.features.mean
    )

    found = [rule.evidence(f).abstention(0.01) for f in strange]

    assert all(a is not None and a.code is AbstentionCode.UNLIKE_REFERENCE for a in found)


def test_a_series_whose_best_slice_shows_less_than_any_patients_has_no_tumour_sign(rule):
    usual = np.array(rule.features.mean)

    found = rule.evidence(usual, -3.0).abstention(0.01)

    assert found is not None
    assert found.code is AbstentionCode.NO_TUMOUR_SIGN
    assert found.numbers["p_tumour_sign"] == pytest.approx(1 / 200)
    assert rule.evidence(usual, 5.0).abstention(0.01) is None
    assert rule.evidence(usual, None).abstention(0.01) is None  # a person named the slice


@settings(deadline=None)
@given(st.integers(1, 60))
def test_few_patients_give_no_small_p_and_the_words_say_so(n):
    rng = np.random.default_rng(4)
    rule = fit_abstention(patients(rng, 20), patients(rng, n))

    evidence = rule.evidence(np.full(24, 1e3))

    assert evidence.p_distance == smallest_p(n) == pytest.approx(1 / (n + 1))
    assert evidence.abstention(0.01) is None
    assert f"give no p below {smallest_p(n):.3f}" in in_words(rule, 0.01)


def test_a_level_of_nought_answers_every_case(rule):
    assert rule.evidence(np.full(24, 1e6), -100.0).abstention(0.0) is None
    assert "0" in in_words(rule, 0.0)


def test_a_model_without_a_reference_answers_every_case_and_says_so():
    assert "answers every case" in in_words(None, 0.01)
    assert AbstentionRule().evidence(np.ones(3), -100.0).abstention(0.5) is None


@pytest.mark.parametrize("level", [-0.1, 0.6])
def test_an_impossible_level_is_refused(level):
    with pytest.raises(ConfigError, match="abstain_level"):
        StageConfig(abstain_level=level)


def test_a_staging_has_a_stage_or_a_reason_and_never_both(rule):
    abstention = rule.evidence(np.full(24, 1e3)).abstention(0.01)
    four = StageProbabilities((0.25,) * 4)
    staged = CaseStaging(TStage.T1, four, (), KeySliceSource.EHR, "ab" * 32)

    for impossible in ({"abstention": abstention}, {"t_stage": None}, {"probabilities": None}):
        with pytest.raises(ValueError, match="either"):
            attrs.evolve(staged, **impossible)
    assert attrs.evolve(staged, t_stage=None, probabilities=None, abstention=abstention).abstention is abstention
