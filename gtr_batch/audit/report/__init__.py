"""The report of an audit: one self-contained HTML, a PDF for the file, and the findings as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gtr_batch.writing import write_bytes


def write_report(findings: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    """Write ``report.html``, ``report.pdf`` and ``report.json``; from the same findings the same bytes.

    Parameters
    ----------
    findings : mapping
        As `gtr_batch.audit.findings.compute` gives them.
    folder : Path
        Made where it is missing.

    Returns
    -------
    dict
        The files by name.
    """
    from gtr_batch.audit.report.content import content
    from gtr_batch.audit.report.html import as_html
    from gtr_batch.audit.report.pdf import as_pdf

    folder.mkdir(parents=True, exist_ok=True)
    page = content(findings)
    files: dict[str, bytes] = {
        "report.html": as_html(page).encode(),
        "report.pdf": as_pdf(page),
        "report.json": (json.dumps(findings, indent=1, allow_nan=False) + "\n").encode(),
    }
    return {name: write_bytes(folder / name, body) for name, body in files.items()}
