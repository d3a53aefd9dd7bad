"""The Great Expectations suites of the EHR extracts, and where in a file a rule is broken.

Great Expectations judges, with BOOLEAN_ONLY, since its other formats write raw values into its results. Each rule also
knows how to point at the rows that break it, so that the hospital hears row and column and no value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from attrs import frozen

from gtr_batch.db.extracts import Column, Extract, Kind

if TYPE_CHECKING:
    import pandas as pd

_IDENTIFIER = r"\A[^\x00-\x1f\x7f\\]{1,64}\Z"
_UID = r"\A(?=.{1,64}\Z)(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+\Z"
_NUMBER = r"\A[0-9]{1,9}(?:\.[0-9]{1,9})?\Z"
_DATE = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}\Z"
_PATTERNS = {Kind.IDENTIFIER: _IDENTIFIER, Kind.UID: _UID, Kind.NUMBER: _NUMBER, Kind.DATE: _DATE}
_EPOCH = date(1900, 1, 1)


@frozen
class Problem:
    """A broken rule: `row` counts from the header, which is row 1."""

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
class _Rule:
    column: str
    expected: str
    expectation: Callable[[Any], Any]  # great_expectations.expectations -> Expectation
    broken: Callable[[pd.DataFrame], pd.Series]


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
        Empty where every rule holds.
    """
    if not rows:
        return []
    rules = [rule for column in extract.columns for rule in _rules(column, today)]
    rules.append(_unique(extract))
    table = _table(extract, rows)
    return [_problem(extract, rule, table) for rule in _failing(extract.name, rules, table)]


def _failing(name: str, rules: Sequence[_Rule], table: pd.DataFrame) -> list[_Rule]:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # no telemetry: this process opens no socket for it
    import great_expectations as gx
    import great_expectations.expectations as gxe

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("ehr").add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name).get_batch(batch_parameters={"dataframe": table})
    expectations = []
    for number, rule in enumerate(rules):
        expectation = rule.expectation(gxe)
        expectation.meta = {"rule": number}  # results come in another order
        expectations.append(expectation)
    verdict = batch.validate(gx.ExpectationSuite(name=name, expectations=expectations), result_format="BOOLEAN_ONLY")
    failing = {result.expectation_config.meta["rule"] for result in verdict.results if not result.success}
    return [rule for number, rule in enumerate(rules) if number in failing]


def _table(extract: Extract, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=["row_number", *extract.header], dtype=object)
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


def _rules(column: Column, today: date) -> list[_Rule]:
    name, expected, measured = column.name, column.expected, _measured(column)
    rules = []
    if column.required:
        rules.append(
            _Rule(
                name,
                f"{expected}, never empty",
                lambda gxe: gxe.ExpectColumnValuesToNotBeNull(column=name),
                lambda table: table[name].isna(),
            )
        )
    if column.kind is Kind.CHOICE:
        choices = list(column.choices)
        rules.append(
            _Rule(
                name,
                expected,
                lambda gxe: gxe.ExpectColumnValuesToBeInSet(column=name, value_set=choices),
                lambda table: table[name].notna() & ~table[name].isin(choices),
            )
        )
        return rules
    pattern = _PATTERNS[column.kind]
    rules.append(
        _Rule(
            name,
            expected,
            lambda gxe: gxe.ExpectColumnValuesToMatchRegex(column=name, regex=pattern),
            lambda table: table[name].notna() & ~table[name].map(lambda v: bool(re.match(pattern, str(v)))),
        )
    )
    if column.kind is Kind.DATE:
        rules.append(
            _Rule(
                name,
                expected,
                lambda gxe: gxe.ExpectColumnValuesToMatchStrftimeFormat(column=name, strftime_format="%Y-%m-%d"),
                lambda table: table[name].notna() & table[measured].isna(),
            )
        )
        rules.append(_within(column, 0, float((today - _EPOCH).days)))
    if column.kind is Kind.NUMBER:
        rules.append(_within(column, column.low, column.high))
    return rules


def _within(column: Column, low: float, high: float) -> _Rule:
    measured, above = _measured(column), column.above
    return _Rule(
        column.name,
        column.expected,
        lambda gxe: gxe.ExpectColumnValuesToBeBetween(column=measured, min_value=low, max_value=high, strict_min=above),
        lambda table: (table[measured] <= low if above else table[measured] < low) | (table[measured] > high),
    )


def _unique(extract: Extract) -> _Rule:
    key = list(extract.key)

    def expectation(gxe: Any) -> Any:
        if len(key) == 1:
            return gxe.ExpectColumnValuesToBeUnique(column=key[0])
        return gxe.ExpectCompoundColumnsToBeUnique(column_list=key)

    return _Rule(
        " + ".join(key),
        "no two rows alike",
        expectation,
        # A key that is empty altogether is the business of the columns that must not be.
        lambda table: table.duplicated(key, keep="first") & table[key].notna().any(axis=1),
    )


def _problem(extract: Extract, rule: _Rule, table: pd.DataFrame) -> Problem:
    rows = table.loc[rule.broken(table), "row_number"]
    first = int(rows.iloc[0]) if len(rows) else None
    return Problem(extract.file, first, rule.column, rule.expected, max(1, len(rows)))
