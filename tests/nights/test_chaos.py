"""Nights with a fault each, small: what `make chaos` does with 24 cases and 40 rounds."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import run, table
from tests.chaos.rounds import FAULTS, planned


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_whatever_strikes_a_night_nothing_is_lost_doubled_or_wrong_and_no_run_hangs(need_program, artefact, tmp_path):
    program = need_program("Orthanc", "orthanc")

    rounds = list(run(tmp_path, program, artefact, cases=3, rounds=6, seed=20261126, shard_size=2))

    assert [(one.fault, one.moment, one.why) for one in rounds if not one.sound] == []
    assert [one.fault for one in rounds] == list(FAULTS)[:6]
    assert "| all | 6 |" in table(rounds)


def test_a_seed_gives_the_same_rounds_and_each_fault_comes_as_often():
    rounds = planned(1, 40, 192)

    assert rounds == planned(1, 40, 192) != planned(2, 40, 192)
    assert {name: sum(one.fault == name for one in rounds) for name in FAULTS} == dict.fromkeys(FAULTS, 5)
