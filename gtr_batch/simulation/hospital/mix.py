"""How many of the simulated hospital's patients have which stage.

The paper's cohorts are balanced by selection: sensitivity, specificity and PPV of its Table 2 give a quarter to each
stage. Hospitals are not: Table 3's thresholds with Table 1's covariates give 2/11/39/48. The default lies between.
"""

from __future__ import annotations

import math

import numpy as np

from gtr_batch.errors import InputRefused

Mix = tuple[float, float, float, float]

STAGE_MIX: Mix = (0.15, 0.15, 0.35, 0.35)


def parse_mix(text: str) -> Mix:
    """From ``15/15/35/35``: percent of T1 to T4, summing to 100.

    Raises
    ------
    InputRefused
        Not four numbers above 0 that sum to 100.
    """
    try:
        shares = [float(part) / 100 for part in text.split("/")]
    except ValueError:
        shares = []
    if len(shares) != 4 or not all(s > 0 for s in shares) or not math.isclose(sum(shares), 1, abs_tol=1e-9):
        raise InputRefused(f"mix {text!r}: percent of T1/T2/T3/T4, above 0 and together 100, such as 15/15/35/35")
    return shares[0], shares[1], shares[2], shares[3]


def in_turn(mix: Mix, patients: int) -> list[int]:
    """Positions of the stages, 0 to 3, so that every beginning of the list holds them in proportion."""
    counts, found = np.zeros(4), []
    for k in range(patients):
        behind = int(np.argmax(np.round(np.array(mix) * (k + 1) - counts, 9)))
        counts[behind] += 1
        found.append(behind)
    return found
