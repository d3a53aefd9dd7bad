"""The one writer of files: a file appears under its name only when it is intact, and only its owner may read it.

Everything goes to a temporary name of its own beside the goal, 0600 from the first byte, is synced, and takes its name
in one step; so writers that meet, a killed process and a full disk all leave either the file before or the file after.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, Any

from gtr_batch.errors import StorageFull

PRIVATE, READABLE = 0o600, 0o644
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)  # some network file systems have none
_SCRATCH = "scratch-"
_HEAD = 40  # of a goal's name in its temporary name: together they stay below the 255 bytes a name may have


def write_with(path: Path, fill: Callable[[IO[bytes]], object], *, mode: int = PRIVATE) -> Path:
    """Write a file whose bytes `fill` puts into the stream that it is given.

    Parameters
    ----------
    path : Path
        Its folder must exist. What lies there is replaced.
    fill : callable
        Gets a binary stream that can be written and sought.
    mode : int
        Of the file under its name; `READABLE` for what holds no patient and other accounts must read.

    Raises
    ------
    StorageFull
        No space or quota left. Whatever is raised, the file before is untouched and nothing else is left.
    """
    path = Path(path)
    with full_disk_is_transient(path):
        # mkstemp makes it 0600; beside its goal, since a rename is only atomic within a file system.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:_HEAD]}-", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                fill(file)
                file.flush()
                if mode != PRIVATE:
                    os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())  # quota and full disks may speak up only here
            os.replace(temporary, path)  # noqa: PTH105 - replaced and synced side by side
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    return path


def write_bytes(path: Path, body: bytes, *, mode: int = PRIVATE) -> Path:
    """Write bytes; raises as `write_with`."""
    return write_with(path, lambda file: file.write(body), mode=mode)


def write_text(path: Path, text: str, *, mode: int = PRIVATE) -> Path:
    """Write text as UTF-8; raises as `write_with`."""
    return write_bytes(path, text.encode(), mode=mode)


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON, a line a value; raises as `write_with`, and TypeError for what JSON does not know."""
    return write_text(path, json.dumps(value, indent=1))


def write_canonical_json(path: Path, value: Any) -> Path:
    """Write a value as JSON that is the same wherever it is made: keys sorted, no NaN, paths and dates as text.

    Raises
    ------
    ValueError
        There is a NaN in it. Else as `write_with`.
    """
    return write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n")


def copy_file(source: Path, goal: Path, *, mode: int = PRIVATE) -> Path:
    """Copy a file's content under another name; raises as `write_with`."""
    with Path(source).open("rb") as content:
        return write_with(goal, lambda file: shutil.copyfileobj(content, file), mode=mode)


def make_folder(folder: Path, *, mode: int = 0o700) -> Path:
    """Make a folder, and those above it, where they are absent, each with `mode` whatever the umask is.

    `Path.mkdir` gives the folders above what the umask leaves, which is everything where it is 000.
    """
    folder = Path(folder)
    for part in reversed([folder, *folder.parents]):
        try:
            part.mkdir(mode=0o700)
        except FileExistsError:
            continue
        part.chmod(mode)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    return folder


@contextmanager
def new_folder(goal: Path, *, mode: int = 0o700) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends well, it takes the place of `goal` with all that is in it.

    Raises
    ------
    StorageFull
        No space or quota left. Whatever is raised, the folder before is untouched and nothing else is left.
    """
    goal = Path(goal)
    with full_disk_is_transient(goal):
        make_folder(goal.parent)
        beside = Path(tempfile.mkdtemp(dir=goal.parent, prefix=f".{goal.name[:_HEAD]}-", suffix=".tmp"))
        try:
            fresh = beside / "new"
            fresh.mkdir(mode=0o700)
            yield fresh
            for path in fresh.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sync_folder(fresh)
            fresh.chmod(mode)
            if goal.exists():
                goal.rename(beside / "old")
            fresh.rename(goal)
            sync_folder(goal.parent)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A folder below `root` for what a block needs and nobody after it; gone afterwards, unless the process is killed.

    Raises
    ------
    StorageFull
        No space or quota left.
    """
    with full_disk_is_transient(root):
        make_folder(root)
        folder = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def discard_scratch(root: Path, before: date) -> int:
    """Delete what killed processes left below `root` in their scratch folders; returns bytes freed.

    Of a folder in which something was written since `before` (UTC) nothing goes. Links are removed, never followed.
    """
    freed = 0
    for folder in sorted(root.glob(f"{_SCRATCH}*")) if root.is_dir() and not root.is_symlink() else []:
        if folder.is_symlink() or not folder.is_dir():
            continue
        files = [path.lstat() for path in (folder, *folder.rglob("*"))]
        if all(datetime.fromtimestamp(stat.st_mtime, UTC).date() < before for stat in files):
            freed += sum(stat.st_size for stat in files[1:])
            shutil.rmtree(folder)
    return freed


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut, where its file system can."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written to and not listed
        return
    try:
        os.fsync(handle)
    except OSError as err:
        if err.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


@contextmanager
def full_disk_is_transient(
    path: Path, then: str = "free space, then run it again", doing: str = "writing"
) -> Iterator[None]:
    """Say a full disk or quota in a sentence, as `StorageFull`; every other error goes through.

    Parameters
    ----------
    path : Path
        What is being written.
    then : str
        What a person does about it.
    doing : str
        What is done with it.
    """
    try:
        yield
    except OSError as err:
        if err.errno in _FULL:
            raise StorageFull(f"{doing} {path}: {os.strerror(err.errno or 0)}; {then}") from err
        raise
