"""Studies that are not what the standard says: one seeded table of bends, each with the end that its study must have.

A bend is of the files (headers that no reader expects) or of what the PACS answers to questions about one study. Ends:
a code of `RefusalCode`, ``validated`` (harmless: the series is as good as it was), or the name of an error that the
night's summary must show for the study (``night.intake.errors``) or its case. A VR of other characters than letters
lets the reader lose its place before the Study Instance UID: a file that cannot be read, not another patient's.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from attrs import frozen
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

Bend = Callable[[Dataset], None]


@frozen
class BentStudy:
    """A bend of a study's files, and how the study must end; `share` of its instances are bent, chosen by the seed."""

    name: str
    bend: Bend
    end: str
    share: float = 1.0

    def instances(self, count: int) -> frozenset[int]:
        """Which of `count` instances are bent."""
        some = random.Random(self.name).sample(range(count), round(self.share * count))
        return frozenset(some)


def raw(keyword: str, vr: str, value: bytes, length: int | None = None) -> Bend:
    """The bytes of an element as they are, whatever they mean."""

    def bend(ds: Dataset) -> None:
        tag = Tag(keyword)
        padded = value + b" " * (len(value) % 2)
        ds[tag] = RawDataElement(tag, vr, len(padded) if length is None else length, padded, 0, False, True)

    return bend


def nested(depth: int) -> Bend:
    """That many sequences of undefined length in one another; written as bytes, so that only a reader descends."""
    tag = struct.pack("<HH", 0x0008, 0x1140)  # Referenced Image Sequence
    item, item_end = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    inner = b""
    for _ in range(depth):
        inner = tag + b"SQ\0\0\xff\xff\xff\xff" + item + inner + item_end + end
    return raw("ReferencedImageSequence", "SQ", item + inner + item_end, 0xFFFFFFFF)


BENT_FILES = (
    BentStudy("intercept doubled", raw("RescaleIntercept", "DS", rb"-1024\-1024"), "not_hounsfield"),
    BentStudy("intercept doubled in some", raw("RescaleIntercept", "DS", rb"-1024\-1024"), "not_hounsfield", 0.3),
    BentStudy("intercept of letters", raw("RescaleIntercept", "DS", b"Phantom^Test"), "not_hounsfield"),
    BentStudy("intercept empty", raw("RescaleIntercept", "DS", b""), "not_hounsfield"),
    BentStudy("slope doubled", raw("RescaleSlope", "DS", rb"1\1"), "not_hounsfield"),
    BentStudy("slope of letters", raw("RescaleSlope", "DS", b"one"), "not_hounsfield"),
    BentStudy("spacing between slices doubled", raw("SpacingBetweenSlices", "DS", rb"5\5"), "validated"),
    BentStudy("spacing between slices of letters", raw("SpacingBetweenSlices", "DS", b"five"), "validated"),
    BentStudy("instance number doubled", raw("InstanceNumber", "IS", rb"3\3"), "validated"),
    BentStudy("instance number of letters", raw("InstanceNumber", "IS", b"three"), "validated"),
    BentStudy("instance number too long", raw("InstanceNumber", "IS", b"9" * 40), "validated"),
    BentStudy("thickness doubled", raw("SliceThickness", "DS", rb"5\5"), "slice_thickness"),
    BentStudy("thickness of an unknown VR", raw("SliceThickness", "ZZ", b"5"), "unreadable_pixels"),
    BentStudy("kernel of an unknown VR", raw("ConvolutionKernel", "??", b"B30f"), "unreadable_pixels"),
    BentStudy("kernel of an unknown VR in some", raw("ConvolutionKernel", "??", b"B30f"), "unreadable_pixels", 0.3),
    BentStudy("patient's name of an unknown VR", raw("PatientName", "??", b"Phantom^Test"), "unreadable_pixels"),
    BentStudy("private element of an unknown VR", raw("0x00091001", "QQ", b"12"), "validated"),
    BentStudy("position of two numbers", raw("ImagePositionPatient", "DS", rb"1\2"), "not_primary_axial"),
    BentStudy("position of letters", raw("ImagePositionPatient", "DS", rb"a\b\c"), "not_primary_axial"),
    BentStudy("orientation of five", raw("ImageOrientationPatient", "DS", rb"1\0\0\0\1"), "not_primary_axial"),
    BentStudy("pixel spacing of letters", raw("PixelSpacing", "DS", rb"x\y"), "inconsistent_headers"),
    BentStudy("pixel spacing of one", raw("PixelSpacing", "DS", b"0.8"), "inconsistent_headers"),
    BentStudy("rows doubled", raw("Rows", "US", b"\0\x02\0\x02"), "unreadable_pixels"),
    BentStudy("rows of one byte", raw("Rows", "US", b"\x02", 1), "unreadable_pixels"),
    BentStudy("frames of letters", raw("NumberOfFrames", "IS", b"many"), "unreadable_pixels"),
    BentStudy("acquisition number doubled", raw("AcquisitionNumber", "IS", rb"1\2"), "validated"),
    BentStudy("contrast volume of letters", raw("ContrastBolusVolume", "DS", b"much"), "validated"),
    BentStudy("an unknown character set", raw("SpecificCharacterSet", "CS", b"NO_SUCH_SET"), "validated"),
    BentStudy("200 sequences in one another", nested(200), "unreadable_pixels"),
    BentStudy("300 sequences in one another", nested(300), "unreadable_pixels"),
    BentStudy("300 sequences in one another in some", nested(300), "unreadable_pixels", 0.3),
)
