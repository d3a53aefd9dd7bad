"""Fits are of patients whom nobody has seen: neither the weights, nor the choice of the epoch."""

from __future__ import annotations

from collections import Counter
from datetime import date

import numpy as np
import pytest

from gtr_batch.config import TrainingConfig
from gtr_batch.domain.cohort import Member, Split
from gtr_batch.domain.staging import STAGES, KeySliceSource
from gtr_batch.errors import ConfigError
from gtr_batch.simulation.worlds.overfitting import Overfitting, drawn, trained
from gtr_batch.training.split import folds_of, stopping_and_fits
from tests.bench.unseen import effects


def members(count: int) -> list[Member]:
    return [
        Member(
            subject=f"s{k:03d}",
            case_id=f"c{k}",
            study_uid=f"1.{k}",
            series_uid=f"1.{k}.4",
            slices=("a", "b", "c"),
            key_slice_source=KeySliceSource.EHR,
            label=STAGES[0 if k % 5 == 0 else 3],
            split=Split.VALIDATION,
            scanner="A",
            study_on=date(2026, 1, 1),
            operated_on=date(2026, 1, 9),
        )
        for k in range(count)
    ]


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_nobody_chooses_the_epoch_and_is_fitted_on(share):
    everybody = members(40)

    stopping, fits = stopping_and_fits(everybody, share, seed=0)
    reversed_stopping, _ = stopping_and_fits(everybody[::-1], share, seed=0)

    assert not {m.subject for m in stopping} & {m.subject for m in fits}
    assert len(stopping) + len(fits) == 40
    assert len(stopping) == 40 * share
    assert {m.subject for m in reversed_stopping} == {m.subject for m in stopping}
    assert abs(sum(m.label is STAGES[0] for m in stopping) - 8 * share) <= 1


def test_two_patients_are_one_for_each_part():
    stopping, fits = stopping_and_fits(members(2), 0.5, seed=0)

    assert len(stopping) == len(fits) == 1


def test_every_fold_holds_every_stage():
    everybody = members(60)

    folds = folds_of(everybody, 4, seed=0)

    counted = Counter((int(fold), m.label) for fold, m in zip(folds, everybody, strict=True))
    assert {counted[f, STAGES[0]] for f in range(4)} == {3}
    assert {counted[f, STAGES[3]] for f in range(4)} == {12}


@pytest.mark.parametrize("settings", [{"folds": 1}, {"folds": 21}, {"stopping_share": 0.0}, {"stopping_share": 1.0}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TrainingConfig(**settings)


def test_the_overfitting_world_overfits():
    rng = np.random.default_rng(0)
    world = Overfitting(inputs=40, hidden=48, steps=200)
    seen, later = drawn(world, 120, rng), drawn(world, 1000, rng)

    network = trained(world, seen, rng)

    assert (network.logits(seen).argmax(axis=1) == seen.stages).mean() > 0.95
    assert (network.logits(later).argmax(axis=1) == later.stages).mean() < 0.6


def test_the_rad_scores_effect_is_flattered_by_the_networks_own_patients_only():
    world = Overfitting(inputs=40, hidden=48, steps=200)

    found = [effects(world, 120, 200, seed, new=1500, folds=3) for seed in range(3)]

    effect = {way: float(np.mean([f[way] for f in found])) for way in found[0]}
    truth = effect["new patients"]
    assert effect["train and validation"] > 1.5 * truth
    assert effect["folds of the LASSO"] > 2.0 * truth  # folds over the last layer alone mend nothing
    assert 0.7 < effect["unseen patients"] / truth < 1.4
    assert 0.7 < effect["out-of-fold networks"] / truth < 1.4
