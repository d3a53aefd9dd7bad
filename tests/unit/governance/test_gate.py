"""The gate: what passes, what fails, and what it cannot tell."""

from __future__ import annotations

import json

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from gtr_batch.config import GovernanceConfig
from gtr_batch.domain.conformal import ConformalSets
from gtr_batch.domain.model_json import to_json
from gtr_batch.domain.shadow import ShadowCount
from gtr_batch.governance import criteria
from gtr_batch.governance.criteria import Answers, Paired
from gtr_batch.governance.evaluation import set_coverage
from gtr_batch.governance.gate import judge
from gtr_batch.metrics.noninferiority import exact_power, patients_needed, tango_interval

EASY = GovernanceConfig(t4_understaging_cap=0.3)


def paired(n, *, champion=0.9, candidate=0.9, same=0.9, seed=0, overconfident=False, **subgroups):
    """`n` patients, staged by two models of these accuracies that answer alike in a share `same` of them."""
    rng = np.random.default_rng(seed)
    stages = np.arange(n) % 4
    near = np.where(stages == 0, 1, np.where(stages == 3, 2, stages + rng.choice([-1, 1], n)))
    draw, other = rng.random(n), rng.random(n)
    alike = rng.random(n) < same
    right = draw < champion
    own = np.where(alike, draw, other) < candidate
    answers = []
    for hit, accuracy in ((own, candidate), (right, champion)):
        votes = np.where(hit, stages, near)
        said = min(0.999, accuracy + 0.099) if overconfident and hit is own else accuracy
        p = np.full((n, 4), (1 - said) / 3)
        p[np.arange(n), votes] = said
        answers.append(Answers(votes, p))
    return Paired(stages, np.array([f"s{k}" for k in range(n)]), *answers, subgroups)


def of(found, name):
    return next(c for c in found.criteria if c.name == name)


def test_equal_models_pass_where_there_are_patients_enough():
    found = judge(paired(800), EASY, draws=500)

    assert found.verdict == "pass", [c.sentence for c in found.criteria]


def test_a_model_that_is_clearly_worse_fails():
    found = judge(paired(400, candidate=0.7), EASY, draws=500)

    assert found.verdict == "fail"
    assert of(found, "accuracy").verdict == "fail"
    assert found.sentence.startswith("The candidate is refused. Accuracy: candidate less champion -0.")


def test_few_patients_cannot_tell_even_where_no_answer_differs():
    """A bootstrap of 30 patients without one that differs has no width; the score interval knows better."""
    found = judge(paired(30, same=1.0), attrs.evolve(EASY, minimum_patients=10), draws=200)

    accuracy = of(found, "accuracy")
    assert (accuracy.value, accuracy.verdict) == (0.0, "cannot tell")
    assert accuracy.low < -0.05
    assert found.verdict == "cannot tell"


def test_a_stage_without_patients_cannot_tell():
    one = paired(80)
    keep = one.stages != 1
    cut = Paired(
        one.stages[keep],
        one.subjects[keep],
        *(Answers(a.votes[keep], a.probabilities[keep]) for a in (one.candidate, one.champion)),
    )

    found = judge(cut, EASY, draws=100)

    assert found.verdict == "cannot tell"
    assert "no patient of T2" in of(found, "patients").sentence


def test_an_empty_holdout_cannot_tell_and_says_so_without_a_nan():
    empty = Answers(np.empty(0, int), np.empty((0, 4)))

    found = judge(Paired(np.empty(0, int), np.empty(0, str), empty, empty), EASY, draws=20)

    assert found.verdict == "cannot tell"
    json.dumps(to_json(found), allow_nan=False)


def test_under_staging_of_t4_above_the_cap_fails_and_below_it_passes():
    one = paired(400)
    t4 = np.flatnonzero(one.stages == 3)
    low = one.candidate.votes.copy()
    low[t4[:40]] = 2

    bad = judge(attrs.evolve(one, candidate=Answers(low, one.candidate.probabilities)), EASY, draws=100)
    good = judge(one, EASY, draws=100)

    assert of(bad, "t4_understaging").verdict == "fail"
    assert of(good, "t4_understaging").verdict == "pass"


def test_a_candidate_that_is_surer_than_it_may_be_fails_by_its_calibration():
    found = judge(paired(1200, champion=0.85, candidate=0.85, overconfident=True), EASY, draws=300)

    assert of(found, "ece").verdict == "fail"


def test_a_subgroup_in_which_the_candidate_is_worse_fails_it_although_all_together_do_not():
    one = paired(1000, same=1.0)
    scanner = np.where(np.arange(1000) < 60, "old", "new")
    votes = one.candidate.votes.copy()
    votes[:60] = (one.stages[:60] + 1) % 4
    worse = attrs.evolve(
        one, candidate=Answers(votes, one.candidate.probabilities), subgroups={"scanner": list(scanner)}
    )

    found = judge(worse, attrs.evolve(EASY, accuracy_margin=0.1, kappa_margin=0.5), draws=100)

    assert of(found, "accuracy").verdict == "pass"
    assert of(found, "subgroups").verdict == "fail"
    assert "scanner old" in of(found, "subgroups").sentence


def test_small_subgroups_are_listed_and_hold_nobody_up():
    found = judge(paired(800, sex=["female"] * 795 + ["male"] * 5), EASY, draws=100)

    small = next(r for r in found.subgroups if r.group == "male")
    assert (small.verdict, small.bounds, small.n) == ("cannot tell", None, 5)
    assert found.verdict == "pass"


def test_too_few_nights_in_shadow_cannot_tell_where_the_site_asks_for_them():
    asked = attrs.evolve(EASY, shadow_nights=14, shadow_cases=20)

    early = judge(paired(800), asked, shadow=ShadowCount(nights=3, cases=40), draws=100)
    late = judge(paired(800), asked, shadow=ShadowCount(nights=14, cases=40), draws=100)

    assert (early.verdict, late.verdict) == ("cannot tell", "pass")


def test_the_same_answers_give_the_same_verdict_in_any_order():
    one = paired(120)
    order = np.random.default_rng(1).permutation(120)
    mixed = Paired(
        one.stages[order],
        one.subjects[order],
        *(Answers(a.votes[order], a.probabilities[order]) for a in (one.candidate, one.champion)),
    )

    first, again, other = (judge(p, EASY, draws=100) for p in (one, one, mixed))

    assert first == again
    assert [c.verdict for c in other.criteria] == [c.verdict for c in first.criteria]
    assert of(other, "accuracy").low == pytest.approx(of(first, "accuracy").low, abs=1e-12)


def test_several_rows_of_one_patient_are_drawn_together():
    one = paired(300)
    few = attrs.evolve(one, subjects=np.array([f"s{k // 10}" for k in range(300)]))

    assert judge(few, EASY, draws=100).patients == 30
    assert of(judge(few, EASY, draws=100), "patients").verdict == "cannot tell"


def share_that_passes(n: int, difference: float, runs: int) -> float:
    """How often the gate's criterion of accuracy passes holdouts of `n` patients, a tenth of whose pairs differ.

    Holdouts and their bootstraps are drawn here; the criterion is the gate's own, with its default margin of 0.05.
    """
    rng = np.random.default_rng(0)
    up, down = (0.1 + difference) / 2, (0.1 - difference) / 2
    passed: dict[tuple[int, int], bool] = {}
    drawn = [tuple(k) for k in rng.multinomial(n, [up, down, 1 - up - down], size=runs)[:, :2].tolist()]
    for gained, lost in set(drawn):
        stages, wrong = np.zeros(n, int), np.arange(n)
        candidate, champion = np.where(wrong < lost, 1, stages), np.where(wrong >= n - gained, 1, stages)
        even = np.full((n, 4), 0.25)
        subjects = np.array([f"s{k}" for k in range(n)])
        holdout = Paired(stages, subjects, Answers(candidate, even), Answers(champion, even))
        redrawn = rng.multinomial(n, [gained / n, lost / n, 1 - (gained + lost) / n], size=1000)
        found = criteria.accuracy(holdout, GovernanceConfig(), (redrawn[:, 0] - redrawn[:, 1]) / n)
        passed[gained, lost] = found.verdict is criteria.PASS
    return float(np.mean([passed[key] for key in drawn]))


def test_the_sample_size_is_that_of_the_design():
    assert patients_needed(0.05, 0.1) == 343
    assert norm.cdf(0.05 * np.sqrt(343 / 0.1) - norm.ppf(0.95)) == pytest.approx(0.9, abs=0.001)
    assert exact_power(343, 0.05, 0.1) == pytest.approx(0.882, abs=0.001)  # by the gate's own rule
    assert judge(paired(100), EASY, draws=50).power.needed == 343


@pytest.mark.parametrize("n", [60, 150, 343])
def test_a_candidate_at_the_margin_passes_in_one_of_twenty_holdouts_at_most(n):
    """The gate's promise, by simulation: 4000 holdouts, three standard errors above 5%."""
    assert share_that_passes(n, difference=-0.05, runs=4000) <= 0.05 + 3 * (0.05 * 0.95 / 4000) ** 0.5


def test_the_power_is_what_the_sum_over_every_outcome_says():
    assert share_that_passes(343, difference=0.0, runs=2000) == pytest.approx(0.88, abs=0.03)


def test_the_score_interval_is_wide_where_nothing_differs_and_normal_where_much_does():
    low, high = tango_interval(0, 0, 50)
    z = norm.ppf(0.95)

    assert (low, high) == (pytest.approx(-(z * z) / (50 + z * z)), pytest.approx(z * z / (50 + z * z)))
    low, high = tango_interval(210, 190, 4000)
    error = np.sqrt((400 - 20**2 / 4000) / 4000**2)
    assert (low, high) == (pytest.approx(0.005 - z * error, abs=5e-4), pytest.approx(0.005 + z * error, abs=5e-4))
    assert tango_interval(0, 0, 0) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 60))
def test_the_score_interval_holds_the_estimate_and_turns_with_its_sides(gained, lost, rest):
    n = gained + lost + rest + 1

    low, high = tango_interval(gained, lost, n)
    other_low, other_high = tango_interval(lost, gained, n)

    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert (other_low, other_high) == (pytest.approx(-high, abs=1e-6), pytest.approx(-low, abs=1e-6))


def test_coverage_of_the_candidates_sets_is_counted_on_the_holdout():
    stages = np.array([0, 1, 2, 3])
    answers = Answers(np.zeros(4, int), np.array([[0.7, 0.1, 0.1, 0.1]] * 4))

    found = set_coverage(ConformalSets(0.75, 0.9), stages, answers)

    assert (found.promised, found.n, found.held, found.mean_size) == (0.9, 4, 2, 2.0)  # T1-T2
    assert set_coverage(None, stages, answers) is None
