"""A study that is still arriving waits; a series that has grown since it was staged is staged anew."""

from __future__ import annotations

import json
from datetime import timedelta

import attrs
import psycopg2
import pytest
from pydicom import dcmread

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState, Failure, Step
from gtr_batch.domain.refusal import Refusal
from gtr_batch.errors import CasesToRetry
from gtr_batch.simulation.servers.services import load_files
from gtr_batch.wiring import open_site
from tests.nights.conftest import NIGHT
from tests.nights.small_site import ELIGIBLE, SetClock, slices, small_site
from tests.nights.test_night import run

TOMORROW = NIGHT + timedelta(days=1)


@pytest.fixture
def site(tmp_path):
    """One eligible patient, of whose study 24 of 36 slices have come."""
    site = small_site(tmp_path, settle_minutes=10, look_back_days=2)
    site.clinical["PHANTOM-one"] = ELIGIBLE
    site.archive.arrive(*slices("one", range(24)))
    return site


def query(site, night=NIGHT):
    return steps.query_pacs(site, night)


def found(site, night=NIGHT):
    """A run up to intake, with the wait that the DAG keeps; returns the ids of its shards."""
    studies = query(site, night)
    while (until := steps.settles_at(site, studies)) is not None:
        site.clock.at = until
    return [one for shard in steps.intake(site, night, studies) for one in shard]


def waiting(site, night=NIGHT):
    return json.loads((site.files.night_folder(night, Step.INTAKE) / "intake.json").read_text())["waiting"]


def end(site, case_id, state=CaseState.COMMITTED):
    """The case as a night left it, with the instances that it was staged on."""
    case = site.cases.get(case_id)
    with site.cases.step(case_id, Step.DELIVER) as record:
        if state is CaseState.REFUSED:
            record.refuse(Refusal("too_few_slices", "24 slices"))
        elif state is CaseState.FAILED:
            record.fail(Failure(Step.RETRIEVE, "PacsUnreachable: no answer", True))
        else:
            record.advance(state)
    return case


def test_a_study_that_stands_still_for_the_time_set_is_taken(site):
    [case_id] = found(site)

    assert len(site.cases.get(case_id).expected_sop_uids) == 24
    assert waiting(site) == {}


def test_a_study_is_not_taken_the_moment_it_is_seen(site):
    studies = query(site)
    site.clock.minutes_later(9)

    assert steps.intake(site, NIGHT, studies) == []

    [why] = waiting(site).values()
    assert why.startswith("24 instances in 1 CT series, the same for 9 of 10 minutes")
    assert site.cases.of_night(NIGHT) == []


def test_a_study_that_grows_between_two_looks_waits_and_is_no_fault_of_the_night(site):
    studies = query(site)
    site.clock.minutes_later(10)
    site.archive.arrive(*slices("one", range(24, 36)))

    assert steps.intake(site, NIGHT, studies) == []
    assert steps.close_night(site, NIGHT)["intake"]["waiting"].keys() == set(studies)

    site.clock.minutes_later(10)
    [[case_id]] = steps.intake(site, NIGHT, studies)
    assert len(site.cases.get(case_id).expected_sop_uids) == 36


def test_what_still_grows_at_the_nights_end_is_taken_by_the_next_night(site):
    studies = query(site)
    assert steps.intake(site, NIGHT, studies) == []
    site.archive.arrive(*slices("one", range(24, 36)))
    site.clock.minutes_later(24 * 60)

    [case_id] = found(site, TOMORROW)

    case = site.cases.get(case_id)
    assert (case.night, len(case.expected_sop_uids)) == (TOMORROW, 36)


def test_a_study_that_comes_late_is_found_by_the_next_night(site):
    """Stored after its own night had asked: a modality that was cut off."""
    assert len(found(site)) == 1
    site.clinical["PHANTOM-late"] = ELIGIBLE
    site.archive.arrive(*slices("late", range(30)))

    [case_id] = [one for one in found(site, TOMORROW) if site.cases.get(one).patient_id == "PHANTOM-late"]

    assert site.cases.get(case_id).night == TOMORROW


def test_a_series_that_promises_more_than_it_lists_waits(site):
    [series] = {ds.SeriesInstanceUID for ds in site.archive.held}
    site.archive.promised[series] = 36

    assert found(site) == []

    [why] = waiting(site).values()
    assert "tells of 36 instances and lists 24" in why


@pytest.mark.parametrize("ended", [CaseState.COMMITTED, CaseState.REFUSED])
def test_a_series_that_has_grown_since_it_was_judged_is_judged_anew(site, ended):
    [case_id] = found(site)
    end(site, case_id, ended)
    assert found(site, TOMORROW) == []
    site.archive.arrive(*slices("one", range(24, 36)))

    assert found(site, TOMORROW) == [case_id]

    case = site.cases.get(case_id)
    assert (case.state, case.reached, case.night) == (CaseState.FOUND, CaseState.FOUND, TOMORROW)
    event = site.cases.events(case_id)[-1]
    assert event["detail"]["reopened"] == "the series has grown from 24 to 36 instances"
    assert event["detail"]["was"] == str(ended)
    assert steps.retrieve(site, TOMORROW, [case_id]) == [case_id]
    assert site.cases.of_night(NIGHT) == []


@pytest.mark.parametrize("marked_in", ["the EHR", "the PACS"])
def test_a_case_without_a_key_slice_is_judged_anew_when_one_is_marked(site, marked_in):
    [case_id] = found(site)
    steps.retrieve(site, NIGHT, [case_id])
    with site.cases.step(case_id, Step.PREPROCESS) as record:
        record.refuse(Refusal("no_key_slice", "nothing points to a slice of this series"))
    assert found(site, TOMORROW) == []
    instance = site.archive.held[7]
    if marked_in == "the EHR":
        site.clinical["PHANTOM-one"] = attrs.evolve(ELIGIBLE, key_slice_sop_uid=str(instance.SOPInstanceUID))
    else:
        [key_object] = slices("one", range(99, 100), Modality="KO", SeriesInstanceUID="1.2.3")
        site.archive.arrive(key_object)

    assert found(site, TOMORROW) == [case_id]
    assert site.cases.events(case_id)[-1]["detail"]["reopened"] == "a slice is marked"


def test_a_study_that_was_refused_as_it_is_is_not_probed_again_while_it_is_looked_back_on(site):
    for ds in site.archive.held:
        ds.SeriesDescription, ds.ProtocolName, ds.ContrastBolusAgent = "Abdomen arterial", "", ""
    assert found(site) == []
    [case] = site.cases.of_night(NIGHT)
    assert case.refusal.code == "no_portal_venous_series"
    fetched = site.archive.fetched

    assert found(site, TOMORROW) == []

    assert site.archive.fetched == fetched > 0


def test_a_series_that_is_still_growing_is_judged_anew_only_when_it_stands_still(site):
    [case_id] = found(site)
    end(site, case_id)
    studies = query(site)
    site.archive.arrive(*slices("one", range(24, 30)))
    site.clock.minutes_later(10)

    assert steps.intake(site, NIGHT, studies) == []

    assert site.cases.get(case_id).state is CaseState.COMMITTED
    assert len(waiting(site)) == 1


def test_a_series_that_has_not_grown_is_left_alone(site):
    [case_id] = found(site)
    end(site, case_id)
    before = site.cases.events(case_id)

    assert found(site) == found(site, TOMORROW) == []

    assert site.cases.events(case_id) == before
    assert site.cases.get(case_id).night == NIGHT


def test_a_number_that_the_pacs_tells_and_does_not_list_is_no_growth(site):
    """Else such a series would be staged anew every night."""
    [case_id] = found(site)
    end(site, case_id)
    site.archive.promised[site.cases.get(case_id).series_uid] = 99

    assert found(site, TOMORROW) == []
    assert site.cases.get(case_id).state is CaseState.COMMITTED


def test_a_case_that_an_earlier_night_could_not_finish_is_taken_over_by_the_next(site):
    [case_id] = found(site)
    end(site, case_id, CaseState.FAILED)

    assert found(site, TOMORROW) == [case_id]

    assert site.cases.get(case_id).night == TOMORROW
    assert site.cases.events(case_id)[-1]["detail"]["reopened"] == f"not finished in night {NIGHT}"


def test_what_is_written_already_or_must_be_mended_stays_in_its_night(site):
    [case_id] = found(site)
    end(site, case_id, CaseState.REPORTED)
    assert found(site, TOMORROW) == []
    with site.cases.step(case_id, Step.DELIVER) as record:
        record.fail(Failure(Step.DELIVER, "DeliveryRefused: status 0xA900", False))

    assert found(site, TOMORROW) == []
    assert site.cases.get(case_id).night == NIGHT


def test_a_night_beyond_the_days_that_are_looked_back_on_is_left_alone(site):
    [case_id] = found(site)
    end(site, case_id, CaseState.FAILED)

    assert found(site, NIGHT + timedelta(days=3)) == []
    assert site.cases.get(case_id).night == NIGHT


def test_studies_that_are_looked_back_on_are_not_counted_or_refused_again(site):
    """A patient who is not known, and one who is not eligible: each belongs to its own night."""
    site.archive.arrive(*slices("stranger", range(22)), *slices("treated", range(22)))
    site.clinical["PHANTOM-treated"] = attrs.evolve(ELIGIBLE, prior_chemotherapy=True)
    found(site)
    refused = [case.case_id for case in site.cases.of_night(NIGHT) if case.state is CaseState.REFUSED]

    found(site, TOMORROW)

    report = json.loads((site.files.night_folder(TOMORROW, Step.INTAKE) / "intake.json").read_text())
    assert report["unknown_patients"] == 0
    assert len(refused) == 1
    assert refused[0] not in {case.case_id for case in site.cases.of_night(TOMORROW)}


def test_a_series_that_grows_between_intake_and_retrieve_is_fetched_again_later(site):
    [case_id] = found(site)
    site.archive.arrive(*slices("one", range(24, 30)))

    with pytest.raises(CasesToRetry, match="StillArriving"):
        steps.retrieve(site, NIGHT, [case_id])
    steps.retrieve(site, NIGHT, [case_id])

    case = site.cases.get(case_id)
    assert (case.reached, len(case.expected_sop_uids)) == (CaseState.RETRIEVED, 30)


def test_without_a_time_to_settle_a_study_is_taken_as_it_is_found(tmp_path):
    site = small_site(tmp_path, settle_minutes=0)
    site.clinical["PHANTOM-one"] = ELIGIBLE
    site.archive.arrive(*slices("one", range(24)))

    studies = query(site)

    assert steps.settles_at(site, studies) is None
    assert len(steps.intake(site, NIGHT, studies)) == 1


@pytest.mark.slow
def test_a_series_of_which_the_rest_came_later_is_staged_anew_and_its_report_superseded(
    config, admit, enter_in_ehr, tmp_path, dsn
):
    """From PACS to PACS: the lower two thirds on one night, the rest on the next."""
    enter_in_ehr("one")
    folder = admit("one")
    rest = [path for path in folder.glob("*.dcm") if dcmread(path, stop_before_pixels=True).InstanceNumber == 22]
    aside = tmp_path / "rest"
    aside.mkdir()
    for path in rest:
        path.rename(aside / path.name)
    load_files(config.pacs, tmp_path / "dicom")
    here = attrs.evolve(config, night=attrs.evolve(config.night, settle_minutes=10, look_back_days=2))
    with open_site(here) as site:
        site.clock = SetClock()
        assert run(site)["intake"]["waiting"]
        site.clock.minutes_later(10)
        assert run(site)["states"] == {"committed": 1}
        [case] = site.cases.of_night(NIGHT)
        before = {one.kind: one for one in site.cases.objects(case.case_id)}
        load_files(config.pacs, aside)

        run(site, TOMORROW)
        site.clock.minutes_later(10)
        assert run(site, TOMORROW)["states"] == {"committed": 1}

        after = {one.kind: one for one in site.cases.objects(case.case_id)}
        report = site.files.folder(TOMORROW, case.case_id, Step.REPORT) / after["structured_report"].file
    [study] = dcmread(report).PredecessorDocumentsSequence
    [series] = study.ReferencedSeriesSequence
    named = [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence]
    assert named == [before["structured_report"].sop_instance_uid]
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select night, state, ct is not null from worklist_annotation")
        assert cursor.fetchall() == [(TOMORROW, "committed", True)]
    connection.close()
