"""Whose images are these? What arrives, lies on disk, is written and is sent must be of the case's patient."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from datetime import date, datetime

import pydicom
import pytest
import structlog
from typer.testing import CliRunner

from gtr_batch import night as steps
from gtr_batch.cli import app
from gtr_batch.domain.case import CaseState, Step
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.errors import InputRefused
from gtr_batch.governance import restage
from gtr_batch.governance.registry import adopt
from gtr_batch.governance.rekey import rekey
from gtr_batch.night.close import night_cases
from gtr_batch.simulation.phantom.dicom import StudyIdentity, write_key_objects
from tests.nights.conftest import NIGHT, PHI
from tests.nights.test_governed_nights import reports_in_the_pacs
from tests.nights.test_night import in_the_pacs, run

OTHER = "PHANTOM-other"


def refile(pacs, keyword, value, study_uid=None, modality=None):
    """Give the instances that the PACS holds another value, behind the back of its database: C-FIND keeps the old."""
    for path in sorted(p for p in (pacs.folder / "instances").rglob("*") if p.is_file()):
        ds = pydicom.dcmread(path)
        if study_uid in (None, ds.StudyInstanceUID) and modality in (None, ds.Modality):
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


def merge(pacs, old, new, *, files=True):
    """What ADT^A40 does in a PACS: every study of one number is another's from now on, in the index and the objects."""
    with closing(sqlite3.connect(pacs.folder / "instances.sqlite")) as index, index:
        index.execute("update instance set patient_id = ? where patient_id = ?", (new, old))
    for path in sorted(p for p in (pacs.folder / "instances").rglob("*") if files and p.is_file()):
        ds = pydicom.dcmread(path)
        if ds.PatientID == old:
            ds.PatientID = new
            ds.save_as(path, enforce_file_format=True)


def prepared(site, until):
    """The shard of a night of one case, done up to the step before `until`."""
    [shard] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    for step in steps.SHARD_STEPS[: steps.SHARD_STEPS.index(until)]:
        step(site, NIGHT, shard)
    return shard


@pytest.mark.slow
def test_a_merge_in_the_pacs_before_the_delivery_stops_it_until_the_case_has_the_new_number(
    site, admit, enter_in_ehr, fill, pacs, dsn
):
    told = []
    site.alert = lambda subject, text: told.append(text)
    admit("one")
    enter_in_ehr("one")
    fill()
    [case_id] = shard = prepared(site, steps.deliver)
    merge(pacs, "PHANTOM-one", OTHER)

    steps.deliver(site, NIGHT, shard)
    stopped = site.cases.get(case_id)
    again = run(site)

    assert (stopped.state, stopped.refusal.code) == (CaseState.REFUSED, "identity_mismatch")
    assert "gtr case rekey" in stopped.refusal.sentence
    assert again["identity_mismatch"] == [case_id]
    assert in_the_pacs(site, stopped.study_uid) == {"CT": 22}
    assert len(told) == 1
    assert not {"PHANTOM-one", OTHER} & set(told[0].split())


@pytest.mark.slow
def test_another_patients_slice_on_disk_is_refused_by_validation_and_once_more_when_the_report_is_written(
    site, admit, enter_in_ehr, fill
):
    """Both although the step before had found nothing: each step looks for itself."""
    for name in ("one", "two"):
        admit(name)
        enter_in_ehr(name)
    fill()
    shard = prepared(site, steps.validate)
    first, second = site.cases.select(shard)
    swap_one(site, first, "PatientID", OTHER)
    for step in steps.SHARD_STEPS[1 : steps.SHARD_STEPS.index(steps.report)]:
        step(site, NIGHT, shard)
    for path in pixels(site, second):
        swap(path, "PatientID", OTHER)

    steps.report(site, NIGHT, shard)
    steps.deliver(site, NIGHT, shard)

    found = site.cases.select(shard)
    assert [(c.state, str(c.refusal.code)) for c in found] == [("refused", "identity_mismatch")] * 2
    assert [e["step"] for c in found for e in site.cases.events(c.case_id) if e["state"] == "refused"] == [
        "validate",
        "report",
    ]
    assert "1 of 22 instances" in found[0].refusal.sentence
    assert not list(site.files.root.glob("*/*/report/*.dcm"))


@pytest.mark.slow
@pytest.mark.parametrize("when", ["on arrival", "on disk"])
def test_a_key_object_of_another_patient_is_left_out_and_the_case_goes_on(site, admit, enter_in_ehr, fill, pacs, when):
    folder = admit("one")
    add_key_object(folder, pydicom.dcmread(sorted(folder.glob("*.dcm"))[9], stop_before_pixels=True))
    enter_in_ehr("one")
    fill()
    refile(pacs, "PatientID", OTHER if when == "on arrival" else "PHANTOM-one", modality="KO")
    shard = prepared(site, steps.validate)
    for kept in site.files.folder(NIGHT, shard[0], Step.RETRIEVE).glob("KO/*.dcm"):
        swap(kept, "PatientID", OTHER)

    for step in steps.SHARD_STEPS[1:]:
        step(site, NIGHT, shard)

    [row] = night_cases(site, NIGHT)
    assert (row.state, row.key_slice_source) == (CaseState.COMMITTED, "automatic")
    assert any("references_left_out" in e["detail"] for e in site.cases.events(row.case_id))


@pytest.mark.slow
def test_a_rekeyed_case_is_staged_reported_and_delivered_under_its_new_number(
    config, site, admit, enter_in_ehr, fill, pacs, tmp_path
):
    """Images are retrieved anew, the EHR is asked anew, and the event says who and why but no number."""
    admit("one")
    enter_in_ehr("one")
    fill()
    [case_id] = shard = prepared(site, steps.deliver)
    merge(pacs, "PHANTOM-one", OTHER)
    steps.deliver(site, NIGHT, shard)
    with pytest.raises(InputRefused, match="EHR"):
        rekey(site, case_id, PatientIdentity(OTHER), by="Ada", why="ADT^A40")
    enter_in_ehr("other")
    with pytest.raises(InputRefused, match="does not list"):
        rekey(site, case_id, PatientIdentity("PHANTOM-typo"), by="Ada", why="ADT^A40")
    with pytest.raises(InputRefused, match="must not hold a PatientID"):
        rekey(site, case_id, PatientIdentity(OTHER), by="Ada", why=f"merged into {OTHER}")
    unchanged = site.cases.get(case_id)

    after = rekey(site, case_id, PatientIdentity(f" {OTHER} "), by="Ada", why="merge of 2026-03-02")
    summary = run(site)

    assert unchanged.state is CaseState.REFUSED
    assert (after.state, after.patient_id) == (CaseState.FOUND, OTHER)
    assert (summary["states"], summary["identity_mismatch"]) == ({"committed": 1}, [])
    [report] = reports_in_the_pacs(site, after, tmp_path / "reports").values()
    assert report.PatientID == OTHER
    assert "PredecessorDocumentsSequence" not in report  # what was never sent is nobody's predecessor
    assert {pydicom.dcmread(p, stop_before_pixels=True).PatientID for p in pixels(site, after)} == {OTHER}
    events = site.cases.events(case_id)
    [event] = [e for e in events if e["detail"].get("rekeyed")]
    assert (event["detail"]["by"], event["detail"]["why"]) == ("Ada", "merge of 2026-03-02")
    assert "PHANTOM" not in str(events)


@pytest.mark.slow
def test_rekeying_a_case_that_the_pacs_has_already_changes_its_number_alone(
    config, site, admit, enter_in_ehr, fill, pacs, dsn, monkeypatch
):
    """The PACS has merged the objects itself; the labels of the audit are found under the new number."""
    admit("one")
    enter_in_ehr("one")
    enter_in_ehr("other")
    fill()
    run(site)
    [case] = site.cases.of_night(NIGHT)
    before = in_the_pacs(site, case.study_uid)
    merge(pacs, "PHANTOM-one", OTHER)
    settings = {
        "GTR_DATABASE__DSN": config.database.dsn,
        "GTR_PACS__PORT": str(pacs.port),
        "GTR_FILES__ROOT": str(config.files.root),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    said = CliRunner().invoke(
        app, ["case", "rekey", "--case", case.case_id, "--by", "Ada", "--why", "a merge"], input=f"{OTHER}\n"
    )

    assert said.exit_code == 0, said.output
    assert "PHANTOM" not in said.output
    after = site.cases.get(case.case_id)
    assert (after.state, after.patient_id) == (CaseState.COMMITTED, OTHER)
    assert run(site)["states"] == {"committed": 1}
    assert in_the_pacs(site, case.study_uid) == before
    assert not pixels(site, after)  # of before: a replay fetches them anew


@pytest.mark.slow
def test_a_replay_takes_images_of_another_patient_for_missing_and_fetches_the_cases_own(
    config, gov, recorded, admit, enter_in_ehr, fill
):
    version = adopt(gov.registry, config.training.models, recorded, by="Ada", why="a test")
    admit("one")
    enter_in_ehr("one")
    fill()
    run(gov.night)
    [case] = gov.night.cases.of_night(NIGHT)
    found = restage.compare(gov, version, nights=[NIGHT])
    for path in pixels(gov.night, case):
        swap(path, "PatientID", OTHER)

    done = restage.deliver(gov, found.digest, by="Ada", why="a test")

    assert (done.delivered, done.failed) == ((case.case_id,), {})
    assert {str(pydicom.dcmread(path, stop_before_pixels=True).PatientID) for path in pixels(gov.night, case)} == {
        case.patient_id
    }


def pixels(site, case):
    return sorted(site.files.folder(case.night, case.case_id, Step.RETRIEVE).glob("*.dcm"))


def swap_one(site, case, keyword, value):
    swap(pixels(site, case)[3], keyword, value)


def swap(path, keyword, value):
    """Give a file another value."""
    ds = pydicom.dcmread(path)
    setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)


def add_key_object(folder, image):
    """A key object selection that names a slice, in the same folder."""
    identity = StudyIdentity(
        patient_id=str(image.PatientID),
        name=str(image.PatientName),
        sex="female",
        birth_date=date(1960, 1, 1),
        accession_number=str(image.AccessionNumber),
        study_uid=str(image.StudyInstanceUID),
        study_at=datetime(2026, 3, 1, 20, 15),
    )
    write_key_objects(folder / "ko", image, identity)
