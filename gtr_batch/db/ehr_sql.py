"""The statements of one extract, made from its description: what the nine extracts share is written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import evolve
from psycopg2 import sql

from gtr_batch.db import queries
from gtr_batch.db.connection import Transaction
from gtr_batch.db.extracts import Column, Extract, Kind
from gtr_batch.db.queries import Query

YES_NO = ("yes", "no")


def copy(extract: Extract) -> sql.Composable:
    """Fill the staging table from a CSV; empty fields are null."""
    columns = _each(sql.Identifier, extract.header)
    template = sql.SQL("copy {staging} ({columns}) from stdin with (format csv, force_null ({columns}))")
    return template.format(staging=_staging(extract), columns=columns)


def staged(extract: Extract, tx: Transaction) -> Query:
    """The rows of an extract as they came, with ``row_number`` as in the file."""
    return _filled("staged", tx, columns=_each(sql.Identifier, extract.header), staging=_staging(extract))


def upsert(extract: Extract, tx: Transaction) -> Query:
    """What differs, inserted or updated by key; counts ``inserted`` and ``updated``."""
    rest = [name for name in extract.header if name not in extract.key]
    return _filled(
        "upsert",
        tx,
        landed=sql.Identifier(f"ehr_{extract.name}"),
        staging=_staging(extract),
        columns=_each(sql.Identifier, extract.header),
        values=sql.SQL(", ").join(_value(extract, column) for column in extract.columns),
        key=_each(sql.Identifier, extract.key),
        changes=_each(lambda name: sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)), rest),
        before=_each(lambda name: sql.Identifier("landed", name), rest),
        after=_each(lambda name: sql.Identifier("excluded", name), rest),
    )


def _value(extract: Extract, column: Column) -> sql.Composable:
    """A staged text as the landed column wants it."""
    name = sql.Identifier(column.name)
    if column.kind is Kind.DATE:
        return sql.SQL("{}::date").format(name)
    if column.kind is Kind.NUMBER:
        return sql.SQL("{}::double precision").format(name)
    if column.choices == YES_NO:
        return sql.SQL("{} = 'yes'").format(name)
    if column.name in extract.key and not column.required:  # a key has no nulls
        return sql.SQL("coalesce({}, '')").format(name)
    return name


def _staging(extract: Extract) -> sql.Identifier:
    return sql.Identifier(f"ehr_staging_{extract.name}")


def _each(make: Callable[[str], sql.Composable], names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(make(name) for name in names)


def _filled(name: str, tx: Transaction, **parts: sql.Composable) -> Query:
    query = queries.load("ehr")[name]
    sentence, _, statement = query.sql.partition("\n")  # the sentence speaks of the braces and keeps its own
    return evolve(query, sql=f"{sentence}\n{tx.text_of(sql.SQL(statement).format(**parts))}")
