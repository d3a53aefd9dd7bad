"""Key objects and outlines are a help: what is wrong with them never costs the CT, and the case says what is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, KeyObjectSelectionDocumentStorage, RTStructureSetStorage
from pynetdicom import evt

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState, Step
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.domain.staging import FLAG_MEANINGS, Flag
from gtr_batch.errors import CasesToRetry, PacsUnreachable
from tests.adapters.pacs.peers import HostilePacs, datasets
from tests.nights.conftest import NIGHT
from tests.unit.preprocess import outlines

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of the values that are wrong here


@pytest.fixture
def pacs() -> Iterator[HostilePacs]:
    """A PACS that sends every kind of attachment but structure sets."""
    peer = HostilePacs()
    peer.storage = [CTImageStorage, KeyObjectSelectionDocumentStorage, LABEL_MAP]
    with peer.running():
        yield peer


@pytest.fixture
def study(pacs, admit, enter_in_ehr) -> list[Dataset]:
    """A study in the PACS."""
    pacs.instances += datasets(admit("one"))
    enter_in_ehr("one")
    return pacs.instances


def attachment(study: list[Dataset], modality: str, sop_class: str, number: int = 1) -> Dataset:
    """An object beside the series, of which only its place matters."""
    ds = Dataset()
    ds.file_meta = study[0].file_meta.__class__()
    ds.file_meta.TransferSyntaxUID = study[0].file_meta.TransferSyntaxUID
    for keyword in ("StudyInstanceUID", "PatientID", "AccessionNumber", "StudyDate", "StudyTime"):
        ds[keyword] = study[0][keyword]
    ds.Modality, ds.SOPClassUID = modality, sop_class
    ds.SeriesInstanceUID = derived_uid("beside", modality)
    ds.SOPInstanceUID = derived_uid("beside", modality, str(number))
    return ds


def retrieved(site) -> tuple[CaseState, list[str]]:
    """State after intake and retrieval, and what the case says is missing."""
    [[found]] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    steps.retrieve(site, NIGHT, [found])
    case, event = site.cases.get(found), site.cases.events(found)[-1]
    return case.state, event["detail"].get("missing_attachments", [])


def _invalid_series(pacs: HostilePacs, study: list[Dataset]) -> None:
    ds = attachment(study, "KO", KeyObjectSelectionDocumentStorage)
    ds.add_new("SeriesInstanceUID", "LO", "2.25.1.012345")
    study.append(ds)


def _invalid_instance(pacs: HostilePacs, study: list[Dataset]) -> None:
    bent, good = (attachment(study, "KO", KeyObjectSelectionDocumentStorage, n) for n in (1, 2))
    bent.add_new("SOPInstanceUID", "LO", "Phantom^Test")
    study.extend((bent, good))


def _class_not_sent(pacs: HostilePacs, study: list[Dataset]) -> None:
    study.append(attachment(study, "RTSTRUCT", RTStructureSetStorage))


def _refused(pacs: HostilePacs, study: list[Dataset], level: str, status: int) -> None:
    study.append(attachment(study, "KO", KeyObjectSelectionDocumentStorage))
    asked: list[str] = []

    def find(event: evt.Event):
        of_attachment = event.identifier.get("SeriesInstanceUID") == study[-1].SeriesInstanceUID
        asked.append(event.identifier.QueryRetrieveLevel)
        # The first question for the study's series is intake's, the second is for its attachments.
        second = level == "SERIES" == asked[-1] and asked.count("SERIES") > 1
        if second or (level == "IMAGE" and of_attachment):
            yield status, None
        else:
            yield from pacs.find(event)

    pacs.on_find = find


WRONG: dict[str, Callable[[HostilePacs, list[Dataset]], None]] = {
    "an invalid series UID": _invalid_series,
    "an invalid instance UID": _invalid_instance,
    "a class that the PACS does not send": _class_not_sent,
    "the series are refused": lambda pacs, study: _refused(pacs, study, "SERIES", 0xA900),
    "the series are capped": lambda pacs, study: _refused(pacs, study, "SERIES", 0xA700),
    "the instances are refused": lambda pacs, study: _refused(pacs, study, "IMAGE", 0xA900),
    "the PACS is busy": lambda pacs, study: _refused(pacs, study, "IMAGE", 0xC000),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_attachment_that_cannot_be_had_is_noted_and_the_ct_goes_on(wrong, site, pacs, study, tmp_path):
    WRONG[wrong](pacs, study)

    state, missing = retrieved(site)

    assert state is CaseState.RETRIEVED
    assert len(missing) == 1
    assert "Phantom" not in missing[0]


def test_the_others_come_where_one_instance_has_an_invalid_uid(site, pacs, study):
    _invalid_instance(pacs, study)

    retrieved(site)

    [case] = site.cases.of_night(NIGHT)
    folder = site.files.folder(NIGHT, case.case_id, Step.RETRIEVE) / "KO"
    assert [path.stem for path in folder.glob("*.dcm")] == [str(study[-1].SOPInstanceUID)]


def test_a_label_map_segmentation_is_negotiated_and_comes(site, pacs, study):
    study.append(attachment(study, "SEG", LABEL_MAP))

    state, missing = retrieved(site)

    [case] = site.cases.of_night(NIGHT)
    folder = site.files.folder(NIGHT, case.case_id, Step.RETRIEVE) / "SEG"
    assert (state, missing) == (CaseState.RETRIEVED, [])
    assert [path.stem for path in folder.glob("*.dcm")] == [str(study[-1].SOPInstanceUID)]


def test_a_pacs_that_is_gone_among_the_attachments_is_asked_again(site, pacs, study, monkeypatch):
    """An outage is no missing attachment: the radiologist's key slice would be lost to it."""
    study.append(attachment(study, "KO", KeyObjectSelectionDocumentStorage))
    [[found]] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))

    def gone(study_uid):
        raise PacsUnreachable("association: no TCP connection; tried again later")

    with monkeypatch.context() as outage, pytest.raises(CasesToRetry):
        outage.setattr(site.archive, "find_series", gone)
        steps.retrieve(site, NIGHT, [found])
    steps.retrieve(site, NIGHT, [found])

    assert site.cases.get(found).state is CaseState.RETRIEVED
    assert site.cases.events(found)[-1]["detail"]["missing_attachments"] == []


def test_a_key_object_during_which_the_line_is_cut_once_is_asked_for_again(site, pacs, study):
    """A reader's key slice was left out for good where one association was lost while it came."""
    marked, other = (attachment(study, "KO", KeyObjectSelectionDocumentStorage, n) for n in (1, 2))
    study.extend((marked, other))
    cuts = []

    def cut_once(event):
        if event.identifier.SeriesInstanceUID == marked.SeriesInstanceUID and not cuts:
            cuts.append(event.assoc)
            yield 2
            yield 0xFF00, marked
            event.assoc.abort()
            return
        yield from pacs.get(event)

    pacs.on_get = cut_once

    assert retrieved(site) == (CaseState.RETRIEVED, [])
    assert len(cuts) == 1


@pytest.mark.slow
def test_the_result_says_that_attachments_are_missing(site, pacs, study):
    """In the flags of the result, and so in the report; one that came and cannot be read is passed over as before."""
    _class_not_sent(pacs, study)
    study.append(attachment(study, "KO", KeyObjectSelectionDocumentStorage))
    study[-1].add_new("ContentSequence", "SQ", [Dataset()])
    study[-1].ContentSequence[0].ValueType = "IMAGE"  # names no image
    retrieved(site)
    [case] = site.cases.of_night(NIGHT)

    for step in (steps.validate, steps.preprocess, steps.stage):
        step(site, NIGHT, [case.case_id])

    assert Flag.MISSING_ATTACHMENTS in site.cases.staging(case.case_id).flags
    assert FLAG_MEANINGS[Flag.MISSING_ATTACHMENTS].words


@pytest.mark.slow
def test_marks_far_apart_are_flags_of_the_result(site, pacs, study, tmp_path):
    heads = sorted(study, key=lambda ds: float(ds.ImagePositionPatient[2]))
    path = outlines.key_objects(tmp_path / "ko.dcm", [heads[4], heads[-4]])
    marks = pydicom.dcmread(path)
    marks.StudyInstanceUID, marks.PatientID = heads[0].StudyInstanceUID, heads[0].PatientID
    marks.IssuerOfPatientID = heads[0].get("IssuerOfPatientID", "")
    study.append(marks)
    retrieved(site)
    [case] = site.cases.of_night(NIGHT)

    for step in (steps.validate, steps.preprocess, steps.stage):
        step(site, NIGHT, [case.case_id])

    staging = site.cases.staging(case.case_id)
    [event] = [e for e in site.cases.events(case.case_id) if e["state"] == CaseState.PREPROCESSED]
    assert staging.slices[1].sop_instance_uid == heads[4].SOPInstanceUID
    assert {Flag.SEVERAL_KEY_SLICES, Flag.KEY_SLICES_APART} <= set(staging.flags)
    assert event["detail"]["key_slice_apart_mm"] > 30
