"""The Great Expectations suites of the EHR extracts: each check is stated once, and its result names the rows.

The result format is COMPLETE, which holds raw values; results stay in memory and are never written anywhere. What
leaves this module is file, row, column and what was expected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from attrs import frozen

from gtr_batch.db.extracts import Column, Extract, Kind
from gtr_batch.errors import PermanentError

if TYPE_CHECKING:
    import pandas as pd

_IDENTIFIER = r"\A[^\x00-\x1f\x7f\\]{1,64}\Z"
# What a spreadsheet makes of a long number (digits are lost), and blanks within that no one sees: neither ever matches.
_LOST = r"\A(?![+-]?[0-9](?:[.,][0-9]+)?[eE]\+[0-9]+\Z)[^\u00a0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]*\Z"
_UID = r"\A(?=.{1,64}\Z)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+\Z"
_NUMBER = r"\A[0-9]{1,9}(?:\.[0-9]{1,9})?\Z"
_DATE = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z"
_PATTERNS = {Kind.IDENTIFIER: _IDENTIFIER, Kind.UID: _UID, Kind.NUMBER: _NUMBER, Kind.DATE: _DATE}
_EPOCH = date(1900, 1, 1)
_ROW = "row_number"


@frozen
class Problem:
    """A broken check: `row` counts from the header, which is row 1."""

    file: str
    row: int | None
    column: str
    expected: str
    rows: int = 1  # how many rows break it

    def __str__(self) -> str:
        where = f"{self.file}, row {self.row}" if self.row else self.file
        more = f" (and {self.rows - 1} more rows)" if self.rows > 1 else ""
        return f"{where}, column {self.column}: expected {self.expected}{more}"


@frozen
class _Check:
    """`alike`: it looks for rows alike, and the first of them is right."""

    column: str
    expected: str
    expectation: Callable[[Any], Any]  # great_expectations.expectations -> Expectation
    alike: tuple[str, ...] = ()


def judge(extract: Extract, rows: Sequence[dict[str, Any]], today: date) -> list[Problem]:
    """Run the suite of one extract over its staged rows.

    Parameters
    ----------
    extract : Extract
        Which one.
    rows : sequence of dict
        Staged rows, text or None by column, and ``row_number``.
    today : date
        The last date that is not in the future.

    Returns
    -------
    list of Problem
        Empty where every check holds.
    """
    if not rows:
        return []
    checks = [check for column in extract.columns for check in _checks(column, today)]
    checks.append(_unique(extract))
    return [
        Problem(extract.file, broken[0], check.column, check.expected, len(broken))
        for check, broken in _failing(extract.name, checks, _table(extract, rows))
    ]


def _failing(name: str, checks: Sequence[_Check], table: pd.DataFrame) -> list[tuple[_Check, list[int]]]:
    """The checks that fail, in their order, each with the numbers of the rows that break it."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # no telemetry: this process opens no socket for it
    import great_expectations as gx
    import great_expectations.expectations as gxe

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("ehr").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name).get_batch(batch_parameters={"dataframe": table})
    expectations = []
    for number, check in enumerate(checks):
        expectation = check.expectation(gxe)
        expectation.meta = {"check": number}  # results come in another order
        expectations.append(expectation)
    verdict = batch.validate(
        gx.ExpectationSuite(name=name, expectations=expectations),
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [_ROW]},
    )
    failing = {result.expectation_config.meta["check"]: result for result in verdict.results if not result.success}
    return [(checks[number], _rows_of(checks[number], failing[number])) for number in sorted(failing)]


def _rows_of(check: _Check, result: Any) -> list[int]:
    """The numbers of the rows that break a check.

    Raises
    ------
    PermanentError
        Great Expectations could not evaluate it: a mistake of ours, never the hospital's.
    """
    found = result.result.get("unexpected_index_list")
    if not found:
        raise PermanentError(f"the check of column {check.column} could not be evaluated; report this")
    rows = sorted(found, key=lambda row: row[_ROW])
    if check.alike:
        seen: set[tuple[Any, ...]] = set()
        repeated = []
        for row in rows:
            values = tuple(row[name] for name in check.alike)
            if values in seen:
                repeated.append(row)
            seen.add(values)
        rows = repeated
    return [int(row[_ROW]) for row in rows]


def _table(extract: Extract, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=[_ROW, *extract.header], dtype=object)
    for column in extract.columns:
        if column.kind in (Kind.NUMBER, Kind.DATE):
            read = _number if column.kind is Kind.NUMBER else _day
            table[_measured(column)] = pd.Series([read(v) for v in table[column.name]], dtype="float64")
    return table


def _measured(column: Column) -> str:
    return f"{column.name} as number"


def _number(value: str | None) -> float:
    return float(value) if value is not None and re.match(_NUMBER, value) else float("nan")


def _day(value: str | None) -> float:
    """Days since 1900-01-01; NaN for what is no date."""
    if value is None or not re.match(_DATE, value):
        return float("nan")
    try:
        return float((date.fromisoformat(value) - _EPOCH) / timedelta(days=1))
    except ValueError:
        return float("nan")


def _checks(column: Column, today: date) -> list[_Check]:
    name, expected = column.name, column.expected
    checks = []
    if column.required:
        checks.append(
            _Check(name, f"{expected}, never empty", lambda gxe: gxe.ExpectColumnValuesToNotBeNull(column=name))
        )
    if column.kind is Kind.CHOICE:
        choices = list(column.choices)
        in_set = _Check(name, expected, lambda gxe: gxe.ExpectColumnValuesToBeInSet(column=name, value_set=choices))
        return [*checks, in_set]
    pattern = _PATTERNS[column.kind]
    checks.append(_Check(name, expected, lambda gxe: gxe.ExpectColumnValuesToMatchRegex(column=name, regex=pattern)))
    if column.kind is Kind.IDENTIFIER:
        whole = "an identifier without no-break spaces, and not in scientific notation (1.23457E+11: digits are lost)"
        checks.append(_Check(name, whole, lambda gxe: gxe.ExpectColumnValuesToMatchRegex(column=name, regex=_LOST)))
    if column.kind is Kind.DATE:
        checks.append(
            _Check(
                name,
                expected,
                lambda gxe: gxe.ExpectColumnValuesToMatchStrftimeFormat(column=name, strftime_format="%Y-%m-%d"),
            )
        )
        checks.append(_within(column, 0, float((today - _EPOCH).days)))
    if column.kind is Kind.NUMBER:
        checks.append(_within(column, column.low, column.high))
    return checks


def _within(column: Column, low: float, high: float) -> _Check:
    measured, above = _measured(column), column.above
    return _Check(
        column.name,
        column.expected,
        lambda gxe: gxe.ExpectColumnValuesToBeBetween(column=measured, min_value=low, max_value=high, strict_min=above),
    )


def _unique(extract: Extract) -> _Check:
    key = extract.key

    def expectation(gxe: Any) -> Any:
        if len(key) == 1:
            return gxe.ExpectColumnValuesToBeUnique(column=key[0])
        # A key that is empty altogether is the business of the columns that must not be.
        return gxe.ExpectCompoundColumnsToBeUnique(column_list=list(key))

    return _Check(" + ".join(key), "no two rows alike", expectation, alike=key)
