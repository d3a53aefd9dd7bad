"""The candidate is held against the best champion there was, so that margins do not add up over promotions."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from gtr_batch.config import GovernanceConfig
from gtr_batch.governance.best_champion import best_champion
from gtr_batch.governance.criteria import Answers, Paired
from gtr_batch.governance.gate import judge
from gtr_batch.simulation.hospital.successors import chain_of_champions
from gtr_batch.simulation.worlds.successors import SharedPatients

SETTINGS = GovernanceConfig()
N = 1000
STAGES = np.arange(N) % 4


def wrong_in(first: int, last: int) -> Answers:
    """Right but for these patients, who are staged one stage off (T4 lower)."""
    votes = STAGES.copy()
    off = slice(first, last)
    votes[off] = np.where(STAGES[off] == 3, 2, STAGES[off] + 1)
    p = np.full((N, 4), 0.04)
    p[np.arange(N), votes] = 0.88
    return Answers(votes, p)


def held(candidate: Answers, champion: Answers, **former: Answers) -> Paired:
    return Paired(STAGES, np.arange(N).astype(str), candidate, champion, former=former)


def found(paired: Paired):
    return best_champion(paired, SETTINGS, draws=300, seed=1)


def test_where_there_was_no_other_champion_there_is_no_such_criterion():
    assert found(held(wrong_in(0, 80), wrong_in(0, 80))) is None


def test_a_candidate_as_good_as_the_champion_and_worse_than_the_one_before_by_more_than_the_margin_fails():
    """Its present champion is worse than the earlier one by 8 points, and so is the candidate."""
    paired = held(wrong_in(0, 140), wrong_in(20, 160), earlier=wrong_in(0, 60))

    verdict = judge(paired, SETTINGS, draws=300)

    (best,) = [c for c in verdict.criteria if c.name == "best_champion"]
    assert best.verdict == "fail"
    assert (best.value, best.limit) == (pytest.approx(-0.08), -0.05)
    assert "Accuracy: candidate less earlier champion earlier -0.080" in best.sentence
    assert next(c for c in verdict.criteria if c.name == "accuracy").verdict == "pass"
    assert verdict.verdict == "fail"


def test_an_earlier_champion_that_was_no_better_asks_nothing():
    best = found(held(wrong_in(0, 90), wrong_in(10, 100), earlier=wrong_in(0, 200)))

    assert best.verdict == "pass"
    assert "none of 1 earlier ones did better" in best.sentence


def test_of_several_the_best_counts_by_each_measure():
    """One earlier champion has the fewest errors, another the fewest T4 staged lower."""
    t4 = np.flatnonzero(STAGES == 3)
    most_accurate, fewest_t4 = wrong_in(0, 60), wrong_in(0, 120)
    votes = most_accurate.votes.copy()
    votes[t4[:30]] = 2
    careful = fewest_t4.votes.copy()
    careful[t4] = 3
    paired = held(
        wrong_in(0, 100),
        wrong_in(0, 200),
        accurate=attrs.evolve(most_accurate, votes=votes),
        careful=attrs.evolve(fewest_t4, votes=careful),
    )

    sentence = found(paired).sentence

    assert "Accuracy: candidate less earlier champion accurate" in sentence
    assert "of the earlier champion careful 0" in sentence


def test_an_earlier_champion_that_cannot_be_asked_leaves_it_open():
    """A margin may have been used up against it, and nobody can tell."""
    best = found(attrs.evolve(held(wrong_in(0, 80), wrong_in(0, 80)), not_asked=["c" * 64]))

    assert best.verdict == "cannot tell"
    assert best.sentence.endswith("Cannot be asked, since files are gone or changed: cccccccccccc.")


def test_margins_do_not_add_up_over_a_chain_of_promotions():
    """Six candidates, each worse than the champion of its day by 0.6 of the margin; ten chains.

    Against the present champion alone two or more of six pass in most chains, and the last champion is worse than the
    first by more than the margin; docs/validity.md has the table.
    """
    before, now = (
        [
            chain_of_champions(
                SharedPatients(1000), SETTINGS, seed, steps=6, worse=0.03, hold_former=hold_former, draws=100
            )
            for seed in range(10)
        ]
        for hold_former in (False, True)
    )

    assert sum(chain.lost > 0.05 for chain in before) >= 3
    assert sum(chain.lost > 0.05 for chain in now) <= 2
