"""Our own troubles are no verdict on a patient: what PACS, disk or retention did is failed, and asked again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydicom import dcmread

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState, Step
from gtr_batch.errors import CasesSentBack, CasesToRetry, NightFailed
from gtr_batch.governance.reopening import reopen
from tests.nights.conftest import NIGHT
from tests.nights.test_night import run

pytestmark = pytest.mark.slow


@pytest.fixture
def stopped(site, admit, enter_in_ehr, fill):
    """A night that stopped after `steps_done` steps; returns its one shard."""

    def stop_after(steps_done):
        admit("one")
        enter_in_ehr("one")
        fill()
        [shard] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
        for step in steps.SHARD_STEPS[:steps_done]:
            step(site, NIGHT, shard)
        return shard

    return stop_after


def instances_of(site, case):
    return sorted(site.files.folder(case.night, case.case_id, Step.RETRIEVE).glob("*.dcm"))


def test_retention_spares_the_pixels_of_a_case_that_is_not_finished(site, stopped):
    shard = stopped(1)
    case = site.cases.get(shard[0])

    told = steps.housekeeping(site, NIGHT + timedelta(days=site.config.files.retention_days + 1))

    assert told["spared"] == shard
    assert len(instances_of(site, case)) == len(case.expected_sop_uids)
    assert run(site)["states"] == {"committed": 1}
    steps.housekeeping(site, NIGHT + timedelta(days=site.config.files.retention_days + 1))
    assert instances_of(site, case) == []


@pytest.mark.parametrize("steps_done", [1, 3, 5], ids=["retrieved", "preprocessed", "scored"])
def test_pixels_that_are_gone_are_fetched_again_wherever_the_night_stopped(site, stopped, steps_done):
    shard = stopped(steps_done)
    case = site.cases.get(shard[0])
    site.files.discard_pixels(NIGHT + timedelta(days=1))
    assert instances_of(site, case) == []

    assert run(site)["states"] == {"committed": 1}


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:900])])
def test_a_file_that_a_power_cut_left_empty_or_cut_is_fetched_again(site, stopped, spoil):
    shard = stopped(1)
    case = site.cases.get(shard[0])
    spoil(instances_of(site, case)[7])

    with pytest.raises(CasesSentBack, match="InputLost"):  # not retried: the task would find nothing to do
        steps.validate(site, NIGHT, shard)
    assert steps.validate(site, NIGHT, shard) == shard

    assert site.cases.get(shard[0]).state is CaseState.FAILED
    assert run(site)["states"] == {"committed": 1}


def test_an_incomplete_retrieve_is_never_a_refusal_however_often(site, pacs, stopped):
    """The PACS lists an instance whose file it cannot read; hours later it can."""
    shard = stopped(0)
    case = site.cases.get(shard[0])
    lost = next(
        p for p in (pacs.folder / "instances").rglob("*") if p.is_file() and case.expected_sop_uids[11] in p.name
    )
    lost.rename(lost.with_suffix(".away"))

    for _ in range(4):
        with pytest.raises(CasesToRetry, match="RetrieveIncomplete"):
            steps.retrieve(site, NIGHT, shard)
    with pytest.raises(NightFailed, match="RetrieveIncomplete"):
        steps.close_night(site, NIGHT)
    lost.with_suffix(".away").rename(lost)

    assert run(site)["states"] == {"committed": 1}


def test_a_refusal_that_a_person_reopens_is_judged_anew_and_superseded(site, admit, enter_in_ehr, fill, pacs):
    """Damaged at the source and refused; mended in the PACS, reopened by name, staged."""

    def cut(index, ds):
        if index == 5:
            ds.PixelData = ds.PixelData[: len(ds.PixelData) // 3]

    enter_in_ehr("one")
    admit("one", change=cut)
    fill()
    assert run(site)["refusals"] == {"unreadable_pixels": 1}
    [case] = site.cases.of_night(NIGHT)
    [refusal] = site.cases.objects(case.case_id)
    mend(pacs, admit("one"))

    assert run(site)["refusals"] == {"unreadable_pixels": 1}
    done = reopen(site, case.case_id, by="Dr Ada", why="mended in the PACS")

    assert done.state is CaseState.FOUND
    assert run(site)["states"] == {"committed": 1}
    report = next(o for o in site.cases.objects(case.case_id) if o.kind == "structured_report")
    ds = dcmread(site.files.folder(NIGHT, case.case_id, Step.REPORT) / report.file)
    [study] = ds.PredecessorDocumentsSequence
    named = [
        one.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    ]
    assert named == [refusal.sop_instance_uid]


def mend(pacs, intact):
    """Put the intact files of a series in the place of those that the PACS holds."""
    for path in intact.glob("*.dcm"):
        uid = dcmread(path, stop_before_pixels=True).SOPInstanceUID
        [held] = [p for p in (pacs.folder / "instances").rglob("*") if p.is_file() and p.name.startswith(uid)]
        held.write_bytes(path.read_bytes())
