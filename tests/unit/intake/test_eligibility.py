"""Who may be staged, and whose study it is."""

from __future__ import annotations

from datetime import date

import pytest

from gtr_batch.domain.clinical import PatientFacts
from gtr_batch.domain.series import StudyRecord
from gtr_batch.intake import judge_patient, judge_study

SECRET = "MRN-4711"


def _facts(**given: object) -> PatientFacts:
    values: dict[str, object] = {
        "gastric_adenocarcinoma": True,
        "biopsy_date": date(2026, 2, 3),
        "distant_metastasis": False,
    }
    return PatientFacts(SECRET, **(values | given))  # type: ignore[arg-type]


def test_takes_a_patient_who_meets_the_papers_criteria() -> None:
    assert judge_patient(_facts()) is None


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"gastric_adenocarcinoma": False}, "no_gastric_adenocarcinoma"),
        ({"gastric_adenocarcinoma": None}, "no_gastric_adenocarcinoma"),
        ({"prior_chemotherapy": True}, "prior_chemotherapy"),
        ({"prior_gastric_surgery": True}, "prior_gastric_surgery"),
        ({"prior_gastric_surgery": True, "prior_chemotherapy": True}, "prior_gastric_surgery"),
        ({"prior_radiotherapy": True}, "prior_radiotherapy"),
        ({"distant_metastasis": True}, "distant_metastasis"),
    ],
)
def test_refuses_a_patient_who_does_not(given: dict[str, object], code: str) -> None:
    refusal = judge_patient(_facts(**given))

    assert refusal is not None
    assert refusal.code == code
    assert "study date" in refusal.sentence


def test_a_metastasis_that_the_ehr_does_not_mention_is_none() -> None:
    assert judge_patient(_facts(distant_metastasis=None)) is None


def test_refuses_whom_the_ehr_does_not_know() -> None:
    refused = judge_patient(None)

    assert refused is not None
    assert refused.code == "not_in_ehr"


@pytest.mark.parametrize(("stated", "sentence"), [(False, "show no gastric"), (None, "no biopsy that proves")])
def test_refuses_whose_cancer_no_biopsy_proves(stated: bool | None, sentence: str) -> None:
    refusal = judge_patient(_facts(gastric_adenocarcinoma=stated))

    assert refusal is not None
    assert refusal.code == "no_gastric_adenocarcinoma"
    assert sentence in refusal.sentence


def test_names_the_other_reasons_too_and_nothing_of_the_patient() -> None:
    refusal = judge_patient(_facts(prior_chemotherapy=True, distant_metastasis=True))

    assert refusal is not None
    assert refusal.numbers["also"] == ["distant_metastasis"]
    assert SECRET not in repr(refusal)
    assert "2026" not in repr(refusal)


def _study(uid: str, patient: str, accession: str) -> StudyRecord:
    return StudyRecord(uid, patient, accession)


def test_two_patients_under_one_accession_number_are_ambiguous_both() -> None:
    studies = [_study("1.1", "A", "77"), _study("1.2", "B", "77 "), _study("1.3", "C", "78")]

    refused = judge_study(studies)

    assert set(refused) == {"1.1", "1.2"}
    assert {r.code for r in refused.values()} == {"ambiguous_patient"}
    assert refused["1.1"].numbers == {"patients": 2, "studies": 2, "shared": "accession number"}


def test_an_empty_accession_number_is_no_collision() -> None:
    assert judge_study([_study("1.1", "A", ""), _study("1.2", "B", " ")]) == {}


def test_two_studies_of_one_patient_may_share_an_accession_number() -> None:
    assert judge_study([_study("1.1", "A ", "77"), _study("1.2", "A", "77")]) == {}


def test_one_study_uid_with_two_patients_is_ambiguous() -> None:
    refused = judge_study([_study("1.1", "A", "77"), _study("1.1", "B", "78")])

    assert set(refused) == {"1.1"}
    assert refused["1.1"].numbers["shared"] == "Study Instance UID"
