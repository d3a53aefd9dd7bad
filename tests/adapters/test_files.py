"""The file store: private, atomic, and no name ever becomes a path."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtr_batch.domain.case import Step
from gtr_batch.domain.identifiers import case_id
from gtr_batch.errors import StorageFull
from gtr_batch.files import REPLAYS, LocalFileStore

NIGHT = date(2026, 3, 1)
CASE = case_id("1.2", "1.2.3")


@pytest.fixture
def store(tmp_path) -> LocalFileStore:
    return LocalFileStore(tmp_path / "store")


@pytest.fixture
def open_umask():
    """A process that would let everybody read."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_value_comes_back_as_it_was_written(store):
    value = {"spacing_mm": [0.7, 0.7], "name": "Größe", "nothing": None}

    path = store.write_json(NIGHT, CASE, Step.PREPROCESS, "geometry", value)

    assert path == store.root / "2026-03-01" / CASE / "preprocess" / "geometry.json"
    assert store.read_json(NIGHT, CASE, Step.PREPROCESS, "geometry") == value


def test_arrays_come_back_as_they_were_written(store):
    arrays = {"slices": np.arange(12, dtype=np.float32).reshape(3, 2, 2), "flag": np.array(True)}

    store.write_arrays(NIGHT, CASE, Step.PREPROCESS, "prepared", arrays)
    back = store.read_arrays(NIGHT, CASE, Step.PREPROCESS, "prepared")

    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype


def test_arrays_of_objects_are_neither_written_nor_read(store):
    with pytest.raises(ValueError, match="pickled"):
        store.write_arrays(NIGHT, CASE, Step.STAGE, "features", {"a": np.array([{}])})
    planted = store.folder(NIGHT, CASE, Step.STAGE) / "features.npz"
    np.savez(planted, a=np.array([{}]))

    with pytest.raises(ValueError, match="allow_pickle"):
        store.read_arrays(NIGHT, CASE, Step.STAGE, "features")


def test_what_was_not_written_is_not_found_and_makes_no_folder(store):
    with pytest.raises(FileNotFoundError):
        store.read_json(NIGHT, CASE, Step.STAGE, "absent")
    with pytest.raises(FileNotFoundError):
        store.read_arrays(NIGHT, CASE, Step.STAGE, "absent")

    assert not store.root.exists()


def test_folders_and_files_are_private_whatever_the_umask(store, open_umask):
    store.write_json(NIGHT, CASE, Step.REPORT, "objects", [])
    store.write_arrays(NIGHT, CASE, Step.EXPLAIN, "heat", {"heat": np.zeros(3)})
    store.night_folder(NIGHT, "data_docs")

    modes = {stat.S_IMODE(path.stat().st_mode) for path in [store.root, *store.root.rglob("*")] if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.root.rglob("*") if path.is_file()} == {0o600}


def test_writing_again_replaces(store):
    store.write_json(NIGHT, CASE, Step.REPORT, "objects", [1])

    path = store.write_json(NIGHT, CASE, Step.REPORT, "objects", [2])

    assert store.read_json(NIGHT, CASE, Step.REPORT, "objects") == [2]
    assert [p.name for p in path.parent.iterdir()] == ["objects.json"]


@pytest.mark.parametrize(
    "wrong",
    ["", ".", "..", "../..", "/etc", "1.2.3", CASE.upper(), CASE + "/..", CASE + "\n", "{" + CASE + "}", f"../{CASE}"],
)
def test_a_case_id_that_is_no_uuid_is_refused(store, wrong):
    with pytest.raises(ValueError, match="UUID"):
        store.folder(NIGHT, wrong, Step.RETRIEVE)
    with pytest.raises(ValueError, match="UUID"):
        store.read_json(NIGHT, wrong, Step.RETRIEVE, "a")

    assert not store.root.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=st.one_of(st.text(max_size=12), st.sampled_from(["..", "a/b", "/a", "a\\b", ".hidden", "a\x00", "~"])))
def test_no_name_leads_out_of_its_folder(store, name):
    folder = store.folder(NIGHT, CASE, Step.REPORT)
    try:
        path = store.write_json(NIGHT, CASE, Step.REPORT, name, 1)
    except ValueError:
        return

    assert path.parent == folder
    assert path.resolve().parent == folder.resolve()
    path.unlink()


def test_a_night_folder_has_a_plain_name(store):
    assert store.night_folder(NIGHT, "data_docs") == store.root / "2026-03-01" / "data_docs"
    with pytest.raises(ValueError, match="plain"):
        store.night_folder(NIGHT, "../2026-03-02")


def test_an_unknown_step_is_refused(store):
    with pytest.raises(ValueError, match="somewhere"):
        store.folder(NIGHT, CASE, "somewhere")


# A disk that is full

LIMITED = """
import resource, signal, sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
import numpy as np
from gtr_batch.domain.case import Step
from gtr_batch.errors import StorageFull
from gtr_batch.files import LocalFileStore
store = LocalFileStore(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
noise = np.random.default_rng(0).random(9999)  # does not compress
try:
    store.write_arrays(date(2026, 3, 1), sys.argv[2], Step.PREPROCESS, "prepared", {"a": noise})
except StorageFull as err:
    print("full:", err)
"""


def test_a_write_that_does_not_fit_is_storage_full_and_leaves_what_was_there(store):
    """The operating system's own limit on file size stands for a full disk: the write stops in the middle."""
    before = {"a": np.arange(3)}
    path = store.write_arrays(NIGHT, CASE, Step.PREPROCESS, "prepared", before)

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(store.root), CASE], capture_output=True, text=True, check=True
    )

    assert done.stdout.startswith("full:")
    assert [p.name for p in path.parent.iterdir()] == ["prepared.npz"]
    np.testing.assert_array_equal(store.read_arrays(NIGHT, CASE, Step.PREPROCESS, "prepared")["a"], before["a"])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_and_no_quota_may_pass(store, monkeypatch, code):
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(StorageFull, match=os.strerror(code)):
        store.write_json(NIGHT, CASE, Step.REPORT, "objects", [])
    assert list(store.folder(NIGHT, CASE, Step.REPORT).iterdir()) == []


def test_another_fault_of_the_disk_is_not_hidden(store, monkeypatch):
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fsync", broken)

    with pytest.raises(OSError, match="broken"):
        store.write_json(NIGHT, CASE, Step.REPORT, "objects", [])


def test_free_space_is_known_before_the_store_exists(store):
    assert (
        0
        < store.free_bytes()
        == pytest.approx(os.statvfs(store.root.parent).f_bavail * os.statvfs(store.root.parent).f_frsize, rel=0.05)
    )


# Retention


def fill(store: LocalFileStore, night: date) -> None:
    for name in ("1.2.3.dcm", "1.2.4.dcm"):
        (store.folder(night, CASE, Step.RETRIEVE) / name).write_bytes(bytes(1000))
    store.write_arrays(night, CASE, Step.PREPROCESS, "prepared", {"slices": np.zeros((3, 8, 8))})
    store.write_json(night, CASE, Step.PREPROCESS, "geometry", {})
    store.write_arrays(night, CASE, Step.STAGE, "features", {"features": np.zeros(4)})
    (store.folder(night, CASE, Step.REPORT) / "structured_report.dcm").write_bytes(bytes(500))
    (store.night_folder(night, "data_docs") / "index.html").write_text("docs")


def files_of(store: LocalFileStore, night: date) -> set[str]:
    folder = store.root / night.isoformat()
    return {str(p.relative_to(folder)).replace(f"{CASE}/", "") for p in folder.rglob("*") if p.is_file()}


# What a night fetches beside the case's series: intake's probes, and what may name a key slice.
BESIDE = ((Step.INTAKE, "1.2.5.dcm"), (Step.RETRIEVE, "KO/1.2.6.dcm"), (Step.RETRIEVE, "SEG/1.2.7.dcm"))
KEPT = {"preprocess/geometry.json", "stage/features.npz", "report/structured_report.dcm", "data_docs/index.html"}
PIXELS = {"retrieve/1.2.3.dcm", "retrieve/1.2.4.dcm", "preprocess/prepared.npz"}


def test_pixels_of_old_nights_go_and_results_stay(store):
    for night in (date(2026, 2, 28), NIGHT):
        fill(store, night)
    expected = 2000 + (store.root / "2026-02-28" / CASE / "preprocess" / "prepared.npz").stat().st_size

    freed = store.discard_pixels(NIGHT)

    assert freed == expected
    assert files_of(store, date(2026, 2, 28)) == KEPT
    assert files_of(store, NIGHT) == KEPT | PIXELS
    assert store.discard_pixels(NIGHT) == 0


@pytest.mark.parametrize(("step", "name"), BESIDE)
def test_what_was_fetched_beside_the_series_goes_with_it(store, step, name):
    """Each of these is a DICOM file with the patient's identity."""
    fill(store, NIGHT)
    fetched = store.folder(NIGHT, CASE, step) / name
    fetched.parent.mkdir(exist_ok=True)
    fetched.write_bytes(bytes(700))

    store.discard_pixels(date(2026, 3, 2))

    assert files_of(store, NIGHT) == KEPT


def test_slices_that_a_replay_prepared_go_too(store):
    replays = LocalFileStore(store.root / REPLAYS)
    replays.write_arrays(NIGHT, CASE, Step.PREPROCESS, "prepared", {"slices": np.zeros((3, 8, 8))})
    replays.write_arrays(NIGHT, CASE, Step.STAGE, "features", {"features": np.zeros(4)})

    freed = store.discard_pixels(date(2026, 3, 2))

    assert freed > 0
    assert files_of(replays, NIGHT) == {"stage/features.npz"}


def test_retention_spares_the_cases_that_it_is_told_to_and_takes_the_probes_of_intake(store):
    fill(store, NIGHT)
    probe = store.folder(NIGHT, "5f0c1a52-6b1c-4f53-9df4-1d7b0c1f7a10", Step.INTAKE) / "1.2.9.dcm"
    probe.write_bytes(bytes(100))

    assert store.discard_pixels(date(2026, 3, 9), {CASE}) == 100
    assert files_of(store, NIGHT) >= PIXELS
    assert not probe.exists()
    assert store.discard_case(NIGHT, CASE) > 0
    assert files_of(store, NIGHT) == KEPT


def test_retention_touches_nothing_that_is_not_a_night(store):
    fill(store, NIGHT)
    other = store.root / "models" / CASE / "retrieve"
    other.mkdir(parents=True)
    (other / "1.dcm").write_bytes(b"x")

    store.discard_pixels(date(9999, 1, 1))

    assert (other / "1.dcm").exists()


def test_retention_follows_no_link(store, tmp_path):
    fill(store, NIGHT)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "1.2.3.dcm").write_bytes(b"x")
    (store.root / "2026-03-01" / CASE / "retrieve" / "1.2.9.dcm").symlink_to(outside / "1.2.3.dcm")
    (store.root / "2026-01-01").symlink_to(store.root / "2026-03-01")
    (store.root / "2026-03-01" / case_id("1.9")).mkdir()
    (store.root / "2026-03-01" / case_id("1.9") / "retrieve").symlink_to(outside)

    store.discard_pixels(date(2026, 3, 2))

    assert (outside / "1.2.3.dcm").read_bytes() == b"x"
    assert files_of(store, NIGHT) == KEPT


def test_retention_takes_what_came_beside_the_pixels_and_what_replays_left(store):
    for place in ("intake/1.dcm", "retrieve/KO/1.dcm", "retrieve/SEG/1.dcm", "retrieve/RTSTRUCT/1.dcm"):
        path = store.root / str(NIGHT) / CASE / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    for place in (f"{NIGHT}/pacs/studies.json", f"restage/{NIGHT}/{CASE}/stage/features.npz"):
        path = store.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    last_written = max(p.stat().st_mtime for p in (store.root / "restage").rglob("*"))
    written_on = datetime.fromtimestamp(last_written, UTC).date()
    day = timedelta(days=1)

    store.discard_pixels(min(NIGHT + day, written_on))
    assert (store.root / "restage" / str(NIGHT) / CASE / "stage" / "features.npz").exists()

    store.discard_pixels(max(NIGHT, written_on) + day)
    assert [p.name for p in store.root.rglob("*") if p.is_file()] == []


def test_retention_of_a_store_that_was_never_used_frees_nothing(store):
    assert store.discard_pixels(NIGHT) == 0
