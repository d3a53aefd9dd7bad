"""What the EHR says of a patient as of a study date."""

from __future__ import annotations

from datetime import date, datetime

import pytest

from gtr_batch.db import PostgresClinicalSource
from gtr_batch.db.ehr import load_extracts
from gtr_batch.domain.case import Case
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren, PatientFacts
from gtr_batch.domain.identifiers import case_id
from tests.adapters.db.extracts import write
from tests.case_moves import Moves
from tests.fakes import FakeClinicalSource

STUDY_DAY = date(2026, 3, 1)
P1 = PatientFacts(
    patient_id="P1",
    gastric_adenocarcinoma=True,
    biopsy_date=date(2026, 2, 1),
    distant_metastasis=False,
    covariates=Covariates(6.2, Differentiation.POOR, Lauren.DIFFUSE),
    age_years=65,
    sex="female",
    key_slice_sop_uid="1.2.3.4.5",
    radiologist_ct="T3",
    endosonographer_ut="T2",
)

BIOPSY = "patient_id,biopsy_date,site,adenocarcinoma,lauren,differentiation\n"
TUMOUR = "patient_id,measured_on,size_cm,location\n"
TREATMENT = "patient_id,kind,started_on,ended_on\n"
METASTASIS = "patient_id,assessed_on,distant_metastasis\n"
SURGERY = "patient_id,operated_on,reported_on,classification,t_category\n"
KEY_SLICE = "patient_id,study_uid,accession_number,sop_instance_uid\n"


@pytest.fixture
def facts(database, tmp_path):
    """A function that loads extracts with some files changed and asks for facts."""

    def ask(patient_id="P1", study_uid="1.2.3", on=STUDY_DAY, **changed) -> PatientFacts | None:
        needed = [*changed] or ["biopsy", "tumour", "metastasis", "key_slice"]
        load_extracts(database, write(tmp_path / "ehr", "patient", *needed, **changed), today=date(2026, 6, 1))
        return PostgresClinicalSource(database).facts(patient_id, study_uid, on)

    return ask


@pytest.fixture(params=["fake", "postgres"])
def source(request, database, tmp_path):
    if request.param == "fake":
        return FakeClinicalSource({"P1": P1})
    load_extracts(database, write(tmp_path / "ehr"), today=date(2026, 6, 1))
    return PostgresClinicalSource(database)


def test_says_what_is_known_of_a_patient(source):
    assert source.facts("P1", "1.2.3", STUDY_DAY) == P1


def test_says_nothing_of_a_patient_it_does_not_know(source):
    assert source.facts("P9", "1.2.3", STUDY_DAY) is None
    assert source.facts("P\x009", "1.2.3", STUDY_DAY) is None


def test_what_happened_after_the_study_is_not_known_then(facts):
    then = facts(on=date(2026, 1, 31))

    assert (then.gastric_adenocarcinoma, then.biopsy_date, then.distant_metastasis) == (None, None, None)
    assert then.covariates == Covariates()


def test_goes_by_the_latest_biopsy_that_proved_it(facts):
    rows = (
        "P1,2026-01-05,stomach,yes,intestinal,well\n"
        "P1,2026-02-01,stomach,yes,mixed,moderate\n"
        "P1,2026-02-20,stomach,no,,\n"
        "P1,2026-02-25,oesophagus,yes,diffuse,poor\n"
        "P1,2026-03-02,stomach,yes,diffuse,poor\n"
    )

    then = facts(biopsy=BIOPSY + rows)

    assert (then.gastric_adenocarcinoma, then.biopsy_date) == (True, date(2026, 2, 1))
    assert then.covariates.lauren is Lauren.MIXED


def test_biopsies_that_found_none_say_so(facts):
    then = facts(biopsy=BIOPSY + "P1,2026-02-01,stomach,no,,\n")

    assert then.gastric_adenocarcinoma is False


def test_a_biopsy_of_the_study_day_counts(facts):
    then = facts(biopsy=BIOPSY + "P1,2026-03-01,stomach,yes,,\n")

    assert then.gastric_adenocarcinoma is True


@pytest.mark.parametrize(("started", "prior"), [("2026-02-28", True), ("2026-03-01", False), ("2026-03-02", False)])
def test_treatment_is_prior_when_it_started_before_the_study_day(facts, started, prior):
    then = facts(treatment=TREATMENT + f"P1,chemotherapy,{started},\nP2,radiotherapy,2020-01-01,\n")

    assert (then.prior_chemotherapy, then.prior_radiotherapy) == (prior, False)


def test_the_latest_size_and_assessment_up_to_the_study_day_count(facts):
    then = facts(
        tumour=TUMOUR + "P1,2026-01-01,4,\nP1,2026-02-01,5,\nP1,2026-02-02,,upper\nP1,2026-03-02,9,\n",
        metastasis=METASTASIS + "P1,2026-01-01,no\nP1,2026-02-01,yes\nP1,2026-03-02,no\n",
    )

    assert then.covariates.tumour_size_cm == 5
    assert then.distant_metastasis is True


def test_age_is_that_of_the_study_day(facts, database):
    facts()
    days = (date(2026, 5, 16), date(2026, 5, 17), date(1950, 1, 1))

    ages = [PostgresClinicalSource(database).facts("P1", "1.2.3", day).age_years for day in days]

    assert ages == [65, 66, None]


def test_a_key_slice_is_found_by_the_accession_number_of_the_study(facts, database):
    case = Case(case_id("1.2.9", "1.2.9.1"), STUDY_DAY, "1.2.9", "1.2.9.1", "P2", "ACC2", datetime(2026, 3, 1))
    Moves.on(database).record([case])

    facts()
    source = PostgresClinicalSource(database)

    assert source.facts("P2", "1.2.9", STUDY_DAY).key_slice_sop_uid == "1.2.3.4.6"
    assert source.facts("P2", "1.2.8", STUDY_DAY).key_slice_sop_uid is None
    assert source.facts("P1", "1.2.9", STUDY_DAY).key_slice_sop_uid is None  # another patient, same accession number


def test_a_key_slice_by_study_goes_before_one_by_accession_number(facts, database):
    case = Case(case_id("1.2.9", "1.2.9.1"), STUDY_DAY, "1.2.9", "1.2.9.1", "P2", "ACC2", datetime(2026, 3, 1))
    Moves.on(database).record([case])

    then = facts("P2", "1.2.9", key_slice=KEY_SLICE + "P2,,ACC2,1.2.3.4.6\nP2,1.2.9,,1.2.3.4.7\n")

    assert then.key_slice_sop_uid == "1.2.3.4.7"


def test_patient_id_is_not_in_repr(facts):
    assert "P1" not in repr(facts())


@pytest.mark.parametrize(("operated_on", "prior"), [("2026-02-28", True), ("2026-03-01", False), ("2026-03-20", False)])
def test_an_operation_of_the_stomach_is_prior_where_it_was_before_the_study(facts, operated_on, prior):
    found = facts(surgery=f"{SURGERY}P1,{operated_on},,,\n")

    assert found.prior_gastric_surgery is prior


def test_says_which_patients_it_knows(source):
    assert source.known(["P1", "nobody"]) == {"P1"}
