"""The canary: what the path makes of a phantom series that belongs to a model, beside what it made of it when recorded.

Before a night stages patients it stages this series. A driver, a library or a card that computes something else than
the machine that recorded the answer is found so, by numbers, and not by a radiologist.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from enum import StrEnum

import numpy as np
from attrs import field, frozen


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(values)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


class CanaryOutcome(StrEnum):
    """What became of a canary."""

    RECORDED = "recorded"  # its answer was taken, and is what later ones are held against
    PASSED = "passed"
    FAILED = "failed"
    ABSENT = "absent"  # the model was made before models had one


@frozen
class Deviation:
    """How far one quantity lies from the recorded one, and how far it may; `words` for what is no number."""

    quantity: str
    found: float
    allowed: float
    words: str = ""

    @property
    def is_beyond(self) -> bool:
        """Whether it lies too far away; what is not a number does."""
        return not self.found <= self.allowed

    @property
    def sentence(self) -> str:
        """Quantity and numbers."""
        return f"{self.quantity}: {self.words or f'{self.found:.3g} away, at most {self.allowed:g}'}"


@frozen
class CanaryEvent:
    """A canary was recorded or staged; `seconds` with loading the model, `sentence` without PHI."""

    model_version: str
    outcome: CanaryOutcome = field(converter=CanaryOutcome)
    sentence: str
    host: str
    device: str = ""
    seconds: float = 0.0
    canary_sha256: str = ""  # of canary.zip; empty where there is none
    night: date | None = None
    deviations: Sequence[Deviation] = field(default=())
    at: datetime | None = None  # None until it is kept


# How far each quantity may lie from the recorded one. `docs/operations.md` has what was measured: another number of
# threads, another CPU's instructions and a GPU move them by far less, a fault by more.
INTENSITY = 0.005  # mean and SD of the slices before normalisation, relative: what N4 and the window make of HU
PREPARED = 0.02  # blocks of the network's input, in its own units (SD)
LOGITS = 0.02  # relative to the largest recorded logit, where that is above 1
LOCATOR = 0.02  # largest score, relative to its size, where that is above 1
PROBABILITY = 0.02  # of the network, of the nomogram, and as the report says them
HEAT_CORRELATION = 0.02  # 1 - Pearson's r over blocks of the heat map
HEAT_CENTRE = 0.02  # of the image's side
POINTS = 1.0  # of the nomogram's total
BLOCKS = 14  # a side, in which slices and heat maps are kept
MINIMUM_LEAD = 2 * PROBABILITY  # by which a slice's stage must lead, or tolerated noise may turn it


@frozen
class ReportContent:
    """What was written for the PACS and reads back: the objects, and of the SR its concepts and its answer."""

    objects: tuple[str, ...] = field(converter=_texts)  # kind and SOP class
    concepts: tuple[str, ...] = field(converter=_texts)  # value type and code of every content item, each once
    t_stage: str
    probabilities: tuple[float, ...] = field(converter=_floats)


@frozen
class CanaryAnswer:
    """What the path makes of the canary series, from pixels to report. Blocks lie slice by slice, row by row.

    A field that is added later has a default: the canaries of earlier versions must still be read.
    """

    model_version: str
    slices: tuple[str, ...] = field(converter=_texts)  # SOP Instance UIDs below, key and above
    intensity: tuple[float, ...] = field(converter=_floats)  # three means, three SD
    prepared: tuple[float, ...] = field(converter=_floats)
    locator: float | None
    logits: tuple[float, ...] = field(converter=_floats)
    slice_probabilities: tuple[float, ...] = field(converter=_floats)
    probabilities: tuple[float, ...] = field(converter=_floats)
    t_stage: str
    heat: tuple[float, ...] = field(converter=_floats)  # as explain wrote it, for the stage; empty on many phantoms
    heat_of_classes: tuple[float, ...] = field(converter=_floats)  # for T1, T2, T3 and T4 in turn
    points: float | None
    nomogram: tuple[float, ...] = field(converter=_floats)  # empty where the model has none
    report: ReportContent

    @property
    def is_clear(self) -> bool:
        """Whether every slice's stage leads by more than noise may move it: else the stage itself is not compared."""
        each = np.sort(np.reshape(self.slice_probabilities, (3, -1)), axis=1)
        return bool((each[:, -1] - each[:, -2] > MINIMUM_LEAD).all())


def blocks(images: np.ndarray) -> tuple[float, ...]:
    """Means of `BLOCKS` x `BLOCKS` parts of each image of a stack (n, rows, columns)."""
    rows = [part.mean(axis=1) for part in np.array_split(np.asarray(images, np.float64), BLOCKS, axis=1)]
    parts = np.array_split(np.stack(rows, axis=1), BLOCKS, axis=2)
    return tuple(round(float(v), 5) for v in np.stack([part.mean(axis=2) for part in parts], axis=2).ravel())


def deviations(recorded: CanaryAnswer, found: CanaryAnswer) -> list[Deviation]:
    """Every quantity with its distance, in the order of the path; those beyond what they may be are faults."""
    clear = recorded.is_clear
    return [
        _same("model", recorded.model_version[:12], found.model_version[:12]),
        _same("slices", recorded.slices, found.slices),
        _apart("intensity", recorded.intensity, found.intensity, INTENSITY, relative=True),
        _apart("prepared slices", recorded.prepared, found.prepared, PREPARED),
        *_apart_or_none("key slice locator", recorded.locator, found.locator, LOCATOR, recorded.locator or 0.0),
        _apart("logits", recorded.logits, found.logits, LOGITS * max(1.0, *map(abs, recorded.logits))),
        _apart("probabilities", recorded.probabilities, found.probabilities, PROBABILITY),
        *([_same("stage", recorded.t_stage, found.t_stage)] if clear else []),
        *(_of_heat("heat map", recorded.heat, found.heat) if clear else []),  # it explains the stage
        *_of_heat("heat maps of T1 to T4", recorded.heat_of_classes, found.heat_of_classes),
        *_apart_or_none("nomogram points", recorded.points, found.points, POINTS),
        _apart("nomogram", recorded.nomogram, found.nomogram, PROBABILITY),
        *_of_report(recorded.report, found.report, clear),
    ]


def _of_report(recorded: ReportContent, found: ReportContent, clear: bool) -> Iterator[Deviation]:
    yield _same("report objects", recorded.objects, found.objects)
    yield _same("report concepts", recorded.concepts, found.concepts)
    if clear:
        yield _same("report stage", recorded.t_stage, found.t_stage)
    yield _apart("report probabilities", recorded.probabilities, found.probabilities, PROBABILITY)


def _of_heat(quantity: str, recorded: Sequence[float], found: Sequence[float]) -> Iterator[Deviation]:
    if len(recorded) != len(found):
        yield Deviation(quantity, math.inf, 0.0, f"{len(found)} numbers instead of {len(recorded)}")
        return
    one, other = (np.reshape(heat, (-1, BLOCKS, BLOCKS)) for heat in (recorded, found))
    yield Deviation(f"{quantity}, 1 - correlation", _largest(map(_uncorrelated, one, other)), HEAT_CORRELATION)
    yield Deviation(f"{quantity}, centre", _largest(map(_centres_apart, one, other)), HEAT_CENTRE)


def _uncorrelated(one: np.ndarray, other: np.ndarray) -> float:
    if np.allclose(one, other, atol=1e-3):  # an empty map correlates with nothing
        return 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        return 1.0 - float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _centres_apart(one: np.ndarray, other: np.ndarray) -> float:
    if not (one.sum() > 0 and other.sum() > 0):
        return 0.0 if np.allclose(one, other, atol=1e-3) else math.inf
    at = (np.arange(BLOCKS) + 0.5) / BLOCKS

    def centre(heat: np.ndarray) -> np.ndarray:
        return np.array([heat.sum(axis=1) @ at, heat.sum(axis=0) @ at]) / heat.sum()

    return float(np.linalg.norm(centre(one) - centre(other)))


def _largest(values: object) -> float:
    return float(np.max(np.asarray(list(values))))  # type: ignore[call-overload]  # NaN stays NaN


def _apart(
    quantity: str, recorded: Sequence[float], found: Sequence[float], allowed: float, *, relative: bool = False
) -> Deviation:
    """The largest distance of two rows of numbers."""
    if len(recorded) != len(found):
        return Deviation(quantity, math.inf, allowed, f"{len(found)} numbers instead of {len(recorded)}")
    if not recorded:
        return Deviation(quantity, 0.0, allowed)
    one, other = np.asarray(recorded, float), np.asarray(found, float)
    scale = np.maximum(np.abs(one), 1e-6) if relative else 1.0
    return Deviation(quantity, float(np.max(np.abs(one - other) / scale)), allowed)


def _apart_or_none(
    quantity: str, recorded: float | None, found: float | None, allowed: float, size: float = 1.0
) -> Iterator[Deviation]:
    if recorded is None or found is None:
        yield _same(quantity, recorded is None, found is None)
    else:
        yield _apart(quantity, (recorded,), (found,), allowed * max(1.0, abs(size)))


def _same(quantity: str, recorded: object, found: object) -> Deviation:
    if recorded == found:
        return Deviation(quantity, 0.0, 0.0)
    if isinstance(recorded, tuple) and isinstance(found, tuple):
        missing, added = ([x for x in a if x not in b] for a, b in ((recorded, found), (found, recorded)))
        return Deviation(quantity, 1.0, 0.0, f"missing {missing[:3]}, not recorded {added[:3]}")
    return Deviation(quantity, 1.0, 0.0, f"{found} instead of {recorded}")
