"""The report of an audit: one self-contained HTML, a PDF for the file, and the findings as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from gtr_batch.audit.found.findings import Findings
from gtr_batch.writing import make_folder, write_bytes


def write_report(findings: Findings, folder: Path) -> dict[str, Path]:
    """Write ``report.html``, ``report.pdf`` and ``report.json``; from the same findings the same bytes.

    Parameters
    ----------
    findings : Findings
    folder : Path
        Made where it is missing.

    Returns
    -------
    dict
        The files by name.
    """
    from gtr_batch.audit.found.filed import findings_to_json
    from gtr_batch.audit.report.content import content
    from gtr_batch.audit.report.html import as_html
    from gtr_batch.audit.report.pdf import as_pdf

    make_folder(folder)
    page = content(findings)
    files: dict[str, bytes] = {
        "report.html": as_html(page).encode(),
        "report.pdf": as_pdf(page),
        "report.json": (json.dumps(findings_to_json(findings), indent=1, allow_nan=False) + "\n").encode(),
    }
    return {name: write_bytes(folder / name, body) for name, body in files.items()}
