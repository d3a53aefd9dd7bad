"""Operations hear of another patient's images at once, and no alert that fails stops a night."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
import structlog

from gtr_batch.domain.case import Step
from gtr_batch.domain.identity import mismatch
from gtr_batch.errors import CaseRejected, PacsBusy
from gtr_batch.night.identity import tell_operations

MISMATCH = mismatch("study 1.2 is listed under another PatientID", ["PatientID"])


@pytest.fixture
def log():
    """What is logged."""
    written = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(written))
    return written


def test_a_mismatch_is_an_error_in_the_log_and_an_alert(log):
    told = []

    tell_operations(SimpleNamespace(alert=lambda *notice: told.append(notice)), "case-1", Step.DELIVER, MISMATCH)

    assert told == [("Images of another patient", f"Case case-1, step deliver: {MISMATCH.sentence}")]
    assert "case.identity_mismatch" in log.getvalue() and "error" in log.getvalue()


def test_an_alert_that_cannot_be_sent_stops_nothing(log):
    def broken(subject, text):
        raise ConnectionError("Phantom^Test")

    tell_operations(SimpleNamespace(alert=broken), "case-1", Step.DELIVER, MISMATCH)

    assert "case.alert_not_sent" in log.getvalue()
    assert "Phantom" not in log.getvalue()


@pytest.mark.parametrize("error", [CaseRejected("slice_gap", "3 slices are missing"), PacsBusy("later")])
def test_other_errors_raise_no_alert(log, error):
    told = []

    tell_operations(SimpleNamespace(alert=lambda *notice: told.append(notice)), "case-1", Step.DELIVER, error)

    assert (told, log.getvalue()) == ([], "")
