"""What a reader must know of the contrast phase, out of what validation measured of the series."""

from datetime import date
from types import SimpleNamespace

import pytest

from gtr_batch.domain.case import Case, Step
from gtr_batch.domain.staging import Flag
from gtr_batch.night.memory import MemoryCases
from gtr_batch.night.steps import _flags_of_selection

CASE = Case("3f2b8f0e-7a51-4b52-9a3e-6d1f0a2b4c5d", date(2026, 3, 1), "2.25.1", "2.25.2")


@pytest.mark.parametrize(
    ("facts", "flagged"),
    [
        ({"phase": "unknown", "aorta_hu": 200.0, "liver_hu": 85.0}, True),
        ({"phase": "portal_venous", "aorta_hu": 150.0, "liver_hu": 105.0}, False),
        ({"phase": "unknown", "aorta_hu": 150.0}, False),  # no liver was met: nothing is known, nothing is between
        ({}, False),
    ],
)
def test_pixels_between_two_phases_are_a_flag(facts, flagged):
    cases = MemoryCases()
    cases.record([CASE])
    with cases.step(CASE.case_id, Step.VALIDATE) as record:
        record.measured(facts)

    flags = _flags_of_selection(SimpleNamespace(cases=cases), CASE)

    assert (Flag.PHASE_UNCLEAR in flags) is flagged
