"""What intake has fetched of a series is not fetched again, and the series is complete all the same."""

from __future__ import annotations

from collections import Counter

import pytest
from pydicom import dcmread

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState, Step
from tests.adapters.pacs.peers import HostilePacs
from tests.nights.conftest import NIGHT
from tests.nights.small_site import ELIGIBLE, slices, small_site_at

SLICES = 60  # more than are asked for singly


class Peer(HostilePacs):
    """A PACS that counts how often it sends each instance, and may know no lists of UIDs."""

    def __init__(self) -> None:
        super().__init__(slices("one", range(SLICES)))
        self.sent: Counter[str] = Counter()
        self.knows_lists = True
        self.on_get = self.counted

    def counted(self, event):
        asked = event.identifier.get("SOPInstanceUID") or ""
        if not (self.knows_lists or isinstance(asked, str)):
            yield 0
            yield 0xC420, None
            return
        self.sent.update(str(ds.SOPInstanceUID) for ds in self.matching(event.identifier))
        yield from self.get(event)


@pytest.fixture
def peer():
    with Peer().running() as running:
        yield running


@pytest.fixture
def site(tmp_path, peer):
    made = small_site_at(tmp_path, peer.port, settle_minutes=0)
    made.clinical["PHANTOM-one"] = ELIGIBLE
    return made


def probed(site):
    [[case_id]] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    return case_id, sorted(site.files.folder(NIGHT, case_id, Step.INTAKE).glob("*.dcm"))


def retrieved(site, case_id):
    return sorted(site.files.folder(NIGHT, case_id, Step.RETRIEVE).glob("*.dcm"))


def test_each_instance_is_sent_once(site, peer):
    case_id, probes = probed(site)
    assert sum(peer.sent.values()) == len(probes) == 2

    steps.retrieve(site, NIGHT, [case_id])

    assert set(peer.sent.values()) == {1}
    assert len(peer.sent) == len(retrieved(site, case_id)) == SLICES
    assert site.cases.get(case_id).state is CaseState.RETRIEVED


def test_a_probe_that_was_cut_since_is_fetched_again(site, peer):
    case_id, (cut, whole) = probed(site)
    cut.write_bytes(cut.read_bytes()[:-100])

    steps.retrieve(site, NIGHT, [case_id])

    assert (peer.sent[cut.stem], peer.sent[whole.stem]) == (2, 1)
    assert {path.stem for path in retrieved(site, case_id)} == set(peer.sent)


def test_a_probe_that_is_of_another_patient_is_fetched_again(site, peer):
    case_id, (other, _) = probed(site)
    ds = dcmread(other)
    ds.PatientID = "PHANTOM-two"
    ds.save_as(other)

    steps.retrieve(site, NIGHT, [case_id])

    assert peer.sent[other.stem] == 2
    assert dcmread(other.parent.parent / "retrieve" / other.name).PatientID == "PHANTOM-one"


def test_a_pacs_that_knows_no_lists_sends_the_series_once_more_as_a_whole(site, peer):
    case_id, probes = probed(site)
    peer.knows_lists = False

    steps.retrieve(site, NIGHT, [case_id])

    assert Counter(peer.sent.values()) == {1: SLICES - len(probes), 2: len(probes)}
    assert len(retrieved(site, case_id)) == SLICES
