"""The notice that supersedes a withdrawn model's report: before dciodvfy, PixelMed and DCMTK, and what it says."""

from __future__ import annotations

import subprocess
from datetime import datetime

import attrs
import pydicom
import pytest

from gtr_batch.config import ReportConfig
from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.errors import PermanentError
from gtr_batch.report import write_withdrawal
from tests.builders import (
    MODEL_VERSION,
    a_case,
    a_manifest,
    a_series,
    a_written_report,
)
from tests.hostile_files import deflated

SIZE = 32
AT = datetime(2026, 3, 9, 14, 30)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Folder, case, the report and its notice."""
    folder = tmp_path_factory.mktemp("report")
    series = a_series(tmp_path_factory.mktemp("series"), size=SIZE)
    case = a_case(series)
    objects = a_written_report(folder, series, SIZE, manifest=a_manifest(demo=True))
    (report,) = [o for o in objects if o.kind is ObjectKind.STRUCTURED_REPORT]
    return folder, case, report, _notice(folder, case, report)


def _notice(folder, case, report, into=None):
    return write_withdrawal(
        into or folder,
        case=case,
        report_file=folder / report.file,
        superseded=report,
        manifest=a_manifest(demo=True),
        model_version=MODEL_VERSION,
        withdrawn_at=AT,
        config=ReportConfig(),
    )


def test_it_names_the_report_in_the_same_study_and_says_nothing_of_a_stage(written):
    folder, _, report, notice = written

    old, new = pydicom.dcmread(folder / report.file), pydicom.dcmread(folder / notice.file)

    study = new.PredecessorDocumentsSequence[0]
    (named,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert study.StudyInstanceUID == new.StudyInstanceUID == old.StudyInstanceUID
    assert (new.PatientID, new.CompletionFlag, new.VerificationFlag) == (old.PatientID, "COMPLETE", "UNVERIFIED")
    assert "1228889001" in old.to_json()  # cT1
    assert not any(code in new.to_json() for code in ("399504009", "1228889001", "1228929004", "122157"))


def test_written_again_it_is_the_same_object_byte_for_byte(written, tmp_path):
    folder, case, report, notice = written

    again = _notice(folder, case, report, into=tmp_path)

    assert again == notice
    assert (tmp_path / again.file).read_bytes() == (folder / notice.file).read_bytes()


def test_a_notice_of_another_report_than_the_file_is_refused(written):
    folder, case, report, _ = written

    with pytest.raises(PermanentError, match="is not the report"):
        write_withdrawal(
            folder,
            case=case,
            report_file=folder / report.file,
            superseded=attrs.evolve(report, sop_instance_uid="1.2.3"),
            manifest=a_manifest(),
            model_version=MODEL_VERSION,
            withdrawn_at=AT,
            config=ReportConfig(),
        )


def _linked(path, kept):
    kept.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(kept)


def _inflating(path, kept):
    deflated(path, 300)


@pytest.mark.parametrize(("spoil", "why"), [(_linked, "link out of its folder"), (_inflating, "inflates to more than")])
def test_a_report_that_may_not_be_read_is_refused(written, tmp_path, spoil, why):
    folder, case, report, _ = written
    (tmp_path / "copy").mkdir()
    path = tmp_path / "copy" / report.file
    path.write_bytes((folder / report.file).read_bytes())
    spoil(path, tmp_path / "kept.dcm")

    with pytest.raises(PermanentError, match=why):
        _notice(tmp_path / "copy", case, report)


def test_dciodvfy_finds_no_error_in_it(written, dciodvfy):
    folder, _, _, notice = written

    said = dciodvfy(folder / notice.file)

    assert [line for line in said.splitlines() if line.startswith("Error")] == []


@pytest.mark.slow
def test_pixelmed_finds_no_error_in_it(written, pixelmed):
    folder, _, _, notice = written
    java, *rest = pixelmed

    said = _run(java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", *rest, str(folder / notice.file))

    assert [line for line in said.splitlines() if line.startswith("Error")] == []
    assert "Root Template Validation Complete" in said


def test_dcmtk_shows_whoever_opens_it_what_it_is(written, need_program):
    folder, _, report, notice = written

    said = _run(need_program("dsrdump", "dcmtk"), "+Pl", str(folder / notice.file))

    assert "Predecessor Docs    : 1" in said
    assert "AI result - withdrawn, not to be used" in said
    assert report.sop_instance_uid in said
    assert "E: " not in said


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
