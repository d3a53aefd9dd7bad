"""What a reconstruction kernel and an Image Type say of a CT series: text rules, per vendor.

Both `intake` (which series) and `validate` (is it what was expected) judge by these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum


class KernelKind(StrEnum):
    """What a convolution kernel (0018,1210) is for."""

    SOFT = "soft"
    SHARP = "sharp"  # lung, bone and edge kernels: refused
    UNKNOWN = "unknown"  # not recognised, or not said: taken, and said so


# Siemens: a family letter or two and a number that grows with sharpness (B30f, Br40d, I31f, Qr36, Bl57, Bf37).
_SIEMENS = re.compile(r"^(b|i|d|br|bf|bl|bv|bu|bm|qr|sa)[ _]?(\d\d)[a-z]*(\b|_)", re.IGNORECASE)
# Toshiba and Canon: FC01-FC19 body, FC20-29 and FC40-49 head, FC30-39 bone, FC50-59 lung, FC80-89 high resolution.
_TOSHIBA = re.compile(r"^fc ?(\d\d)", re.IGNORECASE)
_SHARP_WORDS = re.compile(
    r"lung|bone|edge|ultra|chst|sharp|hrct|thorax_?hr|inner.?ear|osteo|poumon|knochen|肺|骨", re.IGNORECASE
)
_SOFT_WORDS = re.compile(r"^r?_?(standard|stnd|std|soft|body|abdomen|smooth|detail)", re.IGNORECASE)
_PHILIPS_SOFT = frozenset({"A", "B", "C", "IA", "IB", "IC", "YA", "SB", "SC"})
_PHILIPS_SHARP = frozenset({"E", "L", "YC", "YD", "LA", "LB"})

# Image Type (0008,0008) values that name something else than an axial slice of the measured attenuation.
_NOT_SLICES = re.compile(
    r"^(localizer|scout|topogram|surview|ref_survi.*|mpr|csa mpr|cpr|reformatted|projection image|max_?ip|mip|min_?ip"
    r"|volume ?ren.*|volren|vrt|3d|screen ?save|dose(_info)?|patient_info|results|mosaic|fusion|perfusion.*"
    r"|vnc|vue|iodine.*|calcium.*|material.*|mat_.*|eff_?atomic.*|electron_?density.*|eff_?z.*|rho.*|z_?effective|monitor.*|bolus.*)$",
    re.IGNORECASE,
)

_FAMILIES = re.compile(
    r"ref_survi|volume ?ren|dose_?info|perfusion|iodine|calcium|material|mat_|eff_?atomic"
    r"|electron_?density|eff_?z|rho|monitor|bolus",
    re.IGNORECASE,
)
# Virtual monoenergetic images: VMI is the standard's word (PS3.3, C.8.2.1.1.1; Supplement 188), the others vendors'.
_MONOENERGETIC = re.compile(r"vmi.*|(gsi ?)?mono ?_?(e|\+|\d|$).*|monochromatic.*|virtual ?_?mono.*", re.IGNORECASE)
# A kernel's name as vendors build them: a few letters with a number, or a word of theirs.
_KERNEL_NAME = re.compile(
    r"[a-z]{1,2}[ _]?\d{2}[a-z]{0,2}(_\d)?|fc ?\d\d|[a-z]{1,2}|lung|bone(plus)?|edge|ultra(sharp)?|chst|sharp|hrct"
    r"|standard|stnd|std|soft|body|abdomen|smooth|detail",
    re.IGNORECASE,
)


def kernel_shown(kernel: str) -> str:
    """A kernel's name as it may be shown: what vendors call theirs; whatever else was typed there is not repeated."""
    text = kernel.strip()
    return text if not text or _KERNEL_NAME.fullmatch(text) else "another kernel"


def kernel_kind(kernel: str | Sequence[str] | None, manufacturer: str = "", soft: Iterable[str] = ()) -> KernelKind:
    """What a convolution kernel is for.

    Parameters
    ----------
    kernel : str or sequence of str
        Convolution Kernel (0018,1210); of several values the first counts (``["Br38f", "3"]`` on recent Siemens).
    manufacturer : str
        Manufacturer (0008,0070): Philips' one-letter filters mean nothing without it.
    soft : iterable of str
        Regular expressions of further soft-tissue kernels (``validate.kernels`` in the settings); they win.

    References
    ----------
    Paper, Table 4 (soft-tissue reconstructions); vendors' DICOM conformance statements for the names.
    """
    if kernel is None:
        return KernelKind.UNKNOWN
    text = (kernel if isinstance(kernel, str) else str(kernel[0]) if len(kernel) else "").strip()
    if not text:
        return KernelKind.UNKNOWN
    if any(re.search(pattern, text) for pattern in soft):
        return KernelKind.SOFT
    if _SHARP_WORDS.search(text):
        return KernelKind.SHARP
    if match := _TOSHIBA.match(text):
        number = int(match[1])
        if 1 <= number <= 19:
            return KernelKind.SOFT
        return KernelKind.SHARP if number // 10 in (3, 5, 8) else KernelKind.UNKNOWN
    if match := _SIEMENS.match(text):
        return KernelKind.SOFT if int(match[2]) < 50 else KernelKind.SHARP
    if "philips" in manufacturer.lower():
        name = text.upper()
        if name in _PHILIPS_SHARP:
            return KernelKind.SHARP
        if name in _PHILIPS_SOFT:
            return KernelKind.SOFT
    return KernelKind.SOFT if _SOFT_WORDS.match(text) else KernelKind.UNKNOWN


def image_type_problem(image_type: str | Sequence[str] | None) -> str:
    """What in an Image Type (0008,0008) says that this is no primary axial slice; empty where nothing does.

    ``DERIVED\\PRIMARY\\AXIAL`` passes: archives write DERIVED on lossy compression and de-identification alone. Value 2
    SECONDARY, value 3 LOCALIZER and names of reformats, captures and material maps do not. An absent Image Type passes
    here: geometry and SOP Class still speak.

    References
    ----------
    DICOM PS3.3, C.7.6.1.1.2 and C.8.2.1.1.1.
    """
    if not image_type:
        return ""
    values = [image_type] if isinstance(image_type, str) else [str(v) for v in image_type]
    values = [v.strip().upper() for v in values]
    if len(values) > 1 and values[1] == "SECONDARY":
        return "SECONDARY"
    for value in values:
        if _MONOENERGETIC.fullmatch(value):
            return "virtual monoenergetic"
        if _NOT_SLICES.match(value):
            family = _FAMILIES.match(value)  # what follows a family's name may be anything
            return family[0] if family else value[:16]
    return ""
