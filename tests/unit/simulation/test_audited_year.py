"""The audited year on paper: who is scanned on what, who is operated, and what pathology calls it."""

from __future__ import annotations

from collections import Counter

import pytest

from gtr_batch.domain.staging import TStage
from gtr_batch.simulation.hospital.audited_year import NEW_SCANNER, AuditedYear, patients_of, rows_of
from gtr_batch.simulation.hospital.patient import History, Patient
from gtr_batch.simulation.hospital.year import Operated

YEAR = AuditedYear(patients=240)


@pytest.fixture(scope="module")
def everybody():
    return patients_of(YEAR)


@pytest.fixture(scope="module")
def staged(everybody):
    return [one for one in everybody if isinstance(one, Operated)]


def test_the_same_year_has_the_same_patients(everybody):
    assert patients_of(YEAR) == everybody
    assert patients_of(AuditedYear(seed=24, patients=240)) != everybody


def test_nights_lie_within_the_year_in_order(staged):
    nights = [one.night for one in staged]

    assert nights == sorted(nights)
    assert nights[0] >= YEAR.first
    assert nights[-1] <= YEAR.last


def test_patients_who_come_as_it_happens_come_on_working_days_in_order(everybody):
    busy = AuditedYear(patients=240, evenly=False)

    assert busy.scanned_on == sorted(busy.scanned_on)
    assert {on.isoweekday() for on in busy.scanned_on} == {1, 2, 3, 4, 5}
    assert len(set(Counter(busy.scanned_on).values())) > 1
    assert {on.isoweekday() for on in YEAR.scanned_on} == {1, 2, 3, 4, 5, 6, 7}


def test_from_its_day_on_every_study_comes_from_the_new_scanner_and_none_before(staged):
    before = {one.patient.scanner.name for one in staged if one.night < YEAR.scanner_on}
    after = {one.patient.scanner.name for one in staged if one.night >= YEAR.scanner_on}

    assert before == {"toshiba", "philips", "ingenuity"}
    assert after == {NEW_SCANNER.name}


def test_refused_patients_are_refused_for_what_the_ehr_says(everybody):
    refused = [one for one in everybody if isinstance(one, Patient)]

    assert 0.05 < len(refused) / len(everybody) < 0.16
    assert all(one.history is not History.ELIGIBLE for one in refused)
    assert all(rows_of(one, YEAR)["surgery"] == [] for one in refused)


def test_only_the_operated_have_pathology_and_ypt_is_apart(staged):
    fates = Counter(one.fate for one in staged)
    rows = [rows_of(one, YEAR)["surgery"] for one in staged]

    assert fates["not operated"] == sum(not row for row in rows)
    assert fates["ypT"] == sum(row[0]["classification"] == "ypT" for row in rows if row)
    assert 0.7 < fates["pT"] / len(staged) < 0.95


def test_pathology_shifts_upwards_from_its_day_on_and_never_before(staged):
    def called_higher(some):
        pairs = [(one.patient.true_stage, rows_of(one, YEAR)["surgery"]) for one in some]
        judged = [(true, row[0]["t_category"]) for true, row in pairs if row and true is not TStage.T4]
        return [int(called[1]) - int(str(true)[1]) for true, called in judged]

    before = called_higher([one for one in staged if one.night < YEAR.shift_on])
    after = called_higher([one for one in staged if one.night >= YEAR.shift_on])

    assert set(before) == {0}
    assert set(after) == {0, 1}
    assert 0.35 < sum(after) / len(after) < 0.65
