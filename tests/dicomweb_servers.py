"""DICOMweb servers on loopback: Orthanc with its plugin, and a small one whose answers a test bends."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from attrs import field, frozen
from pydicom import Dataset, dcmread

from tests.adapters.pacs.peers import orthanc

LEVELS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
RELATED = {0: "NumberOfStudyRelatedSeries", 1: "NumberOfSeriesRelatedInstances"}
BOUNDARY = "a-boundary"
JSON = {"Content-Type": "application/dicom+json"}
MULTIPART = {"Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}


@contextmanager
def orthanc_with_dicomweb(
    program: str, plugin: str, folder: Path, port: int, http_port: int, ae_title: str = "ORTHANC", **settings: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Orthanc with DIMSE at `port`, DICOMweb below ``/dicom-web`` at `http_port`, for user gtr with password secret."""
    given = {
        "Plugins": [plugin],
        "HttpServerEnabled": True,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"gtr": "secret"},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    with orthanc(program, folder, port, ae_title, **given) as process:
        yield process


@frozen
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@frozen
class Reply:
    """One answer; `cut` ends the connection after the body, whatever its length was said to be."""

    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    body: bytes | Iterable[bytes] = b""
    length: int | None = None
    cut: bool = False
    raw: Iterable[bytes] | None = None  # instead of all this: what goes over the line, status and headers too


def multipart(*parts: bytes, kind: str = "application/dicom", extra: str = "", end: bool = True) -> bytes:
    """A multipart body of these parts."""
    head = f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n{extra}\r\n".encode()
    body = b"\r\n".join(head + part for part in parts)
    return body + (f"\r\n--{BOUNDARY}--\r\n".encode() if end else b"")


def as_file(ds: Dataset) -> bytes:
    """A data set as the bytes of a DICOM file."""
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


class SmallDicomweb:
    """A DICOMweb service over datasets in memory, at ``/web``; `bend` sees each request first.

    Attributes
    ----------
    instances : list of Dataset
    asked : list of Asked
    cap : int
        Most answers of one QIDO-RS, whatever limit is asked for; 0: none.
    pages : bool
        Whether it takes notice of an offset.
    bend : callable
        Gets a request; what it returns is answered, None means as usual.
    """

    def __init__(self, instances: Sequence[Dataset] = ()) -> None:
        self.instances = list(instances)
        self.asked: list[Asked] = []
        self.cap = 0
        self.pages = True
        self.bend: Callable[[Asked], Reply | None] = lambda asked: None
        self.port = 0
        self.tls: tuple[str, str, str] | None = None  # certificate, key, and the authority of its clients

    @property
    def url(self) -> str:
        """Of the service."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/web"

    @contextmanager
    def running(self) -> Iterator[SmallDicomweb]:
        """Serve on a free port."""
        made = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        made.daemon_threads, made.block_on_close = True, False
        if self.tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.tls[2])
            context.load_cert_chain(*self.tls[:2])
            context.verify_mode = ssl.CERT_REQUIRED
            made.socket = context.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
        self.port = made.server_port
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield self
        finally:
            made.shutdown()
            made.server_close()
            thread.join()

    def answer(self, asked: Asked) -> Reply:
        """What it answers to a request."""
        self.asked.append(asked)
        bent = self.bend(asked)
        if bent is not None:
            return bent
        steps = asked.path.removeprefix("/web/").split("/")
        if asked.method == "POST":
            return self._stored(asked)
        uids = steps[1::2] if steps[-1] != "metadata" else steps[1:-1:2]
        found = [
            ds for ds in self.instances if all(ds.get(level) == uid for level, uid in zip(LEVELS, uids, strict=False))
        ]
        if steps[-1] in ("studies", "series", "instances"):
            return self._listed(found, steps[-1], asked)
        if not found:
            return Reply(404)
        if steps[-1] == "metadata":
            return Reply(200, JSON, json.dumps([ds.to_json_dict(suppress_invalid_tags=True) for ds in found]).encode())
        return Reply(200, MULTIPART, multipart(*map(as_file, found)))

    def _listed(self, found: list[Dataset], level: str, asked: Asked) -> Reply:
        depth = ("studies", "series", "instances").index(level)
        for keyword in (*LEVELS, "AccessionNumber"):
            if keyword in asked.query:
                found = [ds for ds in found if ds.get(keyword) == asked.query[keyword][0]]
        firsts = list({ds.get(LEVELS[depth]): ds for ds in found}.values())
        begin = int(asked.query.get("offset", ["0"])[0]) if self.pages else 0
        most = int(asked.query.get("limit", ["1000000"])[0])
        page = firsts[begin : begin + min(most, self.cap or most)]
        keywords = [*LEVELS, "PatientID", "StudyDate", "StudyTime", "AccessionNumber", "Modality", "SOPClassUID"]
        items = []
        for ds in page:
            item = Dataset()
            for keyword in [*keywords, "InstanceNumber", "SeriesNumber", "SeriesDescription"]:
                if keyword in ds:
                    item[keyword] = ds[keyword]
            item.ModalitiesInStudy = ds.Modality
            if depth in RELATED:
                below = {o.get(LEVELS[depth + 1]) for o in found if o.get(LEVELS[depth]) == ds.get(LEVELS[depth])}
                setattr(item, RELATED[depth], len(below))
            items.append(item.to_json_dict())
        return Reply(200, JSON, json.dumps(items).encode()) if items else Reply(204)

    def _stored(self, asked: Asked) -> Reply:
        new = sent(asked)
        self.instances += new
        return Reply(200, JSON, json.dumps(stow_answer(stored=[ds.SOPInstanceUID for ds in new])).encode())


def sent(asked: Asked) -> list[Dataset]:
    """The data sets of a STOW-RS request."""
    boundary = asked.headers["content-type"].split("boundary=")[1].encode()
    parts = (b"\r\n" + asked.body).split(b"\r\n--" + boundary)[1:-1]
    return [dcmread(BytesIO(part.partition(b"\r\n\r\n")[2])) for part in parts]


def stow_answer(
    stored: Sequence[str] = (), failed: Sequence[tuple[str, int]] = (), warned: Sequence[tuple[str, int]] = ()
) -> dict[str, object]:
    """The DICOM JSON that answers a STOW-RS request."""

    def item(uid: str, tag: str = "", reason: int = 0) -> dict[str, object]:
        found: dict[str, object] = {"00081155": {"vr": "UI", "Value": [uid]}}
        return found | ({tag: {"vr": "US", "Value": [reason]}} if tag else {})

    taken = [item(uid) for uid in stored] + [item(uid, "00081196", reason) for uid, reason in warned]
    answer: dict[str, object] = {"00081199": {"vr": "SQ", "Value": taken}} if taken else {}
    if failed:
        answer["00081198"] = {"vr": "SQ", "Value": [item(uid, "00081197", reason) for uid, reason in failed]}
    return answer


def _handler(service: SmallDicomweb) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) == length:  # else the client gave up
                self._answer(body)

        def _answer(self, body: bytes) -> None:
            url = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = service.answer(Asked(self.command, url.path, parse_qs(url.query), headers, body))
            with suppress(OSError):  # the client hung up
                self._send(reply)

        def _send(self, reply: Reply) -> None:
            if reply.raw is not None:
                self.close_connection = True
                for piece in reply.raw:
                    self.wfile.write(piece)
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            whole = reply.body if isinstance(reply.body, bytes) else None
            if reply.length is not None or whole is not None:
                self.send_header("Content-Length", str(reply.length if reply.length is not None else len(whole or b"")))
            else:
                self.send_header("Connection", "close")
            self.end_headers()
            for piece in [whole] if whole is not None else reply.body:
                self.wfile.write(piece)
            if reply.cut or whole is None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    return Handler
