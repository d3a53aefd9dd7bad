"""Which model an audit judges: the one that was champion at the end of its period."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from attrs import field, frozen

from gtr_batch.audit.site import AuditSite


@frozen
class Term:
    """The model that is judged. `first`: the night from which it staged; None where it has not staged yet."""

    version: str
    manifest: Mapping[str, Any] = field(repr=False)
    state: str
    first: date | None


def term_on(site: AuditSite, last: date) -> Term:
    """The model that was champion at the end of a day; one withdrawn since, or on that day, is judged all the same.

    A model that was adopted had staged before there was a registry, and so it is the one before its adoption too. Where
    nobody was champion by then, the artefact of the settings staged.

    Raises
    ------
    ModelArtefactError
        There is no registered champion, and no artefact where the settings say.
    """
    zone = ZoneInfo(site.config.night.timezone)
    crowned = [e for e in site.registry.champion_events() if e.to_state == "champion"]
    by_then = [e for e in crowned if e.at.astimezone(zone).date() <= last]
    if not by_then and not (crowned and crowned[0].action == "adopt"):
        return _of_the_settings(site, last)
    event = by_then[-1] if by_then else crowned[0]
    model = site.registry.model(event.version)
    staged = _staged_by(site, event.version, last)
    first = staged if event.action == "adopt" else event.at.astimezone(zone).date()
    return Term(event.version, model.manifest, model.state, first)


def _of_the_settings(site: AuditSite, last: date) -> Term:
    from gtr_batch.stage import read_manifest

    manifest, version = read_manifest(site.config.stage.artefact)
    return Term(version, manifest.to_json(), "not registered", _staged_by(site, version, last))


def _staged_by(site: AuditSite, version: str, last: date) -> date | None:
    first = site.source.first_night(version)
    return first if first is not None and first <= last else None
