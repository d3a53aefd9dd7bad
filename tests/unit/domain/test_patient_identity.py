"""Who is the same patient, and what a series and its instances must agree on."""

from __future__ import annotations

import pytest
from pydicom.multival import MultiValue

from gtr_batch.domain.identity import InstanceIdentity, PatientIdentity, SeriesIdentity, mismatch, normalised

PATIENT = PatientIdentity("PHANTOM-1", "A")
SERIES = SeriesIdentity("1.2", "1.2.3", PATIENT, {"1.2.3.4": "CT"})
INSTANCE = InstanceIdentity(PATIENT, "1.2", "1.2.3", "1.2.3.4", "CT")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        ("", ""),
        ("  ", ""),
        (" PHANTOM-1 ", "PHANTOM-1"),
        ("PHANTOM-1\0", "PHANTOM-1"),
        ("phantom-1", "phantom-1"),
        ("0012", "0012"),
        (["PHANTOM-1", " PHANTOM-2 "], "PHANTOM-1\\PHANTOM-2"),
        (MultiValue(str, ["PHANTOM-1", ""]), "PHANTOM-1"),
        ("PHANTOM-1 \\ PHANTOM-2", "PHANTOM-1\\PHANTOM-2"),
        (b"PHANTOM-1 ", "PHANTOM-1"),
    ],
)
def test_blanks_around_a_patient_id_do_not_count_and_nothing_else_is_changed(value, expected):
    assert normalised(value) == expected


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        (PatientIdentity(" PHANTOM-1", "A"), ()),
        (PatientIdentity("PHANTOM-1"), ()),
        (PatientIdentity("PHANTOM-1", "B"), ("IssuerOfPatientID",)),
        (PatientIdentity("phantom-1", "A"), ("PatientID",)),
        (PatientIdentity("", "A"), ("PatientID",)),
        (PatientIdentity("PHANTOM-1\\PHANTOM-2", "A"), ("PatientID",)),
        (PatientIdentity("PHANTOM-2", "B"), ("PatientID", "IssuerOfPatientID")),
    ],
)
def test_two_are_one_patient_where_number_and_known_issuers_agree(other, differs):
    assert PATIENT.differences(other) == differs
    assert other.differences(PATIENT) == differs


def test_an_empty_patient_id_is_nobodys_not_even_another_empty_ones():
    assert PatientIdentity().differences(PatientIdentity()) == ("PatientID",)


@pytest.mark.parametrize(
    ("instance", "differs"),
    [
        (INSTANCE, ()),
        (InstanceIdentity(PATIENT, "1.9", "1.2.3", "1.2.3.4", "CT"), ("StudyInstanceUID",)),
        (InstanceIdentity(PATIENT, "1.2", "1.2.9", "1.2.3.4", "CT"), ("SeriesInstanceUID",)),
        (InstanceIdentity(PATIENT, "1.2", "1.2.3", "1.2.3.4", "SR"), ("SOPClassUID",)),
        (InstanceIdentity(PATIENT, "1.2", "1.2.3", "1.2.3.5", "SR"), ()),  # C-FIND did not say
        (InstanceIdentity(PatientIdentity(), "", "", "", ""), ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")),
    ],
)
def test_an_instance_is_of_a_series_where_all_that_is_known_agrees(instance, differs):
    assert SERIES.differences(instance) == differs


def test_neither_a_repr_nor_a_refusal_shows_whose_they_are():
    error = mismatch("study 1.2 is somebody else's", PATIENT.differences(PatientIdentity("PHANTOM-2")))

    assert "PHANTOM" not in f"{SERIES!r} {INSTANCE!r} {error} {error.numbers}"
    assert error.numbers == {"differs": ["PatientID"]}


@pytest.mark.parametrize(
    ("patient_id", "study_uid", "series_uid", "is_lost"),
    [
        ("", "", "", True),  # the reader lost its place before the patient
        ("P1", "", "", True),
        ("P1", "1.2", "", True),
        ("P1", "1.2", "1.2.3", False),
        ("P2", "", "", False),  # what it did read is another patient's
        ("P1", "1.9", "", False),
        ("", "1.2", "1.2.3", False),  # it says of which study it is, and names nobody
        ("P1", "", "1.2.9", False),
    ],
)
def test_a_header_that_is_lost_is_not_another_patients(patient_id, study_uid, series_uid, is_lost):
    series = SeriesIdentity("1.2", "1.2.3", PatientIdentity("P1"))
    instance = InstanceIdentity(PatientIdentity(patient_id), study_uid, series_uid)

    assert series.is_lost(instance) is is_lost
    assert series.differences(instance) or not is_lost
