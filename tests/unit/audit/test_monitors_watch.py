"""What the monitors say of whole histories: quiet, alarm, or cannot tell, always with a sentence."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta

import attrs
import numpy as np
import pytest

from gtr_batch.audit.alarms import alarms_in
from gtr_batch.audit.labels import labelled
from gtr_batch.audit.monitors import MONITORS, watch
from gtr_batch.audit.monitors.stage_shift import pathology_of
from gtr_batch.audit.monitors.watched import Watched
from gtr_batch.config import AuditConfig
from gtr_batch.domain.audit import Classification, Surgery
from gtr_batch.domain.audit_json import from_json
from gtr_batch.domain.audit_run import AlarmLevel, AuditInputs
from gtr_batch.domain.reference import Reference
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import ConfigError
from gtr_batch.simulation.hospital.months import FIRST, Months, Shift, inputs_of

MONTHS = Months(months=10, per_month=60, at=5, seed=41)


def _watched(inputs):
    return {w.name: w for w in watch(inputs)}


def _alarms(inputs):
    return alarms_in(watch(inputs), inputs.model_version)


def _ending(inputs: AuditInputs, last: date) -> AuditInputs:
    """The same history, audited earlier."""
    return attrs.evolve(inputs, first=last - timedelta(days=6), last=last, as_of=last)


@pytest.fixture(scope="module")
def calm():
    return inputs_of(MONTHS)


@pytest.fixture(scope="module")
def replaced():
    return inputs_of(attrs.evolve(MONTHS, shift=Shift("scanner", 1.0)))


def test_monitors_come_in_the_order_of_the_settings_and_the_promise_last(calm):
    assert tuple(AuditConfig().shares) == MONITORS
    assert [w.name for w in watch(calm)] == [*MONITORS, "confidence"]


def test_a_calm_history_is_quiet(calm):
    assert {w.state for w in watch(calm)} == {"quiet"}
    assert _alarms(calm) == []


def test_few_calm_histories_alarm():
    """Ten months of eight histories: of a budget of 5% in 24 months not one alarm is due, two would be a scandal."""
    crossed = [
        w.name for seed in range(8) for w in watch(inputs_of(attrs.evolve(MONTHS, seed=900 + seed))) if w.crossed_on
    ]

    assert len(crossed) <= 1


def test_weeks_that_repeat_the_baseline_show_no_drift(calm):
    """Every patient of the first eight weeks comes once more: nothing is commoner than it was."""
    day = timedelta(days=56)
    before = [c for c in calm.cases if c.night < FIRST + day]
    again = [
        attrs.evolve(c, case_id=f"again{c.case_id}", subject=f"again{c.subject}", night=c.night + day) for c in before
    ]
    inputs = _ending(attrs.evolve(calm, cases=tuple(before + again)), FIRST + 2 * day - timedelta(days=1))

    watched = _watched(inputs)

    assert {watched[n].state for n in MONITORS[1:]} == {"quiet"}


def test_a_new_scanner_is_found_in_the_week_it_comes(replaced):
    begins = attrs.evolve(MONTHS, shift=Shift("scanner", 1.0)).shifts_on

    headers = _watched(replaced)["headers"]

    assert headers.state == "alarm"
    assert begins <= headers.crossed_on <= begins + timedelta(days=6)
    assert "GE MEDICAL SYSTEMS" in headers.sentence or "Revolution" in headers.sentence


def test_the_audit_of_that_very_week_finds_it_too(replaced):
    begins = attrs.evolve(MONTHS, shift=Shift("scanner", 1.0)).shifts_on

    before = _watched(_ending(replaced, begins - timedelta(days=1)))["headers"]
    after = _watched(_ending(replaced, begins + timedelta(days=6)))["headers"]

    assert (before.state, after.state) == ("quiet", "alarm")


def test_headers_say_the_shares_of_comparison_and_period(replaced):
    readings = _watched(replaced)["headers"].detail.readings

    assert readings["model"].comparison.shares.keys() == {"Aquilion", "Brilliance 64", "Ingenuity CT"}
    assert readings["model"].period.shares == {"Revolution CT": 1.0}


def test_a_monitor_that_watches_anew_after_the_new_scanner_is_quiet_again(replaced):
    """Who accepted the scanner is not told of it every week, whatever the artefact's reference says."""
    begins = attrs.evolve(MONTHS, shift=Shift("scanner", 1.0)).shifts_on

    referred = attrs.evolve(replaced, reference=inputs_of(attrs.evolve(MONTHS, reference=300)).reference)

    watched = _watched(attrs.evolve(referred, watching_since={"headers": begins, "output": FIRST}))["headers"]

    assert watched.since == begins
    assert watched.state == "quiet"


def test_a_horizon_that_begins_anew_accepts_nothing(referred):
    """After 24 months the budget begins anew, with the artefact's reference."""
    again = date(2022, 1, 1)
    model = attrs.evolve(referred.model, first_night=again)

    watched = _watched(attrs.evolve(referred, model=model, watching_since=dict.fromkeys(MONITORS, FIRST)))

    assert "the artefact's reference" in watched["headers"].sentence


def test_pathology_that_shifts_by_an_odds_ratio_of_two_is_a_stop():
    months = Months(months=14, per_month=60, at=3, seed=5, everyone=True, shift=Shift("or", 2.0))
    inputs = inputs_of(months)

    found = _watched(inputs)["stage_shift"]
    alarm = next(a for a in _alarms(inputs) if a.monitor == "stage_shift")

    assert found.state == "alarm"
    assert found.crossed_on > months.shifts_on
    assert "more advanced" in found.sentence
    assert (alarm.level, alarm.on, alarm.watching_since) == (AlarmLevel.STOP, found.crossed_on, FIRST)


def test_pathology_that_shifts_down_is_found_as_well():
    months = Months(months=14, per_month=60, at=3, seed=6, everyone=True, shift=Shift("or", 0.4))

    assert "less advanced" in _watched(inputs_of(months))["stage_shift"].sentence


@pytest.mark.parametrize(
    ("shift", "monitor"),
    [(Shift("refusals", 4.0), "refusals"), (Shift("features", 1.5), "features"), (Shift("quality", 2.0), "quality")],
)
def test_other_shifts_are_found_by_the_monitor_that_is_meant_to(shift, monitor):
    months = attrs.evolve(MONTHS, shift=shift)

    watched = _watched(inputs_of(months))

    assert watched[monitor].state == "alarm"
    assert watched[monitor].crossed_on >= months.shifts_on


def test_pathology_is_not_known_before_it_is_reported(calm):
    early = _ending(calm, FIRST + timedelta(days=90))
    later = attrs.evolve(early, as_of=FIRST + timedelta(days=150))

    assert _watched(early)["stage_shift"].detail.labelled < _watched(later)["stage_shift"].detail.labelled


def test_what_became_known_after_the_day_changes_nothing(calm):
    early = _ending(calm, FIRST + timedelta(days=150))
    from gtr_batch.domain.audit_run import known_by

    blind = attrs.evolve(early, cases=tuple(known_by(c, early.as_of) for c in early.cases if c.night <= early.last))

    assert [w.to_json() for w in watch(early)] == [w.to_json() for w in watch(blind)]


def test_the_path_of_an_earlier_audit_is_the_beginning_of_a_later_ones(replaced):
    """So a history that is watched once, at its end, tells what every weekly run would have said."""
    early, late = _watched(_ending(replaced, FIRST + timedelta(days=181))), _watched(replaced)

    for name in MONITORS[1:]:
        path = early[name].path
        assert len(path) > 10
        assert path == late[name].path[: len(path)]


def test_the_order_of_rows_does_not_matter(replaced):
    shuffled = list(replaced.cases)
    random.Random(3).shuffle(shuffled)

    found = [w.to_json() for w in watch(attrs.evolve(replaced, cases=tuple(shuffled)))]

    assert found == [w.to_json() for w in watch(replaced)]


def test_inputs_read_back_from_their_file_give_the_same(replaced):
    once = AuditInputs.from_content(replaced.content())

    assert [w.to_json() for w in watch(once)] == [w.to_json() for w in watch(replaced)]


def test_what_a_monitor_says_comes_back_from_the_json_of_a_report(replaced, calm):
    for inputs in (replaced, calm, attrs.evolve(calm, cases=())):
        for watched in watch(inputs):
            told = json.loads(json.dumps(watched.to_json()))

            assert from_json(told, Watched).to_json() == told


def test_a_patient_with_two_cases_before_the_operation_counts_once(calm):
    labelled = _watched(calm)["stage_shift"].detail.labelled
    twins = [attrs.evolve(c, case_id=f"x{c.case_id}") for c in calm.cases]

    both = attrs.evolve(calm, cases=calm.cases + tuple(twins))

    assert _watched(both)["stage_shift"].detail.labelled == labelled


def test_patients_with_a_pT_are_counted_as_in_the_rest_of_the_report(calm):
    """Also those who were operated twice: the first operation counts, once."""
    labels = labelled(calm.cases, calm.as_of).labels
    seen = pathology_of(calm.cases, calm.as_of).labels

    assert len(seen) == len(labels)
    assert np.bincount(seen, minlength=4).tolist() == np.bincount(labels, minlength=4).tolist()


def test_too_few_labels_cannot_tell_and_say_how_many():
    young = inputs_of(Months(months=2, per_month=20, seed=1))

    found = _watched(young)["stage_shift"]

    assert found.state == "cannot tell"
    assert "fewer than 20" in found.sentence
    assert found.path == ()


def test_pathology_after_chemotherapy_does_not_count(calm):
    def treated(case):
        return (
            case
            if case.surgery is None
            else attrs.evolve(case, surgery=attrs.evolve(case.surgery, classification=Classification.YPT))
        )

    assert _watched(attrs.evolve(calm, cases=tuple(map(treated, calm.cases))))["stage_shift"].state == "cannot tell"


def test_a_period_without_cases_cannot_tell(calm):
    watched = {w.name: w for w in watch(attrs.evolve(calm, cases=()))}

    assert {w.state for w in watched.values()} == {"cannot tell"}
    assert watched.pop("stage_shift").sentence.startswith("0 patients with a pT reported by ")
    assert watched.pop("confidence").sentence == "No case was staged in this period: no probabilities to ask."
    assert {w.sentence for w in watched.values()} == {"What it looks at is not known of any case."}


def test_too_little_to_compare_with_is_said(calm):
    found = _watched(_ending(calm, FIRST + timedelta(days=27)))["headers"]

    assert found.state == "cannot tell"
    assert "Nothing to compare with yet" in found.sentence


def test_a_share_of_nothing_turns_a_monitor_off(calm):
    settings = attrs.evolve(calm.settings, share_headers=0.0, share_output=0.25)

    assert _watched(attrs.evolve(calm, settings=settings))["headers"].state == "off"


@pytest.mark.parametrize(("odds_ratio", "tolerated"), [(2.0, 1.5), (2.0, 0.9), (0.5, 1.0)])
def test_a_tolerance_on_which_the_cusum_would_climb_is_refused(odds_ratio, tolerated):
    with pytest.raises(ConfigError, match="tolerated_odds_ratio"):
        AuditConfig(odds_ratio=odds_ratio, tolerated_odds_ratio=tolerated)


def test_pathology_of_one_class_only_is_judged_without_a_traceback(calm):
    def all_t4(case):
        surgery = Surgery(case.night + timedelta(9), case.night + timedelta(20), Classification.PT, "T4a", TStage.T4)
        return case if case.t_stage is None else attrs.evolve(case, surgery=surgery)

    found = _watched(attrs.evolve(calm, cases=tuple(map(all_t4, calm.cases))))["stage_shift"]

    assert found.state == "alarm"
    _finite(found.to_json())


def test_missing_facts_and_features_are_no_traceback(calm):
    def bare(case):
        return attrs.evolve(case, facts={}, features=None)

    watched = _watched(attrs.evolve(calm, cases=tuple(map(bare, calm.cases))))

    assert {watched[n].state for n in ("headers", "quality", "features")} == {"cannot tell"}


def test_a_fact_that_stops_coming_is_an_alarm(calm):
    def without(case):
        late = case.night > FIRST + timedelta(days=120) and case.facts
        return attrs.evolve(case, facts={**case.facts, "aorta_hu": None}) if late else case

    found = _watched(attrs.evolve(calm, cases=tuple(map(without, calm.cases))))["quality"]

    assert found.state == "alarm"
    assert "not measured" in found.sentence


def test_features_of_two_sizes_are_no_traceback(calm):
    cases = tuple(
        attrs.evolve(c, features=(1.0, 2.0)) if c.features and k < 40 else c for k, c in enumerate(calm.cases)
    )

    assert _watched(attrs.evolve(calm, cases=cases))["features"].state in ("quiet", "cannot tell")


def _finite(value):
    json.dumps(value, allow_nan=False)


def test_no_answer_holds_a_number_that_is_none(calm, replaced):
    for inputs in (calm, replaced, attrs.evolve(calm, cases=())):
        for watched in watch(inputs):
            _finite(watched.to_json())
            assert "nan" not in watched.sentence.lower().split()
            assert watched.could_have_seen


@pytest.fixture(scope="module")
def referred():
    return inputs_of(attrs.evolve(MONTHS, reference=300))


def test_the_artefacts_reference_is_what_weeks_are_compared_with(referred):
    watched = _watched(referred)

    assert "the artefact's reference" in watched["headers"].sentence
    assert watched["headers"].path[0][0] == FIRST + timedelta(days=6)
    assert {w.state for w in watched.values()} == {"quiet"}


def test_features_are_compared_with_the_references_patients_that_were_held_out(referred):
    found = _watched(referred)["features"]

    assert "the artefact's reference" in found.sentence
    assert found.path[0][0] == FIRST + timedelta(days=6)


def test_features_are_not_compared_with_patients_that_made_the_directions(referred):
    """Along these they spread wider than new patients: it would alarm for nothing. Old artefacts hold such a sample."""
    old = attrs.evolve(referred.reference, features=attrs.evolve(referred.reference.features, held_out=False))

    found = _watched(attrs.evolve(referred, reference=old))["features"]

    assert "the artefact's reference" not in found.sentence
    assert found.detail.readings["directions"].period.mean is not None


def test_a_reference_that_is_too_small_is_left_aside(referred):
    small = attrs.evolve(referred.reference, n=12)

    assert "reference" not in _watched(attrs.evolve(referred, reference=small))["headers"].sentence


@pytest.mark.parametrize(
    "reference",
    [None, {"n": "many"}, {"n": True}, {"n": 300}, {"n": 300, "headers": None, "features": {"mean": []}, "levels": 5}],
)
def test_a_reference_that_is_broken_is_no_traceback(calm, reference):
    assert {w.state for w in watch(attrs.evolve(calm, reference=Reference.read(reference)))} == {"quiet"}


def test_the_promise_of_the_probabilities_is_their_mean(calm):
    staged = [c for c in calm.cases if c.t_stage and calm.first <= c.night <= calm.last]

    found = _watched(calm)["confidence"]

    assert found.value == pytest.approx(np.mean([c.probabilities[c.t_stage] for c in staged]))
    assert "Assumes no concept drift" in found.sentence


def test_more_cases_without_a_stage_are_an_alarm(calm):
    """From the fifth month on the model gives every fourth case no stage, as it would for images of another kind."""
    since = FIRST + timedelta(days=150)

    def unlike(k, case):
        if case.t_stage is None or case.night < since or k % 4:
            return case
        return attrs.evolve(case, t_stage=None, probabilities=None, nomogram=None, not_staged="unlike_reference")

    changed = attrs.evolve(calm, cases=tuple(unlike(k, c) for k, c in enumerate(calm.cases)))

    found = _watched(changed)["refusals"]

    assert found.state == "alarm"
    assert found.crossed_on >= since
    assert _watched(calm)["refusals"].state == "quiet"
