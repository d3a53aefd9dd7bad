import numpy as np
import pytest
from sklearn.linear_model import Lasso
from sklearn.preprocessing import StandardScaler

from gtr_batch.domain.model import RadScoreModel
from gtr_batch.errors import ModelArtefactError
from gtr_batch.nomogram import rad_score

MODEL = RadScoreModel((1, 3), (10.0, 20.0), (2.0, 4.0), (0.5, -1.0), intercept=1.0, score_mean=0.25, score_scale=0.5)


def test_the_rad_score_is_the_standardised_combination_of_the_selected_features():
    features = np.array([99.0, 14.0, 99.0, 22.0])

    raw = 1.0 + 0.5 * (14 - 10) / 2 - 1.0 * (22 - 20) / 4

    assert rad_score(MODEL, features) == pytest.approx((raw - 0.25) / 0.5)


def test_the_rad_score_is_what_scikit_learns_lasso_predicts_in_sd():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (80, 40)).astype(np.float32)
    y = x[:, 4] - 0.5 * x[:, 9] + rng.normal(size=80)
    scaler = StandardScaler().fit(x)
    lasso = Lasso(alpha=0.1).fit(scaler.transform(x), y)
    raw = lasso.predict(scaler.transform(x))
    kept = np.flatnonzero(lasso.coef_)
    model = RadScoreModel(
        kept.tolist(),
        scaler.mean_[kept],
        scaler.scale_[kept],
        lasso.coef_[kept],
        float(lasso.intercept_),
        float(raw.mean()),
        float(raw.std()),
    )

    ours = [rad_score(model, row) for row in x]

    np.testing.assert_allclose(ours, (raw - raw.mean()) / raw.std(), atol=1e-5)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (RadScoreModel((1, 4), (0, 0), (1, 1), (1, 1)), r"selected goes beyond the network's 4 features"),
        (RadScoreModel((1, 2), (0, 0), (1, 1), (1,)), r"coefficients differ"),
        (
            RadScoreModel((1, 2), (0, 0), (1, 1), (1, 1), score_scale=float("inf"), score_mean=float("inf")),
            r"not finite",
        ),
    ],
)
def test_a_rad_score_model_that_does_not_fit_is_refused(model: RadScoreModel, told: str):
    with pytest.raises(ModelArtefactError, match=told):
        rad_score(model, np.ones(4))


def test_features_that_are_not_finite_or_of_several_slices_are_our_mistake():
    with pytest.raises(ValueError, match="not finite"):
        rad_score(MODEL, np.array([0.0, np.nan, 0.0, 0.0]))
    with pytest.raises(ValueError, match="one slice"):
        rad_score(MODEL, np.zeros((3, 4)))
