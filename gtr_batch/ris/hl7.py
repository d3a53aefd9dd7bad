"""A version of a result as HL7 v2.5.1 ORU^R01, checked against the standard; and what an acknowledgement says.

One OBX a value, coded as in our structured report (`gtr_batch.report.codes`). Nothing of the patient is in it but the
PatientID, with its issuer, and the accession number. docs/ris.md shows a message.

References
----------
HL7 v2.5.1, chapters 2 (control), 3 (PID), 4 (OBR, TQ1) and 7 (ORU, OBX); tables 0078, 0085, 0123, 0485
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from attrs import frozen
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.core import Group, Message, Segment
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message
from pydicom.sr.coding import Code

from gtr_batch.config import RisConfig
from gtr_batch.domain.result_message import AnswerKind, MessageKind, Priority, ReaderWord, ReceiverAnswer, ResultMessage
from gtr_batch.domain.score import answers_of
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import InputRefused
from gtr_batch.report import codes

VERSION = "2.5.1"
CHARACTER_SET = "UNICODE UTF-8"  # MSH-18; table 0211
#: OBX-11 (table 0085) and OBR-25 (table 0123).
PRELIMINARY, FINAL, CORRECTED, NO_RESULT = "P", "F", "C", "X"

_ESCAPES = {
    "\\": r"\E\ ".strip(),
    "|": r"\F\ ".strip(),
    "^": r"\S\ ".strip(),
    "&": r"\T\ ".strip(),
    "~": r"\R\ ".strip(),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ACCEPTED, _REFUSED, _NOT_NOW = ("AA", "CA"), ("AE", "CE"), ("AR", "CR")


@frozen
class Observation:
    """One OBX: what is observed, its value as HL7 writes it, and of which type."""

    code: Code
    type: str  # NM | ST | CWE
    value: str
    unit: Code | None = None
    status: str = PRELIMINARY
    abnormal: str = ""  # table 0078


def result_message(message: ResultMessage, config: RisConfig, timezone: str) -> str:
    """The message as ER7, segments ended by carriage returns.

    Parameters
    ----------
    timezone : str
        Of the hospital: the study's time is its wall clock's.

    Raises
    ------
    InputRefused
        It is no valid message: a PatientID or accession number that HL7 cannot carry; names the field and no value.
    """
    try:
        made = _message(message, config, ZoneInfo(timezone))
        made.validate()
    except HL7apyException as err:  # its text may quote a value
        raise InputRefused(
            f"message {message.control_id}: HL7 {VERSION} does not allow it: {type(err).__name__}"
        ) from None
    return str(made.to_er7())


def _message(message: ResultMessage, config: RisConfig, zone: tzinfo) -> Message:
    made = Message("ORU_R01", version=VERSION, validation_level=VALIDATION_LEVEL.STRICT)
    header = {
        3: escaped(config.sending_application),
        4: escaped(config.sending_facility),
        5: escaped(config.receiving_application),
        6: escaped(config.receiving_facility),
        7: _time(datetime.now(UTC)),
        9: "ORU^R01^ORU_R01",
        10: message.control_id,
        11: config.processing_id,
        18: CHARACTER_SET,
    }
    _fill(made.msh, header)
    result = made.add_group("ORU_R01_PATIENT_RESULT")
    _fill(result.add_group("ORU_R01_PATIENT").add_segment("PID"), _patient(message, config))
    order = result.add_group("ORU_R01_ORDER_OBSERVATION")
    _fill(order.add_segment("OBR"), _request(message, config, zone))
    timing = {1: "1", 9: f"{message.priority}^{'ASAP' if message.priority is Priority.ASAP else 'Routine'}^HL70485"}
    _fill(order.add_group("ORU_R01_TIMING_QTY").add_segment("TQ1"), timing)
    for number, one in enumerate(_observations(message), 1):
        _observe(order, number, one, message)
    return made


def _patient(message: ResultMessage, config: RisConfig) -> dict[int, str]:
    case = message.case
    number = _exact(case.patient_id, "PID-3 (PatientID)")
    authority = escaped(config.assigning_authority) or _exact(case.issuer_of_patient_id, "PID-3 (issuer)", empty=True)
    # PID-5 is required, and we keep no names: an unspecified one (table 0200)
    return {1: "1", 3: f"{number}^^^{authority}^PI", 5: "^^^^^^U"}


def _request(message: ResultMessage, config: RisConfig, zone: tzinfo) -> dict[int, str]:
    case = message.case
    accession = _exact(case.accession_number, "OBR-18 (accession number)", empty=True)
    fields = {1: "1", 3: case.case_id, 4: _code(codes.T_STAGING)}
    if accession:
        fields |= {int(name): accession for name in config.accession_fields}
    if case.study_at is not None:
        fields[7] = _time(case.study_at.replace(tzinfo=zone))
    fields[22] = _time(message.written_at)
    fields[24] = "CT"
    fields[25] = NO_RESULT if message.kind is MessageKind.WITHDRAWN else _status(message.reader)
    return fields


def _status(reader: ReaderWord | None) -> str:
    """Of what a reader says: final where they agree, a correction where they overrule; preliminary without a reader."""
    if reader is None:
        return PRELIMINARY
    return FINAL if reader.agrees else CORRECTED


def _observe(order: Group, number: int, one: Observation, message: ResultMessage) -> None:
    fields = {1: str(number), 3: _code(one.code), 5: one.value, 11: one.status, 14: _time(message.written_at)}
    if one.value:
        fields[2] = one.type
    if one.unit is not None:
        fields[6] = _code(one.unit)
    if one.abnormal:
        fields[8] = one.abnormal
    _fill(order.add_group("ORU_R01_OBSERVATION").add_segment("OBX"), fields)


def _observations(message: ResultMessage) -> Iterator[Observation]:
    if message.kind is MessageKind.WITHDRAWN:
        yield Observation(codes.CLINICAL_T, "CWE", "", status=NO_RESULT)
        yield Observation(codes.RESULT_STATUS, "CWE", _code(codes.AI_WITHDRAWN))
    elif message.staging is not None:
        yield from _result(message)
        yield Observation(codes.RESULT_STATUS, "CWE", _code(codes.AI_NOT_VERIFIED))
    if message.reader is not None:
        yield from _word(message, message.reader)
    yield Observation(codes.RESULT_VERSION, "NM", str(message.version), codes.NO_UNITS)
    yield Observation(codes.MODEL_VERSION, "ST", escaped(message.model_version))
    yield Observation(codes.STUDY_INSTANCE_UID, "ST", escaped(message.case.study_uid))


def _word(message: ResultMessage, reader: ReaderWord) -> Iterator[Observation]:
    """What the reader says, and the stage that they say: the result's own where they agree with it."""
    status = _status(reader)
    yield Observation(codes.READER_WORD, "CWE", _code(codes.READER_WORDS[reader.agrees]), status=status)
    answers = None if message.staging is None else answers_of(message.staging, message.score)
    stage = answers.primary.t_stage if reader.agrees and answers is not None else reader.t_stage
    if stage is not None:
        yield Observation(codes.READER_CATEGORY, "CWE", _code(codes.T_STAGE[stage]), status=status)


def _result(message: ResultMessage) -> Iterator[Observation]:
    """The answer, or why there is none; its probabilities and set; the nomogram; the flags."""
    staging, score = message.staging, message.score
    assert staging is not None  # asked before
    answers = answers_of(staging, score)
    if answers is None:
        yield Observation(codes.CLINICAL_T, "CWE", "", status=NO_RESULT)
        assert staging.abstention is not None  # a staging has a stage or a reason
        yield Observation(codes.REASON, "CWE", _code(codes.ABSTAINED[staging.abstention.code]))
    else:
        stage = answers.primary.t_stage
        abnormal = "AA" if stage is TStage.T4 else "A"
        yield Observation(codes.CLINICAL_T, "CWE", _code(codes.T_STAGE[stage]), abnormal=abnormal)
        yield Observation(codes.ANSWER_BY, "CWE", _code(codes.ANSWERS[answers.primary.source]))
        for one, code in codes.STAGE_PROBABILITY.items():
            yield Observation(code, "NM", _number(answers.primary.probabilities[one]), codes.NO_UNITS)
        if answers.supporting is not None:
            yield Observation(codes.SUPPORTING_CATEGORY, "CWE", _code(codes.T_STAGE[answers.supporting.t_stage]))
        if staging.stage_set is not None:
            yield Observation(codes.SET_LOWEST, "CWE", _code(codes.T_STAGE[staging.stage_set.lowest]))
            yield Observation(codes.SET_HIGHEST, "CWE", _code(codes.T_STAGE[staging.stage_set.highest]))
            yield Observation(codes.SET_COVERAGE, "NM", _number(staging.stage_set.coverage), codes.NO_UNITS)
    if answers is not None and score is not None:
        for name, code in codes.NOMOGRAM_POINTS.items():
            if name in score.points:
                yield Observation(code, "NM", _number(score.points[name]), codes.POINTS)
        for name in score.missing:
            yield Observation(codes.MISSING_COVARIATE, "CWE", _code(codes.COVARIATES[name]))
    yield Observation(codes.KEY_SLICE_SOURCE, "CWE", _code(codes.KEY_SLICE_SOURCES[staging.key_slice_source]))
    for flag in staging.flags:
        yield Observation(codes.FLAG, "CWE", _code(codes.FLAGS[flag]))


def acknowledged(text: str, control_id: str) -> ReceiverAnswer:
    """What an acknowledgement says of the message of this control id.

    One that cannot be read, or is about another message, is no answer: the message is sent again.
    """
    try:
        segments = text.replace("\r\n", "\r").replace("\n", "\r")
        message = parse_message(segments, validation_level=VALIDATION_LEVEL.TOLERANT, find_groups=False)
        code, about = str(message.msa.msa_1.value), str(message.msa.msa_2.value)
        error = _error_code(message)
    except Exception:  # noqa: BLE001 - a strange answer breaks hl7apy in many ways: it is none
        return ReceiverAnswer(AnswerKind.NOT_NOW, "the answer cannot be read")
    if about != control_id:
        return ReceiverAnswer(AnswerKind.NOT_NOW, "the answer is about another message")
    if code in _ACCEPTED:
        return ReceiverAnswer(AnswerKind.ACCEPTED, code)
    if code in _REFUSED:
        return ReceiverAnswer(AnswerKind.REFUSED, f"{code} {error}".strip())
    if code in _NOT_NOW:
        return ReceiverAnswer(AnswerKind.NOT_NOW, f"{code} {error}".strip())
    return ReceiverAnswer(AnswerKind.NOT_NOW, "the answer's code is none of HL7's")


def _error_code(message: Message) -> str:
    """HL7 error code (ERR-3) where one is given; digits alone, never a text of the other side."""
    found = re.search(r"(?m)(?:^|\r)ERR\|[^|]*\|[^|]*\|(\d{1,4})\b", str(message.to_er7()))
    return found[1] if found else ""


def escaped(text: str) -> str:
    """Text as a component: delimiters as escape sequences; control characters, which would end a segment, as blanks."""
    return "".join(_ESCAPES.get(c, c) for c in _CONTROL.sub(" ", text))


def _exact(text: str, field: str, *, empty: bool = False) -> str:
    """An identifier, whole or not at all: changed, it could be somebody else's."""
    if _CONTROL.search(text) or not (text or empty):
        raise InputRefused(f"{field} is empty or holds a control character: it cannot be sent")
    return escaped(text)


def _code(code: Code) -> str:
    return f"{escaped(code.value)}^{escaped(code.meaning)}^{escaped(code.scheme_designator)}"


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") or "0"


def _time(at: datetime) -> str:
    return f"{at:%Y%m%d%H%M%S%z}"


def _fill(segment: Segment, fields: dict[int, str]) -> None:
    for number, value in sorted(fields.items()):
        if value:
            setattr(segment, f"{segment.name.lower()}_{number}", value)
