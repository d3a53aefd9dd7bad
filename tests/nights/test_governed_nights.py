"""Nights under the registry: who stages, who only watches, what withdrawal and replay do. Real PACS and Postgres."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from contextlib import closing
from datetime import date, timedelta

import psycopg2
import pydicom
import pytest
from typer.testing import CliRunner

from gtr_batch import night as steps
from gtr_batch.cli import app
from gtr_batch.domain.case import Step
from gtr_batch.domain.lifecycle import Approval, NoticesSent
from gtr_batch.domain.shadow import ShadowAnswer
from gtr_batch.errors import GovernanceRefused, InputRefused, ModelArtefactError, NightFailed
from gtr_batch.governance import restage
from gtr_batch.governance.promotion import promote, to_shadow
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.governance.withdrawal import affected, due_of, send_notices, withdraw
from gtr_batch.stage import read_version
from gtr_batch.wiring import open_site
from tests.nights.conftest import NIGHT, PHI

WHO = {"by": "Ada", "why": "a test"}


def run(config, night=NIGHT, shadow=True):
    """A whole night in a site of its own, as another process would run it; returns the summary."""
    with open_site(config) as site:
        shards = steps.intake(site, night, steps.query_pacs(site, night))
        for step in (*steps.SHARD_STEPS, *([steps.shadow] if shadow else [])):
            for shard in shards:
                step(site, night, shard)
        return steps.close_night(site, night)


def enthrone(gov, version):
    """Promote without a gate."""
    promote(gov.registry, version, Approval(version, gov.registry.champion(), "Ada", "a test"), without_gate=True)


def worklist_flags(dsn):
    """Study and flags, as the worklist shows them."""
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select study_uid, flags from worklist_annotation order by 1")
        found = cursor.fetchall()
    connection.close()
    return found


def worklist(dsn):
    """What the reading worklist shows of each study."""
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select ct, p_t1, model_version, refusal_code from worklist_annotation order by study_uid")
        found = cursor.fetchall()
    connection.close()
    return found


def reports_in_the_pacs(site, case, folder):
    """Every SR of a study, fetched from the PACS."""
    found = []
    for series in site.archive.find_series(case.study_uid):
        if series.modality == "SR":
            uids = [i.sop_instance_uid for i in site.archive.find_instances(case.study_uid, series.series_uid)]
            found += site.archive.retrieve(case.study_uid, series.series_uid, uids, folder)
    return {str(ds.SOPInstanceUID): ds for ds in map(pydicom.dcmread, found)}


def key_objects_in_the_pacs(site, case, folder):
    """Every key object selection of a study, fetched from the PACS."""
    found = []
    for series in site.archive.find_series(case.study_uid):
        if series.modality == "KO":
            uids = [i.sop_instance_uid for i in site.archive.find_instances(case.study_uid, series.series_uid)]
            found += site.archive.retrieve(case.study_uid, series.series_uid, uids, folder)
    return [pydicom.dcmread(path) for path in found]


def page_of(site, case):
    """A case's encapsulated page as a file, its staging, and the modalities of its study in the PACS."""
    [page] = [one for one in site.cases.objects(case.case_id) if one.kind == "encapsulated_pdf"]
    folder = site.files.folder(case.night, case.case_id, Step.REPORT)
    listed = [series.modality for series in site.archive.find_series(case.study_uid)]
    return folder / page.file, site.cases.staging(case.case_id), listed


def words_on(page):
    """What an encapsulated page says."""
    pdf = pydicom.dcmread(page).EncapsulatedDocument
    return subprocess.run(["pdftotext", "-raw", "-", "-"], input=pdf, capture_output=True, check=True).stdout.decode()


@pytest.fixture
def versions(gov, config, recorded, challenger, foreigner):
    """The night's artefact adopted as champion, two others as candidates; version by name."""
    models = config.training.models
    return {
        "champion": adopt(gov.registry, models, recorded, **WHO),
        "challenger": register_artefact(gov.registry, models, challenger, **WHO),
        "foreigner": register_artefact(gov.registry, models, foreigner, **WHO),
    }


@pytest.fixture
def patients(admit, enter_in_ehr, fill):
    """Two patients in the PACS."""
    for name in ("one", "two"):
        admit(name)
        enter_in_ehr(name)
    fill()


@pytest.mark.slow
def test_the_registry_says_who_stages_and_a_night_that_began_keeps_its_model(config, gov, versions, patients):
    with open_site(config) as site:
        shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
        steps.retrieve(site, NIGHT, shards[0])
        enthrone(gov, versions["challenger"])
        for step in steps.SHARD_STEPS[1:]:
            step(site, NIGHT, shards[0])
    begun = run(config)

    assert begun["model_version"] == versions["champion"]
    assert {gov.night.cases.staging(c.case_id).model_version for c in gov.night.cases.of_night(NIGHT)} == {
        versions["champion"]
    }
    assert gov.night.model_of(NIGHT + timedelta(days=1)) == versions["challenger"]


@pytest.mark.slow
def test_a_night_refuses_to_stage_where_the_champion_was_withdrawn_without_successor(config, gov, versions, patients):
    withdraw(gov.registry, versions["champion"], shown=versions["champion"], no_successor=True, **WHO)

    with pytest.raises(ModelArtefactError, match="withdrawn by Ada without a successor"):
        run(config)

    assert gov.night.cases.of_night(NIGHT) == []


@pytest.mark.slow
def test_a_challenger_stages_beside_the_champion_and_nothing_of_it_leaves_the_hospital(
    config, gov, versions, patients, dsn
):
    to_shadow(gov.registry, versions["challenger"], **WHO)
    to_shadow(gov.registry, versions["foreigner"], **WHO)

    summary = run(config)

    assert summary["states"] == {"committed": 2}
    for name in ("challenger", "foreigner"):
        found = summary["shadow"][versions[name]]
        assert (found["cases"], found["errors"]) == (2, {})
        assert found["agree"] + found["higher"] + found["lower"] == 2
    rows = gov.night.shadows.of_model(versions["foreigner"])
    assert all(sum(row.probabilities.values) == pytest.approx(1) for row in rows)
    assert {row[2] for row in worklist(dsn)} == {versions["champion"]}
    assert gov.registry.reports(versions["challenger"]) == []
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select model_version, bool_and(own_preparation) from shadow_result group by 1")
        assert dict(cursor.fetchall()) == {versions["challenger"]: False, versions["foreigner"]: True}
    connection.close()


@pytest.mark.slow
def test_challengers_stage_what_the_night_lost_as_if_it_was_there_and_say_where_they_cannot(
    config, gov, versions, admit, enter_in_ehr, fill, dsn
):
    """What the night prepared is made again; a series that was lost waits for `retrieve`, and is tried again then."""
    for name in ("challenger", "foreigner"):
        to_shadow(gov.registry, versions[name], **WHO)
    admit("one")
    enter_in_ehr("one")
    fill()

    def in_shadow() -> list[ShadowAnswer]:
        with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute("delete from shadow_result")
        connection.close()
        steps.shadow(site, NIGHT, [found])
        return [row for name in ("challenger", "foreigner") for row in site.shadows.of_model(versions[name])]

    with open_site(config) as site:
        [[found]] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
        for step in (steps.retrieve, steps.validate, steps.preprocess, steps.stage):
            step(site, NIGHT, [found])
        folder = config.files.root / str(NIGHT) / found
        undisturbed = in_shadow()
        (folder / "preprocess" / "prepared.npz").unlink()
        (folder / "preprocess" / "contract.json").write_text("{")
        again = in_shadow()
        (folder / "preprocess" / "geometry.json").write_text("")
        instance = sorted((folder / "retrieve").glob("*.dcm"))[3]
        arrived = instance.read_bytes()
        instance.write_bytes(arrived[:5000])
        lost = in_shadow()
        instance.write_bytes(arrived)
        steps.shadow(site, NIGHT, [found])
        mended = [row for name in ("challenger", "foreigner") for row in site.shadows.of_model(versions[name])]

    assert [row.error for row in undisturbed] == [None, None]
    assert again == undisturbed
    assert all("gone or cut; retrieved again" in row.error for row in lost)
    assert mended == undisturbed


@pytest.mark.slow
def test_a_broken_challenger_does_not_touch_the_night(config, gov, versions, patients):
    to_shadow(gov.registry, versions["challenger"], **WHO)
    shutil.rmtree(config.training.models / versions["challenger"])

    summary = run(config)

    assert summary["states"] == {"committed": 2}
    assert summary["shadow"] == {}


@pytest.mark.slow
def test_withdrawing_supersedes_every_report_in_the_pacs_once(config, gov, versions, patients, dsn, tmp_path, dciodvfy):
    run(config)
    champion = versions["champion"]
    before = affected(gov.registry, champion)
    with pytest.raises(GovernanceRefused, match="reports stand"):
        send_notices(gov.night, gov.registry, champion, [row.sop_instance_uid for row in before])
    withdraw(gov.registry, champion, shown=champion, no_successor=True, **WHO)
    approved = [row.sop_instance_uid for row in before if row.due]
    with pytest.raises(GovernanceRefused, match="approved were 1"):
        send_notices(gov.night, gov.registry, champion, approved[:1])

    sent = send_notices(gov.night, gov.registry, champion, approved)
    again = send_notices(gov.night, gov.registry, champion, approved)

    assert (len(approved), sent, again.sent) == (2, NoticesSent(sent=2, already=0, failed={}), 0)
    assert all(row.notice_stored and not row.due for row in affected(gov.registry, champion))
    assert [row[0] for row in worklist(dsn)] == [None, None]
    assert [row[3] for row in worklist(dsn)] == ["model_withdrawn"] * 2
    case = gov.night.cases.of_night(NIGHT)[0]
    held = reports_in_the_pacs(gov.night, case, tmp_path / "held")
    old = next(row.sop_instance_uid for row in before if row.case_id == case.case_id)
    notice = held[next(uid for uid in held if uid != old)]
    named = notice.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == old
    assert notice.VerificationFlag == "UNVERIFIED"
    assert "withdrawn" in str(notice.to_json())
    assert "Error" not in dciodvfy(tmp_path / "held" / f"{notice.SOPInstanceUID}.dcm")


@pytest.mark.slow
def test_where_the_site_wants_it_withdrawn_reports_are_rejected_too_once_and_mark_no_key_slice(
    config, gov, versions, patients, tmp_path, dciodvfy, capfd
):
    """So is the page of the case, where that was sent; a night with pages ends as every other does."""
    gov.night.settings_history.set("report.pdf", True, **WHO)
    summary = run(config)
    page, staging, modalities = page_of(gov.night, gov.night.cases.of_night(NIGHT)[0])
    champion = versions["champion"]
    withdraw(gov.registry, champion, shown=champion, no_successor=True, **WHO)
    rows = affected(gov.registry, champion)
    approved = [row.sop_instance_uid for row in due_of(gov.night, rows)]
    first = send_notices(gov.night, gov.registry, champion, approved)
    none = [series.modality for series in gov.night.archive.find_series(rows[0].study_uid)].count("KO")
    gov.night.settings_history.set("report.reject_withdrawn", True, **WHO)

    with open_site(config) as site:
        wanted = due_of(site, affected(gov.registry, champion))
        sent = send_notices(site, gov.registry, champion, approved)
        again = send_notices(site, gov.registry, champion, approved)
        left = due_of(site, affected(gov.registry, champion))
        case = site.cases.of_night(NIGHT)[0]
        held = key_objects_in_the_pacs(site, case, tmp_path)
        titles = [ko.ConceptNameCodeSequence[0].CodeValue for ko in held]
        [rejecting] = [ko for ko in held if ko.ConceptNameCodeSequence[0].CodeValue == "113037"]
        objects = {one.kind for one in site.cases.objects(case.case_id)}
    replayed = restage.compare(gov, versions["challenger"], nights=[NIGHT])

    assert summary["states"] == {"committed": 2}
    assert modalities.count("DOC") == 1
    assert b"%PDF" in page.read_bytes()
    assert "Error" not in dciodvfy(page)
    said = words_on(page)
    assert f"c{staging.t_stage}" in said
    assert "PHANTOM-" in said
    assert "Total points" in said
    assert not any(word in str(capfd.readouterr()) for word in PHI)
    assert pydicom.dcmread(page).SOPInstanceUID in str(rejecting.CurrentRequestedProcedureEvidenceSequence)
    assert (first.sent, none) == (2, 1)  # our own key objects; off, nothing is rejected
    assert len(wanted) == 2  # turned on later, what stands is rejected then
    assert (sent.sent, sent.failed, again.sent, left) == (2, {}, 0, [])
    assert sorted(titles) == ["113000", "113037"]
    assert "rejection" not in objects
    assert [case.after.key_slice_source for case in replayed.cases] == ["automatic"] * 2


@pytest.mark.slow
def test_a_notice_is_made_of_the_report_in_the_pacs_where_the_file_store_was_cleared(config, gov, versions, patients):
    run(config)
    champion = versions["champion"]
    withdraw(gov.registry, champion, shown=champion, no_successor=True, **WHO)
    shutil.rmtree(config.files.root / str(NIGHT))
    approved = [row.sop_instance_uid for row in affected(gov.registry, champion)]

    assert send_notices(gov.night, gov.registry, champion, approved).failed == {}


@pytest.mark.slow
def test_a_report_whose_study_was_deleted_from_the_pacs_is_listed_as_gone_and_not_tried_for_ever(
    config, gov, versions, patients, pacs
):
    """A notice for it would make the study anew; it was told as images of another patient, on every try."""
    told = []
    gov.night.alert = lambda subject, text: told.append(subject)
    run(config)
    champion = versions["champion"]
    withdraw(gov.registry, champion, shown=champion, no_successor=True, **WHO)
    first, second = affected(gov.registry, champion)
    with closing(sqlite3.connect(pacs.folder / "instances.sqlite")) as index, index:
        index.execute("delete from instance where study_instance_uid = ?", [first.study_uid])

    sent = send_notices(gov.night, gov.registry, champion, [first.sop_instance_uid, second.sop_instance_uid])
    again = send_notices(gov.night, gov.registry, champion, [first.sop_instance_uid, second.sop_instance_uid])

    assert sent == NoticesSent(sent=1, already=0, failed={}, gone=(first.sop_instance_uid,))
    assert (again.sent, again.failed, again.gone) == (0, {}, ())
    assert [(row.gone, row.due) for row in affected(gov.registry, champion)] == [(True, False), (False, False)]
    assert gov.night.archive.find_study(first.study_uid) == []
    assert told == []


@pytest.mark.slow
def test_a_result_of_a_model_that_was_withdrawn_meanwhile_is_not_sent(config, gov, versions, patients):
    with open_site(config) as site:
        shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
        for step in steps.SHARD_STEPS[:-1]:
            step(site, NIGHT, shards[0])
        withdraw(gov.registry, versions["champion"], shown=versions["champion"], no_successor=True, **WHO)
        steps.deliver(site, NIGHT, shards[0])
        with pytest.raises(NightFailed, match="withdrawn"):
            steps.close_night(site, NIGHT)
        assert all(not row.stored for row in gov.registry.reports(versions["champion"]))


@pytest.mark.slow
def test_a_replay_is_deterministic_and_changes_nothing(config, gov, versions, patients, dsn):
    run(config)
    before = worklist(dsn)

    same = restage.compare(gov, versions["champion"], nights=[NIGHT])
    other = restage.compare(gov, versions["challenger"], nights=[NIGHT])
    again = restage.compare(gov, versions["challenger"], accession_numbers=["ACC-one", "ACC-two"])

    assert (same.agreement["cases"], same.agreement["agree"], same.changed) == (2, 2, ())
    assert all(row.before.probabilities == row.after.probabilities for row in same.cases)
    assert other.digest == again.digest != same.digest
    assert worklist(dsn) == before
    with pytest.raises(InputRefused, match="nothing to replay"):
        restage.compare(gov, versions["champion"], nights=[date(2020, 1, 1)])


@pytest.mark.slow
def test_a_replay_fetches_pixels_that_were_cleared_away(config, gov, versions, patients):
    run(config)
    gov.night.files.discard_pixels(NIGHT + timedelta(days=1))

    found = restage.compare(gov, versions["champion"], nights=[NIGHT])

    assert found.agreement["agree"] == 2


@pytest.mark.slow
def test_a_replay_goes_to_the_pacs_only_as_it_was_approved(config, gov, versions, patients, dsn, tmp_path):
    run(config)
    found = restage.compare(gov, versions["challenger"], nights=[NIGHT])
    with pytest.raises(GovernanceRefused, match="never a champion"):
        restage.deliver(gov, found.digest, **WHO)
    enthrone(gov, versions["challenger"])
    with pytest.raises(GovernanceRefused, match="not one comparison"):
        restage.deliver(gov, "0" * 12, **WHO)
    assert {row[2] for row in worklist(dsn)} == {versions["champion"]}

    sent = restage.deliver(gov, found.digest[:12], **WHO)
    again = restage.deliver(gov, found.digest, **WHO)

    assert (len(sent.delivered), sent.failed, again.failed) == (2, {}, {})
    assert {row[2] for row in worklist(dsn)} == {versions["challenger"]}
    (made_by,) = {
        gov.night.settings_history.made_under(c.case_id).model_version for c in gov.night.cases.of_night(NIGHT)
    }
    assert made_by == versions["challenger"]
    approvals = gov.restages.approvals(found.digest)
    assert [a.by_whom for a in approvals] == ["Ada", "Ada"]
    assert restage.in_words(found, approvals).count("\n\nApproved before by Ada on ") == 2
    assert "Approved before" not in restage.in_words(found)
    case = gov.night.cases.of_night(NIGHT)[0]
    held = reports_in_the_pacs(gov.night, case, tmp_path / "held")
    assert len(held) == 2  # the first result, and the one that supersedes it; the second delivery sent nothing
    newer = [ds for ds in held.values() if "PredecessorDocumentsSequence" in ds]
    assert len(newer) == 1


@pytest.mark.slow
def test_the_worklist_shows_a_replay_only_once_the_pacs_has_its_report(config, gov, versions, patients, dsn, pacs):
    run(config)
    found = restage.compare(gov, versions["challenger"], nights=[NIGHT])
    enthrone(gov, versions["challenger"])
    ids = [c.case_id for c in gov.night.cases.of_night(NIGHT)]
    before = [len(gov.night.cases.events(case_id)) for case_id in ids]
    pacs.stop()

    failed = restage.deliver(gov, found.digest, **WHO)
    shown = {row[2] for row in worklist(dsn)}
    pacs.start()
    sent = restage.deliver(gov, found.digest, **WHO)

    assert (failed.delivered, set(failed.failed)) == ((), set(ids))
    assert shown == {versions["champion"]}
    assert sorted(sent.delivered) == sorted(ids)
    assert {row[2] for row in worklist(dsn)} == {versions["challenger"]}
    events = [gov.night.cases.events(case_id) for case_id in ids]
    assert [len(e) for e in events] == [n + 1 for n in before]
    assert {e[-1]["detail"]["restaged"] for e in events} == {found.digest}
    assert {e[-1]["detail"]["model_version"] for e in events} == {versions["challenger"]}
    assert all("no_storage_commitment" in flags for *_, flags in worklist_flags(dsn))


@pytest.mark.slow
def test_a_replay_that_gives_other_answers_than_were_approved_sends_nothing(config, gov, versions, patients, dsn):
    run(config)
    found = restage.compare(gov, versions["champion"], nights=[NIGHT])
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:  # the EHR learns of the tumour's size
        cursor.execute(
            "insert into ehr_tumour (patient_id, measured_on, size_cm) values ('PHANTOM-one', '2026-02-20', 9.5)"
        )
    connection.close()

    with pytest.raises(GovernanceRefused, match="approved was"):
        restage.deliver(gov, found.digest, **WHO)

    assert list(gov.restages.approvals(found.digest)) == []


@pytest.mark.slow
def test_a_result_says_under_which_settings_it_was_made(config, gov, versions, patients):
    run(config)
    gov.night.settings_history.set("validate.min_slices", 500, by="Ada", why="a test")
    case = gov.night.cases.of_night(NIGHT)[0]

    made = gov.night.settings_history.made_under(case.case_id)

    assert made.model_version == versions["champion"]
    assert (
        gov.night.settings_history.snapshot(made.settings_digest)["validate.min_slices"] == config.validate.min_slices
    )
    with open_site(config) as site:
        assert site.settings.validate.min_slices == 500
    assert read_version(config.stage.artefact) == versions["champion"]


@pytest.fixture
def gtr(config, monkeypatch):
    """A function that runs `gtr` with the small hospital's settings; gives its standard output, and must end well."""
    monkeypatch.delenv("GTR_CONFIG", raising=False)
    for name, value in {
        "PACS__PORT": config.pacs.port,
        "PACS__CALLED_AE_TITLE": config.pacs.called_ae_title,
        "PACS__CONNECT_TIMEOUT_S": 3,
        "PACS__COMMITMENT_TIMEOUT_S": 2,
        "DATABASE__DSN": config.database.dsn,
        "DATABASE__GOVERNOR_DSN": config.database.governor_dsn,
        "FILES__ROOT": config.files.root,
        "STAGE__ARTEFACT": config.stage.artefact,
        "TRAINING__MODELS": config.training.models,
        "TRAINING__FOLDER": config.training.folder,
        "INTAKE__PROBES": 2,
    }.items():
        monkeypatch.setenv(f"GTR_{name}", str(value))

    def call(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return done.stdout

    return call


@pytest.mark.slow
def test_from_the_shell_a_night_is_replayed_sent_withdrawn_and_superseded(config, gov, versions, patients, gtr, dsn):
    to_shadow(gov.registry, versions["challenger"], **WHO)
    run(config)
    case = gov.night.cases.of_night(NIGHT)[0]
    new, old = versions["challenger"], versions["champion"]
    ada = ("--by", "Ada", "--why", "a test")

    status = gtr("status", "--night", NIGHT)
    under = gtr("settings", "show", "--case", case.case_id)
    before = gtr("restage", "--night", NIGHT, "--model", new[:12], "--compare", "--json")
    table = gtr("restage", "--night", NIGHT, "--model", new[:12], "--compare")
    gtr("model", "promote", new, "--replaces", old, "--without-gate", *ada)
    sent = gtr("restage", "--deliver", json.loads(before)["digest"][:12], *ada)
    asked_again = gtr("restage", "--night", NIGHT, "--model", new[:12], "--compare")
    withdrawn = gtr("model", "withdraw", new, "--replaces", new, "--successor", old, *ada)
    listed = json.loads(gtr("model", "reports", new[:12], "--json"))
    notices = gtr("model", "notices", new[:12], "--approve", "2", "--by", "Ada")

    assert f"in shadow {new[:12]}: " in status
    assert "was withdrawn" not in status
    assert f"Model {new[:12]} was withdrawn: its results must not be used." in gtr("status", "--night", NIGHT)
    assert f"model {old[:12]}" in under
    assert "validate.min_slices" in under
    assert "nothing was sent" in table
    assert json.loads(before)["digest"][:12] in table
    assert "2 cases delivered, 0 failed" in sent
    assert (json.loads(before)["approvals"], "Approved before" in table) == ([], False)
    assert "Approved before by Ada on " in asked_again
    assert "it made 2 reports, 2 stand in the PACS" in withdrawn
    assert [row["due"] for row in listed] == [True, True]
    assert "2 reports superseded in the PACS, 0 failed" in notices
    assert {row[3] for row in worklist(dsn)} == {"model_withdrawn"}
