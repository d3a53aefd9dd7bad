"""The page of the architecture: who wants to change something finds the files, at most three, and they are there."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
CHANGES = (
    "a refusal code",
    "a header that validation checks",
    "a header that the audit watches",
    "a monitor",
    "a column of the worklist",
    "the vote rule",
    "a flag",
    "a reason why a case gets no stage",
    "a setting",
    "a chapter of the audit",
    "a fact on the model card, and the item of CLAIM that it answers",
    "a page of the console, or who may see it",
    "what is decided on a page of the console",
    "a command",
    "a message to another system",
)


PAGES = sorted([*(REPOSITORY / "docs").rglob("*.md"), REPOSITORY / "README.md", REPOSITORY / "sql" / "README.md"])
OURS = r"`((?:gtr_batch|dags|plugins|sql|tests|docs|docker)/[\w./-]+)`"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def paths(cell: str) -> list[str]:
    return [p for p in re.findall(r"`([^`]+)`", cell) if "/" in p and "<" not in p]


def test_every_change_names_files_that_are_there_and_at_most_three():
    table = {what: paths(where) for what, where in rows("To change something, touch these files")}

    assert tuple(table) == CHANGES
    assert all(1 <= len(files) <= 3 for files in table.values())
    assert [p for files in table.values() for p in files if not (REPOSITORY / p).exists()] == []


def test_every_step_names_its_module():
    table = PAGE.split("One name a step, wherever the step appears:")[1].split("\n\n")[1]
    modules = [paths(line.split("|")[2]) for line in table.splitlines()[2:]]

    assert len(modules) == 10
    assert [p for [p] in modules if not (REPOSITORY / p).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_link_that_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]

    assert [name for name in re.findall(OURS, text) if not (REPOSITORY / name).exists()] == []
    assert [link for link in links if not (page.parent / link).exists()] == []
