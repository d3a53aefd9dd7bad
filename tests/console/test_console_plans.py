"""How PostgreSQL answers the console: whatever ten years have left in a table, no page reads all of it."""

from __future__ import annotations

import re
from contextlib import closing

import psycopg2
import pytest

from gtr_batch.db.queries import load

#: Tables that grow with every case.
HISTORY = {
    "staging_case", "case_event", "staging_result", "slice_result", "nomogram_result", "series_fact", "report_object",
    "store_receipt", "access_event", "reader_word", "reader_shown", "reader_own_stage",
}  # fmt: skip
#: What pages ask beside `sql/queries/console.sql`: all of that file, and of others these.
OTHERS = {
    "cases": ("events",),
    "results": ("staging", "slices", "facts", "score"),
    "deliveries": ("objects",),
    "words": ("result", "of_case", "own_stage", "give_own_stage", "note_shown"),
}
QUERIES = [
    *(("console", name) for name in load("console")),
    *((noun, name) for noun, names in OTHERS.items() for name in names),
]


def _numbered(sql: str) -> str:
    """A query with ``$1`` for its first parameter and so on, as a prepared one has them."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return re.sub(r"%\(([a-z0-9_]+)\)s", number, sql).replace("%%", "%")


def _plan(cursor, sql: str) -> dict:
    """The plan for whatever parameters, of a PostgreSQL that reads a whole table only where it has no other way."""
    cursor.execute("set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set jit = off")
    cursor.execute(f"explain (generic_plan, format json) {sql}")
    return cursor.fetchone()[0][0]["Plan"]


def _read_whole(plan: dict, table: str = "") -> list[str]:
    """Tables of the history that a plan reads from end to end, by itself or by an index without a condition."""
    table = plan.get("Relation Name", table)
    by_index = plan["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Index Scan") and "Index Cond" not in plan
    whole = [table] if table in HISTORY and (plan["Node Type"] == "Seq Scan" or by_index) else []
    return whole + [one for part in plan.get("Plans", ()) for one in _read_whole(part, table)]


@pytest.fixture(scope="module")
def cursor(module_dsn):
    with closing(psycopg2.connect(module_dsn)) as connection, connection.cursor() as cursor:
        yield cursor


@pytest.mark.parametrize(("noun", "name"), QUERIES, ids=lambda one: one)
def test_no_query_of_a_page_reads_a_table_of_the_history_whole(cursor, noun, name):
    assert _read_whole(_plan(cursor, _numbered(load(noun)[name].sql))) == []


def test_nor_does_the_function_that_finds_the_patients_other_cases(cursor):
    cursor.execute("select prosrc from pg_proc where proname = 'other_cases_of_patient'")
    body = cursor.fetchone()[0].replace("of_case", "$1")

    assert _read_whole(_plan(cursor, body)) == []


def test_nor_does_the_function_that_says_how_a_result_stands_for_a_reader(cursor):
    cursor.execute("select prosrc from pg_proc where proname = 'result_for_reader'")
    body, kinds = cursor.fetchone()[0], {"of_case": "uuid", "own_stage_first": "boolean"}
    for place, name in enumerate(("of_case", "of_result", "of_stage", "to_reader", "own_stage_first"), 1):
        body = re.sub(rf"\b{name}\b", f"${place}::{kinds.get(name, 'text')}", body)

    assert _read_whole(_plan(cursor, body)) == []


@pytest.mark.parametrize(
    "sql", ["select count(*) from staging_case", "select night from staging_case order by night", "table case_event"]
)
def test_such_a_query_would_be_noticed(cursor, sql):
    assert _read_whole(_plan(cursor, sql)) != []
