"""A model's canary is recorded when the model is registered, and anew when a person has judged what changed."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from gtr_batch.domain.canary import CanaryEvent, CanaryOutcome
from gtr_batch.errors import GovernanceRefused, ModelArtefactError
from gtr_batch.governance.registry import answered_for, check_registered
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.logs import get_logger
from gtr_batch.night.canary import read_canary

if TYPE_CHECKING:
    from gtr_batch.stage import Artefact


def with_canary(folder: Path, version: str) -> CanaryEvent:
    """See to it that a model's folder has a canary of its own: the one that lies there, or one recorded now on the CPU.

    Raises
    ------
    ModelArtefactError
        What lies there cannot be read or is of another model; or the model does not bring the series to a report.
    """
    found = of_folder(folder, version)
    if found is not None:
        return found
    from gtr_batch.stage import load_artefact

    return _recorded(folder, load_artefact(folder))


def of_folder(folder: Path, version: str) -> CanaryEvent | None:
    """The canary that lies in a model's folder, as registration keeps it; None where there is none. Raises as above."""
    stored = read_canary(folder)
    if stored is None:
        return None
    if stored.answer.model_version != version:
        raise ModelArtefactError(f"{folder}: the canary is of model {stored.answer.model_version[:12]}")
    said = f"canary of model {version[:12]} came with it"
    return CanaryEvent(version, CanaryOutcome.RECORDED, said, socket.gethostname(), canary_sha256=stored.sha256)


def record(gov: GovernanceSite, version: str, *, by: str, why: str) -> CanaryEvent:
    """Record a registered model's canary on this machine: from now on this answer is the one to be met.

    For a model that was made before models had a canary, or where a change of the machine was judged and is meant.

    Raises
    ------
    GovernanceRefused
        The model was withdrawn.
    ModelArtefactError
        Its files are not intact, or it does not bring the series to a report.
    """
    answered_for(by, why)
    book = gov.night.canaries
    assert book is not None  # every site with a database has one
    folder = check_registered(gov.registry, version).folder
    if gov.night.model_store.find(version) is None:
        raise GovernanceRefused(f"model {version[:12]} was withdrawn: it stages nothing any more")
    event = _recorded(folder, gov.night.artefact_by(version))
    book.record(event, by=by.strip(), why=why.strip())
    get_logger("canary").warning("canary.recorded", model_version=version, by=by.strip(), device=event.device)
    return event


def _recorded(folder: Path, artefact: Artefact) -> CanaryEvent:
    from gtr_batch.night.canary.file import write_canary
    from gtr_batch.night.canary.path import CanaryBroke, answer_of, check_recordable
    from gtr_batch.night.canary.series import draw

    started, series = time.perf_counter(), draw()
    try:
        answer = answer_of(artefact, series)
    except CanaryBroke as err:
        raise ModelArtefactError(f"{folder}: the model does not bring its canary to a report: {err}") from err
    check_recordable(artefact, answer)
    return CanaryEvent(
        artefact.version,
        CanaryOutcome.RECORDED,
        f"canary of model {artefact.version[:12]} recorded on {socket.gethostname()} ({artefact.device})",
        socket.gethostname(),
        artefact.device,
        round(time.perf_counter() - started, 1),
        write_canary(folder, series, answer),
    )
