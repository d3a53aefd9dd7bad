"""The monitors of drift: labelled and unlabelled, under one budget of false alarms.

`watch` is a pure function of the audit's inputs: every monitor's path since it began to watch is worked out again each
time, so that a rerun gives the same. What each monitor's null is and why, and what the budget costs: docs/audit.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve

from gtr_batch.audit.monitors.features import watch_features
from gtr_batch.audit.monitors.inputs_watched import watch_headers, watch_key_slice, watch_quality, watch_refusals
from gtr_batch.audit.monitors.outputs_watched import watch_confidence, watch_disagreement, watch_output
from gtr_batch.audit.monitors.stage_shift import watch_stage_shift
from gtr_batch.audit.monitors.watched import TITLES, Watched
from gtr_batch.domain.audit_run import AuditInputs, known_by

_WATCHES: Mapping[str, Callable[[AuditInputs], Watched]] = {
    "stage_shift": watch_stage_shift,
    "headers": watch_headers,
    "quality": watch_quality,
    "refusals": watch_refusals,
    "features": watch_features,
    "output": watch_output,
    "disagreement": watch_disagreement,
    "key_slice": watch_key_slice,
    "confidence": watch_confidence,
}
MONITORS: tuple[str, ...] = tuple(name for name in _WATCHES if name != "confidence")

__all__ = ["MONITORS", "TITLES", "Watched", "watch"]


def watch(inputs: AuditInputs) -> list[Watched]:
    """Every monitor's answer, in the order of the settings; last what the probabilities promise, which never alarms.

    Parameters
    ----------
    inputs : AuditInputs
        Only what was known by `as_of` counts, and no night after `last`.

    Returns
    -------
    list of Watched
    """
    known = evolve(inputs, cases=tuple(known_by(c, inputs.as_of) for c in inputs.cases))
    return [watch_one(known) for watch_one in _WATCHES.values()]
