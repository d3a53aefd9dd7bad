"""The committed demo artefact loads and stages phantoms that it has never seen."""

from __future__ import annotations

import numpy as np
import pytest

from gtr_batch.domain.clinical import Covariates
from gtr_batch.nomogram.score import score
from gtr_batch.preprocess import Volume, prepare_all_for_locator
from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.simulation.hospital.cohort import draw_phantom, prepare_patient
from gtr_batch.stage.artefact import load_artefact, read_manifest
from gtr_batch.stage.predict import slice_scores
from gtr_batch.training.loop import PreparedSlices, predict, voted

NEVER_SEEN = 987_654  # a seed that no cohort of the demo's model was drawn from


def test_it_is_small_and_says_what_it_is():
    manifest, version = read_manifest(ARTEFACT)

    assert sum(p.stat().st_size for p in ARTEFACT.iterdir()) <= 12 * 2**20
    assert manifest.demo
    assert "Not for patients" in manifest.intended_use
    assert len(version) == 64
    assert manifest.metrics["n_unseen"] >= 100
    assert manifest.metrics["accuracy_unseen"] >= 0.80
    assert manifest.metrics["accuracy_box_without_stomach"] <= 0.40


def test_its_nomogram_rises_with_the_rad_score():
    manifest, _ = read_manifest(ARTEFACT)

    low, high = (score(manifest.nomogram, rad, Covariates()) for rad in (-1.5, 1.5))

    assert low.probabilities.values[0] > high.probabilities.values[0]
    assert low.probabilities.values[3] < high.probabilities.values[3]


@pytest.mark.slow
def test_it_stages_phantoms_it_has_never_seen():
    """Two of each stage; chance is one in four. The full number is in docs/demo-model.md."""
    artefact = load_artefact(ARTEFACT)
    patients = [prepare_patient(NEVER_SEEN, k, artefact.manifest.contract) for k in range(8)]
    cohort = PreparedSlices(np.stack([p.slices for p in patients]), np.array([p.stage.position for p in patients]))

    answers = voted(predict(artefact.network, cohort), artefact.manifest.temperature)

    assert (answers == cohort.stages).sum() >= 5


@pytest.mark.slow
def test_its_locator_finds_a_slice_of_the_tumour():
    artefact = load_artefact(ARTEFACT)
    phantom, _, _ = draw_phantom(NEVER_SEEN, 5)
    volume = Volume.from_hu(phantom.volume(), (phantom.scanner.thickness_mm, phantom.pixel_mm, phantom.pixel_mm))

    scores = slice_scores(artefact, prepare_all_for_locator(volume, artefact.manifest.contract))

    assert phantom.tumour_areas()[int(np.argmax(scores))] > 0
