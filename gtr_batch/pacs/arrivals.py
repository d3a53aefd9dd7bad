"""What arrives by C-STORE during a retrieve: written as received, one file an instance, nothing else."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from pydicom.dataelem import RawDataElement
from pynetdicom import evt
from pynetdicom.dsutils import encode_file_meta

from gtr_batch.domain.identifiers import Uid
from gtr_batch.errors import CaseRejected, GtrError, PermanentError, StorageFull
from gtr_batch.pacs.watch import cut_socket
from gtr_batch.ports import Progress
from gtr_batch.reading import read_dicom

_PART = ".part"
SUCCESS, OUT_OF_RESOURCES, INVALID_INSTANCE = 0x0000, 0xA700, 0x0117


class Arrivals:
    """Takes the instances of one retrieve as they come, from any thread.

    An instance is written as the PACS encoded it, with a file meta of ours before it, to a temporary name, and renamed
    to ``<SOP Instance UID>.dcm`` when it is intact. Instances that nobody asked for are acknowledged and dropped: a
    failure status would make some PACS give up the rest.

    Parameters
    ----------
    expected : collection of Uid
        The instances that C-FIND promised.
    folder : Path
        Where they go; made (0700) where absent.
    max_instances : int
        Most C-STORE requests taken in one retrieve, wanted or not.
    progress : callable, optional
        Called with (arrived, expected).
    """

    def __init__(
        self, expected: Collection[Uid], folder: Path, max_instances: int, progress: Progress | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.expected = frozenset(expected)
        self.folder = folder
        self.error: GtrError | None = None
        self.unwanted = 0
        self._max_instances = max_instances
        self._progress = progress
        self._requests = 0
        self._change = threading.Condition()
        self._sweep()
        self._missing = {uid for uid in self.expected if not is_intact(self.path(uid), uid)}
        self._report()

    @property
    def missing(self) -> list[Uid]:
        """Expected instances that have not arrived, in a stable order."""
        with self._change:
            return sorted(self._missing)

    def path(self, uid: Uid) -> Path:
        """Where an instance lies once it is intact."""
        return self.folder / f"{uid}.dcm"

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
            wanted = uid in self._missing
        if not wanted:
            self.unwanted += uid not in self.expected
            return SUCCESS
        try:
            self._write(uid, event)
        except OSError as err:
            self._fail(_disk_error(err, uid))
            cut_socket(event.assoc)
            return OUT_OF_RESOURCES
        with self._change:
            self._missing.discard(uid)
            self._change.notify_all()
        self._report()
        return SUCCESS

    def _write(self, uid: Uid, event: evt.Event) -> None:
        part = self.folder / f".{uid}.{os.getpid()}.{threading.get_ident()}{_PART}"
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(b"\0" * 128 + b"DICM" + encode_file_meta(event.file_meta))
                file.write(event.request.DataSet.getbuffer())
            part.replace(self.path(uid))
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def _fail(self, error: GtrError) -> None:
        with self._change:
            self.error = self.error or error
            self._change.notify_all()

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(len(self.expected) - len(self._missing), len(self.expected))

    def _sweep(self) -> None:
        """Remove what a killed process left half-written; an hour leaves a concurrent one alone."""
        for part in self.folder.glob(f".*{_PART}"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > 3600:
                    part.unlink()


def is_intact(path: Path, uid: Uid) -> bool:
    """Whether a file is a DICOM file of this instance that can be read to its end; values are not decoded."""
    try:
        ds = read_dicom(path)
        if ds.file_meta.get("MediaStorageSOPInstanceUID") != uid or not len(ds):
            return False
        last = ds.get_item(max(ds.keys()))
    except Exception:  # noqa: BLE001 - a broken file breaks pydicom in many ways (RecursionError): it is fetched again
        return False
    # The reader takes what is left of a file for the last value; an undefined length it has followed to its end.
    short = isinstance(last, RawDataElement) and last.length != 0xFFFFFFFF and len(last.value or b"") != last.length
    return not short


def _disk_error(err: OSError, uid: Uid) -> GtrError:
    if err.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"writing instance {uid}: {err.strerror}; free space in the file store, tried again later")
    return PermanentError(f"writing instance {uid}: {err.strerror or err}; check the file store; not retried")
