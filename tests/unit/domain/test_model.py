"""A manifest says what is wrong with it."""

import json

import pytest

from gtr_batch.domain.model import ModelManifest, NomogramModel, PreprocessingContract, RadScoreModel
from gtr_batch.errors import ModelArtefactError

MANIFEST = ModelManifest(
    name="m",
    architecture="gtrnet",
    backbone="resnet10",
    feature_count=512,
    weights_sha256="0" * 64,
    contract=PreprocessingContract(),
    temperature=1.2,
    rad_score=RadScoreModel((1,), (0.0,), (1.0,), (0.5,)),
    nomogram=NomogramModel("n", 0.87, 0.69, 5.0, {"well": 0.0}, {"intestinal": 0.0}, (-3.2, -1.17, 1.24)),
)


def as_read(**changes):
    return {**json.loads(json.dumps(MANIFEST.to_json())), **changes}


def test_a_manifest_written_then_read_is_the_same():
    assert ModelManifest.from_json(as_read()) == MANIFEST


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"architecture": "vgg"}, "architecture"),
        ({"class_order": ["T4", "T3", "T2", "T1"]}, "class_order"),
        ({"temperature": 0}, "temperature"),
        ({"surprise": 1}, "surprise"),
        ({"contract": {"window": 3}}, "manifest.contract"),
        ({"rad_score": None}, "manifest.rad_score"),
        ({"nomogram": 7}, "nomogram"),
        ({"conformal": {"threshold": 1.5, "coverage": 0.9}}, "manifest.conformal"),
    ],
)
def test_a_wrong_field_is_refused_by_name(changes, named):
    with pytest.raises(ModelArtefactError, match=named):
        ModelManifest.from_json(as_read(**changes))


def test_a_threshold_of_the_score_before_makes_no_sets():
    """Earlier versions kept one in the metrics, for sets that grew: of this rule it promises nothing."""
    before = as_read(metrics={"conformal": {"coverage": 0.9, "threshold": 0.97, "n": 60, "mean_size": 3.1}})
    del before["conformal"]

    assert ModelManifest.from_json(before).conformal is None
    assert ModelManifest.from_json(as_read(conformal={"threshold": 0.5, "coverage": 0.9, "n": 60})).conformal.n == 60


@pytest.mark.parametrize(
    "changes",
    [
        {"nomogram": None},
        {"rad_score": {"selected": [], "feature_mean": [], "feature_scale": [], "coefficients": []}},
        {"nomogram": {**as_read()["nomogram"], "name": "paper-table-3"}},
    ],
    ids=["none", "no rad-score", "table of the paper"],
)
def test_a_nomogram_that_is_not_of_this_model_is_none(changes):
    """Artefacts of earlier versions say "0 SD" for every patient where a network was imported."""
    assert ModelManifest.from_json(as_read(**changes)).nomogram is None


def test_a_missing_field_is_refused_by_name():
    value = as_read()
    del value["weights_sha256"]

    with pytest.raises(ModelArtefactError, match="weights_sha256"):
        ModelManifest.from_json(value)
