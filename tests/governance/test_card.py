"""The model card: everything that is known, nothing that is not, nobody's name but those who decided."""

from __future__ import annotations

import json
import re

import attrs
import pytest

from gtr_batch.config import GovernanceConfig
from gtr_batch.domain.abstention import in_words
from gtr_batch.domain.calibration import stage_priors
from gtr_batch.domain.clinical import Characteristics
from gtr_batch.domain.gate import GateVerdict, Verdict
from gtr_batch.domain.governed_settings import digest_of_settings
from gtr_batch.domain.lifecycle import Approval
from gtr_batch.domain.model_json import to_json
from gtr_batch.errors import InputRefused
from gtr_batch.governance.card import write_card
from gtr_batch.governance.criteria import Paired
from gtr_batch.governance.evaluation import curves
from gtr_batch.governance.gate import judge
from gtr_batch.governance.promotion import promote
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.metrics.table_one import table_one
from gtr_batch.stage import load_artefact, write_artefact
from tests.unit.governance.test_gate import EASY, paired

HEADINGS = [
    "Intended use and limits",
    "Data",
    "Model and preprocessing",
    "Training",
    "Performance on the sealed holdout",
    "External cohorts",
    "Subgroups",
    "Rad-score and nomogram",
    "The gate",
    "Decisions",
]
COUNTS = {"T1": 3, "T2": 4, "T3": 5, "T4": 6}
TRAINING = {
    "cohort": {
        "digest": "c" * 64,
        "flow": {"operated": 31, "included": 25, "ypt": 4, "not_reported": 2},
        "holdout": COUNTS,
    },
    "stages": {"train": COUNTS, "validation": COUNTS},
    "epochs": [
        {
            "lesson": 0,
            "number": n,
            "seconds": 2.0,
            "train_loss": 1 / n,
            "validation_loss": 1 / n,
            "validation_accuracy": 0.5,
        }
        for n in (1, 2, 3)
    ],
    "settings": {
        "backbone": "resnet10",
        "start": "champion",
        "recipe": "paper",
        "learning_rate": 3e-4,
        "batch": 16,
        "seed": 7,
    },
    "heat": {"dice": {"all": {"mean": 0.2, "n": 9, "sd": 0.1}}, "outside_body": {"mean": 0.1, "n": 9, "sd": 0.1}},
    "locator": {"n": 3, "near": None, "note": "too few"},
    "nomogram": {"note": "kept", "fit": None},
}


def a_gate(champion: str, patients: Paired | None = None, settings: GovernanceConfig = EASY, **changes) -> GateVerdict:
    """What `evaluate` keeps, of patients that nobody is."""
    patients = patients or paired(240, sex=["female", "male"] * 120)
    governed = {"governance.accuracy_margin": 0.05}
    found = GateVerdict(
        **attrs.asdict(judge(patients, settings, draws=100), recurse=False),
        champion=champion,
        cohort="c" * 64,
        curves=curves(patients),
        settings=governed,
        settings_digest=digest_of_settings(governed),
        judged="2026-03-02 10:00 UTC",
        by="Ada",
    )
    return attrs.evolve(found, **changes)


@pytest.fixture
def champion(registry, models, artefacts, versions) -> str:
    return adopt(registry, models, artefacts["old"], by="Ada", why="it stages since May")


def headings(page: str) -> list[str]:
    return [h.strip() for h in re.findall(r"<h2>(.*?)(?:<small>|</h2>)", page)]


def test_a_card_of_a_model_of_which_little_is_known_says_so(registry, models, versions, champion):
    page = write_card(registry, models, versions["new"], by="Ada").read_text()

    assert headings(page) == HEADINGS
    assert "there is no training report of this model here" in page
    assert "the gate has not judged this model" in page
    assert "It was not asked." in page
    assert "gate: not asked" in page


def test_a_card_says_that_the_crop_stream_moves_heat(registry, models, versions):
    """ADR 4 asks for it."""
    page = write_card(registry, models, versions["new"], by="Ada").read_text()

    assert "what the crop stream alone contributed is drawn up to twice as far from the middle as it lies" in page


def test_every_heading_names_its_item_of_claim_or_tripod(registry, models, versions):
    page = write_card(registry, models, versions["new"], by="Ada").read_text()

    assert all(re.search(r"CLAIM|TRIPOD", line) for line in page.splitlines() if line.startswith("<h2>"))


def test_a_card_shows_table_1_where_the_cohort_has_one(registry, models, versions):
    old, young = ([Characteristics(sex="female", age_years=a + k) for k in range(9)] for a in (70, 50))
    table = to_json(table_one({"train": old, "holdout": young}))
    training = {**TRAINING, "cohort": {**TRAINING["cohort"], "table_1": table}}
    registry.attach(versions["new"], "training_report", training, by="Ada")

    page = write_card(registry, models, versions["new"], by="Ada").read_text()

    assert "<th>train, n = 9</th><th>holdout, n = 9</th>" in page
    assert "<td>Age, years, mean</td><td>74.0 ± 2.7</td><td>54.0 ± 2.7</td><td>&lt; 0.001</td>" in page
    assert "Welch&#39;s t" in page


def test_a_full_card_shows_data_training_metrics_gate_and_who_approved(registry, models, versions, champion):
    version = versions["third"]
    curve = {"n": 4, "coverage": [0.5] * 10, "risk": [0.1] * 10, "aurc": 0.05, "best": 0.01}
    said = {"words": in_words(None, 0.01), "risk_coverage": curve}
    registry.attach(version, "training_report", TRAINING | {"abstention": said}, by="Ada")
    registry.attach(version, "gate", to_json(a_gate(champion, verdict=Verdict.PASS, sentence="Not worse.")), by="Ada")
    promote(registry, version, Approval(version, champion, "Eve Example", "better on T4"))

    path = write_card(registry, models, version, by="Eve Example")

    page, card = path.read_text(), json.loads((path.parent / "card.json").read_text())
    assert headings(page) == HEADINGS
    assert "31 patients operated for gastric cancer; 25 in the cohort" in page
    assert page.count("<svg") >= 4 + 1  # learning, ROC, calibration, decision curve; the nomogram
    assert "Eve Example" in page
    assert "better on T4" in page
    assert re.search(r"quadratic kappa</td><td>0\.\d{3} \(0\.\d{3} to \d\.\d{3}\)", page)
    assert re.search(r"<td>sex: female</td><td>120</td>", page)
    assert [e["action"] for e in card["history"]] == ["register", "promote"]
    assert "answers every case" in page
    assert "area under the curve 0.050" in page
    assert card["gate"]["verdict"] == "pass"
    assert card["contract"]["window_width_hu"] == 350
    assert registry.document(version, "model_card")["version"] == version


def test_a_card_gives_the_locator_s_error_in_mm_and_how_many_it_flags(registry, models, versions):
    located = {"n": 40, "near": 0.55, "near_ci": [0.4, 0.69], "median_mm": 9.0, "p90_mm": 20.1, "in_tumour": None}
    report = {**TRAINING, "locator": {**located, "flagged": 0.625, "near_unflagged": 0.87, "errors_mm": [9.0]}}
    registry.attach(versions["new"], "training_report", report, by="Ada")

    page = write_card(registry, models, versions["new"], by="Ada").read_text()

    assert "median 9 mm, 90th percentile 20 mm" in page
    assert "below its threshold of certainty" in page


def test_a_card_opens_nothing_from_outside_and_holds_no_nan(registry, models, versions, champion):
    registry.attach(versions["new"], "gate", to_json(a_gate(champion)), by="Ada")

    path = write_card(registry, models, versions["new"], by="Ada")

    page = path.read_text()
    assert not re.search(r'(?:src|href)\s*=\s*"?(?:https?:|//)', page)
    assert "<script" not in page
    json.loads((path.parent / "card.json").read_text(), parse_constant=pytest.fail)
    assert re.search(r"\bs\d+\b", page) is None  # no subject of `paired`


def test_what_a_manifest_says_of_itself_cannot_write_into_the_page(registry, models, artefacts, tmp_path):
    found = load_artefact(artefacts["new"])
    folder = tmp_path / "loud"
    write_artefact(folder, found.network, attrs.evolve(found.manifest, name="<script>alert(1)</script>"))
    version = register_artefact(registry, models, folder, by="Ada", why="<b>why</b>")

    page = write_card(registry, models, version, by="Ada").read_text()

    assert "<script>" not in page
    assert "&lt;b&gt;why&lt;/b&gt;" in page


def test_the_card_says_which_mix_the_model_is_calibrated_for_or_that_it_is_not(registry, models, artefacts, tmp_path):
    found = load_artefact(artefacts["new"])
    given = {"known": stage_priors([0.25] * 4, [30, 30, 70, 70]), "unknown": None}
    pages = {}
    for name, priors in given.items():
        write_artefact(tmp_path / name, found.network, attrs.evolve(found.manifest, name=name, priors=priors))
        version = register_artefact(registry, models, tmp_path / name, by="Ada", why="a test")
        pages[name] = write_card(registry, models, version, by="Ada").read_text()

    assert "Not calibrated here" in pages["unknown"]
    assert "Not calibrated here" not in pages["known"]
    assert "(30, 30, 70, 70 patients)" in pages["known"]


def test_a_holdout_that_could_tell_nothing_still_makes_a_card(registry, models, versions, champion):
    found = a_gate(champion, paired(8), GovernanceConfig())
    registry.attach(versions["new"], "gate", to_json(found), by="Ada")

    page = write_card(registry, models, versions["new"], by="Ada").read_text()

    assert "cannot tell" in page


def test_there_is_no_card_of_an_unknown_model(registry, models):
    with pytest.raises(InputRefused, match="not registered"):
        write_card(registry, models, "f" * 64, by="Ada")
