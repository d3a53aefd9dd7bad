"""The demo of a retraining: a year of operated phantom patients, the DAG through the real scheduler, the holdout."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from attrs import frozen

from gtr_batch.domain.gate import HoldoutEvaluation
from gtr_batch.simulation.demos.demo import Demo
from gtr_batch.simulation.hospital.year import Operated, Year, write_year

# What two cores can do in a few minutes: the demo's own network, taught further on the hospital's patients. From random
# weights the same time is too short (docs/training.md says what came of it).
SETTINGS = """
[training]
folder = "{folder}/training"
models = "{folder}/models"
minimum_per_class = 20
validation_share = 0.14
backbone = "resnet10-stride8"
start = "champion"
recipe = "paper"
epochs = 6
batch = 16
learning_rate = 3e-4
patience = 4
locator_series = 16
folds = 2
schedule = "0 3 1 1 *"
"""


@frozen
class Outcome:
    """What the demo's run came to."""

    state: str
    cohort: str
    version: str
    report: str
    holdout: HoldoutEvaluation | None

    @property
    def better(self) -> bool:
        """Whether the candidate is better than its untrained twin, and not by chance: the intervals do not meet."""
        if self.holdout is None or self.holdout.accuracy_ci is None or self.holdout.untrained_ci is None:
            return False
        return self.holdout.accuracy_ci[0] > self.holdout.untrained_ci[1]


def prepare(demo: Demo, year: Year, progress: Callable[[int, int], None]) -> list[Operated]:
    """Settings, the year in book, files and EHR; the DICOM of the oldest patients waits for the PACS."""
    from gtr_batch.wiring import open_site, refresh_ehr

    os.environ.update(demo.environ)
    with open_site() as site:
        patients = write_year(site, year, demo.folder / "dicom", demo.folder / "ehr", progress=progress)
    refresh_ehr(folder=demo.folder / "ehr")
    return patients


def run(demo: Demo, progress: Callable[[list[dict[str, Any]]], None], timeout_s: float = 1800) -> Outcome:
    """Trigger `retraining`, wait for the card, then open the sealed holdout for the candidate that it registered.

    Nobody is asked here whether it shall stage: `make demo-retraining` goes on from there.
    """
    from gtr_batch.governance.holdout import evaluate_holdout
    from gtr_batch.wiring import open_training

    state = demo.run("retraining", {"why": "demo"}, progress, timeout_s=timeout_s, last="card")
    with open_training() as site:
        models = [m for m in site.registry.all() if m.state == "candidate"]  # the gate adopts a champion, too
        if state != "success" or not models:
            return Outcome(state, "", "", "", None)
        version, cohort = models[0].version, models[0].cohort_digest
        holdout = evaluate_holdout(site, cohort, version, "demo", "the demo shows what was learnt")
        report = str(site.run_folder(cohort) / "report.html")
    return Outcome(state, cohort, version, report, holdout)
