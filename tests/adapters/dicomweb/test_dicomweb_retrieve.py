"""WADO-RS: complete by UID or not at all, as the server sent it, and nothing else."""

from __future__ import annotations

import errno
import logging

import pytest
from pydicom import dcmread

from gtr_batch.dicomweb import multipart as reader
from gtr_batch.domain.identity import PatientIdentity, SeriesIdentity
from gtr_batch.errors import (
    AssociationLost,
    CaseRejected,
    PacsBusy,
    PermanentError,
    RetrieveIncomplete,
    StorageFull,
    UnreadableFile,
)
from gtr_batch.reading import ReadLimits
from tests.dicomweb_servers import MULTIPART, Reply, as_file, multipart


def names(series) -> tuple[str, str]:
    return str(series[0].StudyInstanceUID), str(series[0].SeriesInstanceUID)


def of_series(series, reply: Reply):
    """Bends the answer to the whole series alone."""
    return lambda asked: reply if asked.path.endswith(f"/series/{series[0].SeriesInstanceUID}") else None


def paths_asked(server) -> list[str]:
    """What was fetched, less the questions."""
    return [one.path for one in server.asked if one.path.split("/")[-1] not in ("studies", "series", "instances")]


def left(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_series_comes_by_one_request_in_the_order_that_was_asked_for(archive_at, series, server, uids, tmp_path):
    wanted = list(reversed(uids))

    paths = archive_at(server.url).retrieve(*names(series), wanted, tmp_path)

    assert [path.stem for path in paths] == wanted
    assert [dcmread(path) for path in paths] == list(reversed(series))
    assert len(paths_asked(server)) == 1
    [fetched] = [one for one in server.asked if one.path == paths_asked(server)[0]]
    assert fetched.headers["accept"] == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    assert fetched.headers["accept-encoding"] == "identity"


def test_few_instances_of_a_series_come_singly_and_what_is_there_is_not_fetched_again(
    archive_at, series, server, uids, tmp_path
):
    archive = archive_at(server.url)

    archive.retrieve(*names(series), uids[:2], tmp_path)
    archive.retrieve(*names(series), uids[:3], tmp_path)

    assert [path.rsplit("/", 1)[1] for path in paths_asked(server)] == [*sorted(uids[:2]), uids[2]]
    assert left(tmp_path) == sorted(f"{uid}.dcm" for uid in uids[:3])


def test_what_the_series_leaves_out_is_asked_for_singly(archive_at, series, server, uids, tmp_path):
    server.bend = of_series(series, Reply(200, MULTIPART, multipart(*map(as_file, series[:5]))))

    archive_at(server.url).retrieve(*names(series), uids, tmp_path)

    assert len(left(tmp_path)) == 8
    assert [path.rsplit("/", 1)[1] for path in paths_asked(server)[1:]] == sorted(uids[5:])


def test_an_instance_that_never_comes_is_named_and_the_others_stay(archive_at, series, server, uids, tmp_path):
    server.bend = lambda asked: (
        Reply(404)
        if asked.path.endswith(uids[3])
        else (
            Reply(200, MULTIPART, multipart(*map(as_file, series[:3] + series[4:])))
            if asked.path.endswith(names(series)[1])
            else None
        )
    )

    with pytest.raises(RetrieveIncomplete, match="1 of 8 promised instances did not arrive") as incomplete:
        archive_at(server.url).retrieve(*names(series), uids, tmp_path)

    assert uids[3] in str(incomplete.value)
    assert left(tmp_path) == sorted(f"{uid}.dcm" for uid in uids if uid != uids[3])


@pytest.mark.parametrize("kept", [0.1, 0.55, 0.9])
@pytest.mark.parametrize("how", ["short of its length", "without an end"])
def test_an_answer_that_is_cut_keeps_what_came_whole_and_the_next_try_fetches_the_rest(
    archive_at, series, server, uids, tmp_path, kept, how
):
    body = multipart(*map(as_file, series))
    cut = body[: int(len(body) * kept)]
    length = len(body) if how == "short of its length" else None
    pieces = cut if length else [cut]
    server.bend = of_series(series, Reply(200, MULTIPART, pieces, length=length, cut=True))
    archive = archive_at(server.url)

    with pytest.raises(AssociationLost):
        archive.retrieve(*names(series), uids, tmp_path)
    came = left(tmp_path)
    server.bend = lambda asked: None
    paths = archive.retrieve(*names(series), uids, tmp_path)

    assert [dcmread(path) for path in paths] == series
    assert all(name.endswith(".dcm") for name in came)
    assert len(came) == int(8 * kept)


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply(503), PacsBusy, "HTTP 503"),
        (Reply(406), PermanentError, "HTTP 406"),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>"), PermanentError, "no multipart/related"),
        (
            Reply(200, {"Content-Type": "multipart/related"}, b"x"),
            PermanentError,
            "no multipart/related with a boundary",
        ),
        (Reply(200, MULTIPART, multipart(b"x", kind="text/html")), PermanentError, "a part is no application/dicom"),
        (Reply(200, MULTIPART, b"x" * 20_000), PermanentError, "bytes lie where a part's headers should"),
        (Reply(200, MULTIPART, multipart(b"x", extra="X: " + "y" * 20_000)), PermanentError, "bytes lie where"),
    ],
)
def test_what_is_no_series_is_an_error_and_leaves_nothing(
    archive_at, series, server, uids, tmp_path, reply, error, words
):
    server.bend = of_series(series, reply)

    with pytest.raises(error, match=words) as raised:
        archive_at(server.url).retrieve(*names(series), uids, tmp_path)
    assert server.url in str(raised.value)
    assert left(tmp_path) == []


def test_bytes_that_are_no_dicom_are_not_kept(archive_at, series, server, uids, tmp_path):
    server.bend = lambda asked: Reply(200, MULTIPART, multipart(b"<html>")) if "/instances/" in asked.path else None

    with pytest.raises(RetrieveIncomplete):
        archive_at(server.url).retrieve(*names(series), uids[:1], tmp_path)
    assert left(tmp_path) == []


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"])
def test_an_instance_of_somebody_else_ends_the_retrieve_and_is_not_kept(
    archive_at, series, server, uids, tmp_path, keyword
):
    whose = SeriesIdentity(
        *names(series), PatientIdentity(str(series[0].PatientID)), {uid: str(series[0].SOPClassUID) for uid in uids}
    )
    setattr(series[4], keyword, "1.2.3.4")
    server.bend = of_series(series, Reply(200, MULTIPART, multipart(*map(as_file, series))))

    with pytest.raises(CaseRejected, match=f"another {keyword}") as refused:
        archive_at(server.url).retrieve(*names(series), uids, tmp_path, identity=whose)

    assert refused.value.code == "identity_mismatch"
    assert str(series[0].PatientID) not in str(refused.value)
    assert left(tmp_path) == sorted(f"{uid}.dcm" for uid in uids[:4])


def test_an_instance_under_the_address_of_another_is_not_taken_for_it(archive_at, series, server, uids, tmp_path):
    wrong = Reply(200, MULTIPART, multipart(as_file(series[1])))
    server.bend = lambda asked: wrong if asked.path.endswith(uids[0]) else None

    with pytest.raises(CaseRejected, match="another SOPInstanceUID"):
        archive_at(server.url).retrieve(*names(series), uids[:1], tmp_path)
    assert left(tmp_path) == []


def test_no_name_or_address_that_the_server_writes_is_used(archive_at, series, server, uids, tmp_path):
    folder = tmp_path / "in"
    names_given = 'Content-Location: ../../escaped\r\nContent-Disposition: attachment; filename="../escaped.dcm"\r\n'
    evil = series[0]
    evil.SOPInstanceUID = "../../escaped"  # the server holds this very data set, so it has no instance of that name
    body = multipart(as_file(evil), *map(as_file, series[1:]), extra=names_given)
    server.bend = of_series(series, Reply(200, MULTIPART, body))

    with pytest.raises(RetrieveIncomplete) as incomplete:
        archive_at(server.url).retrieve(*names(series), uids, folder)

    assert uids[0] in str(incomplete.value)
    assert left(tmp_path) == ["in"]
    assert left(folder) == sorted(f"{uid}.dcm" for uid in uids[1:])


def test_instances_that_nobody_asked_for_are_dropped_and_a_flood_of_them_ends(
    archive_at, series, server, uids, tmp_path
):
    archive = archive_at(server.url, limits={"max_instances": 8})
    server.bend = of_series(series, Reply(200, MULTIPART, multipart(*map(as_file, series))))
    server.instances = series[:6]

    paths = archive.retrieve(*names(series), uids[:6], tmp_path / "in")

    assert [path.stem for path in paths] == uids[:6]
    assert len(left(tmp_path / "in")) == 6
    flood = multipart(*[as_file(series[7])] * 20)
    server.bend = of_series(series, Reply(200, MULTIPART, flood))
    with pytest.raises(CaseRejected, match="not asked for") as refused:
        archive.retrieve(*names(series), uids[:6], tmp_path / "flooded")
    assert refused.value.code == "series_too_large"


def test_a_part_or_a_series_larger_than_the_limits_is_not_written_to_its_end(
    archive_at, series, server, uids, tmp_path, monkeypatch
):
    monkeypatch.setattr("gtr_batch.dicomweb.retrieve.LIMITS", ReadLimits(file_bytes=4_000))
    huge = b"\0" * 128 + b"DICM" + b"x" * 1_000_000
    server.bend = of_series(series, Reply(200, MULTIPART, multipart(huge)))

    with pytest.raises(UnreadableFile, match="more than 4000 bytes"):
        archive_at(server.url).retrieve(*names(series), uids, tmp_path)
    server.bend = lambda asked: None
    with pytest.raises(PermanentError, match="longer than 3000 bytes"):
        archive_at(server.url, limits={"max_bytes": 3_000}).retrieve(*names(series), uids, tmp_path)
    with pytest.raises(CaseRejected, match=r"pacs\.max_instances"):
        archive_at(server.url, limits={"max_instances": 7}).retrieve(*names(series), uids, tmp_path)
    assert all(name.endswith(".dcm") for name in left(tmp_path))


def test_a_preamble_that_makes_the_file_something_else_is_not_kept(archive_at, series, server, uids, tmp_path):
    body = bytearray(as_file(series[0]))
    body[:10] = b"MZ program"
    server.bend = lambda asked: Reply(200, MULTIPART, multipart(bytes(body))) if "/instances/" in asked.path else None

    [path] = archive_at(server.url).retrieve(*names(series), uids[:1], tmp_path)

    assert path.read_bytes()[:128] == bytes(128)
    assert path.read_bytes()[128:] == bytes(body)[128:]


def test_a_file_that_is_broken_in_the_pacs_comes_as_it_is_for_validation_to_refuse(
    archive_at, series, server, uids, tmp_path
):
    """As by C-GET: an error here would be tried again without end."""
    broken = as_file(series[0])[:400]
    server.bend = lambda asked: Reply(200, MULTIPART, multipart(broken)) if "/instances/" in asked.path else None

    [path] = archive_at(server.url).retrieve(*names(series), uids[:1], tmp_path)

    assert path.read_bytes()[128:] == broken[128:]


def test_the_disk_says_that_it_is_full(archive_at, series, server, uids, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gtr_batch.dicomweb.retrieve.os.fsync", full)

    with pytest.raises(StorageFull):
        archive_at(server.url).retrieve(*names(series), uids, tmp_path)
    assert left(tmp_path) == []


def test_no_patient_is_named_in_a_log(archive_at, series, server, uids, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    patient = str(series[0].PatientID)

    archive_at(server.url).retrieve(*names(series), uids, tmp_path)

    assert patient not in caplog.text


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_a_multipart_body_reads_the_same_however_it_is_cut_into_pieces(size):
    contents = [b"", b"\r\n", b"--a-boundary", b"\r\n--a-boundar", b"\r\n\r\nx" * 50, bytes(range(256)) * 20]
    body = b"a preamble\r\n" + multipart(*contents, kind="application/dicom; transfer-syntax=1.2")

    pieces = (body[at : at + size] for at in range(0, len(body), size))
    found = [(headers["content-type"], b"".join(data)) for headers, data in reader.parts(pieces, b"a-boundary")]

    assert found == [("application/dicom; transfer-syntax=1.2", content) for content in contents]
