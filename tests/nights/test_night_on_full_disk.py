"""A file system that is full, for real: before a step, and while it writes. Nothing is lost, and the next run ends."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

from gtr_batch import night as steps
from gtr_batch.domain.case import CaseState
from gtr_batch.errors import CasesToRetry, NightFailed, StorageFull
from gtr_batch.wiring import open_site
from tests.nights.conftest import NIGHT
from tests.nights.test_night import in_the_pacs, run

LEFT = 20_000  # bytes
WRITING = (steps.retrieve, steps.validate, steps.preprocess, steps.stage, steps.report)


class SmallDisk:
    """A file system of memory that a test fills and frees."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / "ballast"

    def fill(self, left: int = LEFT) -> None:
        with self._ballast.open("ab") as file:
            while (free := shutil.disk_usage(self.folder).free - left) > 0:
                file.write(b"\0" * min(free, 1 << 20))
                file.flush()

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tmp_path):
    """The file store of the site on a file system of 128 MB."""
    folder = tmp_path / "store"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this account may not mount a file system: a full one cannot be had")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def shard(disk, site, admit, enter_in_ehr, fill):
    """The one case of a night, found."""
    admit("one")
    enter_in_ehr("one")
    fill()
    return steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))[0]


def half_written(disk):
    return [str(path) for path in disk.folder.rglob("*") if path.suffix in (".part", ".tmp")]


@pytest.mark.slow
def test_with_too_little_space_a_step_begins_nothing_and_the_case_says_why(site, shard, disk):
    """Looked at before each step that writes; what is written already is delivered although the disk is full."""
    for step in steps.SHARD_STEPS:
        if step in WRITING:
            before = {str(path) for path in disk.folder.rglob("*")}
            reached = site.cases.get(shard[0]).reached
            disk.fill()
            with pytest.raises(CasesToRetry, match=r"1 of 1 .* GB free in the file store, .* wanted"):
                step(site, NIGHT, shard)
            with pytest.raises(NightFailed, match="StorageFull"):
                steps.close_night(site, NIGHT)
            disk.free()
            case = site.cases.get(shard[0])
            assert (case.state, case.reached, case.failure.retryable) == (CaseState.FAILED, reached, True)
            assert all("/summary" in path for path in {str(path) for path in disk.folder.rglob("*")} - before)
            step(site, NIGHT, shard)
        else:
            disk.fill(0)
            step(site, NIGHT, shard)
            disk.free()

    assert site.cases.get(shard[0]).state is CaseState.COMMITTED


@pytest.mark.slow
def test_a_disk_that_fills_while_a_step_writes_fails_the_case_alone_and_leaves_no_half(site, shard, disk):
    """In every step that writes; the switch is asked after the space was looked at."""

    class Filling:
        def stopped(self):
            disk.fill()

    for step in steps.SHARD_STEPS:
        if step in WRITING:
            switch, site.switch = site.switch, Filling()
            with pytest.raises(CasesToRetry, match="StorageFull"):
                step(site, NIGHT, shard)
            site.switch = switch
            assert half_written(disk) == [], step.__name__
            disk.free()
        step(site, NIGHT, shard)

    case = site.cases.get(shard[0])
    assert case.state is CaseState.COMMITTED
    assert in_the_pacs(site, case.study_uid) == {"CT": 22, "SR": 1, "OT": 2, "KO": 1}


def test_a_disk_that_is_full_when_the_night_begins_ends_query_and_intake_as_what_may_work_later(site, disk, shard):
    studies = steps.query_pacs(site, NIGHT)
    disk.fill(0)

    with pytest.raises(StorageFull, match="free space, then run it again"):
        steps.query_pacs(site, NIGHT)
    with pytest.raises(StorageFull):
        steps.intake(site, NIGHT, studies)

    disk.free()
    assert steps.intake(site, NIGHT, studies) == [shard]


def test_no_series_is_fetched_where_less_is_free_than_the_site_wants(config, admit, enter_in_ehr, fill):
    admit("one")
    enter_in_ehr("one")
    fill()
    much = attrs.evolve(config, files=attrs.evolve(config.files, min_free_gb=1e6))

    with open_site(much) as site:
        [shard] = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
        with pytest.raises(CasesToRetry, match=r"1000000.00 wanted \(files.min_free_gb\) before retrieve begins"):
            steps.retrieve(site, NIGHT, shard)

    assert not list(config.files.root.rglob("retrieve/*"))
    with open_site(config) as site:
        steps.retrieve(site, NIGHT, shard)
    for path in config.files.root.rglob("retrieve/*.dcm"):
        path.unlink()
    with open_site(much) as site, pytest.raises(CasesToRetry, match="wanted"):  # nor fetched again
        steps.retrieve(site, NIGHT, shard)
    assert not list(config.files.root.rglob("retrieve/*.dcm"))
    with open_site(config) as site:
        assert run(site)["states"] == {"committed": 1}
