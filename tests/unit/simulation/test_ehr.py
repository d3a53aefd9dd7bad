"""The synthetic records are those of Table 1."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import date

import numpy as np
import pytest

from gtr_batch.domain.clinical import Differentiation, Lauren
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import STAGES
from gtr_batch.simulation.hospital.ehr import COLUMNS, MARKERS, draw_clinical, lognormal, write_extracts
from gtr_batch.simulation.hospital.hospital import Hospital
from gtr_batch.simulation.hospital.patient import History, ehr_rows
from gtr_batch.simulation.phantom.stomach import Third

N = 2000
THREE_SE = 3 * np.sqrt(0.25 / N)  # of a share


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(1)
    return [(STAGES[k % 4], draw_clinical(rng, STAGES[k % 4])) for k in range(N)]


def share(values, value) -> float:
    return sum(v == value for v in values) / N


def test_age_and_sex_are_table_1s(drawn):
    ages = np.array([c.age_years for _, c in drawn])

    assert ages.mean() == pytest.approx(62.5, abs=1.0)
    assert ages.std() == pytest.approx(9.4, abs=0.8)
    assert share([c.sex for _, c in drawn], "F") == pytest.approx(0.726, abs=THREE_SE)


@pytest.mark.parametrize(("third", "expected"), [("lower", 0.585), ("middle", 0.268), ("upper", 0.148)])
def test_the_thirds_are_table_1s(drawn, third, expected):
    assert share([c.third for _, c in drawn], Third(third)) == pytest.approx(expected, abs=THREE_SE)


@pytest.mark.parametrize(("lauren", "expected"), [("intestinal", 0.378), ("mixed", 0.287), ("diffuse", 0.335)])
def test_the_lauren_types_are_table_1s(drawn, lauren, expected):
    assert share([c.lauren for _, c in drawn], Lauren(lauren)) == pytest.approx(expected, abs=THREE_SE)


@pytest.mark.parametrize(("level", "expected"), [("well", 0.122), ("moderate", 0.360), ("poor", 0.518)])
def test_the_differentiation_is_table_1s(drawn, level, expected):
    values = [c.differentiation for _, c in drawn]

    assert share(values, Differentiation(level)) == pytest.approx(expected, abs=THREE_SE)


def test_tumour_size_is_table_1s_positive_and_grows_with_the_stage(drawn):
    sizes = np.array([c.size_cm for _, c in drawn])
    by_stage = [np.mean([c.size_cm for s, c in drawn if s is stage]) for stage in STAGES]

    assert sizes.min() > 0
    assert sizes.mean() == pytest.approx(3.86, abs=0.25)
    assert sizes.std() == pytest.approx(2.42, abs=0.4)
    assert by_stage == sorted(by_stage)


@pytest.mark.parametrize("marker", MARKERS)
def test_markers_have_the_median_of_a_log_normal_with_table_1s_mean_and_deviation(drawn, marker):
    """The sample deviation of so long a tail says nothing at this n; the median does."""
    mean, deviation = MARKERS[marker]
    values = np.array([c.markers[marker] for _, c in drawn])

    assert np.median(values) == pytest.approx(mean / np.sqrt(1 + (deviation / mean) ** 2), rel=0.25, abs=0.02)
    assert values.min() >= 0


def test_a_lognormal_draw_has_the_mean_and_deviation_asked_for():
    rng = np.random.default_rng(0)

    values = np.array([lognormal(rng, 3.86, 2.42) for _ in range(20_000)])

    assert values.mean() == pytest.approx(3.86, rel=0.03)
    assert values.std() == pytest.approx(2.42, rel=0.08)


def test_a_night_is_the_same_again_and_another_night_has_other_patients():
    on, next_day = date(2026, 3, 2), date(2026, 3, 3)

    assert Hospital(5).night(on, 6) == Hospital(5).night(on, 6)
    assert not {p.patient_id for p in Hospital(5).night(on, 6)} & {p.patient_id for p in Hospital(5).night(next_day, 6)}
    assert Hospital(5).night(on, 6) != Hospital(6).night(on, 6)


def test_most_patients_are_eligible_and_the_others_know_their_refusal():
    patients = Hospital(1).night(date(2026, 3, 2), 400)
    histories = Counter(p.history for p in patients)

    assert 0.78 < histories[History.ELIGIBLE] / 400 < 0.90
    assert set(histories) == set(History)
    chemo = next(p for p in patients if p.history is History.PRIOR_CHEMOTHERAPY)
    assert (chemo.expected_state, chemo.expected_refusal) == ("refused", RefusalCode.PRIOR_CHEMOTHERAPY)
    assert all(p.expected_refusal is None for p in patients if p.history is History.ELIGIBLE)


def test_extracts_have_the_headers_of_the_sql_readme(tmp_path):
    patients = Hospital(1).night(date(2026, 3, 2), 40)
    without_images = [p for p in patients if p.key_slice != "ehr_reference"]

    write_extracts(tmp_path, [ehr_rows(p) for p in without_images])

    assert {p.stem for p in tmp_path.iterdir()} == set(COLUMNS)
    for name, columns in COLUMNS.items():
        with (tmp_path / f"{name}.csv").open() as stream:
            assert tuple(next(csv.reader(stream))) == columns
    with (tmp_path / "patient.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == len(without_images)


def test_prior_chemotherapy_ended_before_the_study(tmp_path):
    patients = Hospital(1).night(date(2026, 3, 2), 400)
    chemo = next(p for p in patients if p.history is History.PRIOR_CHEMOTHERAPY)

    (row,) = ehr_rows(chemo)["treatment"]

    assert row["kind"] == "chemotherapy"
    assert row["started_on"] < row["ended_on"] < "2026-03-02"


def test_repr_of_a_patient_names_nobody():
    patient = Hospital(1).patient(3, date(2026, 3, 2))

    assert patient.patient_id not in repr(patient)
    assert patient.identity.name not in repr(patient)
