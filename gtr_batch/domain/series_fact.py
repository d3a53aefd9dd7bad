"""What is known of a series: every fact once, with its name, titles, unit, kind, bins and weight.

Validation fills these facts, the artefact's reference keeps their distribution, the audit's monitors compare them, the
report shows them, and the simulation draws them. To watch one more header: a row here, and the line in
`gtr_batch.validate.headers` that reads it out of the Dataset.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

from attrs import frozen

from gtr_batch.domain.contrast import Phase
from gtr_batch.domain.reconstruction import KernelKind

UNKNOWN = "unknown"


class FactSource(StrEnum):
    """Where validation reads a fact."""

    HEADER = "header"  # the series' middle instance
    STACK = "stack"  # geometry and pixels of all slices
    PHASE = "phase"  # the contrast phase from pixels; absent where aorta or liver was not met


class FactKind(StrEnum):
    """How a fact is compared."""

    NAME = "name"  # by the share of each value
    NUMBER = "number"  # by quantiles
    SCORES = "scores"  # a number for each of several names; kept, and compared by nobody


class FactMonitor(StrEnum):
    """The audit's monitor that watches a fact."""

    HEADERS = "headers"
    QUALITY = "quality"


@frozen
class SeriesFact:
    """One fact.

    `title` stands within a sentence, `heading` over a figure (empty: not shown); `unit` as printed, empty where it has
    none. `monitor` is None for what is kept and not watched; `weight` its part of the monitor's share; `bin_width` in
    `unit`, 0 for values as they are. `in_reference`: whether the artefact's reference holds its distribution. `chart`:
    its place among the figures. `optional`: a header that many scanners leave out is then no fact at all. `values`: the
    only values that it may have; empty where any may be.
    """

    name: str
    title: str
    source: FactSource
    kind: FactKind = FactKind.NUMBER
    unit: str = ""
    monitor: FactMonitor | None = None
    weight: float = 1.0
    bin_width: float = 0.0
    in_reference: bool = True
    heading: str = ""
    chart: int = 0
    optional: bool = False
    values: tuple[str, ...] = ()

    def binned(self, value: Any) -> str:
        """A case's or a reference's value as the monitors compare it: ``0.7 to 0.8`` where values are binned."""
        text = tidy(value)
        if not self.bin_width:
            return text
        try:
            low = math.floor(float(text) / self.bin_width + 1e-9) * self.bin_width
        except ValueError:
            return text
        return f"{low:.1f} to {low + self.bin_width:.1f}"


def tidy(value: Any) -> str:
    """A value as references write it; numbers without needless zeros, so that 120 and 120.0 are one."""
    text = str(value).strip()
    try:
        return f"{float(text):g}"
    except ValueError:
        return text if text and text not in ("None", "nan") else UNKNOWN


_HEADER, _STACK, _PHASE = FactSource.HEADER, FactSource.STACK, FactSource.PHASE
_HEADERS, _QUALITY, _NAME = FactMonitor.HEADERS, FactMonitor.QUALITY, FactKind.NAME

# In the order in which the monitors take them. Manufacturer and model say most of what the other headers say; they have
# half of the monitor's share.
FACTS: tuple[SeriesFact, ...] = (
    SeriesFact("manufacturer", "manufacturer", _HEADER, _NAME, monitor=_HEADERS, weight=3),
    SeriesFact("model", "model", _HEADER, _NAME, monitor=_HEADERS, weight=3, heading="Scanner", chart=1),
    SeriesFact("kernel", "kernel", _HEADER, _NAME, monitor=_HEADERS, weight=2, heading="Kernel", chart=4),
    SeriesFact(
        "kernel_kind",
        "kind of kernel",
        _HEADER,
        _NAME,
        monitor=_HEADERS,
        values=tuple(str(kind) for kind in KernelKind),
    ),
    SeriesFact("kvp", "kVp", _HEADER, _NAME, monitor=_HEADERS, heading="Tube voltage (kVp)", chart=2),
    SeriesFact(
        "thickness_mm",
        "slice thickness (mm)",
        _HEADER,
        _NAME,
        monitor=_HEADERS,
        heading="Slice thickness (mm)",
        chart=3,
    ),
    SeriesFact("pixel_spacing_mm", "pixel spacing (mm)", _HEADER, _NAME, monitor=_HEADERS, bin_width=0.1),
    SeriesFact(
        "contrast_agent",
        "contrast agent in the headers",
        _HEADER,
        _NAME,
        monitor=_HEADERS,
        heading="Contrast agent in header",
        chart=5,
    ),
    SeriesFact("ctdi_vol_mgy", "CTDIvol", _HEADER, unit="mGy", monitor=_HEADERS, in_reference=False, optional=True),
    SeriesFact("exposure_mas", "exposure", _HEADER, unit="mAs", monitor=_HEADERS, in_reference=False, optional=True),
    SeriesFact("transfer_syntax", "transfer syntax", _HEADER, _NAME, in_reference=False),
    SeriesFact("air_hu", "air", _STACK, unit="HU", monitor=_QUALITY, heading="Air (HU)", chart=9),
    SeriesFact("tissue_share", "share of tissue", _STACK, monitor=_QUALITY),
    SeriesFact("aorta_hu", "aorta", _PHASE, unit="HU", monitor=_QUALITY, heading="Aorta (HU)", chart=10),
    SeriesFact("liver_hu", "liver", _PHASE, unit="HU", monitor=_QUALITY, heading="Liver (HU)", chart=11),
    SeriesFact("coverage_mm", "coverage", _STACK, unit="mm", monitor=_QUALITY, heading="Coverage (mm)", chart=7),
    SeriesFact("slices", "number of slices", _STACK, monitor=_QUALITY, heading="Slices", chart=6),
    SeriesFact("spacing_mm", "slice spacing", _STACK, unit="mm", heading="Slice spacing (mm)", chart=8),
    SeriesFact("shear_degrees", "shear of the stack", _STACK, unit="degrees", in_reference=False),
    SeriesFact("out_of_order", "slices out of the order of their numbers", _STACK, in_reference=False),
    SeriesFact("air_share", "share of air", _STACK, in_reference=False),
    SeriesFact(
        "phase", "contrast phase", _PHASE, _NAME, in_reference=False, values=tuple(str(phase) for phase in Phase)
    ),
    SeriesFact("phase_scores", "evidence for each phase", _PHASE, FactKind.SCORES, in_reference=False),
    SeriesFact("aorta_slices", "slices that show the aorta", _PHASE, in_reference=False),
    SeriesFact("liver_slices", "slices that show the liver", _PHASE, in_reference=False),
    SeriesFact("slices_measured", "slices measured for the phase", _PHASE, in_reference=False),
)


def from_source(source: FactSource) -> tuple[SeriesFact, ...]:
    """The facts that validation reads there."""
    return tuple(fact for fact in FACTS if fact.source is source)


def watched_by(monitor: FactMonitor) -> tuple[SeriesFact, ...]:
    """The facts that a monitor compares."""
    return tuple(fact for fact in FACTS if fact.monitor is monitor)


def referred(kind: FactKind) -> tuple[SeriesFact, ...]:
    """The facts whose distribution the artefact's reference holds."""
    return tuple(fact for fact in FACTS if fact.in_reference and fact.kind is kind)


def charted(kind: FactKind) -> tuple[SeriesFact, ...]:
    """The facts that the audit's report draws over time, in the order of its figures."""
    return tuple(sorted((f for f in FACTS if f.chart and f.kind is kind), key=lambda fact: fact.chart))
