"""The vote of three slices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_batch.domain.staging import STAGES, Flag, StageProbabilities, TStage, vote

shares = st.tuples(*[st.floats(0.001, 1)] * 4).map(lambda v: StageProbabilities(tuple(x / sum(v) for x in v)))


def p(*values):
    return StageProbabilities(values)


def test_the_majority_wins_against_a_surer_minority():
    stage, mean, flags = vote([p(0.4, 0.6, 0, 0), p(0.4, 0.6, 0, 0), p(1, 0, 0, 0)])

    assert stage is TStage.T2
    assert mean.most_likely is TStage.T1
    assert flags == (Flag.VOTE_MEAN_DISAGREE,)


def test_a_three_way_tie_goes_to_the_largest_summed_probability_and_is_flagged():
    stage, _, flags = vote([p(0.5, 0.3, 0.2, 0), p(0.1, 0.6, 0.3, 0), p(0, 0.3, 0.7, 0)])

    assert stage is TStage.T2 or stage is TStage.T3
    assert stage is max(STAGES, key=lambda s: {"T1": 0.6, "T2": 1.2, "T3": 1.2, "T4": 0}[s])
    assert Flag.TIE in flags


@given(st.lists(shares, min_size=3, max_size=3))
def test_the_vote_does_not_depend_on_the_order_of_slices(slices):
    stage, mean, flags = vote(slices)
    back_stage, back_mean, back_flags = vote(slices[::-1])

    assert set(flags) == set(back_flags)
    assert mean.values == pytest.approx(back_mean.values)
    assert stage is back_stage or Flag.TIE in flags


@given(st.lists(shares, min_size=1, max_size=3))
def test_the_voted_stage_was_named_by_a_slice(slices):
    assert vote(slices)[0] in {s.most_likely for s in slices}


@pytest.mark.parametrize("values", [(0.5, 0.5, 0.5, 0.5), (1, 0, 0), (float("nan"), 1, 0, 0), (-0.5, 1.5, 0, 0)])
def test_refuses_what_are_not_four_probabilities(values):
    with pytest.raises(ValueError, match="not four probabilities"):
        StageProbabilities(values)
