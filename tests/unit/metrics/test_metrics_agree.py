"""The same numbers as scikit-learn, statsmodels, MAPIE, R and arithmetic by hand give on the same tables."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import statsmodels.api as sm
from mapie.metrics.calibration import expected_calibration_error, top_label_ece
from scipy.special import logit
from scipy.stats import chi2, norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from gtr_batch.audit.evaluation import evaluate
from gtr_batch.metrics.calibration import ece_top, holm, hosmer_lemeshow, recalibration
from gtr_batch.metrics.classification import CLASSES, FEW, auc_score_interval
from gtr_batch.metrics.paired import mcnemar_exact
from gtr_batch.metrics.utility import net_benefit


def a_table(n=400, seed=0, *, digits=None, sharper=1.0):
    """Labels drawn from probabilities, and those probabilities as a model that is too sure of itself says them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.2, (n, 4))
    true = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    labels = (rng.random(n)[:, None] > true.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    said = true**sharper / (true**sharper).sum(axis=1, keepdims=True)
    return labels, said if digits is None else np.round(said, digits)


TABLES = [a_table(), a_table(90, 1, sharper=2.0), a_table(400, 2, digits=1, sharper=1.5), a_table(2000, 3)]
NAMES = ["calibrated", "too sure", "tied", "large"]


@pytest.fixture(params=TABLES, ids=NAMES)
def table(request):
    labels, p = request.param
    p = p / p.sum(axis=1, keepdims=True)  # rounded rows no longer sum to 1
    return labels, p, evaluate(labels, p, draws=0)


def test_accuracy_confusion_kappa_and_rates_are_those_of_scikit_learn(table):
    labels, p, found = table
    said = p.argmax(axis=1)

    precision, recall, _, _ = sk.precision_recall_fscore_support(labels, said, labels=range(4))

    assert found.accuracy == pytest.approx(sk.accuracy_score(labels, said))
    assert np.array_equal(found.confusion, sk.confusion_matrix(labels, said, labels=range(4)))
    assert found.quadratic_kappa == pytest.approx(sk.cohen_kappa_score(labels, said, weights="quadratic"))
    assert list(found.ppv.values()) == pytest.approx(precision)
    assert list(found.sensitivity.values()) == pytest.approx(recall)
    for k, stage in enumerate(CLASSES):
        (tn, fp), (fn, _) = sk.confusion_matrix(labels == k, said == k)
        assert found.specificity[stage] == pytest.approx(tn / (tn + fp))
        assert found.npv[stage] == pytest.approx(tn / (tn + fn))


def test_auc_and_roc_are_those_of_scikit_learn(table):
    labels, p, found = table

    aucs = [sk.roc_auc_score(labels == k, p[:, k]) for k in range(4)]

    assert [found.auc[s] for s in CLASSES] == pytest.approx(aucs)
    assert found.auc["macro"] == pytest.approx(sk.roc_auc_score(labels, p, multi_class="ovr", average="macro"))
    for k, stage in enumerate(CLASSES):
        x, y = np.array(found.roc[stage]).T
        # Few points of a large table: the area under them lies near, never equal.
        assert sk.auc(x, y) == pytest.approx(aucs[k], abs=2e-3)


def test_proper_scores_are_those_of_scikit_learn(table):
    labels, p, found = table

    cumulative = [np.mean((p[:, : k + 1].sum(axis=1) - (labels <= k)) ** 2) for k in range(3)]

    assert found.brier == pytest.approx(sk.brier_score_loss(labels, p, scale_by_half=False, labels=range(4)))
    assert found.log_loss == pytest.approx(sk.log_loss(labels, p.clip(1e-15, 1), labels=range(4)), rel=1e-6)
    assert found.rps == pytest.approx(np.mean(cumulative))


EDGES = 16  # MAPIE's num_bins counts the edges of its bins: 16 of them make our 15 bins


@pytest.mark.parametrize(("labels", "p"), [TABLES[0], TABLES[1], TABLES[3]], ids=["calibrated", "too sure", "large"])
def test_ece_is_that_of_mapie(labels, p):
    """Not on the tied table: MAPIE's bins hold their upper edge, ours the lower one."""
    most = p.max(axis=1)

    found = evaluate(labels, p, draws=0).ece

    top = expected_calibration_error((p.argmax(axis=1) == labels).astype(int), most, EDGES, "uniform")
    classwise = expected_calibration_error(
        labels, p, num_bins=EDGES, split_strategy="uniform", classwise=True, class_labels=labels
    )
    assert found.top == pytest.approx(top)
    assert found.classwise == pytest.approx(classwise)


def test_mapies_top_label_ece_is_ours_a_stage_averaged():
    """MAPIE's weighs the four stages that were said alike, ours every row."""
    labels, p = a_table(2000, 3, sharper=2.0)
    said = p.argmax(axis=1)

    theirs = top_label_ece(labels, p, num_bins=EDGES, split_strategy="uniform")

    assert theirs == pytest.approx(np.mean([ece_top(labels[said == k], p[said == k]) for k in range(4)]))


def test_slope_and_intercept_and_their_errors_are_those_of_statsmodels(table):
    labels, p, found = table
    said = p[:, 2] + p[:, 3]

    fit = sm.GLM(
        (labels >= 2).astype(float), sm.add_constant(logit(said.clip(1e-6, 1 - 1e-6))), sm.families.Binomial()
    ).fit(tol=1e-12)

    line = found.calibration
    assert (line.intercept, line.slope) == pytest.approx(tuple(fit.params), abs=1e-5)
    assert (line.intercept_se, line.slope_se) == pytest.approx(tuple(fit.bse), abs=1e-5)
    assert line.penalised is False


def test_wilson_and_mcnemar_are_those_of_statsmodels(table):
    labels, p, found = table
    right, other = p.argmax(axis=1) == labels, np.roll(p, 1, axis=0).argmax(axis=1) == labels
    counts = [[(right & other).sum(), (right & ~other).sum()], [(~right & other).sum(), (~right & ~other).sum()]]

    assert tuple(found.accuracy_ci) == pytest.approx(proportion_confint(right.sum(), len(right), method="wilson"))
    assert mcnemar_exact(right, other) == pytest.approx(mcnemar(counts, exact=True).pvalue)


def test_hosmer_lemeshow_is_that_of_tenths_by_hand():
    labels, p = a_table(400, sharper=2.0)
    frame = pd.DataFrame({"y": labels == 2, "p": p[:, 2]})

    tenths = frame.groupby(pd.qcut(frame["p"], 10)).agg(n=("y", "size"), y=("y", "sum"), p=("p", "sum"))
    statistic = ((tenths.y - tenths.p) ** 2 / (tenths.p * (1 - tenths.p / tenths.n))).sum()
    found = hosmer_lemeshow(labels == 2, p[:, 2])

    assert found["statistic"] == pytest.approx(statistic)
    assert found["p"] == pytest.approx(chi2.sf(statistic, 10))
    assert found["p_df8"] == pytest.approx(chi2.sf(statistic, 8))


def test_hosmer_lemeshow_does_not_sort_ties_by_their_outcome():
    """Ten calibrated values only: groups that were cut within a value by outcome would refute it for certain."""
    rng = np.random.default_rng(4)
    refuted = []
    for _ in range(600):
        said = rng.choice(np.linspace(0.05, 0.95, 7), 300)
        refuted.append(hosmer_lemeshow(rng.random(300) < said, said)["p"] < 0.05)

    assert np.mean(refuted) < 0.09  # 0.05 with an error of 0.009: of 10,000 seeds not one reaches it


def test_hosmer_lemeshow_of_a_calibrated_model_rejects_as_often_as_it_says():
    """Probabilities that were not fitted to these rows: on eight degrees of freedom one stage in nine was rejected, and
    one of the four in 39% of reports."""
    rng = np.random.default_rng(8)
    alone, paper, together = [], [], []
    for _ in range(500):
        labels, p = a_table(400, int(rng.integers(1 << 30)))
        found = [hosmer_lemeshow(labels == k, p[:, k]) for k in range(4)]
        alone += [test["p"] < 0.05 for test in found]
        paper += [test["p_df8"] < 0.05 for test in found]
        together.append(min(holm([test["p"] for test in found])) < 0.05)

    assert np.mean(alone) < 0.08
    assert np.mean(paper) > 0.085
    assert np.mean(together) < 0.09


def test_holms_rule_is_that_of_statsmodels():
    given = [0.04, 0.01, 0.2, 0.012]

    assert holm(given) == pytest.approx(multipletests(given, method="holm")[1])
    assert holm([]) == []


def test_delong_is_the_variance_of_all_pairs(table):
    labels, p, found = table
    positive, score = labels == 3, p[:, 3]

    pairs = (score[positive][:, None] > score[~positive]) + 0.5 * (score[positive][:, None] == score[~positive])
    of_positive, of_negative = pairs.mean(axis=1), pairs.mean(axis=0)
    half = 1.959964 * np.sqrt(of_positive.var(ddof=1) / len(of_positive) + of_negative.var(ddof=1) / len(of_negative))

    expected = pairs.mean() - half, min(1, pairs.mean() + half)
    if min(positive.sum(), (~positive).sum()) < FEW:
        expected = auc_score_interval(pairs.mean(), int(positive.sum()), int((~positive).sum()))
    assert found.auc_ci["T4"] == pytest.approx(expected, abs=1e-6)


def test_the_interval_of_an_auc_of_five_patients_covers():
    """Normal scores, five of a stage against a hundred, true AUC 0.85: DeLong's interval holds it in 75 of 100."""
    rng = np.random.default_rng(2)
    shift, runs = float(norm.ppf(0.85)) * 2**0.5, 400
    few, delong = 0, 0
    for _ in range(runs):
        sick, well = rng.normal(shift, 1, 5), rng.normal(0, 1, 100)
        above = sick[:, None] > well[None, :]
        value = float(above.mean())
        half = 1.96 * (above.mean(axis=1).var(ddof=1) / 5 + above.mean(axis=0).var(ddof=1) / 100) ** 0.5
        low, high = auc_score_interval(value, 5, 100)
        few += low <= 0.85 <= high
        delong += value - half <= 0.85 <= value + half

    assert few / runs >= 0.92
    assert delong / runs <= 0.86


def test_few_patients_of_a_stage_are_named_with_their_interval():
    labels, p = a_table(400)
    keep = np.flatnonzero((labels != 0) | (np.cumsum(labels == 0) <= 5))

    found = evaluate(labels[keep], p[keep], draws=0)

    assert any("AUC of T1: fewer than 30 patients" in sentence for sentence in found.sentences)


def test_net_benefit_is_vickers_and_elkins_by_hand():
    positive = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
    treated = np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0], bool)

    assert net_benefit(positive, treated, 0.2) == pytest.approx(2 / 10 - 1 / 10 * 0.25)


def test_nearly_separated_outcomes_get_firths_fit():
    """Firth's slope is the maximum of the penalised likelihood, found here on a grid."""
    said = np.r_[np.full(10, 0.2), np.full(10, 0.8)]
    positive = np.r_[np.zeros(10, bool), np.ones(10, bool)]

    found = recalibration(positive, said)

    x = logit(said)
    intercept, slope = np.meshgrid(np.linspace(-1, 1, 201), np.linspace(0.5, 4, 701), indexing="ij")
    chance = 1 / (1 + np.exp(-(intercept[..., None] + slope[..., None] * x)))
    w = chance * (1 - chance)
    information = w.sum(-1) * (w * x * x).sum(-1) - (w * x).sum(-1) ** 2
    likelihood = np.log(np.where(positive, chance, 1 - chance)).sum(-1) + 0.5 * np.log(information)
    best = np.unravel_index(likelihood.argmax(), likelihood.shape)
    assert found.penalised
    assert (found.intercept, found.slope) == pytest.approx((intercept[best], slope[best]), abs=0.01)


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_agrees_with_r(tmp_path):
    labels, p = a_table(400, 5, sharper=1.5)
    pd.DataFrame(p, columns=["p1", "p2", "p3", "p4"]).assign(y=labels).to_csv(tmp_path / "t.csv", index=False)
    script = f"""
    t <- read.csv("{tmp_path}/t.csv")
    m <- glm((t$y >= 2) ~ qlogis(t$p3 + t$p4), family=binomial, control=list(epsilon=1e-14))
    a <- sapply(0:3, function(k) {{
      q <- t[[paste0("p", k + 1)]]; i <- t$y == k
      unname(wilcox.test(q[i], q[!i], exact=FALSE)$statistic) / (sum(i) * sum(!i)) }})
    said <- max.col(t[, 1:4]) - 1
    w <- prop.test(sum(said == t$y), nrow(t), correct=FALSE)$conf.int
    cat(paste(c(coef(m), sqrt(diag(vcov(m))), a, w), collapse=","))
    """
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=True)
    numbers = [float(v) for v in done.stdout.split(",")]

    found = evaluate(labels, p, draws=0)

    line = found.calibration
    ours = [line.intercept, line.slope, line.intercept_se, line.slope_se]
    ours += [*(found.auc[s] for s in CLASSES), *found.accuracy_ci]
    assert ours == pytest.approx(numbers, abs=1e-5)
