"""The DAG of a retraining: its order, its pools, and that it says nothing of a patient."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = (Path(__file__).resolve().parents[2] / "dags" / "retraining.py").read_text()


def test_the_order_is_from_the_cohort_to_a_person(described):
    tasks = described["retraining"]["dags"]["retraining"]["tasks"]

    assert {name: task["upstream"] for name, task in tasks.items()} == {
        "freeze_cohort": [],
        "leak_gate": ["freeze_cohort"],
        "cache_slices": ["leak_gate"],
        "train": ["cache_slices"],
        "fit": ["train"],
        "register": ["fit", "leak_gate"],
        "gate": ["register"],
        "card": ["gate", "register"],
        "approve": ["card", "gate"],
        "promote": ["approve"],
        "rewrite_cards": ["promote"],
    }


def test_nothing_is_promoted_without_a_person(described):
    tasks = described["retraining"]["dags"]["retraining"]["tasks"]

    assert tasks["approve"]["operator"] == "PersonApproves"
    assert tasks["approve"]["trigger_rule"] == tasks["promote"]["trigger_rule"] == "TriggerRule.ALL_SUCCESS"


def test_a_replay_goes_nowhere_without_a_person(described):
    tasks = described["restage"]["dags"]["restage"]["tasks"]

    assert {name: task["upstream"] for name, task in tasks.items()} == {
        "replay": [],
        "approve": ["replay"],
        "send": ["approve"],
    }
    assert tasks["approve"]["operator"] == "PersonApproves"


def test_the_network_waits_for_the_gpu_and_the_slices_for_the_pacs(described):
    tasks = described["retraining"]["dags"]["retraining"]["tasks"]

    assert {name: task["pool"] for name, task in tasks.items() if task["pool"] != "default_pool"} == {
        "cache_slices": "pacs",
        "train": "gpu",
        "fit": "gpu",
        "gate": "gpu",
    }


def test_the_file_imports_nothing_heavy_at_its_top():
    top = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.Import | ast.ImportFrom)]

    modules = [alias.name for n in top if isinstance(n, ast.Import) for alias in n.names]
    modules += [f"{n.module}.{alias.name}" for n in top if isinstance(n, ast.ImportFrom) for alias in n.names]
    assert not [name for name in modules if name.startswith(("torch", "gtr_batch.training", "gtr_batch.stage"))]
