"""Whole cases into real PACS: Orthanc, which commits, and pynetdicom's qrscp, which does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest

from gtr_batch.config import PacsConfig
from gtr_batch.deliver import DeliveryOutcome, Parcel, deliver_case
from gtr_batch.domain.delivery import Commitment, ReportObject, StoreReceipt
from gtr_batch.domain.staging import Flag
from gtr_batch.night.memory import MemoryDeliveries
from gtr_batch.pacs import Pacs
from tests.adapters.pacs.peers import a_free_port, orthanc, qrscp
from tests.builders import (
    a_case,
    a_score,
    a_series,
    a_written_report,
)

SIZE = 32


class Forgetful(MemoryDeliveries):
    """What the PACS said, forgotten by the next delivery: as after a crash before anything was noted."""

    def __init__(self) -> None:
        super().__init__()
        self.receipts: list[StoreReceipt] = []
        self.answers: list[tuple[Commitment, frozenset[str]]] = []

    def stored(self, case_id: str) -> frozenset[str]:
        return frozenset()

    def note_receipts(self, case_id: str, receipts: Sequence[StoreReceipt]) -> None:
        self.receipts.extend(receipts)

    def note_commitment(self, case_id: str, commitment: Commitment, read_back: frozenset[str]) -> None:
        self.answers.append((commitment, read_back))


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    return a_series(tmp_path / "series", size=SIZE)


@pytest.fixture
def objects(tmp_path: Path, series: list[Path]) -> list[ReportObject]:
    return a_written_report(tmp_path / "report", series, SIZE, score=a_score())


def deliver(
    pacs: Pacs, series: list[Path], objects: Sequence[ReportObject], folder: Path, notes: Forgetful
) -> DeliveryOutcome:
    return deliver_case(pacs, notes, Parcel(a_case(series), objects, folder), PacsConfig(commitment_timeout_s=30.0))


def fetched(
    pacs: Pacs, series: list[Path], objects: Sequence[ReportObject], folder: Path
) -> dict[str, pydicom.Dataset]:
    """The objects as the PACS gives them back."""
    found = {}
    for one in objects:
        [path] = pacs.retrieve(a_case(series).study_uid, one.series_uid, [one.sop_instance_uid], folder / one.kind)
        found[one.sop_instance_uid] = pydicom.dcmread(path)
    return found


def test_orthanc_takes_and_commits_a_case_and_a_second_run_sends_nothing(need_program, tmp_path, series, objects):
    port, ours = a_free_port(), a_free_port()
    config = PacsConfig(port=port, called_ae_title="ORTHANC", commitment_port=ours)
    uids = {o.sop_instance_uid for o in objects}

    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port, our_port=ours):
        pacs, notes = Pacs(config), Forgetful()
        pacs.store(series)
        first = deliver(pacs, series, objects, tmp_path / "report", notes)
        second = deliver(pacs, series, objects, tmp_path / "report", notes)
        back = fetched(pacs, series, objects, tmp_path / "back")

    assert first == DeliveryOutcome(sent=len(objects))
    assert second == DeliveryOutcome(sent=0)
    assert notes.answers[0][0].committed == uids
    for one in objects:
        assert back[one.sop_instance_uid] == pydicom.dcmread(tmp_path / "report" / one.file), one.kind


def test_qrscp_offers_no_commitment_so_the_case_is_read_back_and_says_so(tmp_path, series, objects):
    port = a_free_port()
    uids = {o.sop_instance_uid for o in objects}

    with qrscp(tmp_path / "qrscp", port):
        pacs, notes = Pacs(PacsConfig(port=port)), Forgetful()
        pacs.store(series)
        first = deliver(pacs, series, objects, tmp_path / "report", notes)
        second = deliver(pacs, series, objects, tmp_path / "report", notes)

    assert first == DeliveryOutcome(sent=len(objects), flags=(Flag.NO_STORAGE_COMMITMENT,))
    assert second == DeliveryOutcome(sent=0, flags=(Flag.NO_STORAGE_COMMITMENT,))
    assert [read_back for _, read_back in notes.answers] == [uids, uids]
    assert {r.sop_instance_uid for r in notes.receipts} == uids
