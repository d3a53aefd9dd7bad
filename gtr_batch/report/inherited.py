"""What our objects take from a source instance, and nothing else of it: patient, study, geometry, equipment, dates.

An attribute is one row of a table here. What a source has beside these (clinical trial, specimen, animals, private
elements, sequences about physicians) stays with the images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from attrs import frozen
from pydicom import Dataset, Sequence
from pydicom.charset import python_encoding
from pydicom.uid import UID

from gtr_batch.domain.identifiers import Uid, derived_uid
from gtr_batch.report.valid_values import checked, element, texts

UTF_8 = "ISO_IR 192"
_ASCII_ONLY = ("", "ISO_IR 6", "ISO 2022 IR 6")
_STAND_ALONE = ("ISO_IR 192", "GB18030", "GBK")  # no code extensions beside them (PS3.3, C.12.1.1.2)
_SH = 16  # most characters of *Code Value*; longer ones are *Long Code Value*
_ALIASES = ("ISO 2022 58", "ISO 2022 GBK")  # known to pydicom, no defined terms


@frozen
class Rule:
    """How an attribute is copied: `identifier` whole or not at all; `allowed` its enumerated values."""

    identifier: bool = False
    allowed: frozenset[str] = frozenset()


_WORDS, _IDENTIFIER = Rule(), Rule(identifier=True)
_ENTITY_TYPES = ("DNS", "EUI64", "ISO", "URI", "UUID", "X400", "X500")
_NAMES = ("UniversalEntityID", "UniversalEntityIDType", "LocalNamespaceEntityID")

# Type 2 of the Patient and General Study Modules: ours carry them, although a source may lack them (PS3.3, C.7).
TYPE_2: Mapping[str, Rule] = MappingProxyType(
    {
        "PatientName": _WORDS,
        "PatientID": _IDENTIFIER,
        "PatientBirthDate": _WORDS,
        "PatientSex": Rule(allowed=frozenset("MFO")),
        "StudyDate": _WORDS,
        "StudyTime": _WORDS,
        "StudyID": _IDENTIFIER,
        "AccessionNumber": _IDENTIFIER,
        "ReferringPhysicianName": _WORDS,
    }
)
OPTIONAL: Mapping[str, Rule] = MappingProxyType(
    {
        # Patient Module
        "IssuerOfPatientID": _IDENTIFIER,
        "TypeOfPatientID": Rule(allowed=frozenset({"TEXT", "RFID", "BARCODE"})),
        "PatientBirthTime": _WORDS,
        "OtherPatientNames": _WORDS,
        "QualityControlSubject": Rule(allowed=frozenset({"YES", "NO"})),
        "PatientComments": _WORDS,
        "PatientIdentityRemoved": Rule(allowed=frozenset({"YES", "NO"})),
        "DeidentificationMethod": _WORDS,
        # General Study Module
        "ConsultingPhysicianName": _WORDS,
        "StudyDescription": _WORDS,
        "PhysiciansOfRecord": _WORDS,
        "NameOfPhysiciansReadingStudy": _WORDS,
        "RequestingService": _WORDS,
        # Patient Study Module
        "AdmittingDiagnosesDescription": _WORDS,
        "PatientAge": _WORDS,
        "PatientSize": _WORDS,
        "PatientWeight": _WORDS,
        "MedicalAlerts": _WORDS,
        "Allergies": _WORDS,
        "Occupation": _WORDS,
        "SmokingStatus": Rule(allowed=frozenset({"YES", "NO", "UNKNOWN"})),
        "AdditionalPatientHistory": _WORDS,
        "PregnancyStatus": Rule(allowed=frozenset({"1", "2", "3", "4"})),
        "LastMenstrualDate": _WORDS,
        "ReasonForVisit": _WORDS,
        "AdmissionID": _IDENTIFIER,
        "ServiceEpisodeID": _IDENTIFIER,
        "ServiceEpisodeDescription": _WORDS,
        "PatientState": _WORDS,
        # the scanner, in *Contributing Equipment Sequence*
        "Manufacturer": _WORDS,
        "ManufacturerModelName": _WORDS,
        "SoftwareVersions": _WORDS,
        "DeviceSerialNumber": _WORDS,
        "StationName": _WORDS,
        "InstitutionName": _WORDS,
        "InstitutionAddress": _WORDS,
        "InstitutionalDepartmentName": _WORDS,
        # the slice
        "Rows": _WORDS,
        "Columns": _WORDS,
        "PixelSpacing": _IDENTIFIER,
        "SliceThickness": _WORDS,
        "SpacingBetweenSlices": _WORDS,
        "ImagePositionPatient": _IDENTIFIER,
        "ImageOrientationPatient": _IDENTIFIER,
        "FrameOfReferenceUID": _IDENTIFIER,
        "PositionReferenceIndicator": _WORDS,
        "BodyPartExamined": _WORDS,
        "LossyImageCompression": Rule(allowed=frozenset({"00", "01"})),
        "LossyImageCompressionRatio": _WORDS,
        "LossyImageCompressionMethod": _WORDS,
        # dates: see `identity.written_at`
        **{f"{what}{part}": _WORDS for what in ("Series", "Acquisition", "Content") for part in ("Date", "Time")},
    }
)
_CODES = (
    "ProcedureCodeSequence",
    "RequestingServiceCodeSequence",
    "ReasonForPerformedProcedureCodeSequence",
    "AdmittingDiagnosesCodeSequence",
    "ReasonForVisitCodeSequence",
    "DeidentificationMethodCodeSequence",
)
_ISSUERS = ("IssuerOfAccessionNumberSequence", "IssuerOfAdmissionIDSequence", "IssuerOfServiceEpisodeIDSequence")
_REFERENCES = ("ReferencedStudySequence", "ReferencedPatientSequence")
_ONE_ITEM = ("RequestingServiceCodeSequence", *_ISSUERS)
SEQUENCES = (*_CODES, *_ISSUERS, *_REFERENCES, "OtherPatientIDsSequence")


def inherit(source: Dataset) -> tuple[Dataset, tuple[str, ...]]:
    """A dataset of what may be inherited, every value valid.

    Returns
    -------
    Dataset
        Type 2 elements that the source lacks are empty.
    tuple of str
        What is not as in the source, an attribute a remark, without any value.

    Raises
    ------
    CaseRejected
        Code ``invalid_uid``: there is no study to file an object under.
    """
    ds, remarks = Dataset(), []
    for keyword in ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(ds, keyword, UID(Uid("\\".join(texts(source, keyword)))))
    for keyword, rule in (*TYPE_2.items(), *OPTIONAL.items()):
        remarks += _copy(source, ds, keyword, rule)
    for keyword in TYPE_2:
        if keyword not in ds:
            setattr(ds, keyword, "")
    for keyword in SEQUENCES:
        remarks += _copy_sequence(source, ds, keyword)
    _hold_together(ds)
    characters, remark = _character_set(source, ds)
    if characters:
        ds.SpecificCharacterSet = characters
    return ds, tuple(filter(None, (*remarks, remark)))


def frame_of_reference(ds: Dataset) -> str:
    """*Frame of Reference UID*, or one that stands for the series where the source has none."""
    return str(ds.get("FrameOfReferenceUID") or derived_uid("frame", ds.StudyInstanceUID, ds.SeriesInstanceUID))


def _copy(source: Dataset, ds: Dataset, keyword: str, rule: Rule) -> list[str]:
    found = checked(source, keyword, identifier=rule.identifier, allowed=rule.allowed)
    if found.values:
        ds.add(element(keyword, found.values))
    return [f"{keyword} {found.remark}"] if found.remark else []


def _copy_sequence(source: Dataset, ds: Dataset, keyword: str) -> list[str]:
    if keyword not in source:
        return []
    try:
        items = list(source[keyword].value or [])
    except Exception:  # noqa: BLE001 - a malformed sequence fails in many ways; each means the same here
        return [f"{keyword} left out: it cannot be read"]
    copies = []
    for item in items:
        if isinstance(item, Dataset):
            copies += [copy] if (copy := _item(keyword, item)) is not None else []
    if keyword in _ONE_ITEM:
        copies = copies[:1]
    if copies:
        ds.add(element(keyword, (Sequence(copies),)))
    return [] if len(copies) == len(items) else [f"{keyword}: {len(copies)} of {len(items)} items"]


def _item(keyword: str, item: Dataset) -> Dataset | None:
    """A valid copy of an item; None where something is missing that the standard asks for."""
    if keyword in _CODES:
        return _code(item)
    copy = Dataset()
    if keyword in _REFERENCES:
        _copy_all(item, copy, ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"))
        return copy if len(copy) == 2 else None
    if keyword in _ISSUERS:
        _copy_all(item, copy, _NAMES)
        if copy.get("UniversalEntityIDType") not in _ENTITY_TYPES or "UniversalEntityID" not in copy:
            _remove(copy, _NAMES[:2])
        return copy if len(copy) else None
    _copy_all(item, copy, ("PatientID", "IssuerOfPatientID", "TypeOfPatientID"))
    if "PatientID" not in copy:
        return None
    if copy.get("TypeOfPatientID") not in OPTIONAL["TypeOfPatientID"].allowed:
        copy.TypeOfPatientID = "TEXT"
    return copy


def _copy_all(item: Dataset, copy: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        _copy(item, copy, keyword, _IDENTIFIER)


def _code(item: Dataset) -> Dataset | None:
    """A code of a value, a scheme and a meaning; the meaning is words, and cut where it is too long (PS3.3, 8)."""
    values = [v for k in ("CodeValue", "LongCodeValue", "URNCodeValue") for v in texts(item, k)]
    copy = Dataset()
    _copy(item, copy, "CodingSchemeDesignator", _IDENTIFIER)
    _copy(item, copy, "CodingSchemeVersion", _IDENTIFIER)
    _copy(item, copy, "CodeMeaning", _WORDS)
    if len(values) != 1 or "CodingSchemeDesignator" not in copy or "CodeMeaning" not in copy:
        return None
    urn = values[0].startswith("urn:") or "://" in values[0]
    setattr(copy, "URNCodeValue" if urn else "CodeValue" if len(values[0]) <= _SH else "LongCodeValue", values[0])
    return copy


def code_value(item: Dataset) -> str:
    """The value of a code, in whichever of its three attributes it stands."""
    return str(item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or "")


def _hold_together(ds: Dataset) -> None:
    """Take away what may not stand alone (types 1C of PS3.3)."""
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if ds.get("PatientIdentityRemoved") != "YES":
        _remove(ds, methods)
    elif not any(keyword in ds for keyword in methods):
        _remove(ds, ("PatientIdentityRemoved",))


def _remove(ds: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        if keyword in ds:
            delattr(ds, keyword)


def _character_set(source: Dataset, ds: Dataset) -> tuple[list[str], str]:
    """The source's *Specific Character Set*, or UTF-8 where it cannot hold the texts that were read; and a remark."""
    declared = [str(v).strip() for v in texts(source, "SpecificCharacterSet", empty=True)]
    known = all(name in python_encoding and name not in _ALIASES for name in declared)
    if len(declared) > 1 and any(name in _STAND_ALONE for name in declared):
        known = False
    if _is_ascii(ds):
        return (declared if known and any(name not in _ASCII_ONLY for name in declared) else []), ""
    if not known:
        return [UTF_8], "SpecificCharacterSet is none that the standard knows: written in UTF-8"
    if all(name in _ASCII_ONLY for name in declared):
        return [UTF_8], "SpecificCharacterSet is missing: read as Latin-1, written in UTF-8"
    return declared, ""


def _is_ascii(ds: Dataset) -> bool:
    return all(all(map(_is_ascii, part.value)) if part.VR == "SQ" else str(part.value).isascii() for part in ds)
