"""Risk against coverage: counted by hand, and what an order can and cannot do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.metrics.selective import risk_coverage

cases = st.lists(st.tuples(st.booleans(), st.sampled_from([0.3, 0.5, 0.7, 0.9])), min_size=1, max_size=40)


def test_the_curve_of_four_patients_is_as_counted_by_hand():
    found = risk_coverage([True, False, True, False], [0.9, 0.8, 0.7, 0.6])

    # risk with 1, 2, 3, 4 answered: 0, 1/2, 1/3, 1/2
    assert found["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)
    assert found["best"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)
    assert found["coverage"][-1] == 1.0
    assert found["risk"][-1] == pytest.approx(0.5)


def test_nobody_answered_is_no_curve():
    assert risk_coverage([], []) is None


@settings(deadline=None)
@given(cases)
def test_no_order_is_better_than_the_best_and_all_end_at_the_same_risk(found):
    right, sure = zip(*found, strict=True)

    curve = risk_coverage(right, sure)

    assert curve["best"] <= curve["aurc"] + 1e-12
    assert curve["risk"][-1] == pytest.approx(1 - np.mean(right))


@settings(deadline=None)
@given(cases, st.randoms())
def test_the_order_of_rows_does_not_matter(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)

    first, second = (risk_coverage(*zip(*rows, strict=True)) for rows in (found, shuffled))

    assert first["risk"] == pytest.approx(second["risk"])
    assert first["aurc"] == pytest.approx(second["aurc"])
