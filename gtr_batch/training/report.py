"""The training report as a page: one self-contained HTML, nothing from outside, no patient in it."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from gtr_batch.domain.model import NomogramModel
from gtr_batch.domain.model_json import from_json
from gtr_batch.domain.printable import printable_value
from gtr_batch.metrics.table_one import TableOne, lines_of
from gtr_batch.nomogram.drawing import draw_nomogram
from gtr_batch.training.cohort import REASONS
from gtr_batch.writing import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#31688e", "#35b779", "#8a6d00", "#b5367a")


def write_report(folder: Path, body: Mapping[str, Any], nomogram: NomogramModel | None) -> Path:
    """Write ``report.html`` and, where there is a nomogram, ``nomogram.svg``/``.pdf``.

    Parameters
    ----------
    folder : Path
    body : mapping
        What ``report.json`` holds (`gtr_batch.training.finish`).
    nomogram : NomogramModel or None

    Returns
    -------
    Path
    """
    return write_text(folder / "report.html", report_page(body, drawn_nomogram(nomogram, folder)))


def report_page(body: Mapping[str, Any], nomogram_svg: str) -> str:
    """The page of what ``report.json`` holds.

    Raises
    ------
    KeyError, TypeError, jinja2.UndefinedError
        An earlier version wrote it: something of what the page shows is not in it.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gtr_batch.training"),
        autoescape=True,
        finalize=printable_value,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"n3": _n3, "share": _share, "ci": _ci}
    return environment.get_template("report.html.jinja").render(
        **body,
        reasons=REASONS,
        table_one=shown_table_one(body["cohort"].get("table_1")),
        curves=curves(body["epochs"]),
        diagrams=diagrams(body["validation"]["reliability"]),
        nomogram_svg=nomogram_svg,
    )


def curves(epochs: Sequence[Mapping[str, float]]) -> str:
    """Learning curves as SVG: losses above, validation accuracy below; lessons parted by lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    losses, accuracy = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    x = range(1, len(epochs) + 1)
    losses.plot(x, [e["train_loss"] for e in epochs], color=COLOURS[0], label="train")
    losses.plot(x, [e["validation_loss"] for e in epochs], color=COLOURS[3], label="validation")
    accuracy.plot(x, [e["validation_accuracy"] for e in epochs], color=COLOURS[1])
    for at, (one, later) in enumerate(itertools.pairwise(epochs), 1):
        if one["lesson"] != later["lesson"]:
            for axes in (losses, accuracy):
                axes.axvline(at + 0.5, color="0.8", lw=1, zorder=0)
    losses.set_ylabel("cross-entropy")
    losses.legend(frameon=False)
    accuracy.set_ylabel("accuracy (vote)")
    accuracy.set_ylim(0, 1)
    accuracy.set_xlabel("epoch")
    for axes in (losses, accuracy):
        axes.spines[["top", "right"]].set_visible(False)
    return as_svg(figure)


def diagrams(bins: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Reliability before and after priors and temperature as SVG, with Wilson's intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), ("before", "after"), strict=True):
        axes.plot([0, 1], [0, 1], color="0.75", lw=1)
        for b in bins[name]:
            axes.plot([b["confidence"]] * 2, [b["low"], b["high"]], color=COLOURS[0], lw=1.2)
            axes.plot(b["confidence"], b["accuracy"], "o", color=COLOURS[0], ms=3 + min(b["n"], 60) ** 0.5)
        axes.set_title(f"{name} priors and temperature", fontsize=10)
        axes.set_xlabel("probability of the likeliest stage")
        axes.set_xlim(0.2, 1.02)
        axes.set_ylim(0, 1.02)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("how often it was right")
    return as_svg(figure)


def as_svg(figure: Figure) -> str:
    """A figure as an SVG element, the same bytes for the same figure."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "gtr", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return inline_svg(buffer.getvalue())


def shown_table_one(kept: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Table 1 as a page shows it: cohorts with their sizes, lines, and whether anything is known of anybody.

    None where the cohort was frozen without one.
    """
    if not kept:
        return None
    table = from_json(kept, TableOne)
    known = any(any(row.known) for row in table.rows)
    return {"heads": list(zip(table.cohorts, table.n, strict=True)), "lines": lines_of(table), "known": known}


def drawn_nomogram(nomogram: NomogramModel | None, folder: Path) -> str:
    """Write ``nomogram.svg`` and ``.pdf`` and return the element; nothing for a model that has none."""
    files = folder / "nomogram.svg", folder / "nomogram.pdf"
    if nomogram is None:
        for file in files:  # of an earlier try
            file.unlink(missing_ok=True)
        return ""
    draw_nomogram(nomogram, *files)
    return inline_svg(files[0].read_text())


def inline_svg(svg: str) -> str:
    """The element itself, without the XML head that HTML does not want."""
    from markupsafe import Markup

    return Markup(svg[svg.index("<svg") :])  # noqa: S704 - drawn by us


def _n3(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"


def _ci(value: Sequence[float] | None) -> str:
    return "" if value is None else f"({value[0]:.3f} to {value[1]:.3f})"
