"""What a look at a sealed holdout may cost: the level at which it is judged, and how many more it bears.

Of candidates that are all worse by the margin, one in twenty passes at a level of 5%; of ten on the same patients it is
likelier that one does. So all looks at the same patients share one error rate. The k-th has 1/(k(k + 1)) of it: these
parts sum to 1 over however many looks, so the chance that any such candidate passes is at most the whole, whatever the
dependence between looks (docs/adr/0008).
"""

from __future__ import annotations

from collections.abc import Sequence

from gtr_batch.config import GovernanceConfig
from gtr_batch.domain.cohort import HoldoutLook
from gtr_batch.domain.gate import Look
from gtr_batch.metrics.noninferiority import exact_power

USELESS = 0.5  # a level at which an equal candidate passes the criterion of accuracy less often than this
MOST = 99  # looks ahead


def level_of(number: int, budget: float) -> float:
    """The one-sided level of the `number`-th look, the first being 1; over all of them they sum to `budget`."""
    return budget / (number * (number + 1))


def number_of(looks: Sequence[HoldoutLook], cohort: str, version: str) -> int:
    """Which look of this model at this holdout it is; a model that is asked again looks at nothing new."""
    return looks.index(HoldoutLook(cohort, version)) + 1


def look(number: int, patients: int, settings: GovernanceConfig) -> Look:
    """The `number`-th look at so many patients."""
    level, power = level_of(number, settings.error_budget), _power(number, patients, settings)
    left = 0
    while left < MOST and _power(number + left + 1, patients, settings) >= USELESS:
        left += 1
    after = (
        f"{left}{' or more' if left == MOST else ''} more look{'' if left == 1 else 's'} until that is less than half."
    )
    sentence = (
        f"Look {number} at these sealed patients: judged at a one-sided level of {100 * level:.2g}% of the "
        f"{100 * settings.error_budget:g}% that all looks share. A candidate as good as the champion passes the "
        f"criterion of accuracy in {power:.0%} at it; "
        + (after if left else "the next look would have less than half: seal new patients.")
    )
    return Look(number=number, level=level, budget=settings.error_budget, left=left, power=power, sentence=sentence)


def _power(number: int, patients: int, settings: GovernanceConfig) -> float:
    level = level_of(number, settings.error_budget)
    return exact_power(patients, settings.accuracy_margin, settings.assumed_discordance, 0.0, level)
