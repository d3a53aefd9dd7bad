"""Who is operated depends on the stage, on what people saw, or on the model: worlds that the monitor does not know."""

from __future__ import annotations

import math
from datetime import timedelta

import attrs
import numpy as np
import pytest
from typer.testing import CliRunner

from gtr_batch.audit.labels import one_a_patient
from gtr_batch.audit.monitors.selection import (
    RECORDED,
    STAGE,
    chances_by_stage,
    chances_given_recorded,
    log_shift,
    tilted,
)
from gtr_batch.audit.monitors.stage_shift import watch_stage_shift
from gtr_batch.audit.verdict import answer
from gtr_batch.audit.weighting import weighted_accuracy
from gtr_batch.cli import app
from gtr_batch.config import AuditConfig
from gtr_batch.domain.audit import Classification
from gtr_batch.simulation.hospital.operated_study import AS_THEY_ARE, MONITOR, inputs_of, one_history, study
from gtr_batch.simulation.worlds.operated import SELECTIONS, OperatedWorld, draw_patients, months_to_days

MANY = {"months": 24, "staged_a_month": 600.0}


def _large(name: str, seed: int = 3):
    drawn = draw_patients(OperatedWorld(SELECTIONS[name], **MANY), seed)
    return drawn, drawn.reported >= 0, np.zeros(len(drawn.day), int)


def test_the_worlds_probabilities_mean_what_they_say():
    drawn, _, _ = _large("none")

    assert (
        np.abs(drawn.probabilities.mean(axis=0) - np.bincount(drawn.stage, minlength=4) / len(drawn.stage)).max()
        < 0.015
    )
    assert np.abs(log_shift(drawn.probabilities, drawn.stage, np.ones(len(drawn.stage)))).max() < 0.12


@pytest.mark.parametrize("name", ["none", "chemotherapy-first", "strong"])
def test_who_is_operated_by_the_stage_is_read_off_all_who_were_staged(name):
    drawn, labelled, band = _large(name)
    true = np.asarray(SELECTIONS[name].chances)

    found = chances_by_stage(drawn.probabilities, labelled, band)

    assert np.abs(found - true / true.max()).max() < 0.07


def test_a_shift_of_pathology_does_not_pass_for_a_choice_by_the_stage():
    """Everybody has the same chance: who is operated says nothing of the stage, however far pathology is off."""
    world = OperatedWorld(SELECTIONS["none"], odds_ratio=2.0, **MANY)
    drawn = draw_patients(world, 5)

    found = chances_by_stage(drawn.probabilities, drawn.reported >= 0, np.zeros(len(drawn.day), int))

    assert found.min() > 0.93


@pytest.mark.parametrize(("name", "least", "most"), [("by-cT", -2.0, -0.35), ("by-model", -0.15, 0.15)])
def test_a_choice_by_what_is_recorded_is_told_from_one_by_the_model(name, least, most):
    drawn, labelled, band = _large(name)

    found = chances_given_recorded(drawn.probabilities, drawn.stage, labelled, band, [drawn.cT, drawn.uT])

    assert least < found[3] - found[0] < most  # T4 against T1, logarithm


def test_a_calibrated_model_is_stopped_where_the_operated_are_taken_as_they_are_and_is_not_stopped_now():
    """Three of three histories before, none now: T3 and T4 go to chemotherapy first, and the model is right."""
    found = study("strong", OperatedWorld(SELECTIONS["strong"], labelled_a_month=45), 3, seed=11)

    assert found.false_alarms[AS_THEY_ARE] == 3
    assert found.false_alarms[MONITOR] == 0


def test_what_operated_patients_cannot_tell_is_said_with_what_would_tell():
    inputs = inputs_of(OperatedWorld(SELECTIONS["strong"], labelled_a_month=45), 11, AuditConfig(), reads=False)

    found = watch_stage_shift(inputs)

    assert (found.state, found.crossed_on) == ("cannot tell", None)
    assert found.sentence.startswith("Cannot tell from operated patients")
    assert "Needed to tell: cT and uT of every staged patient" in found.sentence
    assert "may hide an odds ratio of up to" in found.could_have_seen
    by_name = {one.assumption: one for one in found.detail.by_assumption}
    assert by_name[RECORDED].estimate.odds_ratio < 0.75  # nothing is recorded: the operated as they are
    assert 0.8 < by_name[STAGE].estimate.odds_ratio < 1.25
    word, reasons = answer([found], [], [], _tally(), n_labelled=400, minimum_labels=20, weekly=True)
    assert any("Cannot tell from operated patients" in reason for reason in reasons) or word == "cannot tell"


def _tally():
    from gtr_batch.audit.found.performance import Tally

    fields = {a.name: 100 for a in attrs.fields(Tally) if a.default is attrs.NOTHING}
    return Tally(**fields)


@pytest.mark.parametrize(("name", "odds_ratio"), [("none", 2.0), ("by-cT", 0.4), ("chemotherapy-first", 0.4)])
def test_a_shift_that_the_choice_does_not_hide_is_found(name, odds_ratio):
    begins = months_to_days(4)
    world = OperatedWorld(SELECTIONS[name], months=16, labelled_a_month=54, odds_ratio=odds_ratio, begins=begins)

    found = one_history(world, 21, AuditConfig(horizon_months=16), True)

    assert begins < found.crossed[MONITOR] < math.inf


def test_the_path_of_an_earlier_audit_is_the_beginning_of_a_later_ones():
    """A choice that changes in mid-year is followed from what was known at the time, and from nothing later."""
    later = inputs_of(OperatedWorld(SELECTIONS["changing"], months=12), 4, AuditConfig())
    on = later.last - timedelta(days=70)
    earlier = attrs.evolve(later, first=on - timedelta(days=6), last=on, as_of=on)

    short, long = watch_stage_shift(earlier), watch_stage_shift(later)

    assert len(short.path) > 50
    assert [(d, round(v, 9)) for d, v, _ in short.path] == [
        (d, round(v, 9)) for d, v, _ in long.path[: len(short.path)]
    ]


def test_before_it_is_known_who_is_operated_the_monitor_cannot_tell():
    young = inputs_of(OperatedWorld(SELECTIONS["strong"], months=2), 1, AuditConfig())

    found = watch_stage_shift(young)

    assert found.state == "cannot tell"
    assert "too few to say who is operated" in found.sentence


@pytest.mark.parametrize("name", ["by-cT", "by-uT"])
def test_weighting_by_cT_and_uT_comes_nearer_to_all_who_were_staged(name):
    """In eight histories together; without the two, weighting was as far off as the operated as they are."""
    off = {True: [], False: []}
    for seed in range(8):
        world = OperatedWorld(SELECTIONS[name], months=24)
        drawn = draw_patients(world, seed)
        true = float((drawn.probabilities.argmax(axis=1) == drawn.stage).mean())
        for reads in (True, False):
            inputs = inputs_of(world, seed, AuditConfig(), reads=reads)
            chosen = one_a_patient(inputs.cases, inputs.as_of)
            found = weighted_accuracy(chosen, inputs.as_of, Classification.PT, wait_days=120, draws=0, seed=1)
            off[reads].append(found.accuracy - true)

    assert abs(np.mean(off[True])) < 0.5 * abs(np.mean(off[False]))


def test_probabilities_of_the_operated_are_those_of_all_where_everybody_has_the_same_chance():
    p = np.array([[0.1, 0.2, 0.3, 0.4]])

    assert tilted(p, np.full(4, -0.7)) == pytest.approx(p)
    assert tilted(p, np.log([1.0, 1.0, 1.0, 0.5])) == pytest.approx(np.array([[0.1, 0.2, 0.3, 0.2]]) / 0.8)


def test_the_command_prints_both_and_refuses_what_these_worlds_do_not_have():
    arguments = ["audit", "simulate", "--months", "6", "--runs", "1", "--processes", "1", "--world"]
    printed = CliRunner().invoke(app, [*arguments, "by-cT"], env={"COLUMNS": "200"})
    refused = CliRunner().invoke(app, [*arguments, "by-cT", "--shift", "scanner"])
    unknown = CliRunner().invoke(app, [*arguments, "by-night"])

    assert printed.exit_code == 0
    assert "by-cT" in printed.output
    assert refused.exit_code != 0
    assert "by-night" in unknown.output and unknown.exit_code != 0
