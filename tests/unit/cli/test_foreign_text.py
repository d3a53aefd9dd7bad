"""Text of a foreign source on a terminal and on a page: shown, never obeyed."""

from __future__ import annotations

import ast
import io
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from typer.testing import CliRunner

import gtr_batch
from gtr_batch.cli.main import app
from gtr_batch.cli.shell import PrintableConsole, foreign
from gtr_batch.domain.printable import printable, printable_value
from gtr_batch.domain.series import StudyRecord

HOSTILE = [
    "[/bold]",
    "[red]CT[/red]",
    "CT \x1b[2J\x1b]0;title\x07abdomen",
    "CT \u202enemodba",
    "[",
    "\x9b31mCT",
    "a\rb",
]


def printed(*values: object) -> str:
    """What a console writes for these."""
    stream = io.StringIO()
    console = PrintableConsole(file=stream, width=200, force_terminal=False)
    for value in values:
        console.print(value, highlight=False)
    return stream.getvalue()


@given(st.text(st.characters(exclude_characters="\\\t")))
def test_a_foreign_text_is_shown_as_it_is_but_for_what_steers_a_terminal(text):
    shown = printed(foreign(text) + "|")

    assert shown.replace("\n", "") == printable(text).replace("\n", "") + "|"
    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}


@pytest.mark.parametrize("text", HOSTILE)
def test_even_a_text_that_nobody_escaped_neither_steers_the_terminal_nor_breaks_the_output(text):
    table = Table("study", box=None)
    table.add_row(text)

    shown = printed(text, table)

    assert not set(shown) & {"\x1b", "\x07", "\x9b", "\r", "\u202e"}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_study_description_is_listed_as_the_pacs_has_it(text, monkeypatch):
    study = StudyRecord("1.2.3", "", "ACC1", datetime(2026, 3, 1, 20), text, ("CT",))

    @contextmanager
    def site():
        yield SimpleNamespace(archive=SimpleNamespace(find_studies=lambda *window: [study]), config=None)

    monkeypatch.setattr("gtr_batch.wiring.open_site", site)
    monkeypatch.setattr("gtr_batch.night.night_window", lambda config, night: (night, night))

    answer = CliRunner().invoke(app, ["pacs", "find", "--night", "2026-03-01"])

    assert answer.exit_code == 0, answer.exception
    assert f"1.2.3  {printable(text)}" in answer.stdout


def test_a_page_shows_text_without_control_characters_and_leaves_its_own_markup():
    from markupsafe import Markup

    page = jinja2.Environment(autoescape=True, finalize=printable_value).from_string("{{ text }}{{ svg }}{{ n }}")

    assert page.render(text="<b>\x1b[31mCT\x00", svg=Markup("<svg/>"), n=3) == "&lt;b&gt;CT<svg/>3"


def test_every_page_of_ours_escapes_and_cleans_what_it_shows():
    calls = [
        node
        for path in Path(gtr_batch.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("jinja2.Environment")
    ]

    assert len(calls) >= 5
    for call in calls:
        given_as = {k.arg: ast.unparse(k.value) for k in call.keywords}
        assert (given_as.get("autoescape"), given_as.get("finalize")) == ("True", "printable_value")
