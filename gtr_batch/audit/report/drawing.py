"""How pictures are drawn and written: the same figure, the same bytes, as SVG for the screen and PNG for paper."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 7.2  # inches: the width of a page's text, so that letters on paper are as large as they were drawn
DPI = 200
STAGE_COLOURS = ("#8fc1e0", "#4a8fc3", "#1f5a94", "#0c2a4d")
INK, LINE, GREY, FAINT, WARN, GOOD = "#222222", "#1f5a94", "#777777", "#cccccc", "#b3261e", "#2a7d4f"
SECOND = "#c77700"
CATEGORIES = ("#1f5a94", "#e69f00", "#2a9d8f", "#b5367a", "#7a8fa6", "#8a6d00", "#c9c9c9")
_STYLE: Mapping[str, object] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": "#888888",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.hashsalt": "gtr",
    "svg.fonttype": "path",
}


def style() -> Any:
    """The context in which figures are drawn and written."""
    import matplotlib as mpl

    settings: Any = {**dict(mpl.rcParamsDefault), **_STYLE}
    return mpl.rc_context(settings)


def new_figure(height: float, **options: Any) -> Any:
    """An empty figure as wide as the page's text; `height` in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), layout="constrained", **options)


def as_svg(figure: Any) -> str:
    """The SVG element, without the XML head that HTML does not want."""
    from markupsafe import Markup

    buffer = io.StringIO()
    with style():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # laid out by now; on paper it looks the same, and takes half the time
    text = buffer.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704 - drawn by us


def as_png(figure: Any) -> bytes:
    """A PNG for paper."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def month_ticks(axes: Any, months: Sequence[str], most: int = 13, at: Sequence[int] | None = None) -> None:
    """Months (``2026-03``) under what stands at 0, 1, 2, ...: so many that they do not touch, the year where it begins.

    `most`: how many fit; `at`: where each month stands, if not at its own position.
    """
    from gtr_batch.audit.report.words import short_month

    step = max(1, -(-len(months) // most))
    shown = list(range(0, len(months), step))
    labels = []
    for k, i in enumerate(shown):
        begins = k == 0 or months[i][:4] != months[shown[k - 1]][:4]
        labels.append(short_month(months[i], year=begins))
    axes.set_xticks([i if at is None else at[i] for i in shown], labels)


def empty(axes: Any, why: str) -> None:
    """Says why there is nothing to see."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color=GREY, fontsize=8.5, wrap=True)
