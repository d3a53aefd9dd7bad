"""A person takes a refusal back: with a name and a reason that stay, and nothing else can."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import uuid4

import pytest

from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.refusal import Refusal
from gtr_batch.errors import InputRefused
from gtr_batch.files import LocalFileStore
from gtr_batch.governance.reopening import reopen
from gtr_batch.night.memory import MemoryCases
from tests.builders import NIGHT

WHO = {"by": "Dr Ada", "why": "the PACS has the study intact now"}


@pytest.fixture
def site(tmp_path):
    return SimpleNamespace(cases=MemoryCases(), files=LocalFileStore(tmp_path / "store"))


@pytest.fixture
def refused(site):
    """A case that validation refused, with a file of its series."""
    case = Case(str(uuid4()), NIGHT, "1.2", "1.2.3", "PHANTOM-7", expected_sop_uids=("1.2.3.4",))
    site.cases.record([case])
    with site.cases.step(case.case_id, Step.VALIDATE) as record:
        record.refuse(Refusal("unreadable_pixels", "1 of 22 instances cannot be decoded."))
    (site.files.folder(NIGHT, case.case_id, Step.RETRIEVE) / "1.2.3.4.dcm").write_bytes(b"x")
    return case.case_id


def test_a_reopened_case_begins_anew_and_keeps_who_wanted_it(site, refused):
    case = reopen(site, refused, **WHO)

    assert (case.state, case.reached, case.refusal) == (CaseState.FOUND, CaseState.FOUND, None)
    *_, before, last = site.cases.events(refused)
    assert (before["state"], last["state"]) == ("refused", "found")
    assert last["detail"] == {
        "reopened": WHO["why"],
        "by": "Dr Ada",
        "was": "refused",
        "night": str(NIGHT),
        "code": "unreadable_pixels",
        "sentence": "1 of 22 instances cannot be decoded.",
    }


def test_our_copy_of_the_images_goes_so_that_what_was_mended_is_fetched(site, refused):
    reopen(site, refused, **WHO)

    assert list(site.files.folder(NIGHT, refused, Step.RETRIEVE).iterdir()) == []


@pytest.mark.parametrize("who", [{"by": " ", "why": "so"}, {"by": "Ada", "why": ""}])
def test_nobody_reopens_without_a_name_and_a_reason(site, refused, who):
    with pytest.raises(InputRefused, match="is empty"):
        reopen(site, refused, **who)

    assert site.cases.get(refused).state is CaseState.REFUSED


def test_a_reason_that_names_the_patient_is_not_kept(site, refused):
    patient = site.cases.get(refused).patient_id

    with pytest.raises(InputRefused, match="must hold no PatientID"):
        reopen(site, refused, by="Ada", why=f"of {patient.lower()}, the other one")

    assert site.cases.get(refused).state is CaseState.REFUSED


def test_what_is_not_refused_is_not_reopened(site, refused):
    reopen(site, refused, **WHO)

    with pytest.raises(InputRefused, match="not refused"):
        reopen(site, refused, **WHO)
    with pytest.raises(InputRefused, match="no case"):
        reopen(site, str(uuid4()), **WHO)


def test_a_study_that_intake_refused_is_judged_anew_by_running_its_night(site):
    case = Case(str(uuid4()), NIGHT, "1.2")
    site.cases.record([case])
    with site.cases.step(case.case_id, Step.INTAKE) as record:
        record.refuse(Refusal("no_portal_venous_series", "None of 2 series is portal venous."))

    with pytest.raises(InputRefused, match=f"gtr night --night {NIGHT}"):
        reopen(site, case.case_id, **WHO)
