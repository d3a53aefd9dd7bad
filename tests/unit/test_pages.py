"""What the pages name is there: commands with their options, settings with their values, make's targets."""

import re
import typing
from pathlib import Path

import attrs
import pytest
import typer

from gtr_batch.cli.main import app
from gtr_batch.config import Config

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*(REPOSITORY / "docs").rglob("*.md"), *REPOSITORY.glob("*.md"), REPOSITORY / "sql" / "README.md"])
PAGES += sorted((REPOSITORY / "dags").glob("*.py"))
SETTINGS = {a.name: {f.name for f in attrs.fields(typing.get_type_hints(Config)[a.name])} for a in attrs.fields(Config)}
SECTION = "|".join(SETTINGS)
EVENTS = {
    event
    for source in (REPOSITORY / "gtr_batch").rglob("*.py")
    for event in re.findall(r'\.(?:info|warning|error)\(\s*"([a-z_.]+)"', source.read_text(encoding="utf-8"))
}
# Names that stand in a page to say that they are gone.
GONE = {"database.reader_dsn", "night.retrieve_attempts", "governance.intercept_margin"}


def spans(page: Path) -> list[str]:
    """What stands between backticks, line breaks as blanks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", page.read_text(encoding="utf-8"))]


def not_known(words: list[str]) -> str:
    """What of a `gtr` command line is not there; empty where all of it is."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return words[0]
        command, words = command.commands[words[0]], words[1:]
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    return next((word for word in words if word.startswith("-") and word not in options), "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_names_is_one_and_has_these_options(page):
    lines = [re.sub(r"[\[\]…]", " ", span).split() for span in spans(page) if re.match(r"gtr \w", span)]

    assert {" ".join(words): missing for words in lines if (missing := not_known(words[1:]))} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_that_a_page_names_is_one(page):
    named = {m for span in spans(page) for m in re.findall(rf"^((?:{SECTION})\.[a-z_0-9]+)(?: = .*)?$", span)}

    settings = {name for name in named - GONE - EVENTS if not name.endswith((".json", ".html", ".pdf"))}

    assert {name for name in settings if name.split(".")[1] not in SETTINGS[name.split(".")[0]]} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_that_a_page_names_is_one(page):
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert {span for span in spans(page) if re.match(r"make [a-z]", span) and span.split()[1] not in targets} == set()


def test_a_command_that_is_not_there_is_noticed():
    assert not_known(["nigth", "--night", "D"]) == "nigth"
    assert not_known(["night", "--nihgt", "D"]) == "--nihgt"
    assert not_known(["model", "withdraw", "V", "--successor", "W"]) == ""
