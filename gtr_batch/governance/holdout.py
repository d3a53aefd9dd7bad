"""The sealed holdout, opened for a registered candidate: what does it do on patients that no training saw?"""

from __future__ import annotations

from typing import Any

import numpy as np

from gtr_batch.metrics.classification import accuracy, auc, auc_intervals, confusion, kappa_of, rates
from gtr_batch.metrics.intervals import wilson
from gtr_batch.training.cache import gather
from gtr_batch.training.house import TrainingHouse
from gtr_batch.training.loop import PreparedSlices, predict, voted
from gtr_batch.training.steps import write_json


def evaluate_holdout(house: TrainingHouse, digest: str, version: str, by: str, why: str) -> dict[str, Any]:
    """Open the holdout of a cohort for a model, stage it, and keep and return the metrics.

    An untrained twin of the same architecture is asked, too: what the candidate is better than.

    Parameters
    ----------
    digest, version : str
        Cohort, and a registered model.
    by, why : str
        Who opens it, and why: a row that cannot be changed.

    Raises
    ------
    DatabaseRefused
        The model is not registered.
    PermanentError
        Too many of the series cannot be read.
    """
    import torch

    from gtr_batch.stage import load_artefact
    from gtr_batch.stage.network import GTRNet

    members = house.cohorts.open_holdout(digest, version, by, why)
    cached, unreadable, origins = gather(house, members, what="holdout")
    members = [m for m in members if m.case_id in cached]
    stages = np.array([m.label.position for m in members])
    slices = PreparedSlices(np.stack([cached[m.case_id].slices for m in members]), stages)
    artefact = load_artefact(house.config.training.models / version)
    torch.manual_seed(house.config.training.seed)
    twin = GTRNet(artefact.manifest.backbone)
    with torch.no_grad():  # batch norms that have seen images, as far as that goes without training
        twin.train()
        twin(torch.from_numpy(np.asarray(slices.slices[:24, 1], np.float32))[:, None].expand(-1, 3, -1, -1))
    temperature = artefact.manifest.temperature
    logits = predict(artefact.network, slices)
    answers, blind = voted(logits, temperature), voted(predict(twin, slices))
    z = np.exp(logits / temperature - (logits / temperature).max(axis=2, keepdims=True))
    probabilities = (z / z.sum(axis=2, keepdims=True)).mean(axis=1)
    table = confusion(stages, answers)
    n = len(members)
    found: dict[str, Any] = {
        "cohort": digest,
        "model_version": version,
        "opened_by": by,
        "why": why,
        "n": n,
        "unreadable": len(unreadable),
        "origins": origins,
        "accuracy": accuracy(stages, answers),
        "accuracy_ci": wilson(int((answers == stages).sum()), n),
        "untrained_accuracy": accuracy(stages, blind),
        "untrained_ci": wilson(int((blind == stages).sum()), n),
        "quadratic_kappa": kappa_of(table),
        "confusion": table.tolist(),
        "auc": auc(stages, probabilities),
        "auc_ci": auc_intervals(stages, probabilities),
        **rates(table),
    }
    write_json(house.run_folder(digest) / f"holdout-{version[:12]}.json", found)
    return found
