"""The PACS as the port `gtr_batch.ports.ImageArchive`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    EncapsulatedPDFStorage,
    KeyObjectSelectionDocumentStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    Verification,
)
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from gtr_batch.config import PacsConfig
from gtr_batch.domain.delivery import Commitment, StoreReceipt
from gtr_batch.domain.identifiers import AccessionNumber, AETitle, Uid
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.series import InstanceRecord, SeriesRecord, StudyRecord
from gtr_batch.errors import PermanentError
from gtr_batch.pacs import commitment, find
from gtr_batch.pacs import retrieve as retrieval
from gtr_batch.pacs.association import Caller, OpenAssociation
from gtr_batch.pacs.contexts import store_contexts
from gtr_batch.pacs.move import move, move_need
from gtr_batch.pacs.retrieve import SeriesRequest
from gtr_batch.pacs.scp import Listeners
from gtr_batch.pacs.session import Need, Sessions
from gtr_batch.pacs.smaller_questions import instances_by_number, series_by_number
from gtr_batch.pacs.store import foreseen, store
from gtr_batch.ports import Progress
from gtr_batch.query_answers import instance_records, series_records

# The objects that a report consists of, where no page is sent too.
WRITTEN = (
    Comprehensive3DSRStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    KeyObjectSelectionDocumentStorage,
)
_FIND = Need([build_context(FIND)], frozenset({FIND}))


class Pacs:
    """A DICOM PACS. Nothing connects before a method is called.

    Each call opens and closes an association of its own, but within `connected`, where the calls of a thread share one.

    Parameters
    ----------
    config : PacsConfig
        With ``tls_ca``, TLS for the associations that we open and for those that the PACS opens to us.
    may_send : callable, optional
        Asked before every object that is stored; what it raises ends the storing, and nothing more is sent.

    Raises
    ------
    ConfigError
        An AE title that is none.
    """

    def __init__(self, config: PacsConfig, may_send: Callable[[], None] | None = None) -> None:
        for title in (config.calling_ae_title, config.move_ae_title, *config.pacs_ae_titles):
            AETitle(title)
        self.config = config
        self._caller = Caller(config)
        self._sessions = Sessions(self._caller)
        self._storing = Caller(config, to_store=True)
        self._listeners = Listeners(config)
        self._may_send = may_send

    def echo(self) -> None:
        """C-ECHO; returns where the PACS answers Success, under each AE title that we call it by."""
        self._sessions.release()
        for caller in [self._caller, self._storing] if self._stores_elsewhere() else [self._caller]:
            with caller.associate([build_context(Verification)]) as line:
                status = line.status(line.assoc.send_c_echo(), "C-ECHO")
            if status != 0x0000:
                raise PermanentError(f"C-ECHO to {caller.peer}: status 0x{status:04X}")

    def refused_services(self, *, pdf: bool = False, retrieve: bool = True, store: bool = True) -> list[str]:
        """What the PACS refuses of the services that a night needs, by name; nothing is fetched or stored."""
        refused = self._refused_retrieval() if retrieve else []
        return refused + (self._refused_storage(pdf) if store else [])

    def _refused_retrieval(self) -> list[str]:
        need = move_need() if self.config.retrieve_mode == "move" else retrieval.get_need(self.config.max_bytes)
        self._sessions.release()
        echo = build_context(Verification)  # a PACS that refuses everything else grants an association all the same
        with self._caller.associate([echo, *need.contexts], scp_roles=need.scp_roles) as line:
            return [f"C-{self.config.retrieve_mode.upper()}" for uid in need.sop_classes if not line.accepted(uid)]

    def _refused_storage(self, pdf: bool) -> list[str]:
        written = (*WRITTEN, EncapsulatedPDFStorage) if pdf else WRITTEN
        self._sessions.release()
        contexts = store_contexts((one, ExplicitVRLittleEndian) for one in written)
        with self._storing.associate([build_context(Verification), *contexts]) as line:
            return [f"C-STORE of {one.name}" for one in written if not line.accepted(one)]

    @contextmanager
    def connected(self, to_store: Sequence[Path] = ()) -> Iterator[None]:
        """Share one association among the calls of this thread; see `gtr_batch.ports.ImageArchive.connected`.

        C-FIND goes with C-STORE on one association where `to_store` says what will be stored, else with C-GET or
        C-MOVE. Storage commitment has one of its own, before which the shared one is released, and so has C-STORE where
        the PACS receives under another AE title (``store_ae_title``).
        """

        def foresee() -> Need:
            if to_store and self._stores_elsewhere():
                return _FIND
            if to_store:
                return foreseen(to_store)
            return move_need() if self.config.retrieve_mode == "move" else retrieval.get_need(self.config.max_bytes)

        with self._sessions.connected(foresee):
            yield

    def find_studies(self, start: datetime, end: datetime, modality: str = "CT") -> list[StudyRecord]:
        """Studies with ``start <= study date and time < end``, oldest first; see `gtr_batch.pacs.find.StudyQuery`."""
        self._sessions.release()
        return find.StudyQuery(self._caller, start, end, modality, self.config.answer_cap).run()

    def find_study(self, study_uid: str) -> list[StudyRecord]:
        """A study as the PACS lists it now; see `gtr_batch.ports.ImageArchive.find_study`."""
        Uid(study_uid)
        return self._sessions.run(_FIND, lambda line: find.find_study(line, study_uid))

    def find_accession(self, accession_number: str) -> list[StudyRecord]:
        """The studies of an accession number; see `gtr_batch.ports.ImageArchive.find_accession`."""
        wanted, cap = AccessionNumber(accession_number), self.config.answer_cap
        return self._sessions.run(_FIND, lambda line: find.find_accession(line, wanted, cap))

    def find_series(self, study_uid: str) -> list[SeriesRecord]:
        """All series of a study, by series number; see `gtr_batch.pacs.smaller_questions` where the PACS caps them."""
        study, tried = Uid(study_uid), f"C-FIND of the series of study {study_uid} at {self._caller.peer}"

        def ask(query: Dataset, *, part: bool = True) -> tuple[list[Dataset], bool]:
            cap = self.config.answer_cap
            return self._sessions.run(_FIND, lambda line: find.find_own(line, query, tried, cap, part=part))

        answers, capped = ask(find.series_query(study), part=False)
        if capped:
            with self.connected():
                answers = series_by_number(ask, study, answers, tried)
        return series_records(study_uid, answers)

    def find_instances(self, study_uid: str, series_uid: str) -> list[InstanceRecord]:
        """All instances of a series, by instance number; capped ones as `find_series`."""
        study, series = Uid(study_uid), Uid(series_uid)
        tried = f"C-FIND of the instances of series {series_uid} at {self._caller.peer}"
        asked: list[OpenAssociation] = []

        def ask(query: Dataset, *, part: bool = True) -> tuple[list[Dataset], bool]:
            def work(line: OpenAssociation) -> tuple[list[Dataset], bool]:
                asked.append(line)
                return find.find_own(line, query, tried, self.config.answer_cap, part=part)

            return self._sessions.run(_FIND, work)

        answers, capped = ask(find.instance_query(study, series), part=False)
        if capped:
            with self.connected():
                answers = instances_by_number(ask, study, series, answers, tried)
        records = instance_records(answers)
        asked[-1].listed = {(study_uid, series_uid): frozenset(record.sop_instance_uid for record in records)}
        return records

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
        request = SeriesRequest(
            study_uid, series_uid, expected, folder, config=self.config, progress=progress, identity=identity
        )
        if self.config.retrieve_mode == "move":
            return move(self._sessions, self._listeners, request, self.config, self._caller.peer)
        return retrieval.get(self._sessions, request, retrieval.get_need(self.config.max_bytes), self._caller.peer)

    def store(self, files: Sequence[Path], note: Callable[[StoreReceipt], None] | None = None) -> list[StoreReceipt]:
        """C-STORE; see `gtr_batch.pacs.store.store`."""
        if not self._stores_elsewhere():
            return store(self._sessions, files, note, self._may_send)
        self._sessions.release()
        return store(Sessions(self._storing), files, note, self._may_send)

    def commit(self, objects: Sequence[tuple[str, str]], timeout_s: float) -> Commitment:
        """Storage commitment; see `gtr_batch.pacs.commitment.commit`."""
        self._sessions.release()
        return commitment.commit(self._storing, self._listeners, objects, timeout_s)

    def present(
        self, study_uid: str, series_uid: str, sop_uids: Sequence[str], identity: SeriesIdentity | None = None
    ) -> frozenset[str]:
        """Which of these instances the PACS lists now; C-FIND shows no header to compare."""
        listed = {record.sop_instance_uid for record in self.find_instances(study_uid, series_uid)}
        return frozenset(uid for uid in sop_uids if uid in listed)

    def _stores_elsewhere(self) -> bool:
        """Whether the PACS receives under another AE title than it is queried by."""
        return self._storing.called != self._caller.called
