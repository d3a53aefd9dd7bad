"""What stands in an ORU^R01, read by two libraries, and what an acknowledgement means."""

from __future__ import annotations

from datetime import UTC, datetime

import attrs
import hl7
import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.config import RisConfig
from gtr_batch.domain.result_message import AnswerKind, MessageKind, ReaderWord, ResultMessage
from gtr_batch.domain.staging import Flag, StageSet, TStage
from gtr_batch.errors import ConfigError, InputRefused
from gtr_batch.ris import result_message
from gtr_batch.ris.adt import unescaped
from gtr_batch.ris.hl7 import acknowledged, escaped
from tests.adapters.db.test_cases import a_case, a_score, a_staging
from tests.builders import not_staged

AT = datetime(2026, 3, 2, 1, 30, tzinfo=UTC)
VERSION = "c" * 64


def a_message(**changes) -> ResultMessage:
    staging = a_staging(VERSION, flags=(), stage_set=StageSet(TStage.T2, TStage.T3, 0.9))
    return attrs.evolve(ResultMessage(1, a_case(), 1, MessageKind.RESULT, VERSION, AT, staging, a_score()), **changes)


def written(message: ResultMessage, timezone: str = "Europe/Paris", **config) -> str:
    return result_message(message, RisConfig(**config), timezone)


def observed(text: str) -> dict[str, tuple[str, str, str]]:
    """Code -> value, unit and status of each OBX; flags with their value behind the code."""
    found = {}
    for obx in hl7.parse(text).segments("OBX"):
        code, value = str(obx[3][0][0]), str(obx[5]).split("^", maxsplit=1)[0]
        found[f"{code} {value}" if code == "flag" else code] = (
            value,
            str(obx[6]).split("^", maxsplit=1)[0],
            str(obx[11]),
        )
    return found


def test_the_message_is_valid_by_the_standard_when_it_is_read_again():
    parse_message(written(a_message()), validation_level=VALIDATION_LEVEL.STRICT).validate()


def test_a_result_that_nobody_has_read_is_preliminary_throughout():
    text = written(a_message())

    assert hl7.parse(text).segment("OBR")[25] == ["P"]
    assert {status for _, _, status in observed(text).values()} == {"P"}
    assert observed(text)["status"][0] == "ai_not_verified"
    assert "VERIFIED" not in text


def test_stage_probabilities_set_and_points_stand_in_lines_of_their_own_with_units():
    found = observed(written(a_message()))

    assert found["21905-5"][0] == "1228938002"  # SNOMED CT, cT3
    assert [found[f"prob_t{n}"][:2] for n in range(1, 5)] == [("0.1", "1"), ("0.2", "1"), ("0.6", "1"), ("0.1", "1")]
    assert (found["set_lowest"][0], found["set_highest"][0]) == ("1228929004", "1228938002")
    assert found["set_coverage"][:2] == ("0.9", "1")
    assert (found["points_rad"][:2], found["points_total"][:2]) == (("54.2", "{points}"), ("120.5", "{points}"))
    assert found["missing"][0] == "cov_lauren"
    assert found["110180"][0] == "1.2.1"
    assert (found["model_version"][0], found["result_version"][0]) == (VERSION, "1")


def test_where_the_nomogram_answers_its_stage_is_the_stage():
    score = attrs.evolve(a_score(), is_primary=True)

    found = observed(written(a_message(score=score)))

    assert (found["answer_by"][0], found["supporting_cat"][0]) == ("by_nomogram", "1228938002")


def test_patient_study_and_character_set_stand_where_the_standard_has_them():
    text = written(a_message(case=a_case(patient_id="Ä-7")), assigning_authority="H&1", accession_fields=["2", "18"])
    message = hl7.parse(text)

    assert message.segment("MSH")[18] == ["UNICODE UTF-8"]
    assert str(message.segment("PID")[3]) == r"Ä-7^^^H\T\1^PI"
    assert str(message.segment("PID")[5]) == "^^^^^^U"
    obr = message.segment("OBR")
    assert (str(obr[2]), str(obr[3]), str(obr[18])) == ("ACC1", a_case().case_id, "ACC1")
    assert str(obr[7]) == "20260301200100+0100"
    assert str(obr[22]) == "20260302013000+0000"


@pytest.mark.parametrize(
    ("changes", "priority"),
    [
        ({}, "R"),
        ({"staging": a_staging(VERSION, flags=(Flag.NOT_CALIBRATED, Flag.DEMO_MODEL))}, "R"),  # said of every case
        ({"staging": a_staging(VERSION, flags=(Flag.STAGE_VARIES,))}, "A"),
        ({"staging": attrs.evolve(a_staging(VERSION, flags=()), t_stage=TStage.T4)}, "A"),
        ({"staging": not_staged(a_staging(VERSION, flags=())), "score": None}, "A"),
        ({"kind": MessageKind.WITHDRAWN, "staging": None, "score": None}, "A"),
    ],
)
def test_the_priority_lets_the_receiver_rank_its_list(changes, priority):
    assert str(hl7.parse(written(a_message(**changes))).segment("TQ1")[9]).startswith(f"{priority}^")


@pytest.mark.parametrize(("stage", "abnormal"), [(TStage.T1, "A"), (TStage.T3, "A"), (TStage.T4, "AA")])
def test_a_t4_is_very_abnormal(stage, abnormal):
    staging = attrs.evolve(a_staging(VERSION, flags=()), t_stage=stage)

    assert hl7.parse(written(a_message(staging=staging))).segments("OBX")[0][8] == [abnormal]


def test_each_flag_is_a_line():
    found = observed(written(a_message(staging=a_staging(VERSION, flags=(Flag.TIE, Flag.STAGE_VARIES)))))

    assert {name for name in found if name.startswith("flag")} == {"flag three_way_tie", "flag stage_varies"}


def test_without_a_stage_there_is_no_value_and_the_coded_reason():
    found = observed(written(a_message(staging=not_staged(a_staging(VERSION)), score=None)))

    assert found["21905-5"] == ("", "", "X")
    assert found["reason"][0] == "unlike_reference"
    assert not [name for name in found if name.startswith(("prob", "points", "set"))]


@pytest.mark.parametrize(
    ("word", "status", "stage"),
    [
        (ReaderWord(True, None, AT), "F", "1228938002"),  # the stage of the result: T3
        (ReaderWord(False, TStage.T2, AT), "C", "1228929004"),
    ],
)
def test_a_readers_word_is_final_or_a_correction_beside_the_ai_result_which_stays_preliminary(word, status, stage):
    text = written(a_message(kind=MessageKind.READER, reader=word))

    found = observed(text)
    assert found["reader_word"] == ("reader_agrees" if word.agrees else "reader_other", "", status)
    assert found["reader_cat"] == (stage, "", status)
    assert {found[name][2] for name in found if not name.startswith("reader")} == {"P"}
    assert found["status"][0] == "ai_not_verified"
    assert hl7.parse(text).segment("OBR")[25] == [status]
    parse_message(text, validation_level=VALIDATION_LEVEL.STRICT).validate()


def test_a_word_that_was_taken_back_leaves_the_result_as_nobody_has_read_it():
    text = written(a_message(kind=MessageKind.READER))

    assert {status for _, _, status in observed(text).values()} == {"P"}
    assert hl7.parse(text).segment("OBR")[25] == ["P"]


def test_the_control_id_is_made_of_case_and_version_alone():
    ids = {
        a_message(version=version, case=a_case(number), **changes).control_id
        for version in (1, 2)
        for number in (1, 2)
        for changes in ({}, {"tries": 3, "written_at": datetime(2027, 1, 1, tzinfo=UTC)})
    }

    assert len(ids) == 4
    assert {len(one) for one in ids} == {20}  # MSH-10 of HL7 2.5.1


@pytest.mark.parametrize("value", ["P\x0b1", "P\x1c\r1", "P\n1", "P\u20281"])
def test_an_identifier_that_hl7_cannot_carry_whole_is_not_sent_and_not_shown(value):
    with pytest.raises(InputRefused, match="PID-3") as refused:
        written(a_message(case=a_case(patient_id=value)))
    assert value not in str(refused.value)
    with pytest.raises(InputRefused, match="OBR-18"):
        written(a_message(case=a_case(accession_number=value)))


def test_any_other_patient_id_comes_out_as_it_went_in():
    patient_id = r"Ä\\T\\|^~&\\ 7"
    text = written(a_message(case=a_case(patient_id=patient_id)))

    assert unescaped(str(hl7.parse(text).segment("PID")[3][0][0])) == patient_id
    assert len(hl7.parse(text)) == len(hl7.parse(written(a_message())))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=64))
def test_what_is_escaped_is_read_as_it_was(text):
    assert unescaped(escaped(text)) == text


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_can_add_a_segment_a_field_or_a_frame(text):
    assert not set(escaped(text)) & set("|^~&\r\n\x0b\x1c")


ACK = "MSH|^~\\&|RIS|H|G|R|20260301||ACK^R01^ACK|1|P|2.5.1\rMSA|{}|{}\r"


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        (ACK.format("AA", "X"), AnswerKind.ACCEPTED, "AA"),
        (ACK.format("CA", "X"), AnswerKind.ACCEPTED, "CA"),
        (ACK.format("AA", "X").replace("\r", "\n"), AnswerKind.ACCEPTED, "AA"),
        (ACK.format("AA", "X").replace("2.5.1", "2.3"), AnswerKind.ACCEPTED, "AA"),
        (ACK.format("AE", "X") + "ERR|||207^a name^HL70357|E\r", AnswerKind.REFUSED, "AE 207"),
        (ACK.format("CE", "X"), AnswerKind.REFUSED, "CE"),
        (ACK.format("AR", "X"), AnswerKind.NOT_NOW, "AR"),
        (ACK.format("CR", "X"), AnswerKind.NOT_NOW, "CR"),
        (ACK.format("AA", "Y"), AnswerKind.NOT_NOW, "the answer is about another message"),
        (ACK.format("AA", ""), AnswerKind.NOT_NOW, "the answer is about another message"),
        (ACK.format("OK", "X"), AnswerKind.NOT_NOW, "the answer's code is none of HL7's"),
        (ACK.split("\r", maxsplit=1)[0], AnswerKind.NOT_NOW, "the answer is about another message"),
        ("", AnswerKind.NOT_NOW, "the answer cannot be read"),
        ("\x00\xff", AnswerKind.NOT_NOW, "the answer cannot be read"),
    ],
)
def test_what_an_acknowledgement_means(text, kind, code):
    answer = acknowledged(text, "X")

    assert (answer.kind, answer.code) == (kind, code)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"accession_fields": ["4"]}, "accession_fields"),
        ({"processing_id": "X"}, "processing_id"),
        ({"tls_cert": "a", "tls_key": "b"}, "tls_ca"),
        ({"tls_ca": "a", "tls_cert": "b"}, "go together"),
        ({"max_tries": 0}, "max_tries"),
    ],
)
def test_settings_that_cannot_be_are_named(given, said):
    with pytest.raises(ConfigError, match=said):
        RisConfig(**given)
