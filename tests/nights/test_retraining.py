"""The whole path of a retraining on few patients: cohort, gate, slices, network, fits, candidate, holdout."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, timedelta

import attrs
import numpy as np
import pytest
import torch

from gtr_batch.config import Config, FilesConfig, StageConfig, TrainingConfig
from gtr_batch.db.cohorts import PostgresCohorts
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.domain.case import Case, Step
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.cohort import Candidate
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.staging import KeySliceSource
from gtr_batch.errors import CannotTell, ConfigError, LeakFound
from gtr_batch.files import LocalFileStore
from gtr_batch.governance.card import write_card
from gtr_batch.governance.holdout import evaluate_holdout
from gtr_batch.stage.artefact import read_manifest
from gtr_batch.training import steps
from gtr_batch.training.cache import contract_digest
from gtr_batch.training.site import TrainingSite
from tests.case_moves import Moves
from tests.model_folders import FolderModelStore
from tests.training_reports import full_report

PATIENTS = 44
OPERATED = date(2026, 2, 20)


class Source:
    """Operated patients whose slices lie among the nights' files."""

    def __init__(self, candidates):
        self._candidates = candidates

    def candidates(self):
        return self._candidates


def a_candidate(k: int) -> Candidate:
    study = f"1.2.{k + 1}"
    return Candidate(
        subject=f"s{k:03d}",
        operated_on=OPERATED,
        reported_on=OPERATED + timedelta(days=7),
        classification="pT",
        t_category=f"T{k % 4 + 1}",
        case_id=case_id(study, f"{study}.4"),
        study_uid=study,
        series_uid=f"{study}.4",
        study_on=OPERATED - timedelta(days=10),
        slices=tuple(f"{study}.4.{n}" for n in range(3)),
        key_slice_source=KeySliceSource.EHR,
        scanner="ABC"[k % 3],
        covariates=Covariates(3.0 + k % 4, list(Differentiation)[k % 3], list(Lauren)[k % 3]),
    )


@pytest.fixture
def site(tmp_path, database, small_demo):
    """A training site on a real PostgreSQL; each night's slices show a square whose brightness is the stage."""
    torch.set_num_threads(1)
    files, book, cohorts = LocalFileStore(tmp_path / "store"), Moves.on(database), PostgresCohorts(database)
    candidates = [a_candidate(k) for k in range(PATIENTS)]
    config = Config(
        files=FilesConfig(root=tmp_path / "store"),
        stage=StageConfig(artefact=small_demo, device="cpu"),
        training=TrainingConfig(
            folder=tmp_path / "training",
            models=tmp_path / "models",
            minimum_per_class=4,
            minimum_holdout_per_class=1,
            backbone="resnet10",
            start="random",
            recipe="lessons",
            epochs=1,
            batch=8,
            learning_rate=1e-3,
            folds=0,
        ),
    )
    made = TrainingSite(
        config=config,
        archive=None,
        cases=book,
        source=Source(candidates),
        cohorts=cohorts,
        files=files,
        model_store=FolderModelStore(small_demo),
        registry=PostgresRegistry(database),
    )
    contract = made.champion.contract
    rng = np.random.default_rng(0)
    book.open_night(date(2026, 2, 10), "v")
    for k, candidate in enumerate(candidates):
        slices = rng.normal(0, 0.3, (3, contract.size, contract.size)).astype(np.float16)
        lesion = np.zeros(slices.shape, bool)
        square = slice(contract.size * 2 // 5, contract.size * 3 // 5)
        lesion[:, square, square] = True
        slices[lesion] += k % 4
        at = (date(2026, 2, 10), candidate.case_id, Step.PREPROCESS)
        files.write_arrays(*at, "prepared", {"slices": slices, "lesion": lesion})
        files.write_json(*at, "geometry", {"sop_instance_uids": list(candidate.slices)})
        files.write_json(*at, "contract", attrs.asdict(contract))
        case = Case(
            candidate.case_id, at[0], candidate.study_uid, candidate.series_uid, "SECRET", "A", datetime(2026, 2, 10)
        )
        book.record([case])
        book.save_facts(candidate.case_id, {"manufacturer": "A", "kvp": 120.0})
    return made


def test_a_candidate_is_made_registered_and_judged_on_patients_it_never_saw(site):
    digest = steps.freeze_cohort(site)
    again = steps.freeze_cohort(site)
    counts = steps.leak_gate(site, digest)
    cached = steps.cache_slices(site, digest)
    trained = steps.train_network(site, digest)
    version = steps.fit_artefact(site, digest)
    registered = steps.register_candidate(site, digest, version, "tester", "a test")
    found = evaluate_holdout(site, digest, version, "tester", "a test")

    folder = site.run_folder(digest)
    assert again == digest  # a task that is run twice
    assert counts["patients"] == cached["members"] == cached["night"]
    assert trained["epochs"] == 4  # one a lesson
    assert registered == version
    assert site.registry.state(version) == "candidate"
    assert found.n + cached["members"] == PATIENTS
    assert found.n == sum(sum(row) for row in found.confusion)
    report = json.loads((folder / "report.json").read_text())
    assert report["model_version"] == version
    assert report["heat"]["dice"]["all"]["n"] == report["validation"]["n"]
    manifest, _ = read_manifest(folder / "artefact")
    assert manifest.priors.training == pytest.approx([0.25] * 4)
    assert sum(manifest.priors.cohort_counts) == cached["members"]
    assert [row["n"] for row in report["priors"]] == list(manifest.priors.cohort_counts)
    page = (folder / "report.html").read_text()
    assert "SECRET" not in page
    assert not re.search(r'(?:src|href)="?https?:', page)
    assert site.champion.demo and "Demo, not for patients" in page
    assert set(report) == set(full_report())  # of the tests of the pages
    card = write_card(site.registry, site.config.training.models, version, by="tester")
    assert (card.parent / "report.html").is_file()
    lines = json.loads((card.parent / "claim.json").read_text())["lines"]
    # of the gate, of other hospitals, of a publication, and what is never recorded
    left_out = {4, 21, 29, 32, 37, 38, 39} | {33} | {1, 2, 34} | {16, 17, 18, 30, 43, 44}
    assert {line["number"] for line in lines if line["answer"] == "reported"} == set(range(1, 45)) - left_out


def test_whom_each_fit_is_of_is_reported_and_nobody_chose_the_epoch_too(site):
    site.config = attrs.evolve(site.config, training=attrs.evolve(site.config.training, folds=2))
    digest = steps.freeze_cohort(site)
    steps.leak_gate(site, digest)
    steps.cache_slices(site, digest)

    trained = steps.train_network(site, digest)
    version = steps.fit_artefact(site, digest)

    folder = site.run_folder(digest)
    report = json.loads((folder / "report.json").read_text())
    whom = {what: sum(counts.values()) for what, counts in report["fitted_on"].items()}
    manifest, _ = read_manifest(folder / "artefact")
    validation = sum(report["stages"]["validation"].values())
    out_of_fold = [n for what, n in whom.items() if what.startswith("nomogram")]
    assert version == report["model_version"]
    assert trained["networks"] == 3
    assert whom["stopping epoch"] + whom["temperature and conformal threshold"] == validation
    assert report["conformal"]["n"] == whom["temperature and conformal threshold"]
    assert out_of_fold == [whom["weights"] + whom["temperature and conformal threshold"]]
    assert manifest.metrics["fitted_on"] == report["fitted_on"]
    assert "out of 2 folds" in (folder / "report.html").read_text()
    networks = [(folder / at / "network.safetensors").read_bytes() for at in (".", "fold-0", "fold-1")]
    assert len(set(networks)) == 3
    assert not list(folder.glob("fold-*/train.npy"))


def test_the_same_cohort_and_recipe_make_the_same_model(site):
    digest = steps.freeze_cohort(site)
    steps.leak_gate(site, digest)
    steps.cache_slices(site, digest)
    steps.train_network(site, digest)

    first = steps.fit_artefact(site, digest)
    steps.train_network(site, digest)  # finished already: nothing is trained
    second = steps.fit_artefact(site, digest)

    assert first == second


def test_a_small_cohort_cannot_tell_but_is_kept_for_people_to_see(site):
    site.source = Source([a_candidate(k) for k in range(8)])

    with pytest.raises(CannotTell, match="too few patients to train on"):
        steps.freeze_cohort(site)

    (folder,) = (site.config.training.folder / "runs").iterdir()
    assert json.loads((folder / "cohort.json").read_text())["flow"]["operated"] == 8


def test_a_cohort_that_shares_slices_between_splits_is_not_trained_on(site):
    shared = [a_candidate(k) for k in range(PATIENTS)]
    site.source = Source([attrs.evolve(c, slices=shared[0].slices) for c in shared])
    digest = steps.freeze_cohort(site)

    with pytest.raises(LeakFound, match="nothing was trained"):
        steps.leak_gate(site, digest)


def test_cannot_fit_before_there_is_a_network(site):
    digest = steps.freeze_cohort(site)
    steps.cache_slices(site, digest)

    with pytest.raises(ConfigError, match="no trained network"):
        steps.fit_artefact(site, digest)


def test_the_contract_of_the_cache_is_the_champions(site):
    digest = steps.freeze_cohort(site)
    steps.cache_slices(site, digest)

    (folder,) = (site.config.training.folder / "cache").iterdir()
    assert folder.name == contract_digest(site.champion.contract)[:16]
