"""Shared associations: one for many calls, opened again where it died between two, never hiding a failure."""

from __future__ import annotations

import threading

import pytest
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from gtr_batch.errors import AssociationLost, CaseRejected, DeliveryRefused, RetrieveIncomplete
from tests.adapters.pacs.peers import HostilePacs, a_free_port


@pytest.fixture
def names(series):
    """Study and Series Instance UID of the series."""
    return str(series[0].StudyInstanceUID), str(series[0].SeriesInstanceUID)


@pytest.fixture
def files(series_folder):
    return sorted(series_folder.glob("*.dcm"))[:4]


@pytest.mark.parametrize("mode", ["get", "move"])
def test_questions_and_retrieves_of_a_block_share_one_association(pacs_at, series, uids, names, tmp_path, mode):
    peer, ours = HostilePacs(series), a_free_port()
    peer.move_to = ("127.0.0.1", ours)
    with peer.running():
        pacs = pacs_at(peer, retrieve_mode=mode, move_port=ours)
        with pacs.connected():
            pacs.find_series(names[0])
            listed = [record.sop_instance_uid for record in pacs.find_instances(*names)]
            probes = pacs.retrieve(*names, uids[:2], tmp_path / "probes")
            paths = pacs.retrieve(*names, listed, tmp_path / "all")
        ours_only = len(peer.opened)
        pacs.find_series(names[0])

    assert (len(probes), len(paths), ours_only, len(peer.opened)) == (2, 12, 1, 2)
    assert all(not assoc.is_aborted for assoc in peer.opened)


def test_what_was_listed_just_before_is_not_asked_again(pacs_at, series, uids, names, tmp_path):
    peer = HostilePacs(series)
    with peer.running():
        pacs = pacs_at(peer)
        with pacs.connected():
            pacs.find_instances(*names)
            pacs.retrieve(*names, uids, tmp_path)

    assert [identifier.QueryRetrieveLevel for identifier in peer.requests] == ["IMAGE", "SERIES"]


def test_looking_up_and_storing_share_one_association(pacs_at, names, files):
    peer = HostilePacs()
    with peer.running():
        pacs = pacs_at(peer)
        with pacs.connected(files):
            pacs.present(*names, ["1.2.3"])
            pacs.store(files)
            pacs.present(*names, ["1.2.3"])

    assert len(peer.opened) == 1


def test_a_class_that_the_pacs_does_not_take_is_refused_by_name_and_the_others_are_stored(
    pacs_at, names, files, tmp_path
):
    ds, receipts = dcmread(files[0]), []
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
    ds.save_as(tmp_path / "map.dcm", enforce_file_format=True)
    mixed = [tmp_path / "map.dcm", *files[1:]]
    with HostilePacs().running() as peer:
        pacs = pacs_at(peer)
        with pacs.connected(mixed):
            pacs.present(*names, ["1.2.3"])
            with pytest.raises(DeliveryRefused, match="Parametric Map Storage") as refused:
                pacs.store(mixed, receipts.append)

    assert (refused.value.status, len(receipts)) == (0x0122, 3)


@pytest.mark.parametrize("how", ["abort", "release"])
def test_an_association_that_the_pacs_ended_between_two_calls_is_opened_again(pacs_at, series, names, how):
    peer = HostilePacs(series)
    with peer.running():
        pacs = pacs_at(peer)
        with pacs.connected():
            pacs.find_series(names[0])
            getattr(peer.opened[0], how)()
            found = pacs.find_series(names[0])

    assert (len(found), len(peer.opened)) == (1, 2)


def test_an_association_found_dead_by_the_request_itself_is_opened_again_once(pacs_at, series, names):
    """The PACS takes the question and hangs up without a word."""
    peer, asked = HostilePacs(series), []

    def find(event):
        asked.append(event.assoc)
        if len(asked) in (2, 4, 5):
            event.assoc.abort()
            return
        yield from peer.find(event)

    peer.on_find = find
    with peer.running():
        pacs = pacs_at(peer)
        with pacs.connected():
            pacs.find_series(names[0])
            found = pacs.find_series(names[0])
            with pytest.raises(AssociationLost):
                pacs.find_series(names[0])
            again = pacs.find_series(names[0])

    assert (len(found), len(again), len(asked), len(peer.opened)) == (1, 1, 6, 4)


def test_a_retrieve_cut_half_way_is_no_success_and_goes_on_with_what_is_missing(pacs_at, series, uids, names, tmp_path):
    peer = HostilePacs(series)

    def get(event):
        yield 12
        for ds in series[:4]:
            yield 0xFF00, ds
        event.assoc.abort()
        yield 0xFF00, series[4]

    with peer.running():
        pacs = pacs_at(peer)
        with pacs.connected():
            pacs.find_instances(*names)
            peer.on_get = get
            with pytest.raises(AssociationLost):
                pacs.retrieve(*names, uids, tmp_path)
            here = len(list(tmp_path.glob("*.dcm")))
            peer.on_get = peer.get
            paths = pacs.retrieve(*names, uids, tmp_path)

    assert 3 <= here <= 5
    assert (len(paths), len(peer.opened)) == (12, 2)


def test_a_store_cut_in_the_middle_keeps_the_receipts_before_it_and_fails(pacs_at, files, names):
    peer, seen, receipts = HostilePacs(), [], []

    def on_store(event):
        seen.append(str(event.request.AffectedSOPInstanceUID))
        if len(seen) == 3:
            event.assoc.abort()
        return 0x0000

    peer.on_store = on_store
    with peer.running():
        pacs = pacs_at(peer)
        with pacs.connected(files):
            pacs.present(*names, [])
            with pytest.raises(AssociationLost):
                pacs.store(files, receipts.append)

    assert len(seen) == 3
    assert [r.sop_instance_uid for r in receipts] == [dcmread(p).SOPInstanceUID for p in files[:2]]


def test_a_refused_object_keeps_neither_the_others_nor_their_receipts_back(pacs_at, files):
    peer, seen, receipts = HostilePacs(), [], []

    def on_store(event):
        seen.append(1)
        return 0xA900 if len(seen) == 2 else 0x0000

    peer.on_store = on_store
    with peer.running(), pytest.raises(DeliveryRefused, match="0xA900"):
        pacs_at(peer).store(files, receipts.append)

    assert [r.sop_instance_uid for r in receipts] == [dcmread(files[i]).SOPInstanceUID for i in (0, 2, 3)]


def test_a_series_that_stays_incomplete_leaves_the_association_for_the_next_case(
    pacs_at, series, uids, names, tmp_path
):
    peer = HostilePacs(series[:11])
    with peer.running():
        pacs = pacs_at(peer)
        with pacs.connected():
            with pytest.raises(RetrieveIncomplete):
                pacs.retrieve(*names, uids, tmp_path)
            with pytest.raises(CaseRejected):
                pacs.find_series("not a UID")
            pacs.find_series(names[0])

    assert len(peer.opened) == 1


def test_a_single_slot_is_enough_for_looking_up_storing_and_commitment(pacs_at, series, names, files):
    """The shared association gives its slot back before the commitment opens one of its own."""
    peer = HostilePacs(series)
    peer.on_action = lambda event: (0x0122, None)
    done = []

    def work():
        pacs = pacs_at(peer, associations=1)
        with pacs.connected(files):
            pacs.store(files)
            done.append(pacs.commit([(CTImageStorage, "1.2.3")], 1.0).offered)
            pacs.echo()
            done.append(len(pacs.find_series(names[0])))

    with peer.running():
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(30)

    assert done == [False, 1]


def test_each_thread_has_an_association_of_its_own(pacs_at, series, names):
    peer = HostilePacs(series)
    with peer.running():
        pacs, both = pacs_at(peer), threading.Barrier(2)

        def work():
            with pacs.connected():
                for _ in range(3):
                    pacs.find_series(names[0])
                both.wait(10)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

    assert len(peer.opened) == 2


def test_a_block_that_fails_releases_its_association(pacs_at, series, names):
    peer = HostilePacs(series)
    with peer.running():
        pacs = pacs_at(peer)
        with pytest.raises(KeyError), pacs.connected():
            pacs.find_series(names[0])
            raise KeyError
        peer.opened[0].join(5)
        closed = not peer.opened[0].is_alive()

    assert (closed, peer.opened[0].is_released) == (True, True)


def test_a_shared_association_may_live_longer_than_the_limit_of_one_call(pacs_at, series, names):
    peer, pause = HostilePacs(series), threading.Event()
    with peer.running():
        pacs = pacs_at(peer, dimse_timeout_s=1.0, association_limit_s=2.0)
        with pacs.connected():
            for _ in range(5):
                pause.wait(0.6)
                pacs.find_series(names[0])

    assert len(peer.opened) == 1


def test_a_silent_call_on_a_shared_association_is_cut_and_not_repeated(pacs_at, series, names):
    peer, awake, asked = HostilePacs(series), threading.Event(), []

    def find(event):
        asked.append(1)
        if len(asked) == 2:
            awake.wait(20)
        yield from peer.find(event)

    peer.on_find = find
    with peer.running():
        pacs = pacs_at(peer, dimse_timeout_s=1.0)
        with pacs.connected():
            pacs.find_series(names[0])
            with pytest.raises(AssociationLost, match="silent for 1 s"):
                pacs.find_series(names[0])
            awake.set()

    assert len(asked) == 2
