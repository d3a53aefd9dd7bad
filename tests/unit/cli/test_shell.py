"""What every command does with an error: a sentence as it was written, and the exit code that says whose turn it is."""

from __future__ import annotations

import io
from datetime import date

import pytest
import typer
from rich.console import Console

from gtr_batch.cli import shell
from gtr_batch.cli.table import show_night
from gtr_batch.domain.case import CaseState
from gtr_batch.domain.night_case import NightCase
from gtr_batch.domain.score import AnswerSource, StageAnswer
from gtr_batch.domain.staging import Flag, StageProbabilities, StageSet, TStage
from gtr_batch.errors import ConfigError, GovernanceRefused, InputRefused, NightFailed, PacsBusy


@pytest.fixture
def told(monkeypatch) -> io.StringIO:
    """What goes to standard error."""
    stream = io.StringIO()
    monkeypatch.setattr(shell, "err", Console(file=stream, width=200, soft_wrap=True))
    return stream


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NightFailed("3 of 4 cases failed [tolerated: 1]"), 1),
        (InputRefused("columns [p1, p2] are missing"), 2),
        (ConfigError("pip install 'gtr-batch[demo]'"), 3),
        (GovernanceRefused("shown was [/bold]"), 3),
        (PacsBusy("status 0xA700 [out of resources]"), 4),
    ],
)
def test_an_error_is_told_letter_by_letter_and_has_its_exit_code(told, error, code):
    """Words in square brackets are no formatting."""

    @shell.speaks_plainly
    def command() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        command()

    assert ended.value.exit_code == code
    assert str(error) in told.getvalue()


def test_a_fault_of_ours_keeps_its_traceback():
    @shell.speaks_plainly
    def command() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        command()


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "01.03.2026", ""])
def test_a_night_is_a_date(text):
    with pytest.raises(typer.BadParameter, match="YYYY-MM-DD"):
        shell.parse_night(text)


def test_no_night_is_none_and_a_date_is_that_evening():
    assert shell.parse_night(None) is None
    assert shell.parse_night("2026-03-02") == date(2026, 3, 2)


def test_the_set_of_likely_stages_is_shown():
    stream = io.StringIO()
    found = StageSet(TStage.T2, TStage.T3, 0.9)
    case = NightCase("a" * 36, "1.2", "", CaseState.STAGED, CaseState.STAGED, TStage.T3, stage_set=found)

    show_night(Console(file=stream, width=200), date(2026, 3, 2), [case])

    assert "T2-T3 (90%)" in stream.getvalue()
    assert case.to_json()["stage_set"] == "T2-T3 (90%)"


def test_the_answer_that_counts_is_shown_before_the_other():
    stream = io.StringIO()
    network = StageAnswer(AnswerSource.NETWORK, TStage.T3, StageProbabilities((0.0, 0.2, 0.7, 0.1)))
    case = NightCase(
        "a" * 36,
        "1.2",
        "",
        CaseState.SCORED,
        CaseState.SCORED,
        TStage.T2,
        StageProbabilities((0.1, 0.6, 0.2, 0.1)),
        primary=AnswerSource.NOMOGRAM,
        supporting=network,
    )

    show_night(Console(file=stream, width=200), date(2026, 3, 2), [case])

    [row] = [line for line in stream.getvalue().splitlines() if "aaaaaaaa" in line]
    assert row.index("T2 (nomogram)") < row.index("0.10 0.60 0.20 0.10") < row.index("network T3: 0.00 0.20 0.70 0.10")
    assert case.to_json()["supporting"] == {"source": "network", "t_stage": "T3", "probabilities": [0.0, 0.2, 0.7, 0.1]}


def test_a_model_without_a_nomogram_is_shown_as_such():
    stream = io.StringIO()
    case = NightCase("a" * 36, "1.2", "", CaseState.SCORED, CaseState.SCORED, flags=(Flag.NO_NOMOGRAM,))

    show_night(Console(file=stream, width=200), date(2026, 3, 2), [case])

    assert "not available" in stream.getvalue()


def test_the_reason_of_a_refusal_is_shown_letter_by_letter():
    stream = io.StringIO()
    case = NightCase(
        "a" * 36, "1.2", "", CaseState.REFUSED, CaseState.FOUND, reason="2 series [both unenhanced] remain"
    )

    show_night(Console(file=stream, width=200), date(2026, 3, 2), [case])

    assert "aaaaaaaa refused: 2 series [both unenhanced] remain" in stream.getvalue()
