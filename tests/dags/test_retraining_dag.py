"""The DAG of a retraining: its order, its pools, and that it says nothing of a patient."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = (Path(__file__).resolve().parents[2] / "dags" / "retraining.py").read_text()


def test_the_order_is_cohort_gate_slices_network_fits_candidate(described):
    tasks = described["retraining"]["dags"]["retraining"]["tasks"]

    assert {name: task["upstream"] for name, task in tasks.items()} == {
        "freeze_cohort": [],
        "leak_gate": ["freeze_cohort"],
        "cache_slices": ["leak_gate"],
        "train": ["cache_slices"],
        "fit": ["train"],
        "register": ["fit", "leak_gate"],
    }


def test_the_network_waits_for_the_gpu_and_the_slices_for_the_pacs(described):
    tasks = described["retraining"]["dags"]["retraining"]["tasks"]

    assert {name: task["pool"] for name, task in tasks.items() if task["pool"] != "default_pool"} == {
        "cache_slices": "pacs",
        "train": "gpu",
        "fit": "gpu",
    }


def test_the_file_imports_nothing_heavy_at_its_top():
    top = [node for node in ast.parse(SOURCE).body if isinstance(node, ast.Import | ast.ImportFrom)]

    assert not [n for n in top if "torch" in ast.dump(n) or "training" in ast.dump(n)]
