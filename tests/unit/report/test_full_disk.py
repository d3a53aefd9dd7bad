"""A disk that is full while a report is written: said in the words of the writer, and no half of the answer is left."""

from __future__ import annotations

import errno
import os

import pytest

from gtr_batch.config import ReportConfig
from gtr_batch.errors import StorageFull
from gtr_batch.report import write_case
from tests.builders import a_case, a_geometry, a_heat, a_manifest, a_score, a_series, a_staging, an_overlay


@pytest.fixture
def write(tmp_path):
    """A function that writes the objects of a case into a folder."""
    files = a_series(tmp_path / "source")
    geometry = a_geometry(files)

    def into(folder):
        return write_case(
            folder,
            case=a_case(files),
            source_files=files,
            staging=a_staging(geometry),
            score=a_score(),
            geometry=geometry,
            heat=a_heat(),
            overlay=an_overlay(),
            manifest=a_manifest(),
            config=ReportConfig(),
        )

    return into


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_whichever_object_finds_the_disk_full_none_of_the_answer_is_left(write, tmp_path, monkeypatch, nth):
    """Full disks may speak up only when a file is synced."""
    folder, real, synced = tmp_path / "report", os.fsync, []

    def full(handle):
        if os.readlink(f"/proc/self/fd/{handle}").endswith(".tmp"):  # noqa: PTH115 - as the kernel has it
            synced.append(handle)
            if len(synced) == nth:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as disk, pytest.raises(StorageFull) as said:
        disk.setattr(os, "fsync", full)
        write(folder)

    assert str(said.value).startswith(f"writing {folder}/")
    assert str(said.value).endswith(": No space left on device; free space, then run it again")
    assert list(folder.iterdir()) == []
    assert len(write(folder)) == 4


def test_a_disk_without_room_for_the_folder_is_full_too(write, tmp_path, monkeypatch):
    folder = tmp_path / "report"

    def full(path, *_, **__):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(StorageFull, match=f"writing {folder}: Disk quota exceeded; free space, then run it again"):
        write(folder)


def test_objects_of_an_earlier_answer_stay(write, tmp_path, monkeypatch):
    folder = tmp_path / "report"
    before = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    written = {one.file for one in write(folder)}

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        write(folder)

    assert {path.name for path in folder.iterdir()} == before | written
