"""The night's Data Docs: what Great Expectations decided, as pages of our own that open no socket and hold no PHI.

The index has a row a case, with its refusal, over all shards of the night; each shard has a page a suite, with every
check, what it expects, and in which cases it was not met. Counts and case ids stand there, and no value of a header.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from gtr_batch.domain.printable import printable_value
from gtr_batch.domain.refusal import Refusal
from gtr_batch.validate.expectations import SUITES, Check, SuiteRun
from gtr_batch.writing import PRIVATE, full_disk_is_transient, make_folder, write_text

_TITLES = {"headers": "headers", "pixels": "pixels and geometry"}
_WORDS = {"True": "yes", "False": "no", "": "none"}
_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("gtr_batch.validate"), autoescape=True, finalize=printable_value
)


def write_docs(
    folder: Path, shard: str, checks: Sequence[Check], run: SuiteRun, refusals: Mapping[str, Refusal | None]
) -> Path:
    """Write the shard's pages and the night's index.

    The same shard again replaces its pages. Shards of one night may write at the same time.

    Parameters
    ----------
    folder : Path
        The night's ``data_docs`` folder.
    shard : str
        Names the pages.
    checks : sequence of Check
        What was checked.
    run : SuiteRun
        What GX decided of it.
    refusals : mapping
        Refusal or None by case id.

    Returns
    -------
    Path
        ``index.html``.
    """
    pages = folder / "shards"
    with full_disk_is_transient(pages):
        make_folder(pages)
    style = _TEMPLATES.get_template("style.css").render()
    suites = {name: [_row(c, run) for c in checks if SUITES[c.frame] == name] for name in SUITES.values()}
    for name, rows in suites.items():
        page = _TEMPLATES.get_template("suite.html.jinja")
        html = page.render(shard=shard, title=_TITLES.get(name, name), rows=rows, cases=sorted(refusals), style=style)
        write_text(pages / f"{shard}-{name}.html", html)
    result = {
        "shard": shard,
        "suites": {
            name: {
                "title": _TITLES.get(name, name),
                "evaluated": len(rows),
                "failed": sum(bool(row["not_met"]) for row in rows),
            }
            for name, rows in suites.items()
        },
        "cases": {
            case_id: None
            if r is None
            else {"code": str(r.code), "sentence": r.sentence, "also": r.numbers.get("also", [])}
            for case_id, r in sorted(refusals.items())
        },
    }
    with full_disk_is_transient(folder / ".lock"), os.fdopen(_private(folder / ".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_text(pages / f"{shard}.json", json.dumps(result, indent=1))
        shards = [found for path in sorted(pages.glob("shard-*.json")) if (found := _shard(path)) is not None]
        write_text(
            folder / "index.html", _TEMPLATES.get_template("index.html.jinja").render(shards=shards, style=style)
        )
    return folder / "index.html"


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT, PRIVATE)


def _shard(path: Path) -> Any:
    """What another shard wrote; None where its file was cut: that shard writes it anew when it is run again."""
    try:
        return json.loads(path.read_text())
    except ValueError:
        return None


def _row(check: Check, run: SuiteRun) -> dict[str, Any]:
    """A check as its page shows it: case ids with how many of their rows do not meet it."""
    labels = run.failing.get(check.name, ())
    return {
        "column": check.column.replace("_", " "),
        "of": "every instance" if check.frame == "instances" else "every series",
        "expected": _expected(check),
        "code": str(check.code),
        "not_met": dict(sorted(Counter(label.split("#")[0] for label in labels).items())),
    }


def _expected(check: Check) -> str:
    if check.among is not None:
        return " or ".join(_WORDS.get(str(value), str(value)) for value in check.among)
    if check.low is None:
        return f"at most {check.high:g}"
    if check.high is None:
        return f"at least {check.low:g}"
    return f"{check.low:g}" if check.low == check.high else f"{check.low:g} to {check.high:g}"
