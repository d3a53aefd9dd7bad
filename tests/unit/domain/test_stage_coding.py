"""Stages as tables write them."""

from __future__ import annotations

import pytest

from gtr_batch.domain.stage_coding import code_in, coding_of
from gtr_batch.errors import InputRefused


@pytest.mark.parametrize(
    ("codes", "coding"),
    [
        ({"0", "1", "2", "3"}, "zero-based"),
        ({"1", "4"}, "one-based"),
        ({"T1", "T4"}, "T1-T4"),
        ({"1", "2", "3"}, None),
        ({"0", "x"}, "zero-based"),
        (set(), "T1-T4"),
    ],
)
def test_a_coding_is_known_by_its_0_or_its_4_or_by_its_letters(codes, coding):
    assert coding_of(codes, "labels") == coding


@pytest.mark.parametrize("codes", [{"0", "4"}, {"T1", "2"}])
def test_codings_that_are_mixed_are_refused_by_name(codes):
    with pytest.raises(InputRefused, match="column label mixes codings"):
        coding_of(codes, "column label")


def test_a_whole_number_may_be_written_as_a_spreadsheet_does():
    assert code_in(" 2.0 ") == "2"
