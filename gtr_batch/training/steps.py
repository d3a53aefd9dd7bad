"""The path of a retraining, one function a task: cohort -> leak gate -> slices -> network -> fits -> candidate."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from gtr_batch.domain.cohort import CohortManifest, Member, Split, digest_of
from gtr_batch.errors import ConfigError, LeakFound
from gtr_batch.training.cache import Cached, gather
from gtr_batch.training.cohort import CohortSettings, build_cohort, require_enough
from gtr_batch.training.leaks import check_manifest
from gtr_batch.training.site import RECIPE, TrainingSite

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
    write_json(site.run_folder(manifest.digest) / "cohort.json", manifest.to_json())
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
    write_json(site.run_folder(digest) / "leaks.json", report.to_json())
    if report.leaks:
        raise LeakFound(f"cohort {digest[:12]}: {'; '.join(report.sentences())}; nothing was trained")
    return {"rows": report.rows, "patients": report.patients}


def cache_slices(site: TrainingSite, digest: str) -> dict[str, Any]:
    """Prepare every train and validation member's slices; returns how many came from where."""
    manifest = site.cohorts.cohort(digest)
    members = [*manifest.of(Split.VALIDATION), *manifest.of(Split.TRAIN)]
    _, unreadable, origins = gather(site, members, stacks=site.config.training.locator_series)
    folder = site.run_folder(digest)
    write_json(folder / "slices.json", {"origins": origins, "unreadable": unreadable, "members": len(members)})
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
    training, validation = prepared(site, digest)
    identity = digest_of([digest, _recipe(site)])
    devices = worker.devices_of(choose_device(site.config.stage.device, site.config.stage.threads))
    torch.manual_seed(settings.seed)
    network = start_network(settings, site.model_store)
    lessons = lessons_of(settings, training.centres is not None)
    worker.prepare(folder, network, {"train": training, "validation": validation})
    total = sum(lesson.epochs for lesson in lessons)
    with tracked(settings.tracking_uri, f"{digest[:12]}", {**_recipe(site), "lessons": len(lessons)}) as note:

        def each(epoch: Any) -> None:
            site.progress("epochs", sum(e.epochs for e in lessons[: epoch.lesson]) + epoch.number, total)
            note(epoch)
            if progress is not None:
                progress(epoch)

        job = worker.Job(str(folder), settings.backbone, lessons, identity, devices, network.dropout.p)
        epochs = worker.run(job, each)
    best = min(e["validation_loss"] for e in epochs)
    return {"epochs": len(epochs), "best_validation_loss": best, "devices": devices}


def fit_artefact(site: TrainingSite, digest: str) -> str:
    """Fit what follows the network, write the artefact and the training report; returns the model version."""
    from gtr_batch.training.finish import finish

    return finish(site, digest)


def register_candidate(site: TrainingSite, digest: str, version: str, by: str, why: str) -> str:
    """Put the artefact into the store of models and register it as ``candidate``; returns its version."""
    import shutil

    from gtr_batch.stage import read_manifest, verify

    source = site.run_folder(digest) / "artefact"
    if verify(source) != version:
        raise ConfigError(f"{source} is not model {version[:12]}: it was changed after it was made; train again")
    folder = site.config.training.models / version
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = folder.with_name(f".{version}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(source, fresh)
        fresh.rename(folder)
    manifest, _ = read_manifest(folder)
    report = json.loads((site.run_folder(digest) / "report.json").read_text())
    site.registry.register(version, manifest.to_json(), folder, by=by, why=why, cohort_digest=digest, training=report)
    return version


def prepared(site: TrainingSite, digest: str) -> tuple[Any, Any]:
    """Train and validation slices from the cache, memory-mapped: (PreparedSlices, PreparedSlices)."""
    manifest = site.cohorts.cohort(digest)
    return tuple(_mapped(site, digest, manifest, split) for split in (Split.TRAIN, Split.VALIDATION))  # type: ignore[return-value]


def members_of(site: TrainingSite, manifest: CohortManifest, split: Split) -> list[Member]:
    """The members of a split whose slices could be read, in the order of the arrays."""
    unreadable = json.loads((site.run_folder(manifest.digest) / "slices.json").read_text())["unreadable"]
    return [m for m in manifest.of(split) if m.case_id not in unreadable]


def _mapped(site: TrainingSite, digest: str, manifest: CohortManifest, split: Split) -> Any:
    from gtr_batch.training.loop import PreparedSlices

    members = members_of(site, manifest, split)
    cached, _, _ = gather(site, members, what=str(split))
    path = site.run_folder(digest) / f"{split}.npy"
    fresh = path.with_suffix(".tmp.npy")
    np.save(fresh, np.stack([cached[m.case_id].slices for m in members]))
    fresh.replace(path)
    stages = np.array([m.label.position for m in members])
    return PreparedSlices(np.load(path, mmap_mode="r"), stages, centres_of([cached[m.case_id] for m in members]))


def centres_of(cached: Sequence[Cached]) -> np.ndarray | None:
    """Row and column of each outlined lesion on its key slice; None where more than half were never outlined."""
    size = cached[0].slices.shape[-1]
    found = np.full((len(cached), 2), (size - 1) / 2)
    outlined = 0
    for k, one in enumerate(cached):
        if one.lesion is not None and one.lesion[1].any():
            found[k] = np.argwhere(one.lesion[1]).mean(axis=0)
            outlined += 1
    return found if 2 * outlined >= len(cached) else None


def write_json(path: Path, value: Any) -> None:
    """Write JSON, whole or not at all, 0600."""
    fresh = path.with_suffix(".json.tmp")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n")
    fresh.replace(path)


def _recipe(site: TrainingSite) -> dict[str, Any]:
    return attrs.asdict(site.config.training, filter=lambda a, _: a.name in RECIPE, value_serializer=_text)


def _text(_: Any, __: Any, value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
