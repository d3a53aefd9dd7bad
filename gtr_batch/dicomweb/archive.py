"""The PACS by DICOMweb as the port `gtr_batch.ports.ImageArchive`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import attrs

from gtr_batch.config import DicomwebConfig, PacsConfig
from gtr_batch.dicomweb.client import Server
from gtr_batch.dicomweb.find import Finder
from gtr_batch.dicomweb.retrieve import Request, SeriesFetch
from gtr_batch.dicomweb.store import store
from gtr_batch.domain.delivery import Commitment, StoreReceipt
from gtr_batch.domain.identifiers import AccessionNumber
from gtr_batch.domain.identity import SeriesIdentity, mismatch
from gtr_batch.domain.series import InstanceRecord, SeriesRecord, StudyRecord
from gtr_batch.errors import ConfigError
from gtr_batch.identity import KEYWORDS, identity_of
from gtr_batch.logs import get_logger
from gtr_batch.ports import Progress
from gtr_batch.query_answers import instance_records, series_records, text

log = get_logger("pacs")


class Dicomweb:
    """A PACS behind ``dicomweb.url``. Nothing connects before a method is called.

    Parameters
    ----------
    config : DicomwebConfig
    limits : PacsConfig
        How large a series may be.
    may_send : callable, optional
        Asked before every object that is stored; what it raises ends the storing, and nothing more is sent.

    Raises
    ------
    ConfigError
        No URL, or a certificate that cannot be read.
    """

    def __init__(self, config: DicomwebConfig, limits: PacsConfig, may_send: Callable[[], None] | None = None) -> None:
        if not config.url:
            raise ConfigError("dicomweb.url is empty: name the PACS's DICOMweb service; see docs/dicomweb.md")
        self.config = config
        self._limits = limits
        self._may_send = may_send
        self._server = Server(config)
        self._finder = Finder(self._server)

    @contextmanager
    def connected(self, to_store: Sequence[Path] = ()) -> Iterator[None]:
        """Share connections among the calls of this thread."""
        with self._server.connected():
            yield

    def probe(self) -> int:
        """How many studies came where one was asked for; raises as the port says."""
        return self._finder.probe()

    def echo(self) -> None:
        """A QIDO-RS of one study."""
        self.probe()

    def refused_services(self, *, pdf: bool = False, retrieve: bool = True, store: bool = True) -> list[str]:
        """Nothing: what a server takes by STOW-RS, it says when something is sent."""
        return []

    def find_studies(self, start: datetime, end: datetime, modality: str = "CT") -> list[StudyRecord]:
        """Studies with ``start <= study date and time < end``, oldest first."""
        with self.connected():
            return self._finder.studies(start, end, modality)

    def find_study(self, study_uid: str) -> list[StudyRecord]:
        """A study as the PACS lists it now; see `gtr_batch.ports.ImageArchive.find_study`."""
        with self.connected():
            return self._finder.study(study_uid)

    def find_accession(self, accession_number: str) -> list[StudyRecord]:
        """The studies of an accession number; see `gtr_batch.ports.ImageArchive.find_accession`."""
        with self.connected():
            return self._finder.accession(AccessionNumber(accession_number))

    def find_series(self, study_uid: str) -> list[SeriesRecord]:
        """All series of a study, by series number."""
        with self.connected():
            return series_records(study_uid, self._finder.series(study_uid))

    def find_instances(self, study_uid: str, series_uid: str) -> list[InstanceRecord]:
        """All instances of a series, by instance number."""
        with self.connected():
            return instance_records(self._finder.instances(study_uid, series_uid))

    def retrieve(
        self,
        study_uid: str,
        series_uid: str,
        expected: Sequence[str],
        folder: Path,
        progress: Progress | None = None,
        *,
        identity: SeriesIdentity | None = None,
    ) -> list[Path]:
        """Fetch the expected instances of a series; see `gtr_batch.ports.ImageArchive.retrieve`."""
        request = Request(study_uid, series_uid, expected, folder, progress, identity)
        fetch = SeriesFetch(self._server, self._limits, request)
        with self.connected():
            return fetch.run(lambda: self._listed(study_uid, series_uid))

    def store(self, files: Sequence[Path], note: Callable[[StoreReceipt], None] | None = None) -> list[StoreReceipt]:
        """STOW-RS; see `gtr_batch.dicomweb.store.store`."""
        return store(self._server, files, note, self._may_send)

    def commit(self, objects: Sequence[tuple[str, str]], timeout_s: float) -> Commitment:
        """DICOMweb has no storage commitment: what was sent is read back (`present`)."""
        return Commitment(offered=False)

    def present(
        self, study_uid: str, series_uid: str, sop_uids: Sequence[str], identity: SeriesIdentity | None = None
    ) -> frozenset[str]:
        """Which of these instances QIDO-RS lists and WADO-RS shows with the header that they must have."""
        whose = attrs.evolve(identity or SeriesIdentity(study_uid), study_uid=study_uid, series_uid=series_uid)
        with self.connected():
            listed = self._listed(study_uid, series_uid)
            wanted = [uid for uid in dict.fromkeys(sop_uids) if uid in listed]
            return frozenset(uid for uid in wanted if self._shows(whose, uid))

    def _shows(self, whose: SeriesIdentity, sop_uid: str) -> bool:
        """Whether WADO-RS shows an instance that QIDO-RS lists."""
        header = self._finder.header(whose.study_uid, whose.series_uid, sop_uid, KEYWORDS)
        if header is None:
            log.warning("pacs.read_back.listed_and_not_shown", sop_instance_uid=sop_uid)
            return False
        found = identity_of(header)
        differs = [*whose.differences(found), *(["SOPInstanceUID"] if found.sop_instance_uid != sop_uid else [])]
        if differs:
            raise mismatch(
                f"instance {sop_uid} is kept by {self._server.peer} with another {' and '.join(differs)} than it was "
                "sent with; the PACS's administrator must say whose it is",
                differs,
            )
        return True

    def _listed(self, study_uid: str, series_uid: str) -> frozenset[str]:
        return frozenset(text(ds, "SOPInstanceUID") for ds in self._finder.instances(study_uid, series_uid))
