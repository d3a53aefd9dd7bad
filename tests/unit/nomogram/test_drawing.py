"""The drawn nomogram: its scale is that of R's rms, and its bytes are the same each time."""

from __future__ import annotations

import shutil
import subprocess

import attrs
import numpy as np
import pytest

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.nomogram.drawing import axes_of, draw_nomogram, nomogram_of, total_axis
from gtr_batch.nomogram.score import paper_table_3, score


def test_the_longest_axis_spans_a_hundred_points():
    axes = axes_of(paper_table_3())

    assert axes["rad_score"][0] == ("-3", 0.0)
    assert axes["rad_score"][-1][1] == pytest.approx(100)
    assert max(points for marks in axes.values() for _, points in marks) == pytest.approx(100)


def test_no_mark_is_written_over_the_title_of_its_axis():
    model = attrs.evolve(paper_table_3(), lauren={"intestinal": 0.0, "diffuse": 0.1, "mixed": 0.05})
    drawn = nomogram_of(model, score(model, 0.0, Covariates(5.5, Differentiation.POOR, Lauren.INTESTINAL)))

    written = [(tick.text_x - 3 * len(tick.text), tick) for axis in drawn.axes for tick in axis.ticks if tick.text]

    assert [tick for begins, tick in written if begins < 142] == []  # where the titles end
    assert {tick.text for _, tick in written} >= {"intestinal", "mixed"}


def test_points_and_total_give_the_linear_predictor_back():
    model = paper_table_3()
    axes = {name: dict(marks) for name, marks in axes_of(model).items()}
    _, lowest, a_point = total_axis(model)

    total = (
        axes["rad_score"]["1"] + axes["tumour_size"][">= 5"] + axes["differentiation"]["poor"] + axes["lauren"]["mixed"]
    )

    assert lowest + a_point * total == pytest.approx(0.87 + 0.69 + 1.15 - 0.08)


def test_the_same_model_is_drawn_with_the_same_bytes(tmp_path):
    draw_nomogram(paper_table_3(), tmp_path / "a.svg", tmp_path / "a.pdf")
    draw_nomogram(paper_table_3(), tmp_path / "b.svg", tmp_path / "b.pdf")

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    assert "<text" not in (tmp_path / "a.svg").read_text()  # drawn as paths: no font is needed


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_the_points_are_those_of_rms(tmp_path):
    """A model fitted by rms::lrm, drawn by rms::nomogram over -3..3: the points of each level are ours."""
    script = """
    if (!requireNamespace("rms", quietly=TRUE)) quit(status=77)
    suppressMessages(library(rms)); set.seed(1); n <- 800
    d <- data.frame(rad=rnorm(n), size=factor(sample(c("below","at_least"), n, TRUE), levels=c("below","at_least")),
      grade=factor(sample(c("well","moderate","poor"), n, TRUE), levels=c("well","moderate","poor")),
      lauren=factor(sample(c("intestinal","diffuse","mixed"), n, TRUE), levels=c("intestinal","diffuse","mixed")))
    lp <- .9*d$rad + .7*(d$size=="at_least") + .3*(d$grade=="moderate") + 1*(d$grade=="poor")
    lp <- lp + .6*(d$lauren=="diffuse") - .3*(d$lauren=="mixed")
    d$y <- cut(lp + rlogis(n), c(-Inf, -.5, 1, 2.5, Inf), labels=FALSE)
    dd <- datadist(d); options(datadist="dd"); m <- lrm(y ~ rad + size + grade + lauren, data=d)
    g <- nomogram(m, rad=seq(-3, 3, by=.5), lp=FALSE)
    cat(paste(c(-coef(m)[1:3], coef(m)[4:9]), collapse=","), "\\n")
    for (v in c("rad","size","grade","lauren")) cat(paste(g[[v]]$points, collapse=","), "\\n")
    """
    done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("R has no rms")
    rows = [[float(v) for v in line.split(",")] for line in done.stdout.strip().splitlines()]
    thresholds, (rad, large, moderate, poor, diffuse, mixed) = rows[0][:3], rows[0][3:]
    model = attrs.evolve(
        paper_table_3(),
        rad_score=rad,
        tumour_size=large,
        differentiation={"well": 0.0, "moderate": moderate, "poor": poor},
        lauren={"intestinal": 0.0, "diffuse": diffuse, "mixed": mixed},
        thresholds=thresholds,
    )

    ours = [[points for _, points in marks] for marks in axes_of(model).values()]

    for mine, theirs in zip(ours, rows[1:], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
