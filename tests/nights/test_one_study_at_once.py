"""One study at once: through all the checks of a night, ahead of its remaining shards, and staged once."""

from __future__ import annotations

import io
import json

import attrs
import psycopg2
import pytest
import structlog

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.errors import InputRefused, NightFailed, PacsUnreachable, StillArriving
from gtr_batch.night import stage_now
from gtr_batch.wiring import open_site
from tests.nights.conftest import NIGHT
from tests.nights.small_site import ELIGIBLE, slices, small_site
from tests.nights.test_cli import gtr, settings  # noqa: F401 - fixtures


def in_the_database(dsn, statement):
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall()
    connection.close()
    return found


def run(site, night, shards, first=0, last=None):
    for step in steps.SHARD_STEPS[first:last]:
        for shard in shards:
            step(site, night, shard)


@pytest.mark.slow
def test_a_study_overtakes_the_remaining_shards_of_a_running_night_and_is_staged_once(
    gtr,  # noqa: F811
    settings,  # noqa: F811
    config,
    pacs,
    admit,
    enter_in_ehr,
    fill,
    dsn,
):
    for name in ("one", "two", "urgent"):
        admit(name)
        enter_in_ehr(name)
    fill()
    config = attrs.evolve(config, night=attrs.evolve(config.night, shard_size=1))

    with open_site(config) as site:
        shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
        run(site, NIGHT, shards, last=2)  # the night is at work: all its shards are validated
        asked = gtr("night", "--accession", "ACC-urgent", "--json", **settings)
        behind = {str(case.state) for case in site.cases.of_night(NIGHT)}
        run(site, NIGHT, shards, first=2)
        summary = steps.close_night(site, NIGHT)
        coming = stage_now.coming_night(site)
        found = steps.intake(site, coming, steps.query_pacs(site, coming))
        steps.close_night(site, coming)
    again = gtr("night", "--accession", "ACC-urgent", **settings)

    told = json.loads(asked.stdout)
    assert (asked.exit_code, told["case"]["state"], behind) == (0, "committed", {"validated"})
    assert (len(shards), summary["states"]) == (3, {"committed": 2})
    assert found == []  # the coming night has nothing to do for it
    assert in_the_database(
        dsn,
        "select night, count(*) filter (where e.state = 'staged'), count(*) filter (where e.state = 'committed')"
        " from staging_case join case_event as e using (case_id) group by case_id, night order by night",
    ) == [(NIGHT, 1, 1), (NIGHT, 1, 1), (coming, 1, 1)]
    assert in_the_database(dsn, "select count(*) - count(distinct sop_instance_uid) from store_receipt") == [(0,)]
    assert again.exit_code == 0
    assert "is staged and its report is in the PACS" in again.stdout and "gtr restage" in again.stdout
    assert "ACC-" not in asked.stdout + asked.stderr + again.stdout + again.stderr


def test_each_thing_that_keeps_a_study_from_being_taken_has_its_sentence_and_code(
    gtr,  # noqa: F811
    settings,  # noqa: F811
    pacs,
    admit,
    fill,
):
    def share(_, ds):
        ds.AccessionNumber = "ACC-shared"
        ds.PatientID = "PHANTOM-one"

    admit("one", change=share)
    admit("two", change=share)
    admit("stranger")
    fill()

    unknown = gtr("night", "--accession", "ACC-nobody", **settings)
    several = gtr("night", "--accession", "ACC-shared", **settings)
    wildcard = gtr("night", "--accession", "ACC-*", **settings)
    no_case = gtr("night", "--case", "11111111-1111-4111-8111-111111111111", **settings)
    stranger = gtr("night", "--accession", "ACC-stranger", **settings)
    both = gtr("night", "--night", str(NIGHT), "--accession", "ACC-one", **settings)
    pacs.stop()
    silent = gtr("night", "--accession", "ACC-one", **settings)

    assert [one.exit_code for one in (unknown, several, wildcard, no_case, both, stranger, silent)] == [
        *[2] * 5,
        1,
        4,
    ]
    assert "lists no CT study under this accession number" in unknown.stderr
    assert "lists 2 CT studies" in several.stderr and "--study" in several.stderr
    assert "no single accession number" in wildcard.stderr
    assert "there is no case" in no_case.stderr
    assert "one of --night, --accession" in both.stderr
    assert "the EHR extracts do not know its patient" in stranger.stdout
    assert "PacsUnreachable" in silent.stderr
    shown = [one.stdout + one.stderr for one in (unknown, several, wildcard, stranger, silent)]
    assert not any("ACC-" in text or "PHANTOM" in text for text in shown)


@pytest.fixture
def small(tmp_path):
    """A site without PACS and database; its clock stands at 23:30 of the 1st of March, UTC."""
    site = small_site(tmp_path, settle_minutes=10)
    site.archive.arrive(*slices("one", range(24)))
    site.clinical["PHANTOM-one"] = ELIGIBLE
    return site


def study(site, name):
    [uid] = {ds.StudyInstanceUID for ds in site.archive.held if ds.PatientID == f"PHANTOM-{name}"}
    return uid


def test_a_study_that_may_still_be_arriving_is_not_taken_until_it_stands_still_or_is_asked_for_as_it_is(small):
    uid = study(small, "one")

    with pytest.raises(StillArriving, match=r"not taken.*0 of 10 minutes.*--as-it-is"):
        stage_now.take(small, [uid])
    small.archive.arrive(*slices("one", range(24, 26)))
    small.clock.minutes_later(10)
    with pytest.raises(StillArriving):
        stage_now.take(small, [uid])
    nothing = small.cases.of_study(uid)
    small.clock.minutes_later(10)
    taken = stage_now.take(small, [uid])

    assert nothing == []
    assert (taken.night, len(taken.case_ids), taken.not_taken) == (NIGHT, 1, {})


def test_a_study_is_taken_as_it_is_where_that_is_said(small):
    stage_now.as_it_is(small)

    assert len(stage_now.take(small, [study(small, "one")]).case_ids) == 1


def test_a_promise_that_the_pacs_does_not_keep_is_not_taken_even_as_it_is(small):
    stage_now.as_it_is(small)
    [series] = {ds.SeriesInstanceUID for ds in small.archive.held}
    small.archive.promised[series] = 30

    with pytest.raises(StillArriving, match="tells of 30 instances and lists 24"):
        stage_now.take(small, [study(small, "one")])


def test_the_coming_night_is_the_first_from_today_on_that_has_not_begun(small):
    first = stage_now.coming_night(small)
    steps.query_pacs(small, NIGHT)
    small.clock.minutes_later(31)  # past midnight

    assert (first, stage_now.coming_night(small)) == (NIGHT, NIGHT.replace(day=2))


def test_a_case_of_a_running_night_is_taken_over_and_one_that_is_written_is_not(small):
    uid = study(small, "one")
    steps.query_pacs(small, NIGHT)
    small.clock.minutes_later(10)
    [[case_id]] = steps.intake(small, NIGHT, [uid])
    [of_night] = small.cases.select([case_id])

    taken = stage_now.take(small, [uid])
    once_more = stage_now.take(small, [uid])

    assert (of_night.night, small.cases.get(case_id).night) == (NIGHT, taken.night)
    assert taken == once_more == stage_now.Taken(NIGHT.replace(day=2), (case_id,))
    with small.cases.step(case_id, "report") as record:
        record.advance(CaseState.REPORTED)
    small.nights.open(taken.night, "3f" * 32)
    refused = stage_now.take(small, [uid])
    assert refused.case_ids == ()
    assert "is staged and reported: its night delivers it" in refused.not_taken[uid]


def test_who_may_not_be_staged_by_a_night_is_not_staged_at_once(small):
    uid = study(small, "one")
    stage_now.as_it_is(small)
    small.clinical["PHANTOM-one"] = attrs.evolve(ELIGIBLE, prior_chemotherapy=True)

    taken = stage_now.take(small, [uid])

    [case] = small.cases.of_study(uid)
    assert (taken.case_ids, case.refusal.code) == ((), RefusalCode.PRIOR_CHEMOTHERAPY)
    assert "is refused, prior_chemotherapy" in taken.not_taken[uid]


def test_what_is_known_by_now_keeps_a_case_of_a_running_night_from_being_taken(small):
    """Its night has judged the patient; the EHR knows more since."""
    uid = study(small, "one")
    steps.query_pacs(small, NIGHT)
    small.clock.minutes_later(10)
    steps.intake(small, NIGHT, [uid])
    small.clinical["PHANTOM-one"] = attrs.evolve(ELIGIBLE, distant_metastasis=True)
    small.clock.minutes_later(60 * 24)  # the study is an earlier day's by then

    taken = stage_now.take(small, [uid])

    assert taken.case_ids == ()
    assert "is not taken, distant_metastasis" in taken.not_taken[uid]


def test_two_patients_under_one_accession_number_are_both_refused(small):
    """Although one of the two is asked for by its own UID."""
    small.archive.arrive(*slices("two", range(24), AccessionNumber="ACC-one"))
    small.clinical["PHANTOM-two"] = ELIGIBLE
    stage_now.as_it_is(small)
    uid = study(small, "one")

    with pytest.raises(InputRefused, match="2 CT studies"):
        stage_now.study_of_accession(small, "ACC-one")
    taken = stage_now.take(small, [uid])

    assert taken.case_ids == ()
    assert "ambiguous_patient" in taken.not_taken[uid]


def test_what_the_pacs_does_not_list_or_does_not_answer_is_said(small):
    with pytest.raises(InputRefused, match=r"does not list study 1\.2\.3"):
        stage_now.take(small, ["1.2.3"])
    with pytest.raises(InputRefused, match="not a valid DICOM UID"):
        stage_now.take(small, ["DOE^JANE"])
    small.archive.silent_for = {"*"}
    with pytest.raises(PacsUnreachable):
        stage_now.take(small, [study(small, "one")])


def test_a_case_that_did_not_end_turns_the_request_red_and_says_what_goes_on_with_it(small):
    stage_now.as_it_is(small)
    taken = stage_now.take(small, [study(small, "one")])

    with pytest.raises(NightFailed, match=f"did not finish: stopped after found.*gtr night --night {NIGHT}"):
        stage_now.outcome(small, taken)


def test_no_accession_number_is_in_the_log(small):
    log = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
    stage_now.as_it_is(small)

    stage_now.take(small, [stage_now.study_of_accession(small, "ACC-one")])

    assert "case.taken_at_once" in log.getvalue()
    assert "ACC-" not in log.getvalue()
