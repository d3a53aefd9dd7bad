"""A PACS that is short of resources, warns or refuses, while a night retrieves from it and delivers to it."""

from __future__ import annotations

import attrs
import pytest
from pydicom import uid

from gtr_batch import night as steps
from gtr_batch.config import PacsConfig
from gtr_batch.domain.case import CaseState
from gtr_batch.errors import CasesToRetry, NightFailed
from gtr_batch.wiring import open_site
from tests.adapters.pacs.peers import HostilePacs, datasets
from tests.nights.conftest import NIGHT
from tests.nights.test_night import run

RESULTS = [
    uid.Comprehensive3DSRStorage,
    uid.ParametricMapStorage,
    uid.SecondaryCaptureImageStorage,
    uid.KeyObjectSelectionDocumentStorage,
]


@pytest.fixture
def pacs():
    """A PACS whose answers a test bends; what it takes it keeps."""
    peer = HostilePacs()
    peer.storage += RESULTS

    def keep(event):
        ds = event.dataset
        ds.file_meta = event.file_meta
        peer.instances.append(ds)
        return 0x0000

    peer.taking = keep  # may be replaced while it runs
    peer.on_store = lambda event: peer.taking(event)  # noqa: PLW0108
    with peer.running():
        yield peer


@pytest.fixture
def site(config, pacs):
    """The site of a PACS without storage commitment: what it took is read back."""
    settings: PacsConfig = attrs.evolve(config.pacs, commitment="off", dimse_timeout_s=5)
    with open_site(attrs.evolve(config, pacs=settings)) as opened:
        yield opened


@pytest.fixture
def shard(site, pacs, admit, enter_in_ehr):
    """Two cases of a night, found."""
    for name in ("one", "two"):
        pacs.instances += datasets(admit(name))
        enter_in_ehr(name)
    return steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))[0]


@pytest.mark.slow
def test_whatever_the_pacs_answers_to_a_retrieve_the_case_waits_and_is_whole_on_the_next_run(site, shard, pacs):
    """Out of resources, cannot process, and a warning after half of the instances: never staged, never a refusal."""

    def refusing(status):
        def answer(event):
            yield 1
            yield status, None

        return answer

    held_back = {ds.SOPInstanceUID for ds in pacs.instances[::2]}

    def half(event):
        found = pacs.matching(event.identifier)
        yield len(found)
        for ds in found:
            if ds.SOPInstanceUID not in held_back:
                yield 0xFF00, ds
        yield 0xB000, None

    for answer in (refusing(0xA701), refusing(0xC001), half):
        pacs.on_get = answer
        with pytest.raises(CasesToRetry, match="2 of 2"):
            steps.retrieve(site, NIGHT, shard)
        cases = [site.cases.get(case_id) for case_id in shard]
        assert {(c.state, c.reached, c.failure.retryable) for c in cases} == {(CaseState.FAILED, CaseState.FOUND, True)}
        with pytest.raises(NightFailed, match="2 of 2 cases failed"):
            steps.close_night(site, NIGHT)

    pacs.on_get = pacs.get
    steps.retrieve(site, NIGHT, shard)
    assert {site.cases.get(case_id).state for case_id in shard} == {CaseState.RETRIEVED}


@pytest.mark.slow
def test_whatever_the_pacs_answers_to_a_report_it_is_sent_later_taken_or_a_dead_letter(site, shard, pacs):
    for step in steps.SHARD_STEPS[:-1]:
        step(site, NIGHT, shard)
    refused, warned = (site.cases.get(case_id) for case_id in shard)
    keep = pacs.taking

    pacs.taking = lambda event: 0xA700
    with pytest.raises(CasesToRetry, match="2 of 2"):
        steps.deliver(site, NIGHT, shard)
    assert {site.cases.get(case_id).failure.retryable for case_id in shard} == {True}

    def by_case(event):
        if event.dataset.StudyInstanceUID == refused.study_uid:
            return 0xC000
        keep(event)
        return 0xB000

    pacs.taking = by_case
    steps.deliver(site, NIGHT, shard)

    assert site.cases.get(warned.case_id).state is CaseState.COMMITTED
    failed = site.cases.get(refused.case_id)
    assert (failed.state, failed.reached, failed.failure.retryable) == (CaseState.FAILED, CaseState.REPORTED, False)
    assert "0xC000" in failed.failure.error
    with pytest.raises(NightFailed, match="0xC000"):
        run(site)
    sent = [ds for ds in pacs.instances if ds.Modality != "CT"]
    assert len(sent) == len({ds.SOPInstanceUID for ds in sent}) == 4
