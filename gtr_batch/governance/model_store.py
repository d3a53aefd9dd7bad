"""Where the night finds its model: the registry says which, the store of models has its files."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from gtr_batch.domain.lifecycle import SHADOW, WITHDRAWN
from gtr_batch.errors import ModelArtefactError
from gtr_batch.ports import ModelRegistry


@frozen
class RegistryModelStore:
    """Port `ModelStore` over the registry.

    Before there ever was a champion, the artefact that the settings name (`stage.artefact`) stages; `gtr model adopt`
    writes it down as the first one. From then on the registry alone decides, and the setting is not looked at again.
    """

    registry: ModelRegistry
    settings_folder: Path

    def champion(self) -> Path:
        """Folder of the artefact that stages tonight.

        Raises
        ------
        ModelArtefactError
            The champion was withdrawn without a successor, or its files are gone or not its own.
        """
        version = self.registry.champion()
        if version is not None:
            return self._intact(version)
        champion_events = self.registry.champion_events()
        if champion_events:
            last = champion_events[-1]
            raise ModelArtefactError(
                f"no model may stage: champion {last.version[:12]} was withdrawn by {last.by_whom} without a "
                f"successor. Promote one (`gtr model promote`), then run the night again"
            )
        return self.settings_folder

    def all(self) -> list[Path]:
        """Folders of all artefacts that may be loaded, champion first."""
        champion = self.registry.champion()
        kept = [m for m in self.registry.all() if m.state != WITHDRAWN and m.folder.is_dir()]
        kept.sort(key=lambda m: m.version != champion)
        folders = [m.folder for m in kept]
        return folders if champion or self.registry.champion_events() else [self.settings_folder, *folders]

    def find(self, version: str) -> Path | None:
        """Folder of a version; None where it is not known here, was withdrawn, or its files are gone."""
        from gtr_batch.stage import read_version

        state = self.registry.state(version)
        if state == WITHDRAWN:
            return None
        folder = self.settings_folder if state is None else self.registry.model(version).folder
        try:
            return folder if read_version(folder) == version else None
        except ModelArtefactError:
            return None

    def challengers(self) -> list[str]:
        """Versions that stage in shadow, oldest registration first."""
        return [m.version for m in reversed(self.registry.all()) if m.state == SHADOW]

    def _intact(self, version: str) -> Path:
        from gtr_batch.stage import read_version

        folder = self.registry.model(version).folder
        way = "Put them back, or `gtr model rollback`"
        if not folder.is_dir():
            raise ModelArtefactError(f"the files of champion {version[:12]} are gone: no folder {folder}. {way}")
        found = read_version(folder)
        if found != version:
            raise ModelArtefactError(f"{folder} holds model {found[:12]}, not champion {version[:12]}. {way}")
        return folder
