"""A version of a result as a FHIR R4 transaction: DiagnosticReport, two Observations, and the ImagingStudy they are of.

Every version of a case writes the same resources, known by identifiers made of the case id (conditional update), so
that a transaction that comes twice is the same as once. An ImagingStudy that the server has stays as it is (conditional
create). The patient is named by PatientID alone (a logical reference). An AI result is `preliminary`, never `final`.

References
----------
HL7 FHIR R4 (4.0.1), which `fhir.resources` models as R4B: transaction, DiagnosticReport, Observation, ImagingStudy
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from attrs import frozen
from pydantic import ValidationError
from pydicom.sr.coding import Code

from gtr_batch.config import FhirConfig
from gtr_batch.domain.result_message import MessageKind, ResultMessage
from gtr_batch.domain.score import answers_of
from gtr_batch.errors import InputRefused
from gtr_batch.report import codes

CASE_SYSTEM = "urn:gtr-batch:case"
_SYSTEMS = {
    "LN": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "UCUM": "http://unitsofmeasure.org",
    "99GTR": "urn:gtr-batch:codes",
}
_NAMESPACE = uuid.UUID("6f0d1c52-3f3e-5d0f-9a54-0a7f3c1d5b11")  # of the full URLs in a transaction
_ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_SECTION = "http://terminology.hl7.org/CodeSystem/v2-0074"

Json = dict[str, Any]


@frozen
class _About:
    """What every resource of a transaction says of itself."""

    message: ResultMessage
    config: FhirConfig
    timezone: str

    @property
    def withdrawn(self) -> bool:
        return self.message.kind is MessageKind.WITHDRAWN

    @property
    def status(self) -> str:
        return "entered-in-error" if self.withdrawn else "preliminary"

    def identifier(self, part: str) -> Json:
        return {"system": CASE_SYSTEM, "value": f"{self.message.case.case_id}/{part}"}

    def url(self, part: str) -> str:
        return f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{self.message.case.case_id}/{part}')}"

    @property
    def patient(self) -> Json:
        system = {"system": self.config.patient_system} if self.config.patient_system else {}
        return {"type": "Patient", "identifier": {**system, "value": self.message.case.patient_id}}

    @property
    def times(self) -> Json:
        at = self.message.case.study_at
        found: Json = {"issued": self.message.written_at.isoformat()}
        if at is not None:
            found["effectiveDateTime"] = at.replace(tzinfo=ZoneInfo(self.timezone)).isoformat()
        return found


def bundle_of(message: ResultMessage, config: FhirConfig, timezone: str) -> str:
    """The transaction as JSON, each resource checked against FHIR R4's definitions.

    Raises
    ------
    InputRefused
        It is no valid transaction: a PatientID that FHIR cannot carry; names the resource and no value.
    """
    from fhir.resources.R4B.bundle import Bundle

    about = _About(message, config, timezone)
    if not message.case.patient_id:
        raise InputRefused(f"message {message.control_id}: the PatientID is empty: it cannot be sent")
    try:
        bundle = Bundle.model_validate(
            {
                "resourceType": "Bundle",
                "type": "transaction",
                "identifier": {"system": CASE_SYSTEM, "value": message.control_id},
                "timestamp": message.written_at.isoformat(),
                "entry": [_study(about), _put(about, "stage", _stage(about)), _put(about, "nomogram", _nomogram(about)),
                          _put(about, "report", _report(about))],
            }
        )  # fmt: skip
    except ValidationError as err:  # its text quotes values
        where = ".".join(str(part) for part in err.errors()[0]["loc"])
        raise InputRefused(f"message {message.control_id}: FHIR R4 does not allow it ({where})") from None
    return str(bundle.model_dump_json())


def _study(about: _About) -> Json:
    case = about.message.case
    uid = {"system": "urn:dicom:uid", "value": f"urn:oid:{case.study_uid}"}
    identifiers: list[Json] = [uid]
    if case.accession_number:
        system = {"system": about.config.accession_system} if about.config.accession_system else {}
        kind = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
        identifiers.append({"type": kind, **system, "value": case.accession_number})
    return {
        "fullUrl": about.url("study"),
        "resource": {
            "resourceType": "ImagingStudy",
            "identifier": identifiers,
            "status": "available",
            "modality": [{"system": _SYSTEMS["DCM"], "code": "CT"}],
            "subject": about.patient,
        },
        "request": {
            "method": "POST",
            "url": "ImagingStudy",
            "ifNoneExist": f"identifier=urn:dicom:uid|{quote(uid['value'], safe=':')}",
        },
    }


def _put(about: _About, part: str, resource: Json) -> Json:
    named = about.identifier(part)
    query = f"identifier={CASE_SYSTEM}|{quote(named['value'], safe='/')}"
    return {
        "fullUrl": about.url(part),
        "resource": {"identifier": [named], **resource},
        "request": {"method": "PUT", "url": f"{resource['resourceType']}?{query}"},
    }


def _observation(about: _About, code: Code) -> Json:
    return {
        "resourceType": "Observation",
        "status": about.status,
        "category": [{"coding": [{"system": _CATEGORY, "code": "imaging"}]}],
        "code": _concept(code),
        "subject": about.patient,
        **about.times,
        "partOf": [{"reference": about.url("study")}],
        "device": {
            "type": "Device",
            "identifier": {"system": "urn:gtr-batch:model", "value": about.message.model_version},
            "display": "gtr-batch",
        },
    }


def _stage(about: _About) -> Json:
    """The category; its probabilities, its set and what a reader must know as components."""
    message, made = about.message, _observation(about, codes.CLINICAL_T)
    staging = message.staging
    answers = None if staging is None else answers_of(staging, message.score)
    if answers is not None:
        made["valueCodeableConcept"] = _concept(codes.T_STAGE[answers.primary.t_stage])
    else:
        reason = codes.AI_WITHDRAWN
        if staging is not None and staging.abstention is not None:
            reason = codes.ABSTAINED[staging.abstention.code]
        made["dataAbsentReason"] = {"coding": [{"system": _ABSENT, "code": "unknown"}, _coding(reason)]}
    made["component"] = list(_components(message))
    return made


def _components(message: ResultMessage) -> Iterator[Json]:
    status = codes.AI_WITHDRAWN if message.kind is MessageKind.WITHDRAWN else codes.AI_NOT_VERIFIED
    yield _coded(codes.RESULT_STATUS, status)
    yield {"code": _concept(codes.RESULT_VERSION), "valueInteger": message.version}
    staging = message.staging
    if staging is not None:
        answers = answers_of(staging, message.score)
        if answers is not None:
            yield _coded(codes.ANSWER_BY, codes.ANSWERS[answers.primary.source])
            for stage, code in codes.STAGE_PROBABILITY.items():
                yield _quantity(code, answers.primary.probabilities[stage], codes.NO_UNITS)
        if answers is not None and staging.stage_set is not None:
            yield _coded(codes.SET_LOWEST, codes.T_STAGE[staging.stage_set.lowest])
            yield _coded(codes.SET_HIGHEST, codes.T_STAGE[staging.stage_set.highest])
            yield _quantity(codes.SET_COVERAGE, staging.stage_set.coverage, codes.NO_UNITS)
        yield _coded(codes.KEY_SLICE_SOURCE, codes.KEY_SLICE_SOURCES[staging.key_slice_source])
        for flag in staging.flags:
            yield _coded(codes.FLAG, codes.FLAGS[flag])
    if message.reader is not None:
        yield _coded(codes.READER_WORD, codes.READER_WORDS[message.reader.agrees])
        if message.reader.t_stage is not None:
            yield _coded(codes.READER_CATEGORY, codes.T_STAGE[message.reader.t_stage])


def _nomogram(about: _About) -> Json:
    """The total of the points, those of each predictor as components; without a nomogram that there is none."""
    score = about.message.score
    made = _observation(about, codes.NOMOGRAM_POINTS["total"])
    if score is None or about.withdrawn:
        made["dataAbsentReason"] = {"coding": [{"system": _ABSENT, "code": "not-performed"}]}
        return made
    made["valueQuantity"] = _measured(score.points["total"], codes.POINTS)
    parts = [
        _quantity(code, score.points[name], codes.POINTS)
        for name, code in codes.NOMOGRAM_POINTS.items()
        if name != "total" and name in score.points
    ]
    parts += [_coded(codes.MISSING_COVARIATE, codes.COVARIATES[name]) for name in score.missing]
    if parts:
        made["component"] = parts
    return made


def _report(about: _About) -> Json:
    return {
        "resourceType": "DiagnosticReport",
        "status": about.status,
        "category": [{"coding": [{"system": _SECTION, "code": "CT"}]}],
        "code": _concept(codes.T_STAGING),
        "subject": about.patient,
        **about.times,
        "imagingStudy": [{"reference": about.url("study")}],
        "result": [{"reference": about.url("stage")}, {"reference": about.url("nomogram")}],
        "conclusion": (codes.AI_WITHDRAWN if about.withdrawn else codes.AI_NOT_VERIFIED).meaning,
    }


def _coding(code: Code) -> Json:
    return {"system": _SYSTEMS[code.scheme_designator], "code": code.value, "display": code.meaning}


def _concept(code: Code) -> Json:
    return {"coding": [_coding(code)]}


def _coded(code: Code, value: Code) -> Json:
    return {"code": _concept(code), "valueCodeableConcept": _concept(value)}


def _measured(value: float, unit: Code) -> Json:
    return {"value": round(float(value), 4), "unit": unit.meaning, "system": _SYSTEMS["UCUM"], "code": unit.value}


def _quantity(code: Code, value: float, unit: Code) -> Json:
    return {"code": _concept(code), "valueQuantity": _measured(value, unit)}
