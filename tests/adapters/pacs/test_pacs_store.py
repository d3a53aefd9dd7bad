"""C-STORE: what the PACS says of an object decides what happens to it."""

from __future__ import annotations

import zlib

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom.dsutils import split_dataset

from gtr_batch.errors import AssociationLost, ConfigError, DeliveryRefused, PacsBusy, PermanentError
from tests.adapters.pacs.peers import HostilePacs, a_free_port, storescp


@pytest.fixture
def files(series_folder):
    return sorted(series_folder.glob("*.dcm"))[:3]


def test_every_object_gets_a_receipt_in_the_order_of_the_files(pacs_at, files):
    with HostilePacs().running() as peer:
        receipts = pacs_at(peer).store(files)

    assert [r.sop_instance_uid for r in receipts] == [dcmread(p).SOPInstanceUID for p in files]
    assert {(r.status, r.warning) for r in receipts} == {(0x0000, "")}


@pytest.mark.parametrize(
    ("status", "warning"),
    [(0xB000, "data elements coerced"), (0xB006, "elements discarded"), (0xB123, "warning 0xB123"), (0x0111, "holds")],
)
def test_a_warning_is_stored_and_said(pacs_at, files, status, warning):
    peer = HostilePacs()
    peer.on_store = lambda event: status
    with peer.running():
        [receipt] = pacs_at(peer).store(files[:1])

    assert receipt.status == status
    assert warning in receipt.warning


@pytest.mark.parametrize("status", [0xA900, 0xA9FF, 0xC000, 0xC123, 0x0122, 0x0117, 0x0124])
def test_a_failure_is_refused_for_good_with_its_status(pacs_at, files, status):
    peer = HostilePacs()
    peer.on_store = lambda event: status
    with peer.running(), pytest.raises(DeliveryRefused, match=f"0x{status:04X}") as refused:
        pacs_at(peer).store(files[:1])

    assert refused.value.status == status


@pytest.mark.parametrize("status", [0xA700, 0xA7FF])
def test_out_of_resources_may_work_later(pacs_at, files, status):
    peer = HostilePacs()
    peer.on_store = lambda event: status
    with peer.running(), pytest.raises(PacsBusy):
        pacs_at(peer).store(files[:1])


def test_a_refused_object_does_not_keep_back_the_others(pacs_at, files):
    peer, seen = HostilePacs(), []

    def on_store(event):
        seen.append(str(event.request.AffectedSOPInstanceUID))
        return 0xA900 if len(seen) == 1 else 0x0000

    peer.on_store = on_store
    with peer.running(), pytest.raises(DeliveryRefused):
        pacs_at(peer).store(files)

    assert len(seen) == 3


def test_an_association_that_ends_before_the_answer_is_lost(pacs_at, files):
    peer = HostilePacs()
    peer.on_store = lambda event: event.assoc.abort() or 0x0000
    with peer.running(), pytest.raises(AssociationLost):
        pacs_at(peer).store(files)


def test_a_sop_class_that_the_pacs_does_not_take_is_refused_by_name(pacs_at, files, tmp_path):
    ds = dcmread(files[0])
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
    ds.save_as(tmp_path / "map.dcm", enforce_file_format=True)
    with HostilePacs().running() as peer, pytest.raises(DeliveryRefused, match="Parametric Map Storage") as refused:
        pacs_at(peer).store([files[0], tmp_path / "map.dcm"])

    assert refused.value.status == 0x0122


def test_a_compressed_object_is_not_sent_to_a_pacs_that_takes_it_uncompressed_only(pacs_at, files, tmp_path):
    ds = dcmread(files[0])
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    peer = HostilePacs()
    peer.syntaxes = [ImplicitVRLittleEndian]
    with peer.running(), pytest.raises(DeliveryRefused):
        pacs_at(peer).store([files[1], tmp_path / "rle.dcm"])


def test_a_pacs_of_implicit_vr_gets_implicit_vr(pacs_at, files):
    peer, got = HostilePacs(), []
    peer.syntaxes = [ImplicitVRLittleEndian]
    peer.on_store = lambda event: got.append((event.context.transfer_syntax, event.dataset.PixelData)) or 0x0000
    with peer.running():
        pacs_at(peer).store(files[:1])

    assert got == [(ImplicitVRLittleEndian, dcmread(files[0]).PixelData)]


def test_a_file_that_is_no_dicom_is_named(pacs_at, tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    with pytest.raises(PermanentError, match=r"x\.dcm"):
        pacs_at(1).store([tmp_path / "x.dcm"])


def test_a_link_out_of_the_cases_folder_is_not_sent(pacs_at, files, tmp_path):
    """What lies in the folder of the reports may be another patient's file."""
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "one.dcm").symlink_to(files[0])
    peer, seen = HostilePacs(), []
    peer.on_store = lambda event: seen.append(event) or 0x0000

    with peer.running(), pytest.raises(PermanentError, match=r"one\.dcm: is a link out of its folder"):
        pacs_at(peer).store([tmp_path / "report" / "one.dcm"])

    assert seen == []


@pytest.mark.parametrize("option", ["+x=", "+xi"])
def test_stores_to_dcmtk(pacs_at, need_program, files, tmp_path, option):
    port = a_free_port()
    with storescp(need_program("storescp", "dcmtk"), tmp_path / "scp", port, option) as folder:
        receipts = pacs_at(port, called_ae_title="STORESCP").store(files)

    got = {ds.SOPInstanceUID: ds.PixelData for ds in map(dcmread, folder.iterdir())}
    assert got == {ds.SOPInstanceUID: ds.PixelData for ds in map(dcmread, files)}
    assert {r.status for r in receipts} == {0}


def titles_called(peer: HostilePacs) -> list[str]:
    """By which AE titles it was called, in order."""
    return [str(assoc.requestor.primitive.called_ae_title) for assoc in peer.opened]


@pytest.mark.parametrize(("given", "called"), [("", "PACS"), ("ARCHIVE_IN", "ARCHIVE_IN")])
def test_a_pacs_that_receives_under_another_title_is_called_by_it_to_store_and_commit_alone(
    pacs_at, files, series, given, called
):
    """In one block of calls too, and where it grants us one association at a time: a second would wait without end."""
    peer = HostilePacs(series)
    peer.on_action = lambda event: (0x0122, None)
    study = str(series[0].StudyInstanceUID)
    with peer.running():
        pacs = pacs_at(peer, store_ae_title=given, associations=1)
        with pacs.connected(files):
            pacs.find_study(study)
            receipts = pacs.store(files)
            pacs.find_study(study)
        pacs.commit([(str(series[0].SOPClassUID), str(series[0].SOPInstanceUID))], 5)
        pacs.find_study(study)

    assert [title for title in titles_called(peer) if title != "PACS"] == [title for title in [given] * 2 if title]
    assert titles_called(peer)[-1] == "PACS"
    assert called in titles_called(peer)
    assert len(receipts) == len(files)


def test_a_title_that_the_pacs_does_not_know_names_the_setting_it_came_from(pacs_at, files):
    peer = HostilePacs()
    peer.require_called = True
    with peer.running(), pytest.raises(ConfigError, match=r"'ELSEWHERE'.*mend pacs\.store_ae_title"):
        pacs_at(peer, store_ae_title="ELSEWHERE").echo()


def test_an_object_is_sent_byte_by_byte_as_it_was_written(pacs_at, files, tmp_path):
    """With a group length, which pydicom would leave out if it wrote the data set anew."""
    body = files[0].read_bytes()
    _, begin = split_dataset(files[0])
    sent = b"\x08\x00\x00\x00UL\x04\x00\x00\x00\x00\x00" + body[begin:]
    (tmp_path / "one.dcm").write_bytes(body[:begin] + sent)
    peer, came = HostilePacs(), []
    peer.on_store = lambda event: came.append(event.request.DataSet.getvalue()) or 0x0000
    with peer.running():
        pacs_at(peer).store([tmp_path / "one.dcm"])

    assert came == [sent]


def test_a_deflated_object_that_lies_in_an_odd_number_of_bytes_is_sent_in_an_even_one(pacs_at, files, tmp_path):
    """DCMTK writes such files, and ends the association where a fragment is odd (PS3.5, A.5)."""
    ds, came = dcmread(files[0]), []
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "even.dcm", enforce_file_format=True)
    _, begin = split_dataset(tmp_path / "even.dcm")
    body = (tmp_path / "even.dcm").read_bytes()
    kept = zlib.decompress(body[begin:], -zlib.MAX_WBITS)
    odd = next(
        made for level in range(1, 10) for memory in range(1, 10)
        if len(made := _deflated(kept, level, memory)) % 2
    )  # fmt: skip
    (tmp_path / "one.dcm").write_bytes(body[:begin] + odd)
    peer = HostilePacs()
    peer.on_store = lambda event: came.append(event.request.DataSet.getvalue()) or 0x0000
    with peer.running():
        pacs_at(peer).store([tmp_path / "one.dcm"])

    assert (len(came[0]) % 2, zlib.decompress(came[0], -zlib.MAX_WBITS)) == (0, kept)


def _deflated(data: bytes, level: int, memory: int) -> bytes:
    made = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, memory)
    return made.compress(data) + made.flush()
