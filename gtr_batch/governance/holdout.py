"""The sealed holdout, opened for a registered model: what does it do on patients that no training saw?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs import field, frozen

from gtr_batch.domain.calibration import calibrated
from gtr_batch.domain.cohort import Member
from gtr_batch.domain.gate import HoldoutEvaluation
from gtr_batch.domain.model import ModelManifest, PreprocessingContract
from gtr_batch.domain.model_json import to_json
from gtr_batch.governance.criteria import Answers, Paired
from gtr_batch.metrics.classification import accuracy, auc, auc_intervals, confusion, kappa_of, rates
from gtr_batch.metrics.intervals import wilson
from gtr_batch.training.cache import Cached, gather
from gtr_batch.training.loop import PreparedSlices, predict, voted
from gtr_batch.training.site import TrainingSite
from gtr_batch.writing import write_canonical_json

if TYPE_CHECKING:
    from gtr_batch.stage.artefact import Artefact

OLD = 65  # years; the subgroups by age


@frozen(eq=False)
class Opened:
    """A holdout that was opened: who could be read, their stages, and where the slices came from."""

    members: list[Member] = field(repr=False)
    stages: np.ndarray = field(repr=False)
    unreadable: Mapping[str, str]
    origins: Mapping[str, int]


def evaluate_holdout(site: TrainingSite, digest: str, version: str, by: str, why: str) -> HoldoutEvaluation:
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

    artefact = load_artefact(_folder(site, version))
    opened, cached = _open(site, digest, version, by, why)
    slices = _slices(opened, cached)
    torch.manual_seed(site.config.training.seed)
    twin = GTRNet(artefact.manifest.backbone)
    with torch.no_grad():  # batch norms that have seen images, as far as that goes without training
        twin.train()
        twin(torch.from_numpy(np.asarray(slices.slices[:24, 1], np.float32))[:, None].expand(-1, 3, -1, -1))
    own = _answers(artefact, slices)
    stages, blind = opened.stages, voted(predict(twin, slices))
    table = confusion(stages, own.votes)
    n = len(stages)
    found = HoldoutEvaluation(
        cohort=digest,
        model_version=version,
        opened_by=by,
        why=why,
        n=n,
        unreadable=len(opened.unreadable),
        origins=dict(opened.origins),
        accuracy=accuracy(stages, own.votes),
        accuracy_ci=wilson(int((own.votes == stages).sum()), n),
        untrained_accuracy=accuracy(stages, blind),
        untrained_ci=wilson(int((blind == stages).sum()), n),
        quadratic_kappa=kappa_of(table),
        confusion=tuple(map(tuple, table.tolist())),
        auc=auc(stages, own.probabilities),
        auc_ci=auc_intervals(stages, own.probabilities),
        **rates(table),
    )
    write_canonical_json(site.run_folder(digest) / f"holdout-{version[:12]}.json", to_json(found))
    return found


def stage_holdout(
    site: TrainingSite, digest: str, *, candidate: str, champion: str, former: Sequence[str] = (), by: str, why: str
) -> tuple[Paired, Opened]:
    """Open the holdout of a cohort for a candidate and stage it with the candidate and with champions.

    A model with another preprocessing contract gets its own slices, of the same instances; patients of whom one model
    cannot be asked are left out for all.

    Parameters
    ----------
    former : sequence of str
        Versions that were champion before, to be asked, too.

    Raises
    ------
    As `evaluate_holdout`.
    """
    from gtr_batch.stage import load_artefact

    contracts = {v: _contract(site, v) for v in (candidate, champion, *former)}
    opened, cached = _open(site, digest, candidate, by, why, contract=contracts[candidate])
    prepared = {contracts[candidate]: cached}
    for contract in set(contracts.values()) - set(prepared):
        prepared[contract], missing, _ = gather(site, opened.members, what="champion", contract=contract)
        opened = attrs.evolve(opened, unreadable={**opened.unreadable, **missing})
    keep = [k for k, m in enumerate(opened.members) if all(m.case_id in found for found in prepared.values())]
    opened = attrs.evolve(opened, members=[opened.members[k] for k in keep], stages=opened.stages[keep])
    slices = {contract: _slices(opened, found) for contract, found in prepared.items()}
    answers = {v: _answers(load_artefact(_folder(site, v)), slices[contract]) for v, contract in contracts.items()}
    paired = Paired(
        opened.stages,
        np.array([m.subject for m in opened.members]),
        answers[candidate],
        answers[champion],
        subgroups_of(opened.members),
        {v: answers[v] for v in former},
    )
    return paired, opened


def _contract(site: TrainingSite, version: str) -> PreprocessingContract:
    return ModelManifest.from_json(site.registry.model(version).manifest).contract


def subgroups_of(members: Sequence[Member]) -> dict[str, list[str]]:
    """By what patients are grouped, and each one's group; what is not known is a group of its own."""
    size = [m.covariates.tumour_size_cm for m in members]
    return {
        "scanner": [m.scanner for m in members],
        "sex": [m.sex for m in members],
        "age": [_banded(m.age_years, OLD, f"under {OLD}", f"{OLD} and over") for m in members],
        "location": [m.location or "unknown" for m in members],
        "tumour size": [_banded(s, 5.0, "under 5 cm", "5 cm and over") for s in size],
        "Lauren type": [str(m.covariates.lauren or "unknown") for m in members],
    }


def _banded(value: float | None, edge: float, below: str, above: str) -> str:
    return "unknown" if value is None else (below if value < edge else above)


def _folder(site: TrainingSite, version: str) -> Path:
    return site.registry.model(version).folder


def _open(
    site: TrainingSite,
    digest: str,
    version: str,
    by: str,
    why: str,
    *,
    contract: PreprocessingContract | None = None,
) -> tuple[Opened, dict[str, Cached]]:
    members = site.cohorts.open_holdout(digest, version, by, why)
    cached, unreadable, origins = gather(site, members, what="holdout", contract=contract)
    members = [m for m in members if m.case_id in cached]
    return Opened(members, np.array([m.label.position for m in members], int), unreadable, origins), cached


def _slices(opened: Opened, cached: Mapping[str, Cached]) -> PreparedSlices:
    return PreparedSlices(np.stack([cached[m.case_id].slices for m in opened.members]), opened.stages)


def _answers(artefact: Artefact, slices: PreparedSlices) -> Answers:
    logits = predict(artefact.network, slices)
    temperature, priors = artefact.manifest.temperature, artefact.manifest.priors
    return Answers(voted(logits, temperature, priors), calibrated(logits, temperature, priors).mean(axis=1))
