"""The path of a retraining, one function a task: cohort -> leak gate -> slices -> network -> fits -> candidate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from gtr_batch.domain.cohort import Split, digest_of
from gtr_batch.errors import ConfigError, LeakFound
from gtr_batch.training.cache import gather
from gtr_batch.training.cohort import CohortSettings, build_cohort, require_enough
from gtr_batch.training.leaks import check_manifest
from gtr_batch.training.site import RECIPE, TrainingSite
from gtr_batch.training.slices import fold_slices, prepared
from gtr_batch.writing import READABLE, copy_file, new_folder, write_canonical_json

if TYPE_CHECKING:
    from gtr_batch.training.loop import PreparedSlices

EpochProgress = Callable[[Any], None]


def cohort_settings(site: TrainingSite) -> CohortSettings:
    """What of the settings decides who is in a cohort."""
    training = site.config.training
    return CohortSettings(**{name: getattr(training, name) for name in CohortSettings.__annotations__})


def freeze_cohort(site: TrainingSite) -> str:
    """Build the cohort, seal its holdout and keep both; returns its digest.

    Raises
    ------
    CannotTell
        Too few patients of a stage. The cohort is kept all the same, so that people can see who is missing.
    """
    settings = cohort_settings(site)
    manifest, holdout = build_cohort(
        site.source.candidates(),
        settings,
        sealed=site.cohorts.sealed_subjects(),
        # Who was trained on by this very cohort, in an earlier try, is no reason to draw another holdout.
        trained=site.cohorts.trained_subjects(),
    )
    site.cohorts.freeze(manifest, holdout)
    write_canonical_json(site.run_folder(manifest.digest) / "cohort.json", manifest.to_json())
    require_enough(manifest, settings)
    return manifest.digest


def leak_gate(site: TrainingSite, digest: str) -> dict[str, Any]:
    """Refuse a cohort that leaks; returns the counts.

    Raises
    ------
    LeakFound
        With what was found.
    """
    report = check_manifest(site.cohorts.cohort(digest))
    write_canonical_json(site.run_folder(digest) / "leaks.json", report.to_json())
    if report.leaks:
        raise LeakFound(f"cohort {digest[:12]}: {'; '.join(report.sentences())}; nothing was trained")
    return {"rows": report.rows, "patients": report.patients}


def cache_slices(site: TrainingSite, digest: str) -> dict[str, Any]:
    """Prepare every train and validation member's slices; returns how many came from where."""
    manifest = site.cohorts.cohort(digest)
    members = [*manifest.of(Split.VALIDATION), *manifest.of(Split.TRAIN)]
    _, unreadable, origins = gather(site, members, stacks=site.config.training.locator_series)
    folder = site.run_folder(digest)
    write_canonical_json(
        folder / "slices.json", {"origins": origins, "unreadable": unreadable, "members": len(members)}
    )
    return {"members": len(members), "unreadable": len(unreadable), **origins}


def train_network(site: TrainingSite, digest: str, progress: EpochProgress | None = None) -> dict[str, Any]:
    """Train on every GPU there is, or take up a training that was killed; returns epochs and the best loss."""
    import torch

    from gtr_batch.stage import choose_device
    from gtr_batch.training import worker
    from gtr_batch.training.recipe import lessons_of, start_network
    from gtr_batch.training.tracking import tracked

    folder = site.run_folder(digest)
    settings = site.config.training
    training, stopping = prepared(site, digest)
    devices = worker.devices_of(choose_device(site.config.stage.device, site.config.stage.threads))
    lessons = lessons_of(settings, training.centres is not None)
    total = sum(lesson.epochs for lesson in lessons)
    networks = 1 + settings.folds

    def train_in(here: Path, number: int, cohort: PreparedSlices, each: EpochProgress) -> list[dict[str, Any]]:
        torch.manual_seed(settings.seed)
        network = start_network(settings, site.model_store)
        worker.prepare(here, network, {"train": cohort, "validation": stopping})

        def counted(epoch: Any) -> None:
            before = number * total + sum(e.epochs for e in lessons[: epoch.lesson])
            site.progress("epochs", before + epoch.number, networks * total)
            each(epoch)

        identity = digest_of([digest, _recipe(site), number] if number else [digest, _recipe(site)])
        job = worker.Job(str(here), settings.backbone, lessons, identity, devices, network.dropout.p)
        return worker.run(job, counted)

    with tracked(settings.tracking_uri, f"{digest[:12]}", {**_recipe(site), "lessons": len(lessons)}) as note:

        def each(epoch: Any) -> None:
            note(epoch)
            if progress is not None:
                progress(epoch)

        epochs = train_in(folder, 0, training, each)
    for fold, here, rest in fold_slices(site, digest, training, stopping):
        train_in(here, 1 + fold, rest, lambda _: None)
        (here / "train.npy").unlink()
    best = min(e["validation_loss"] for e in epochs)
    return {"epochs": len(epochs), "best_validation_loss": best, "devices": devices, "networks": networks}


def fit_artefact(site: TrainingSite, digest: str) -> str:
    """Fit what follows the network, write the artefact and the training report; returns the model version."""
    from gtr_batch.training.finish import finish  # torch

    return finish(site, digest)


def register_candidate(site: TrainingSite, digest: str, version: str, by: str, why: str) -> str:
    """Put the artefact into the store of models and register it as ``candidate``; returns its version."""
    from gtr_batch.stage import read_manifest, verify

    source = site.run_folder(digest) / "artefact"
    if verify(source) != version:
        raise ConfigError(f"{source} is not model {version[:12]}: it was changed after it was made; train again")
    folder = site.config.training.models / version
    if not folder.exists():
        with new_folder(folder, mode=0o755) as fresh:
            for path in sorted(source.iterdir()):
                copy_file(path, fresh / path.name, mode=READABLE)
    manifest, _ = read_manifest(folder)
    report = json.loads((site.run_folder(digest) / "report.json").read_text())
    site.registry.register(version, manifest.to_json(), folder, by=by, why=why, cohort_digest=digest, training=report)
    return version


def _recipe(site: TrainingSite) -> dict[str, Any]:
    return attrs.asdict(site.config.training, filter=lambda a, _: a.name in RECIPE, value_serializer=_text)


def _text(_: Any, __: Any, value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
