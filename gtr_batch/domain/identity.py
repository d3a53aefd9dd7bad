"""Whose an instance is and what it belongs to: what a case and every one of its instances must agree on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.errors import CaseRejected

_PADDING = " \0\t\r\n"


def normalised(value: object) -> str:
    """A PatientID or its issuer as it is compared: blanks around it are not significant (PS3.5, 6.2), case is.

    Several values are joined by a backslash, empty ones left out, whether they come as a list or as one text.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    values = value.split("\\") if isinstance(value, str) else value if isinstance(value, Sequence) else [value]
    return "\\".join(text for one in values if one is not None and (text := str(one).strip(_PADDING)))


@frozen
class PatientIdentity:
    """PatientID (0010,0020) and, where somebody says it, its issuer (0010,0021); neither is in `repr`."""

    patient_id: str = field(default="", converter=normalised, repr=False)
    issuer: str = field(default="", converter=normalised, repr=False)

    def differences(self, other: PatientIdentity) -> tuple[str, ...]:
        """DICOM keywords in which the two are not the same patient; never a value.

        An empty PatientID names nobody, so it agrees with none. The issuers are compared where both are known.
        """
        found = [] if self.patient_id and self.patient_id == other.patient_id else ["PatientID"]
        if self.issuer and other.issuer and self.issuer != other.issuer:
            found.append("IssuerOfPatientID")
        return tuple(found)


@frozen
class InstanceIdentity:
    """What one instance says of itself in its header."""

    patient: PatientIdentity
    study_uid: str = ""
    series_uid: str = ""
    sop_instance_uid: str = ""
    sop_class_uid: str = ""


@frozen
class SeriesIdentity:
    """What every instance of a series must say of itself.

    `patient` None and an empty `series_uid` are not known here and not compared; `sop_classes` by SOP Instance UID, as
    far as C-FIND told.
    """

    study_uid: str
    series_uid: str = ""
    patient: PatientIdentity | None = None
    sop_classes: Mapping[str, str] = field(factory=dict)

    def differences(self, instance: InstanceIdentity) -> tuple[str, ...]:
        """DICOM keywords in which an instance is not of this series; never a value."""
        found = [] if self.patient is None else list(self.patient.differences(instance.patient))
        if instance.study_uid != self.study_uid:
            found.append("StudyInstanceUID")
        if self.series_uid and instance.series_uid != self.series_uid:
            found.append("SeriesInstanceUID")
        expected = self.sop_classes.get(instance.sop_instance_uid)
        if expected and instance.sop_class_uid != expected:
            found.append("SOPClassUID")
        return tuple(found)

    def is_lost(self, instance: InstanceIdentity) -> bool:
        """Whether a header does not say of which study or series it is, and nothing in it is another's.

        Both are Type 1 in every image: a file without them was cut, or its reader lost its place (a malformed VR makes
        the rest of a file the value of one element). That is a file that cannot be read, not somebody else's.
        """
        if instance.study_uid and instance.series_uid:
            return False
        said = (
            (instance.study_uid, self.study_uid),
            (instance.series_uid, self.series_uid),
            (instance.patient.patient_id, self.patient.patient_id if self.patient else ""),
        )
        return not any(found and expected and found != expected for found, expected in said)


def names(text: str, *values: str) -> bool:
    """Whether a text holds one of these (a PatientID, an accession number) as a word of its own."""
    return any(value and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE) for value in values)


def mismatch(sentence: str, differs: Iterable[str] = ()) -> CaseRejected:
    """The refusal of a case whose images, reports or study are not its patient's; `differs`: DICOM keywords.

    The sentence names UIDs and keywords, never a PatientID.
    """
    return CaseRejected(RefusalCode.IDENTITY_MISMATCH, sentence, {"differs": sorted(set(differs))})
