"""Retrieve a series by C-MOVE: the PACS sends it on associations of its own to our Storage SCP."""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove as MOVE

from gtr_batch.config import PacsConfig
from gtr_batch.pacs.association import OpenAssociation
from gtr_batch.pacs.retrieve import SeriesRequest, ask, drive
from gtr_batch.pacs.scp import Listeners
from gtr_batch.pacs.session import Need, Sessions

GRACE_S = 2.0  # some PACS answer the C-MOVE before the last C-STORE is through


def move_need() -> Need:
    """What C-MOVE, and the questions before it, need of the association that asks."""
    return Need([build_context(MOVE), build_context(FIND)], frozenset({MOVE}))


def move(sessions: Sessions, listeners: Listeners, request: SeriesRequest, config: PacsConfig, peer: str) -> list[Path]:
    """Fetch a series by C-MOVE to ``pacs.move_ae_title`` at ``pacs.move_host:pacs.move_port``.

    The port is open only while this runs.

    Raises
    ------
    RetrieveIncomplete, TransientError, PermanentError, CaseRejected
        As `gtr_batch.ports.ImageArchive.retrieve`; `ConfigError` where the PACS does not know the destination.
    """
    if not request.arrivals.missing:
        return request.paths
    tried = f"C-MOVE of series {request.series_uid} to AE {config.move_ae_title!r}"
    with listeners.on(config.move_port, config.move_ae_title) as listener:

        def work(line: OpenAssociation) -> None:
            line.require(MOVE, "C-MOVE (Study Root)", "allow C-MOVE in the PACS, or set pacs.retrieve_mode to 'get'")

            def send(identifier: Dataset) -> int:
                answers = line.assoc.send_c_move(identifier, config.move_ae_title, MOVE)
                status = drive(line, answers, tried, request)
                if status == 0x0000 and request.arrivals.error is None:
                    request.arrivals.wait(_uids(identifier), GRACE_S)
                return status

            with listener.receiving(request.arrivals, line.watch.touch):
                ask(line, request, send, tried)

        sessions.run(move_need(), work)
    return request.finish(peer, "C-MOVE")


def _uids(identifier: Dataset) -> list[str]:
    """The instances that an identifier names; none of them where it names the series."""
    value = identifier.get("SOPInstanceUID")
    if value is None:
        return []
    return [str(value)] if isinstance(value, str) else [str(uid) for uid in value]
