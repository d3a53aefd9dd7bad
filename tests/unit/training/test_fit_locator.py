"""The locator's fit, and that its error is measured on series that it was not fitted on."""

from __future__ import annotations

import json
from types import SimpleNamespace

import attrs
import numpy as np
import pytest
import torch

from gtr_batch.domain.locating import NEAR
from gtr_batch.stage.network import GTRNet
from gtr_batch.training import finish
from gtr_batch.training.cache import Cached
from gtr_batch.training.fit.locator import MarkedSeries, error_on, fit_and_measure, fit_locator, located


def marked_series(count: int, signal: float, seed: int = 0) -> list[MarkedSeries]:
    """Series of 40 slices whose feature 3 rises by `signal` about the marked slice; lungs above the 30th."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        key = int(rng.integers(8, 25))
        features = rng.normal(size=(40, 12))
        features[:, 3] += signal * np.exp(-0.5 * ((np.arange(40) - key) / 2) ** 2)
        lungs = np.where(np.arange(40) >= 30, 0.4, 0.0)
        areas = np.clip(5.0 - np.abs(np.arange(40) - key), 0, None)
        found.append(MarkedSeries(features, 5.0 * np.arange(40), lungs, key, areas))
    return found


def test_the_marked_slices_of_other_series_are_found():
    locator, error, _ = fit_and_measure(marked_series(30, signal=8.0))

    unseen = marked_series(40, signal=8.0, seed=1)
    answers = [located(locator, one) for one in unseen]

    assert error.near > 0.85
    assert np.mean([abs(a.index - s.key_index) <= NEAR for a, s in zip(answers, unseen, strict=True)]) > 0.85
    assert locator.height_sd_mm > 0
    assert locator.height_mm < 0  # below the lungs


def test_the_error_is_that_of_series_that_each_fit_did_not_see():
    """Of noise nothing can be learnt: a fit on the same series finds their marks, the measured error is chance."""
    series = marked_series(20, signal=0.0)

    _, error, _ = fit_and_measure(series)
    flattered = [located(fit_locator(series), one) for one in series]

    assert error.near < 0.75
    assert error.n == 20
    assert len(error.errors_mm) == 20
    assert error.median_mm <= error.p90_mm
    assert error_on(series, flattered).near >= error.near


def test_the_threshold_flags_the_choices_that_are_beside_the_mark():
    weak = marked_series(40, signal=1.2)

    locator, error, _ = fit_and_measure(weak)

    assert error.flagged > 0
    assert error.near_unflagged is None or error.near_unflagged >= 0.85
    assert locator.threshold is not None
    certain = [located(attrs.evolve(locator, threshold=0.0), one).certain for one in weak]
    assert all(certain)


def test_where_nobody_knows_the_tumour_s_extent_there_is_no_share_in_it():
    series = [attrs.evolve(one, areas_mm2=None) for one in marked_series(10, signal=8.0)]

    assert fit_and_measure(series)[1].in_tumour is None
    assert fit_and_measure(marked_series(10, signal=8.0))[1].in_tumour == pytest.approx(1.0, abs=0.4)


def retrained(count: int) -> tuple[object, dict, np.ndarray]:
    """What a retraining makes of so many whole series: slices of 64 x 64 whose middle is bright at the marked slice."""
    torch.manual_seed(0)
    rng, cached = np.random.default_rng(3), []
    for _ in range(count):
        key, stack = int(rng.integers(3, 9)), rng.normal(size=(12, 64, 64)).astype(np.float16)
        stack[key, 20:44, 20:44] += 6
        cached.append(Cached(stack[key - 1 : key + 2], None, stack, key, 5.0 * np.arange(12)))
    seen, none = SimpleNamespace(cached=cached), SimpleNamespace(cached=[])
    return finish._locator(GTRNet("resnet10").eval(), none, seen, 0)


def test_a_retraining_fits_the_locator_and_tells_its_error_as_json():
    locator, found, best_scores = retrained(10)

    kept = json.loads(json.dumps(found))
    assert (kept["n"], len(kept["errors_mm"])) == (10, 10)
    assert {"median_mm", "p90_mm", "near", "near_ci", "in_tumour", "flagged"} <= set(kept)
    assert kept["in_tumour"] is None
    assert len(locator.coefficients) == 512
    assert best_scores.shape == (10,)


def test_too_few_whole_series_make_no_locator():
    locator, found, best_scores = retrained(7)

    assert (locator, found["near"]) == (None, None)
    assert "8 are needed" in found["note"]
    assert not len(best_scores)


def test_whole_series_of_an_older_cache_that_have_no_heights_are_left_out():
    old = Cached(np.zeros((3, 64, 64), np.float16), None, np.zeros((12, 64, 64), np.float16), 4)

    locator, found, _ = finish._locator(
        GTRNet("resnet10").eval(), SimpleNamespace(cached=[old] * 9), SimpleNamespace(cached=[]), 0
    )

    assert (locator, found["n"]) == (None, 0)
