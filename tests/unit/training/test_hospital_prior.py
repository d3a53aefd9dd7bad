"""An ideal network, shown every stage equally often, in hospitals whose stages come in other mixes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gtr_batch.domain.calibration import StagePriors, calibrated, stage_priors
from gtr_batch.metrics.calibration import at_least_t3, recalibration
from gtr_batch.simulation.worlds.ideal_network import MIXES, IdealNetwork, answered
from gtr_batch.training.fit import fit_temperature
from gtr_batch.training.loop import PreparedSlices, Settings, batches, shown_shares
from tests.bench.prior import before, cohort_of, now, prior_first, stopped

UNBALANCED = [mix for mix in MIXES if mix != "25/25/25/25"]


def departure(world: IdealNetwork, way) -> tuple[float, float]:
    """Intercept and slope of P(T3 or T4) in 40,000 new patients; the cohort is too large for chance to matter."""
    answer = way(cohort_of(world, 20_000, 4000, seed=1))
    new = answered(world, 40_000, np.random.default_rng(2))
    found = recalibration(*at_least_t3(new.stages, answer(new.logits)))
    assert found is not None
    return found.intercept, found.slope


@pytest.mark.parametrize("apart", [1.0, 2.2])
@pytest.mark.parametrize("mix", MIXES)
def test_an_ideal_network_is_calibrated_in_every_mix(mix, apart):
    intercept, slope = departure(IdealNetwork(MIXES[mix], apart), now)

    assert abs(intercept) < 0.1
    assert 0.9 < slope < 1.1


def test_a_temperature_alone_leaves_it_miscalibrated_where_stages_are_not_a_quarter_each():
    assert departure(IdealNetwork(MIXES["15/15/35/35"], 1.5), before)[0] > 0.7


def test_a_network_that_is_too_sure_keeps_the_hospitals_prior():
    """With the temperature over the prior as well, half of the prior's logit is lost."""
    world = IdealNetwork(MIXES["15/15/35/35"], 1.5, sharpness=2.0)

    assert departure(world, prior_first)[0] > 0.25
    assert abs(departure(world, now)[0]) < 0.1


def test_slices_that_differ_are_averaged_without_losing_certainty():
    """The mean of three slices knows more than each: a temperature of single slices leaves it too unsure."""
    world = IdealNetwork(MIXES["25/25/25/25"], 1.5, alike=0.7)

    assert departure(world, before)[1] > 1.25
    assert 0.9 < departure(world, now)[1] < 1.1


def test_the_monitor_stops_it_before_and_not_now():
    world = IdealNetwork(MIXES["50/15/20/15"], 1.5)
    seen = cohort_of(world, 1000, 300, seed=1)

    assert stopped(world, before(seen), seed=1)
    assert not stopped(world, now(seen), seed=1)


@pytest.mark.parametrize("stages", [[0] * 40 + [1] * 10 + [2] * 20 + [3] * 30, [0, 1, 2, 3] * 25])
def test_the_priors_are_what_the_sampler_shows(stages):
    cohort = PreparedSlices(np.zeros((100, 3, 8, 8), np.float32), np.array(stages))
    rngs = np.random.default_rng(0), np.random.default_rng(1)

    shown = torch.cat([s for _ in range(40) for _, s in batches(cohort, Settings(), rngs)])

    assert np.bincount(shown, minlength=4) / len(shown) == pytest.approx(shown_shares(cohort.stages), abs=0.05)


def test_a_stage_that_nobody_of_a_small_cohort_had_is_not_impossible():
    priors = stage_priors([0.25] * 4, [0, 10, 20, 8])

    p = calibrated(np.array([8.0, 0, 0, 0]), 1.0, priors)

    assert priors.cohort == pytest.approx([0.5 / 40, 10.5 / 40, 20.5 / 40, 8.5 / 40])
    assert p.argmax() == 0


def test_without_a_change_of_mix_priors_change_nothing():
    logits = np.random.default_rng(0).normal(0, 3, (50, 3, 4))

    assert np.allclose(calibrated(logits, 1.7, stage_priors([0.25] * 4, [7] * 4)), calibrated(logits, 1.7))


@pytest.mark.parametrize(
    ("priors", "named"),
    [
        (((0.5, 0.5, 0, 0), (0.25,) * 4, (1,) * 4), r"priors\.training"),
        (((0.25,) * 4, (0.3, 0.3, 0.3, 0.3), (1,) * 4), r"priors\.cohort"),
        (((0.25,) * 4, (0.25,) * 4, (1, 1, 1, -1)), r"priors\.cohort_counts"),
        (((0.25,) * 4, (0.25,) * 4, (1,) * 4, 0.0), r"priors\.pseudo_count"),
    ],
)
def test_impossible_priors_are_refused_by_name(priors, named):
    with pytest.raises(ValueError, match=named):
        StagePriors(*priors)


def test_the_temperature_is_that_of_the_network_whatever_the_mix():
    found = []
    for shares in MIXES.values():
        seen = answered(IdealNetwork(shares, 1.5, sharpness=2.0), 4000, np.random.default_rng(5))
        found.append(fit_temperature(seen.logits, seen.stages, stage_priors([0.25] * 4, np.bincount(seen.stages))))

    assert found == pytest.approx([2.0] * 3, rel=0.1)


def test_a_few_patients_who_were_all_right_do_not_make_a_network_surer_than_it_may_be():
    """The likelihood alone is largest at the lowest temperature that is tried: 0.25, four times as sure."""
    world = IdealNetwork(MIXES["15/15/35/35"], 4.0, alike=0.7, sharpness=2.0)
    few = answered(world, 26, np.random.default_rng(2))
    assert (few.logits.mean(axis=1).argmax(axis=1) == few.stages).all()
    priors = stage_priors([0.25] * 4, np.bincount(few.stages, minlength=4))
    new = answered(world, 4000, np.random.default_rng(2))

    def surprise(temperature: float) -> float:
        p = calibrated(new.logits, temperature, priors).mean(axis=1)
        return float(-np.log(p[np.arange(4000), new.stages]).mean())

    found = fit_temperature(few.logits, few.stages, priors)

    assert found > 0.7
    assert surprise(found) < 0.9 * surprise(0.25)


def test_many_patients_outweigh_what_temperatures_usually_are():
    world = IdealNetwork(MIXES["15/15/35/35"], 1.5, sharpness=4.0)
    many = answered(world, 4000, np.random.default_rng(1))
    priors = stage_priors([0.25] * 4, np.bincount(many.stages))

    assert fit_temperature(many.logits, many.stages, priors) == pytest.approx(4.0, rel=0.1)
