"""The first day at a hospital: each line of the page is a check of `gtr doctor`, and what the page names is there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from gtr_batch.cli.doctor import _MEND, _checks

REPOSITORY = Path(__file__).resolve().parents[3]
PAGE = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
TEMPLATE = Path(find_spec("airflow").origin).parent / "_shared" / "observability" / "metrics" / "metrics_template.yaml"


def section(title: str) -> str:
    """A section of the page, without those below it."""
    [text] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return text


def rows(text: str) -> list[list[str]]:
    """The cells of the first table, without its head."""
    [table, *_] = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


CHECKS = {name for name, _ in _checks(None)}


def test_every_line_of_the_first_day_names_a_check_and_every_check_is_named():
    named = [check for row in rows(section("First day at a hospital")) for check in re.findall(r"`([^`]+)`", row[-1])]

    assert [row for row in rows(section("First day at a hospital")) if not re.search(r"`[^`]+`", row[-1])] == []
    assert set(named) == CHECKS


def test_every_check_says_how_what_it_finds_is_mended():
    assert _MEND.keys() >= CHECKS
    assert all(_MEND.values())


@pytest.mark.parametrize("name", [row[0].strip("`") for row in rows(section("Metrics"))])
def test_every_metric_that_the_page_lists_is_one_of_airflows(name):
    known = {one["name"] for one in yaml.safe_load(TEMPLATE.read_text())["metrics"]}

    assert name in known
