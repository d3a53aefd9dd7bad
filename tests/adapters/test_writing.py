"""The one writer of files: under its name a file is there in full or not at all, and nobody else may read it."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import gtr_batch
from gtr_batch.errors import StorageFull
from gtr_batch.writing import (
    READABLE,
    copy_file,
    discard_scratch,
    full_disk_is_transient,
    make_folder,
    new_folder,
    scratch_folder,
    write_bytes,
    write_json,
    write_text,
    write_with,
)

WRITER = """
import json, sys
from pathlib import Path
from gtr_batch.writing import write_json
path, who, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for number in range(times):
    write_json(path, {"who": who, "number": number, "body": [who] * (number % 400)})
"""


def test_two_processes_that_write_the_same_file_lose_none_and_leave_no_half(tmp_path):
    path = tmp_path / "night.json"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), who, "3000"], stderr=subprocess.PIPE, text=True)
        for who in "ab"
    ]
    seen, modes = 0, set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            with path.open() as file:
                modes.add(stat.S_IMODE(os.fstat(file.fileno()).st_mode))
                value = json.load(file)
            assert value["body"] == [value["who"]] * (value["number"] % 400)
            seen += 1
        time.sleep(0.0005)

    assert [(writer.wait(), writer.stderr.read()) for writer in writers] == [(0, ""), (0, "")]
    assert seen > 100
    assert modes == {0o600}
    assert json.loads(path.read_text())["number"] == 2999
    assert [p.name for p in tmp_path.iterdir()] == ["night.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_real_full_device_is_storage_full():
    with pytest.raises(StorageFull), full_disk_is_transient(Path("/dev/full")), Path("/dev/full").open("wb") as file:
        file.write(b"x" * 100_000)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask():
    """A process that would let everybody read."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folders_have_their_mode_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        make_folder(tmp_path / "private" / "below" / "it")
        make_folder(tmp_path / "readable" / "below", mode=0o755)
        make_folder(tmp_path / "readable")
    finally:
        os.umask(before)

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "private").rglob("*")}
    assert modes == {"below": 0o700, "it": 0o700}
    assert {(tmp_path / n).stat().st_mode & 0o777 for n in ("readable", "readable/below")} == {0o755}


def test_a_file_is_private_from_its_first_byte(tmp_path, open_umask):
    seen = []

    def fill(file):
        file.write(b"a")
        file.flush()
        seen.extend(mode_of(path) for path in tmp_path.iterdir())

    path = write_with(tmp_path / "a", fill)

    assert seen == [0o600]
    assert mode_of(path) == 0o600


def test_what_other_accounts_must_read_says_so(tmp_path):
    assert mode_of(write_text(tmp_path / "manifest.json", "{}", mode=READABLE)) == 0o644


def test_a_file_that_was_open_to_all_is_private_after_it_is_written_again(tmp_path):
    path = tmp_path / "old.json"
    path.write_text("{}")
    path.chmod(0o644)

    write_json(path, {"a": 1})

    assert mode_of(path) == 0o600


def test_a_copy_has_the_content_and_is_private(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"pixels" * 10_000)
    source.chmod(0o644)

    goal = copy_file(source, tmp_path / "goal")

    assert goal.read_bytes() == source.read_bytes()
    assert mode_of(goal) == 0o600


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt(), ValueError("no")])
def test_whatever_stops_a_write_leaves_the_file_before_and_nothing_else(tmp_path, error):
    path = write_text(tmp_path / "a", "before")

    def fill(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_with(path, fill)

    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert path.read_text() == "before"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_said_in_a_sentence_that_names_the_file_and_the_way_out(tmp_path, monkeypatch, code):
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(StorageFull) as told:
        write_bytes(tmp_path / "a", b"x")

    assert str(told.value) == f"writing {tmp_path / 'a'}: {os.strerror(code)}; free space, then run it again"
    assert list(tmp_path.iterdir()) == []


def test_file_and_folder_are_synced(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)) or real(handle)
    )

    write_bytes(tmp_path / "a", b"x")

    assert synced == [False, True]


def test_a_folder_system_without_sync_of_folders_is_no_fault(tmp_path, monkeypatch):
    real = os.fsync

    def only_files(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not supported")
        real(handle)

    monkeypatch.setattr(os, "fsync", only_files)

    assert write_bytes(tmp_path / "a", b"x").read_bytes() == b"x"


def test_a_name_as_long_as_a_name_may_be_can_be_written(tmp_path):
    path = write_bytes(tmp_path / ("n" * 255), b"x")

    assert path.read_bytes() == b"x"


def test_a_new_folder_replaces_the_one_before_only_when_it_is_filled(tmp_path):
    goal = tmp_path / "artefact"
    with new_folder(goal) as fresh:
        write_text(fresh / "a", "1")
    with pytest.raises(ValueError, match="stopped"), new_folder(goal) as fresh:
        write_text(fresh / "b", "2")
        raise ValueError("stopped")
    assert [p.name for p in goal.iterdir()] == ["a"]

    with new_folder(goal, mode=0o755) as fresh:
        write_text(fresh / "c", "3")

    assert [p.name for p in goal.iterdir()] == ["c"]
    assert mode_of(goal) == 0o755
    assert [p.name for p in tmp_path.iterdir()] == ["artefact"]


def test_scratch_is_gone_after_the_block_whatever_happens(tmp_path):
    with pytest.raises(ValueError, match="stopped"), scratch_folder(tmp_path) as folder:
        assert mode_of(folder) == 0o700
        write_text(folder / "a", "1")
        raise ValueError("stopped")

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_in_its_scratch_is_deleted_when_it_is_old_enough(tmp_path):
    """Not what somebody still writes to, nothing beside it, and nothing behind a link."""
    root, elsewhere = tmp_path / "training", tmp_path / "elsewhere"
    for folder in (root / "scratch-old" / "SEG", root / "scratch-new", root / "runs", elsewhere):
        folder.mkdir(parents=True)
        write_text(folder / "a", "12345")
    (root / "scratch-link").symlink_to(elsewhere)
    long_ago = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    for path in (*root.rglob("*"), root / "scratch-new"):
        os.utime(path, (long_ago, long_ago), follow_symlinks=False)
    write_text(root / "scratch-new" / "b", "1")

    kept = discard_scratch(root, date(2026, 3, 1))
    freed = discard_scratch(root, date(2026, 3, 2))

    assert kept == 0
    assert freed >= 5
    assert {path.name for path in root.iterdir()} == {"scratch-new", "scratch-link", "runs"}
    assert (elsewhere / "a").exists()
    assert discard_scratch(tmp_path / "nothing", date(2026, 3, 2)) == 0


def test_nobody_writes_files_but_the_one_writer():
    """Of the service itself; the synthetic hospital writes its own folders. Arrivals are 0600, synced and renamed."""
    package = Path(gtr_batch.__file__).parent
    sources = [p for p in package.rglob("*.py") if "simulation" not in p.parts and p.name != "writing.py"]
    past_it = re.compile(r"\.write_(text|bytes)\(|\bopen\(\s*[\"'][wax]|json\.dump\(|\.save_as\((?!buffer)")

    assert sources
    assert [p.name for p in sources if past_it.search(p.read_text())] == []


def test_nobody_makes_folders_but_the_one_writer():
    """`mkdir` gives what the umask leaves to the folders above, and its own mode is cut by it."""
    package = Path(gtr_batch.__file__).parent
    sources = [p for p in package.rglob("*.py") if p.name != "writing.py"]
    service = [p for p in sources if "simulation" not in p.parts]
    simulated = [p for p in sources if "simulation" in p.parts]

    assert [p.name for p in service if re.search(r"\bmkdir\(|\bmakedirs\(", p.read_text())] == []
    assert [p.name for p in simulated if re.search(r"\bmkdir\([^)]*mode=", p.read_text())] == []
