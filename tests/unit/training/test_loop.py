"""The loop and the fits, on little data whose answer is known."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.errors import ModelArtefactError
from gtr_batch.nomogram.rad_score import rad_score
from gtr_batch.nomogram.score import check_model, score
from gtr_batch.stage.network import GTRNet
from gtr_batch.training.augment import augment
from gtr_batch.training.fit import fit_nomogram, fit_rad_score, fit_temperature
from gtr_batch.training.loop import Answered, PreparedSlices, Settings, batches, predict, train, voted
from tests.unit.training.small import Small, squares


def test_training_learns_what_tells_the_stages_apart():
    network, unseen = Small(), squares(40, 9)

    train(network, squares(80, 1), squares(20, 2), Settings(epochs=40, batch=16, learning_rate=0.03, patience=40))

    assert (voted(predict(network, unseen)) == unseen.stages).mean() > 0.9


def test_the_same_seed_trains_the_same_weights():
    def weights() -> torch.Tensor:
        network = Small()
        train(network, squares(16, 1), squares(8, 2), Settings(epochs=2, batch=8, learning_rate=0.01, seed=3))
        return network.head.weight.detach()

    assert torch.equal(weights(), weights())


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best():
    network = Small()
    validation = attrs.evolve(squares(20, 2), stages=np.random.default_rng(0).permutation(np.arange(20) % 4))

    epochs = train(network, squares(80, 1), validation, Settings(epochs=60, batch=16, learning_rate=0.05, patience=3))

    assert len(epochs) < 60
    best = min(epochs, key=lambda e: e.validation_loss)
    assert epochs[-1].number - best.number == 3
    logits = torch.from_numpy(predict(network, validation).reshape(-1, 4))
    stages = torch.from_numpy(np.repeat(validation.stages, 3)).long()
    assert float(nn.functional.cross_entropy(logits, stages)) == pytest.approx(best.validation_loss, abs=1e-5)


def test_rare_stages_are_shown_as_often_as_common_ones():
    cohort = PreparedSlices(np.zeros((400, 3, 8, 8), np.float32), np.array([0] * 340 + [1] * 20 + [2] * 20 + [3] * 20))
    rng = np.random.default_rng(0)

    shown = torch.cat([stages for _ in range(4) for _, stages in batches(cohort, Settings(), (rng, rng))])

    assert np.bincount(shown, minlength=4) / len(shown) == pytest.approx([0.25] * 4, abs=0.05)


def test_a_window_lies_about_its_centre():
    images = torch.zeros(1, 1, 64, 64)
    images[0, 0, 12, 40] = 100.0
    network = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 4, bias=False))
    nn.init.ones_(network[2].weight)

    def brightest(row: float, column: float) -> float:
        cohort = PreparedSlices(images.expand(1, 3, -1, -1).numpy(), np.array([0]), np.array([[row, column]]))
        return float(predict(network, cohort, window=(16, 16)).max())

    assert brightest(12, 40) > 50
    assert brightest(40, 12) == 0


def test_masks_are_moved_with_their_image_and_keep_their_values():
    image = torch.zeros(4, 1, 64, 64)
    image[:, :, 20:40, 24:48] = 20.0
    rng = np.random.default_rng(5)

    shown = augment(torch.cat((image, image / 20), dim=1), None, None, rng)

    assert shown.shape == (4, 2, 64, 64)
    assert 0 <= float(shown[:, 1].min()) <= float(shown[:, 1].max()) <= 1 + 1e-5
    inside, outside = shown[:, 1] > 0.9, shown[:, 1] < 0.1
    assert float(shown[:, 0][inside].min()) > 10
    assert float(shown[:, 0][outside].max()) < 6


def test_an_objective_takes_the_place_of_cross_entropy_and_sees_the_lesions():
    plain = attrs.evolve(squares(8, 1, 64), lesions=None)
    lesions = np.zeros((8, 3, 64, 64), bool)
    lesions[:, :, 16:48, 16:48] = True
    seen: list[Answered] = []

    def objective(answered: Answered) -> torch.Tensor:
        seen.append(answered)
        return nn.functional.cross_entropy(answered.logits, answered.stages)

    def trained(cohort: PreparedSlices, **options) -> GTRNet:
        torch.manual_seed(0)
        network = GTRNet("resnet10", dropout=0.0)
        train(network, cohort, squares(4, 2, 64), Settings(epochs=1, batch=8, learning_rate=1e-3), **options)
        return network

    usual, same = trained(plain), trained(attrs.evolve(plain, lesions=lesions), objective=objective)

    assert torch.equal(usual.fc.weight, same.fc.weight)
    assert seen[0].cells.shape == (8, 512, 2, 2)
    assert seen[0].lesions.shape == (8, 1, 64, 64)
    assert 0.1 < float(seen[0].lesions.mean()) < 0.5


def test_a_cohort_that_lies_on_the_device_is_shown_as_one_that_does_not():
    cohort = squares(8, 1)
    laid = attrs.evolve(cohort, slices=torch.from_numpy(cohort.slices))

    def shown(of: PreparedSlices) -> torch.Tensor:
        rngs = (np.random.default_rng(1), np.random.default_rng(2))
        return torch.cat([images for images, _ in batches(of, Settings(batch=4), rngs)])

    assert torch.equal(shown(laid), shown(cohort))


def test_augmentation_keeps_shape_and_says_nothing_twice():
    rng = np.random.default_rng(0)
    images = torch.rand(4, 1, 40, 40)

    first, second = augment(images, None, (24, 32), rng), augment(images, None, (24, 32), rng)

    assert first.shape == (4, 1, 24, 32)
    assert not torch.equal(first, second)


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    stages = rng.integers(0, 4, 4000)
    honest = rng.normal(0, 1, (4000, 4))
    honest[np.arange(4000), stages] += 1.0  # unit normal, shifted by one: these logits are calibrated

    assert fit_temperature(honest[:, None] * 3, stages) == pytest.approx(3.0, rel=0.12)


def test_the_rad_score_rises_with_the_stage_in_standard_deviations():
    rng = np.random.default_rng(0)
    stages = np.arange(200) % 4
    features = rng.normal(size=(200, 30))
    features[:, 4] += stages

    model = fit_rad_score(features, stages, np.arange(200))
    scores = np.array([rad_score(model, f) for f in features])

    assert 4 in model.selected
    assert scores.mean() == pytest.approx(0, abs=1e-6)
    assert scores.std() == pytest.approx(1, abs=1e-6)
    assert [scores[stages == k].mean() for k in range(4)] == sorted(scores[stages == k].mean() for k in range(4))


def test_features_that_say_nothing_give_no_rad_score():
    features = np.zeros((40, 5))

    with pytest.raises(ModelArtefactError, match="do not tell the stages apart"):
        fit_rad_score(features, np.arange(40) % 4, np.arange(40))


def nomogram_cohort(sign: float = 1.0):
    """Drawn from a proportional odds model with known coefficients."""
    rng = np.random.default_rng(5)
    n = 3000
    rad, size = rng.normal(size=n), rng.lognormal(1.2, 0.6, n).clip(0.5, 20)
    differentiation = rng.choice(list(Differentiation), n)
    lauren = rng.choice(list(Lauren), n)
    lp = sign * (1.5 * rad + 0.7 * (size >= 5) + 1.1 * (differentiation == "poor") + 0.9 * (lauren == "diffuse"))
    stages = (lp + rng.logistic(size=n) > np.array([[-1.0], [1.0], [3.0]])).sum(axis=0)
    covariates = [
        Covariates(float(s), Differentiation(d), Lauren(t))
        for s, d, t in zip(size, differentiation, lauren, strict=True)
    ]
    return rad, covariates, stages


def test_the_nomogram_finds_the_coefficients_that_made_the_cohort():
    model = fit_nomogram("test", *nomogram_cohort())

    check_model(model)
    assert model.rad_score == pytest.approx(1.5, abs=0.15)
    assert model.tumour_size == pytest.approx(0.7, abs=0.25)
    assert model.differentiation["poor"] == pytest.approx(1.1, abs=0.25)
    assert model.lauren["diffuse"] == pytest.approx(0.9, abs=0.25)
    assert model.thresholds == pytest.approx((-1.0, 1.0, 3.0), abs=0.25)
    assert (model.differentiation["well"], model.lauren["intestinal"]) == (0.0, 0.0)
    answer = score(model, 1.0, Covariates())
    assert answer.missing == ("tumour_size", "differentiation", "lauren")


def test_a_nomogram_with_a_nonsensical_sign_is_refused():
    with pytest.raises(ModelArtefactError, match="the stage must rise with it"):
        fit_nomogram("test", *nomogram_cohort(sign=-1.0))
