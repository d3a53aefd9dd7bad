"""The servers of the synthetic hospital: its database and its PACS, on the loopback interface only."""

from __future__ import annotations

import configparser
import io
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE
from pynetdicom.apps.qrscp.db import add_instance, create
from pynetdicom.sop_class import Verification
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from gtr_batch.config import PacsConfig
from gtr_batch.errors import ConfigError, TransientError
from gtr_batch.loopback import listens
from gtr_batch.pacs import Pacs
from gtr_batch.simulation.servers.postgres import EmbeddedPostgres, embedded_postgres
from gtr_batch.writing import make_folder, write_text

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedQrscp",
    "embedded_postgres",
    "load_files",
    "start_qrscp",
    "wait_for_echo",
]


class EmbeddedQrscp:
    """pynetdicom's `qrscp` as a child process: C-ECHO, C-STORE, C-FIND, C-GET and C-MOVE over files and SQLite.

    What it does not do is in docs/dicom-conformance.md, Networking.

    Parameters
    ----------
    folder : Path
        Holds its configuration, instances, database and log; the same folder gives the same content.
    port : int
        TCP port of 127.0.0.1.
    ae_title : str
        Its AE title. It answers to any called title and any caller.
    destinations : mapping of str to (str, int)
        AE title to (host, port): where C-MOVE may send.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        ae_title: str = "PACS",
        destinations: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        self.folder, self.port, self.ae_title = folder.resolve(), port, ae_title
        self._destinations = dict(destinations or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def preload(self, folder: Path, progress: Callable[[int, int], None] | None = None) -> int:
        """Put every DICOM file under a folder into its store, whether it runs or not.

        About four times faster than C-STORE (measured 6 against 26 ms an instance): qrscp commits each by itself.

        Returns
        -------
        int
            Files put there.
        """
        self._prepare()
        files = _dicom_files(folder)
        engine = create_engine(f"sqlite:///{self._database}")
        with Session(engine) as session:
            commit, session.commit = session.commit, session.flush  # type: ignore[method-assign]
            for number, source in enumerate(files, 1):
                ds = dcmread(source, stop_before_pixels=True)
                target = self._instances / str(ds.SOPInstanceUID)
                shutil.copyfile(source, target)
                add_instance(ds, session, str(target))
                if progress is not None:
                    progress(number, len(files))
            commit()
        engine.dispose()
        return len(files)

    def start(self, timeout_s: float = 30.0) -> None:
        """Start it; returns when it answers C-ECHO."""
        self._prepare()
        module = "gtr_batch.simulation.servers.qrscp"
        command = [sys.executable, "-m", module, "-c", str(self._configuration()), "--log-level", "warn"]
        with (self.folder / "qrscp.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_for_echo(self.port, self.ae_title, timeout_s, alive=lambda: self.pid is not None)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it; nothing happens where it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def _instances(self) -> Path:
        return self.folder / "instances"

    @property
    def _database(self) -> Path:
        return self.folder / "instances.sqlite"

    def _prepare(self) -> None:
        make_folder(self._instances)
        self.folder.chmod(0o700)
        create(f"sqlite:///{self._database}").dispose()
        with closing(sqlite3.connect(self._database)) as database:
            database.execute("pragma journal_mode=wal")  # stays with the file: readers and the writer do not wait

    def _configuration(self) -> Path:
        ini = configparser.ConfigParser()
        ini["DEFAULT"] = {
            "ae_title": self.ae_title,
            "port": str(self.port),
            "bind_address": "127.0.0.1",
            "max_pdu": "131072",
            "acse_timeout": "30",
            "dimse_timeout": "60",
            "network_timeout": "60",
            "instance_location": str(self._instances),
            "database_location": str(self._database),
            "log_identifier": "False",
        }
        for title, (host, port) in self._destinations.items():
            ini[title] = {"address": host, "port": str(port)}
        text = io.StringIO()
        ini.write(text)
        return write_text(self.folder / "qrscp.ini", text.getvalue())


@contextmanager
def start_qrscp(
    folder: Path,
    port: int,
    ae_title: str = "PACS",
    destinations: Mapping[str, tuple[str, int]] | None = None,
) -> Iterator[EmbeddedQrscp]:
    """Run an embedded PACS while the block runs; see `EmbeddedQrscp`."""
    server = EmbeddedQrscp(folder, port, ae_title, destinations)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def wait_for_echo(
    port: int,
    ae_title: str,
    timeout_s: float = 30.0,
    alive: Callable[[], bool] = lambda: True,
    caller: str = "GTRBATCH",
) -> None:
    """Wait until a DICOM server of 127.0.0.1 answers C-ECHO.

    Raises
    ------
    TransientError
        Not within `timeout_s`, or its process ended.
    """
    ae = AE(ae_title="GTRBATCH")
    ae.add_requested_context(Verification)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 5
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and alive():
        if listens(port):
            assoc = ae.associate("127.0.0.1", port, ae_title=ae_title)
            if assoc.is_established:
                answer = assoc.send_c_echo()
                assoc.release()
                if answer.get("Status") == 0x0000:
                    return
        time.sleep(0.05)
    raise TransientError(f"AE {ae_title!r} at 127.0.0.1:{port} did not answer C-ECHO within {timeout_s:g} s")


def load_files(
    config: PacsConfig, folder: Path, progress: Callable[[int, int], None] | None = None, batch: int = 25
) -> int:
    """C-STORE every DICOM file under a folder.

    Parameters
    ----------
    config : PacsConfig
        The PACS.
    folder : Path
        Searched to its depth for ``*.dcm``, or for every file where there is none.
    progress : callable, optional
        Called with (sent, all).
    batch : int
        Files on one association.

    Returns
    -------
    int
        Files sent.
    """
    files = _dicom_files(folder)
    pacs = Pacs(config)
    batches = [files[begin : begin + batch] for begin in range(0, len(files), batch)]
    sent = 0
    with ThreadPoolExecutor(max(1, config.associations)) as pool:
        for receipts in pool.map(pacs.store, batches):
            sent += len(receipts)
            if progress is not None:
                progress(sent, len(files))
    return sent


def _dicom_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.dcm")) or sorted(p for p in folder.rglob("*") if _is_dicom(p))
    if not files:
        raise ConfigError(f"no DICOM files under {folder}")
    return files


def _is_dicom(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
