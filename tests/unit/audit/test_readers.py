"""Network, nomogram, radiologist and EUS against pathology, on the patients that each of them staged."""

from __future__ import annotations

import json
from datetime import date, timedelta

import attrs
import numpy as np
import pytest
from attrs import asdict
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.contingency_tables import mcnemar

from gtr_batch.audit.readers import compare_readers
from gtr_batch.domain.audit import AuditCase, Classification, Read, Surgery
from gtr_batch.domain.staging import STAGES, StageProbabilities

DAY = date(2026, 3, 1)
LATER = date(2027, 3, 1)


def certain(position, sure=0.7):
    p = np.full(4, (1 - sure) / 3)
    p[position] = sure
    return StageProbabilities(p)


def a_case(k, *, true, vote, nomogram=None, radiologist=None, eus=None, with_ai=None):
    operated = DAY + timedelta(days=30)
    stages = [None if s is None else STAGES[s] for s in (radiologist, eus)]
    return AuditCase(
        f"case-{k:04d}",
        f"subject-{k:04d}",
        DAY,
        DAY,
        t_stage=STAGES[vote],
        probabilities=certain(vote),
        nomogram=None if nomogram is None else certain(nomogram),
        surgery=Surgery(operated, operated, Classification.PT, str(STAGES[true]), STAGES[true]),
        read=Read(DAY, *stages, with_ai=with_ai),
    )


def near(rng, true, accuracy):
    """The true stage so often, else a neighbour."""
    off = rng.choice([k for k in (true - 1, true + 1) if 0 <= k <= 3])
    return int(true if rng.random() < accuracy else off)


@pytest.fixture(scope="module")
def cases():
    rng = np.random.default_rng(0)
    made = []
    for k in range(300):
        true = int(rng.integers(4))
        helped = bool(k % 2)
        made.append(
            a_case(
                k,
                true=true,
                vote=near(rng, true, 0.9),
                nomogram=near(rng, true, 0.8),
                radiologist=near(rng, true, 0.85 if helped else 0.55),
                eus=near(rng, true, 0.6) if k % 3 == 0 else None,
                with_ai=helped,
            )
        )
    return made


@pytest.fixture(scope="module")
def found(cases):
    return compare_readers(cases, LATER, draws=400, seed=1)


def columns(cases):
    rows = [(c.surgery.t_stage.position, c.t_stage.position, c.read.radiologist_ct.position) for c in cases]
    return np.array(rows).T


def test_every_rater_is_judged_on_the_patients_it_staged(found):
    counts = {name: rater.n for name, rater in found.raters.items()}

    assert counts == {"gtrnet": 300, "nomogram": 300, "radiologist": 300, "eus": 100}
    assert found.raters["gtrnet"].accuracy > found.raters["eus"].accuracy + 0.1


def test_a_raters_numbers_are_those_of_its_own_table(cases, found):
    truth, _, radiologist = columns(cases)
    rater = found.raters["radiologist"]

    assert rater.accuracy == pytest.approx((truth == radiologist).mean())
    assert rater.kappa == pytest.approx(cohen_kappa_score(truth, radiologist, weights="quadratic"))
    assert rater.over_staging == pytest.approx((radiologist > truth).mean())
    assert rater.under_staging == pytest.approx((radiologist < truth).mean())
    assert rater.sensitivity["T3"] == pytest.approx((radiologist[truth == 2] == 2).mean())
    assert rater.accuracy_ci[0] < rater.accuracy < rater.accuracy_ci[1]


def test_a_pair_is_tested_on_the_patients_that_both_staged(cases, found):
    truth, network, radiologist = columns(cases)
    pair = next(p for p in found.pairs if (p.a, p.b) == ("gtrnet", "radiologist"))
    right, other = network == truth, radiologist == truth
    table = [[(right & other).sum(), (right & ~other).sum()], [(~right & other).sum(), (~right & ~other).sum()]]

    assert len(found.pairs) == 6
    assert {p.n for p in found.pairs if "eus" in (p.a, p.b)} == {100}
    assert pair.accuracy_difference == pytest.approx(right.mean() - other.mean())
    assert pair.mcnemar_p == pytest.approx(mcnemar(table, exact=True).pvalue)
    assert 0 < pair.ci[0] < pair.accuracy_difference < pair.ci[1]
    assert pair.ci == pytest.approx(pair.score_ci, abs=0.02)
    assert pair.kappa_ci[0] < pair.kappa_difference < pair.kappa_ci[1]
    assert "on the same 300 patients" in pair.sentence


def test_raters_that_never_differ_get_a_width_from_the_score_interval_alone():
    cases = [a_case(k, true=k % 4, vote=k % 4 if k % 5 else (k + 1) % 4, nomogram=k % 4 if k % 5 else (k + 1) % 4) for k in range(40)]  # fmt: skip  # noqa: E501

    pair = compare_readers(cases, LATER, draws=50, seed=0).pairs[0]

    assert (pair.accuracy_difference, pair.mcnemar_p, pair.ci) == (0.0, 1.0, None)
    assert pair.score_ci[0] < 0 < pair.score_ci[1]


def test_readers_with_ai_against_without_are_unpaired_and_said_to_be(found):
    against = found.with_against_without

    assert (found.with_ai.n, found.without_ai.n) == (150, 150)
    assert 0.15 < against.accuracy_difference < 0.45
    assert against.ci[0] > 0
    assert against.fisher_p < 0.001
    assert "Unpaired" in against.sentence
    assert found.with_ai.gtrnet_accuracy == pytest.approx(found.without_ai.gtrnet_accuracy, abs=0.1)


@pytest.mark.parametrize(("kind", "missing"), [(True, "without it"), (False, "with the AI result at hand")])
def test_reads_of_one_kind_are_compared_with_nothing(cases, kind, missing):
    found = compare_readers([c for c in cases if c.read.with_ai is kind], LATER, draws=20, seed=0)

    assert found.with_against_without is None
    assert [found.with_ai is None, found.without_ai is None] == [not kind, kind]
    assert f"No reads {missing}" in " ".join(found.sentences)


def test_reads_of_which_nobody_knows_are_in_neither_group(cases):
    unclear = [attrs.evolve(c, read=attrs.evolve(c.read, with_ai=None)) for c in cases[:10]]

    found = compare_readers(unclear + cases[10:], LATER, draws=20, seed=0)

    assert found.with_ai.n + found.without_ai.n == 290
    assert found.raters["radiologist"].n == 300
    assert "10 reads cannot be told" in " ".join(found.sentences)


def test_a_read_after_the_audit_and_a_ypt_do_not_count(cases):
    late = [attrs.evolve(c, read=attrs.evolve(c.read, read_on=LATER + timedelta(days=1))) for c in cases[:20]]
    treated = [
        attrs.evolve(c, surgery=attrs.evolve(c.surgery, classification=Classification.YPT)) for c in cases[20:30]
    ]

    found = compare_readers([*late, *treated, *cases[30:]], LATER, draws=20, seed=0)

    assert found.n == 290
    assert found.raters["radiologist"].n == 270


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_patients_give_sentences_and_no_nan(cases, n):
    found = compare_readers(cases[:n], LATER, draws=20, seed=0)

    assert json.loads(json.dumps(asdict(found), allow_nan=False))["n"] == n
    assert found.sentences


def test_the_order_of_the_cases_does_not_matter_to_the_comparison(cases, found):
    again = compare_readers(cases[::-1], LATER, draws=400, seed=1)

    assert json.dumps(asdict(again)) == json.dumps(asdict(found))
