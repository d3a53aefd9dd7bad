"""STOW-RS and read-back: what the server says of each object, and what it says nothing of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gtr_batch.config import Config, DicomwebConfig, PacsConfig
from gtr_batch.dicomweb import Dicomweb, Directions
from gtr_batch.domain.delivery import Commitment
from gtr_batch.domain.identity import PatientIdentity, SeriesIdentity
from gtr_batch.errors import (
    AssociationLost,
    CaseRejected,
    ConfigError,
    DeliveryRefused,
    PacsBusy,
    PacsUnreachable,
    PermanentError,
    ServiceStopped,
    TransientError,
)
from gtr_batch.loopback import free_port
from gtr_batch.pacs import Pacs
from gtr_batch.wiring import open_site
from tests.adapters.pacs.peers import HostilePacs
from tests.dicomweb_servers import JSON, Reply, sent, stow_answer


@pytest.fixture
def files(web_series_folder: Path) -> list[Path]:
    """Three objects, in the order in which they are sent."""
    return sorted(web_series_folder.glob("*.dcm"))[:3]


def bent(status: int, answer: dict[str, object], **headers: str):
    """Bends the answer to a STOW-RS alone."""
    body = json.dumps(answer).encode()
    return lambda asked: Reply(status, {**JSON, **headers}, body) if asked.method == "POST" else None


def names(series) -> tuple[str, str]:
    return str(series[0].StudyInstanceUID), str(series[0].SeriesInstanceUID)


def test_all_objects_go_in_one_request_as_they_lie_on_the_disk(archive_at, server, series, uids, files):
    server.instances, noted = [], []

    receipts = archive_at(server.url).store(files, noted.append)

    [asked] = server.asked
    assert (asked.method, asked.path) == ("POST", "/web/studies")
    assert asked.headers["accept"] == "application/dicom+json"
    assert sent(asked) == series[:3]
    assert all(path.read_bytes() in asked.body for path in files)
    assert [(one.sop_instance_uid, one.status) for one in receipts] == [(uid, 0) for uid in uids[:3]]
    assert noted == receipts
    assert archive_at(server.url).store([]) == []


def test_of_a_partial_failure_what_was_taken_is_noted_and_the_refusal_raised(archive_at, server, uids, files):
    answer = stow_answer([uids[0]], failed=[(uids[1], 0xC122)], warned=[(uids[2], 0xB000)])
    server.bend, noted = bent(202, answer), []

    with pytest.raises(DeliveryRefused, match=r"0xC122 \(transfer syntax not supported\)") as refused:
        archive_at(server.url).store(files, noted.append)

    assert refused.value.status == 0xC122
    assert uids[1] in str(refused.value)
    assert [(one.sop_instance_uid, one.status, one.warning) for one in noted] == [
        (uids[0], 0, ""), (uids[2], 0xB000, "data elements coerced"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "answer", "error", "words"),
    [
        (409, lambda u: stow_answer(failed=[(x, 0x0122) for x in u]), DeliveryRefused, "SOP class not supported"),
        (409, lambda u: {}, DeliveryRefused, "HTTP 409 without a reason"),
        (200, lambda u: {}, TransientError, "does not mention it"),
        (200, lambda u: {"00081199": {"vr": "SQ", "Value": 7}}, TransientError, "does not mention it"),
        (202, lambda u: stow_answer(failed=[(x, 0xA700) for x in u]), PacsBusy, "out of resources"),
        (202, lambda u: stow_answer(u[:1], [(u[1], 0xC000), (u[2], 0xA700)]), PacsBusy, "out of resources"),
        (200, lambda u: stow_answer(u, failed=[(u[0], 0x0110)]), DeliveryRefused, "0x0110"),
        (503, lambda u: {}, PacsBusy, "HTTP 503"),
        (507, lambda u: {}, PacsBusy, "HTTP 507"),
        (413, lambda u: {}, DeliveryRefused, "HTTP 413"),
        (400, lambda u: {}, DeliveryRefused, "HTTP 400"),
        (404, lambda u: {}, ConfigError, r"dicomweb\.deliver"),
        (403, lambda u: {}, ConfigError, "our rights in the PACS"),
        (308, lambda u: {}, ConfigError, "redirect"),
    ],
)
def test_what_an_answer_means(archive_at, server, uids, files, status, answer, error, words):
    server.bend = bent(status, answer(uids[:3]), Location="http://127.0.0.1:9/")

    with pytest.raises(error, match=words) as raised:
        archive_at(server.url).store(files)
    assert type(raised.value) is error
    assert server.url in str(raised.value)
    assert len(server.asked) == 1


def test_an_object_that_the_server_holds_already_was_sent_by_an_earlier_try(archive_at, server, uids, files):
    server.bend = bent(409, stow_answer(failed=[(uid, 0x0111) for uid in uids[:3]]))

    receipts = archive_at(server.url).store(files)

    assert {(one.status, one.warning) for one in receipts} == {(0x0111, "the PACS holds this instance already")}


def test_an_answer_that_never_comes_is_settled_by_the_read_back(archive_at, server, series, uids, files):
    """The server took all of it and went away: nothing is sent twice, since `deliver` looks before it sends."""
    server.instances = []

    def take_and_leave(asked):
        if asked.method != "POST":
            return None
        server.instances += sent(asked)
        return Reply(200, JSON, b"{", length=1000, cut=True)

    server.bend = take_and_leave
    archive = archive_at(server.url)
    with pytest.raises(AssociationLost):
        archive.store(files)

    assert archive.present(*names(series), uids[:4]) == frozenset(uids[:3])


def test_a_stop_between_two_objects_ends_the_request(archive_at, server, files):
    asked = []

    def stop_before_the_second():
        asked.append(1)
        if len(asked) == 2:
            raise ServiceStopped("stopped")

    with pytest.raises(ServiceStopped):
        archive_at(server.url, may_send=stop_before_the_second).store(files)
    with pytest.raises(PacsUnreachable):
        archive_at(f"http://127.0.0.1:{free_port()}/web").store(files)
    assert [one for one in server.asked if one.method == "POST"] == []


def test_what_is_listed_and_not_shown_is_not_there(archive_at, server, series, uids):
    server.bend = lambda asked: Reply(404) if asked.path.endswith(f"{uids[1]}/metadata") else None

    assert archive_at(server.url).present(*names(series), uids[:2]) == frozenset(uids[:1])


def test_an_object_that_is_kept_under_another_patient_is_told(archive_at, server, series, uids):
    """A server that coerces the PatientID of what it is sent."""
    whose = SeriesIdentity(*names(series), PatientIdentity("SENT-UNDER-THIS"))

    with pytest.raises(CaseRejected, match="another PatientID") as refused:
        archive_at(server.url).present(*names(series), uids[:1], whose)
    assert refused.value.code == "identity_mismatch"
    assert str(series[0].PatientID) not in str(refused.value)
    assert "SENT-UNDER-THIS" not in str(refused.value)


def test_there_is_no_commitment_so_what_was_sent_is_read_back(archive_at, server):
    assert archive_at(server.url).commit([("1.2", "1.3")], 1) == Commitment(offered=False)


# Settings, and which way goes by what


def test_dimse_is_the_default_and_each_direction_has_its_setting(server, files, series):
    web = {"url": "https://pacs.hospital.example/dicom-web"}
    pairs = {
        (False, False): Pacs,
        (True, True): Dicomweb,
        (True, False): Directions,
        (False, True): Directions,
    }
    for (retrieve, deliver), kind in pairs.items():
        config = Config(dicomweb=DicomwebConfig(retrieve=retrieve, deliver=deliver, **web))
        with open_site(config) as site:
            assert type(site.archive) is kind
            assert config.uses_dimse is (kind is not Dicomweb)
    with open_site(Config(dicomweb=DicomwebConfig(retrieve=True, **web))) as site:
        assert (type(site.archive.incoming), type(site.archive.outgoing)) == (Dicomweb, Pacs)
    with open_site(Config(dicomweb=DicomwebConfig(deliver=True, **web))) as site:
        assert (type(site.archive.incoming), type(site.archive.outgoing)) == (Pacs, Dicomweb)


def test_of_two_directions_each_goes_its_own_way(archive_at, server, series, uids, files, tmp_path):
    web = archive_at(server.url)
    with HostilePacs(series).running() as there:
        dimse = Pacs(PacsConfig(port=there.port, connect_timeout_s=20))
        fetched_by_web, sent_by_web = Directions(web, dimse), Directions(dimse, web)
        for mixed in (fetched_by_web, sent_by_web):
            mixed.echo()
            with mixed.connected(files):
                assert len(mixed.find_instances(*names(series))) == 8
                assert mixed.present(*names(series), uids) == frozenset(uids)
                assert len(mixed.store(files)) == 3
            assert len(mixed.retrieve(*names(series), uids, tmp_path / str(id(mixed)))) == 8
        assert fetched_by_web.refused_services(store=True, retrieve=True)[0].startswith("C-STORE of")
        assert sent_by_web.refused_services() == []

    assert [one.method for one in server.asked].count("POST") == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "http://pacs.hospital.example/dicom-web"}, "https"),
        ({"url": "https://gtr:secret@pacs.hospital.example/dicom-web"}, "settings of their own"),
        ({"url": "https://pacs.hospital.example/dicom-web?key=secret"}, "a query"),
        ({"retrieve": True}, r"need dicomweb\.url"),
        ({"url": "https://pacs", "token": "t", "user": "u", "password": "p"}, "one of the two"),
        ({"url": "https://pacs", "user": "u"}, "go together"),
        ({"url": "https://pacs", "key": "k"}, r"dicomweb\.certificate too"),
        ({"url": "https://pacs", "page": 0}, "from 1 to"),
        ({"url": "https://pacs", "timeout_s": 0}, "above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_and_no_secret_is_repeated(given, words):
    with pytest.raises(ConfigError, match=words) as refused:
        DicomwebConfig(**given)
    assert "secret" not in str(refused.value)


def test_a_certificate_that_cannot_be_read_is_told_before_anything_is_asked(archive_at, tmp_path):
    with pytest.raises(ConfigError, match=r"dicomweb\.ca_file"):
        archive_at("https://127.0.0.1/web", ca_file=tmp_path / "absent.pem")


def test_a_file_that_cannot_be_read_is_not_sent(archive_at, server, files, tmp_path):
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM")

    with pytest.raises(PermanentError, match=r"STOW-RS of broken\.dcm"):
        archive_at(server.url).store([*files, broken])
    assert server.asked == []
