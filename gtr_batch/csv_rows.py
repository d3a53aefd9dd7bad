"""The shape of a CSV that a person gives: every row has as many fields as the header.

A comma too many moves the values of a row into other columns, and a reader that takes them as they come computes with
them: with probabilities that still sum to 1, nothing else would show it.
"""

from __future__ import annotations

import csv
from pathlib import Path

from gtr_batch.errors import InputRefused

LISTED = 10  # rows that are named; the count is of all


def check_rows(path: Path) -> None:
    """Refuse a table with rows of more or fewer fields than its header, or with broken quoting.

    Rows are counted from 1, the header; empty lines are not counted.

    Raises
    ------
    InputRefused
        Names the rows, and nothing that stands in them.
    """
    uneven: list[str] = []
    row = expected = bad = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for fields in csv.reader(stream, strict=True):
                if len(fields) < 2 and not any(f.strip() for f in fields):
                    continue
                row += 1
                expected = expected or len(fields)
                if len(fields) != expected:
                    bad += 1
                    uneven += [f"row {row}: {len(fields)}"] if bad <= LISTED else []
    except csv.Error as err:
        raise InputRefused(f"{path.name}, row {row + 1}: broken quoting ({err})") from err
    except UnicodeDecodeError as err:
        raise InputRefused(f"cannot read {path.name}: not UTF-8 after row {row}") from err
    except OSError as err:
        raise InputRefused(f"cannot read {path.name}: {err.strerror}") from err
    if bad:
        more = f"; and {bad - LISTED} more" if bad > LISTED else ""
        raise InputRefused(
            f"{path.name}: {bad} row(s) have not the {expected} fields of the header: {'; '.join(uneven)}{more}; "
            "a comma within a value needs quotes round the value"
        )
