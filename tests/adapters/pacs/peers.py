"""Real and hostile PACS for tests, each on a loopback port while its block runs.

Real: `qrscp` (pynetdicom), `orthanc`, `dcmqrscp` and `storescp` (DCMTK). Hostile: `HostilePacs`, whose answers a test
bends.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    CTImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from gtr_batch.errors import GtrError
from gtr_batch.loopback import free_port as a_free_port  # noqa: F401 - the tests of the PACS import it from here
from gtr_batch.pacs.checkpoint import hold_firmly
from gtr_batch.simulation.servers.services import EmbeddedQrscp, start_qrscp, wait_for_echo


@contextmanager
def qrscp(
    folder: Path, port: int, ae_title: str = "PACS", our_ae: str = "GTRBATCH", our_port: int | None = None
) -> Iterator[EmbeddedQrscp]:
    """pynetdicom's qrscp; C-MOVE to `our_ae` goes to 127.0.0.1:`our_port`."""
    destinations = {our_ae: ("127.0.0.1", our_port)} if our_port else None
    with start_qrscp(folder, port, ae_title, destinations) as server:
        yield server


@contextmanager
def orthanc(
    program: str,
    folder: Path,
    port: int,
    ae_title: str = "ORTHANC",
    our_ae: str = "GTRBATCH",
    our_port: int = 0,
    options: Sequence[str] = (),
    echo: Callable[[], None] | None = None,
    **settings: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Orthanc, which knows us as `our_ae` at 127.0.0.1:`our_port`; `settings` go into its configuration.

    `options` are of its command line (``--verbose`` writes associations into ``orthanc.log`` of the folder); `echo`
    asks whether it is up where a plain C-ECHO cannot (TLS).
    """
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [],
        "HttpServerEnabled": False,
        "DicomServerEnabled": True,
        "DicomAet": ae_title,
        "DicomPort": port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomThreadsCount": 4,
        "DicomModalities": {"gtr": [our_ae, "127.0.0.1", our_port or 1]},
        **settings,
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, *options, str(path)], cwd=folder, stdout=log, stderr=log)
    try:
        if echo is None:
            wait_for_echo(port, ae_title, alive=lambda: process.poll() is None)
        else:
            _until_it_answers(echo)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def dcmqrscp(
    program: str, folder: Path, port: int, ae_title: str = "DCMQRSCP", our_ae: str = "GTRBATCH", our_port: int = 0
) -> Iterator[None]:
    """DCMTK's dcmqrscp, which knows us as `our_ae` at 127.0.0.1:`our_port`: C-FIND, C-GET, C-MOVE, no commitment."""
    storage = folder / "store"
    storage.mkdir(parents=True, exist_ok=True)
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
        f"HostTable BEGIN\ngtr = ({our_ae}, 127.0.0.1, {our_port or 1})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {storage} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with (folder / "dcmqrscp.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--config", str(configuration), "--disable-host-lookup"], cwd=folder, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        wait_for_echo(port, ae_title, alive=lambda: process.poll() is None)
        yield
    finally:
        with suppress(ProcessLookupError):  # with the child of each association
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _until_it_answers(echo: Callable[[], None], within_s: float = 30.0) -> None:
    until = time.monotonic() + within_s
    while True:
        try:
            echo()
            return
        except GtrError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


@contextmanager
def storescp(program: str, folder: Path, port: int, *options: str, ae_title: str = "STORESCP") -> Iterator[Path]:
    """DCMTK's storescp; yields the folder it writes to."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "--aetitle", ae_title, "-od", str(folder), *options, str(port)], stdout=log, stderr=log
        )
    try:
        wait_for_echo(port, ae_title, alive=lambda: process.poll() is None)
        yield folder
    finally:
        process.terminate()
        process.wait()


class HostilePacs:
    """A PACS over datasets in memory, whose handlers a test replaces.

    Attributes
    ----------
    instances : list of Dataset
        What it holds; must carry file meta.
    on_find, on_get, on_move, on_store, on_action : callable
        pynetdicom handlers; the defaults behave.
    requests : list of Dataset
        Identifiers received by C-FIND, C-GET and C-MOVE, in order.
    opened : list of Association
        Associations accepted, in order.
    storage : list of str
        SOP classes that it sends and takes.
    """

    def __init__(self, instances: Sequence[Dataset] = (), ae_title: str = "PACS") -> None:
        self.instances = list(instances)
        self.ae_title = ae_title
        self.requests: list[Dataset] = []
        self.opened: list[Association] = []
        self.on_find: Callable[[evt.Event], Any] = self.find
        self.on_get: Callable[[evt.Event], Any] = self.get
        self.on_move: Callable[[evt.Event], Any] = self.move
        self.on_store: Callable[[evt.Event], Any] = lambda event: 0x0000
        self.on_action: Callable[[evt.Event], Any] = lambda event: (0x0000, None)
        self.move_to: tuple[str, int] | None = None
        self.tls: ssl.SSLContext | None = None  # of the associations that it accepts
        self.tls_out: ssl.SSLContext | None = None  # of those that it opens for C-MOVE
        self.calling_for_store: str | None = None
        self.syntaxes: list[str] = list(AllTransferSyntaxes)
        self.storage: list[str] = [CTImageStorage]
        self.commitment = True
        self.require_calling: list[str] = []
        self.require_called = False
        self.maximum_associations = 10
        self.threads: list[threading.Thread] = []
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[HostilePacs]:
        """Serve on a free port."""
        ae = AE(ae_title=self.ae_title)
        ae.require_calling_aet = self.require_calling
        ae.require_called_aet = self.require_called
        ae.maximum_associations = self.maximum_associations
        ae.add_supported_context(Verification)
        for sop_class in self.storage:
            ae.add_supported_context(sop_class, self.syntaxes, scu_role=True, scp_role=True)
        for model in (
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelGet,
            StudyRootQueryRetrieveInformationModelMove,
        ):
            ae.add_supported_context(model)
        if self.commitment:
            ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [
            (evt.EVT_C_FIND, lambda e: self._noted(e, self.on_find)),
            (evt.EVT_C_GET, lambda e: self._noted(e, self.on_get)),
            (evt.EVT_C_MOVE, lambda e: self._noted(e, self.on_move)),
            (evt.EVT_C_STORE, self.on_store),
            (evt.EVT_N_ACTION, self.on_action),
            (evt.EVT_ESTABLISHED, lambda e: self.opened.append(e.assoc)),
        ]
        server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=self.tls)
        self.port = int(server.server_address[1])
        try:
            yield self
        finally:
            for thread in self.threads:
                thread.join(10)
            ae.shutdown()

    def _noted(self, event: evt.Event, handler: Callable[[evt.Event], Any]) -> Any:
        self.requests.append(event.identifier)
        return handler(event)

    def matching(self, identifier: Dataset) -> list[Dataset]:
        """Instances that match the UIDs of an identifier."""
        found = self.instances
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            value = identifier.get(keyword)
            wanted = [value] if isinstance(value, str) else list(value or [])
            if any(wanted):
                found = [ds for ds in found if ds.get(keyword) in wanted]
        return found

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        """C-FIND by UIDs at any level, and by ranges of StudyDate and StudyTime."""
        query = event.identifier
        unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
        seen = set()
        for ds in self.matching(query):
            if not (_within(ds, query, "StudyDate") and _within(ds, query, "StudyTime")):
                continue
            key = ds.get(unique[query.QueryRetrieveLevel])
            if key in seen:
                continue
            seen.add(key)
            answer = Dataset()
            for element in query:
                if element.keyword in ds:
                    answer[element.tag] = ds[element.tag]
            if "ModalitiesInStudy" in query and ds.get("Modality"):
                answer.ModalitiesInStudy = ds.Modality
            answer.QueryRetrieveLevel = query.QueryRetrieveLevel
            yield 0xFF00, answer

    def get(self, event: evt.Event) -> Iterator[Any]:
        """C-GET."""
        found = self.matching(event.identifier)
        yield len(found)
        for ds in found:
            yield 0xFF00, ds

    def move(self, event: evt.Event) -> Iterator[Any]:
        """C-MOVE to `move_to`."""
        if self.move_to is None:
            yield None, None
            return
        found = self.matching(event.identifier)
        tls = {"tls_args": (self.tls_out, self.move_to[0])} if self.tls_out else {}
        # Else pynetdicom loses an answer now and then on a loaded machine, and the peer falls silent (`Checkpoint`).
        firmly = [(evt.EVT_CONN_OPEN, hold_firmly)]
        yield (*self.move_to, {"contexts": [build_context(CTImageStorage)], "evt_handlers": firmly, **tls})
        yield len(found)
        for ds in found:
            yield 0xFF00, ds


def _within(ds: Dataset, query: Dataset, keyword: str) -> bool:
    wanted, value = query.get(keyword) or "", ds.get(keyword) or ""
    if not wanted:
        return True
    low, _, high = wanted.partition("-")
    return bool(value) and low <= value and (value <= (high or low) if "-" in wanted else value == wanted)


def datasets(folder: Path) -> list[Dataset]:
    """All DICOM files of a folder, read."""
    return [dcmread(path) for path in sorted(folder.glob("*.dcm"))]


class SlowLine:
    """A line to a PACS on which bytes come steadily and slowly, `piece` of them every `pause_s`, both ways."""

    def __init__(self, port: int, *, piece: int = 1536, pause_s: float = 0.04) -> None:
        self._to, self._piece, self._pause_s = port, piece, pause_s
        self._end = threading.Event()
        self._server = socket.socket()
        # Small buffers, or the system takes a whole object at once and the line is not slow for us.
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._server.bind(("127.0.0.1", 0))
        self._server.listen()
        self.port = int(self._server.getsockname()[1])

    @contextmanager
    def running(self) -> Iterator[SlowLine]:
        """Carry bytes while the block runs."""
        threading.Thread(target=self._accept, daemon=True).start()
        try:
            yield self
        finally:
            self._end.set()
            self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                theirs = socket.create_connection(("127.0.0.1", self._to))
                for source, sink in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(self._piece):
                if self._end.wait(self._pause_s * len(piece) / self._piece):
                    break
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
