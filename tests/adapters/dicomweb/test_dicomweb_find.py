"""QIDO-RS against servers that cut, do not page, count wrongly, or answer something else: all of it or an error."""

from __future__ import annotations

import json
import logging
import threading
from copy import deepcopy
from datetime import datetime

import httpx
import numpy as np
import pytest
from pydicom.uid import generate_uid

from gtr_batch.dicomweb.client import FAULTS
from gtr_batch.dicomweb.find import Capped
from gtr_batch.errors import (
    AssociationLost,
    CaseRejected,
    ConfigError,
    PacsBusy,
    PacsUnreachable,
    PermanentError,
    TransientError,
)
from gtr_batch.loopback import free_port
from tests.certificates import Authority
from tests.dicomweb_servers import JSON, Reply, SmallDicomweb
from tests.phantoms import ct_dataset

DAY = (datetime(2026, 3, 1), datetime(2026, 3, 2))


def many_studies(series, count: int) -> list:
    """Studies of one instance each."""
    found = []
    for _ in range(count):
        ds = deepcopy(series[0])
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (generate_uid() for _ in range(3))
        found.append(ds)
    return found


def names(series) -> tuple[str, str]:
    return str(series[0].StudyInstanceUID), str(series[0].SeriesInstanceUID)


@pytest.mark.parametrize(("page", "cap"), [(500, 0), (3, 0), (500, 3), (4, 1)])
def test_no_study_series_or_instance_is_lost_however_the_server_cuts_its_answers(archive_at, series, server, page, cap):
    server.instances += many_studies(series, 6)
    server.cap = cap
    archive = archive_at(server.url, page=page)

    studies, instances = archive.find_studies(*DAY), archive.find_instances(*names(series))

    assert len(studies) == 7
    assert [one.sop_instance_uid for one in instances] == [
        ds.SOPInstanceUID for ds in sorted(series, key=lambda ds: ds.InstanceNumber)
    ]


def test_a_server_that_does_not_page_is_taken_at_its_word_where_it_has_given_everything(archive_at, series, server):
    server.instances += many_studies(series, 2)
    server.pages = False

    assert len(archive_at(server.url).find_studies(*DAY)) == 3
    assert len(archive_at(server.url).find_instances(*names(series))) == len(series)


def test_a_list_that_cannot_be_complete_is_not_taken(archive_at, series, server):
    server.instances += many_studies(series, 6)
    server.pages, server.cap = False, 3

    with pytest.raises(TransientError, match="3 of 8 were listed"):
        archive_at(server.url).find_instances(*names(series))
    with pytest.raises(Capped, match="stopped after 3 answers"):
        archive_at(server.url, page=3).find_studies(*DAY)


def test_a_server_that_says_that_there_are_more_and_gives_the_same_again_is_not_believed(archive_at, series, server):
    server.pages = False
    more = 'attachment; 299 x "The number of results exceeded the maximum; additional results can be requested"'
    item = json.dumps([series[0].to_json_dict()]).encode()
    server.bend = lambda asked: Reply(200, {**JSON, "Warning": more}, item) if asked.path == "/web/studies" else None

    with pytest.raises(Capped):
        archive_at(server.url).find_studies(*DAY)


def test_answers_about_another_study_are_dropped_and_nothing_but_those_is_a_mismatch(archive_at, series, server):
    other = many_studies(series, 1)[0]
    item = json.dumps([other.to_json_dict()]).encode()
    server.bend = lambda asked: Reply(200, JSON, item) if asked.path == "/web/studies" else None

    with pytest.raises(CaseRejected, match="another StudyInstanceUID") as refused:
        archive_at(server.url).find_study(names(series)[0])
    assert refused.value.code == "identity_mismatch"


def test_a_study_that_nobody_can_read_hides_no_other(archive_at, series, server):
    good = series[0].to_json_dict()
    broken = {"0020000D": {"vr": "UI", "Value": 7}, "00080020": {"vr": "DA", "Value": "x"}}
    body = json.dumps([broken, {**good, "00080061": {"vr": "CS", "Value": ["CT"]}}]).encode()
    server.bend = lambda asked: Reply(200, JSON, body) if asked.path == "/web/studies" else None

    assert names(series)[0] in [one.study_uid for one in archive_at(server.url).find_studies(*DAY)]


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (Reply(503), PacsBusy, "HTTP 503; tried again later"),
        (Reply(500), PacsBusy, "HTTP 500"),
        (Reply(401), ConfigError, "HTTP 401; check dicomweb.token"),
        (Reply(307, {"Location": "http://127.0.0.1:9/"}), ConfigError, "redirect, which is not followed"),
        (Reply(404), ConfigError, "no QIDO-RS is there"),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>log in</html>"), PermanentError, "no DICOM JSON"),
        (Reply(200, JSON, b"[[1]]"), PermanentError, "no DICOM JSON"),
        (Reply(200, JSON, b""), PermanentError, "no DICOM JSON"),
        (Reply(200, JSON, b"[" * 100_000), PermanentError, "no DICOM JSON"),
        (Reply(200, {**JSON, "Content-Encoding": "gzip"}, b"x"), PermanentError, "packed"),
        (Reply(200, JSON, b"[", length=1000, cut=True), AssociationLost, "ended too early"),
    ],
)
def test_whatever_else_a_server_answers_is_an_error_that_says_what_to_do(archive_at, server, reply, error, words):
    server.bend = lambda asked: reply

    with pytest.raises(error, match=words) as raised:
        archive_at(server.url).find_studies(*DAY)
    assert server.url in str(raised.value)
    assert "?" not in str(raised.value)
    assert len(server.asked) <= 2  # a redirect leads nowhere


def test_an_answer_without_an_end_is_cut(archive_at, server, monkeypatch):
    monkeypatch.setattr("gtr_batch.dicomweb.find.MOST_BYTES", 100_000)
    server.bend = lambda asked: Reply(200, JSON, (b" " * 10_000 for _ in range(1_000)))

    with pytest.raises(PermanentError, match="longer than 100000 bytes"):
        archive_at(server.url).echo()


@pytest.mark.parametrize(
    ("where", "tls", "limit_s"),
    [("headers", False, 0.5), ("body", False, 0.5), ("headers", True, 0.5), ("body", True, 0.5), ("body", True, 1e-6)],
)
def test_an_answer_that_drips_ends_at_the_limit_of_a_request(archive_at, series, tmp_path, where, tls, limit_s):
    """Also where the limit passes before the connection is open."""
    ended = threading.Event()

    def drip():
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"
        yield head if where == "headers" else head + b"\r\n"
        while not ended.wait(0.01):
            yield b"X: y\r\n" if where == "headers" else b" "

    there, settings = SmallDicomweb(series), {}
    if tls:
        authority = Authority(tmp_path, "hospital")
        there.tls = (*authority.issue("pacs"), authority.ca)
        mine = authority.issue("gtr")
        settings = {"ca_file": authority.ca, "certificate": mine[0], "key": mine[1]}
    with there.running():
        archive = archive_at(there.url, request_limit_s=limit_s, **settings)
        there.bend = lambda asked: Reply(raw=drip())
        with archive.connected(), pytest.raises(AssociationLost, match=r"dicomweb\.request_limit_s"):
            archive.echo()
        asked = len(there.asked)
        ended.set()

    assert asked <= 1  # what was cut at its limit is not asked for once more


def test_silence_ends_at_its_own_limit(archive_at, server):
    server.bend = lambda asked: Reply(200, JSON, b"[", length=1000)

    with pytest.raises(AssociationLost, match=r"dicomweb\.timeout_s"):
        archive_at(server.url, timeout_s=0.2).echo()


def test_nobody_at_the_address_is_unreachable(archive_at):
    with pytest.raises(PacsUnreachable, match="no connection; tried again later"):
        archive_at(f"http://127.0.0.1:{free_port()}/web").echo()


def test_a_kept_connection_that_the_server_has_closed_is_opened_anew(archive_at, series, server):
    archive = archive_at(server.url)
    server.bend = lambda asked: Reply(200, JSON, b"[]", cut=True)  # and does not say that it closes

    with archive.connected():
        for _ in range(3):
            archive.echo()

    assert len(server.asked) == 3


def test_every_error_of_the_http_library_has_a_meaning():
    def below(kind):
        return {kind, *(one for sub in kind.__subclasses__() for one in below(sub))}

    for kind in below(httpx.HTTPError) | below(httpx.StreamError) | {httpx.InvalidURL, httpx.CookieConflict}:
        assert any(issubclass(kind, known) for known, _, _ in FAULTS), kind


def test_an_accession_number_stands_in_no_message_and_no_log(archive_at, series, server, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "ACC-SECRET-7"
    archive = archive_at(server.url, token="secret-token")

    assert archive.find_accession(secret) == []
    server.bend = lambda asked: Reply(503)
    with pytest.raises(PacsBusy) as busy:
        archive.find_accession(secret)

    assert server.asked[0].query["AccessionNumber"] == [secret]
    assert server.asked[0].headers["authorization"] == "Bearer secret-token"
    assert secret not in str(busy.value) + caplog.text
    assert "secret-token" not in caplog.text + repr(archive.config)


def test_a_certificate_of_another_authority_is_not_accepted(archive_at, series, tmp_path):
    theirs, strangers = Authority(tmp_path / "theirs", "hospital"), Authority(tmp_path / "strangers", "stranger")
    certificate, key = theirs.issue("pacs")
    mine = theirs.issue("gtr")
    there = SmallDicomweb(series)
    there.tls = (certificate, key, theirs.ca)

    with there.running():
        assert archive_at(there.url, ca_file=theirs.ca, certificate=mine[0], key=mine[1]).probe() == 1
        with pytest.raises(ConfigError, match=r"check it against dicomweb\.ca_file"):
            archive_at(there.url, ca_file=strangers.ca, certificate=mine[0], key=mine[1]).echo()
        with pytest.raises((ConfigError, AssociationLost)):
            archive_at(there.url, ca_file=theirs.ca).echo()  # no certificate of ours


def test_a_study_without_a_time_is_found_on_its_date(archive_at, server):
    ds = ct_dataset(0, np.zeros((16, 16)), name="timeless")
    ds.StudyTime = ""
    server.instances = [ds]

    assert [one.study_uid for one in archive_at(server.url).find_studies(*DAY)] == [ds.StudyInstanceUID]
