"""Table 1: counts, spreads and missing values by cohort, and tests that agree with other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from attrs import evolve
from statsmodels.stats.oneway import anova_oneway
from statsmodels.stats.proportion import proportions_chisquare
from statsmodels.stats.weightstats import ttest_ind

from gtr_batch.domain.clinical import Characteristics, Covariates, Differentiation, Lauren, Markers
from gtr_batch.domain.model_json import from_json, to_json
from gtr_batch.metrics.table_one import RESAMPLES, TableOne, lines_of, table_one


def people(n, seed, older=0.0, **changes):
    rng = np.random.default_rng(seed)
    return [
        Characteristics(
            sex=str(rng.choice(["female", "male"])),
            age_years=int(rng.normal(62 + older, 10)),
            location=str(rng.choice(["lower", "middle", "upper"])),
            covariates=Covariates(
                float(rng.uniform(1, 8)), rng.choice(list(Differentiation)), rng.choice(list(Lauren))
            ),
            markers=Markers(*rng.lognormal(1, 1, 6)),
        )
        for _ in range(n)
    ]


def rows(table):
    return {row.name: row for row in table.rows}


def test_holds_every_row_of_the_papers_table_with_its_test():
    found = rows(table_one({"train": people(80, 1), "holdout": people(40, 2)}))

    assert {name: row.test for name, row in found.items()} == {
        "Age, years": "Welch's t",
        "Sex": "Pearson's chi-squared",
        "Location, third of the stomach": "Pearson's chi-squared",
        "Tumour size, cm": "Welch's t",
        "Lauren type": "Pearson's chi-squared",
        "Differentiation": "Pearson's chi-squared",
        "PD-L1, %": "Mann-Whitney",
        "CEA, ng/ml": "Mann-Whitney",
        "CA 19-9, U/ml": "Mann-Whitney",
        "CA 72-4, U/ml": "Mann-Whitney",
        "CA 125, U/ml": "Mann-Whitney",
        "AFP, ng/ml": "Mann-Whitney",
    }
    assert all(0 <= row.p <= 1 for row in found.values())


def test_the_tests_agree_with_statsmodels():
    one, two, three = people(60, 1), people(50, 2, older=4), people(30, 3)
    ages = [np.array([c.age_years for c in who], float) for who in (one, two, three)]
    women = [sum(c.sex == "female" for c in who) for who in (one, two)]

    pair, all_three = rows(table_one({"a": one, "b": two})), rows(table_one({"a": one, "b": two, "c": three}))

    assert pair["Age, years"].p == pytest.approx(ttest_ind(ages[0], ages[1], usevar="unequal")[1], rel=1e-5)
    assert all_three["Age, years"].test == "Welch's ANOVA"
    assert all_three["Age, years"].p == pytest.approx(anova_oneway(ages, use_var="unequal").pvalue, rel=1e-5)
    assert pair["Sex"].p == pytest.approx(proportions_chisquare(women, [60, 50])[1], rel=1e-5)
    assert all_three["CEA, ng/ml"].test == "Kruskal-Wallis"


def sexes(female, male):
    return [Characteristics(sex="female")] * female + [Characteristics(sex="male")] * male


def test_small_cells_are_compared_exactly():
    """Six and six, of whom five and one are women: 37 of 924 tables are as unlikely on either side."""
    found = rows(table_one({"a": sexes(5, 1), "b": sexes(1, 5)}))["Sex"]

    assert (found.test, found.p) == ("Fisher's exact", pytest.approx(2 * 37 / 924, rel=1e-5))


def test_small_cells_of_larger_tables_are_drawn_and_come_out_the_same_twice():
    given = {"a": people(8, 1), "b": people(7, 2), "c": people(6, 3)}

    one, two = rows(table_one(given))["Lauren type"], rows(table_one(given))["Lauren type"]

    assert one.test == f"Fisher-Freeman-Halton ({RESAMPLES} draws)"
    assert one.p == two.p


def test_too_few_are_not_compared_and_said_so():
    found = rows(table_one({"a": people(40, 1), "b": people(4, 2)}))

    assert {(row.test, row.p) for row in found.values()} == {("too few", None)}


def test_what_is_alike_in_everybody_is_not_compared():
    alike = [Characteristics(sex="male", age_years=60)] * 9

    found = rows(table_one({"a": alike, "b": alike}))

    assert (found["Sex"].test, found["Age, years"].test) == ("all alike", "all alike")


def test_who_is_missing_is_counted_and_shares_are_of_those_known():
    unknown = [evolve(c, sex="unknown", age_years=None) for c in people(3, 9)]

    table = table_one({"a": sexes(3, 6) + unknown})

    lines = [(line.label, line.cells, line.test) for line in lines_of(table)]
    at = lines.index(("Sex", ("",), ""))
    assert lines[at + 1 : at + 5] == [
        ("female", ("3 (33.3%)",), ""),
        ("male", ("6 (66.7%)",), ""),
        ("other", ("0 (0.0%)",), ""),
        ("not known", ("3",), ""),
    ]
    assert lines[0] == ("Age, years, mean", ("–",), "")
    assert lines[1] == ("not known", ("12",), "")


def test_numbers_are_shown_as_their_kind_asks():
    given = [Characteristics(age_years=a, markers=Markers(cea_ng_ml=m)) for a, m in ((50, 1.0), (60, 2.0), (70, 30.0))]

    lines = {line.label: line.cells for line in lines_of(table_one({"a": given}))}

    assert lines["Age, years, mean"] == ("60.0 ± 10.0",)
    assert lines["CEA, ng/ml, median"] == ("2.0 (1.5 to 16.0)",)


def test_a_table_survives_json():
    table = table_one({"a": people(9, 1), "b": people(3, 2), "c": []})

    assert from_json(to_json(table), TableOne) == table


def test_equal_cohorts_differ_in_one_comparison_of_twenty():
    """300 pairs of cohorts; the bounds are 4 standard errors around 5% of 3600, were they independent."""
    below = [
        row.p < 0.05 for k in range(300) for row in table_one({"a": people(30, k), "b": people(30, 1000 + k)}).rows
    ]

    assert 0.035 <= np.mean(below) <= 0.065
