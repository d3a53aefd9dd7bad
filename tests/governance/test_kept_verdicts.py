"""What is kept of a verdict: written and read again it is the same, and what earlier versions wrote is still read."""

from __future__ import annotations

import json

import pytest

from gtr_batch.domain.gate import GateAnswer, GateVerdict, HoldoutEvaluation, Verdict
from gtr_batch.domain.model_json import from_json, to_json
from gtr_batch.errors import GovernanceRefused
from gtr_batch.governance.gate import judge
from gtr_batch.governance.registry import gate_answer, gate_verdict
from tests.governance.test_card import a_gate
from tests.unit.governance.test_gate import EASY, paired

# Keys of a verdict that the first version kept; a document that is written today has them all.
KEPT = {
    *("verdict", "sentence", "n", "patients", "criteria", "subgroups", "power", "models", "draws", "seed"),
    *("model_version", "champion", "cohort", "unreadable", "curves", "settings", "settings_digest", "judged", "by"),
}
CRITERION = ["name", "verdict", "sentence", "value", "low", "high", "limit"]


@pytest.mark.parametrize("patients", [0, 8, 240])
def test_a_verdict_comes_back_from_its_json_as_it_was(patients):
    found = a_gate("c" * 64, paired(patients, sex=(["female", "male"] * 120)[:patients]))

    text = json.dumps(to_json(found), allow_nan=False)

    assert from_json(json.loads(text), GateVerdict) == found
    assert to_json(from_json(json.loads(text), GateVerdict)) == json.loads(text)


def test_a_verdict_keeps_the_keys_that_the_first_version_wrote():
    kept = to_json(a_gate("c" * 64))

    assert set(kept) >= KEPT
    assert list(kept["criteria"][0]) == CRITERION
    assert set(kept["models"]) == set(kept["curves"]) == {"candidate", "champion"}
    assert {"over_treatment", "rates_ci", "calibration", "ece_null_95"} <= set(kept["models"]["candidate"])
    assert kept["verdict"] in ("pass", "fail", "cannot tell")


def test_a_whole_number_in_a_verdict_stays_one():
    kept = json.loads(json.dumps(to_json(a_gate("c" * 64))))

    again = to_json(from_json(kept, GateVerdict))

    assert type(again["criteria"][0]["value"]) is int


def test_a_verdict_of_an_earlier_version_is_read_without_what_it_did_not_know(registry, versions):
    kept = to_json(judge(paired(240), EASY, draws=50)) | {"champion": "c" * 64, "asked_by_nobody": 1}
    registry.attach(versions["new"], "gate", kept, by="gate")

    found = gate_verdict(registry, versions["new"])

    assert found is not None
    assert (found.champion, found.curves, found.code_version) == ("c" * 64, None, "")


def test_a_decision_reads_the_verdict_and_the_champion_of_a_document_and_nothing_else(registry, versions):
    registry.attach(versions["new"], "gate", {"verdict": "pass", "champion": "c" * 64}, by="gate")

    assert gate_answer(registry, versions["new"]) == GateAnswer(Verdict.PASS, champion="c" * 64)
    assert gate_answer(registry, versions["third"]) is None


def test_a_verdict_that_cannot_be_read_is_refused_and_says_what_to_do(registry, versions):
    registry.attach(versions["new"], "gate", {"verdict": "perhaps", "champion": "c" * 64}, by="gate")

    with pytest.raises(GovernanceRefused, match="asks the gate again"):
        gate_answer(registry, versions["new"])


def test_a_holdout_evaluation_comes_back_from_its_json_and_words_for_a_number_are_refused():
    rates = dict.fromkeys(("T1", "T2", "T3", "T4"), 0.5)
    found = HoldoutEvaluation(
        *("c" * 64, "m" * 64, "Ada", "a test", 4, 0, {"cache": 4}, 0.5, (0.1, 0.9), 0.25, None, 0.4),
        *(((1, 0, 0, 0),) * 4, rates, dict.fromkeys(rates), rates, rates, rates, rates),
    )

    assert from_json(json.loads(json.dumps(to_json(found))), HoldoutEvaluation) == found
    with pytest.raises(TypeError, match="not a number"):
        from_json(to_json(found) | {"accuracy": "high"}, HoldoutEvaluation)
