"""What the demos hold against what they promise: sentences for what is so, and for what is not."""

from __future__ import annotations

import importlib
import pkgutil
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from math import comb
from types import SimpleNamespace
from typing import Any

import pytest

import gtr_batch.simulation
from gtr_batch.domain.audit_run import AuditKind
from gtr_batch.domain.case import CaseState
from gtr_batch.domain.gate import GateCriterion, Verdict
from gtr_batch.domain.night_case import NightCase
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import PermanentError
from gtr_batch.simulation.demos import audit as demo_audit
from gtr_batch.simulation.demos import demo as demo_module
from gtr_batch.simulation.demos import governance, history
from gtr_batch.simulation.demos.demo import Demo
from gtr_batch.simulation.demos.story import Story
from gtr_batch.simulation.hospital.audited_year import AuditedYear, patients_of
from gtr_batch.simulation.hospital.year import Operated

YEAR = AuditedYear()


def modules() -> list[str]:
    return [m.name for m in pkgutil.walk_packages(gtr_batch.simulation.__path__, "gtr_batch.simulation.")]


@pytest.mark.parametrize("name", modules())
def test_every_module_of_the_simulation_imports(name):
    assert importlib.import_module(name).__doc__


class Scheduler:
    """Airflow as the demo asks it: each look at the run gives the next state; what is sent to it is kept."""

    url = "http://127.0.0.1:1"

    def __init__(self, *looks: tuple[str, list[dict[str, Any]]]) -> None:
        self.looks, self.sent, self.triggered = list(looks), [], []

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        self.triggered.append((dag_id, dict(conf)))
        return "run-1"

    def run_state(self, dag_id: str, run_id: str) -> str:
        return self.looks[0][0]

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return self.looks.pop(0)[1] if len(self.looks) > 1 else self.looks[0][1]

    def api(self, method: str, path: str, body: Mapping[str, Any], user: str) -> None:
        assert user == "approver"  # not who started the run
        self.sent.append((method, path, dict(body)))


@pytest.fixture
def demo(tmp_path, monkeypatch) -> Callable[..., Demo]:
    """A function that makes a demo whose scheduler gives these looks, and for which no time passes."""
    clock = SimpleNamespace(now=0.0)

    def sleep(seconds: float) -> None:
        clock.now += seconds

    for module in (demo_module, governance):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=sleep))

    def make(*looks: tuple[str, list[dict[str, Any]]]) -> Demo:
        made = Demo(tmp_path)
        made.stack = Scheduler(*looks)
        return made

    return make


def task(name: str, state: str, number: int = 1) -> dict[str, Any]:
    return {"task_id": name, "state": state, "map_index": -1, "try_number": number}


@pytest.mark.parametrize("state", ["success", "failed"])
def test_a_run_is_waited_for_and_its_tasks_are_told(demo, state):
    running, ended = [task("stage", "running")], [task("stage", state)]
    seen = []

    found = demo(("running", running), (state, ended)).run("nightly_staging", {}, seen.append, timeout_s=60)

    assert found == state
    assert seen == [running, ended]


def test_a_run_is_left_alone_once_its_last_task_of_interest_is_done(demo):
    looks = (("running", [task("card", "running")]), ("running", [task("card", "success")]))

    assert demo(*looks).run("retraining", {}, lambda tasks: None, timeout_s=60, last="card") == "success"


def test_a_run_that_does_not_end_says_where_to_look(demo):
    with pytest.raises(PermanentError, match="retraining did not end within 60 s; see http"):
        demo(("running", [])).run("retraining", {}, lambda tasks: None, timeout_s=60)


def test_a_question_is_answered_once_after_a_person_has_looked(demo):
    waiting = ("running", [task("approve", "awaiting_input")])
    made, meanwhile = demo(("running", []), *[waiting] * 8, ("success", [task("approve", "success")])), []

    state = governance.run_with_approval(
        made, "retraining", {}, lambda tasks: None, meanwhile=lambda: meanwhile.append(1), timeout_s=60
    )

    assert state == "success"
    assert meanwhile == [1]
    ((method, path, body),) = made.stack.sent
    assert (method, body["chosen_options"]) == ("PATCH", ["Approve"])
    assert path == "dags/retraining/dagRuns/run-1/taskInstances/approve/-1/hitlDetails"


def test_a_question_that_is_asked_again_is_answered_again_and_thought_over_once(demo):
    first = ("running", [task("approve", "awaiting_input", 1)])
    second = ("running", [task("approve", "awaiting_input", 2)])
    made, meanwhile = demo(*[first] * 6, ("running", []), *[second] * 6, ("failed", [])), []

    state = governance.run_with_approval(
        made, "restage", {}, lambda tasks: None, meanwhile=lambda: meanwhile.append(1), timeout_s=60
    )

    assert state == "failed"
    assert meanwhile == [1]
    assert len(made.stack.sent) == 2


def test_an_approval_that_nobody_asks_for_ends_with_the_time(demo):
    with pytest.raises(PermanentError, match="did not end"):
        governance.run_with_approval(
            demo(("running", [])), "restage", {}, lambda tasks: None, meanwhile=lambda: None, timeout_s=10
        )


def test_agreement_counts_simulated_patients_and_names_the_others(tmp_path):
    demo = Demo(tmp_path)
    demo.patients = [SimpleNamespace(study_uid=uid, true_stage=TStage.T2) for uid in ("1.1", "1.2", "1.3")]
    cases = [
        NightCase(name * 36, uid, "1.2.3", CaseState.COMMITTED, CaseState.COMMITTED, t_stage)
        for name, uid, t_stage in (
            ("a", "1.1", TStage.T2), ("b", "1.2", TStage.T3), ("c", "1.3", None), ("d", "9.9", TStage.T1)
        )
    ]  # fmt: skip

    assert demo.agreement(cases) == "1 of 2 simulated patients staged as they were made; bbbbbbbb was made T2"


@pytest.mark.parametrize(("verdict", "wrong"), [("pass", []), ("fail", ["NOT: gate: fail. accuracy is lower by 0.2"])])
def test_the_gate_is_told_with_its_criteria_and_power(verdict, wrong):
    story = Story()
    judged = SimpleNamespace(
        verdict=Verdict(verdict),
        sentence="accuracy is lower by 0.2",
        criteria=(GateCriterion("accuracy", Verdict(verdict), "accuracy"),),
        power=SimpleNamespace(sentence="40 patients"),
    )

    governance._show_gate(story, judged, "pass")

    assert story.wrong == wrong
    assert story.lines[-1] == "  40 patients"


def test_the_weeks_before_the_demo_have_enough_patients_for_the_monitors_to_see_the_new_scanner():
    audit = tomllib.loads(f"[night]\n{history.SETTINGS}")["audit"]
    staged = Counter(
        (one.night - history.WEEKS.first).days // 7 for one in patients_of(history.WEEKS) if isinstance(one, Operated)
    )
    learnt = (history.WEEKS.scanner_on - history.WEEKS.first).days // 7

    assert history.WEEKS.first.isoweekday() == history.WEEKS.scanner_on.isoweekday() == 1
    assert learnt == audit["baseline_weeks"]
    assert min(staged[week] for week in range(learnt)) >= audit["minimum_cases"]
    assert 1 / comb(sum(staged[week] for week in range(learnt)) + staged[learnt], staged[learnt]) < 2e-6


# The audited year


def alarm(monitor: str, night: date) -> SimpleNamespace:
    return SimpleNamespace(monitor=monitor, night=night, sentence=f"{monitor} crossed")


@pytest.fixture
def found(monkeypatch) -> SimpleNamespace:
    """What the audits found, as a test sets it."""
    kept = SimpleNamespace(alarms=[], runs=[])
    monkeypatch.setattr(demo_audit, "alarms", lambda *, only_open=False: kept.alarms)
    monkeypatch.setattr(demo_audit, "runs", lambda: kept.runs)
    return kept


def test_a_scanner_that_is_found_in_its_week_is_as_it_should_be(found):
    found.alarms = [alarm("headers", YEAR.scanner_on + timedelta(days=1))]
    story = Story()

    demo_audit.show_weeks(story, YEAR)

    assert story.wrong == []
    assert "headers crossed" in story.lines[-1]


@pytest.mark.parametrize(
    ("alarms", "wrong"),
    [
        ([], 1),
        ([alarm("headers", YEAR.scanner_on + timedelta(days=7))], 1),
        ([alarm("headers", YEAR.scanner_on), alarm("output", YEAR.scanner_on - timedelta(days=30))], 1),
        ([alarm("headers", YEAR.scanner_on - timedelta(days=1))], 2),
    ],
)
def test_a_scanner_that_is_missed_or_found_too_soon_is_wrong(found, alarms, wrong):
    found.alarms = alarms
    story = Story()

    demo_audit.show_weeks(story, YEAR)

    assert len(story.wrong) == wrong


def run_of(month: str, answer: str) -> SimpleNamespace:
    return SimpleNamespace(kind=AuditKind.MONTH, period=month, answer=answer, run_id="r" * 64)


AFTER = f"{YEAR.shift_on + timedelta(days=45):%Y-%m}"


@pytest.mark.parametrize(
    ("runs", "shift_on", "states", "wrong"),
    [
        ([run_of("2025-08", "yes"), run_of(AFTER, "stop")], YEAR.shift_on, {"2025-08": "success", AFTER: "success"}, 0),
        ([run_of("2025-08", "yes"), run_of(AFTER, "stop")], YEAR.shift_on, {"2025-08": "failed"}, 1),
        ([run_of(AFTER, "stop")], YEAR.shift_on, {"2025-08": "success"}, 1),
        ([run_of("2025-08", "stop"), run_of(AFTER, "stop")], YEAR.shift_on, {}, 1),
        ([run_of(AFTER, "look")], YEAR.shift_on, {}, 1),
        ([run_of(AFTER, "stop")], YEAR.shift_on - timedelta(days=1), {}, 1),
    ],
)
def test_the_shift_must_be_found_after_it_begins_and_by_audits_that_ran(found, runs, shift_on, states, wrong):
    found.runs, found.alarms = runs, [alarm("stage_shift", shift_on)]
    story = Story()

    demo_audit.show_months(story, YEAR, states)

    assert len(story.wrong) == wrong


@pytest.mark.parametrize(
    ("pages", "wrong"),
    [
        ({"report.html": b"<p>T3</p>"}, 0),
        ({"report.html": b"<p>Phantom^Ada</p>"}, 1),
        ({"report.pdf": b"SIM-1"}, 1),
        ({}, 1),
    ],
)
def test_a_report_that_names_a_patient_is_wrong_and_so_is_no_report(tmp_path, pages, wrong):
    for name, body in pages.items():
        (tmp_path / name).write_bytes(body)
    story = Story()

    demo_audit.without_phi(tmp_path, story)

    assert len(story.wrong) == wrong
