"""The model card: what a version is, what it was made from, what it can do, what the gate said and who answered for it.

The headings follow CLAIM 2024 and TRIPOD+AI. A card is made of what the registry holds, at any time and as often as
one likes; what nobody knows stands there as not known.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from gtr_batch import __version__
from gtr_batch.domain.model import ModelManifest
from gtr_batch.governance.registry import known
from gtr_batch.nomogram.drawing import draw_nomogram
from gtr_batch.ports import ModelRegistry
from gtr_batch.training.cohort import REASONS
from gtr_batch.training.report import COLOURS, as_svg, curves, inline_svg
from gtr_batch.writing import write_canonical_json, write_text

_MODELS = {"candidate": ("-", "this model"), "champion": ("--", "the champion it was held against")}


def build_card(registry: ModelRegistry, version: str) -> dict[str, Any]:
    """Everything a card says, JSON-able and without a patient in it.

    Raises
    ------
    InputRefused
        The version is not registered.
    """
    model = known(registry, version)
    manifest = model["manifest"]
    return {
        "version": version,
        "name": model["name"],
        "state": model["state"],
        "registered": f"{model['registered_at']:%Y-%m-%d %H:%M} UTC",
        "cohort": model["cohort_digest"],
        "demo": bool(manifest.get("demo")),
        "intended_use": manifest.get("intended_use") or "",
        "architecture": {
            key: manifest.get(key)
            for key in ("architecture", "backbone", "feature_count", "class_order", "temperature")
        },
        "contract": dict(manifest.get("contract") or {}),
        "weights_sha256": manifest.get("weights_sha256"),
        "training": dict(model["training"] or {}) or None,
        "gate": registry.document(version, "gate"),
        "history": [
            {
                "at": f"{event['at']:%Y-%m-%d %H:%M} UTC",
                "action": event["action"],
                "by": event["by_whom"],
                "why": event["why"],
                "to": event["to_state"],
            }
            for event in registry.history(version)
        ],
        "code_version": __version__,
    }


def write_card(registry: ModelRegistry, models: Path, version: str, *, by: str) -> Path:
    """Write ``<models>/cards/<version>/card.html`` and ``card.json``, and keep the card with the model.

    Parameters
    ----------
    models : Path
        The store of models (`training.models`).
    by : str
        Who had it written.

    Returns
    -------
    Path
        The page: self-contained, nothing from outside.
    """
    card = build_card(registry, version)
    folder = models / "cards" / version
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    write_canonical_json(folder / "card.json", card)
    nomogram = ModelManifest.from_json(known(registry, version)["manifest"]).nomogram
    draw_nomogram(nomogram, folder / "nomogram.svg", folder / "nomogram.pdf")
    page = (
        _environment()
        .get_template("card.html.jinja")
        .render(
            **card,
            reasons=REASONS,
            nomogram_note=nomogram.note,
            nomogram_name=nomogram.name,
            nomogram_svg=inline_svg((folder / "nomogram.svg").read_text()),
            learning=curves(card["training"]["epochs"]) if card["training"] and card["training"].get("epochs") else "",
            roc=roc_figure(card["gate"]["curves"]) if card["gate"] else "",
            calibration=calibration_figure(card["gate"]["curves"]) if card["gate"] else "",
            decision=decision_figure(card["gate"]["curves"]) if card["gate"] else "",
        )
    )
    path = write_text(folder / "card.html", page)
    registry.attach(version, "model_card", card, by=by)
    return path


def rewrite_cards(registry: ModelRegistry, models: Path, versions: Iterable[str | None], *, by: str) -> list[Path]:
    """Write the cards of these versions anew after a decision about them: a card never shows a state that is past."""
    return [write_card(registry, models, version, by=by) for version in dict.fromkeys(versions) if version]


def roc_figure(found: Mapping[str, Any]) -> str:
    """One-vs-rest ROC curves of each stage, both models, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.7), layout="constrained")
    for axes, (k, stage) in zip(figure.subplots(1, 4, sharey=True), enumerate(("T1", "T2", "T3", "T4")), strict=True):
        axes.plot([0, 1], [0, 1], color="0.8", lw=1)
        for name, (style, _) in _MODELS.items():
            points = found[name]["roc"][stage]
            if points:
                x, y = zip(*points, strict=True)
                axes.step(x, y, style, where="post", color=COLOURS[k] if style == "-" else "0.45", lw=1.5)
        axes.set_title(stage, fontsize=10)
        axes.set_xlabel("1 - specificity")
        axes.set_aspect("equal")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("sensitivity")
    return as_svg(figure)


def calibration_figure(found: Mapping[str, Any]) -> str:
    """Reliability of both models on the holdout, with Wilson's intervals, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, (name, (_, words)) in zip(figure.subplots(1, 2, sharey=True), _MODELS.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="0.8", lw=1)
        for b in found[name]["reliability"]:
            axes.plot([b["confidence"]] * 2, [b["low"], b["high"]], color=COLOURS[0], lw=1.2)
            axes.plot(b["confidence"], b["accuracy"], "o", color=COLOURS[0], ms=3 + min(b["n"], 60) ** 0.5)
        axes.set_title(words, fontsize=10)
        axes.set_xlabel("probability of the likeliest stage")
        axes.set_xlim(0.2, 1.02)
        axes.set_ylim(0, 1.02)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("how often it was right")
    return as_svg(figure)


def decision_figure(found: Mapping[str, Any]) -> str:
    """Net benefit of treating as T3 or T4: both models, everybody, nobody, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    rows: Sequence[Mapping[str, float]] = found["candidate"]["decision"]
    x = [r["threshold"] for r in rows]
    for name, (style, words) in _MODELS.items():
        colour = COLOURS[0] if style == "-" else "0.45"
        axes.plot(x, [r["model"] for r in found[name]["decision"]], style, color=colour, label=words)
    axes.plot(x, [r["all"] for r in rows], ":", color=COLOURS[2], label="treat all")
    axes.axhline(0, color="0.2", lw=0.8, label="treat none")
    best = max(r["model"] for r in itertools.chain(rows, found["champion"]["decision"]))
    axes.set_ylim(-0.1, max(best, 0.1) * 1.15)
    axes.set_xlabel("threshold probability of T3 or T4")
    axes.set_ylabel("net benefit")
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return as_svg(figure)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gtr_batch.governance"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"n3": _n3, "share": _share, "ci": _ci, "signed": _signed, "words": _words}
    return environment


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in sorted(value.items()))
    return " to ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _n3(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"


def _ci(value: Sequence[float] | None) -> str:
    return "" if value is None else f"({value[0]:.3f} to {value[1]:.3f})"
