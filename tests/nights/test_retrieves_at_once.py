"""Several series fetched at once, each over an association of its own, as many as the PACS grants."""

from __future__ import annotations

import threading

import attrs
import pytest

from gtr_batch.config import PacsConfig
from gtr_batch.domain.case import Case
from gtr_batch.domain.identifiers import case_id
from gtr_batch.errors import CasesToRetry, ConfigError
from gtr_batch.night import steps
from gtr_batch.pacs import Pacs
from tests.adapters.pacs.peers import HostilePacs
from tests.nights.conftest import NIGHT
from tests.nights.small_site import MODEL, slices, small_site

NAMES = ("first", "second", "third", "fourth")


@pytest.fixture
def peer():
    return HostilePacs([ds for name in NAMES for ds in slices(name, range(8))])


@pytest.fixture
def site_at(tmp_path, peer):
    """A function that makes a site with a case a series, which fetches two series at once."""

    def make():
        pacs = PacsConfig(port=peer.port, retrieves=2, connect_timeout_s=10, acse_timeout_s=20, dimse_timeout_s=30)
        made = small_site(tmp_path)
        made = attrs.evolve(made, config=attrs.evolve(made.config, pacs=pacs), archive=Pacs(pacs))
        made.__dict__["model_version"] = MODEL
        for ds in peer.instances[::8]:
            uids = str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)
            made.cases.record([Case(case_id(*uids), NIGHT, *uids, str(ds.PatientID))])
        return made

    return make


def shard(site):
    return [case.case_id for case in site.cases.of_night(NIGHT)]


def states(site):
    return [str(case.state) for case in site.cases.of_night(NIGHT)]


def files(site):
    return [len(list(site.files.folder(NIGHT, one, "retrieve").glob("*.dcm"))) for one in shard(site)]


def test_two_series_come_at_once_over_two_associations_in_all(peer, site_at):
    both = threading.Barrier(2)

    def together(event):
        if len([ds for ds in peer.requests if ds.QueryRetrieveLevel == "SERIES" and "Modality" not in ds]) <= 2:
            both.wait(20)
        yield from peer.get(event)

    peer.on_get = together
    with peer.running():
        site = site_at()
        steps.retrieve(site, NIGHT, shard(site))

    assert (states(site), files(site), len(peer.opened)) == (["retrieved"] * 4, [8] * 4, 2)
    assert not both.broken


def test_a_pacs_that_refuses_a_second_association_sends_all_over_the_first(peer, site_at):
    peer.maximum_associations = 1
    with peer.running():
        site = site_at()
        steps.retrieve(site, NIGHT, shard(site))

    assert (states(site), files(site), len(peer.opened)) == (["retrieved"] * 4, [8] * 4, 1)


def test_an_association_cut_in_the_middle_costs_the_case_that_was_being_fetched(peer, site_at):
    second = str(peer.instances[8].SeriesInstanceUID)

    def cut(event):
        if event.identifier.SeriesInstanceUID != second:
            yield from peer.get(event)
            return
        yield 8
        yield 0xFF00, peer.instances[8]
        event.assoc.abort()
        yield 0xFF00, peer.instances[9]

    peer.on_get = cut
    with peer.running():
        site = site_at()
        number = [site.cases.get(one).series_uid for one in shard(site)].index(second)
        with pytest.raises(CasesToRetry, match="1 of 4 cases may work later"):
            steps.retrieve(site, NIGHT, shard(site))
        broken = states(site)
    peer.on_get = peer.get
    with peer.running():
        pacs = attrs.evolve(site.config.pacs, port=peer.port)
        again = attrs.evolve(site, config=attrs.evolve(site.config, pacs=pacs), archive=Pacs(pacs))
        steps.retrieve(again, NIGHT, shard(site))

    assert [one == "failed" for one in broken] == [k == number for k in range(4)]
    assert (states(site), files(site)) == (["retrieved"] * 4, [8] * 4)


def test_more_at_once_than_associations_are_allowed_is_a_wrong_setting():
    with pytest.raises(
        ConfigError, match=r"pacs\.retrieves is 3; at least 1, and at most pacs\.associations, which is 2"
    ):
        PacsConfig(retrieves=3)
