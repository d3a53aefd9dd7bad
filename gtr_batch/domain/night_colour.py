"""When a night is red: one rule, for whoever closes it and for whoever tells of it afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from gtr_batch.domain.canary import CanaryOutcome


class RedBecause(StrEnum):
    """Why a night is red, the first of these that holds."""

    STOPPED = "stopped"
    CANARY = "canary"
    FAILED = "failed"


def red_because(summary: Mapping[str, Any], tolerance: int) -> RedBecause | None:
    """Why the night of this summary is red; None where it is green.

    Parameters
    ----------
    summary : mapping
        As `gtr_batch.night.close.summarise` made it, perhaps in an earlier version, which kept less.
    tolerance : int
        Cases and studies that may fail, or not finish (`night.failure_tolerance`).
    """
    if summary.get("stopped"):
        return RedBecause.STOPPED
    if any(one.get("outcome") == CanaryOutcome.FAILED for one in summary.get("canary", [])[:1]):
        return RedBecause.CANARY
    return RedBecause.FAILED if len(failed_in(summary)) > tolerance else None


def failed_in(summary: Mapping[str, Any]) -> Mapping[str, str]:
    """What failed or did not finish, by case or study, and why."""
    return {**summary.get("failed", {}), **summary.get("intake", {}).get("errors", {})}
