"""The contract of `StudyLooks`, in memory and over PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gtr_batch.db.looks import PostgresStudyLooks
from gtr_batch.domain.study_look import StudyLook
from gtr_batch.night.memory import MemoryStudyLooks

AT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
LATER = AT + timedelta(minutes=10)


@pytest.fixture(params=["memory", "postgres"])
def looks(request):
    return MemoryStudyLooks() if request.param == "memory" else PostgresStudyLooks(request.getfixturevalue("database"))


def test_counts_that_are_the_same_stand_still_since_the_first_look(looks):
    looks.note("1.2", {"1.2.1": 24, "1.2.2": 3}, AT)

    seen = looks.note("1.2", {"1.2.2": 3, "1.2.1": 24}, LATER)

    assert (dict(seen.counts), seen.instances, seen.since) == ({"1.2.1": 24, "1.2.2": 3}, 27, AT)


@pytest.mark.parametrize("counts", [{"1.2.1": 25}, {"1.2.1": 23}, {"1.2.1": 24, "1.2.2": 1}, {}])
def test_other_counts_stand_still_since_now(looks, counts):
    looks.note("1.2", {"1.2.1": 24}, AT)

    assert looks.note("1.2", counts, LATER) == StudyLook(counts, LATER)


def test_only_studies_that_were_looked_at_have_a_look(looks):
    looks.note("1.2", {"1.2.1": 24}, AT)
    looks.note("1.3", {}, LATER)

    assert looks.of(["1.2", "1.9"]) == {"1.2": StudyLook({"1.2.1": 24}, AT)}
