"""Tolerances of a stack, and which instances are no slices of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_batch.domain.stack import distinct, padding_range, patients_among, set_aside

numbers = st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), max_size=8)


@given(numbers, st.randoms())
def test_how_many_differ_does_not_depend_on_their_order(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)

    assert distinct(values, 1e-3) == distinct(shuffled, 1e-3) <= len(values)


@pytest.mark.parametrize(
    ("slices", "aside"),
    [
        ([False, *[True] * 20], {0}),
        ([*[True] * 20, False, False, False], {20, 21, 22}),
        ([False] * 4 + [True] * 20, set()),
        ([False, True], set()),
        ([False] * 3, set()),
        ([], set()),
    ],
)
def test_only_a_few_among_many_slices_are_set_aside(slices, aside):
    assert set_aside(slices) == aside


@pytest.mark.parametrize(
    ("identities", "patients"),
    [
        ({("P1", "A"), ("P1", "")}, 1),
        ({("P1", "A"), ("P1", "B")}, 2),
        ({("P1", "A"), ("P2", "")}, 2),
        ({("P1", ""), ("", "")}, 2),
        (set(), 0),
    ],
)
def test_an_absent_issuer_is_no_other_patient(identities, patients):
    assert patients_among(identities) == patients


@pytest.mark.parametrize(
    ("value", "limit", "signed", "found"),
    [
        (-2000, None, True, (-2000, -2000)),
        (63536, None, True, (-2000, -2000)),
        (63536, None, False, (63536, 63536)),
        (4095, 4090, False, (4090, 4095)),
        (None, None, True, None),
        ("none", None, True, None),
    ],
)
def test_padding_is_a_range_of_stored_values(value, limit, signed, found):
    assert padding_range(value, limit, signed) == found
