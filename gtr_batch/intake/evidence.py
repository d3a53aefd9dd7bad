"""What speaks for or against a series being the portal venous one: every rule, each naming what it saw.

The weights and their sources are in ``docs/series-selection.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from attrs import frozen

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.contrast import Phase
from gtr_batch.domain.reconstruction import KernelKind, image_type_problem, kernel_kind
from gtr_batch.domain.series import SeriesEvidence
from gtr_batch.intake.words import Said, monoenergetic, read

_CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2",)  # CT Image Storage; Enhanced CT is not read by this service
_WORST = -100.0


@frozen
class Reason:
    """One piece of evidence: which rule, what it saw (never free text of a header), and its weight."""

    rule: str
    evidence: str
    weight: float = 0.0
    refuses: bool = False


def judge(item: SeriesEvidence, limits: ValidateConfig) -> list[Reason]:
    """Every reason that a series gives, in the order of the rules."""
    return [
        *_kind(item, limits),
        *_kernel(item.headers, limits),
        *_thickness(item.headers, limits),
        *_coverage(item, limits),
        *_pixels(item.contrast),
        *_words(item),
        *_contrast_tags(item.headers),
        *_delay(item.headers),
    ]


def _kind(item: SeriesEvidence, limits: ValidateConfig) -> list[Reason]:
    h = item.headers
    found = []
    modality = text_of(h, "Modality") or item.record.modality
    if modality.upper() != "CT":
        found.append(Reason("modality", "not CT", _WORST, True))
    sop_class = text_of(h, "SOPClassUID")
    if sop_class and sop_class not in _CT_CLASSES:
        found.append(Reason("kind", "not a CT image (secondary capture or another class)", _WORST, True))
    image_type = h.get("ImageType", "")
    problem = image_type_problem(
        [str(v) for v in image_type] if isinstance(image_type, list | tuple) else str(image_type)
    )
    if problem:
        found.append(Reason("kind", f"Image Type says {problem}", _WORST, True))
    elif h.get("ImageType"):
        found.append(Reason("kind", "primary axial Image Type", 1.0))
    if words := _monoenergetic(item):
        found.append(Reason("kind", f"virtual monoenergetic series: {words}", _WORST, True))
    orientation = h.get("ImageOrientationPatient")
    if isinstance(orientation, list) and len(orientation) == 6 and not _is_axial(orientation):
        found.append(Reason("kind", "slices are not axial", _WORST, True))
    rows, columns = h.get("Rows"), h.get("Columns")
    if rows is not None and columns is not None and (rows, columns) != (limits.matrix, limits.matrix):
        found.append(
            Reason("matrix", f"matrix {rows} x {columns}, not {limits.matrix} x {limits.matrix}", _WORST, True)
        )
    return found


def _monoenergetic(item: SeriesEvidence) -> str:
    """What says that the series is virtual monoenergetic; empty where nothing does."""
    h = item.headers
    sources = (
        ("series description", text_of(h, "SeriesDescription") or item.record.description),
        ("derivation description", text_of(h, "DerivationDescription")),
    )
    said = ((where, monoenergetic(text)) for where, text in sources)
    return next((f"{where} says {words!r}" for where, words in said if words), "")


def _is_axial(orientation: Sequence[Any]) -> bool:
    """Whether rows and columns lie along the patient's axes; numbers that are none are for validation to judge."""
    try:
        return max(abs(abs(float(orientation[0])) - 1), abs(abs(float(orientation[4])) - 1)) <= 0.05
    except ValueError:
        return True


def _kernel(h: Mapping[str, Any], limits: ValidateConfig) -> list[Reason]:
    kind = kernel_kind(text_of(h, "ConvolutionKernel"), text_of(h, "Manufacturer"), limits.kernels)
    if kind is KernelKind.SHARP:
        return [Reason("kernel", "lung or bone kernel", _WORST, True)]
    return [Reason("kernel", "soft-tissue kernel", 1.0)] if kind is KernelKind.SOFT else []


def _thickness(h: Mapping[str, Any], limits: ValidateConfig) -> list[Reason]:
    thickness = number_of(h, "SliceThickness")
    if thickness is None:
        return []
    if not limits.min_thickness_mm - 0.01 <= thickness <= limits.max_thickness_mm + 0.01:
        text = f"slices of {thickness:g} mm, outside {limits.min_thickness_mm:g}-{limits.max_thickness_mm:g} mm"
        return [Reason("thickness", text, _WORST, True)]
    return [Reason("thickness", f"slices of {thickness:g} mm", 0.5)]


def _coverage(item: SeriesEvidence, limits: ValidateConfig) -> list[Reason]:
    if item.coverage_mm is None:
        return []
    if item.coverage_mm < limits.min_coverage_mm:
        text = f"covers {item.coverage_mm:g} mm, less than {limits.min_coverage_mm:g} mm"
        return [Reason("coverage", text, _WORST, True)]
    return [Reason("coverage", f"covers {item.coverage_mm:g} mm", 0.5)]


def _pixels(contrast: Mapping[str, float]) -> list[Reason]:
    scores = {phase: contrast.get(f"score_{phase}", 0.0) for phase in Phase if phase is not Phase.UNKNOWN}
    measured = ", ".join(
        f"{what} {contrast[key]:.0f} HU"
        for what, key in (("aorta", "aorta_hu"), ("liver", "liver_hu"))
        if key in contrast
    )
    best = max(scores, key=lambda p: scores[p])
    if scores[best] < 0.6:
        return []
    text = f"pixels look {best.value.replace('_', ' ')} ({measured})"
    if best in (Phase.UNENHANCED, Phase.ARTERIAL) and "liver_hu" not in contrast:
        return [Reason("pixels", text, -3.0)]  # probes that missed the liver do not refuse alone
    if best in (Phase.UNENHANCED, Phase.ARTERIAL):
        return [Reason("pixels", text, _WORST, True)]
    return [Reason("pixels", text, 5.0 if best is Phase.PORTAL_VENOUS else -3.0)]


_SAID_WEIGHT = {
    Said.PORTAL_VENOUS: 4.0,
    Said.ENHANCED: 1.0,
    Said.ARTERIAL: -6.0,
    Said.DELAYED: -4.0,
    Said.UNENHANCED: -6.0,
}


def _words(item: SeriesEvidence) -> list[Reason]:
    """The series' own description first; its protocol, and then the study's description, only where that is silent."""
    h = item.headers
    sources = (
        ("series description", text_of(h, "SeriesDescription") or item.record.description),
        ("protocol", text_of(h, "ProtocolName") or item.record.protocol),
        ("study description", text_of(h, "StudyDescription")),
    )
    for source, text in sources:
        said = {w.says for w in read(text)}
        if Said.PORTAL_VENOUS in said and said & {Said.ARTERIAL, Said.DELAYED, Said.UNENHANCED}:
            said = set()  # names several phases: says nothing of this series
        if source == "study description":  # a study has several phases: its words only speak of contrast at all
            said &= {Said.ENHANCED}
        if said:
            # What the words mean, never the words: "Tardieu" is read as delayed, and is somebody's name.
            return [
                Reason("words", f"{source} says {says.value.replace('_', ' ')}", _SAID_WEIGHT[says])
                for says in Said
                if says in said
            ]
    return []


def _contrast_tags(h: Mapping[str, Any]) -> list[Reason]:
    """Absence is no proof: real enhanced series lack the tags."""
    agent = text_of(h, "ContrastBolusAgent").lower()
    if agent in ("none", "no", "without", "ohne", "0", "not applied"):
        return [Reason("contrast tags", "contrast agent: none", -2.0)]
    if agent:
        oral_only = "oral" in text_of(h, "ContrastBolusRoute").lower() or agent.startswith("oral")
        return [] if oral_only else [Reason("contrast tags", "a contrast agent is named", 1.0)]
    if (number_of(h, "ContrastBolusVolume") or 0) > 0 or (number_of(h, "ContrastFlowRate") or 0) > 0:
        return [Reason("contrast tags", "a contrast volume or flow is given", 1.0)]
    return []


def _delay(h: Mapping[str, Any]) -> list[Reason]:
    """Seconds from the start of the injection to the acquisition (0018,1042 to 0008,0032)."""
    start, taken = _time(text_of(h, "ContrastBolusStartTime")), _time(text_of(h, "AcquisitionTime"))
    if taken is None:
        taken = _time(text_of(h, "AcquisitionDateTime")[8:])
    if start is None or taken is None:
        return []
    delay = (taken - start).total_seconds()
    if delay < -12 * 3600:
        delay += 24 * 3600  # over midnight
    if not 0 < delay < 1800:
        return []  # clocks that disagree, or a default value
    if 45 <= delay <= 90:
        return [Reason("delay", f"taken {delay:.0f} s after injection", 3.0)]
    if delay < 40:
        return [Reason("delay", f"taken {delay:.0f} s after injection: arterial", -4.0)]
    if delay > 150:
        return [Reason("delay", f"taken {delay:.0f} s after injection: delayed", -3.0)]
    return [Reason("delay", f"taken {delay:.0f} s after injection: between phases", 0.0)]


def text_of(h: Mapping[str, Any], keyword: str) -> str:
    """A header value as text, the first of several; empty where there is none."""
    value = h.get(keyword, "")
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return str(value).strip()


def number_of(h: Mapping[str, Any], keyword: str) -> float | None:
    """A header value as a number, or None."""
    try:
        value = float(text_of(h, keyword))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _time(text: str) -> datetime | None:
    """A DICOM TM as a time on one day; None where it is none (PS3.5, 6.2)."""
    digits, _, fraction = text.replace(":", "").partition(".")
    digits = digits[:6]
    if len(digits) < 4 or not digits.isdigit():
        return None
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:6] or 0)
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    part = float(f"0.{fraction[:6]}") if fraction[:6].isdigit() else 0.0
    return datetime(2000, 1, 1) + timedelta(hours=hours, minutes=minutes, seconds=seconds + part)  # noqa: DTZ001 - a wall clock
