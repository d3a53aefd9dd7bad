"""A PACS that is asked by one protocol and sent to by another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from attrs import frozen

from gtr_batch.domain.delivery import Commitment, StoreReceipt
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.series import InstanceRecord, SeriesRecord, StudyRecord
from gtr_batch.ports import ImageArchive, Progress


@frozen
class Directions:
    """Port `ImageArchive`: found and fetched through `incoming`; stored, committed and read back through `outgoing`."""

    incoming: ImageArchive
    outgoing: ImageArchive

    @contextmanager
    def connected(self, to_store: Sequence[Path] = ()) -> Iterator[None]:
        """Both share what they connect by; a block that stores asks too."""
        with ExitStack() as stack:
            stack.enter_context(self.incoming.connected())
            stack.enter_context(self.outgoing.connected(to_store))
            yield

    def echo(self) -> None:
        """Both answer."""
        self.incoming.echo()
        self.outgoing.echo()

    def refused_services(self, *, pdf: bool = False, retrieve: bool = True, store: bool = True) -> list[str]:
        """What is refused in the direction in which it is needed."""
        refused = self.incoming.refused_services(pdf=pdf, store=False) if retrieve else []
        return refused + (self.outgoing.refused_services(pdf=pdf, retrieve=False) if store else [])

    def find_studies(self, start: datetime, end: datetime, modality: str = "CT") -> list[StudyRecord]:
        """As the port says."""
        return self.incoming.find_studies(start, end, modality)

    def find_study(self, study_uid: str) -> list[StudyRecord]:
        """As the port says."""
        return self.incoming.find_study(study_uid)

    def find_accession(self, accession_number: str) -> list[StudyRecord]:
        """As the port says."""
        return self.incoming.find_accession(accession_number)

    def find_series(self, study_uid: str) -> list[SeriesRecord]:
        """As the port says."""
        return self.incoming.find_series(study_uid)

    def find_instances(self, study_uid: str, series_uid: str) -> list[InstanceRecord]:
        """As the port says."""
        return self.incoming.find_instances(study_uid, series_uid)

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
        """As the port says."""
        return self.incoming.retrieve(study_uid, series_uid, expected, folder, progress, identity=identity)

    def store(self, files: Sequence[Path], note: Callable[[StoreReceipt], None] | None = None) -> list[StoreReceipt]:
        """As the port says."""
        return self.outgoing.store(files, note)

    def commit(self, objects: Sequence[tuple[str, str]], timeout_s: float) -> Commitment:
        """As the port says."""
        return self.outgoing.commit(objects, timeout_s)

    def present(
        self, study_uid: str, series_uid: str, sop_uids: Sequence[str], identity: SeriesIdentity | None = None
    ) -> frozenset[str]:
        """As the port says."""
        return self.outgoing.present(study_uid, series_uid, sop_uids, identity)
