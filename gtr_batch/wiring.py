"""The one place where the real things are built."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from gtr_batch.audit.site import AuditProgress, AuditSite
from gtr_batch.config import Config, load
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.night.site import Site, StepProgress
from gtr_batch.ports import Progress
from gtr_batch.training.site import TrainingProgress, TrainingSite


@frozen
class SystemClock:
    """The wall clock."""

    def now(self) -> datetime:
        """Now, in UTC."""
        return datetime.now(UTC)


@frozen
class FolderModelStore:
    """Artefacts in folders, without a registry: the champion where the settings say, others beside it."""

    folder: Path

    def champion(self) -> Path:
        """Folder of the artefact that stages tonight."""
        return self.folder

    def all(self) -> list[Path]:
        """All artefacts, champion first."""
        beside = sorted(p.parent for p in self.folder.parent.glob("*/manifest.json") if p.parent != self.folder)
        return [self.folder, *beside]

    def find(self, version: str) -> Path | None:
        """Folder of a version."""
        from gtr_batch.stage import read_version

        return next((folder for folder in self.all() if read_version(folder) == version), None)

    def challengers(self) -> list[str]:
        """Nothing stages in shadow where there is no registry."""
        return []


@contextmanager
def open_site(
    config: Config | None = None, *, environ: Mapping[str, str] | None = None, progress: StepProgress | None = None
) -> Iterator[Site]:
    """Build the adapters from settings, and close them after.

    Nothing connects before it is first used.

    Raises
    ------
    ConfigError
        The settings are wrong.
    """
    from gtr_batch.audit.alarms import StopAlarms
    from gtr_batch.db import (
        Database,
        PostgresCases,
        PostgresClinicalSource,
        PostgresDeliveries,
        PostgresNights,
    )
    from gtr_batch.db.audit import PostgresAuditBook
    from gtr_batch.db.registry import PostgresRegistry
    from gtr_batch.db.settings import PostgresSettings
    from gtr_batch.db.shadow import PostgresShadows
    from gtr_batch.files import LocalFileStore
    from gtr_batch.governance.model_store import RegistryModelStore
    from gtr_batch.pacs import Pacs

    config = config or load(environ=environ)
    database = Database(config.database)
    try:
        site = Site(
            config=config,
            archive=Pacs(config.pacs),
            nights=PostgresNights(database),
            cases=PostgresCases(database),
            deliveries=PostgresDeliveries(database),
            clinical=PostgresClinicalSource(database),
            files=LocalFileStore(config.files.root),
            model_store=RegistryModelStore(PostgresRegistry(database), config.stage.artefact),
            clock=SystemClock(),
            settings_history=PostgresSettings(database),
            shadows=PostgresShadows(database),
            hold=StopAlarms(PostgresAuditBook(database)),
        )
        if progress is not None:
            site.progress = progress
        yield site
    finally:
        database.close()


@contextmanager
def open_governance(
    config: Config | None = None, *, environ: Mapping[str, str] | None = None, progress: StepProgress | None = None
) -> Iterator[GovernanceSite]:
    """Build what those who decide about models are given, and close it after; raises as `open_site`."""
    from gtr_batch.db import Database
    from gtr_batch.db.registry import PostgresRegistry
    from gtr_batch.db.restages import PostgresRestages
    from gtr_batch.files import LocalFileStore

    config = config or load(environ=environ)
    with open_site(config, progress=progress) as night:
        database = Database(config.database)
        try:
            yield GovernanceSite(
                night=night,
                registry=PostgresRegistry(database),
                restages=PostgresRestages(database),
                scratch=LocalFileStore(config.files.root / "restage"),
            )
        finally:
            database.close()


@contextmanager
def open_training(
    config: Config | None = None, *, environ: Mapping[str, str] | None = None, progress: TrainingProgress | None = None
) -> Iterator[TrainingSite]:
    """Build what a retraining is given, and close it after; raises as `open_site`."""
    from gtr_batch.db import Database, PostgresCases
    from gtr_batch.db.cohorts import PostgresCohorts
    from gtr_batch.db.registry import PostgresRegistry
    from gtr_batch.files import LocalFileStore
    from gtr_batch.pacs import Pacs

    config = config or load(environ=environ)
    with open_site(config) as night:
        database = Database(config.database)
        try:
            cohorts = PostgresCohorts(database)
            site = TrainingSite(
                config=config,
                archive=Pacs(config.pacs),
                cases=PostgresCases(database),
                source=cohorts,
                cohorts=cohorts,
                files=LocalFileStore(config.files.root),
                model_store=night.model_store,
                registry=PostgresRegistry(database),
            )
            if progress is not None:
                site.progress = progress
            yield site
        finally:
            database.close()


@contextmanager
def open_audit(
    config: Config | None = None, *, environ: Mapping[str, str] | None = None, progress: AuditProgress | None = None
) -> Iterator[AuditSite]:
    """Build what an audit is given, and close it after; raises as `open_site`."""
    from gtr_batch.db import Database
    from gtr_batch.db.audit import PostgresAuditBook, PostgresAuditSource
    from gtr_batch.db.registry import PostgresRegistry
    from gtr_batch.db.settings import PostgresSettings

    config = config or load(environ=environ)
    database = Database(config.database)
    try:
        site = AuditSite(
            config=config,
            source=PostgresAuditSource(database, config.night.timezone),
            book=PostgresAuditBook(database),
            registry=PostgresRegistry(database),
            clock=SystemClock(),
            settings_history=PostgresSettings(database),
        )
        if progress is not None:
            site.progress = progress
        yield site
    finally:
        database.close()


def refresh_ehr(config: Config | None = None, folder: Path | None = None, progress: Progress | None = None) -> dict:
    """Load the EHR extracts of a folder; a bad file changes nothing (`gtr_batch.db.ehr.load_extracts`)."""
    from gtr_batch.db import Database
    from gtr_batch.db.ehr import load_extracts

    config = config or load(environ=os.environ)
    database = Database(config.database)
    try:
        return load_extracts(database, folder or config.ehr.folder, progress=progress).as_json()
    finally:
        database.close()
