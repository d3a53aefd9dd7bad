"""An outage between the query and intake: the fault is the PACS's, whatever became of studies that did not need it."""

from __future__ import annotations

import json

import pytest

from gtr_batch import night as steps
from gtr_batch.domain.case import Step
from gtr_batch.errors import PacsUnreachable
from tests.nights.conftest import NIGHT
from tests.nights.small_site import ELIGIBLE, slices, small_site


@pytest.fixture
def site(tmp_path):
    """Two eligible patients, and one whom the EHR does not know."""
    site = small_site(tmp_path, settle_minutes=0)
    for name in ("one", "two", "stranger"):
        site.archive.arrive(*slices(name, range(22)))
    site.clinical.update({"PHANTOM-one": ELIGIBLE, "PHANTOM-two": ELIGIBLE})
    return site


def test_an_outage_of_all_that_was_asked_is_tried_again_though_other_studies_needed_no_pacs(site):
    studies = steps.query_pacs(site, NIGHT)
    site.archive.silent_for.add("*")
    site.archive.silent_for.update(studies)

    with pytest.raises(PacsUnreachable):
        steps.intake(site, NIGHT, studies)

    site.archive.silent_for.clear()
    assert len(steps.intake(site, NIGHT, studies)[0]) == 2


def test_an_outage_of_one_study_is_noted_and_the_others_go_on(site):
    studies = steps.query_pacs(site, NIGHT)
    [lost] = {ds.StudyInstanceUID for ds in site.archive.held if ds.PatientID == "PHANTOM-two"}
    site.archive.silent_for.add(lost)

    [shard] = steps.intake(site, NIGHT, studies)

    assert len(shard) == 1
    report = json.loads((site.files.night_folder(NIGHT, Step.INTAKE) / "intake.json").read_text())
    assert list(report["errors"]) == [lost]
    assert report["unknown_patients"] == 1
