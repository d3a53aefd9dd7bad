"""A table of staged cases from a CSV: which columns, which coding of stages, and which rows cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen

from gtr_batch.csv_rows import check_rows
from gtr_batch.domain.stage_coding import NAMED, ONE_BASED, POSITIONS, ZERO_BASED, StageCoding, code_in, coding_of
from gtr_batch.errors import InputRefused

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (("p1", "p2", "p3", "p4"), ("p_t1", "p_t2", "p_t3", "p_t4"))  # looked for, in this order
READINGS: tuple[StageCoding, ...] = (ZERO_BASED, ONE_BASED)
SUM_TOLERANCE = 1e-3
LISTED = 10  # rows that are named; the count is of all


@frozen(eq=False)
class MetricTable:
    """What a table held: `labels` (n,) and `predicted` (n,) as 0 to 3, `probabilities` (n, 4), `patients` (n,) ids.

    `reading` says how the label column was read: ``zero-based``, ``one-based`` or ``T1-T4``.
    """

    labels: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    predicted: np.ndarray | None = field(repr=False)
    patients: np.ndarray | None = field(repr=False)
    reading: str | None
    sentences: tuple[str, ...] = ()


def read_metric_table(
    path: Path,
    *,
    label: str,
    probabilities: str | Sequence[str] | None = None,
    patient: str | None = None,
    predicted: str | None = None,
    labels: str | None = None,
) -> MetricTable:
    """Read a CSV with one row a staged case. Rows are counted from 1, the header; empty lines are not counted.

    Parameters
    ----------
    path : Path
    label : str
        Column of the pathological stage: 0-3, 1-4 or T1-T4.
    probabilities : str or sequence of str, optional
        Columns of P(T1) to P(T4), comma-separated or in a sequence; default ``p1,p2,p3,p4``, else ``p_t1,...,p_t4``.
    patient : str, optional
        Column of the patient.
    predicted : str, optional
        Column of the stage that was given, coded as the labels are or as T1-T4.
    labels : str, optional
        ``zero-based`` or ``one-based``, how numbers are to be read. Needed only where neither labels nor predicted
        stages hold a 0 or a 4: 1, 2 and 3 could be T1 to T3 or T2 to T4, and a guess would move every stage by one.

    Raises
    ------
    InputRefused
        The file cannot be read, a row has more or fewer fields than the header, a column is missing or comes twice, a
        label is none of these, a row tells no patient, or probabilities are not numbers, not finite, negative or do not
        sum to 1 within 0.001; says which rows.
    """
    import pandas as pd

    path = Path(path)
    asked = next((r for r in READINGS if r == labels), None)
    if labels is not None and asked is None:
        raise InputRefused(f"labels {labels!r} is not known; one of: {', '.join(READINGS)}")
    check_rows(path)
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()
        columns = _columns(header, probabilities)
        wanted = [label, *columns, *(c for c in (patient, predicted) if c is not None)]
        _need(header, wanted)
        codes = {c: str for c in (label, patient, predicted) if c is not None}
        table = pd.read_csv(path, usecols=lambda c: c in wanted, dtype=codes, keep_default_na=False, low_memory=False)
    except (OSError, ValueError, IndexError) as err:  # pandas' parser and decoding errors are ValueErrors
        raise InputRefused(f"cannot read {path.name}: {str(err)[:200]}") from err
    names = [label] if predicted is None else [label, predicted]
    reading = _reading({name: _values(table[name]) for name in names}, asked)
    who: np.ndarray | None = None
    if patient is not None:
        who = table[patient].str.strip().to_numpy(object)
        _refuse(f"column {patient} tells no patient", who == "")
    return MetricTable(
        labels=_stages(table[label], label, reading[label]),
        probabilities=_probabilities(table, columns),
        predicted=None if predicted is None else _stages(table[predicted], predicted, reading[predicted]),
        patients=who,
        reading=reading[label] if len(table) else None,
        sentences=_sentences_of(reading) if len(table) else (),
    )


def _columns(header: Sequence[str], given: str | Sequence[str] | None) -> tuple[str, ...]:
    if given is not None:
        columns = tuple(c.strip() for c in (given.split(",") if isinstance(given, str) else given))
        if len(set(columns)) != 4:
            raise InputRefused(f"give four columns of probabilities, of T1 to T4; these are {', '.join(columns)}")
        return columns
    found = next((c for c in COLUMNS if set(c) <= set(header)), None)
    if found is None:
        looked = " nor ".join(", ".join(c) for c in COLUMNS)
        raise InputRefused(
            f"the table has neither {looked}: name the columns of P(T1) to P(T4); it has {_listed(header)}"
        )
    return found


def _need(header: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [c for c in wanted if c not in header]
    if missing:
        raise InputRefused(f"the table has no column {', '.join(missing)}; it has {_listed(header)}")
    twice = [c for c in wanted if header.count(c) > 1]
    if twice:
        raise InputRefused(f"column {twice[0]} comes twice in the table's header")


def _listed(header: Sequence[str]) -> str:
    return ", ".join(header[:12]) + (", …" if len(header) > 12 else "")


def _values(column: pd.Series) -> set[str]:
    return {code_in(v) for v in column.unique()}


def _reading(values: Mapping[str, set[str]], asked: StageCoding | None) -> dict[str, StageCoding]:
    """How each column of stages is to be read; the values that fit no reading are named by `_stages` later."""
    sure: dict[str, StageCoding] = {}
    for name, found in values.items():
        coding = coding_of(found, f"column {name}")
        if asked is not None and coding != NAMED:
            coding = asked
        if coding is not None:
            sure[name] = coding
    numeric = {r for r in sure.values() if r != NAMED}
    for name, found in values.items():
        if name in sure:
            continue
        if len(numeric) != 1:
            raise InputRefused(
                f"column {name} holds only {', '.join(sorted(found & {'1', '2', '3'}))}: 1 could be T1 or T2; "
                "say --labels zero-based (0 is T1) or --labels one-based (1 is T1), or write T1, T2, T3, T4"
            )
        sure[name] = next(iter(numeric))
    return sure


def _stages(column: pd.Series, name: str, reading: StageCoding) -> np.ndarray:
    import pandas as pd

    positions, texts = pd.factorize(column)
    codes = POSITIONS[reading]
    known = np.array([codes.get(code_in(t), -1) for t in texts], int)
    stages = known[positions] if len(texts) else np.zeros(0, int)
    strange = stages < 0
    if strange.any():
        words = sorted({_word(t) for t, k in zip(texts, known, strict=True) if k < 0})
        allowed = ", ".join(codes) if reading != NAMED else "0-3, 1-4 or T1-T4"
        shown = ", ".join(words[:5]) + (", …" if len(words) > 5 else "")
        _refuse(f"column {name} must hold {allowed}; it holds {shown}", strange)
    return stages


def _word(text: str) -> str:
    return repr(text.strip()[:20]) if text.strip() else "an empty cell"


def _probabilities(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    import pandas as pd

    parts = []
    for name in columns:
        column = table[name]
        parts.append(pd.to_numeric(column, errors="coerce").to_numpy(float))
    values = np.column_stack(parts) if len(table) else np.zeros((0, len(columns)))
    finite = np.asarray(np.isfinite(values).all(axis=1))
    negative = finite & (values < 0).any(axis=1)
    total = values.sum(axis=1)
    off = finite & ~negative & (np.abs(total - 1) > SUM_TOLERANCE + 1e-9)  # 0.999 is within, as it is written
    bad = ~finite | negative | off
    if bad.any():
        rows = np.flatnonzero(bad)
        told = []
        for row in rows[:LISTED]:
            if not finite[row]:
                why = "not four finite numbers"
            elif negative[row]:
                why = f"negative ({values[row].min():g})"
            else:
                why = f"sum {total[row]:.6g}"
            told.append(f"row {row + 2}: {why}")
        more = f"; and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
        raise InputRefused(
            f"{len(rows)} of {len(table)} rows have probabilities ({', '.join(columns)}) that are not finite, negative "
            f"or do not sum to 1 within {SUM_TOLERANCE:g}: {'; '.join(told)}{more}"
        )
    return values


def _refuse(what: str, bad: np.ndarray) -> None:
    """Name the rows, if there are any."""
    rows = np.flatnonzero(bad) + 2
    if not len(rows):
        return
    named = ", ".join(map(str, rows[:LISTED]))
    more = f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
    raise InputRefused(f"{what} in {len(rows)} row(s): {named}{more}")


def _sentences_of(readings: Mapping[str, StageCoding]) -> tuple[str, ...]:
    meaning = {ZERO_BASED: "0 is T1, 3 is T4", ONE_BASED: "1 is T1, 4 is T4", NAMED: "as written"}
    return tuple(f"Column {name} was read as {reading}: {meaning[reading]}." for name, reading in readings.items())
