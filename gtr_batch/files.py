"""Files of a night on a local or shared file system: ``<root>/<night>/<case_id>/<step>/``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import numpy as np

from gtr_batch.domain.case import Step
from gtr_batch.writing import full_disk_is_transient, make_folder, write_json, write_with

REPLAYS = "restage"  # folder of the store in which replays keep their own files, by night and case as above
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


class LocalFileStore:
    """Port `FileStore` on a folder; folders 0700, files 0600, a file appears under its name only when it is intact.

    Parameters
    ----------
    root : Path
        Made where it is absent. Every worker of a night must see the same one.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, night: date, case_id: str, step: Step) -> Path:
        """The folder of a case's step, made where it is absent; ValueError where `case_id` is no UUID."""
        return self._made(_night(night), _case(case_id), str(Step(step)))

    def night_folder(self, night: date, name: str) -> Path:
        """A folder of the night itself; ValueError for a name that is a path."""
        return self._made(_night(night), _file_name(name))

    def kept_folder(self, night: date, case_id: str, step: Step) -> Path:
        """As `folder`, and not made where it is absent."""
        return self.root / _night(night) / _case(case_id) / str(Step(step))

    def kept_night_folder(self, night: date, name: str) -> Path:
        """As `night_folder`, and not made where it is absent."""
        return self.root / _night(night) / _file_name(name)

    def write_json(self, night: date, case_id: str, step: Step, name: str, value: Any) -> Path:
        """Write ``<name>.json``.

        Raises
        ------
        StorageFull
            No space or quota left; nothing is left under that name.
        """
        return write_json(self.folder(night, case_id, step) / f"{_file_name(name)}.json", value)

    def read_json(self, night: date, case_id: str, step: Step, name: str) -> Any:
        """Read ``<name>.json``; FileNotFoundError where there is none."""
        return json.loads(self._path(night, case_id, step, f"{_file_name(name)}.json").read_text())

    def write_arrays(self, night: date, case_id: str, step: Step, name: str, arrays: Mapping[str, np.ndarray]) -> Path:
        """Write ``<name>.npz``, compressed, no pickle; ValueError for an array of objects. Errors as `write_json`."""
        checked = {key: np.asarray(value) for key, value in arrays.items()}
        for key, value in checked.items():
            if value.dtype.hasobject:
                raise ValueError(f"array {key!r} holds objects: they would be pickled")

        def fill(file: IO[bytes]) -> None:
            np.savez_compressed(file, allow_pickle=False, **checked)

        return write_with(self.folder(night, case_id, step) / f"{_file_name(name)}.npz", fill)

    def read_arrays(self, night: date, case_id: str, step: Step, name: str) -> dict[str, np.ndarray]:
        """Read ``<name>.npz``; FileNotFoundError where there is none."""
        with np.load(self._path(night, case_id, step, f"{_file_name(name)}.npz"), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    def free_bytes(self) -> int:
        """Free space for this service's account; of the nearest folder that exists already."""
        folder = self.root.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def discard_pixels(self, before: date, spare: Collection[str] = ()) -> int:
        """Delete the probed, retrieved and preprocessed pixels of nights before `before`; returns bytes freed.

        With them go intake's probes, the key objects and segmentations, the list of the night's studies, and a
        replay's slices; whatever else a replay left goes by when it was last written to. Those of the cases `spare`
        stay. JSON, features, heat maps and reports stay. Links are removed, never followed.
        """
        freed = 0
        for night in [*_nights(self.root), *_nights(self.root / REPLAYS)]:
            if night.name < before.isoformat():
                freed += _discard(night / Step.PACS, {".json", ".tmp"})
                for case in sorted(night.iterdir()):
                    if case.is_dir() and not case.is_symlink() and case.name not in spare:
                        freed += _discard_case(case)
        return freed + _discard_replays(self.root / REPLAYS, before)

    def discard_case(self, night: date, case_id: str) -> int:
        """Delete the same of one case; returns bytes freed."""
        return _discard_case(self.root / _night(night) / _case(case_id))

    def _path(self, night: date, case_id: str, step: Step, name: str) -> Path:
        return self.kept_folder(night, case_id, step) / name

    def _made(self, *parts: str) -> Path:
        folder = self.root
        with full_disk_is_transient(folder):
            return make_folder(folder.joinpath(*parts))


def _night(night: date) -> str:
    return date(night.year, night.month, night.day).isoformat()


def _case(case_id: str) -> str:
    """`case_id` as a folder name: only the UUID's own spelling, so that it can be no path."""
    try:
        valid = str(UUID(case_id)) == case_id
    except (ValueError, AttributeError, TypeError):
        valid = False
    if not valid:
        raise ValueError(f"case_id {str(case_id)[:80]!r} is not a UUID")
    return case_id


def _file_name(name: str) -> str:
    if not name or not set(name) <= _NAME or name.startswith("."):
        raise ValueError(f"{name[:80]!r} is not a plain file name")
    return name


def _nights(root: Path) -> list[Path]:
    return sorted(filter(_is_night, root.iterdir())) if root.is_dir() else []


def _is_night(folder: Path) -> bool:
    try:
        return (
            date.fromisoformat(folder.name).isoformat() == folder.name and folder.is_dir() and not folder.is_symlink()
        )
    except ValueError:
        return False


def _discard_case(case: Path) -> int:
    return (
        _discard(case / Step.INTAKE, {".dcm", ".part", ".tmp"})
        + _discard(case / Step.RETRIEVE, {".dcm", ".part", ".tmp"})
        + _discard(case / Step.PREPROCESS, {".npz", ".npy", ".tmp"})
    )


def _discard(folder: Path, suffixes: set[str]) -> int:
    """Delete the files with these suffixes, also of the folders within; returns bytes freed."""
    freed = 0
    if not folder.is_dir() or folder.is_symlink():
        return 0
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            freed += _discard(path, suffixes)
            with suppress(OSError):  # something else lies in it
                path.rmdir()
        elif path.suffix in suffixes and (path.is_file() or path.is_symlink()):
            freed += path.lstat().st_size
            path.unlink(missing_ok=True)
    return freed


def _discard_replays(folder: Path, before: date) -> int:
    """Delete all that replays left of a night, where no file of it was written since `before`: it is made anew."""
    freed = 0
    for night in _nights(folder) if not folder.is_symlink() else []:
        files = [path.lstat() for path in night.rglob("*") if path.is_symlink() or not path.is_dir()]
        if all(datetime.fromtimestamp(stat.st_mtime, UTC).date() < before for stat in files):
            freed += sum(stat.st_size for stat in files)
            shutil.rmtree(night)
    return freed
