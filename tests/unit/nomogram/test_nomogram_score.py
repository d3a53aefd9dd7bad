import json
import math

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.miscmodels.ordinal_model import OrderedModel

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.model import NomogramModel
from gtr_batch.errors import InputRefused, ModelArtefactError
from gtr_batch.nomogram import check_model, paper_table_3, score, score_as_json

TABLE_3 = paper_table_3()
COMPLETE = Covariates(6.0, Differentiation.POOR, Lauren.DIFFUSE)

coefficient = st.floats(-3, 3).map(lambda c: round(c, 3))
share = st.floats(0.05, 1)


@st.composite
def models(draw) -> NomogramModel:
    first = draw(st.floats(-5, 1))
    gaps = draw(st.tuples(st.floats(0.01, 4), st.floats(0.01, 4)))
    return NomogramModel(
        name="drawn",
        rad_score=draw(st.floats(0.1, 3)),
        tumour_size=draw(coefficient),
        size_at_least_cm=draw(st.floats(1, 10)),
        differentiation={"well": 0.0, "moderate": draw(coefficient), "poor": draw(coefficient)},
        lauren={"intestinal": draw(coefficient), "diffuse": draw(coefficient), "mixed": 0.0},
        thresholds=(first, first + gaps[0], first + sum(gaps)),
        distribution={
            "tumour_size": {"below": draw(share), "at_least": draw(share)},
            "differentiation": {level: draw(share) for level in Differentiation},
            "lauren": {level: draw(share) for level in Lauren},
        },
    )


covariates = st.builds(
    Covariates,
    st.none() | st.floats(0.1, 20),
    st.none() | st.sampled_from(Differentiation),
    st.none() | st.sampled_from(Lauren),
)
rad_scores = st.floats(-4, 4)


def at_least(probabilities) -> np.ndarray:
    """P(T >= T2), P(T >= T3), P(T >= T4)."""
    return np.cumsum(probabilities.values[::-1])[::-1][1:]


def test_table_3_is_reckoned_as_in_the_paper():
    answer = score(TABLE_3, 0.0, COMPLETE)

    assert answer.linear_predictor == pytest.approx(0.69 + 1.15 + 1.06)
    cumulative = [1 / (1 + math.exp(-(a - 2.90))) for a in (-3.20, -1.17, 1.24)]
    assert np.cumsum(answer.probabilities.values)[:3] == pytest.approx(cumulative)
    assert answer.probabilities.values == pytest.approx((0.00224, 0.01455, 0.14297, 0.84024), abs=5e-6)
    assert answer.low == answer.high == answer.probabilities.values
    assert answer.missing == ()
    assert answer.coefficients == "paper-table-3"


def test_points_are_those_of_r_rms_on_table_3():
    """The rad-score spans most (0.87 x 6 = 5.22) and has 0 to 100; the others are in proportion, from their least."""
    answer = score(TABLE_3, 1.0, Covariates(3.0, Differentiation.MODERATE, Lauren.INTESTINAL))

    assert answer.points["rad_score"] == pytest.approx(100 * 4 / 6)
    assert answer.points["tumour_size"] == 0
    assert answer.points["differentiation"] == pytest.approx(100 * 0.22 / 5.22)
    assert answer.points["lauren"] == pytest.approx(100 * 0.08 / 5.22)  # mixed, -0.08, has the axis' zero
    assert answer.points["total"] == pytest.approx(sum(v for k, v in answer.points.items() if k != "total"))
    assert score(TABLE_3, -3.0, COMPLETE).points["rad_score"] == 0
    assert score(TABLE_3, 3.0, COMPLETE).points["rad_score"] == pytest.approx(100)


def test_the_predictor_that_spans_most_has_the_hundred_points():
    model = attrs.evolve(TABLE_3, rad_score=0.1, tumour_size=-2.0)

    small, large = (score(model, 3.0, attrs.evolve(COMPLETE, tumour_size_cm=s)).points for s in (4.99, 5.0))

    assert small["tumour_size"] == pytest.approx(100)
    assert large["tumour_size"] == 0
    assert small["rad_score"] == pytest.approx(100 * 0.6 / 2)


@pytest.mark.parametrize(("rad", "clipped"), [(-3.0, False), (3.0, False), (3.01, True), (-9.0, True)])
def test_outside_its_axis_the_rad_score_is_marked_and_its_points_end(rad: float, clipped: bool):
    answer = score(TABLE_3, rad, COMPLETE)

    assert answer.rad_score_clipped is clipped
    assert 0 <= answer.points["rad_score"] <= 100 + 1e-9
    assert answer.linear_predictor == pytest.approx(0.87 * rad + 2.90)


def test_probabilities_are_those_of_statsmodels_for_the_same_coefficients():
    rng = np.random.default_rng(0)
    rad, sizes = rng.normal(size=30), rng.uniform(1, 9, 30)
    grades, types = rng.choice(Differentiation, 30), rng.choice(Lauren, 30)
    columns = [rad, sizes >= 5, grades == "moderate", grades == "poor", types == "diffuse", types == "mixed"]
    x = np.stack(columns, axis=1).astype(float)
    fixture = OrderedModel(np.arange(30) % 4, x, distr="logit")
    thresholds = [-3.20, math.log(-1.17 + 3.20), math.log(1.24 + 1.17)]  # its own parameters: first, log of the steps

    expected = fixture.predict(np.array([0.87, 0.69, 0.22, 1.15, 1.06, -0.08, *thresholds]), exog=x)

    ours = [
        score(TABLE_3, r, Covariates(s, Differentiation(g), Lauren(t))).probabilities.values
        for r, s, g, t in zip(rad, sizes, grades, types, strict=True)
    ]
    np.testing.assert_allclose(ours, expected, atol=1e-12)


@settings(deadline=None)  # the machine may be busy
@given(models(), rad_scores, covariates)
def test_probabilities_are_probabilities_and_lie_between_low_and_high(model, rad, known):
    answer = score(model, rad, known)

    assert sum(answer.probabilities.values) == pytest.approx(1, abs=1e-9)
    for low, p, high in zip(answer.low, answer.probabilities.values, answer.high, strict=True):
        assert -1e-12 <= low <= p + 1e-12
        assert p <= high + 1e-12 <= 1 + 1e-9


@settings(deadline=None)  # the machine may be busy
@given(models(), rad_scores, st.floats(0, 3), covariates)
def test_a_higher_rad_score_never_lowers_points_or_the_probability_of_an_advanced_stage(model, rad, more, known):
    before, after = score(model, rad, known), score(model, rad + more, known)

    assert after.linear_predictor >= before.linear_predictor - 1e-9
    assert after.points["rad_score"] >= before.points["rad_score"] - 1e-9
    assert (at_least(after.probabilities) >= at_least(before.probabilities) - 1e-9).all()


@settings(deadline=None)  # the machine may be busy
@given(models(), rad_scores, covariates, covariates)
def test_points_never_fall_when_a_risk_rises(model, rad, one, other):
    a, b = score(model, min(max(rad, -3), 3), one), score(model, min(max(rad, -3), 3), other)

    assert (a.points["total"] - b.points["total"]) * (a.linear_predictor - b.linear_predictor) >= -1e-9


@settings(deadline=None)  # the machine may be busy
@given(models(), st.floats(-3, 3), covariates, covariates)
def test_lp_is_a_straight_line_of_the_total_points(model, rad, one, other):
    spans = [model.rad_score * 6, abs(model.tumour_size)]
    spans += [max(c.values()) - min(c.values()) for c in (model.differentiation, model.lauren)]

    a, b = score(model, rad, one), score(model, rad, other)

    difference = (a.points["total"] - b.points["total"]) * max(spans) / 100
    assert difference == pytest.approx(a.linear_predictor - b.linear_predictor, abs=1e-9)


@settings(deadline=None)  # the machine may be busy
@given(models(), rad_scores)
def test_a_missing_covariate_is_the_share_weighted_mean_of_its_values(model, rad):
    answer = score(model, rad, Covariates(6.0 if model.size_at_least_cm < 6 else 0.5, None, Lauren.MIXED))

    each = [
        score(model, rad, Covariates(6.0 if model.size_at_least_cm < 6 else 0.5, d, Lauren.MIXED))
        for d in Differentiation
    ]
    shares = np.array([model.distribution["differentiation"][d] for d in Differentiation])
    expected = shares / shares.sum() @ np.array([e.probabilities.values for e in each])
    assert answer.missing == ("differentiation",)
    assert answer.probabilities.values == pytest.approx(expected)
    assert answer.low == pytest.approx(np.min([e.probabilities.values for e in each], axis=0))
    assert answer.high == pytest.approx(np.max([e.probabilities.values for e in each], axis=0))


def test_a_level_that_the_cohort_did_not_have_weighs_nothing_but_widens_the_answer():
    model = attrs.evolve(TABLE_3, distribution={"lauren": {"intestinal": 3.0, "mixed": 1.0}})

    answer = score(model, 0.0, attrs.evolve(COMPLETE, lauren=None))

    each = {t: score(model, 0.0, attrs.evolve(COMPLETE, lauren=t)).probabilities.values for t in Lauren}
    assert answer.probabilities.values == pytest.approx(
        0.75 * np.array(each["intestinal"]) + 0.25 * np.array(each["mixed"])
    )
    assert answer.high[3] == pytest.approx(each["diffuse"][3])


def test_without_shares_a_missing_covariate_cannot_be_guessed():
    model = attrs.evolve(TABLE_3, distribution={"lauren": {"intestinal": 1.0}})

    score(model, 0.0, COMPLETE)
    with pytest.raises(ModelArtefactError, match=r"distribution\.tumour_size is absent"):
        score(model, 0.0, attrs.evolve(COMPLETE, tumour_size_cm=None))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"thresholds": (-1.0, -1.0, 1.0)}, r"thresholds do not rise"),
        ({"thresholds": (1.24, -1.17, -3.20)}, r"thresholds do not rise"),
        ({"thresholds": (0.0, 1.0)}, r"thresholds are not three"),
        ({"thresholds": (0.0, 1.0, float("nan"))}, r"thresholds are not three"),
        ({"rad_score": float("inf")}, r"rad_score is inf"),
        ({"rad_score": "high"}, r"a value is not a number"),
        ({"differentiation": {"well": 0.0, "poor": 1.0}}, r"differentiation has levels"),
        ({"lauren": {"intestinal": 0.1, "diffuse": 1.0, "mixed": 0.5}}, r"lauren has no reference level"),
        ({"lauren": {"intestinal": 0.0, "diffuse": float("nan"), "mixed": 0.5}}, r"lauren holds a coefficient"),
        ({"size_at_least_cm": 0.0}, r"size_at_least_cm is 0"),
        ({"distribution": {"sex": {"f": 1.0}}}, r"unknown covariate 'sex'"),
        (
            {"distribution": {"lauren": {"intestinal": -1.0, "mixed": 2.0}}},
            r"distribution\.lauren is not a set of shares",
        ),
        ({"distribution": {"tumour_size": {"big": 1.0}}}, r"distribution\.tumour_size has levels \['big'\]"),
    ],
)
def test_a_nomogram_that_could_not_give_probabilities_is_refused(changes: dict, told: str):
    model = attrs.evolve(TABLE_3, **changes)

    with pytest.raises(ModelArtefactError, match=told):
        check_model(model)
    with pytest.raises(ModelArtefactError, match=told):
        score(model, 0.0, COMPLETE)


def test_a_rad_score_that_is_not_finite_is_refused():
    with pytest.raises(InputRefused, match="rad-score nan"):
        score(TABLE_3, math.nan, COMPLETE)


def test_an_extreme_rad_score_still_gives_probabilities():
    assert score(TABLE_3, 2000.0, COMPLETE).probabilities.values == pytest.approx((0, 0, 0, 1))
    assert score(TABLE_3, -2000.0, COMPLETE).probabilities.values == pytest.approx((1, 0, 0, 0))


def test_the_json_has_linear_predictor_points_and_probabilities_by_name():
    value = json.loads(json.dumps(score_as_json(score(TABLE_3, 0.0, attrs.evolve(COMPLETE, lauren=None)))))

    assert set(value["points"]) == {"rad_score", "tumour_size", "differentiation", "lauren", "total"}
    assert set(value["probabilities"]) == set(value["low"]) == set(value["high"]) == {"T1", "T2", "T3", "T4"}
    assert value["missing"] == ["lauren"]
    assert value["coefficients"] == "paper-table-3"
    assert isinstance(value["linear_predictor"], float)


def test_the_fixture_of_table_3_is_lawful_and_its_shares_sum_to_one():
    check_model(TABLE_3)

    for shares in TABLE_3.distribution.values():
        assert sum(shares.values()) == pytest.approx(1)
