"""WADO-RS of a series: what QIDO-RS promised, no less, in the transfer syntax in which the PACS keeps it.

Each instance goes to the disk as it comes. Its name is its SOP Instance UID once the header says that it was asked for;
no name, address or path that the server writes is used. What an earlier try fetched intact stays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import attrs
from attrs import field, frozen

from gtr_batch.config import PacsConfig
from gtr_batch.dicomweb.client import Server
from gtr_batch.dicomweb.multipart import EndsEarly, NotMultipart, boundary_of, parts
from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.identity import InstanceIdentity, SeriesIdentity, mismatch
from gtr_batch.errors import AssociationLost, CaseRejected, PermanentError, RetrieveIncomplete, UnreadableFile
from gtr_batch.expected_instances import ExpectedInstances, check_count, disk_error, mismatch_sentence
from gtr_batch.identity import read_identity
from gtr_batch.logs import get_logger
from gtr_batch.ports import Progress
from gtr_batch.reading import LIMITS
from gtr_batch.writing import full_disk_is_transient

log = get_logger("pacs")

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
FEW = 5  # asked for singly at once, as intake's probes are
ONE_BY_ONE = 50  # instances asked for singly after the series; more missing than this is no accident of single ones
PREAMBLE = 128  # bytes; means nothing in DICOM, and may make a file something else too (PS3.10, 7.1): ours is zero


@frozen
class Request:
    """One series to fetch: what `gtr_batch.ports.ImageArchive.retrieve` is given."""

    study_uid: Uid = field(converter=Uid)
    series_uid: Uid = field(converter=Uid)
    expected: tuple[Uid, ...] = field(converter=lambda uids: tuple(dict.fromkeys(Uid(uid) for uid in uids)))
    folder: Path
    progress: Progress | None = None
    identity: SeriesIdentity | None = None

    def files(self) -> ExpectedInstances:
        """The instances; of no other study or series, whatever `identity` says."""
        whose = self.identity or SeriesIdentity(self.study_uid)
        whose = attrs.evolve(whose, study_uid=self.study_uid, series_uid=self.series_uid)
        return ExpectedInstances(self.expected, self.folder, self.progress, whose)


class SeriesFetch:
    """Fetches one series.

    Parameters
    ----------
    server : Server
    limits : PacsConfig
        ``max_instances`` and ``max_bytes``.
    request : Request

    Raises
    ------
    CaseRejected
        ``series_too_large``.
    """

    def __init__(self, server: Server, limits: PacsConfig, request: Request) -> None:
        check_count(len(request.expected), limits.max_instances)
        self._server, self._limits = server, limits
        self._study, self._series, self._order = request.study_uid, request.series_uid, request.expected
        self._files = request.files()
        self._came = 0  # parts, wanted or not
        self._bytes_left = limits.max_bytes or sys.maxsize
        self._tried = f"WADO-RS of series {self._series}"

    def run(self, listed: Callable[[], frozenset[str]]) -> list[Path]:
        """Fetch what is missing: the series where it is all that is `listed` of it, then what is missing singly.

        Raises
        ------
        RetrieveIncomplete, TransientError, PermanentError, CaseRejected
            As `gtr_batch.ports.ImageArchive.retrieve`.
        """
        missing = self._files.missing
        if not missing:
            return self._paths()
        try:
            whole = len(missing) > FEW and self._is_all(missing, listed())
            if whole:
                self._fetch(f"studies/{self._study}/series/{self._series}")
            missing = self._files.missing
            if not whole or len(missing) <= ONE_BY_ONE:
                for uid in missing:
                    self._fetch(f"studies/{self._study}/series/{self._series}/instances/{uid}", uid)
        finally:
            self._files.keep()
        return self._finished()

    def _is_all(self, missing: Sequence[Uid], listed: frozenset[str]) -> bool:
        if not listed or not listed <= set(self._order):
            return False
        return len(missing) == len(self._order) or len(missing) > ONE_BY_ONE

    def _fetch(self, path: str, asked: Uid | None = None) -> None:
        """Ask for the series, or for one instance of it, and keep what comes and was expected."""
        tried = self._tried if asked is None else f"WADO-RS of instance {asked}"
        with self._server.get(path, tried, AS_STORED) as answer:
            if answer.status_code in (204, 404, 410):
                return  # it is missing then, and that is said at the end
            if answer.status_code != 200:
                raise self._server.refusal(tried, answer.status_code)
            try:
                body = self._counted(self._server.body(answer, tried, self._bytes_left))
                for headers, data in parts(body, boundary_of(answer.headers.get("Content-Type", ""))):
                    self._take(headers, data, asked, tried)
            except NotMultipart as err:
                raise PermanentError(f"{tried} at {self._server.peer}: {err}; not retried") from None
            except EndsEarly as err:
                raise AssociationLost(f"{tried} at {self._server.peer}: {err}; tried again later") from None

    def _counted(self, body: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in body:
            self._bytes_left -= len(chunk)
            yield chunk

    def _take(self, headers: Mapping[str, str], data: Iterator[bytes], asked: Uid | None, tried: str) -> None:
        """Keep one part under its SOP Instance UID, if it is expected and says so itself."""
        self._came += 1
        if self._came > self._limits.max_instances + len(self._order):
            raise CaseRejected(
                "series_too_large",
                f"the PACS sent more than {self._limits.max_instances} instances that were not asked for",
                {"limit": self._limits.max_instances, "expected": len(self._order)},
            )
        kind = headers.get("content-type", "application/dicom").partition(";")[0].strip().lower()
        if kind != "application/dicom":
            raise PermanentError(f"{tried} at {self._server.peer}: a part is no application/dicom; not retried")
        part = self._files.part()
        try:
            with full_disk_is_transient(part):
                is_dicom = _write(part, data)
                self._judge(part, is_dicom, asked)
        except OSError as err:
            raise disk_error(err, "an instance") from err
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _judge(self, part: Path, is_dicom: bool, asked: Uid | None) -> None:
        found = read_identity(part) if is_dicom else None
        uid = asked or _uid_of(found)
        if uid is None or uid not in self._files.expected:
            self._files.unwanted += 1
            return
        if differs := self._files.differences(uid, found):
            raise mismatch(mismatch_sentence(uid, differs), differs)
        if is_dicom and self._files.is_missing(uid):
            part.replace(self._files.path(uid))
            self._files.arrived(uid)

    def _paths(self) -> list[Path]:
        return [self._files.path(uid) for uid in self._order]

    def _finished(self) -> list[Path]:
        missing, unwanted = self._files.missing, self._files.unwanted
        if unwanted:
            log.warning("pacs.retrieve.unwanted", series_uid=self._series, instances=unwanted)
        if not missing:
            return self._paths()
        raise RetrieveIncomplete(
            f"{self._tried} from {self._server.peer}: {len(missing)} of {len(self._order)} promised instances did not "
            f"arrive ({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}); tried again later"
        )


def _write(part: Path, data: Iterator[bytes]) -> bool:
    """Write a part to the disk, with a preamble of zeros; whether it is a DICOM file by its first bytes."""
    size = 0
    with os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "w+b") as file:
        for chunk in data:
            size += len(chunk)
            if size > LIMITS.file_bytes:
                raise UnreadableFile(f"has more than {LIMITS.file_bytes} bytes")
            file.write(chunk)
        file.seek(PREAMBLE)
        is_dicom = file.read(4) == b"DICM"
        if is_dicom:
            file.seek(0)
            file.write(bytes(PREAMBLE))
        file.flush()
        os.fsync(file.fileno())  # a name must not outlive a power cut that its content does not
    return is_dicom


def _uid_of(found: InstanceIdentity | None) -> Uid | None:
    """The UID that a header says; None where there is no valid one."""
    if found is not None:
        with suppress(CaseRejected):
            return Uid(found.sop_instance_uid)
    return None
