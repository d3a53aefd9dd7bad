"""The simulated hospital's stages: unbalanced by default, any mix by a setting, and enough of each to train on."""

from __future__ import annotations

from collections import Counter

import pytest

from gtr_batch.domain.staging import STAGES, KeySliceSource
from gtr_batch.errors import InputRefused
from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.simulation.hospital.audited_year import AuditedYear, patients_of
from gtr_batch.simulation.hospital.mix import STAGE_MIX, in_turn, parse_mix
from gtr_batch.simulation.hospital.year import Operated, Year, operated
from gtr_batch.stage.artefact import read_manifest


def test_a_mix_is_read_as_percent():
    assert parse_mix("50/15/20/15") == pytest.approx((0.5, 0.15, 0.2, 0.15))


@pytest.mark.parametrize("text", ["", "25/25/25", "25/25/25/26", "50/50/0/0", "a/b/c/d"])
def test_what_is_no_mix_is_refused(text):
    with pytest.raises(InputRefused, match="T1/T2/T3/T4"):
        parse_mix(text)


def test_balanced_stages_take_turns_as_they_did():
    assert in_turn((0.25, 0.25, 0.25, 0.25), 12) == [0, 1, 2, 3] * 3


def test_every_beginning_holds_the_stages_in_proportion():
    stages = in_turn(STAGE_MIX, 280)

    for n in range(1, 281):
        counts = [stages[:n].count(k) for k in range(4)]
        assert all(abs(c - n * share) <= 1 for c, share in zip(counts, STAGE_MIX, strict=True))


def test_the_demos_year_holds_enough_of_every_stage_to_train_on():
    """A fifth is sealed, 14% validate, and 20 of each stage must be left (`gtr_batch.simulation.demos.training`)."""
    eligible = [
        one.patient.true_stage
        for one in operated(Year())
        if one.fate == "pT" and one.patient.key_slice is not KeySliceSource.AUTOMATIC
    ]
    counts = Counter(eligible)

    assert len(eligible) == 241
    assert all(n - round(0.2 * n) - round(0.14 * n) >= 20 for n in (counts[s] for s in STAGES))
    assert counts[STAGES[3]] > 2 * counts[STAGES[0]]


def test_the_audited_years_stages_come_in_its_mix():
    given = [one.patient if isinstance(one, Operated) else one for one in patients_of(AuditedYear(patients=2000))]
    counts = Counter(p.true_stage for p in given)

    assert [counts[s] / 2000 for s in STAGES] == pytest.approx(STAGE_MIX, abs=0.05)


def test_the_demos_model_knows_the_simulated_hospitals_mix():
    priors = read_manifest(ARTEFACT)[0].priors

    assert priors is not None
    assert priors.cohort == pytest.approx(STAGE_MIX, abs=0.001)
