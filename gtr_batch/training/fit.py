"""What is fitted after the network: temperature, rad-score, nomogram and key-slice locator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.model import KeySliceLocator, NomogramModel, RadScoreModel
from gtr_batch.errors import ModelArtefactError

SIZE_AT_LEAST_CM = 5.0  # Table 3


def fit_temperature(logits: np.ndarray, stages: np.ndarray) -> float:
    """Temperature that makes validation probabilities honest: the smallest log-loss of single slices.

    Parameters
    ----------
    logits : numpy.ndarray
        (slices, 4), of patients that the network was not trained on.
    stages : numpy.ndarray
        (slices,), 0 to 3.

    References
    ----------
    Guo et al., On calibration of modern neural networks, ICML 2017
    """

    def loss(log_temperature: float) -> float:
        z = logits.astype(np.float64) / np.exp(log_temperature)
        z -= z.max(axis=1, keepdims=True)
        picked = z[np.arange(len(z)), stages] - np.log(np.exp(z).sum(axis=1))
        return float(-picked.mean())

    found = minimize_scalar(loss, bounds=(np.log(0.25), np.log(8.0)), method="bounded")
    return float(np.exp(found.x))


def fit_rad_score(features: np.ndarray, stages: np.ndarray, groups: np.ndarray, seed: int = 0) -> RadScoreModel:
    """LASSO of the stage (0 to 3) on standardised features of key slices, the penalty chosen over patient-wise folds.

    Parameters
    ----------
    features : numpy.ndarray
        (patients, D).
    stages : numpy.ndarray
        (patients,).
    groups : numpy.ndarray
        (patients,): who must stay in one fold.

    Returns
    -------
    RadScoreModel
        In standard deviations of this cohort; larger is deeper.

    Raises
    ------
    ModelArtefactError
        No feature tells the stages apart.
    """
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import GroupKFold

    x = features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    folds = list(GroupKFold(5, shuffle=True, random_state=seed).split(x, stages, groups))
    # Penalties down to a thirtieth of the one that keeps nothing: with more features than patients smaller ones lose.
    lasso = LassoCV(cv=folds, eps=0.03, max_iter=20_000, random_state=seed).fit((x - mean) / scale, stages)
    selected = np.flatnonzero(lasso.coef_)
    if not len(selected):
        raise ModelArtefactError("LASSO kept no feature: the network's features do not tell the stages apart")
    raw = lasso.intercept_ + ((x - mean) / scale) @ lasso.coef_
    return RadScoreModel(
        selected=selected.tolist(),  # type: ignore[arg-type]  # mypy cannot see through attrs' converter=tuple
        feature_mean=mean[selected].tolist(),
        feature_scale=scale[selected].tolist(),
        coefficients=lasso.coef_[selected].tolist(),
        intercept=float(lasso.intercept_),
        score_mean=float(raw.mean()),
        score_scale=float(raw.std()),
    )


def fit_nomogram(
    name: str, rad_scores: np.ndarray, covariates: Sequence[Covariates], stages: np.ndarray, note: str = ""
) -> NomogramModel:
    """Proportional odds of the stage on rad-score, size of 5 cm and more, differentiation and Lauren type.

    Reference levels are named: smaller, well differentiated, intestinal. Every covariate must be known.

    Raises
    ------
    ModelArtefactError
        The fit does not converge, its thresholds do not rise, or a sign is nonsense: a larger rad-score, a larger
        tumour or poor differentiation that lowers the stage.
    """
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    columns = np.array(
        [
            [
                rad,
                float((c.tumour_size_cm or 0) >= SIZE_AT_LEAST_CM),
                float(c.differentiation is Differentiation.MODERATE),
                float(c.differentiation is Differentiation.POOR),
                float(c.lauren is Lauren.DIFFUSE),
                float(c.lauren is Lauren.MIXED),
            ]
            for rad, c in zip(rad_scores, covariates, strict=True)
        ]
    )
    model = OrderedModel(stages, columns, distr="logit")
    result = model.fit(method="bfgs", maxiter=500, disp=False)
    beta = [float(b) for b in result.params[:6]]
    thresholds = model.transform_threshold_params(np.asarray(result.params))[1:-1].tolist()
    if not result.mle_retvals["converged"]:
        raise ModelArtefactError(f"nomogram {name!r}: the fit did not converge")
    if not thresholds[0] < thresholds[1] < thresholds[2]:
        raise ModelArtefactError(f"nomogram {name!r}: thresholds {thresholds} do not rise")
    for what, value in (("rad_score", beta[0]), ("tumour_size", beta[1]), ("differentiation.poor", beta[3])):
        if value <= 0:
            raise ModelArtefactError(f"nomogram {name!r}: coefficient of {what} is {value:.3f}, a nonsensical sign")
    return NomogramModel(
        name=name,
        rad_score=beta[0],
        tumour_size=beta[1],
        size_at_least_cm=SIZE_AT_LEAST_CM,
        differentiation={"well": 0.0, "moderate": beta[2], "poor": beta[3]},
        lauren={"intestinal": 0.0, "diffuse": beta[4], "mixed": beta[5]},
        thresholds=thresholds,
        distribution=_shares(covariates),
        note=note,
    )


def fit_locator(features: np.ndarray, marked: np.ndarray, seed: int = 0) -> KeySliceLocator:
    """Logistic regression of "a key slice" on the features of axial slices, both classes weighing the same.

    Parameters
    ----------
    features : numpy.ndarray
        (slices, D), of patients that the network was not trained on.
    marked : numpy.ndarray
        (slices,), bool.
    """
    from sklearn.linear_model import LogisticRegression

    x = features.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale[scale < 1e-9] = 1.0
    fitted = LogisticRegression(C=0.02, class_weight="balanced", max_iter=2000, random_state=seed)
    fitted.fit((x - mean) / scale, marked)
    return KeySliceLocator(
        feature_mean=mean.tolist(),
        feature_scale=scale.tolist(),
        coefficients=fitted.coef_[0].tolist(),
        intercept=float(fitted.intercept_[0]),
    )


def _shares(covariates: Sequence[Covariates]) -> Mapping[str, Mapping[str, float]]:
    n = len(covariates)
    large = sum((c.tumour_size_cm or 0) >= SIZE_AT_LEAST_CM for c in covariates) / n
    return {
        "tumour_size": {"below": 1 - large, "at_least": large},
        "differentiation": {d.value: sum(c.differentiation is d for c in covariates) / n for d in Differentiation},
        "lauren": {t.value: sum(c.lauren is t for c in covariates) / n for t in Lauren},
    }
