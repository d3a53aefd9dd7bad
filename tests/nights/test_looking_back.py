"""A second chance: what came late, or was refused for what time can mend, is staged by a later night, and once.

Nights as the command line runs them, from a PACS on the loopback interface to the same; the EHR as `ehr_refresh` loads
it.
"""

from __future__ import annotations

import csv
import threading
from datetime import timedelta

import attrs
import psycopg2
import pytest

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState, Step
from gtr_batch.errors import CasesToRetry, NightFailed
from gtr_batch.simulation.servers.services import load_files
from gtr_batch.wiring import open_site, refresh_ehr
from tests.nights.conftest import NIGHT
from tests.nights.small_site import ELIGIBLE, slices, small_site

DAY = timedelta(days=1)
HEADERS = {
    "patient": "patient_id,sex,birth_date",
    "biopsy": "patient_id,biopsy_date,site,adenocarcinoma,lauren,differentiation",
    "treatment": "patient_id,kind,started_on,ended_on",
    "metastasis": "patient_id,assessed_on,distant_metastasis",
}
PROVEN = "2026-02-01,stomach,yes,diffuse,poor"


@pytest.fixture
def config(config):
    """The small hospital as a site leaves it: it looks back as far as the default says."""
    return attrs.evolve(config, report=attrs.evolve(config.report, refusal_sr=False))


@pytest.fixture
def extract(config, tmp_path):
    """A function that loads one extract as `ehr_refresh` does; rows without their patient."""

    def load(**rows):
        folder = tmp_path / "ehr"
        for old in folder.glob("*.csv"):
            old.unlink()
        folder.mkdir(exist_ok=True)
        for name, lines in rows.items():
            with (folder / f"{name}.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(HEADERS[name].split(","))
                table.writerows([line.split(",") for line in lines])
        return refresh_ehr(config, folder)

    return load


def night(site, when, *, again=True):
    """A night as the command line runs it; its summary, red or not."""
    shards = steps.intake(site, when, steps.query_pacs(site, when))
    for step in steps.SHARD_STEPS:
        for shard in shards:
            try:
                step(site, when, shard)
            except CasesToRetry:
                assert again
    try:
        return steps.close_night(site, when)
    except NightFailed:
        return site.nights.summary(when)


def in_the_database(dsn, statement):
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall()
    connection.close()
    return found


def begun(dsn):
    """How often each series began to be staged, and where it is: never twice without a reopening."""
    return in_the_database(
        dsn,
        "select c.night, c.state::text, count(*) filter (where e.state = 'staged')"
        " from staging_case as c join case_event as e using (case_id) where c.series_uid <> ''"
        " group by 1, 2, c.case_id order by 1",
    )


@pytest.mark.slow
def test_a_study_that_comes_two_days_late_and_a_patient_proven_three_days_late_are_each_staged_once(
    site, config, admit, extract, dsn, tmp_path
):
    """The whole history: the night of the study, the two nights of the arrivals, the night after, the first again."""
    admit("waits")
    load_files(config.pacs, tmp_path / "dicom")
    extract(patient=["PHANTOM-waits,female,1960-01-01", "PHANTOM-late,female,1960-01-01"])

    first = night(site, NIGHT)
    admit("late")
    load_files(config.pacs, tmp_path / "dicom" / "late")
    extract(biopsy=[f"PHANTOM-late,{PROVEN}"])
    third = night(site, NIGHT + 2 * DAY)
    report = extract(biopsy=[f"PHANTOM-waits,{PROVEN}"])
    fourth = night(site, NIGHT + 3 * DAY)
    again = [night(site, NIGHT + n * DAY)["cases"] for n in (4, 0, 2)]

    assert first["refusals"] == {"no_gastric_adenocarcinoma": 1}
    assert (third["states"], third["looked_back"]["late"]) == ({"committed": 1}, 1)
    assert report["second_chance"] == 1
    assert (fourth["states"], fourth["looked_back"]["mended"]) == (
        {"committed": 1},
        {"no_gastric_adenocarcinoma": 1},
    )
    assert begun(dsn) == [(NIGHT + 2 * DAY, "committed", 1), (NIGHT + 3 * DAY, "committed", 1)]
    assert again == [0, 1, 1]
    assert in_the_database(dsn, "select count(*) from worklist_annotation where ct is not null") == [(2,)]


@pytest.mark.slow
def test_a_series_that_could_not_be_retrieved_whole_is_staged_once_when_the_pacs_has_it(
    site, pacs, admit, enter_in_ehr, fill, dsn
):
    admit("one")
    enter_in_ehr("one")
    fill()
    held = sorted((pacs.folder / "instances").iterdir())[5]
    lost = held.read_bytes()
    held.unlink()

    first = night(site, NIGHT)
    assert list(first["states"]) == ["failed"]
    held.write_bytes(lost)
    second = night(site, NIGHT + DAY)

    assert second["states"] == {"committed": 1}
    assert second["looked_back"]["begun_anew"] == 1
    assert night(site, NIGHT + 2 * DAY)["cases"] == night(site, NIGHT)["cases"] == 0
    assert begun(dsn) == [(NIGHT + DAY, "committed", 1)]


def test_a_refusal_that_time_cannot_mend_stays_whatever_the_ehr_says_later(site, config, admit, extract, tmp_path):
    admit("spread")
    load_files(config.pacs, tmp_path / "dicom")
    extract(
        patient=["PHANTOM-spread,female,1960-01-01"],
        biopsy=[f"PHANTOM-spread,{PROVEN}"],
        metastasis=["PHANTOM-spread,2026-02-20,yes"],
    )
    assert night(site, NIGHT)["refusals"] == {"distant_metastasis": 1}
    report = extract(metastasis=["PHANTOM-spread,2026-02-20,no"])

    assert report["second_chance"] == 0
    assert night(site, NIGHT + DAY)["cases"] == 0
    assert [case.state for case in site.cases.of_night(NIGHT)] == [CaseState.REFUSED]


def test_a_patient_who_is_refused_for_another_reason_now_is_told_by_that_reason(site, config, admit, extract, tmp_path):
    admit("treated")
    load_files(config.pacs, tmp_path / "dicom")
    extract(patient=["PHANTOM-treated,female,1960-01-01"])
    assert night(site, NIGHT)["refusals"] == {"no_gastric_adenocarcinoma": 1}

    extract(biopsy=[f"PHANTOM-treated,{PROVEN}"], treatment=["PHANTOM-treated,chemotherapy,2026-01-05,"])

    assert night(site, NIGHT + DAY)["refusals"] == {"prior_chemotherapy": 1}
    assert night(site, NIGHT + 2 * DAY)["cases"] == 0


@pytest.mark.slow
def test_a_case_that_another_night_takes_over_in_the_middle_of_a_step_is_staged_once(
    site, config, admit, enter_in_ehr, fill, dsn
):
    """The earlier night is still at work when the next one begins: what it finds then is not written."""
    admit("one")
    enter_in_ehr("one")
    fill()
    [shard] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    steps.retrieve(site, NIGHT, shard)
    taken = []

    class Slow:
        """The earlier night's cases, in whose validation the next night begins."""

        def __getattr__(self, name):
            return getattr(cases, name)

        def step(self, case_id, step):
            if step is Step.VALIDATE and not taken:
                with open_site(config) as other:
                    taken.extend(steps.intake(other, NIGHT + DAY, steps.query_pacs(other, NIGHT + DAY)))
            return cases.step(case_id, step)

    cases, site.cases = site.cases, Slow()

    for step in steps.SHARD_STEPS[1:]:
        step(site, NIGHT, shard)

    assert taken == [shard]
    assert steps.close_night(site, NIGHT)["cases"] == 0
    assert night(site, NIGHT + DAY)["states"] == {"committed": 1}
    assert begun(dsn) == [(NIGHT + DAY, "committed", 1)]


@pytest.mark.slow
def test_two_nights_at_once_stage_each_case_once(config, admit, enter_in_ehr, fill, dsn):
    for name in ("one", "two"):
        admit(name)
        enter_in_ehr(name)
    fill()
    together = threading.Barrier(2)
    broken = []

    def run(when):
        try:
            with open_site(config) as site:
                studies = steps.query_pacs(site, when)
                together.wait(60)
                shards = steps.intake(site, when, studies)
                for step in steps.SHARD_STEPS:
                    for shard in shards:
                        step(site, when, shard)
        except Exception as err:  # noqa: BLE001 - told below, in the test's own thread
            broken.append(err)
            together.abort()

    threads = [threading.Thread(target=run, args=[when]) for when in (NIGHT, NIGHT + DAY)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert broken == []
    found = begun(dsn)
    assert [state for _, state, _ in found] == ["committed", "committed"]
    assert {staged for _, _, staged in found} == {1}


def test_a_study_gets_one_case_although_two_nights_choose_different_series(site, dsn):
    """Another series came between their queries."""
    from gtr_batch.domain.case import Case
    from gtr_batch.domain.identifiers import case_id

    def chosen(series, when):
        return Case(case_id("1.2.3", series), when, "1.2.3", series, "PHANTOM-one", "ACC-one")

    assert len(site.cases.record([chosen("1.2.3.4", NIGHT)])) == 1
    assert site.cases.record([chosen("1.2.3.5", NIGHT + DAY)]) == []

    assert in_the_database(dsn, "select series_uid from staging_case") == [("1.2.3.4",)]


@pytest.fixture
def small(tmp_path):
    """A site without PACS and database that looks back a week."""
    return small_site(tmp_path, settle_minutes=0)


def test_looking_back_asks_the_pacs_of_no_study_that_nothing_can_have_become_of(small):
    """A look-back costs one query of studies; only what is new, or may be mended, is asked for its series."""
    for name in ("stranger", "treated", "known"):
        small.archive.arrive(*slices(name, range(22)))
    small.clinical["PHANTOM-treated"] = attrs.evolve(ELIGIBLE, prior_chemotherapy=True)
    small.clinical["PHANTOM-known"] = attrs.evolve(ELIGIBLE, gastric_adenocarcinoma=None)
    steps.intake(small, NIGHT, steps.query_pacs(small, NIGHT))
    small.clinical["PHANTOM-treated"] = ELIGIBLE
    asked = small.archive.asked = []

    studies = steps.query_pacs(small, NIGHT + DAY)
    assert steps.intake(small, NIGHT + DAY, studies) == []

    assert asked == []
    [waits] = {ds.StudyInstanceUID for ds in small.archive.held if ds.PatientID == "PHANTOM-known"}
    assert studies == [waits]


def test_the_days_that_are_looked_back_on_are_a_week(small):
    small.archive.arrive(*slices("one", range(24)))
    small.clinical["PHANTOM-one"] = ELIGIBLE

    assert steps.intake(small, NIGHT + 8 * DAY, steps.query_pacs(small, NIGHT + 8 * DAY)) == []
    assert len(steps.intake(small, NIGHT + 7 * DAY, steps.query_pacs(small, NIGHT + 7 * DAY))) == 1


def test_a_study_that_was_refused_as_it_is_is_not_probed_every_night_where_nothing_has_to_settle(small):
    small.clinical["PHANTOM-one"] = ELIGIBLE
    arterial = slices("one", range(24), SeriesDescription="Abdomen arterial", ProtocolName="", ContrastBolusAgent="")
    small.archive.arrive(*arterial)
    steps.intake(small, NIGHT, steps.query_pacs(small, NIGHT))
    fetched = small.archive.fetched

    steps.intake(small, NIGHT + DAY, steps.query_pacs(small, NIGHT + DAY))

    assert small.archive.fetched == fetched > 0


def test_a_case_says_how_it_came_to_its_night(small):
    small.archive.arrive(*slices("one", range(24)), *slices("two", range(24)))
    small.clinical["PHANTOM-one"] = attrs.evolve(ELIGIBLE, gastric_adenocarcinoma=None)
    steps.intake(small, NIGHT, steps.query_pacs(small, NIGHT))
    small.clinical.update({"PHANTOM-one": ELIGIBLE, "PHANTOM-two": ELIGIBLE})

    steps.intake(small, NIGHT + DAY, steps.query_pacs(small, NIGHT + DAY))
    steps.intake(small, NIGHT + DAY, steps.query_pacs(small, NIGHT + DAY))  # a run that is resumed says the same
    with pytest.raises(NightFailed, match="did not finish"):
        steps.close_night(small, NIGHT + DAY)

    found = small.nights.summary(NIGHT + DAY)["looked_back"]
    assert found == {"cases": 2, "late": 1, "mended": {"no_gastric_adenocarcinoma": 1}, "begun_anew": 0}
    assert {c.state for c in small.cases.of_night(NIGHT + DAY)} == {CaseState.FOUND}
