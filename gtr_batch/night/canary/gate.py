"""No patient is staged where the canary was not: run it, and ask before a step whether it passed here.

`canary` is the night's first task on the machine that stages. A step that stages on another machine, or a replay, or a
single study on request finds no canary of its own there, and runs it first. Whatever fails anywhere stops all of them
until a canary passes: a person has looked by then.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

from gtr_batch.domain.canary import CanaryEvent, CanaryOutcome, Deviation, deviations
from gtr_batch.errors import (
    CanaryFailed,
    ConfigError,
    DatabaseBusy,
    GovernanceRefused,
    ModelArtefactError,
    ServiceStopped,
    TransientError,
    fault_of,
)
from gtr_batch.logs import get_logger
from gtr_batch.night.canary.file import CANARY, StoredCanary, read_canary
from gtr_batch.night.site import Site
from gtr_batch.ports import CanaryBook

COUNTS_FOR = timedelta(hours=12)  # a canary that passed; a night, and no update of the machine on the next day
_NOT_THE_CANARYS = (TransientError, ServiceStopped, ConfigError, GovernanceRefused, DatabaseBusy)
_WAY = (
    "No patient is staged. Find what changed on this machine (driver, library, card, files; docs/operations.md), then "
    "run the night again; where the change is meant and was judged, `gtr model canary VERSION --record`"
)


def canary(site: Site, night: date) -> CanaryEvent | None:
    """Stage the canary of the night's model on this machine, now; None where the site keeps no canaries.

    Raises
    ------
    CanaryFailed
        The series did not come through the path, or its answer is not the recorded one; names the quantities and the
        numbers. Operations are told.
    TransientError
        This machine could not try (memory, disk, database); nothing is staged until it could.
    """
    site.check_running()
    return None if site.canaries is None else run(site, site.canaries, site.model_of(night), night)


def require(site: Site, night: date | None, version: str) -> None:
    """Ask before patients are staged here; runs the canary where this machine has not shown one lately.

    Raises
    ------
    CanaryFailed
        It failed here or elsewhere.
    """
    if site.canaries is None:
        return
    lately = check(site, version)
    if not any(event.host == socket.gethostname() for event in lately):
        run(site, site.canaries, version, night)


def check(site: Site, version: str) -> Sequence[CanaryEvent]:
    """Ask whether the model's canary failed on any machine and none passed after; runs nothing.

    Returns
    -------
    sequence of CanaryEvent
        The newest of each machine that counts, newest first.

    Raises
    ------
    CanaryFailed
        The newest of all, or the newest of this machine, failed.
    """
    if site.canaries is None:
        return ()
    lately = site.canaries.newest(version, site.clock.now() - COUNTS_FOR)
    for event in (*lately[:1], *(one for one in lately if one.host == socket.gethostname())):
        if event.outcome is CanaryOutcome.FAILED:
            raise CanaryFailed(f"{event.sentence} ({event.at:%Y-%m-%d %H:%M} UTC). {_WAY}")
    return lately


def run(site: Site, book: CanaryBook, version: str, night: date | None) -> CanaryEvent:
    """Stage a model's canary and keep what came of it; raises as `canary`."""
    started = time.perf_counter()
    folder = site.folder_of(version)
    device, sha256, found = "", "", []
    try:
        stored = _stored(folder, version, book.expected(version))
        sha256 = stored.sha256 if stored else ""
        artefact = site.artefact_by(version)
        device = artefact.device
        if stored is not None:
            found = _staged(site, artefact, stored)
        outcome, said = _judged(stored, found)
    except ModelArtefactError as err:
        outcome, said = CanaryOutcome.FAILED, str(err)
    except _NOT_THE_CANARYS:
        raise
    except Exception as err:  # noqa: BLE001 - whatever a broken machine raises: no patient is staged on it
        outcome, said = CanaryOutcome.FAILED, fault_of(err)
    seconds, host = round(time.perf_counter() - started, 1), socket.gethostname()
    where = f"canary of model {version[:12]} on {host}" + (f" ({device})" if device else "")
    event = CanaryEvent(version, outcome, f"{where}: {said}", host, device, seconds, sha256, night, found)
    book.note(event)
    log = get_logger("canary")
    fields = {"model_version": version, "host": host, "device": device, "seconds": seconds}
    if outcome is CanaryOutcome.FAILED:
        log.error("canary.failed", reason=said, **fields)
        site.alert("canary failed", f"{event.sentence}. {_WAY}")
        raise CanaryFailed(f"{event.sentence}. {_WAY}")
    (log.info if outcome is CanaryOutcome.PASSED else log.warning)(f"canary.{outcome}", **fields)
    return event


def _stored(folder: Path, version: str, expected: str | None) -> StoredCanary | None:
    """The model's canary; None where it never had one."""
    stored = read_canary(folder)
    if stored is None:
        if expected is None:
            return None
        raise ModelArtefactError(f"{folder}: {CANARY} is gone; this model had one")
    if expected not in (None, stored.sha256):
        raise ModelArtefactError(
            f"{folder}: {CANARY} has SHA-256 {stored.sha256[:12]}…, kept was {str(expected)[:12]}…: changed since"
        )
    if stored.answer.model_version != version:
        raise ModelArtefactError(f"{folder}: {CANARY} is of model {stored.answer.model_version[:12]}")
    return stored


def _staged(site: Site, artefact: object, stored: StoredCanary) -> list[Deviation]:
    from gtr_batch.night.canary.path import CanaryBroke, answer_of

    try:
        answer = answer_of(artefact, stored.series, site.config.stage, site.switch)  # type: ignore[arg-type]
    except CanaryBroke as err:
        raise ModelArtefactError(str(err)) from err
    return deviations(stored.answer, answer)


def _judged(stored: StoredCanary | None, found: Sequence[Deviation]) -> tuple[CanaryOutcome, str]:
    if stored is None:
        return CanaryOutcome.ABSENT, "no canary: made before models had one; `gtr model canary VERSION --record`"
    beyond = [one.sentence for one in found if one.is_beyond]
    if not beyond:
        return CanaryOutcome.PASSED, f"the recorded answer in all of {len(found)} quantities"
    return (
        CanaryOutcome.FAILED,
        f"its own phantom series came through preprocess, stage, explain, nomogram and report with another answer than "
        f"the recorded one: {'; '.join(beyond)}",
    )
