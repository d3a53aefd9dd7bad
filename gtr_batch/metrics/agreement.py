"""How two models agree on the same cases, of which nobody knows the truth yet."""

from __future__ import annotations

from typing import Any

import numpy as np

from gtr_batch.metrics.classification import confusion, kappa_of
from gtr_batch.metrics.intervals import wilson


def agreement(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Agreement of two models' stages.

    Parameters
    ----------
    before, after : array, (n,), int
        Positions 0 to 3 of T1 to T4.

    Returns
    -------
    dict
        ``cases``, ``agree``, ``share`` with its Wilson interval ``share_95``, quadratic weighted ``kappa`` (None where
        it is not defined), ``higher`` and ``lower`` (cases that `after` stages so), and ``table``: rows `before`,
        columns `after`.
    """
    before, after = np.asarray(before, int), np.asarray(after, int)
    n, agree = len(before), int((before == after).sum())
    table = confusion(before, after)
    interval = wilson(agree, n)
    return {
        "cases": n,
        "agree": agree,
        "share": agree / n if n else None,
        "share_95": None if interval is None else [float(edge) for edge in interval],
        "kappa": kappa_of(table),
        "higher": int((after > before).sum()),
        "lower": int((after < before).sum()),
        "table": table.astype(int).tolist(),
    }
