"""Labels as they come: late, for some, of two kinds. One case a patient, nothing from after the day of the audit."""

from __future__ import annotations

import json
from datetime import date, timedelta

import attrs
import numpy as np
import pytest
from attrs import asdict

from gtr_batch.audit.found.patients import AgainstPathology
from gtr_batch.audit.labels import estimates, labelled, maturity, one_a_patient, overrides
from gtr_batch.domain.audit import AuditCase, Classification, Read, Surgery
from gtr_batch.domain.staging import STAGES, StageProbabilities, TStage

DAY = date(2026, 3, 1)
LATER = date(2027, 3, 1)
WAIT = 120


def a_case(name="1", night=DAY, *, vote=TStage.T2, **changes):
    p = np.full(4, 0.1)
    p[vote.position] = 0.7
    case = AuditCase(f"case-{name}", f"subject-{name}", night, night, t_stage=vote, probabilities=StageProbabilities(p))
    return attrs.evolve(case, **changes)


def operated(days, reported=14, *, stage=TStage.T2, kind=Classification.PT, since=DAY):
    on = since + timedelta(days=days)
    told = None if reported is None else on + timedelta(days=reported)
    if told is None:
        return Surgery(on)
    return Surgery(on, told, kind, "T0" if stage is None else str(stage), stage)


def a_cohort(seed, n=700):
    """Patients of whom those with an early vote are operated, and whom the model stages better when they are early.

    Probabilities are calibrated; who is operated depends on the vote alone. With it: how often the vote was right.
    """
    rng = np.random.default_rng(seed)
    cases, right = [], []
    for k in range(n):
        vote = int(rng.choice(4, p=[0.25, 0.2, 0.25, 0.3]))
        sure = [0.93, 0.82, 0.6, 0.5][vote] + rng.uniform(-0.05, 0.05)
        p = np.full(4, (1 - sure) / 3)
        p[vote] = sure
        true = int(rng.choice(4, p=p))
        night = DAY + timedelta(days=int(rng.integers(0, 150)))
        surgery = None
        if rng.random() < [0.95, 0.8, 0.35, 0.15][vote]:
            surgery = operated(int(rng.integers(10, 60)), stage=STAGES[true], since=night)
        case = a_case(str(k), night, vote=STAGES[vote], surgery=surgery)
        cases.append(attrs.evolve(case, probabilities=StageProbabilities(p), age_years=int(rng.integers(40, 85))))
        right.append(vote == true)
    return cases, float(np.mean(right))


def test_a_report_counts_from_its_day_on():
    cases = [a_case(surgery=operated(30, 14))]
    reported = DAY + timedelta(days=44)

    before = labelled(cases, reported - timedelta(days=1))
    on = labelled(cases, reported)

    assert len(before.labels) == 0
    assert on.labels.tolist() == [TStage.T2.position]


def test_a_ypt_never_enters_the_pt():
    cases = [a_case("1", surgery=operated(90, kind=Classification.YPT)), a_case("2", surgery=operated(30))]

    pt, ypt = (labelled(cases, LATER, kind).subjects.tolist() for kind in (Classification.PT, Classification.YPT))
    found = estimates(cases, LATER, wait_days=WAIT, draws=0, seed=0)

    assert (pt, ypt) == (["subject-2"], ["subject-1"])
    assert (found.n_labelled, found.apart.kind, found.apart.n) == (1, "ypT", 1)


@pytest.mark.parametrize("stage", [None], ids=["T0"])
def test_t0_is_no_label_and_is_said(stage):
    cases = [a_case("1", surgery=operated(30, stage=stage)), a_case("2", surgery=operated(30))]

    found = estimates(cases, LATER, wait_days=WAIT, draws=0, seed=0)

    assert (found.n_staged, found.n_labelled) == (1, 1)
    assert "1 patients with pT T0 or Tis are left out" in " ".join(found.sentences)


def test_a_patient_counts_once_with_the_last_case_before_the_operation():
    surgery = operated(40)
    first = a_case("a", DAY, subject="s", surgery=surgery)
    last = a_case("b", DAY + timedelta(days=20), subject="s", surgery=surgery, vote=TStage.T3)
    follow_up = a_case("c", DAY + timedelta(days=200), subject="s")

    chosen = one_a_patient([follow_up, first, last], LATER)
    early = one_a_patient([follow_up, first, last], DAY + timedelta(days=10))

    assert [c.case_id for c in chosen] == ["case-b"]
    assert [c.case_id for c in early] == ["case-a"]
    assert early[0].surgery is None


def test_the_order_of_the_cases_does_not_matter():
    cases, _ = a_cohort(1, 150)

    one = estimates(cases, LATER, wait_days=WAIT, draws=20, seed=3)
    other = estimates(cases[::-1], LATER, wait_days=WAIT, draws=20, seed=3)

    assert json.dumps(asdict(one), allow_nan=False) == json.dumps(asdict(other), allow_nan=False)


def test_maturity_counts_every_patient_of_a_month_in_one_fate():
    as_of = DAY + timedelta(days=150)
    late = as_of - timedelta(days=30)
    cases = [
        a_case("1", surgery=operated(30)),
        a_case("2", surgery=operated(30, kind=Classification.YPT)),
        a_case("3", surgery=operated(140, None)),
        a_case("4"),
        a_case("5", surgery=operated(30, stage=None)),
        a_case("6", late),
        a_case("7", late, surgery=operated(200)),
    ]

    march, *between, july = maturity(cases, as_of, WAIT)

    assert asdict(march) | {"maturity": None} == {
        "month": "2026-03", "staged": 5, "operated": 4, "reported": 2, "ypt": 1, "other_report": 0, "no_stage": 1,
        "waiting": 1, "unresected": 1, "open": 0, "maturity": None,
    }  # fmt: skip
    assert march.maturity == pytest.approx(4 / 5)
    assert (july.month, july.staged, july.open, july.maturity) == ("2026-06", 2, 2, 0.0)
    assert [(row.month, row.staged, row.maturity) for row in between] == [
        ("2026-04", 0, None),
        ("2026-05", 0, None),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_estimate_lies_nearer_the_truth_than_the_naive_one(seed):
    """Who is operated depends on the vote, and so does how often the vote is right."""
    cases, truth = a_cohort(seed)

    found = estimates(cases, LATER, wait_days=WAIT, draws=0, seed=0)

    naive, weighted = (abs(found_of.accuracy - truth) for found_of in (found.naive, found.ipw))
    assert weighted < 0.5 * naive
    assert found.ipw.effective_n < found.n_labelled


def test_the_weighted_interval_holds_the_truth_and_the_naive_one_does_not():
    """Truth here is of the population, over 30 cohorts."""
    truths, weighted, naive = [], [], []
    for seed in range(30):
        cases, truth = a_cohort([7, seed], 400)
        truths.append(truth)
        found = estimates(cases, LATER, wait_days=WAIT, draws=60, seed=seed)
        weighted.append(found.ipw.ci)
        naive.append(found.naive.ci)

    truth = np.mean(truths)

    assert np.mean([low <= truth <= high for low, high in weighted]) >= 0.85
    assert np.mean([low <= truth <= high for low, high in naive]) <= 0.6


@pytest.mark.parametrize("seed", range(5))
def test_the_bounds_hold_the_truth_whoever_is_operated(seed):
    """Also where operation depends on whether the model is right, which no weights can mend."""
    rng = np.random.default_rng(seed)
    cases, right = [], []
    for k in range(200):
        true, vote = STAGES[int(rng.integers(4))], STAGES[int(rng.integers(4))]
        seen = rng.random() < (0.9 if true is vote else 0.2)
        cases.append(a_case(str(k), vote=vote, surgery=operated(30, stage=true) if seen else None))
        right.append(true is vote)

    found = estimates(cases, LATER, wait_days=WAIT, draws=0, seed=0)

    assert found.bounds.low <= np.mean(right) <= found.bounds.high
    assert found.naive.accuracy > np.mean(right) + 0.1


def test_with_every_label_all_three_are_one():
    cases = [a_case(str(k), vote=STAGES[k % 4], surgery=operated(30, stage=STAGES[(k // 3) % 4])) for k in range(60)]

    found = estimates(cases, LATER, wait_days=WAIT, draws=50, seed=0)

    assert found.ipw.accuracy == pytest.approx(found.naive.accuracy)
    assert found.bounds.low == found.bounds.high == found.naive.accuracy


@pytest.mark.parametrize("n", [0, 1, 30])
def test_too_few_labels_give_none_and_a_sentence(n):
    cases = [a_case(str(k), surgery=operated(30) if k < 3 else None) for k in range(n)]

    found = estimates(cases, LATER, wait_days=WAIT, draws=50, seed=0)

    assert found.ipw.accuracy is None
    assert "too few to model" in found.ipw.sentence
    json.dumps(asdict(found), allow_nan=False)


def test_missing_covariates_are_a_level_of_their_own():
    cases, _ = a_cohort(2, 300)
    whole = [
        attrs.evolve(
            c,
            sex="female" if k % 2 else "male",
            tumour_size_cm=2.0 + k % 5,
            location="lower",
            differentiation="poor",
        )
        for k, c in enumerate(cases)
    ]
    holes = [
        attrs.evolve(c, age_years=None, tumour_size_cm=None, location=None, differentiation=None) if k % 3 == 0 else c
        for k, c in enumerate(whole)
    ]

    found = estimates(holes, DAY + timedelta(days=200), wait_days=WAIT, draws=0, seed=0).ipw

    assert list(found.covariates) == [
        "probabilities", "vote", "age", "sex", "tumour size", "location", "differentiation", "days since staging",
    ]  # fmt: skip
    assert 0 < found.accuracy < 1
    assert "cut to the 1st or 99th percentile" in found.sentence


def test_overrides_are_reads_with_the_result_and_stand_beside_pathology():
    def read(stage, with_ai=True):
        return Read(DAY + timedelta(days=2), stage, with_ai=with_ai)

    cases = [
        a_case("1", read=read(TStage.T2)),  # agrees
        a_case("2", read=read(TStage.T3)),  # higher, no pathology
        a_case("3", read=read(TStage.T3), surgery=operated(30, stage=TStage.T3)),  # higher, and right
        a_case("4", read=read(TStage.T1), surgery=operated(30, stage=TStage.T2)),  # lower, and wrong
        a_case("5", read=read(TStage.T4, with_ai=False)),
        a_case("6", read=read(TStage.T4, with_ai=None)),
        a_case("7"),
    ]

    found = overrides(one_a_patient(cases, LATER), LATER)

    assert (found.n, found.agree, found.higher, found.lower) == (4, 1, 2, 1)
    assert found.against_pathology == AgainstPathology(2, reader_right=1, ai_right=1)
    second = found.second_reference
    assert (second.n, second.from_pathology, second.from_reader) == (4, 2, 2)
    assert second.accuracy == pytest.approx(2 / 4)
    assert "no pathology" in found.sentence


def test_a_read_after_the_day_of_the_audit_is_not_known():
    case = a_case(read=Read(DAY + timedelta(days=5), TStage.T3, with_ai=True))

    assert overrides(one_a_patient([case], DAY), DAY).n == 0
