"""Is the new model not worse, beyond a margin, on the same patients? Paired, one-sided, with its exact power."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

ALPHA = 0.05  # one-sided


def tango_interval(gained: int, lost: int, n: int, alpha: float = ALPHA) -> tuple[float, float] | None:
    """Score interval of a difference of paired shares, each bound one-sided at `alpha`; None without patients.

    It holds its level also where few pairs differ, where a bootstrap of the same patients is far too sure of itself:
    without any pair that differs that one has no width at all.

    Parameters
    ----------
    gained, lost : int
        Patients whom only the new model staged rightly, and whom only the old one did.
    n : int
        Patients.

    Returns
    -------
    tuple of float
        Bounds of new minus old, within [-1, 1].

    References
    ----------
    Tango, Stat Med 1998; 17:891-908
    """
    if n == 0:
        return None
    z = float(norm.ppf(1 - alpha))

    def statistic(delta: float) -> float:
        # Constrained maximum-likelihood estimate of the share lost, given the difference.
        a = 2.0 * n
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        q = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
        variance = n * (2 * q + delta * (1 - delta))
        return (gained - lost - n * delta) / math.sqrt(variance) if variance > 1e-12 else math.nan

    estimate, edge = (gained - lost) / n, 1 - 1e-9

    def bound(goal: float, far: float) -> float:
        low, high = sorted((estimate, far))
        inner = 1e-9 if far > estimate else -1e-9
        low, high = (low + inner, high) if far > estimate else (low, high + inner)
        try:
            return float(brentq(lambda d: statistic(d) - goal, low, high, xtol=1e-10))
        except ValueError:  # the statistic does not reach the goal before the edge
            return far

    return bound(z, -edge), bound(-z, edge)


def patients_needed(margin: float, discordance: float, power: float = 0.9, alpha: float = ALPHA) -> int:
    """Labelled patients for a margin, where this share of pairs differs and the models are equally good.

    ``(z(1 - alpha) + z(power))^2 * discordance / margin^2``: 343 for 5 points, a tenth of pairs and a power of 0.9.

    References
    ----------
    Lachenbruch, Lynch, Stat Med 1998
    """
    z = float(norm.ppf(1 - alpha) + norm.ppf(power))
    return math.ceil(z * z * discordance / margin**2)


def shows(gained: np.ndarray, lost: np.ndarray, n: int, margin: float, alpha: float = ALPHA) -> np.ndarray:
    """Whether `tango_interval`'s lower bound lies at or above ``-margin``, for arrays of counts; bool, same shape."""
    gained, lost = np.asarray(gained, float), np.asarray(lost, float)
    b = -gained - lost - (2 * n - gained + lost) * margin
    c = lost * margin * (1 + margin)
    share_lost = (np.sqrt(np.maximum(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
    variance = n * (2 * share_lost - margin * (1 + margin))
    enough: np.ndarray = gained - lost + n * margin >= norm.ppf(1 - alpha) * np.sqrt(np.maximum(variance, 0.0))
    return enough


@lru_cache(maxsize=256)
def exact_power(n: int, margin: float, discordance: float, difference: float = 0.0, alpha: float = ALPHA) -> float:
    """How often the score bound of `n` patients shows non-inferiority: summed over what can happen, not simulated.

    Parameters
    ----------
    difference : float
        True difference of accuracy, new minus old: 0 gives the power, ``-margin`` the error rate.
    """
    if abs(difference) > discordance:
        raise ValueError(f"a difference of {difference} needs more pairs that differ than {discordance}")
    if n == 0 or discordance == 0:
        return float(n > 0 and bool(shows(np.zeros(1), np.zeros(1), n, margin, alpha)[0]))
    spread = 8 * math.sqrt(n * discordance * (1 - discordance)) + 8
    least, most = max(0, int(n * discordance - spread)), min(n, int(n * discordance + spread))
    differ = np.arange(least, most + 1)[:, None]
    gained = np.arange(most + 1)[None, :]
    chance = binom.pmf(differ, n, discordance) * binom.pmf(gained, differ, 0.5 + difference / discordance / 2)
    return float((chance * shows(gained, np.maximum(differ - gained, 0), n, margin, alpha)).sum())


@lru_cache(maxsize=64)
def patients_for(margin: float, discordance: float, power: float = 0.9, alpha: float = ALPHA) -> int:
    """As `patients_needed`, by the score bound itself: so many, or a few more, have at least this power."""
    n = patients_needed(margin, discordance, power, alpha)
    # Counts are whole numbers, so the power does not rise steadily: ten sizes in a row must have it.
    while not all(exact_power(m, margin, discordance, 0.0, alpha) >= power for m in range(n, n + 10)):
        n += 1
    return n
