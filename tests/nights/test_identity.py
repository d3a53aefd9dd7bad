"""Whose images are these? What arrives, lies on disk, is written and is sent must be of the case's patient."""

from __future__ import annotations

import io

import pydicom
import pytest
import structlog

from gtr_batch import night as steps
from gtr_batch.night.close import night_cases
from tests.nights.conftest import NIGHT, PHI
from tests.nights.test_night import in_the_pacs, run

OTHER = "PHANTOM-other"


def refile(pacs, keyword, value, study_uid=None):
    """Give the instances that the PACS holds another value, behind the back of its database: C-FIND keeps the old."""
    for path in sorted(p for p in (pacs.folder / "instances").rglob("*") if p.is_file()):
        ds = pydicom.dcmread(path)
        if study_uid in (None, ds.StudyInstanceUID):
            setattr(ds, keyword, value)
            ds.save_as(path, enforce_file_format=True)


@pytest.mark.slow
@pytest.mark.parametrize(("keyword", "value"), [("PatientID", OTHER), ("PatientID", ""), ("StudyInstanceUID", "1.2.3")])
def test_images_of_another_patient_are_refused_and_nothing_is_sent_for_them(
    site, admit, enter_in_ehr, fill, pacs, keyword, value
):
    """C-FIND says one patient, the files another: no stage, no report, not even that of the refusal."""
    log = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
    told = []
    site.alert = lambda subject, text: told.append(f"{subject}: {text}")
    admit("one")
    enter_in_ehr("one")
    fill()
    refile(pacs, keyword, value)

    summary = run(site)

    assert summary["states"] == {"refused": 1}
    assert summary["refusals"] == {"identity_mismatch": 1}
    [row] = night_cases(site, NIGHT)
    assert next(iter(summary)) == "identity_mismatch" and summary["identity_mismatch"] == [row.case_id]
    assert keyword in row.reason
    assert in_the_pacs(site, row.study_uid) == {"CT": 22}
    assert len(told) == 1 and row.case_id in told[0]
    assert any("identity_mismatch" in line and "error" in line for line in log.getvalue().splitlines())
    for secret in (*PHI, OTHER):
        assert secret not in log.getvalue() + "".join(told) + row.reason
    assert not any(p.is_file() for p in site.files.root.rglob("*.dcm"))


@pytest.mark.slow
def test_images_that_change_hands_after_intake_are_refused_when_they_arrive(site, admit, enter_in_ehr, fill, pacs):
    """The other case of the shard goes on, and the next run of the night leaves the refused one alone."""
    told = []
    site.alert = lambda subject, text: told.append(text)
    for name in ("one", "two"):
        admit(name)
        enter_in_ehr(name)
    fill()
    [shard] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    unlucky = site.cases.get(shard[0])
    refile(pacs, "PatientID", OTHER, study_uid=unlucky.study_uid)

    summary = run(site)
    again = run(site)

    assert summary["states"] == again["states"] == {"refused": 1, "committed": 1}
    assert summary["identity_mismatch"] == [unlucky.case_id]
    assert len(told) == 1
    assert in_the_pacs(site, unlucky.study_uid) == {"CT": 22}
    assert [e["state"] for e in site.cases.events(unlucky.case_id)] == ["found", "refused"]
