"""The instances that a retrieve has been promised: which lie in the folder intact, and which are somebody else's."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from gtr_batch.dicom_file import is_intact
from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.identity import InstanceIdentity, SeriesIdentity
from gtr_batch.errors import CaseRejected, GtrError, PermanentError, StorageFull
from gtr_batch.identity import read_identity
from gtr_batch.ports import Progress
from gtr_batch.writing import full_disk_is_transient, make_folder, sync_folder

_PART = ".part"


def check_count(count: int, limit: int) -> None:
    """Refuse a series of more instances than ``pacs.max_instances``."""
    if count > limit:
        raise CaseRejected(
            "series_too_large",
            f"{count} instances in one series; the limit is {limit} (pacs.max_instances)",
            {"instances": count, "limit": limit},
        )


class ExpectedInstances:
    """The instances of one retrieve, one file each, ``<SOP Instance UID>.dcm``; whichever service brings them.

    Parameters
    ----------
    expected : collection of Uid
        The instances that the PACS listed.
    folder : Path
        Where they go; made (0700) where absent.
    progress : callable, optional
        Called with (arrived, expected).
    identity : SeriesIdentity, optional
        What every instance must say of itself; a file of an earlier try that does not is deleted and expected anew.
        None: not compared.
    """

    def __init__(
        self,
        expected: Collection[Uid],
        folder: Path,
        progress: Progress | None = None,
        identity: SeriesIdentity | None = None,
    ) -> None:
        with full_disk_is_transient(folder):
            make_folder(folder)
        self.expected = frozenset(expected)
        self.folder = folder
        self.unwanted = 0  # instances that nobody asked for, or whose UID is none
        self._progress = progress
        self._identity = identity
        self._sweep()
        self._missing = {uid for uid in self.expected if not self._is_there(uid)}
        self._report()

    @property
    def missing(self) -> list[Uid]:
        """Expected instances that have not arrived, in a stable order; what has is on the disk."""
        return sorted(self._missing)

    def is_missing(self, uid: Uid) -> bool:
        """Whether an instance is expected and has not arrived."""
        return uid in self._missing

    def path(self, uid: Uid) -> Path:
        """Where an instance lies once it is intact."""
        return self.folder / f"{uid}.dcm"

    def keep(self) -> None:
        """Make the names of what arrived outlast a power cut; the content is on the disk already.

        Raises
        ------
        StorageFull, PermanentError
            The disk says only now that it cannot.
        """
        try:
            with full_disk_is_transient(self.folder):
                sync_folder(self.folder)
        except OSError as err:
            raise disk_error(err, "instances") from err

    def differences(self, uid: Uid, found: InstanceIdentity | None, sop_class_uid: str = "") -> tuple[str, ...]:
        """In what a file is not what was asked for; of one whose header cannot be read, validation says so."""
        if found is None or self._identity is None:
            return ()
        if found.sop_instance_uid in ("", uid) and self._identity.is_lost(found):
            return ()
        differs = list(self._identity.differences(found))
        if found.sop_instance_uid != uid:
            differs.append("SOPInstanceUID")
        if sop_class_uid and found.sop_class_uid != sop_class_uid:
            differs.append("SOPClassUID")
        return tuple(dict.fromkeys(differs))

    def part(self) -> Path:
        """A name for a file that is being written, of this process and thread alone."""
        return self.folder / f".{os.getpid()}.{threading.get_ident()}{_PART}"

    def arrived(self, uid: Uid) -> None:
        """An instance lies under its name."""
        self._missing.discard(uid)
        self._report()

    def _is_there(self, uid: Uid) -> bool:
        """Whether an instance lies there intact; one of somebody else does not stay."""
        path = self.path(uid)
        if not is_intact(path, uid):
            return False
        if self.differences(uid, read_identity(path) if self._identity is not None else None):
            path.unlink(missing_ok=True)
            return False
        return True

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(len(self.expected) - len(self._missing), len(self.expected))

    def _sweep(self) -> None:
        """Remove what a killed process left half-written; an hour leaves a concurrent one alone."""
        for part in self.folder.glob(f".*{_PART}"):
            with suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > 3600:
                    part.unlink()


def mismatch_sentence(uid: Uid, differs: Collection[str]) -> str:
    """Of an instance that arrived and is not what was asked for."""
    return (
        f"instance {uid} arrived with another {' and '.join(differs)} than was asked for: the images in the PACS are "
        f"not those that its index names; not stored, not retried. The PACS's administrator must say whose they are"
    )


def disk_error(err: OSError | StorageFull, what: str) -> GtrError:
    """What a failed write means."""
    if isinstance(err, StorageFull):
        return err
    return PermanentError(f"writing {what}: {err.strerror or err}; check the file store; not retried")
