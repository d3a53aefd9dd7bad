"""What a case answers: with a nomogram, without one."""

from __future__ import annotations

from datetime import date

import attrs
import numpy as np
import pytest
from attrs import frozen

from gtr_batch import night as steps
from gtr_batch.config import ReportConfig
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.model import ModelManifest
from gtr_batch.domain.staging import Flag, StageSet, TStage
from gtr_batch.errors import ConfigError
from gtr_batch.governance.restage import answer_of
from gtr_batch.night.close import night_cases
from gtr_batch.night.memory import MemoryCases
from gtr_batch.nomogram import paper_table_3
from tests.builders import a_geometry, a_manifest, a_series, a_staging
from tests.nights.small_site import MODEL, small_site

NIGHT = date(2026, 3, 1)
LOW = attrs.evolve(paper_table_3(), name="low", thresholds=(-1.5, 4.0, 6.0))  # T2 of nearly everybody


@frozen
class Loaded:
    """A model of which only the manifest is asked."""

    manifest: ModelManifest


@pytest.fixture
def staged(tmp_path):
    """A site whose one case is staged, with a model of the given manifest."""

    def make(manifest: ModelManifest, stage_set: StageSet | None = None, **settings: object):
        site = small_site(tmp_path)
        site.config = attrs.evolve(site.config, **settings)
        site._loaded[MODEL] = Loaded(manifest)
        site.cases.record([Case("c1", NIGHT, "1.2.1", "1.2.1.1", "PHANTOM")])
        with site.cases.step("c1", Step.STAGE) as record:
            geometry = a_geometry(a_series(tmp_path / "series", size=16))
            staging = attrs.evolve(a_staging(geometry, model_version=MODEL), stage_set=stage_set)
            record.stages(staging, np.ones(4), np.zeros((3, 4)))
            record.advance(CaseState.STAGED)
        return site

    return make


def test_a_model_without_a_nomogram_scores_nobody_and_says_so(staged):
    site = staged(a_manifest(nomogram=None))

    steps.nomogram(site, NIGHT, ["c1"])

    [shown] = night_cases(site, NIGHT)
    assert (shown.state, shown.supporting) == (CaseState.SCORED, None)
    assert Flag.NO_NOMOGRAM in shown.flags


def test_a_stage_outside_its_set_is_flagged(staged):
    """Vote and mean may differ, and the set is of the mean."""
    site = staged(a_manifest(nomogram=None), stage_set=StageSet(TStage.T1, TStage.T2, 0.9))

    steps.nomogram(site, NIGHT, ["c1"])

    [shown] = night_cases(site, NIGHT)
    assert (shown.t_stage, str(shown.stage_set)) == (TStage.T3, "T1-T2 (90%)")
    assert Flag.STAGE_OUTSIDE_SET in shown.flags


@pytest.mark.parametrize(
    ("primary", "answers"), [("network", (TStage.T3, TStage.T2)), ("nomogram", (TStage.T2, TStage.T3))]
)
def test_the_site_says_whose_answer_counts(staged, primary, answers):
    """Asked where a case is scored, and kept with it."""
    site = staged(a_manifest(nomogram=LOW), report=ReportConfig(primary=primary))

    steps.nomogram(site, NIGHT, ["c1"])

    [shown] = night_cases(site, NIGHT)
    assert (shown.t_stage, shown.supporting.t_stage) == answers
    assert str(shown.primary) == primary
    assert Flag.NOMOGRAM_DISAGREES in shown.flags
    replayed = answer_of(site.cases, "c1")
    assert (replayed.t_stage, replayed.primary) == (str(answers[0]), primary)


def test_nobody_else_can_give_the_answer():
    with pytest.raises(ConfigError, match=r"report\.primary is 'radiologist'; 'network' or 'nomogram'"):
        ReportConfig(primary="radiologist")


def test_a_replay_with_such_a_model_is_an_answer_too(staged):
    site = staged(a_manifest(nomogram=None))
    assert answer_of(site.cases, "c1") is None  # not yet

    steps.nomogram(site, NIGHT, ["c1"])

    answer = answer_of(site.cases, "c1")
    assert isinstance(site.cases, MemoryCases)
    assert answer is not None
    assert (answer.t_stage, answer.nomogram) == ("T3", None)
