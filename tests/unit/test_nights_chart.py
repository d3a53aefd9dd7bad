"""The chart of the last nights: what is drawn lies in the picture."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from gtr_batch.console.drawing import chart_of
from gtr_batch.domain.console import ConsoleNight

LABEL = 38  # width of a label such as 02.03.


def a_night(on: date, staged: int = 2) -> ConsoleNight:
    at = datetime.combine(on, datetime.min.time(), UTC)
    return ConsoleNight(on, "a" * 64, at, None, at, None, staged, staged, 0, 0, 0, staged)


@pytest.mark.parametrize("nights", [1, 10, 30])
def test_every_label_of_the_chart_of_nights_lies_in_the_picture(nights):
    shown = [a_night(date(2026, 3, 2) - timedelta(days=back)) for back in range(nights)]

    chart = chart_of(shown)

    middles = [bar.x + chart.bar / 2 for bar in chart.bars if bar.label]
    assert chart.bars[-1].label == "02.03."
    assert min(middles) >= LABEL / 2
    assert max(middles) <= chart.width - LABEL / 2


def test_nights_without_a_case_draw_no_chart():
    assert chart_of([a_night(date(2026, 3, 2), staged=0)]) is None
