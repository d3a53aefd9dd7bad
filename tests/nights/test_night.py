"""Whole nights, from PACS to PACS, with a real PACS and a real Postgres; faults are injected, not mocked."""

from __future__ import annotations

import io
import os
import stat
from collections import Counter
from datetime import date, timedelta
from operator import itemgetter
from pathlib import Path

import attrs
import psycopg2
import pytest
import structlog

from gtr_batch import night as steps
from gtr_batch.config import ValidateConfig
from gtr_batch.domain.case import CaseState, Step
from gtr_batch.errors import CasesToRetry, CommitmentPending, NightFailed, PacsUnreachable
from gtr_batch.night.close import night_cases
from gtr_batch.validate import headers
from gtr_batch.validate.pixels import PixelLook
from gtr_batch.wiring import open_site
from tests.nights.conftest import NIGHT, PHI


def run(site, night=NIGHT):
    """A whole night as the command line runs it; returns the summary."""
    shards = steps.intake(site, night, steps.query_pacs(site, night))
    for step in steps.SHARD_STEPS:
        for shard in shards:
            step(site, night, shard)
    return steps.close_night(site, night)


def in_the_pacs(site, study_uid):
    """Instances of a study by modality, as the PACS lists them."""
    found = Counter()
    for series in site.archive.find_series(study_uid):
        found[series.modality] += len(site.archive.find_instances(study_uid, series.series_uid))
    return found


@pytest.mark.slow
def test_a_night_stages_what_it_can_and_refuses_the_rest_with_reasons(
    site, admit, enter_in_ehr, fill, tmp_path, dsn, dciodvfy
):
    """Good, with a missing slice, after chemotherapy, unknown to the EHR: one night, one run, each its own end."""
    log = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
    for name in ("good", "gap", "treated", "stranger"):
        admit(name, skip=(9,) if name == "gap" else ())
    enter_in_ehr("good")
    enter_in_ehr("gap")
    enter_in_ehr("treated", chemotherapy_on=date(2026, 1, 1))
    fill()

    summary = run(site)

    assert summary["states"] == {"committed": 1, "refused": 2}
    assert summary["refusals"] == {"slice_gap": 1, "prior_chemotherapy": 1}
    assert summary["intake"]["unknown_patients"] == 1
    rows = {row.state: row for row in night_cases(site, NIGHT)}
    good = rows["committed"]
    assert good.key_slice_source == "automatic"
    assert {"automatic_key_slice", "no_storage_commitment", "missing_covariates"} <= set(good.flags)
    assert sum(good.probabilities.values) == pytest.approx(1)
    held = in_the_pacs(site, good.study_uid)
    assert held == {"CT": 22, "SR": 1, "OT": 2, "KO": 1}

    # The worklist has the answer, and nothing says who the patients are.
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select accession_number, ct, label, refusal_code from worklist_annotation order by 1")
        found = {accession: rest for accession, *rest in cursor.fetchall()}
    connection.close()
    assert found["ACC-good"] == [f"c{good.t_stage}", "AI result - not verified", None]
    assert found["ACC-gap"][2] == "slice_gap"
    store = tmp_path / "store" / str(NIGHT)
    names = [str(p.relative_to(store)) for p in store.rglob("*")]
    texts = [p.read_text() for p in store.rglob("*") if p.suffix in (".json", ".html") and p.name != "studies.json"]
    for secret in PHI:
        assert secret not in log.getvalue()
        assert not any(secret in name for name in names)
        assert not any(secret in text for text in texts)

    # Every object that went out is valid DICOM; the refusal was written back as well.
    written = sorted(store.glob("*/report/*.dcm"))
    assert len(written) == 5
    for path in written:
        assert "Error" not in dciodvfy(path)

    # A second run changes nothing and sends nothing.
    before = {case_id: site.cases.events(case_id) for case_id in (r.case_id for r in night_cases(site, NIGHT))}
    assert run(site)["states"] == summary["states"]
    assert {case_id: site.cases.events(case_id) for case_id in before} == before
    assert in_the_pacs(site, good.study_uid) == held


@pytest.mark.slow
def test_a_night_resumes_where_a_dead_pacs_stopped_it(site, admit, enter_in_ehr, fill, pacs):
    """The PACS dies after intake and again before delivery; each time the same night goes on from there."""
    admit("one")
    enter_in_ehr("one")
    fill()
    shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    pacs.stop()

    with pytest.raises(CasesToRetry, match="1 of 1"):
        steps.retrieve(site, NIGHT, shards[0])
    with pytest.raises(NightFailed, match="PacsUnreachable"):
        steps.close_night(site, NIGHT)
    pacs.start()
    for step in steps.SHARD_STEPS[:-1]:
        step(site, NIGHT, shards[0])
    pacs.stop()
    with pytest.raises(CasesToRetry):
        steps.deliver(site, NIGHT, shards[0])
    pacs.start()
    steps.deliver(site, NIGHT, shards[0])

    assert steps.close_night(site, NIGHT)["states"] == {"committed": 1}


@pytest.mark.slow
def test_a_refusal_that_the_pacs_did_not_take_is_written_back_by_the_next_run(site, admit, enter_in_ehr, fill, pacs):
    admit("gap", skip=(9,))
    enter_in_ehr("gap")
    fill()
    shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    for step in steps.SHARD_STEPS[:-1]:
        step(site, NIGHT, shards[0])
    pacs.stop()

    with pytest.raises(CasesToRetry, match="PacsUnreachable"):
        steps.deliver(site, NIGHT, shards[0])
    assert steps.close_night(site, NIGHT)["states"] == {"refused": 1}
    pacs.start()
    run(site)

    assert in_the_pacs(site, site.cases.of_night(NIGHT)[0].study_uid)["SR"] == 1
    assert steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT)) == []


def test_query_says_that_the_pacs_does_not_answer(site, pacs):
    pacs.stop()

    with pytest.raises(PacsUnreachable):
        steps.query_pacs(site, NIGHT)


def test_never_stages_a_series_of_which_a_promised_instance_does_not_come(site, admit, enter_in_ehr, fill, pacs):
    """The PACS lists an instance whose file it has lost: never staged, and never a verdict on the patient."""
    admit("lost")
    enter_in_ehr("lost")
    fill()
    shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    case = site.cases.select(shards[0])[0]
    lost = next(
        p for p in (pacs.folder / "instances").rglob("*") if p.is_file() and case.expected_sop_uids[11] in p.name
    )
    lost.unlink()

    with pytest.raises(CasesToRetry):
        steps.retrieve(site, NIGHT, shards[0])
    assert steps.validate(site, NIGHT, shards[0]) == shards[0]

    case = site.cases.get(case.case_id)
    assert (case.state, case.reached) == (CaseState.FAILED, CaseState.FOUND)
    assert case.failure.retryable


@pytest.mark.slow
def test_a_truncated_file_refuses_its_case_and_no_other(site, admit, enter_in_ehr, fill, tmp_path):
    """Cut after it came from the PACS: retrieve mends it. Cut at the source: validate refuses it."""

    def cut(index, ds):
        if index == 5:
            ds.PixelData = ds.PixelData[: len(ds.PixelData) // 3]

    admit("whole")
    admit("cut", change=cut)
    for name in ("whole", "cut"):
        enter_in_ehr(name)
    fill()

    summary = run(site)

    assert summary["states"] == {"committed": 1, "refused": 1}
    assert summary["refusals"] == {"unreadable_pixels": 1}


@pytest.mark.slow
def test_a_night_staged_with_this_model_is_not_staged_again_the_next_night(site, admit, enter_in_ehr, fill, config):
    """The same series found by another night's window, as after a change of the window, is left alone."""
    admit("once")
    enter_in_ehr("once")
    fill()
    run(site)
    wider = attrs.evolve(config, intake=attrs.evolve(config.intake, window_hours=48.0))

    with open_site(wider) as later:
        before = NIGHT - timedelta(days=1)
        summary = run(later, before)

    assert summary["cases"] == 0
    assert summary["intake"]["already_staged"] == 1


def test_validation_takes_up_what_intake_measured_and_measures_a_changed_probe_anew(
    site, admit, enter_in_ehr, fill, monkeypatch
):
    admit("one")
    enter_in_ehr("one")
    fill()
    (shard,) = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    steps.retrieve(site, NIGHT, shard)
    (case,) = site.cases.select(shard)
    looks = []
    real = PixelLook.phase
    monkeypatch.setattr(PixelLook, "phase", lambda look: looks.append(look) or real(look))

    steps.validate(site, NIGHT, shard)
    (taken_up,) = (look._known_among(sorted(look.kept, key=itemgetter(0))) for look in looks)
    probe = site.files.folder(NIGHT, case.case_id, Step.RETRIEVE) / f"{looks[0].known[0].sop_instance_uid}.dcm"
    body = bytearray(probe.read_bytes())
    body[-2 * 512 * 256] ^= 64  # in the middle of the image; the file is as long as it was
    probe.write_bytes(body)
    headers.read_series(probe.parent, ValidateConfig(), changed := PixelLook(looks[0].known))

    assert len(looks[0].known) == len(taken_up) == 2  # what came with the probe and with the series is the same
    assert len(changed._known_among(sorted(changed.kept, key=itemgetter(0)))) == 1
    assert site.cases.get(case.case_id).state is CaseState.VALIDATED


def test_two_patients_under_one_accession_number_are_both_refused(site, admit, enter_in_ehr, fill):
    def same(index, ds):
        ds.AccessionNumber = "SHARED"

    for name in ("left", "right"):
        admit(name, change=same)
        enter_in_ehr(name)
    fill()

    assert steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT)) == []

    assert {row.refusal for row in night_cases(site, NIGHT)} == {"ambiguous_patient"}


def test_an_unexpected_fault_fails_its_case_without_its_text(site, admit, enter_in_ehr, fill, monkeypatch):
    """A fault of ours in one case: noted by its place alone, since its text may hold what is in a header."""
    for name in ("first", "second"):
        admit(name)
        enter_in_ehr(name)
    fill()
    shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    real = site.archive.retrieve
    unlucky = site.cases.select(shards[0])[0].series_uid

    def retrieve(study_uid, series_uid, *rest, **more):
        if series_uid == unlucky:
            raise KeyError("Phantom^Test 19600101")
        return real(study_uid, series_uid, *rest, **more)

    monkeypatch.setattr(site.archive, "retrieve", retrieve)

    steps.retrieve(site, NIGHT, shards[0])

    failed, fine = site.cases.select(shards[0])
    assert (failed.state, fine.state) == (CaseState.FAILED, CaseState.RETRIEVED)
    assert "KeyError" in failed.failure.error
    assert "Phantom" not in failed.failure.error
    with pytest.raises(NightFailed, match=failed.case_id):
        steps.close_night(site, NIGHT)

    # Mended, and the night run again: the case resumes where it failed.
    monkeypatch.undo()
    assert run(site)["states"] == {"committed": 2}


@pytest.mark.slow
def test_a_case_that_was_recorded_without_its_selection_is_completed_by_the_next_run(site, admit, enter_in_ehr, fill):
    """As a process left it that was killed between the two, when they were two."""
    admit("one")
    enter_in_ehr("one")
    fill()
    [[found]] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    with site.cases._database.transaction("a kill") as tx:
        tx.script("update staging_case set selection = null")

    summary = run(site)

    assert summary["states"] == {"committed": 1}
    assert site.cases.selection(found) is not None


@pytest.mark.slow
def test_an_intake_that_is_killed_in_the_middle_leaves_nothing_half(site, admit, enter_in_ehr, fill, monkeypatch):
    """Killed before the transaction of case and selection ends, the next run begins anew; it never finds a half."""
    admit("one")
    enter_in_ehr("one")
    fill()
    studies = steps.query_pacs(site, NIGHT)

    def killed(*_):
        raise SystemExit

    monkeypatch.setattr("gtr_batch.db.cases.step_writer.note", killed)
    with pytest.raises(SystemExit):
        steps.intake(site, NIGHT, studies)
    assert site.cases.of_night(NIGHT) == []
    monkeypatch.undo()

    assert run(site)["states"] == {"committed": 1}


@pytest.mark.slow
def test_housekeeping_asks_again_for_what_the_pacs_took_and_has_not_committed(
    site, admit, enter_in_ehr, fill, monkeypatch
):
    admit("one")
    enter_in_ehr("one")
    fill()
    shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    for step in steps.SHARD_STEPS[:-1]:
        step(site, NIGHT, shards[0])

    def silent(objects, timeout_s):
        raise CommitmentPending("no N-EVENT-REPORT in 2 s")

    with monkeypatch.context() as slow, pytest.raises(CasesToRetry):
        slow.setattr(site.archive, "commit", silent)
        steps.deliver(site, NIGHT, shards[0])
    waiting = steps.housekeeping(site, NIGHT + timedelta(days=1))["uncommitted"]

    found = steps.ask_again(site, waiting)

    assert found["committed"] == waiting == shards[0]
    [case] = site.cases.of_night(NIGHT)
    assert case.state is CaseState.COMMITTED
    assert "no_storage_commitment" in night_cases(site, NIGHT)[0].flags
    assert steps.housekeeping(site, NIGHT + timedelta(days=1))["uncommitted"] == []
    assert in_the_pacs(site, case.study_uid)["SR"] == 1


def test_housekeeping_deletes_old_pixels_and_keeps_results(site, tmp_path):
    from uuid import uuid4

    from gtr_batch.domain.case import Step

    case_id, old = str(uuid4()), NIGHT
    pixels = site.files.folder(old, case_id, Step.RETRIEVE) / "1.2.3.dcm"
    pixels.write_bytes(b"x" * 1000)
    kept = site.files.write_json(old, case_id, Step.PREPROCESS, "geometry", {"a": 1})

    found = steps.housekeeping(site, old + timedelta(days=site.config.files.retention_days + 1))

    assert found["freed_bytes"] >= 1000
    assert not pixels.exists()
    assert Path(kept).exists()


@pytest.mark.slow
def test_a_night_leaves_nothing_that_other_accounts_may_read_whatever_the_umask(
    site, admit, enter_in_ehr, fill, tmp_path
):
    admit("one")
    enter_in_ehr("one")
    fill()

    before = os.umask(0)
    try:
        run(site)
    finally:
        os.umask(before)

    left = sorted((tmp_path / "store").rglob("*"))
    assert {path.suffix for path in left if path.is_file()} >= {".dcm", ".json", ".npz"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in left if path.is_file()} == {0o600}
    assert [str(path) for path in left if path.is_dir() and stat.S_IMODE(path.stat().st_mode) != 0o700] == []
