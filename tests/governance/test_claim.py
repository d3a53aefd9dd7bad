"""The checklist of CLAIM 2024: what it says is reported is there, and what is not there it calls not reported."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import attrs
import pytest

from gtr_batch.domain.clinical import Characteristics
from gtr_batch.domain.external import ExternalEvaluation, ExternalEvaluations
from gtr_batch.domain.model_json import to_json
from gtr_batch.errors import InputRefused
from gtr_batch.governance.card import claim_checklist, write_card
from gtr_batch.governance.claim import ClaimAnswer, ModelDocuments, anchors_of, checklist
from gtr_batch.governance.claim_items import CARD, ITEMS, MANIFEST, REPORT
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.metrics.table_one import table_one
from gtr_batch.stage import load_artefact, write_artefact
from tests.governance.test_card import a_gate
from tests.training_reports import full_report

REPOSITORY = Path(__file__).resolve().parents[2]
NEVER = {16, 17, 18, 30, 43, 44}  # nothing here records them
NOT_OF_A_MODEL = {1, 2, 34}
OF_NOBODY = to_json(table_one({"train": [Characteristics()] * 9, "holdout": [Characteristics()] * 9}))
WRITTEN: list[ModelDocuments] = []
DATA_NUMBERS = {"headers": {"manufacturer": {"A": 1.0}}, "quality": {"slice_thickness_mm": [1.0, 5.0]}}


def an_external(version: str, champion: str) -> dict:
    """What `gtr evaluate external` keeps."""
    performance = a_gate(champion).models.candidate
    one = ExternalEvaluation(
        name="Elsewhere",
        model_version=version,
        series=5,
        staged=4,
        patients=4,
        not_staged={"slice_gap": 1},
        key_slices={"ehr": 4},
        performance=performance,
        champion="",
        gate=None,
        labels_sha256="d" * 64,
        code_version="1.0",
        evaluated="2026-03-02 10:00 UTC",
        by="Ada",
    )
    return to_json(ExternalEvaluations((one,)))


@pytest.fixture
def champion(registry, models, artefacts) -> str:
    return adopt(registry, models, artefacts["old"], by="Ada", why="it stages since May")


@pytest.fixture
def everything(registry, models, artefacts, champion, tmp_path) -> str:
    """A version of which all is known that the service can know."""
    found = load_artefact(artefacts["new"])
    said = attrs.evolve(found.manifest, name="all", intended_use="For a test.", reference=DATA_NUMBERS)
    write_artefact(tmp_path / "all", found.network, said)
    version = register_artefact(registry, models, tmp_path / "all", by="Ada", why="a test")
    registry.attach(version, "training_report", full_report(), by="Ada")
    registry.attach(version, "gate", to_json(a_gate(champion)), by="Ada")
    registry.attach(version, "external", an_external(version, champion), by="Ada")
    return version


@pytest.fixture
def documents(request) -> ModelDocuments:
    """Its pages as they were written, once for all tests."""
    if not WRITTEN:
        registry, models, version = map(request.getfixturevalue, ("registry", "models", "everything"))
        folder = write_card(registry, models, version, by="Ada").parent
        pages = ((folder / name).read_text() for name in (CARD, REPORT))
        WRITTEN.append(ModelDocuments(*pages, registry.model(version).manifest))
    return WRITTEN[0]


def answers(documents: ModelDocuments) -> dict[int, ClaimAnswer]:
    return {line.number: line.answer for line in checklist("v", "n", documents).lines}


def reported(documents: ModelDocuments) -> set[int]:
    return {number for number, answer in answers(documents).items() if answer is ClaimAnswer.REPORTED}


def element(page: str, anchor: str) -> tuple[int, int]:
    """Where the one element with this id begins and ends."""
    (start,) = re.finditer(rf'<(\w+)[^>]*\bid="{re.escape(anchor)}"', page)
    depth = 0
    for tag in re.finditer(rf"</?{start[1]}\b[^>]*>", page[start.start() :]):
        depth += -1 if tag[0].startswith("</") else 1
        if depth == 0:
            return start.start(), start.start() + tag.end()
    raise AssertionError(anchor)


def without(documents: ModelDocuments, document: str, anchor: str) -> ModelDocuments:
    """The same, but that the element of this id is cut out of the page."""
    field = {CARD: "card", REPORT: "report"}[document]
    page = getattr(documents, field)
    start, end = element(page, anchor)
    return attrs.evolve(documents, **{field: page[:start] + page[end:]})


def test_the_items_are_the_44_of_claim_2024_in_their_order():
    assert [item.number for item in ITEMS] == list(range(1, 45))
    sections = list(dict.fromkeys(item.section for item in ITEMS))
    assert [s.split(":")[0] for s in sections].count("Methods") == 8
    assert len({item.topic for item in ITEMS}) == 44
    assert [item.number for item in ITEMS if item.not_applicable] == sorted(NOT_OF_A_MODEL)
    assert {item.number for item in ITEMS if not (item.needs or item.one_of or item.not_applicable)} == NEVER
    assert all(item.note for item in ITEMS if item.number in NEVER)


def test_of_a_model_of_which_everything_is_known_all_is_reported_that_the_service_records(documents):
    assert reported(documents) == set(range(1, 45)) - NEVER - NOT_OF_A_MODEL


def test_of_an_imported_model_only_what_its_artefact_says_is_reported(registry, models, versions):
    folder = write_card(registry, models, versions["new"], by="Ada").parent

    found = json.loads((folder / "claim.json").read_text())

    said = {line["number"] for line in found["lines"] if line["answer"] == "reported"}
    assert said == {9, 22, 27, 40}  # preprocessing, network, vote, limits: its manifest has no intended use
    assert found["counts"] == {"reported": 4, "not reported": 37, "not applicable": 3}
    missing = {line["number"]: line["missing"] for line in found["lines"]}
    assert missing[36] == ["model card: table 1"]
    assert missing[28] == ["model card: holdout metrics or training report: validation"]
    assert not (folder / REPORT).exists()


def test_every_evidence_is_an_element_a_number_or_a_heading_that_is_there(documents):
    pages = {CARD: documents.card, REPORT: documents.report}
    lost = []
    for line in checklist("v", "n", documents).lines:
        for one in line.where:
            if one.document in pages:
                start, end = element(pages[one.document], one.at)  # one, not two
                shown = re.sub(r"<[^>]+>", "", pages[one.document][start:end]).strip()
                there = bool(shown or "<svg" in pages[one.document][start:end])
                there &= one.link == f"{one.document}#{one.at}"
            elif one.document == MANIFEST:
                value = documents.manifest
                for name in one.at.split("."):
                    value = value[name]
                there = value is not None
            else:
                text = (REPOSITORY / one.document).read_text(encoding="utf-8")
                there = one.at in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            lost += [] if there else [(line.number, one)]

    assert lost == []


def test_every_place_that_an_item_names_is_found_on_a_model_of_which_everything_is_known(documents):
    places = {place for item in ITEMS for place in (*item.needs, *item.one_of, *item.also)}

    unknown = [place for place in places if documents.find(place) is None]

    assert [place for place in unknown if place.at != "nomogram.distribution"] == []


def test_what_is_cut_out_of_a_page_is_not_reported_and_nothing_else_changes(documents):
    before = reported(documents)
    wrong = {}
    needed = {place for item in ITEMS for place in item.needs if place.document in (CARD, REPORT)}
    for place in needed:
        after = reported(without(documents, place.document, place.at))
        expected = before - {item.number for item in ITEMS if place in item.needs}
        inside = expected - after  # of elements inside the one that was cut
        if after != expected:
            wrong[place] = (sorted(inside), sorted(after - expected))

    assert needed
    assert wrong == {}


def test_of_two_places_one_of_which_is_needed_each_does_and_neither_does_not(documents):
    one = without(documents, CARD, "subgroups")
    neither = without(one, REPORT, "risk-coverage")

    assert 39 in reported(one)
    assert 39 in reported(without(documents, REPORT, "risk-coverage"))
    assert 39 not in reported(neither)


def test_an_element_that_says_nothing_is_no_evidence(documents):
    start, end = element(documents.card, "table-1")
    emptied = (
        documents.card[:start] + '<table id="table-1"><tr><td>–</td><td> </td></tr></table>' + documents.card[end:]
    )

    assert 36 in reported(documents)
    assert 36 not in reported(attrs.evolve(documents, card=emptied))


def test_a_number_that_the_manifest_lacks_is_not_reported(documents):
    manifest = {**documents.manifest, "reference": {**DATA_NUMBERS, "quality": {}}}
    lines = checklist("v", "n", attrs.evolve(documents, manifest=manifest)).lines

    (line,) = [line for line in lines if line.number == 13]
    assert line.answer is ClaimAnswer.NOT_REPORTED
    assert line.missing == ("manifest: reference.quality",)
    assert [one.at for one in line.where] == ["reference.headers"]


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"cohort": {**full_report()["cohort"], "table_1": {}}}, {12, 36}),
        ({"cohort": {**full_report()["cohort"], "table_1": OF_NOBODY}}, {12, 36}),
        ({"heat": {**full_report()["heat"], "dice": {"all": {"n": 0, "mean": None, "sd": None}}}}, {31}),
        ({"fitted_on": {}}, {26}),
    ],
    ids=["cohort of before Table 1", "nothing known of anybody", "no outlined lesion", "nobody was fitted on"],
)
def test_what_the_training_did_not_record_is_not_reported(registry, models, everything, documents, changes, lost):
    registry.attach(everything, "training_report", full_report(**changes), by="Ada")

    found = claim_checklist(registry, everything)

    said = {line.number for line in found.lines if line.answer is ClaimAnswer.REPORTED}
    assert reported(documents) - said == lost


def test_a_training_report_of_an_earlier_version_is_no_evidence_and_stops_nothing(registry, models, everything):
    folder = write_card(registry, models, everything, by="Ada").parent
    before = (folder / REPORT).exists()
    earlier = {key: value for key, value in full_report().items() if key != "conformal"}
    registry.attach(everything, "training_report", earlier, by="Ada")

    write_card(registry, models, everything, by="Ada")

    assert before
    assert not (folder / REPORT).exists()
    assert "report.html" not in (folder / CARD).read_text()
    assert "report.html" not in (folder / "claim.html").read_text()


def test_the_headings_of_the_card_name_the_items_whose_evidence_stands_below_them(documents):
    card = documents.card
    heads = [(m.start(), m[1].strip(), m[2]) for m in re.finditer(r"<h2>(.*?)<small>(.*?)</small></h2>", card)]
    below: dict[str, set[int]] = {title: set() for _, title, _ in heads}
    for line in checklist("v", "n", documents).lines:
        for one in line.where:
            if one.document == CARD:
                start, _ = element(card, one.at)
                below[[title for at, title, _ in heads if at < start][-1]].add(line.number)

    named = {title: numbers(re.sub(r";? ?TRIPOD.*", "", small)) for _, title, small in heads}

    assert named == below


def numbers(text: str) -> set[int]:
    """Of ``CLAIM 5 to 8, 11``."""
    found: set[int] = set()
    for low, high in re.findall(r"(\d+)(?: to (\d+))?", text):
        found |= set(range(int(low), int(high or low) + 1))
    return found


def test_page_json_and_csv_hold_the_same_answers_and_their_links_lead_somewhere(registry, models, everything):
    folder = write_card(registry, models, everything, by="Ada").parent

    page, found = (folder / "claim.html").read_text(), json.loads((folder / "claim.json").read_text())
    rows = list(csv.DictReader((folder / "claim.csv").read_text().splitlines()))

    answered = [(line["number"], line["answer"]) for line in found["lines"]]
    assert [(int(row["number"]), row["answer"]) for row in rows] == answered
    shown = re.findall(r'<tr id="item-(\d+)">.*?<span class="badge [\w-]+">([^<]+)</span>', page, re.DOTALL)
    assert [(int(number), answer) for number, answer in shown] == answered
    links = re.findall(r'href="([^"]+)"', page)
    assert links
    for document, _, anchor in (link.partition("#") for link in links):
        assert not anchor or anchor in anchors_of((folder / document).read_text())


def test_what_a_model_says_of_itself_cannot_write_into_the_checklist(registry, models, artefacts, tmp_path):
    found = load_artefact(artefacts["new"])
    write_artefact(tmp_path / "loud", found.network, attrs.evolve(found.manifest, name="<script>alert(1)</script>"))
    version = register_artefact(registry, models, tmp_path / "loud", by="Ada", why="a test")

    folder = write_card(registry, models, version, by="Ada").parent

    assert "<script" not in (folder / "claim.html").read_text()


def test_there_is_no_checklist_of_an_unknown_model(registry):
    with pytest.raises(InputRefused, match="not registered"):
        claim_checklist(registry, "f" * 64)


@pytest.mark.parametrize(
    ("page", "found"),
    [
        ('<h2>A <small>CLAIM 1</small></h2><p id="x">text</p>', {"x": "A"}),
        ('<h2>A</h2><p id="x"></p><p id="y"> – </p><p id="z"><br></p>', {}),
        ('<h1>A</h1><div id="x"><svg id="own"><path id="p"/></svg></div>', {"x": "A"}),
        ('<h2>A</h2><div id="x"><h3>B</h3><p id="y">text</p></div>', {"x": "A", "y": "B"}),
        ('<h2>A</h2><div id="x"><h3>B</h3></div><table id="y"><tr><th>n</th></tr></table>', {}),
        ('<h2>A</h2><p id="x">text<h2>B</h2>', {}),  # never closed
        ('<style>#x { }</style><p id="x"><style>p {}</style></p>', {}),
    ],
)
def test_an_anchor_is_an_element_with_an_id_and_something_in_it(page, found):
    assert anchors_of(page) == found
