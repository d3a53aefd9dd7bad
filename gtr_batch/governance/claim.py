"""The checklist of CLAIM 2024 for one model version, made of what its card, training report and manifest really hold.

Nothing is answered from memory: the pages are parsed as they were rendered, and an item is reported only where the
elements that answer it are there and say something. What a page no longer shows is not reported from then on.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from html.parser import HTMLParser
from typing import Any

from attrs import define, field, frozen

from gtr_batch.governance.claim_items import CARD, ITEMS, MANIFEST, REPORT, ClaimItem, Place

GUIDELINE = "CLAIM 2024 Update (Tejani et al., Radiol Artif Intell 2024;6(4):e240300)"
LISTED, LONGEST = 4, 40  # values of the manifest that are shown, and characters of each
_HEADINGS = ("h1", "h2", "h3")
_EMPTY = " \n\t–-.,;:"  # a cell of a number that is not known
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_TITLES = {CARD: "model card", REPORT: "training report", MANIFEST: "manifest"}


class ClaimAnswer(StrEnum):
    """What the documents say to an item."""

    REPORTED = "reported"
    NOT_REPORTED = "not reported"
    NOT_APPLICABLE = "not applicable"


@frozen
class Evidence:
    """A place that was found: `words` name it to a reader, `link` leads there from the page beside the card."""

    document: str
    at: str
    words: str
    link: str = ""


@frozen
class ClaimLine:
    """An item and its answer; where it is not reported, `where` is what was found of it, `missing` what was not."""

    number: int
    section: str
    topic: str
    asks: str
    answer: ClaimAnswer
    where: tuple[Evidence, ...]
    missing: tuple[str, ...]
    note: str


@frozen
class Checklist:
    """All items for one model version, in their order."""

    version: str
    name: str
    guideline: str
    lines: tuple[ClaimLine, ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many items have each answer."""
        found = Counter(line.answer for line in self.lines)
        return {str(answer): found[answer] for answer in ClaimAnswer}

    def to_csv(self) -> str:
        """One item a row."""
        stream = io.StringIO()
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("number", "section", "topic", "asks", "answer", "where", "missing", "note"))
        for line in self.lines:
            where = "; ".join(f"{one.words} ({one.document}#{one.at})" for one in line.where)
            own = (line.number, line.section, line.topic, line.asks, str(line.answer))
            rows.writerow((*own, where, "; ".join(line.missing), line.note))
        return stream.getvalue()


@frozen
class ModelDocuments:
    """What there is of a model: its card, its training report (None: none is known here), and its manifest."""

    card: str = field(repr=False)
    report: str | None = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)

    def find(self, place: Place) -> Evidence | None:
        """The place, where it is there and says something; a repository's document is there for whoever asks."""
        if place.document == MANIFEST:
            value = _at(self.manifest, place.at)
            said = value not in (None, "", [], (), {})
            return Evidence(MANIFEST, place.at, f"manifest, {place.at}{_shown(value)}") if said else None
        if place.document not in (CARD, REPORT):
            return Evidence(place.document, place.at, f"{place.document}, {place.at}")
        heading = self._pages[place.document].get(place.at)
        if heading is None:
            return None
        words = f"{_TITLES[place.document]}, {heading}: {place.at.replace('-', ' ')}"
        return Evidence(place.document, place.at, words, f"{place.document}#{place.at}")

    @cached_property
    def _pages(self) -> Mapping[str, Mapping[str, str]]:
        return {CARD: anchors_of(self.card), REPORT: anchors_of(self.report or "")}


def checklist(version: str, name: str, documents: ModelDocuments) -> Checklist:
    """Answer every item from a model's documents.

    Parameters
    ----------
    version, name : str
        Of the model.
    documents : ModelDocuments
    """
    return Checklist(version, name, GUIDELINE, tuple(_line(item, documents) for item in ITEMS))


def anchors_of(page: str) -> Mapping[str, str]:
    """The elements of a page that have an id and say something, each with the heading that it stands under."""
    parser = _Anchors()
    parser.feed(page)
    parser.close()
    return parser.found


def _line(item: ClaimItem, documents: ModelDocuments) -> ClaimLine:
    own = (item.number, item.section, item.topic, item.asks)
    if item.not_applicable:
        return ClaimLine(*own, ClaimAnswer.NOT_APPLICABLE, (), (), item.not_applicable)
    needed = {place: documents.find(place) for place in item.needs}
    either = {place: documents.find(place) for place in item.one_of}
    missing = [_named(place) for place, found in needed.items() if found is None]
    if item.one_of and not any(either.values()):
        missing.append(" or ".join(map(_named, item.one_of)))
    where = tuple(found for found in (*needed.values(), *either.values()) if found)
    if missing or not where:
        return ClaimLine(*own, ClaimAnswer.NOT_REPORTED, where, tuple(missing), item.note if not missing else "")
    further = tuple(found for place in item.also if (found := documents.find(place)))
    return ClaimLine(*own, ClaimAnswer.REPORTED, where + further, (), item.note)


def _named(place: Place) -> str:
    return f"{_TITLES[place.document]}: {place.at.replace('-', ' ')}"


def _shown(value: Any) -> str:
    """A value of the manifest after its name, where it is short; text of an artefact is cut."""
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) > LISTED or not all(isinstance(one, str | int | float) for one in values):
        return ""
    return ": " + ", ".join(f"{one:.3g}" if isinstance(one, float) else str(one)[:LONGEST] for one in values)


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


@define
class _Open:
    tag: str
    anchor: str | None
    under: str
    says: bool = False


class _Anchors(HTMLParser):
    """Ids of elements with text or a figure in them; headings say nothing, and what stands in a figure is its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._open: list[_Open] = []
        self._heading = ""
        self._parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            return
        inside = tag == "svg" or self._within("svg")
        self._open.append(_Open(tag, None if inside else dict(attrs).get("id"), self._heading))
        if tag in _HEADINGS:
            self._parts = []
        if tag == "svg":
            self._mark()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Nothing: an element that closes itself says nothing."""

    def handle_data(self, data: str) -> None:
        if not data.strip(_EMPTY) or self._within("svg", "style", "title"):
            return
        if self._within(*_HEADINGS):
            self._parts += [] if self._within("small") else [data.strip()]
        elif not self._within("th"):
            self._mark()

    def handle_endtag(self, tag: str) -> None:
        if not self._within(tag):
            return
        closed = None
        while closed is None or closed.tag != tag:  # what was left open inside ends here too
            closed = self._open.pop()
            if closed.anchor and closed.says:
                self.found.setdefault(closed.anchor, closed.under)
        if tag in _HEADINGS:
            self._heading = " ".join(self._parts)

    def _within(self, *tags: str) -> bool:
        return any(one.tag in tags for one in self._open)

    def _mark(self) -> None:
        for one in self._open:
            one.says = True
