"""The nomogram's fit: by hand, by R, its test of proportional odds, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess

import attrs
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from typer.testing import CliRunner

from gtr_batch.cli import app
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.errors import InputRefused, ModelArtefactError
from gtr_batch.nomogram.score import paper_table_3
from gtr_batch.training.fit.nomogram import TERMS, brant, fit_nomogram, fit_proportional_odds, flipped_signs, model_of
from gtr_batch.training.tables import fit_tables, stages_of

GRADES, TYPES = list(Differentiation), list(Lauren)


def a_cohort(n: int = 600, seed: int = 0, beta=(0.9, 0.7, 0.3, 1.0, 0.5, -0.2)):
    """Rad-scores, covariates and stages of a proportional-odds model."""
    rng = np.random.default_rng(seed)
    rad = rng.normal(size=n)
    covariates = [
        Covariates(float(rng.uniform(1, 9)), GRADES[int(rng.integers(3))], TYPES[int(rng.integers(3))])
        for _ in range(n)
    ]
    x = design(rad, covariates)
    lp = x @ np.array(beta) + rng.logistic(size=n)
    return rad, covariates, np.digitize(lp, [-0.6, 0.9, 2.4])


def design(rad, covariates):
    return np.array(
        [
            [
                r,
                c.tumour_size_cm >= 5,
                c.differentiation is GRADES[1],
                c.differentiation is GRADES[2],
                c.lauren is Lauren.DIFFUSE,
                c.lauren is Lauren.MIXED,
            ]
            for r, c in zip(rad, covariates, strict=True)
        ],
        float,
    )


def by_hand(x, y):
    """Maximum likelihood of proportional odds, written down directly."""

    def loss(params):
        beta, cuts = params[:6], np.cumsum(np.r_[params[6], np.exp(params[7:])])
        edges = np.r_[-np.inf, cuts, np.inf]
        eta = x @ beta
        upper, lower = 1 / (1 + np.exp(-(edges[y + 1] - eta))), 1 / (1 + np.exp(-(edges[y] - eta)))
        return -np.log(np.clip(upper - lower, 1e-300, None)).sum()

    found = minimize(loss, np.r_[np.zeros(6), -1, 0, 0], method="BFGS", options={"gtol": 1e-6, "maxiter": 5000})
    return found.x[:6], np.cumsum(np.r_[found.x[6], np.exp(found.x[7:])])


def test_agrees_with_the_likelihood_written_down_by_hand():
    rad, covariates, stages = a_cohort()

    fitted = fit_proportional_odds("test", rad, covariates, stages)

    beta, cuts = by_hand(design(rad, covariates), stages)
    np.testing.assert_allclose(fitted.coefficients, beta, atol=1e-4)
    np.testing.assert_allclose(fitted.thresholds, cuts, atol=1e-4)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_agrees_with_polr_and_rms_in_r(tmp_path):
    rad, covariates, stages = a_cohort()
    frame = pd.DataFrame(design(rad, covariates), columns=[f"x{k}" for k in range(6)]).assign(y=stages)
    frame.to_csv(tmp_path / "t.csv", index=False)
    script = f"""
    t <- read.csv("{tmp_path}/t.csv"); t$y <- factor(t$y, ordered=TRUE)
    if (!requireNamespace("MASS", quietly=TRUE) || !requireNamespace("rms", quietly=TRUE)) quit(status=77)
    m <- MASS::polr(y ~ x0+x1+x2+x3+x4+x5, data=t, Hess=TRUE, control=list(reltol=1e-14))
    l <- rms::lrm(y ~ x0+x1+x2+x3+x4+x5, data=t, tol=1e-12, eps=1e-12)
    cat(jsonlite_free <- paste(c(coef(m), m$zeta, sqrt(diag(vcov(m))), -coef(l)[1:3], coef(l)[4:9]), collapse=","))
    """
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("R has no MASS or rms")
    numbers = np.array([float(v) for v in done.stdout.split(",")])

    fitted = fit_proportional_odds("test", rad, covariates, stages)

    ours = np.r_[fitted.coefficients, fitted.thresholds]
    np.testing.assert_allclose(ours, numbers[:9], atol=1e-4)
    np.testing.assert_allclose(np.r_[fitted.standard_errors, fitted.threshold_errors], numbers[9:18], atol=1e-3)
    np.testing.assert_allclose(np.r_[fitted.thresholds, fitted.coefficients], numbers[18:27], atol=1e-4)


def test_brant_finds_slopes_that_differ_and_seldom_errs_where_they_do_not():
    p_same, p_differ = [], []
    for seed in range(60):
        rad, covariates, stages = a_cohort(600, seed)
        x = design(rad, covariates)
        noise = np.random.default_rng([seed, 1]).logistic(size=600)
        # What makes T4 of T3 is another slope than what makes T3 of T2.
        deeper = np.where((stages >= 2) & (0.2 * rad + noise > 1.0), 3, np.minimum(stages, 2))
        p_same.append(brant(x, stages)["p"])
        p_differ.append(brant(x, deeper)["p"])

    assert np.mean(np.array(p_same) < 0.05) < 0.17
    assert np.mean(np.array(p_differ) < 0.05) > 2 * np.mean(np.array(p_same) < 0.05) + 0.3


def test_patients_with_a_missing_covariate_are_left_out_and_counted():
    rad, covariates, stages = a_cohort()
    holes = [attrs.evolve(c, lauren=None) if k % 10 == 0 else c for k, c in enumerate(covariates)]

    fitted = fit_proportional_odds("test", rad, holes, stages)

    assert (fitted.n, fitted.left_out) == (540, 60)


def test_the_interval_holds_what_made_the_cohort():
    fitted = fit_proportional_odds("test", *a_cohort(2000, 3))

    rows = {r["term"]: r for r in fitted.rows()}
    assert rows["rad_score"]["low"] < 0.9 < rows["rad_score"]["high"]
    assert rows["lauren.diffuse"]["low"] < 0.5 < rows["lauren.diffuse"]["high"]
    assert set(rows) == set(TERMS)


def test_cannot_fit_without_a_stage():
    rad, covariates, stages = a_cohort()

    with pytest.raises(ModelArtefactError, match="no complete patient of T4"):
        fit_proportional_odds("test", rad, covariates, np.minimum(stages, 2))


def test_cannot_fit_on_a_handful_of_patients():
    rad, covariates, stages = a_cohort(40)

    with pytest.raises(ModelArtefactError, match=r"too few complete patients \(40\) for 9 parameters; 45 are needed"):
        fit_proportional_odds("test", rad, covariates, stages)


def test_cannot_fit_covariates_of_which_one_follows_from_another():
    rad, covariates, stages = a_cohort()
    tied = [attrs.evolve(c, tumour_size_cm=6.0 if c.lauren is Lauren.MIXED else 2.0) for c in covariates]

    with pytest.raises(ModelArtefactError, match="follow from one another"):
        fit_proportional_odds("test", rad, tied, stages)


def test_cannot_fit_what_is_separated():
    _, covariates, stages = a_cohort()

    with pytest.raises(ModelArtefactError, match="rad_score separates"):
        fit_proportional_odds("test", stages.astype(float), covariates, stages)


def test_refuses_a_sign_that_is_nonsense():
    rad, covariates, stages = a_cohort()

    with pytest.raises(ModelArtefactError, match=r"rad_score is -.*must rise"):
        fit_nomogram("test", -rad, covariates, stages)


def test_a_sign_that_is_another_than_a_tables_is_a_remark_and_refuses_nothing():
    rad, covariates, stages = a_cohort(1500, beta=(0.9, 0.7, 0.3, 1.0, -1.0, -0.2))

    model = fit_nomogram("test", rad, covariates, stages, note="Fitted.", against=paper_table_3())

    assert model.lauren["diffuse"] < 0
    assert model.note.startswith(
        "Fitted. Remark: against 'paper-table-3' the sign is the other way for lauren.diffuse (1.06 -> -"
    )


def test_refuses_thresholds_that_do_not_rise():
    rad, covariates, stages = a_cohort()
    fitted = attrs.evolve(fit_proportional_odds("test", rad, covariates, stages), thresholds=(1.0, 0.5, 2.0))

    with pytest.raises(ModelArtefactError, match="do not rise"):
        model_of("test", fitted, covariates)


@pytest.mark.parametrize(("given", "positions"), [("0123", [0, 1, 2, 3]), ("1234", [0, 1, 2, 3])])
def test_labels_may_be_numbers_from_0_or_from_1(given, positions):
    assert stages_of(pd.Series([int(c) for c in given])).tolist() == positions


def test_labels_may_be_stages():
    assert stages_of(pd.Series(["T4", "T1"])).tolist() == [3, 0]


@pytest.mark.parametrize("given", [[1, 2, 3], ["T1", "T5"], [0, 4], ["a"]])
def test_labels_that_could_be_two_things_are_refused(given):
    with pytest.raises(InputRefused, match="label"):
        stages_of(pd.Series(given))


def tables(tmp_path, answer=False):
    rad, covariates, stages = a_cohort(500)
    rng = np.random.default_rng(1)
    names = [f"p{k}" for k in range(500)]
    features = pd.DataFrame({"image_name": names, **{f"d{k}": rng.normal(size=500) for k in range(8)}})
    features["d3"] += 2.0 * rad
    if answer:
        features["again"] = stages * 2
    features.to_csv(tmp_path / "f.csv", index=False)
    pd.DataFrame(
        {
            "image_name": names,
            "tumour_size_cm": [c.tumour_size_cm for c in covariates],
            "differentiation": [str(c.differentiation) for c in covariates],
            "lauren": [str(c.lauren) for c in covariates],
        }
    ).to_csv(tmp_path / "c.csv", index=False)
    pd.DataFrame({"image_name": names, "label": stages}).to_csv(tmp_path / "l.csv", index=False)
    return [tmp_path / f"{n}.csv" for n in "fcl"]


def test_a_feature_that_is_the_label_is_left_out_and_said(tmp_path):
    found = fit_tables(*tables(tmp_path, answer=True))

    assert any("again of the features is the label itself" in w for w in found.warnings)
    assert "again" not in found.selected


def test_the_command_prints_a_fit_and_draws_it(tmp_path):
    features, clinical, labels = tables(tmp_path)
    arguments = ["fit-nomogram", "--features", features, "--clinical", clinical, "--labels", labels, "--json"]

    done = CliRunner().invoke(app, [*map(str, arguments), "--out", str(tmp_path / "drawn")])

    answer = json.loads(done.stdout)
    assert done.exit_code == 0
    assert answer["nomogram"]["reference_levels"] == {
        "tumour_size": "below",
        "differentiation": "well",
        "lauren": "intestinal",
    }
    assert [r["term"] for r in answer["nomogram"]["coefficients"]] == list(TERMS)
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["nomogram.pdf", "nomogram.svg"]


def test_the_diffuse_coefficient_is_negative_on_the_authors_own_data(shared_data):
    """DESIGN, section 4: Table 3's positive coefficient does not reproduce."""
    folder = shared_data / "tables"

    found = fit_tables(
        folder / "lasso-290.csv", folder / "clinic_sel.csv", folder / "label-group.csv", pattern=r"^(.+?)\.nii"
    )

    diffuse = {r["term"]: r for r in found.fit.rows()}["lauren.diffuse"]
    assert diffuse["high"] < 0
    assert any("T_stage of the features is the label itself" in w for w in found.warnings)
    assert "lauren.diffuse (1.06 -> -1.06)" in flipped_signs(found.fit, paper_table_3())
    assert found.nomogram is not None
