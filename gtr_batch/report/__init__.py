"""What goes back to the PACS: structured report, parametric map, secondary capture and key objects of a case."""

from __future__ import annotations

from gtr_batch.report.case_page import PageDrawings
from gtr_batch.report.case_report import write_case, write_refusal
from gtr_batch.report.identity import is_as_written
from gtr_batch.report.reader_word_report import write_reader_word
from gtr_batch.report.rejection import write_rejection
from gtr_batch.report.withdrawal_report import write_withdrawal

__all__ = [
    "PageDrawings",
    "is_as_written",
    "write_case",
    "write_reader_word",
    "write_refusal",
    "write_rejection",
    "write_withdrawal",
]
