"""A patient whose stomach was operated before the study is refused, whoever says so."""

from __future__ import annotations

import attrs
import pytest

from gtr_batch import night as steps
from tests.nights.conftest import NIGHT
from tests.nights.small_site import ELIGIBLE, slices, small_site

SAID = {
    "series description": {"SeriesDescription": "PV 5.0 Z.n. Gastrektomie"},
    "study description": {"StudyDescription": "CT abdome, status pós gastrectomia"},
}


@pytest.fixture
def site(tmp_path):
    site = small_site(tmp_path, settle_minutes=0)
    site.clinical["PHANTOM-one"] = ELIGIBLE
    return site


@pytest.mark.parametrize("where", SAID)
def test_a_description_that_says_so_refuses_the_study(site, where):
    """The study's own description is known by its instances alone here: this PACS does not return it."""
    site.archive.arrive(*slices("one", range(24), **SAID[where]))

    assert steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT)) == []

    [case] = site.cases.of_night(NIGHT)
    assert (case.refusal.code, case.refusal.numbers["where"]) == ("prior_gastric_surgery", where)


def test_the_ehr_that_says_so_refuses_the_study_before_the_pacs_is_asked(site):
    site.archive.arrive(*slices("one", range(24)))
    site.clinical["PHANTOM-one"] = attrs.evolve(ELIGIBLE, prior_gastric_surgery=True)

    assert steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT)) == []

    assert [case.refusal.code for case in site.cases.of_night(NIGHT)] == ["prior_gastric_surgery"]
    assert site.archive.asked == []
