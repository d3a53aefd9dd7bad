"""What arrives by C-STORE during a retrieve: written as received, one file an instance, nothing else.

An instance is compared with what was asked for while the PACS waits for our answer, and written and synced after it,
beside the arrival of the next ones. The answer promises the PACS nothing: what is on the disk at the end decides.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pynetdicom import evt
from pynetdicom.dsutils import encode_file_meta

from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.identity import SeriesIdentity, mismatch
from gtr_batch.errors import CaseRejected, GtrError, PermanentError, StorageFull
from gtr_batch.expected_instances import ExpectedInstances, disk_error, mismatch_sentence
from gtr_batch.identity import parse_identity
from gtr_batch.pacs.watch import cut_socket
from gtr_batch.ports import Progress
from gtr_batch.writing import full_disk_is_transient

_WRITERS = 2  # threads; most of their time is the disk's
_UNWRITTEN = 32 * 1024**2  # most bytes that wait for the disk; then the PACS waits
SUCCESS, OUT_OF_RESOURCES, INVALID_INSTANCE = 0x0000, 0xA700, 0x0117


class Arrivals(ExpectedInstances):
    """Takes the instances of one retrieve as they come, from any thread.

    An instance is written as the PACS encoded it, with a file meta of ours before it, to a temporary name, and renamed
    to ``<SOP Instance UID>.dcm`` when it is intact and its header says that it is what was asked for. Instances that
    nobody asked for are acknowledged and dropped: a failure status would make some PACS give up the rest.

    Parameters
    ----------
    expected, folder, progress : Collection[Uid], Path, callable
        See `ExpectedInstances`.
    max_instances : int
        Most C-STORE requests taken in one retrieve, wanted or not.
    identity : SeriesIdentity, optional
        What every instance must say of itself. The first that does not ends the retrieve and is not kept; a file of an
        earlier try that does not is deleted and expected anew. None: not compared.
    """

    def __init__(
        self,
        expected: Collection[Uid],
        folder: Path,
        max_instances: int,
        progress: Progress | None = None,
        identity: SeriesIdentity | None = None,
    ) -> None:
        self._change = threading.Condition()
        self._writers: ThreadPoolExecutor | None = None
        self._unwritten: dict[Uid, int] = {}  # bytes of instances that have arrived and are not on the disk yet
        super().__init__(expected, folder, progress, identity)
        self.error: GtrError | None = None
        self._max_instances = max_instances
        self._requests = 0

    @property
    def missing(self) -> list[Uid]:
        """Expected instances that have not arrived, in a stable order; what has is on the disk then."""
        self.settle()
        with self._change:
            return sorted(self._missing)

    def settle(self) -> None:
        """Wait until what has arrived is on the disk, or `error` says why it is not."""
        with self._change:
            self._change.wait_for(lambda: not self._unwritten)

    def keep(self) -> None:
        """As `ExpectedInstances.keep`, when all writers are done."""
        self.settle()
        if self._writers is not None:
            self._writers.shutdown()
            self._writers = None
        super().keep()

    def wait(self, uids: Collection[str], timeout_s: float) -> None:
        """Wait until these (none: all) are there, or an error ended it."""
        wanted = set(uids) or self.expected
        with self._change:
            self._change.wait_for(lambda: not self._missing & wanted or self.error is not None, timeout_s)

    def take(self, event: evt.Event) -> int:
        """Handler of ``evt.EVT_C_STORE``; returns the status of the C-STORE response."""
        self._requests += 1
        if self.error is None and self._requests > self._max_instances + len(self.expected):
            self._fail(
                CaseRejected(
                    "series_too_large",
                    f"the PACS sent more than {self._max_instances} instances that were not asked for",
                    {"limit": self._max_instances, "expected": len(self.expected)},
                )
            )
        if self.error is not None:
            cut_socket(event.assoc)  # no use in receiving the rest
            return OUT_OF_RESOURCES
        try:
            uid = Uid(str(event.request.AffectedSOPInstanceUID or ""))
        except CaseRejected:
            self.unwanted += 1
            return INVALID_INSTANCE
        with self._change:
            wanted = uid in self._missing and uid not in self._unwritten
        if not wanted:
            self.unwanted += uid not in self.expected
            return SUCCESS
        body = b"".join((b"\0" * 128, b"DICM", encode_file_meta(event.file_meta), event.request.DataSet.getbuffer()))
        found = parse_identity(body) if self._identity is not None else None
        if differs := self.differences(uid, found, str(event.request.AffectedSOPClassUID or "")):
            self._fail(mismatch(mismatch_sentence(uid, differs), differs))
            cut_socket(event.assoc)  # whatever else the PACS sends on it, it does not send what was asked for
            return INVALID_INSTANCE
        self._write_after(uid, body)
        return SUCCESS

    def _write_after(self, uid: Uid, body: bytes) -> None:
        """Have an instance written; where much waits for the disk, so does the caller."""
        with self._change:
            self._change.wait_for(
                lambda: not self._unwritten or sum(self._unwritten.values()) + len(body) <= _UNWRITTEN
            )
            self._unwritten[uid] = len(body)
            if self._writers is None:
                self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="instance-writer")
            self._writers.submit(self._put_down, uid, body)

    def _put_down(self, uid: Uid, body: bytes) -> None:
        """In a writer's thread: write an instance, and say what came of it."""
        try:
            with full_disk_is_transient(self.path(uid)):
                self._write(uid, body)
        except (OSError, StorageFull) as err:
            self._written(uid, disk_error(err, f"instance {uid}"))
        except Exception as err:  # noqa: BLE001 - in a thread of its own nobody would hear of it, and wait without end
            self._written(uid, PermanentError(f"writing instance {uid}: {type(err).__name__}; not retried"))
        else:
            self._written(uid)

    def _written(self, uid: Uid, error: GtrError | None = None) -> None:
        with self._change:
            del self._unwritten[uid]
            if error is None:
                self._missing.discard(uid)
            self.error = self.error or error
            self._change.notify_all()
        self._report()

    def _write(self, uid: Uid, body: bytes) -> None:
        part = self.part()
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())  # a name must not outlive a power cut that its content does not
            part.replace(self.path(uid))
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _fail(self, error: GtrError) -> None:
        with self._change:
            self.error = self.error or error
            self._change.notify_all()
