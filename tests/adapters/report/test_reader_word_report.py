"""A reader's word as a structured report: whose it is, what it says, what it refers to, and before whom it stands."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pydicom
import pytest

from gtr_batch.config import ReportConfig
from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.domain.reader_word import WordKind, WordToSend
from gtr_batch.domain.staging import TStage
from gtr_batch.errors import PermanentError
from gtr_batch.report import write_reader_word
from gtr_batch.report.reader_word_report import person_name
from tests.builders import a_case, a_series, a_written_report

AT = datetime(2026, 3, 2, 7, 30, tzinfo=UTC)
SAID_AT = AT.replace(tzinfo=None)
WHY = "serosa of Müller's stomach is smooth"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A case, the folder of its reports, and the AI's report."""
    folder = tmp_path_factory.mktemp("report")
    series = a_series(tmp_path_factory.mktemp("series"), size=32)
    objects = a_written_report(folder, series, 32)
    return a_case(series), folder, next(o for o in objects if o.kind is ObjectKind.STRUCTURED_REPORT)


@pytest.fixture(scope="module")
def write(written):
    """A function that writes a word; gives the object and its file."""
    case, folder, report = written

    def made(kind: WordKind = WordKind.OVERRULE, into: Path = folder, **given):
        values = {
            "number": 7,
            "case_id": case.case_id,
            "reader": "rahel",
            "about_slice": kind in (WordKind.SLICE_CONFIRMED, WordKind.SLICE_MOVED),
            "kind": kind,
            "t_stage": TStage.T2 if kind is WordKind.OVERRULE else None,
            "key_slice": "1.2.3.4.5" if kind is WordKind.SLICE_MOVED else None,
            "why": WHY,
            "at": AT,
            "report": report,
            "previous": None,
            "written": None,
            "with_why": False,
            "tries": 0,
        }
        word = WordToSend(**{**values, **given})
        file = folder / report.file
        one = write_reader_word(into, case=case, report_file=file, word=word, said_at=SAID_AT, config=ReportConfig())
        return one, into / one.file

    return made


def dumped(need_program, path: Path) -> str:
    done = subprocess.run([need_program("dsrdump", "dcmtk"), "+Pl", "+Pu", str(path)], capture_output=True, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def test_it_is_a_persons_document_in_the_same_study_that_refers_to_the_ais(written, write, need_program):
    _, folder, report = written
    one, path = write()
    old, new = pydicom.dcmread(folder / report.file), pydicom.dcmread(path)

    [study] = new.CurrentRequestedProcedureEvidenceSequence
    referred = [i.ReferencedSOPInstanceUID for s in study.ReferencedSeriesSequence for i in s.ReferencedSOPSequence]

    assert one.kind is ObjectKind.READER_WORD
    assert new.StudyInstanceUID == old.StudyInstanceUID
    assert (new.PatientID, new.PatientName) == (old.PatientID, old.PatientName)
    assert new.SeriesInstanceUID != old.SeriesInstanceUID
    assert referred == [report.sop_instance_uid]
    assert (new.CompletionFlag, new.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert "VerifyingObserverSequence" not in new
    assert (new.ContentDate, new.ContentTime) == ("20260302", "073000")
    said = dumped(need_program, path)
    assert '"Person Observer Name")="rahel"' in said
    assert '"Assessment of the AI result by a reader")=(modified,99GTR,"Modified")' in said
    assert '"cT category")=(1228929004,SCT,"cT2")' in said
    assert report.sop_instance_uid in said
    assert "E: " not in said


@pytest.mark.parametrize("kind", WordKind)
def test_nothing_in_it_calls_it_an_ai_result_or_a_model_its_author(write, need_program, kind):
    _, path = write(kind)
    ds = pydicom.dcmread(path)

    assert ds.SeriesDescription == "Reader's word on an AI result"
    for text in (str(ds), dumped(need_program, path)):
        assert "AI result - not verified" not in text
        assert "Artificial Intelligence" not in text
        assert "Device Observer" not in text


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (WordKind.AGREE, 'by a reader")=(accepted,99GTR,"Accepted")'),
        (WordKind.SLICE_CONFIRMED, 'key slice by a reader")=(accepted,99GTR,"Accepted")'),
        (WordKind.SLICE_MOVED, 'Key slice that the reader names")="1.2.3.4.5"'),
        (WordKind.WITHDRAWN, '(taken_back,99GTR,"Assessment taken back")'),
    ],
)
def test_each_word_is_coded(write, need_program, kind, says):
    assert says in dumped(need_program, write(kind)[1])


def test_the_reason_goes_along_only_where_the_site_wants_that(write):
    assert "smooth" not in pydicom.dcmread(write()[1]).to_json()

    ds = pydicom.dcmread(write(with_why=True)[1])
    assert "smooth" in ds.to_json()
    assert ds.SpecificCharacterSet == "ISO_IR 192"


def test_a_later_word_names_the_one_that_it_replaces(write):
    first, _ = write(WordKind.AGREE)

    _, path = write(number=8, previous=first)

    [study] = pydicom.dcmread(path).PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.sop_instance_uid


def test_written_again_it_is_the_same_object_byte_for_byte(write, tmp_path):
    first, path = write()

    again, other = write(into=tmp_path)

    assert again == first
    assert other.read_bytes() == path.read_bytes()
    assert write(number=8)[0].sop_instance_uid != first.sop_instance_uid


def test_of_a_file_that_is_another_report_nothing_is_written(written, write, tmp_path):
    other = attrs.evolve(written[2], sop_instance_uid="1.2.3")

    with pytest.raises(PermanentError, match="is not the report"):
        write(into=tmp_path, report=other)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("account", "name"),
    [
        ("rahel", "rahel"),
        ("Müller^Ida=x\\y", "Müller Ida x y"),
        ("a\n b", "a b"),
        ("x" * 200, "x" * 64),
        ("^", "not known"),
    ],
)
def test_an_account_is_one_component_of_a_persons_name(account, name):
    assert person_name(account) == name


@pytest.mark.parametrize("kind", WordKind)
def test_dciodvfy_finds_no_error_in_it(write, dciodvfy, kind):
    first, _ = write(WordKind.AGREE, number=3)

    said = dciodvfy(write(kind, reader="Dr. Müller", with_why=True, previous=first)[1])

    assert [line for line in said.splitlines() if line.startswith("Error")] == []


@pytest.mark.slow
def test_pixelmed_finds_no_error_in_one_with_everything_that_may_be_said(write, pixelmed):
    java, *rest = pixelmed
    _, path = write(WordKind.SLICE_MOVED, t_stage=TStage.T2, with_why=True)

    command = [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *rest, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    said = done.stdout + done.stderr
    assert [line for line in said.splitlines() if line.startswith("Error")] == []
    assert "Root Template Validation Complete" in said
