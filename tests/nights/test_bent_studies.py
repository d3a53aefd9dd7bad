"""One study never stops the night: whatever a study's files or the PACS's answers about it are, the others go on.

Intake and validation run against a real SCP on loopback that sends the bytes as they are bent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pynetdicom import evt

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState, Step
from gtr_batch.errors import DatabaseBusy, NightFailed, PacsUnreachable, StorageFull
from tests.adapters.pacs.peers import HostilePacs, datasets
from tests.bent import BENT_FILES, BentStudy
from tests.nights.conftest import NIGHT, PHI, SLICES

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of values that it is about to reject


@pytest.fixture
def pacs() -> Iterator[HostilePacs]:
    """In place of the well-behaved PACS: one whose answers and files a test bends."""
    peer = HostilePacs()
    with peer.running():
        yield peer


@pytest.fixture
def studies(pacs, admit, enter_in_ehr) -> Callable[..., dict[str, str]]:
    """A function that puts a good and a bent study into the PACS; returns their Study Instance UIDs."""

    def put(bent: BentStudy | None = None) -> dict[str, str]:
        found = {}
        for name in ("good", "bent"):
            instances = datasets(admit(name))
            enter_in_ehr(name)
            found[name] = str(instances[0].StudyInstanceUID)
            for index in bent.instances(SLICES) if bent is not None and name == "bent" else ():
                bent.bend(instances[index])
            pacs.instances += instances
        return found

    return put


def to_validation(site) -> None:
    """Intake, retrieval and validation of a night."""
    for shard in steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT)):
        steps.retrieve(site, NIGHT, shard)
        steps.validate(site, NIGHT, shard)


def ends(site, tmp_path: Path) -> dict[str, str]:
    """State or refusal code of each study's case, or the error that intake noted, by Study Instance UID."""
    noted = json.loads((tmp_path / "store" / str(NIGHT) / Step.INTAKE / "intake.json").read_text())["errors"]
    cases = {c.study_uid: str(c.refusal.code) if c.refusal else str(c.state) for c in site.cases.of_night(NIGHT)}
    return {**cases, **noted}


@pytest.mark.parametrize("bent", BENT_FILES, ids=lambda bent: bent.name)
def test_a_study_of_bent_headers_ends_alone(bent, site, studies, tmp_path):
    uids = studies(bent)

    to_validation(site)

    found = ends(site, tmp_path)
    assert found[uids["good"]] == CaseState.VALIDATED
    assert found[uids["bent"]] == bent.end
    assert not [secret for secret in PHI for text in found.values() if secret in text]


def answering(pacs: HostilePacs, study_uid: str, level: str, answer: Callable[[evt.Event], Iterator]) -> None:
    """Let the PACS answer questions of one level about one study otherwise."""

    def find(event: evt.Event):
        asked = event.identifier
        bent = asked.QueryRetrieveLevel == level and asked.get("StudyInstanceUID") in ("", study_uid)
        yield from answer(event) if bent else pacs.find(event)

    pacs.on_find = find


@pytest.mark.parametrize("level", ["SERIES", "IMAGE"])
@pytest.mark.parametrize("status", [0xA900, 0xA700, 0xC000, 0x0122])
def test_a_study_of_which_the_pacs_will_not_tell_ends_alone(level, status, site, pacs, studies, tmp_path):
    """It is no verdict on the patient: the night's summary names it, and the next run of the night asks again."""
    uids = studies()
    answering(pacs, uids["bent"], level, lambda event: iter([(status, None)]))

    to_validation(site)

    found = ends(site, tmp_path)
    assert found[uids["good"]] == CaseState.VALIDATED
    assert f"0x{status:04X}" in found[uids["bent"]] or "stopped after 0 answers" in found[uids["bent"]]
    with pytest.raises(NightFailed, match=uids["bent"]):
        steps.close_night(site, NIGHT)

    pacs.on_find = pacs.find
    to_validation(site)
    assert ends(site, tmp_path) == dict.fromkeys(uids.values(), CaseState.VALIDATED)


def test_a_series_uid_with_a_leading_zero_refuses_its_study_alone(site, pacs, studies, tmp_path):
    def spoil(ds: Dataset) -> None:
        ds.add_new("SeriesInstanceUID", "LO", "2.25.1.012345")

    uids = studies(BentStudy("a series UID with a leading zero", spoil, "invalid_uid"))

    to_validation(site)

    assert ends(site, tmp_path) == {uids["good"]: CaseState.VALIDATED, uids["bent"]: "invalid_uid"}


def test_a_study_whose_answer_cannot_be_read_is_named_in_the_summary(site, pacs, studies, tmp_path):
    """Nobody can say which study it is; that there was one, the night says."""
    uids = studies()
    odd = Dataset()
    odd.QueryRetrieveLevel, odd.StudyInstanceUID = "STUDY", ""

    def find(event: evt.Event):
        yield from pacs.find(event)
        if event.identifier.QueryRetrieveLevel == "STUDY":
            yield 0xFF00, odd

    pacs.on_find = find

    to_validation(site)

    found = ends(site, tmp_path)
    assert {found[uid] for uid in uids.values()} == {CaseState.VALIDATED}
    assert "cannot be read" in found["a study without a valid Study Instance UID"]


def test_a_study_whose_modalities_the_pacs_will_not_tell_does_not_end_the_query(site, pacs, studies):
    """Where the PACS knows no Modalities in Study, each study is asked for its series while the night is looked for."""
    uids = studies()

    def find(event: evt.Event):
        asked = event.identifier
        if asked.QueryRetrieveLevel == "SERIES" and asked.StudyInstanceUID == uids["bent"]:
            yield 0xA900, None
            return
        for status, answer in pacs.find(event):
            answer.pop("ModalitiesInStudy", None)
            yield status, answer

    pacs.on_find = find

    assert set(steps.query_pacs(site, NIGHT)) == set(uids.values())


def test_another_series_of_the_study_is_staged_where_one_cannot_be_looked_at(site, pacs, studies, tmp_path):
    """The thin reconstruction has an invalid UID, the other is as good as any; the case says what was not seen."""
    uids = studies()
    for ds in datasets(tmp_path / "dicom" / "bent"):
        ds.add_new("SeriesInstanceUID", "LO", "2.25.1.07")
        ds.SOPInstanceUID = f"{ds.SOPInstanceUID[:-4]}1"
        pacs.instances.append(ds)

    to_validation(site)

    assert ends(site, tmp_path) == dict.fromkeys(uids.values(), CaseState.VALIDATED)
    case = next(c for c in site.cases.of_night(NIGHT) if c.study_uid == uids["bent"])
    assert "invalid_uid" in site.cases.selection(case.case_id).detail["unread"][0]


def test_the_whole_nights_trouble_ends_intake(site, pacs, studies, monkeypatch):
    """A PACS that is gone after the first question is nobody's study: the task ends, and is tried again in minutes."""
    studies()
    found = steps.query_pacs(site, NIGHT)
    monkeypatch.setattr(site.archive._caller, "_request", _no_connection)

    with pytest.raises(PacsUnreachable):
        steps.intake(site, NIGHT, found)


@pytest.mark.parametrize("fault", [DatabaseBusy("gone"), StorageFull("no space"), KeyboardInterrupt()])
def test_a_fault_that_is_nobodys_study_ends_intake_at_once(site, studies, monkeypatch, fault):
    studies()
    found = steps.query_pacs(site, NIGHT)
    asked = []

    def broken(*_):
        asked.append(1)
        raise fault

    monkeypatch.setattr(site.clinical, "facts", broken)

    with pytest.raises(type(fault)):
        steps.intake(site, NIGHT, found)
    assert len(asked) == 1


def _no_connection(*_):
    raise PacsUnreachable("association: connection refused; tried again later")
