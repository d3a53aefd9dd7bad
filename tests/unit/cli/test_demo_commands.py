"""The demos' own code: how one starts, ends, judges and tells, without a server and without Airflow."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path

import pytest
import typer
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from gtr_batch.cli import demo_start
from gtr_batch.cli.demo_start import TaskProgress, end, play, start_hospital
from gtr_batch.cli.demo_training import in_words
from gtr_batch.cli.main import app
from gtr_batch.domain.gate import HoldoutEvaluation
from gtr_batch.errors import ConfigError
from gtr_batch.simulation.demos import demo as demo_module
from gtr_batch.simulation.demos.story import Story
from gtr_batch.simulation.demos.training import Outcome


@pytest.fixture
def stopped(monkeypatch) -> list[Path]:
    """Folders whose demo was stopped."""
    folders: list[Path] = []

    def stop(folder: Path) -> int:
        folders.append(folder)
        return 0

    monkeypatch.setattr(demo_module, "stop", stop)
    return folders


@pytest.fixture
def told(monkeypatch) -> io.StringIO:
    """What the demos print, on both streams."""
    stream = io.StringIO()
    for name in ("out", "err"):
        monkeypatch.setattr(demo_start, name, Console(file=stream, width=200, soft_wrap=True))
    return stream


@pytest.mark.parametrize(("right", "code"), [(True, 0), (False, 1)])
def test_a_demo_stops_what_it_started_and_its_exit_code_is_its_verdict(stopped, tmp_path, right, code):
    with pytest.raises(typer.Exit) as ended:
        play(tmp_path, lambda folder: right)

    assert ended.value.exit_code == code
    assert stopped == [tmp_path.resolve()]


def test_a_demo_that_breaks_down_is_stopped_and_tells_its_error(stopped, tmp_path):
    def act(folder: Path) -> bool:
        raise ConfigError("no port")

    with pytest.raises(ConfigError, match="no port"):
        play(tmp_path, act, stay=lambda folder: None)

    assert stopped == [tmp_path.resolve()]


@pytest.mark.parametrize(("right", "code"), [(True, 0), (False, 1)])
def test_a_demo_that_shall_stay_up_says_where_it_is_whatever_its_verdict(stopped, tmp_path, right, code):
    shown = []

    with pytest.raises(typer.Exit) as ended:
        play(tmp_path, lambda folder: right, stay=shown.append)

    assert ended.value.exit_code == code
    assert shown == [tmp_path.resolve()]
    assert stopped == []


class Recorded:
    """A demo that writes down what is asked of it."""

    def __init__(self, folder: Path, artefact: Path) -> None:
        self.folder, self.artefact, self.asked = folder, artefact, []

    def clear(self) -> None:
        self.asked.append("clear")

    def start_database(self, settings: str) -> None:
        self.asked.append(f"database {settings}")

    def prepare_airflow(self) -> None:
        self.asked.append("prepare airflow")

    def start_airflow(self) -> None:
        self.asked.append("start airflow")

    def start_pacs(self, progress) -> None:
        progress(1, 2)
        self.asked.append("pacs")

    def wait_for_airflow(self) -> None:
        self.asked.append("wait")


@pytest.mark.parametrize(("pacs", "filled"), [("to the PACS", ["pacs"]), ("", [])])
def test_the_hospital_comes_up_in_order_and_patients_are_made_while_airflow_starts(
    monkeypatch, told, tmp_path, pacs, filled
):
    monkeypatch.setattr(demo_module, "Demo", Recorded)

    demo = start_hospital(tmp_path, lambda d: d.asked.append("admit"), settings='f = "{folder}/x"', pacs=pacs)

    begun = ["clear", f'database f = "{tmp_path}/x"', "prepare airflow", "start airflow", "admit"]
    assert demo.asked == [*begun, *filled, "wait"]
    assert demo.artefact == demo_module.ARTEFACT
    assert re.search(r"PostgreSQL and its schema: \d+\.\d s", told.getvalue())


def test_a_model_that_is_named_stages_the_demo(monkeypatch, told, tmp_path):
    monkeypatch.setattr(demo_module, "Demo", Recorded)

    assert start_hospital(tmp_path, lambda d: None, artefact=tmp_path / "mine").artefact == tmp_path / "mine"


def test_a_story_ends_with_what_happened_what_is_wrong_and_the_verdict(told):
    story = Story()
    story.say("gate: [pass]")
    story.need(True, "the card is there")
    story.need(False, "the worse one is the champion")

    right = end(time.monotonic() - 125, not story.wrong, "all well", "NOT all well", story)

    assert right is False
    assert told.getvalue().splitlines() == [
        "gate: [pass]",
        "the card is there",
        "not as it should be: NOT: the worse one is the champion",
        "NOT all well; 2 min 5 s",
    ]


def test_each_task_is_told_once_when_it_ends():
    stream = io.StringIO()
    with Progress(console=Console(file=stream, width=200)) as bar:
        progress = TaskProgress(bar, "nightly_staging")
        running = {"task_id": "stage", "map_index": 0, "state": "running", "duration": None}
        ended = {"task_id": "stage", "map_index": 0, "state": "success", "duration": 1.26}
        closed = {"task_id": "close_night", "map_index": -1, "state": "failed", "duration": 0.04}
        for instances in ([running], [ended], [ended, closed], [ended, closed]):
            progress(instances)

    lines = [line.strip() for line in stream.getvalue().splitlines() if ": success" in line or ": failed" in line]
    assert lines == ["stage shard 1: success 1.3 s", "close_night: failed 0.0 s"]


def test_where_says_that_no_demo_is_up(tmp_path):
    done = CliRunner().invoke(app, ["demo", "where", "--folder", str(tmp_path)])

    assert done.exit_code == 1
    assert "no demo is up" in done.stderr.replace("\n", " ")


def test_where_tells_address_password_and_what_to_try(monkeypatch, tmp_path):
    (tmp_path / "airflow").mkdir()
    (tmp_path / "airflow" / "passwords.json").write_text(json.dumps({"admin": "s3cret", "approver": "0ther"}))
    (tmp_path / "started.json").write_text(json.dumps({"url": "http://127.0.0.1:8080"}))
    monkeypatch.setattr(demo_module, "running", lambda folder: True)

    done = CliRunner().invoke(app, ["demo", "where", "--folder", str(tmp_path)])

    assert done.exit_code == 0
    assert "http://127.0.0.1:8080  user admin, password s3cret" in done.stdout
    assert "user approver, password 0ther" in done.stdout
    assert f"GTR_CONFIG={tmp_path / 'gtr.toml'}" in done.stdout


@pytest.mark.parametrize("command", ["run", "up", "training", "retraining", "audit"])
def test_a_second_demo_in_a_folder_is_refused_with_exit_code_3(monkeypatch, stopped, tmp_path, command):
    monkeypatch.setattr(demo_module, "running", lambda folder: True)

    done = CliRunner().invoke(app, ["demo", command, "--folder", str(tmp_path)])

    assert done.exit_code == 3
    assert "a demo is up" in done.stderr


def holdout(trained: tuple[float, float], untrained: tuple[float, float]) -> HoldoutEvaluation:
    """A sealed holdout of forty patients, with these intervals of the two accuracies."""
    return HoldoutEvaluation(
        cohort="v" * 64,
        model_version="c" * 64,
        opened_by="Ada",
        why="a test",
        n=40,
        unreadable=0,
        origins={"cache": 40},
        accuracy=0.8,
        accuracy_ci=trained,
        untrained_accuracy=0.25,
        untrained_ci=untrained,
        quadratic_kappa=0.85,
        confusion=((10, 0, 0, 0),) * 4,
        auc={},
        auc_ci={},
        sensitivity={},
        specificity={},
        ppv={},
        npv={},
    )


@pytest.mark.parametrize(
    ("trained", "untrained", "better"),
    [((0.65, 0.90), (0.14, 0.40), True), ((0.30, 0.60), (0.14, 0.40), False), ((0.40, 0.60), (0.14, 0.40), False)],
)
def test_better_than_untrained_is_when_the_intervals_do_not_meet(trained, untrained, better):
    judged = holdout(trained, untrained)
    found = Outcome("success", "c" * 64, "v" * 64, "r.html", judged)

    assert found.better is better
    assert f"  accuracy 0.800 ({trained[0]:.3f} to {trained[1]:.3f})" in in_words(found, judged)


def test_a_retraining_that_failed_is_not_better():
    assert not Outcome("failed", "", "", "", None).better
