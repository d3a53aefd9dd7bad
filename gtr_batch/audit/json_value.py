"""Values as JSON can say them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum

import numpy as np


def json_value(value: object, digits: int = 10) -> object:
    """JSON-able, deeply: arrays as lists, days and enums as text, floats to so many digits, None for NaN and infinity.

    Rounded, so that the last bits of a sum, which differ between machines, do not change a file.
    """
    if isinstance(value, Mapping):
        return {str(k): json_value(v, digits) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_value(value.tolist(), digits)
    if isinstance(value, list | tuple):
        return [json_value(v, digits) for v in value]
    if isinstance(value, Enum):
        return str(value.value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return str(value)
