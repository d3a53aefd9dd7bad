"""The committed demo artefact loads and stages phantoms that it has never seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from gtr_batch.config import StageConfig
from gtr_batch.domain.abstention import AbstentionCode, smallest_p
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.staging import KeySliceSource
from gtr_batch.governance.canary import of_folder
from gtr_batch.nomogram.score import score
from gtr_batch.preprocess import Volume, prepare_all_for_locator, prepare_volume, read_series
from gtr_batch.simulation.demos.demo import ARTEFACT
from gtr_batch.simulation.hospital.blunt import blunted
from gtr_batch.simulation.hospital.cohort import draw_phantom, prepare_patient
from gtr_batch.stage.artefact import load_artefact, read_manifest
from gtr_batch.stage.predict import AbstainAt, find_location, slice_scores, stage_shard
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


def test_its_canary_is_its_own():
    assert of_folder(ARTEFACT, read_manifest(ARTEFACT)[1]) is not None


def test_its_nomogram_rises_with_the_rad_score():
    manifest, _ = read_manifest(ARTEFACT)

    low, high = (score(manifest.nomogram, rad, Covariates()) for rad in (-1.5, 1.5))

    assert low.probabilities.values[0] > high.probabilities.values[0]
    assert low.probabilities.values[3] < high.probabilities.values[3]


@pytest.fixture(scope="module")
def unseen():
    """Three phantoms of each stage that no cohort of the model held, prepared by its contract."""
    contract = read_manifest(ARTEFACT)[0].contract
    patients = [prepare_patient(NEVER_SEEN, k, contract) for k in range(12)]
    return PreparedSlices(np.stack([p.slices for p in patients]), np.array([p.stage.position for p in patients]))


def chance_of(folder: Path, cohort: PreparedSlices) -> float:
    """How likely so many right and wrong answers are where the accuracy is the one that the demo's manifest claims."""
    artefact = load_artefact(folder)
    answers = voted(predict(artefact.network, cohort), artefact.manifest.temperature)
    claimed = read_manifest(ARTEFACT)[0].metrics["accuracy_unseen"]
    return float(binomtest(int((answers == cohort.stages).sum()), len(answers), claimed).pvalue)


@pytest.mark.slow
def test_it_stages_phantoms_it_has_never_seen_as_well_as_its_manifest_claims(unseen):
    assert sorted(unseen.stages.tolist()) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert chance_of(ARTEFACT, unseen) > 0.01


@pytest.mark.slow
def test_a_model_that_does_not_keep_the_claim_is_noticed(unseen, tmp_path):
    blunted(ARTEFACT, tmp_path / "worse", amount=4.0, name="worse on purpose", seed=1)

    assert chance_of(tmp_path / "worse", unseen) < 0.001


def test_the_accuracy_that_it_claims_is_that_of_the_confusion_it_claims():
    metrics = read_manifest(ARTEFACT)[0].metrics
    table = np.array(metrics["confusion_unseen"])

    assert table.sum() == metrics["n_unseen"]
    assert metrics["accuracy_unseen"] == pytest.approx(np.trace(table) / table.sum())


def test_its_locator_says_how_far_it_was_off_on_phantoms_of_another_seed():
    manifest = read_manifest(ARTEFACT)[0]
    unseen = manifest.metrics["locator_unseen"]

    errors = np.abs(unseen["errors_mm"])
    assert unseen["n"] == len(errors) >= 20
    assert unseen["median_mm"] == pytest.approx(np.median(errors), abs=0.1)
    assert unseen["p90_mm"] == pytest.approx(np.quantile(errors, 0.9), abs=0.1)
    assert unseen["in_tumour"] >= 0.85
    assert 0 < manifest.key_slice_locator.threshold < 1


@pytest.mark.slow
def test_its_locator_finds_a_slice_of_the_tumour():
    artefact = load_artefact(ARTEFACT)
    phantom, _, _ = draw_phantom(NEVER_SEEN, 5)
    volume = Volume.from_hu(phantom.volume(), (phantom.scanner.thickness_mm, phantom.pixel_mm, phantom.pixel_mm))

    found = find_location(artefact, prepare_all_for_locator(volume, artefact.manifest.contract), volume.heights_mm)

    assert phantom.tumour_areas()[found.index] > 0
    assert len(found.nearby) == 5


def test_it_has_patients_enough_to_give_no_stage_at_the_default_level():
    rule = read_manifest(ARTEFACT)[0].abstention

    assert smallest_p(len(rule.features.distances)) <= StageConfig().abstain_level
    assert smallest_p(len(rule.tumour_scores)) <= StageConfig().abstain_level


@pytest.mark.slow
def test_a_real_series_of_a_colon_cancer_gets_no_stage(shared_data):
    """Made to answer it names a stage with more than even odds, at the slice that its locator takes for a tumour."""
    artefact = load_artefact(ARTEFACT)
    contract = artefact.manifest.contract
    volume = read_series(shared_data / "ct" / "tcga_coad_siemens")
    scores = slice_scores(artefact, prepare_all_for_locator(volume, contract))
    slices, geometry = prepare_volume(volume, int(np.argmax(scores)), contract, KeySliceSource.AUTOMATIC)
    level = AbstainAt(StageConfig().abstain_level, {"c": float(scores.max())})

    made_to = stage_shard(artefact, {"c": slices}, {"c": geometry})["c"].staging
    staging = stage_shard(artefact, {"c": slices}, {"c": geometry}, abstain=level)["c"].staging

    assert max(made_to.probabilities.values) > 0.5
    assert staging.t_stage is None
    assert staging.abstention.code is AbstentionCode.UNLIKE_REFERENCE
