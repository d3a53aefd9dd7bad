"""A model store without a registry, for what trains or stages and decides nothing."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen
class FolderModelStore:
    """Port `ModelStore` on folders: the champion is the one that is given, the others lie beside it."""

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
