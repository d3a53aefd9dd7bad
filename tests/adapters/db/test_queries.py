"""Queries are loaded by name, say what they are for, and declare what they take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gtr_batch.db import queries
from gtr_batch.errors import ConfigError

PACKAGE = Path(queries.__file__).parent


@pytest.fixture
def noun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A function that writes a query file and loads it."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "queries").mkdir()
    monkeypatch.setenv("GTR_SQL_DIR", str(tmp_path))

    def load(text: str):
        (tmp_path / "queries" / "thing.sql").write_text(text)
        return queries.load("thing")

    return load


def test_loads_a_query_by_name(noun):
    loaded = noun("-- name: get(a, b)\n-- One thing.\nselect %(a)s, %(b)s;\n\n-- name: all()\n-- All.\nselect 1;\n")

    assert set(loaded) == {"get", "all"}
    assert loaded["get"].parameters == {"a", "b"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-- name: get(a)\n-- One.\nselect 1;", "declares"),
        ("-- name: get()\n-- One.\nselect %(a)s;", "declares"),
        ("-- name: get()\nselect 1;", "sentence"),
        ("-- name: get()\n-- One.\nselect 1;\n-- name: get()\n-- One.\nselect 1;", "twice"),
        ("-- name: Get\n-- One.\nselect 1;", "is not"),
    ],
)
def test_refuses_a_block_that_is_not_what_it_says(noun, text, said):
    with pytest.raises(ConfigError, match=said):
        noun(text)


def test_names_the_setting_where_there_is_no_sql(tmp_path, monkeypatch):
    monkeypatch.setenv("GTR_SQL_DIR", str(tmp_path))

    with pytest.raises(ConfigError, match="GTR_SQL_DIR"):
        queries.load("cases")


@pytest.mark.parametrize("file", sorted((queries.sql_folder() / "queries").glob("*.sql")), ids=lambda p: p.stem)
def test_every_query_of_the_service_loads_and_is_used(file):
    code = "\n".join(path.read_text() for path in PACKAGE.glob("*.py"))

    loaded = queries.load(file.stem)

    assert [q for q in loaded if f'"{q}"' not in code] == []


def test_no_sql_in_python_strings():
    statement = re.compile(r"""["'](select|insert|update|delete|truncate|alter|drop|create)\s""", re.IGNORECASE)

    assert [path.name for path in PACKAGE.glob("*.py") if statement.search(path.read_text())] == []
