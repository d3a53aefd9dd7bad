"""A file of the night that is gone or cut: the step that makes it makes it again, and the result is the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, KeyObjectSelectionDocumentStorage

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState, Failure, Step
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.errors import CasesSentBack, CasesToRetry, NightFailed
from tests.nights.conftest import NIGHT

DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "cut to half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
}
# What lies there before a step, and the state in which that step finds the case.
BEFORE: list[tuple[CaseState, str]] = [
    (CaseState.RETRIEVED, "retrieve/*.dcm"),
    (CaseState.RETRIEVED, "retrieve/KO/*.dcm"),
    (CaseState.VALIDATED, "retrieve/*.dcm"),
    (CaseState.VALIDATED, "retrieve/KO/*.dcm"),
    (CaseState.PREPROCESSED, "validate/facts.json"),
    (CaseState.PREPROCESSED, "preprocess/prepared.npz"),
    (CaseState.PREPROCESSED, "preprocess/contract.json"),
    (CaseState.PREPROCESSED, "preprocess/geometry.json"),
    (CaseState.STAGED, "stage/features.npz"),
    (CaseState.SCORED, "retrieve/*.dcm"),
    (CaseState.SCORED, "preprocess/geometry.json"),
    (CaseState.SCORED, "explain/heat.npz"),
    (CaseState.REPORTED, "report/structured_report-*.dcm"),
    (CaseState.REPORTED, "report/parametric_map-*.dcm"),
    (CaseState.REPORTED, "report/secondary_capture-*.dcm"),
    (CaseState.REPORTED, "report/key_objects-*.dcm"),
]


@pytest.fixture
def found(site, admit, enter_in_ehr, fill) -> str:
    """The case of a study whose key slice a person has marked."""
    folder = admit("one")
    _mark_key_slice(folder)
    enter_in_ehr("one")
    fill()
    [[case_id]] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    return case_id


def _mark_key_slice(folder: Path) -> None:
    source = dcmread(sorted(folder.glob("*.dcm"))[5], stop_before_pixels=True)
    title, image, reference, ds = Dataset(), Dataset(), Dataset(), Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "113000", "DCM", "Of Interest"
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    image.ValueType, image.RelationshipType, image.ReferencedSOPSequence = "IMAGE", "CONTAINS", [reference]
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate", "StudyTime"):
        ds[keyword] = source[keyword]
    ds.Modality, ds.SOPClassUID, ds.SeriesNumber = "KO", KeyObjectSelectionDocumentStorage, "90"
    ds.SeriesInstanceUID, ds.SOPInstanceUID = derived_uid("marks"), derived_uid("mark")
    ds.ConceptNameCodeSequence, ds.ContentSequence = [title], [image]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.save_as(folder / "mark.dcm", enforce_file_format=True)


def go_on(site, case_id: str, last: int) -> None:
    """The steps of a night up to the one at `last`, as the command line runs them; faults of cases are in the cases."""
    for step in steps.SHARD_STEPS[:last]:
        try:
            step(site, NIGHT, [case_id])
        except (CasesToRetry, CasesSentBack):
            continue


def result(site, case_id: str) -> tuple[Any, ...]:
    """All that a reader or the PACS is told of a case."""
    return site.cases.staging(case_id), site.cases.score(case_id), site.cases.objects(case_id)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_gone_or_cut_is_made_again(damage, site, found, tmp_path):
    """Before every step that reads it, for every file; after two runs all is as it was undisturbed."""
    go_on(site, found, -1)
    undisturbed = result(site, found)
    folder = tmp_path / "store" / str(NIGHT) / found
    written = digests(folder / "report")
    assert site.cases.get(found).reached is CaseState.REPORTED

    for state, pattern in BEFORE:
        with site.cases.step(found, Step.REPORT) as record:  # rewound to where the step finds it
            record.fail(Failure(Step.REPORT, "rewound", retryable=True, back_to=state))
        DAMAGE[damage](sorted(folder.glob(pattern))[3 if pattern == "retrieve/*.dcm" else 0])
        go_on(site, found, None if state is CaseState.REPORTED else -1)  # what is not as written is not sent
        go_on(site, found, -1)

        assert result(site, found) == undisturbed, (state, pattern)
        assert digests(folder / "report") == written, (state, pattern)
        assert site.cases.get(found).state is CaseState.REPORTED, (state, pattern)

    # Nothing cut was sent meanwhile, and what is sent now is what was written.
    assert site.deliveries.stored(found) == frozenset()
    steps.deliver(site, NIGHT, [found])
    assert site.cases.get(found).state is CaseState.COMMITTED
    assert site.deliveries.stored(found) == {one.sop_instance_uid for one in undisturbed[2]}


@pytest.mark.slow
def test_a_changed_report_that_is_lost_is_written_again_as_the_same_instance(site, found, dsn, tmp_path):
    """With the predecessor that it names: a reader must be told what it replaces."""
    go_on(site, found, -1)
    [first, *_] = site.cases.objects(found)
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("insert into ehr_tumour values ('PHANTOM-one', '2026-02-20', 6.5, 'lower')")
    connection.close()
    folder = tmp_path / "store" / str(NIGHT) / found / "report"

    def answered_again() -> ReportObject:
        with site.cases.step(found, Step.REPORT) as record:
            record.fail(Failure(Step.REPORT, "rewound", retryable=True, back_to=CaseState.STAGED))
        steps.nomogram(site, NIGHT, [found])
        steps.report(site, NIGHT, [found])
        return next(one for one in site.cases.objects(found) if one.kind is ObjectKind.STRUCTURED_REPORT)

    changed = answered_again()
    before = (folder / changed.file).read_bytes()
    (folder / changed.file).unlink()
    again = answered_again()

    assert again == changed
    assert (folder / changed.file).read_bytes() == before
    [study] = dcmread(folder / changed.file).PredecessorDocumentsSequence
    [named] = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == first.sop_instance_uid


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_nights_own_files_are_made_again(damage, site, admit, enter_in_ehr, fill, tmp_path):
    """The list of studies is asked for again; without intake's counts the night is red until the next run."""
    admit("one")
    enter_in_ehr("one")
    fill()
    night = tmp_path / "store" / str(NIGHT)
    studies = steps.query_pacs(site, NIGHT)

    DAMAGE[damage](night / "pacs" / "studies.json")
    [[found]] = steps.intake(site, NIGHT, studies)
    DAMAGE[damage](night / "intake" / "intake.json")
    with pytest.raises(NightFailed, match="did not finish"):
        steps.close_night(site, NIGHT)
    again = steps.intake(site, NIGHT, studies)

    assert again == [[found]]
    assert site.cases.get(found).state is CaseState.FOUND
    assert (night / "intake" / "intake.json").read_text().startswith("{")
