"""The nomogram's fit: proportional odds of the stage on rad-score and clinic, its intervals, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from scipy.stats import chi2, norm

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.model import NomogramModel
from gtr_batch.errors import ModelArtefactError

SIZE_AT_LEAST_CM = 5.0  # Table 3
TERMS = (
    "rad_score",
    "tumour_size",
    "differentiation.moderate",
    "differentiation.poor",
    "lauren.diffuse",
    "lauren.mixed",
)
REFERENCE_LEVELS = {"tumour_size": "below", "differentiation": "well", "lauren": "intestinal"}
LEAST_A_PARAMETER = 5  # patients: below that a fit says more of chance than of the patients
LARGEST = 15.0  # a coefficient beyond this on the logit scale is separation, not effect


@frozen
class NomogramFit:
    """What the fit says of itself; coefficients of ``logit P(T > j) = lp - threshold_j``, so that larger is deeper."""

    terms: tuple[str, ...]
    coefficients: tuple[float, ...]
    standard_errors: tuple[float, ...]
    thresholds: tuple[float, ...]
    threshold_errors: tuple[float, ...]
    log_likelihood: float
    n: int
    left_out: int  # patients with a missing covariate: the fit is of complete cases
    counts: tuple[int, ...]  # T1..T4
    proportional_odds: Mapping[str, Any]  # Brant: "statistic", "df", "p", "by_term"

    def rows(self) -> list[dict[str, Any]]:
        """Each term with coefficient, standard error, 95% interval, odds ratio and two-sided p (Wald)."""
        z95 = float(norm.ppf(0.975))
        found = []
        for term, b, se in zip(self.terms, self.coefficients, self.standard_errors, strict=True):
            found.append(
                {
                    "term": term,
                    "coefficient": b,
                    "standard_error": se,
                    "low": b - z95 * se,
                    "high": b + z95 * se,
                    "odds_ratio": float(np.exp(b)),
                    "p": float(2 * norm.sf(abs(b / se))),
                }
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "n": self.n,
            "left_out": self.left_out,
            "counts": dict(zip(("T1", "T2", "T3", "T4"), self.counts, strict=True)),
            "reference_levels": dict(REFERENCE_LEVELS),
            "coefficients": self.rows(),
            "thresholds": [
                {"threshold": name, "value": t, "standard_error": se}
                for name, t, se in zip(("T1|T2", "T2|T3", "T3|T4"), self.thresholds, self.threshold_errors, strict=True)
            ],
            "log_likelihood": self.log_likelihood,
            "proportional_odds": dict(self.proportional_odds),
        }


def fit_proportional_odds(
    name: str, rad_scores: np.ndarray, covariates: Sequence[Covariates], stages: np.ndarray
) -> NomogramFit:
    """Maximum likelihood of the proportional-odds model on complete cases, with Brant's test of its assumption.

    Parameters
    ----------
    name : str
        For the error messages.
    rad_scores : numpy.ndarray
        (patients,), SD.
    covariates : sequence of Covariates
        Patients with a missing one are left out and counted.
    stages : numpy.ndarray
        (patients,), 0 to 3.

    Raises
    ------
    ModelArtefactError
        A stage or a level has no patient, there are too few for the parameters, covariates follow from one another, the
        fit does not converge or the data are separated; says which.
    """
    from statsmodels.miscmodels.ordinal_model import OrderedModel

    complete = np.array(
        [c.tumour_size_cm is not None and c.differentiation is not None and c.lauren is not None for c in covariates]
    )
    kept = [c for c, whole in zip(covariates, complete, strict=True) if whole]
    x, y = _design(np.asarray(rad_scores, float)[complete], kept), np.asarray(stages)[complete].astype(int)
    counts = np.bincount(y, minlength=4) if len(y) else np.zeros(4, int)
    if (counts == 0).any():
        absent = ", ".join(f"T{k + 1}" for k in np.flatnonzero(counts == 0))
        raise ModelArtefactError(f"nomogram {name!r}: no complete patient of {absent}; the stages cannot be told apart")
    for term, column in zip(TERMS, x.T, strict=True):
        if np.ptp(column) == 0:
            raise ModelArtefactError(f"nomogram {name!r}: {term} is the same in all {len(y)} patients")
    needed = LEAST_A_PARAMETER * (len(TERMS) + 3)
    if len(y) < needed:
        raise ModelArtefactError(
            f"nomogram {name!r}: too few complete patients ({len(y)}) for {len(TERMS) + 3} parameters; {needed} are "
            "needed"
        )
    if np.linalg.matrix_rank(np.column_stack([np.ones(len(y)), x])) <= len(TERMS):
        raise ModelArtefactError(f"nomogram {name!r}: the covariates of the {len(y)} patients follow from one another")
    model = OrderedModel(y, x, distr="logit")
    result = model.fit(method="bfgs", maxiter=2000, gtol=1e-8, disp=False)
    params = np.asarray(result.params)
    beta = params[: len(TERMS)]
    if np.abs(beta).max() > LARGEST:
        worst = TERMS[int(np.abs(beta).argmax())]
        raise ModelArtefactError(
            f"nomogram {name!r}: {worst} separates the stages completely (coefficient {np.abs(beta).max():.0f}): too "
            f"few patients ({len(y)}) for this many covariates"
        )
    # BFGS may say "precision loss" at the optimum; what counts is the gradient.
    gradient = np.abs(model.score(params)).max()
    covariance = np.asarray(result.cov_params())
    if gradient > 1e-3 * len(y) or not np.isfinite(covariance).all() or (np.diag(covariance) <= 0).any():
        raise ModelArtefactError(f"nomogram {name!r}: the fit did not converge (largest gradient {gradient:.2g})")
    thresholds = model.transform_threshold_params(params)[1:-1]
    return NomogramFit(
        terms=TERMS,
        coefficients=tuple(map(float, beta)),
        standard_errors=tuple(map(float, np.sqrt(np.diag(covariance))[: len(TERMS)])),
        thresholds=tuple(map(float, thresholds)),
        threshold_errors=_threshold_errors(params[len(TERMS) :], covariance[len(TERMS) :, len(TERMS) :]),
        log_likelihood=float(result.llf),
        n=len(y),
        left_out=int((~complete).sum()),
        counts=tuple(map(int, counts)),
        proportional_odds=brant(x, y),
    )


def fit_nomogram(
    name: str,
    rad_scores: np.ndarray,
    covariates: Sequence[Covariates],
    stages: np.ndarray,
    *,
    note: str = "",
    against: NomogramModel | None = None,
) -> NomogramModel:
    """The nomogram of a cohort; see `fit_proportional_odds`.

    Reference levels are named: smaller than 5 cm, well differentiated, intestinal.

    Parameters
    ----------
    against : NomogramModel, optional
        The champion's: a coefficient whose sign is the other way is a remark in the note.

    Raises
    ------
    ModelArtefactError
        See `fit_proportional_odds`; thresholds that do not rise; a sign that is nonsense (a larger rad-score, a larger
        tumour or poor differentiation that lowers the stage).
    """
    return model_of(name, fit_proportional_odds(name, rad_scores, covariates, stages), covariates, note, against)


def model_of(
    name: str,
    fitted: NomogramFit,
    covariates: Sequence[Covariates],
    note: str = "",
    against: NomogramModel | None = None,
) -> NomogramModel:
    """A fit as the model that the artefact holds, or a refusal in words; raises as `fit_nomogram`."""
    beta, t = dict(zip(fitted.terms, fitted.coefficients, strict=True)), fitted.thresholds
    if not t[0] < t[1] < t[2]:
        raise ModelArtefactError(f"nomogram {name!r}: thresholds {list(t)} do not rise")
    for term in ("rad_score", "tumour_size", "differentiation.poor"):
        if beta[term] <= 0:
            raise ModelArtefactError(
                f"nomogram {name!r}: coefficient of {term} is {beta[term]:.3f}, but the stage must rise with it"
            )
    if against is not None:
        note = f"{note} {flipped_signs(fitted, against)}".strip()
    return NomogramModel(
        name=name,
        rad_score=beta["rad_score"],
        tumour_size=beta["tumour_size"],
        size_at_least_cm=SIZE_AT_LEAST_CM,
        differentiation={
            "well": 0.0,
            "moderate": beta["differentiation.moderate"],
            "poor": beta["differentiation.poor"],
        },
        lauren={"intestinal": 0.0, "diffuse": beta["lauren.diffuse"], "mixed": beta["lauren.mixed"]},
        thresholds=list(t),  # type: ignore[arg-type]  # mypy cannot see through attrs' converter=tuple
        distribution=_distribution(covariates),
        note=note,
    )


def flipped_signs(fitted: NomogramFit, against: NomogramModel) -> str:
    """A remark on coefficients whose sign is surely another than in `against`; empty where there is none.

    No refusal: which of the two is wrong, cohort or table, is not known. The paper's Table 3 has +1.06 for Lauren
    diffuse, and the data that its authors published have -1.06.
    """
    beta = dict(zip(fitted.terms, fitted.coefficients, strict=True))
    flipped = [
        f"{term} ({old:.2f} -> {beta[term]:.2f})"
        for term, old in _coefficients(against).items()
        if old * beta[term] < 0 and abs(beta[term]) > _z95(fitted, term)
    ]
    if not flipped:
        return ""
    return f"Remark: against {against.name!r} the sign is the other way for {', '.join(flipped)}; find out why."


def brant(x: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Brant's Wald test that the three cumulative logits share their slopes, with an empirical (sandwich) covariance.

    Parameters
    ----------
    x : numpy.ndarray
        (n, k), without a constant.
    y : numpy.ndarray
        (n,), 0 to 3.

    Returns
    -------
    dict
        ``statistic``, ``df``, ``p`` of all terms together, ``by_term`` of each; ``p`` is None, with a ``note``, where a
        binary fit is separated.

    References
    ----------
    Brant, Assessing proportionality in the proportional odds model, Biometrics 1990
    """
    design = np.column_stack([np.ones(len(y)), x])
    slopes, influence = [], []
    for cut in range(3):
        above = (y > cut).astype(float)
        got = _binary_logit(design, above)
        if got is None:
            return {"statistic": None, "df": 2 * x.shape[1], "p": None, "by_term": {}, "note": "a stage is separated"}
        coefficients, fitted, inverse = got
        slopes.append(coefficients[1:])
        influence.append(((design * (above - fitted)[:, None]) @ inverse)[:, 1:])
    # The joint covariance of the three fits from each patient's influence on them: unlike Brant's own formula it is a
    # covariance also where the slopes differ much.
    k = x.shape[1]
    each = np.hstack(influence)
    covariance = each.T @ each
    beta = np.concatenate(slopes)
    eye = np.eye(k)
    contrast = np.block([[eye, -eye, np.zeros((k, k))], [eye, np.zeros((k, k)), -eye]])

    def wald(rows: np.ndarray) -> tuple[float, int, float]:
        difference = rows @ beta
        statistic = float(difference @ np.linalg.pinv(rows @ covariance @ rows.T) @ difference)
        return statistic, len(rows), float(chi2.sf(statistic, len(rows)))

    statistic, df, p = wald(contrast)
    names = TERMS if k == len(TERMS) else tuple(f"x{j}" for j in range(k))
    by_term = {}
    for j, term in enumerate(names):
        one, one_df, one_p = wald(contrast[[j, k + j]])
        by_term[term] = {"statistic": one, "df": one_df, "p": one_p}
    return {"statistic": statistic, "df": df, "p": p, "by_term": by_term}


def _binary_logit(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Coefficients, fitted probabilities and inverse information, by Newton's method; None where it is separated."""
    b = np.zeros(x.shape[1])
    for _ in range(60):
        p = 1 / (1 + np.exp(-np.clip(x @ b, -40, 40)))
        information = (x.T * (p * (1 - p))) @ x
        try:
            step = np.linalg.solve(information, x.T @ (y - p))
        except np.linalg.LinAlgError:
            return None
        b = b + step
        if np.abs(b).max() > 3 * LARGEST:
            return None
        if np.abs(step).max() < 1e-10:
            return b, p, np.linalg.inv(information)
    return None


def _design(rad_scores: np.ndarray, covariates: Sequence[Covariates]) -> np.ndarray:
    rows = [
        [
            float(rad),
            float((c.tumour_size_cm or 0) >= SIZE_AT_LEAST_CM),
            float(c.differentiation is Differentiation.MODERATE),
            float(c.differentiation is Differentiation.POOR),
            float(c.lauren is Lauren.DIFFUSE),
            float(c.lauren is Lauren.MIXED),
        ]
        for rad, c in zip(rad_scores, covariates, strict=True)
    ]
    return np.array(rows, float).reshape(len(rows), len(TERMS))


def _threshold_errors(raw: np.ndarray, covariance: np.ndarray) -> tuple[float, ...]:
    """statsmodels estimates the first threshold and the logs of the steps; the delta method gives the thresholds'."""
    jacobian = np.zeros((3, 3))
    jacobian[:, 0] = 1.0
    for k in (1, 2):
        jacobian[k:, k] = np.exp(raw[k])
    return tuple(map(float, np.sqrt(np.diag(jacobian @ covariance @ jacobian.T))))


def _coefficients(model: NomogramModel) -> dict[str, float]:
    return {
        "rad_score": model.rad_score,
        "tumour_size": model.tumour_size,
        "differentiation.moderate": model.differentiation["moderate"],
        "differentiation.poor": model.differentiation["poor"],
        "lauren.diffuse": model.lauren["diffuse"],
        "lauren.mixed": model.lauren["mixed"],
    }


def _z95(fitted: NomogramFit, term: str) -> float:
    return float(norm.ppf(0.975)) * fitted.standard_errors[fitted.terms.index(term)]


def _distribution(covariates: Sequence[Covariates]) -> Mapping[str, Mapping[str, float]]:
    """Shares of each level among those of whom it is known."""
    sizes = [c.tumour_size_cm >= SIZE_AT_LEAST_CM for c in covariates if c.tumour_size_cm is not None]
    grades = [c.differentiation for c in covariates if c.differentiation is not None]
    types = [c.lauren for c in covariates if c.lauren is not None]
    large = sum(sizes) / len(sizes)
    return {
        "tumour_size": {"below": 1 - large, "at_least": large},
        "differentiation": {d.value: grades.count(d) / len(grades) for d in Differentiation},
        "lauren": {t.value: types.count(t) / len(types) for t in Lauren},
    }
