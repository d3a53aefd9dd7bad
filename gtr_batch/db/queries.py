"""Queries by name out of ``sql/queries``: ``-- name: get_case(case_id)``, a sentence, then the SQL."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from attrs import frozen

from gtr_batch.errors import ConfigError

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\((?P<parameters>[a-z0-9_, ]*)\)\s*$")
_USED = re.compile(r"%\(([a-z0-9_]+)\)s")


@frozen
class Query:
    """One named statement with the parameters it declares."""

    name: str
    parameters: frozenset[str]
    sql: str


def sql_folder() -> Path:
    """``sql/`` beside the package, or the folder that ``GTR_SQL_DIR`` names.

    Raises
    ------
    ConfigError
        There is none.
    """
    given = os.environ.get("GTR_SQL_DIR")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "sql"
    if not (folder / "migrations").is_dir():
        raise ConfigError(f"no SQL at {folder}: set GTR_SQL_DIR to the folder sql/ of the checkout")
    return folder


def load(noun: str) -> dict[str, Query]:
    """All queries of ``sql/queries/<noun>.sql`` by name.

    Raises
    ------
    ConfigError
        The file is absent, a name comes twice, a block has no sentence, or its parameters are not those it declares.
    """
    return _load(sql_folder() / "queries" / f"{noun}.sql")


@lru_cache
def _load(path: Path) -> dict[str, Query]:
    if not path.exists():
        raise ConfigError(f"no queries at {path}")
    queries: dict[str, Query] = {}
    for heading, body in _blocks(path):
        name = heading["name"]
        declared = frozenset(p.strip() for p in heading["parameters"].split(",") if p.strip())
        sql = "\n".join(body).strip()
        if name in queries:
            raise ConfigError(f"{path.name}: query {name} comes twice")
        if not sql.startswith("-- "):
            raise ConfigError(f"{path.name}: query {name} has no sentence that says what it is for")
        used = frozenset(_USED.findall(sql))
        if used != declared:
            raise ConfigError(f"{path.name}: query {name} declares {sorted(declared)} and uses {sorted(used)}")
        queries[name] = Query(name, declared, sql)
    return queries


def _blocks(path: Path) -> list[tuple[re.Match[str], list[str]]]:
    blocks: list[tuple[re.Match[str], list[str]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        heading = _NAME.match(line)
        if heading:
            blocks.append((heading, []))
        elif line.startswith("-- name:"):
            raise ConfigError(f"{path.name}: {line!r} is not '-- name: name(parameter, …)'")
        elif blocks:
            blocks[-1][1].append(line)
    return blocks
