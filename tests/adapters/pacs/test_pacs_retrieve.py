"""C-GET and C-MOVE: complete by UID or not at all, as the PACS sent it, and nothing else."""

from __future__ import annotations

import errno
import os
import socket
import threading
from copy import deepcopy
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless
from pynetdicom import evt
from structlog.testing import capture_logs

from gtr_batch.dicom_file import is_intact
from gtr_batch.errors import (
    AssociationLost,
    CaseRejected,
    ConfigError,
    GtrError,
    PacsBusy,
    PermanentError,
    RetrieveIncomplete,
    StorageFull,
    TransientError,
)
from gtr_batch.pacs import arrivals
from gtr_batch.pacs.watch import cut_socket
from tests.adapters.pacs.peers import HostilePacs, a_free_port, orthanc, qrscp


def wanted(series):
    return str(series[0].StudyInstanceUID), str(series[0].SeriesInstanceUID), [str(ds.SOPInstanceUID) for ds in series]


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("mode", ["get", "move"])
def test_retrieves_from_qrscp_what_was_stored(pacs_at, series, series_folder, tmp_path, mode):
    port, our_port = a_free_port(), a_free_port()
    seen = []
    with qrscp(tmp_path / "qrscp", port, our_port=our_port):
        pacs = pacs_at(port, retrieve_mode=mode, move_port=our_port)
        pacs.store(sorted(series_folder.glob("*.dcm")))
        study, number, uids = wanted(series)
        paths = pacs.retrieve(study, number, uids, tmp_path / "out", lambda done, total: seen.append((done, total)))

    assert [p.name for p in paths] == [f"{uid}.dcm" for uid in uids]
    assert names(tmp_path / "out") == sorted(p.name for p in paths)
    assert [dcmread(p).PixelData for p in paths] == [ds.PixelData for ds in series]
    assert {dcmread(p).file_meta.TransferSyntaxUID for p in paths} == {ExplicitVRLittleEndian}
    assert seen[0] == (0, 12) and seen[-1] == (12, 12)
    assert {oct(p.stat().st_mode & 0o777) for p in paths} == {"0o600"}


@pytest.mark.parametrize("mode", ["get", "move"])
def test_retrieves_from_orthanc_what_was_stored(pacs_at, need_program, series, series_folder, tmp_path, mode):
    port, our_port = a_free_port(), a_free_port()
    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port, our_port=our_port):
        pacs = pacs_at(port, called_ae_title="ORTHANC", retrieve_mode=mode, move_port=our_port)
        pacs.store(sorted(series_folder.glob("*.dcm")))
        study, number, uids = wanted(series)
        probes = pacs.retrieve(study, number, uids[3:6], tmp_path / "probes")
        batch = pacs.retrieve(study, number, uids[:9], tmp_path / "batch")
        paths = pacs.retrieve(study, number, uids, tmp_path / "out")

    assert len(names(tmp_path / "probes")) == len(probes) == 3
    assert len(names(tmp_path / "batch")) == len(batch) == 9
    assert [dcmread(p).PixelData for p in paths] == [ds.PixelData for ds in series]


def test_orthanc_sends_compressed_instances_as_they_are_stored(pacs_at, need_program, series, tmp_path):
    files = []
    for ds in series[:2]:
        ds.compress(RLELossless, generate_instance_uid=False)
        files.append(tmp_path / f"{ds.SOPInstanceUID}.rle")
        ds.save_as(files[-1], enforce_file_format=True)
    port = a_free_port()
    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port):
        pacs = pacs_at(port, called_ae_title="ORTHANC")
        pacs.store(files)
        study, number, uids = wanted(series[:2])
        paths = pacs.retrieve(study, number, uids, tmp_path / "out")

    got = [dcmread(p) for p in paths]
    assert {ds.file_meta.TransferSyntaxUID for ds in got} == {RLELossless}
    assert [ds.PixelData for ds in got] == [ds.PixelData for ds in series[:2]]


def test_orthanc_sends_real_jpeg_2000_as_it_is_stored(pacs_at, need_program, shared_data, tmp_path):
    source = next(
        path
        for path in sorted((shared_data / "quirks" / "wg04_syntaxes").rglob("*"))
        if path.is_file()
        and path.read_bytes()[128:132] == b"DICM"
        and dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == JPEG2000Lossless
    )
    ds = dcmread(source)
    port = a_free_port()
    with orthanc(need_program("Orthanc", "orthanc"), tmp_path / "orthanc", port):
        pacs = pacs_at(port, called_ae_title="ORTHANC")
        pacs.store([source])
        [path] = pacs.retrieve(ds.StudyInstanceUID, ds.SeriesInstanceUID, [ds.SOPInstanceUID], tmp_path / "out")

    got = dcmread(path)
    assert got.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert got.PixelData == ds.PixelData


def test_whole_files_are_not_fetched_again(pacs_at, series, tmp_path):
    peer = HostilePacs(series)
    with peer.running():
        first = pacs_at(peer).retrieve(*wanted(series), tmp_path)
        asked = len(peer.requests)
        second = pacs_at(peer).retrieve(*wanted(series), tmp_path)

    assert first == second
    assert len(peer.requests) == asked


def test_only_what_is_missing_or_torn_is_fetched_again(pacs_at, series, tmp_path):
    peer = HostilePacs(series)
    with peer.running():
        paths = pacs_at(peer).retrieve(*wanted(series), tmp_path)
        whole = paths[2].read_bytes()
        paths[2].write_bytes(whole[:-100])
        paths[5].unlink()
        kept = paths[0].stat().st_mtime_ns
        peer.requests.clear()
        pacs_at(peer).retrieve(*wanted(series), tmp_path)

    assert paths[2].read_bytes() == whole
    assert paths[0].stat().st_mtime_ns == kept
    got = [q.SOPInstanceUID for q in peer.requests if q.QueryRetrieveLevel == "IMAGE"]
    assert sorted(got) == sorted(series[i].SOPInstanceUID for i in (2, 5))


def test_a_warning_status_with_missing_instances_is_incomplete(pacs_at, series, tmp_path):
    peer = HostilePacs(series)

    def get(event: evt.Event):
        found = [ds for ds in peer.matching(event.identifier) if ds is not series[4]]
        yield len(found) + 1
        for ds in found:
            yield 0xFF00, ds
        yield 0xB000, None

    peer.on_get = get
    with peer.running(), pytest.raises(RetrieveIncomplete, match="1 of 12 promised") as incomplete:
        pacs_at(peer).retrieve(*wanted(series), tmp_path)

    assert series[4].SOPInstanceUID in str(incomplete.value)
    assert len(names(tmp_path)) == 11


def test_success_is_not_believed_when_an_instance_is_missing(pacs_at, series, tmp_path):
    peer = HostilePacs(series[:-1])
    with peer.running(), pytest.raises(RetrieveIncomplete):
        pacs_at(peer).retrieve(*wanted(series), tmp_path)

    assert len(names(tmp_path)) == 11


def test_a_warning_is_complete_when_every_promised_instance_arrived(pacs_at, series, tmp_path):
    peer = HostilePacs(series)

    def get(event: evt.Event):
        yield from peer.get(event)
        yield 0xB000, None

    peer.on_get = get
    with peer.running():
        paths = pacs_at(peer).retrieve(*wanted(series), tmp_path)

    assert len(paths) == 12


def test_instances_lost_on_the_way_are_asked_for_again_one_by_one(pacs_at, series, tmp_path):
    peer = HostilePacs(series)

    def get(event: evt.Event):
        single = event.identifier.QueryRetrieveLevel == "IMAGE" and isinstance(event.identifier.SOPInstanceUID, str)
        found = peer.matching(event.identifier)
        found = found if single else found[: len(found) // 2]
        yield len(found)
        for ds in found:
            yield 0xFF00, ds

    peer.on_get = get
    with peer.running():
        paths = pacs_at(peer).retrieve(*wanted(series), tmp_path)

    assert len(paths) == len(names(tmp_path)) == 12


def test_instances_never_asked_for_are_counted_in_the_log_and_not_written(pacs_at, series, tmp_path):
    strangers = [deepcopy(series[0]) for _ in range(3)]
    for ds, uid in zip(strangers, ["1.2.3", "1.2.00.4", "../../../tmp/evil"], strict=True):
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
    peer = HostilePacs(series)

    def get(event: evt.Event):
        found = [*strangers, *peer.matching(event.identifier)]
        yield len(found)
        for ds in found:
            yield 0xFF00, ds

    peer.on_get = get
    with peer.running(), capture_logs() as logged:
        paths = pacs_at(peer).retrieve(*wanted(series), tmp_path / "out")

    assert names(tmp_path / "out") == sorted(p.name for p in paths)
    assert names(tmp_path) == ["out"]
    (unwanted,) = [line for line in logged if line["event"] == "pacs.retrieve.unwanted"]
    assert (unwanted["series_uid"], unwanted["instances"]) == (wanted(series)[1], 3)


def test_a_flood_of_instances_is_cut(pacs_at, series, tmp_path):
    peer = HostilePacs(series)

    def get(event: evt.Event):
        yield 60000
        for number in range(60000):
            ds = series[0]
            ds.SOPInstanceUID = f"1.2.3.{number}"
            yield 0xFF00, ds

    peer.on_get = get
    study, number, uids = wanted(series)
    with peer.running(), pytest.raises(CaseRejected) as refused:
        pacs_at(peer, max_instances=20).retrieve(study, number, uids, tmp_path)

    assert refused.value.code == "series_too_large"
    assert names(tmp_path) == []


def test_more_bytes_than_allowed_are_cut(pacs_at, series, tmp_path):
    peer = HostilePacs(series)
    with peer.running(), pytest.raises(PermanentError, match="max_bytes"):
        pacs_at(peer, max_bytes=40_000).retrieve(*wanted(series), tmp_path)

    assert 0 < len(names(tmp_path)) < 12


def test_a_series_of_too_many_instances_is_refused_before_it_is_fetched(pacs_at, series, tmp_path):
    peer = HostilePacs(series)
    with peer.running(), pytest.raises(CaseRejected) as refused:
        pacs_at(peer, max_instances=11).retrieve(*wanted(series), tmp_path)

    assert (refused.value.code, refused.value.numbers["instances"]) == ("series_too_large", 12)
    assert peer.requests == []


@pytest.mark.parametrize("uid", ["", "../x", "1..2", "1.2.03"])
def test_an_invalid_uid_never_becomes_a_path(pacs_at, series, tmp_path, uid):
    study, number, uids = wanted(series)
    with pytest.raises(CaseRejected) as refused:
        pacs_at(1).retrieve(study, number, [*uids, uid], tmp_path / "out")

    assert refused.value.code == "invalid_uid"
    assert names(tmp_path) == []


@pytest.mark.parametrize("how", ["abort", "cut"])
def test_an_association_that_ends_in_the_middle_is_lost_and_the_next_try_goes_on(pacs_at, series, tmp_path, how):
    peer = HostilePacs(series)

    def get(event: evt.Event):
        yield 12
        for ds in series[:4]:
            yield 0xFF00, ds
        event.assoc.abort() if how == "abort" else cut_socket(event.assoc)
        yield 0xFF00, series[4]

    peer.on_get = get
    with peer.running():
        with pytest.raises(AssociationLost):
            pacs_at(peer).retrieve(*wanted(series), tmp_path)
        some = set(names(tmp_path))
        peer.on_get = peer.get
        pacs_at(peer).retrieve(*wanted(series), tmp_path)

    assert 3 <= len(some) <= 5
    assert len(names(tmp_path)) == 12
    assert not [name for name in names(tmp_path) if name.endswith(".part")]


def test_a_peer_that_falls_silent_is_cut_after_the_dimse_time_out(pacs_at, series, tmp_path):
    peer, awake = HostilePacs(series), threading.Event()

    def get(event: evt.Event):
        yield 12
        yield 0xFF00, series[0]
        awake.wait(20)
        yield 0xFF00, series[1]

    peer.on_get = get
    with peer.running():
        with pytest.raises(AssociationLost, match="silent for 1 s"):
            pacs_at(peer, dimse_timeout_s=1.0).retrieve(*wanted(series), tmp_path)
        awake.set()


def test_a_peer_that_stalls_within_a_pdu_does_not_hang_the_night(pacs_at):
    """pynetdicom alone has no time limit for the rest of a PDU that began."""
    server = socket.create_server(("127.0.0.1", 0))
    taken = []

    def serve():
        connection, _ = server.accept()
        taken.append(connection)
        connection.recv(65536)
        connection.sendall(b"\x02\x00\x00\x00\x10\x00half an answer")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with pytest.raises(TransientError):
        pacs_at(server.getsockname()[1], acse_timeout_s=1.0).echo()

    thread.join(5)
    for connection in [*taken, server]:
        connection.close()


@pytest.mark.parametrize(("status", "error"), [(0xA701, PacsBusy), (0xA900, PermanentError), (0xC001, PacsBusy)])
def test_a_refused_retrieve_says_the_status(pacs_at, series, tmp_path, status, error):
    peer = HostilePacs(series)

    def get(event: evt.Event):
        yield 1
        yield status, None

    peer.on_get = get
    with peer.running(), pytest.raises(error, match=f"0x{status:04X}"):
        pacs_at(peer).retrieve(*wanted(series), tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_storage_full_and_leaves_no_half_files(pacs_at, series, tmp_path, monkeypatch, number):
    real, written = os.open, []

    def full(path, flags, *args, **kwargs):
        if str(path).endswith(".part") and flags & os.O_WRONLY:
            written.append(path)
            if len(written) > 3:
                raise OSError(number, os.strerror(number))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(arrivals.os, "open", full)
    peer = HostilePacs(series)
    with peer.running(), pytest.raises(StorageFull):
        pacs_at(peer).retrieve(*wanted(series), tmp_path)

    assert len(names(tmp_path)) == 3


def test_what_arrived_is_on_the_disk_before_it_has_its_name(pacs_at, series, tmp_path, monkeypatch):
    """A power cut must leave no name without its content, and no finished retrieve without its names."""
    synced, real = [], os.fsync

    def note(handle):
        synced.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", note)
    with HostilePacs(series).running() as peer:
        pacs_at(peer).retrieve(*wanted(series), tmp_path)

    *files, folder = synced
    assert len(files) == len(series)
    assert {path.suffix for path in files} == {".part"}
    assert folder == tmp_path


@pytest.mark.parametrize("keep", [0, 100, 131, 200, 600, -8300, -8192, -4000, -1])
def test_a_file_cut_anywhere_is_not_intact(series, tmp_path, keep):
    path, uid = tmp_path / "x.dcm", series[0].SOPInstanceUID
    series[0].save_as(path, enforce_file_format=True)
    assert is_intact(path, uid)

    content = path.read_bytes()
    path.write_bytes(content[:keep])

    assert not is_intact(path, uid)


def test_a_compressed_file_without_its_end_is_not_intact(series, tmp_path):
    path, ds = tmp_path / "x.dcm", series[0]
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    assert is_intact(path, ds.SOPInstanceUID)

    path.write_bytes(path.read_bytes()[:-8])

    assert not is_intact(path, ds.SOPInstanceUID)


def test_a_file_of_another_instance_is_not_intact(series, tmp_path):
    path = tmp_path / "x.dcm"
    series[0].save_as(path, enforce_file_format=True)

    assert not is_intact(path, series[1].SOPInstanceUID)


def test_a_move_to_a_destination_that_the_pacs_does_not_know_names_the_setting(pacs_at, series, tmp_path):
    peer = HostilePacs(series)
    with peer.running(), pytest.raises(ConfigError, match="move_ae_title"):
        pacs_at(peer, retrieve_mode="move", move_port=a_free_port()).retrieve(*wanted(series), tmp_path)


def test_our_storage_scp_is_closed_before_and_after_a_move(pacs_at, series, tmp_path):
    peer, our_port = HostilePacs(series), a_free_port()
    peer.move_to = ("127.0.0.1", our_port)
    with peer.running():
        pacs = pacs_at(peer, retrieve_mode="move", move_port=our_port)
        pacs.retrieve(*wanted(series), tmp_path)

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", our_port), timeout=1)
    assert len(names(tmp_path)) == 12


def test_two_retrieves_share_our_storage_scp(pacs_at, series, tmp_path):
    peer, our_port = HostilePacs(series), a_free_port()
    peer.move_to = ("127.0.0.1", our_port)
    study, number, uids = wanted(series)
    with peer.running():
        pacs = pacs_at(peer, retrieve_mode="move", move_port=our_port)
        threads = [
            threading.Thread(target=pacs.retrieve, args=(study, number, part, tmp_path / str(i)))
            for i, part in enumerate((uids[:6], uids[6:]))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    assert [len(names(tmp_path / str(i))) for i in range(2)] == [6, 6]


def test_what_arrives_under_another_ae_title_is_not_taken(pacs_at, series, tmp_path):
    peer, our_port = HostilePacs(series, ae_title="STRANGER"), a_free_port()
    peer.move_to = ("127.0.0.1", our_port)
    with peer.running(), pytest.raises(GtrError, match="0xA801"):
        pacs_at(peer, retrieve_mode="move", move_port=our_port).retrieve(*wanted(series), tmp_path)

    assert names(tmp_path) == []


def test_a_port_that_somebody_else_holds_is_tried_again_later(pacs_at, series, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, HostilePacs(series).running() as peer:
        port = taken.getsockname()[1]
        pacs = pacs_at(peer, retrieve_mode="move", move_port=port, acse_timeout_s=0.3)
        with pytest.raises(TransientError, match=f"127.0.0.1:{port}"):
            pacs.retrieve(*wanted(series), tmp_path)


def test_our_storage_scp_never_listens_on_all_interfaces(pacs_at, series, tmp_path):
    with pytest.raises(ConfigError, match="move_host"):
        pacs_at(1, retrieve_mode="move", move_host="0.0.0.0", move_port=1).retrieve(*wanted(series), tmp_path)


def test_a_pacs_without_c_get_names_the_setting(pacs_at, series, tmp_path, need_program):
    from tests.adapters.pacs.peers import storescp

    port = a_free_port()
    with (
        storescp(need_program("storescp", "dcmtk"), tmp_path / "scp", port),
        pytest.raises(ConfigError, match="retrieve_mode"),
    ):
        pacs_at(port, called_ae_title="STORESCP").retrieve(*wanted(series), tmp_path / "out")


def test_an_instance_is_answered_before_the_disk_has_it_and_counts_only_after(pacs_at, series, tmp_path, monkeypatch):
    """The disk takes the first only once the second is on its way; was the first answered after it, nothing would."""
    peer, second, real = HostilePacs(series[:2]), threading.Event(), os.fsync
    seen: list[tuple[int, bool]] = []

    def get(event):
        yield 2
        yield 0xFF00, series[0]
        second.set()
        yield 0xFF00, series[1]

    def sync(handle):
        came = second.wait(10)
        seen.append((len(list((tmp_path / "out").glob("*.dcm"))), came))
        real(handle)

    peer.on_get = get
    monkeypatch.setattr(os, "fsync", sync)
    study, number, uids = wanted(series[:2])
    with peer.running():
        paths = pacs_at(peer).retrieve(study, number, uids, tmp_path / "out")

    assert seen[0] == (0, True)
    assert all(path.is_file() for path in paths)
