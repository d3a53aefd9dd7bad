"""Retrieve a series: what C-FIND promised, no less; by C-GET here, by C-MOVE in `move`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as GET

from gtr_batch.config import PacsConfig
from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.errors import ConfigError, GtrError, PermanentError, RetrieveIncomplete, TransientError
from gtr_batch.expected_instances import check_count
from gtr_batch.logs import get_logger
from gtr_batch.pacs.arrivals import Arrivals
from gtr_batch.pacs.association import OpenAssociation, refusal
from gtr_batch.pacs.contexts import STORAGE_CLASSES, retrieve_contexts
from gtr_batch.pacs.find import Capped, find_instances, image_identifiers, series_identifier
from gtr_batch.pacs.session import Need, Sessions
from gtr_batch.ports import Progress

log = get_logger("pacs")

BATCH = 50  # SOP Instance UIDs in one IMAGE level request: 50 x 64 characters, well below any limit met
ONE_BY_ONE = 50  # instances asked for singly at the end; more missing than this is no accident of single instances
FEW = 5  # asked for singly at once, as intake's probes are: works with every PACS and costs no more
PAUSE_S = 0.3  # before asking again; retries in minutes belong to Airflow


class SeriesRequest:
    """One series to fetch, and the rounds in which it is asked for.

    First the whole series (where the wanted instances are all of it, and none is there), then what is missing in
    batches, then singly, twice: some PACS do not know list of UID matching, some fail a sub-operation and say Success.
    """

    def __init__(
        self,
        study_uid: str,
        series_uid: str,
        expected: Sequence[str],
        folder: Path,
        *,
        config: PacsConfig,
        progress: Progress | None = None,
        identity: SeriesIdentity | None = None,
    ) -> None:
        self.study_uid, self.series_uid = Uid(study_uid), Uid(series_uid)
        uids = [Uid(uid) for uid in expected]
        check_count(len(uids), config.max_instances)
        whose = identity or SeriesIdentity(self.study_uid)
        whose = attrs.evolve(whose, study_uid=self.study_uid, series_uid=self.series_uid)
        self.arrivals = Arrivals(uids, folder, config.max_instances, progress, whose)
        self.last_status = 0x0000
        self._refusal: GtrError | None = None
        self._order = list(dict.fromkeys(uids))

    @property
    def paths(self) -> list[Path]:
        """The files, in the order that was asked for."""
        return [self.arrivals.path(uid) for uid in self._order]

    def identifiers(self, line: OpenAssociation) -> Iterator[Dataset]:
        """Identifiers to send, one after another, as long as something is missing."""
        asked_in_lists = False
        if len(self.arrivals.missing) < len(self._order):  # what is there already is not to come again
            asked_in_lists = True
            yield from self._in_lists(line)
        missing = self.arrivals.missing
        listed = self._listed(line) if len(missing) > FEW else frozenset()
        if listed and listed <= set(self._order) and (len(missing) == len(self._order) or len(missing) > ONE_BY_ONE):
            asked_in_lists = False
            yield series_identifier(self.study_uid, self.series_uid)
            self._pause()
        if not asked_in_lists:
            yield from self._in_lists(line)
        missing = self.arrivals.missing
        if len(missing) <= ONE_BY_ONE or not line.caller.uid_lists:
            yield from image_identifiers(self.study_uid, self.series_uid, missing, 1)
            self._pause()
            yield from image_identifiers(self.study_uid, self.series_uid, self.arrivals.missing, 1)

    def _in_lists(self, line: OpenAssociation) -> Iterator[Dataset]:
        """What is missing, many at once; nothing of it where it is few, or the PACS is known to take no lists."""
        missing = self.arrivals.missing
        if len(missing) > FEW and line.caller.uid_lists:
            for identifier in image_identifiers(self.study_uid, self.series_uid, missing, BATCH):
                yield identifier
                if _refused(self.last_status):
                    line.caller.uid_lists = False  # this PACS does not know them: do not ask it that way again
                    break
            self._pause()

    def answered(self, line: OpenAssociation, identifier: Dataset, status: int, tried: str) -> None:
        """Judge the final status of one request; completeness is judged elsewhere, by UID."""
        self.last_status = status
        self.arrivals.settle()
        if self.arrivals.error is not None:
            raise self.arrivals.error
        if _refused(status):
            self._refusal = refusal(tried, line.peer, status)
            if isinstance(self._refusal, PermanentError) and "SOPInstanceUID" not in identifier:
                raise self._refusal

    def _pause(self) -> None:
        if missing := self.arrivals.missing:
            log.info("pacs.retrieve.asking_again", series_uid=self.series_uid, missing=len(missing))
            time.sleep(PAUSE_S)

    def finish(self, peer: str, service: str) -> list[Path]:
        """The files, or the error that says what is missing."""
        self.arrivals.keep()
        missing = self.arrivals.missing
        if self.arrivals.unwanted:
            log.warning("pacs.retrieve.unwanted", series_uid=self.series_uid, instances=self.arrivals.unwanted)
        if not missing:
            return self.paths
        tried = f"{service} of series {self.series_uid}"
        said = (
            f"{len(missing)} of {len(self._order)} promised instances did not arrive ({', '.join(missing[:3])}"
            f"{', …' if len(missing) > 3 else ''})"
        )
        if self._refusal is not None and len(missing) == len(self._order):
            raise type(self._refusal)(f"{self._refusal}; {said}")
        raise RetrieveIncomplete(
            f"{tried} from {peer}: {said}; last status 0x{self.last_status:04X}; tried again later"
        )

    def _listed(self, line: OpenAssociation) -> frozenset[str]:
        """What the PACS lists of this series; nothing where it cannot be asked here.

        An answer given on this very association just before is not asked for again: an instance that came since is not
        expected, and dropped.
        """
        known = line.listed.pop((self.study_uid, self.series_uid), None)
        if known is not None:
            return known
        if not line.accepted(FIND):
            return frozenset()
        try:
            return frozenset(r.sop_instance_uid for r in find_instances(line, self.study_uid, self.series_uid))
        except Capped:
            return frozenset()


def _refused(status: int) -> bool:
    return status != 0x0000 and status & 0xF000 != 0xB000


def get_need(max_bytes: int) -> Need:
    """What C-GET, and the questions before it, need of an association."""
    contexts = [build_context(GET), build_context(FIND), *retrieve_contexts()]
    return Need(contexts, frozenset({GET}), tuple(STORAGE_CLASSES), max_bytes)


def get(sessions: Sessions, request: SeriesRequest, need: Need, peer: str) -> list[Path]:
    """Fetch a series by C-GET: the instances come back on our own association.

    Raises
    ------
    RetrieveIncomplete, TransientError, PermanentError, CaseRejected
        As `gtr_batch.ports.ImageArchive.retrieve`.
    """
    if not request.arrivals.missing:
        return request.paths
    tried = f"C-GET of series {request.series_uid}"

    def work(line: OpenAssociation) -> None:
        line.require(GET, "C-GET (Study Root)", "set pacs.retrieve_mode to 'move', or allow C-GET in the PACS")
        if not any(cx.as_scp for cx in line.assoc.accepted_contexts):
            raise ConfigError(
                f"{line.peer} takes C-GET but refuses to send on the same association (SCP role); "
                "set pacs.retrieve_mode to 'move'"
            )
        line.assoc.bind(evt.EVT_C_STORE, request.arrivals.take)
        ask(
            line, request, lambda identifier: drive(line, line.assoc.send_c_get(identifier, GET), tried, request), tried
        )
        line.assoc.unbind(evt.EVT_C_STORE, request.arrivals.take)

    sessions.run(need, work)
    return request.finish(peer, "C-GET")


def ask(line: OpenAssociation, request: SeriesRequest, send: Callable[[Dataset], int], tried: str) -> None:
    """Send the identifiers of a request one after another; a fault after the last missing instance is none."""
    try:
        for identifier in request.identifiers(line):
            request.answered(line, identifier, send(identifier), tried)
            line.spent = line.spent or request.last_status != 0x0000
    except TransientError:
        if request.arrivals.missing:
            raise
        line.spent = True


def drive(
    line: OpenAssociation, answers: Iterator[tuple[Dataset, Dataset | None]], tried: str, request: SeriesRequest
) -> int:
    """Follow the answers to one C-GET or C-MOVE; its final status."""
    for answer, _ in answers:
        if request.arrivals.error is not None:
            raise request.arrivals.error
        status = line.status(answer, tried)
        if status not in (0xFF00, 0xFF01):
            return status
    raise request.arrivals.error or line.lost(tried)
