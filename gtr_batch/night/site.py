"""What a night is given: the settings and one adapter per port."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import define, field

from gtr_batch.access import NoTrail
from gtr_batch.config import Config
from gtr_batch.domain.case import Step
from gtr_batch.domain.governed_settings import with_governed
from gtr_batch.domain.model import ModelManifest
from gtr_batch.errors import GovernanceRefused, ModelArtefactError, ServiceStopped
from gtr_batch.night.absent import NoNotices, NoSwitch
from gtr_batch.ports import (
    AccessTrail,
    CanaryBook,
    Cases,
    ClinicalSource,
    Clock,
    Deliveries,
    DeliveryHold,
    FileStore,
    ImageArchive,
    ModelStore,
    Nights,
    Notices,
    SettingsBook,
    ShadowBook,
    StopSwitch,
    StudyLooks,
)

REFERENCE_MODALITIES = ("KO", "SEG", "RTSTRUCT")  # what may name a key slice

StepProgress = Callable[[Step, int, int], None]  # step, done, total
Alert = Callable[[str, str], None]  # subject, text; no PHI


def _no_progress(step: Step, done: int, total: int) -> None:
    """No progress bar."""


def _no_alert(subject: str, text: str) -> None:
    """Nobody is told but by the log."""


@define(slots=False)
class Site:
    """The open site; `gtr_batch.wiring` builds it, tests build it from fakes."""

    config: Config
    archive: ImageArchive
    nights: Nights
    cases: Cases
    deliveries: Deliveries
    clinical: ClinicalSource
    files: FileStore
    model_store: ModelStore
    clock: Clock
    settings_history: SettingsBook
    shadows: ShadowBook
    hold: DeliveryHold
    looks: StudyLooks
    progress: StepProgress = field(default=_no_progress)
    alert: Alert = field(default=_no_alert)
    trail: AccessTrail = field(factory=NoTrail)
    switch: StopSwitch = field(factory=NoSwitch)
    notices: Notices = field(factory=NoNotices)
    canaries: CanaryBook | None = None  # None: no canary is asked for
    _loaded: dict[str, Any] = field(factory=dict, init=False)
    _manifests: dict[str, ModelManifest] = field(factory=dict, init=False)

    @cached_property
    def settings(self) -> Config:
        """The settings with the governed ones as their history has them."""
        return with_governed(self.config, self.settings_history.current())

    def check_running(self) -> None:
        """Ask before anything is staged or sent; `ServiceStopped` where a person has stopped the service."""
        check_running(self.switch)

    def held_back(self) -> Mapping[str, str]:
        """Model versions whose reports are not delivered now, each with why; none where the site does not want that."""
        return self.hold.held() if self.settings.audit.pause_delivery else {}

    @cached_property
    def artefact(self) -> Any:
        """The champion, loaded and checked once per process (`gtr_batch.stage.artefact.Artefact`)."""
        return self._load(self.model_store.champion())

    @cached_property
    def model_version(self) -> str:
        """Digest of the champion, without loading its weights."""
        from gtr_batch.stage import read_version

        return str(read_version(self.model_store.champion()))

    def model_of(self, night: date) -> str:
        """Version that stages a night: the one that it was opened with, while that may stage; else the champion.

        So a promotion in the middle of a night, or before a night is run again, never mixes two models in one night.
        """
        opened_with = self.nights.model_of(night)
        return opened_with if opened_with and self.model_store.find(opened_with) else self.model_version

    def artefact_of(self, night: date) -> Any:
        """The model that stages a night, loaded and checked once per process."""
        return self.artefact_by(self.model_of(night))

    def artefact_by(self, version: str) -> Any:
        """A model by its version, loaded and checked once per process.

        Raises
        ------
        GovernanceRefused
            It is not in the model store any more, or was withdrawn.
        """
        folder = self.folder_of(version)
        if version not in self._loaded:
            self._loaded[version] = self._load(folder)
        return self._loaded[version]

    def manifest_by(self, version: str) -> ModelManifest:
        """What a model says of itself, without weights and torch: for steps after `stage`, which checked the whole.

        Raises
        ------
        GovernanceRefused
            It is not in the model store any more, or was withdrawn.
        ModelArtefactError
            Its manifest is another's by now.
        """
        from gtr_batch.stage import read_manifest

        folder = self.folder_of(version)
        if version in self._loaded:
            return self._loaded[version].manifest  # type: ignore[no-any-return]
        if version not in self._manifests:
            manifest, found = read_manifest(folder)
            if found != version:
                raise ModelArtefactError(f"{folder} holds model {found[:12]}, not {version[:12]}")
            self._manifests[version] = manifest
        return self._manifests[version]

    def keep_loaded(self, artefact: Any) -> None:
        """Let a model that is loaded already be the one that `artefact_by` gives."""
        self._loaded[artefact.version] = artefact

    def folder_of(self, version: str) -> Path:
        """Folder of a model that may still be used; raises as `artefact_by`, and loads nothing."""
        folder = self.model_store.find(version)
        if folder is None:
            raise GovernanceRefused(
                f"model {version[:12]} was withdrawn, or is not in the model store any more: its results are not used. "
                f"Replay the case with another model (`gtr restage`)"
            )
        return folder

    def _load(self, folder: Path) -> Any:
        from gtr_batch.stage import choose_device, load_artefact

        return load_artefact(folder, device=choose_device(self.config.stage.device, self.config.stage.threads))


def check_running(switch: StopSwitch) -> None:
    """Ask before anything is staged or sent.

    Raises
    ------
    ServiceStopped
        A person has stopped the service; names who, when and why.
    """
    found = switch.stopped()
    if found is not None:
        raise ServiceStopped(f"{found.sentence}. Nothing is staged or sent until `gtr resume`; then run it again")


def night_window(config: Config, night: date) -> tuple[datetime, datetime]:
    """Start and end of a night's window in the PACS's wall clock time, naive as DICOM's StudyDate and StudyTime are."""
    start = datetime.combine(night, config.intake.window_start)
    return start, start + timedelta(hours=config.intake.window_hours)


def looked_back_window(config: Config, night: date) -> tuple[datetime, datetime]:
    """The night's window with the days before it that are looked back on (`night.look_back_days`)."""
    start, end = night_window(config, night)
    return start - timedelta(days=config.night.look_back_days), end
