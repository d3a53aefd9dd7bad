"""Sets of neighbouring stages that hold the true one with a stated probability."""

from __future__ import annotations

from collections.abc import Sequence


def growth(probabilities: Sequence[float]) -> list[int]:
    """Positions in the order in which a set of neighbours grows: the likeliest, then ever the likelier neighbour."""
    n = len(probabilities)
    low = high = max(range(n), key=lambda k: probabilities[k])
    order = [low]
    while len(order) < n:
        below = probabilities[low - 1] if low > 0 else -1.0
        above = probabilities[high + 1] if high < n - 1 else -1.0
        if below > above:
            low -= 1
            order.append(low)
        else:
            high += 1
            order.append(high)
    return order


def ordinal_set(probabilities: Sequence[float], threshold: float) -> tuple[int, int]:
    """First and last position of the smallest set of neighbours whose probability reaches `threshold`; never empty."""
    total, taken = 0.0, []
    for position in growth(probabilities):
        taken.append(position)
        total += probabilities[position]
        if total >= threshold:
            break
    return min(taken), max(taken)


def ordinal_score(probabilities: Sequence[float], true: int) -> float:
    """Probability of the growing set at the moment when it first holds the true position: its nonconformity."""
    total = 0.0
    for position in growth(probabilities):
        total += probabilities[position]
        if position == true:
            return total
    raise ValueError(f"position {true} is not one of {len(probabilities)}")
