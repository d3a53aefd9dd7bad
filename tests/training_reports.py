"""A training report as `gtr_batch.training.finish` writes it, of patients that nobody is."""

from __future__ import annotations

from typing import Any

from gtr_batch.domain.clinical import Characteristics
from gtr_batch.domain.model_json import to_json
from gtr_batch.metrics.table_one import table_one

STAGES = ("T1", "T2", "T3", "T4")
COUNTS = {"T1": 3, "T2": 4, "T3": 5, "T4": 6}
BINS = [{"n": 9, "confidence": 0.5, "accuracy": 0.6, "low": 0.3, "high": 0.8}]


def full_report(**changes: Any) -> dict[str, Any]:
    """Everything that a report of this version holds."""
    by_stage = dict.fromkeys((*STAGES, "macro"), 0.8)
    intervals = {key: [0.7, 0.9] for key in (*STAGES, "macro")}
    people = [Characteristics(sex="female", age_years=60 + k) for k in range(9)]
    curve = {"n": 18, "coverage": [0.1 * k for k in range(1, 11)], "risk": [0.1] * 10, "aurc": 0.05, "best": 0.01}
    dice: dict[str, Any] = {"n": 4, "mean": 0.3, "sd": 0.1}
    term = {"term": "rad-score", "coefficient": 0.9, "low": 0.5, "high": 1.3, "odds_ratio": 2.5, "p": 0.001}
    return {
        "model_version": "a" * 64,
        "code_version": "1.0",
        "demo": True,
        "written": "2026-03-02 10:00 UTC",
        "temperature": 1.2,
        "cohort": {
            "digest": "c" * 64,
            "flow": {"operated": 31, "included": 25, "ypt": 4, "not_reported": 2},
            "holdout": COUNTS,
            "table_1": to_json(table_one({"train": people, "holdout": people})),
        },
        "stages": {"train": COUNTS, "validation": COUNTS},
        "fitted_on": {"weights": COUNTS, "stopping epoch": COUNTS},
        "slices": {"origins": {"night": 20, "PACS": 5}, "unreadable": []},
        "epochs": [
            {"lesson": 0, "number": n, "seconds": 2.0, "train_loss": 1 / n, "validation_loss": 1 / n}
            | {"validation_accuracy": 0.5}
            for n in (1, 2, 3)
        ],
        "settings": {"backbone": "resnet10", "start": "champion", "recipe": "paper", "learning_rate": 3e-4}
        | {"batch": 16, "seed": 7},
        "validation": {
            "n": 18,
            "accuracy": 0.8,
            "accuracy_ci": [0.6, 0.9],
            "quadratic_kappa": 0.8,
            "auc": by_stage,
            "auc_ci": intervals,
            "confusion": [[4 if a == b else 0 for a in range(4)] for b in range(4)],
            "sensitivity": by_stage,
            "specificity": by_stage,
            "reliability": {"before": BINS, "after": BINS},
            "ece": {"before": 0.1, "after": 0.05},
        },
        "priors": [{"stage": s, "training": 0.25, "n": 9, "cohort": 0.25, "ci": [0.1, 0.4]} for s in STAGES],
        "conformal": {"threshold": 0.2, "coverage": 0.9, "held": 16, "n": 18, "ci": [0.7, 0.97], "mean_size": 1.8},
        "heat": {"dice": {**dict.fromkeys(STAGES, dice), "all": dice}, "outside_body": dice},
        "rad_score": {"selected": 1, "of": 512, "largest": [{"feature": 3, "coefficient": 0.5}]},
        "nomogram": {
            "note": "Fitted on 18 patients.",
            "fit": {"n": 18, "left_out": 1, "coefficients": [term], "proportional_odds": {"p": 0.4}},
        },
        "locator": {"n": 3, "near": None, "note": "too few"},
        "abstention": {"words": "Every case is answered.", "risk_coverage": curve},
        **changes,
    }
