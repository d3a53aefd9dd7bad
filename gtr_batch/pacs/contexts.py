"""Presentation contexts: what we offer, so that the PACS can send every object as it stores it.

One context carries one accepted transfer syntax, chosen by the acceptor. A context that lists several therefore lets a
PACS choose uncompressed and transcode (or fail) where it holds JPEG 2000, or choose Implicit VR, which loses the VR of
private elements. So for retrieving each syntax has a context of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context

UNCOMPRESSED = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]

COMPRESSED_IMAGE = [
    uid.JPEGLosslessSV1,
    uid.JPEGLossless,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.RLELossless,
]
# What a PACS that keeps what it was sent may hold: one that does not transcode could not send it otherwise.
UNUSUAL_IMAGE = [uid.DeflatedExplicitVRLittleEndian, uid.ExplicitVRBigEndian]

# Pixel data of CT and secondary captures, in any of the syntaxes above.
IMAGES = [
    uid.CTImageStorage,
    uid.EnhancedCTImageStorage,
    uid.LegacyConvertedEnhancedCTImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
]
LABEL_MAP_SEGMENTATION = uid.UID("1.2.840.10008.5.1.4.1.1.66.7")  # newer than pydicom's dictionary
# Bit masks and floats: never lossy.
DERIVED = [uid.SegmentationStorage, LABEL_MAP_SEGMENTATION, uid.ParametricMapStorage]
LOSSLESS_DERIVED = [uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless]
DOCUMENTS = [
    uid.KeyObjectSelectionDocumentStorage,
    uid.RTStructureSetStorage,
    uid.BasicTextSRStorage,
    uid.EnhancedSRStorage,
    uid.ComprehensiveSRStorage,
    uid.Comprehensive3DSRStorage,
    uid.ExtensibleSRStorage,
    uid.EncapsulatedPDFStorage,
]
STORAGE_CLASSES = [*IMAGES, *DERIVED, *DOCUMENTS]
MAX_CONTEXTS = 128  # context ids are odd and one byte long (PS3.8, 9.3.2.2)


def retrieve_contexts() -> list[PresentationContext]:
    """Storage contexts for C-GET, one a transfer syntax; below 108 of the 128 that an association may have."""
    return [
        build_context(sop_class, syntax) for sop_class in STORAGE_CLASSES for syntax in accepted_syntaxes(sop_class)
    ]


def store_contexts(kinds: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """Contexts for C-STORE of (SOP Class UID, Transfer Syntax UID) pairs; uncompressed objects may be converted."""
    wanted: dict[tuple[str, str], None] = {}
    for sop_class, syntax in kinds:
        for offered in [syntax] if uid.UID(syntax).is_compressed else [syntax, *UNCOMPRESSED]:
            wanted[(sop_class, str(offered))] = None
    return [build_context(sop_class, syntax) for sop_class, syntax in wanted]


def accepted_syntaxes(sop_class: str) -> list[str]:
    """Transfer syntaxes that we take for a SOP class, uncompressed first, explicit before implicit."""
    if sop_class in IMAGES:
        return [*UNCOMPRESSED, *COMPRESSED_IMAGE, *UNUSUAL_IMAGE]
    if sop_class in DERIVED:
        return [*UNCOMPRESSED, *LOSSLESS_DERIVED]
    return [*UNCOMPRESSED, uid.DeflatedExplicitVRLittleEndian]
