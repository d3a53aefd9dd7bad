"""Slices come from the nearest place that has them, once; damage and failure are noticed."""

from __future__ import annotations

import resource
import signal
from datetime import date, datetime

import attrs
import numpy as np
import pytest

from gtr_batch.config import Config, FilesConfig, TrainingConfig
from gtr_batch.domain.case import Case, Step
from gtr_batch.domain.cohort import Member, Split
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.model import PreprocessingContract
from gtr_batch.domain.staging import KeySliceSource, TStage
from gtr_batch.errors import AssociationLost, CaseRejected, PermanentError, StorageFull
from gtr_batch.files import LocalFileStore
from gtr_batch.night.memory import MemoryCases
from gtr_batch.training import cache as caching
from gtr_batch.training.cache import Cached, Origin, SliceCache, fetch, gather
from gtr_batch.training.site import TrainingSite

CONTRACT = PreprocessingContract(size=8)


class NoArchive:
    """A PACS that dies when it is asked."""

    def find_instances(self, study_uid, series_uid):
        raise AssociationLost("the PACS cut the association")


def a_member(number: int = 1) -> Member:
    study, series = f"1.2.{number}", f"1.2.{number}.4"
    return Member(
        subject=f"s{number}",
        case_id=case_id(study, series),
        study_uid=study,
        series_uid=series,
        slices=(f"{series}.1", f"{series}.2", f"{series}.3"),
        key_slice_source=KeySliceSource.EHR,
        label=TStage.T2,
        split=Split.TRAIN,
        scanner="A",
        study_on=date(2026, 3, 1),
        operated_on=date(2026, 3, 9),
    )


def slices(value: float = 1.0) -> np.ndarray:
    return np.full((3, 8, 8), value, np.float16)


@pytest.fixture
def site(tmp_path):
    """A training site whose PACS is dead, with one night's files."""
    made = TrainingSite(
        config=Config(
            files=FilesConfig(root=tmp_path / "store"), training=TrainingConfig(folder=tmp_path / "training")
        ),
        archive=NoArchive(),
        cases=MemoryCases(),
        source=None,
        cohorts=None,
        files=LocalFileStore(tmp_path / "store"),
        model_store=None,
        registry=None,
    )
    made.champion = attrs.make_class("Champion", {"contract": attrs.field(default=CONTRACT)})()
    return made


def prepare_night(site, member, contract=CONTRACT, uids=None):
    night = date(2026, 3, 1)
    case = Case(member.case_id, night, member.study_uid, member.series_uid, "P", "A", datetime(2026, 3, 1))
    site.cases.record([case])
    at = (night, member.case_id, Step.PREPROCESS)
    site.files.write_arrays(*at, "prepared", {"slices": slices(2.0)})
    site.files.write_json(*at, "geometry", {"sop_instance_uids": list(uids or member.slices)})
    site.files.write_json(*at, "contract", attrs.asdict(contract))


def kept(site):
    return SliceCache(site.config.training.folder / "cache", CONTRACT)


def test_slices_come_from_the_night_first_and_from_the_cache_after_that(site):
    member = a_member()
    prepare_night(site, member)

    first, where = fetch(site, member, kept(site))
    second, later = fetch(site, member, kept(site))

    assert (where, later) == (Origin.NIGHT, Origin.CACHE)
    np.testing.assert_array_equal(first.slices, second.slices)


@pytest.mark.parametrize("change", [{"contract": PreprocessingContract(size=9)}, {"uids": ("9", "8", "7")}])
def test_what_the_night_prepared_otherwise_is_not_used(site, change):
    member = a_member()
    prepare_night(site, member, **change)

    with pytest.raises(AssociationLost):
        fetch(site, member, kept(site))


def test_a_damaged_entry_is_made_anew(site):
    member = a_member()
    prepare_night(site, member)
    fetch(site, member, kept(site))
    (path,) = kept(site).folder.glob("*.npz")
    body = bytearray(path.read_bytes())
    body[len(body) // 3] ^= 0xFF
    path.write_bytes(bytes(body))

    found, where = fetch(site, member, kept(site))

    assert where is Origin.NIGHT
    np.testing.assert_array_equal(found.slices, slices(2.0))


def test_files_are_for_their_owner_only(site):
    kept(site).write(a_member(), Cached(slices()))

    (path,) = kept(site).folder.glob("*.npz")
    assert path.stat().st_mode & 0o777 == 0o600
    assert "s1" not in path.name


def test_lesion_and_stack_come_back_as_they_were(site):
    stack, lesion = np.arange(5 * 64, dtype=np.float16).reshape(5, 8, 8), np.eye(8, dtype=bool)[None].repeat(3, 0)

    kept(site).write(a_member(), Cached(slices(), lesion, stack, 2))
    found = kept(site).read(a_member())

    np.testing.assert_array_equal(found.stack, stack)
    np.testing.assert_array_equal(found.lesion, lesion)
    assert found.key_index == 2


def test_a_series_that_cannot_be_read_is_listed_and_left_out(site, monkeypatch):
    def refuse(_site, member, *_how):
        raise CaseRejected("unreadable_pixels", f"instance of {member.series_uid} is cut short")

    monkeypatch.setattr(caching, "_from_pacs", refuse)
    members = [a_member(n) for n in range(20)]
    for member in members[1:]:
        prepare_night(site, member)

    found, unreadable, origins = gather(site, members)

    assert (len(found), list(unreadable), origins["night"]) == (19, [members[0].case_id], 19)
    assert "cut short" in unreadable[members[0].case_id]


def test_too_many_unreadable_series_stop_the_run(site, monkeypatch):
    def refuse(_site, _member, *_how):
        raise CaseRejected("unreadable_pixels", "an instance is cut short")

    monkeypatch.setattr(caching, "_from_pacs", refuse)
    members = [a_member(n) for n in range(10)]
    for member in members[2:]:
        prepare_night(site, member)

    with pytest.raises(PermanentError, match="2 of 10 series cannot be read"):
        gather(site, members)


def test_a_pacs_that_dies_in_the_middle_loses_nothing_that_was_cached(site):
    members = [a_member(n) for n in range(3)]
    for member in members[:2]:
        prepare_night(site, member)

    with pytest.raises(AssociationLost):
        gather(site, members)

    assert len(list(kept(site).folder.glob("*.npz"))) == 2


def test_a_full_disk_is_said_and_leaves_no_half_entry(site):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        with pytest.raises(StorageFull, match="free space"):
            kept(site).write(a_member(), Cached(slices()))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert list(kept(site).folder.iterdir()) == []
