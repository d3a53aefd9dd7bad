"""Any value as JSON can hold it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np


def json_value(value: Any, digits: int) -> Any:
    """JSON-able, deeply: arrays and tuples as lists, days and enums as text, numbers to so many significant digits.

    None stands for a number that is not finite.
    """
    if isinstance(value, Mapping):
        return {str(k): json_value(v, digits) for k, v in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_value(value.tolist(), digits)
    if isinstance(value, list | tuple):
        return [json_value(v, digits) for v in value]
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
