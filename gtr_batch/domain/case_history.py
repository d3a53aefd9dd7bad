"""All that is in the book for one case, as a person is shown it: what it came to, what happened, who touched it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from attrs import asdict, frozen

from gtr_batch.domain.access import AccessEvent
from gtr_batch.domain.delivery import ReportObject
from gtr_batch.domain.identity import PatientIdentity
from gtr_batch.domain.night_case import NightCase


@frozen
class CaseEvent:
    """A row of the case's own history."""

    at: datetime
    step: str
    state: str
    detail: Mapping[str, Any]


@frozen
class WrittenObject:
    """A newest object of the case, and whether the PACS took it."""

    written: ReportObject
    stored: bool


@frozen
class NamedPatient:
    """Whose case it is."""

    patient: PatientIdentity
    accession_number: str


@frozen
class CaseHistory:
    """One case; `patient` is None unless somebody has asked for it by name."""

    night: date
    case: NightCase
    objects: Sequence[WrittenObject]
    events: Sequence[CaseEvent]
    accesses: Sequence[AccessEvent]
    patient: NamedPatient | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-able, as `gtr case show --json` prints it."""
        found: dict[str, Any] = {
            "night": str(self.night),
            "case": self.case.to_json(),
            "objects": [
                {
                    "kind": str(one.written.kind),
                    "sop_instance_uid": one.written.sop_instance_uid,
                    "series_uid": one.written.series_uid,
                    "stored": one.stored,
                }
                for one in self.objects
            ],
            "events": [asdict(one) for one in self.events],
            "accesses": [asdict(one) for one in self.accesses],
        }
        if self.patient is not None:
            found["patient"] = {
                "patient_id": self.patient.patient.patient_id,
                "issuer": self.patient.patient.issuer,
                "accession_number": self.patient.accession_number,
            }
        return found
