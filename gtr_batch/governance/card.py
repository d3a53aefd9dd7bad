"""The model card: what a version is, what it was made from, what it can do, what the gate said and who answered for it.

The headings name items of CLAIM 2024 and TRIPOD+AI; the checklist of CLAIM (`gtr_batch.governance.claim`) is made of
the page as it was rendered. A card is made of what the registry holds, at any time and as often as one likes; what is
not known is stated as not known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import jinja2
from attrs import field, frozen

from gtr_batch import __version__
from gtr_batch.domain.external import ExternalEvaluation
from gtr_batch.domain.gate import GateVerdict
from gtr_batch.domain.model import ModelManifest
from gtr_batch.domain.model_json import to_json
from gtr_batch.domain.printable import printable_value
from gtr_batch.governance.card_figures import calibration_figure, decision_figure, roc_figure
from gtr_batch.governance.claim import Checklist, ModelDocuments, checklist
from gtr_batch.governance.external import external_of
from gtr_batch.governance.registry import gate_verdict, known
from gtr_batch.logs import get_logger
from gtr_batch.ports import ModelRegistry
from gtr_batch.training.cohort import REASONS
from gtr_batch.training.report import curves, drawn_nomogram, report_page, shown_table_one
from gtr_batch.writing import make_folder, write_canonical_json, write_text

log = get_logger("governance")


@frozen
class CardArchitecture:
    """What a manifest says of its network; None where it does not say."""

    architecture: str | None
    backbone: str | None
    feature_count: int | None
    class_order: Sequence[str] | None
    temperature: float | None
    priors: Mapping[str, Any] | None


@frozen
class CardEvent:
    """A decision about the model: when (UTC), what, by whom, why, and the state after it."""

    at: str
    action: str
    by: str
    why: str
    to: str


@frozen
class CardOpening:
    """The sealed holdout was opened: when (UTC), for which model, by whom and why."""

    at: str
    model_version: str
    by: str
    why: str


@frozen
class ModelCard:
    """Everything a card says, without a patient in it.

    `registered` is a time, UTC; `cohort` the digest of the training cohort, empty where there is none; `openings` are
    those of the holdout that the gate judged it on, else of its own cohort's, for whatever model; `contract` and
    `training` are the manifest's preprocessing contract and the training report, as they are kept.
    """

    version: str
    name: str
    state: str
    registered: str
    cohort: str
    demo: bool
    intended_use: str
    architecture: CardArchitecture
    contract: Mapping[str, Any]
    weights_sha256: str | None
    training: Mapping[str, Any] | None = field(repr=False)
    gate: GateVerdict | None = field(repr=False)
    external: tuple[ExternalEvaluation, ...] = field(repr=False)
    openings: tuple[CardOpening, ...] = field(repr=False)
    history: tuple[CardEvent, ...] = field(repr=False)
    code_version: str


def build_card(registry: ModelRegistry, version: str) -> ModelCard:
    """What is known of a version now.

    Raises
    ------
    InputRefused
        The version is not registered.
    """
    model = known(registry, version)
    manifest, gate = model.manifest, gate_verdict(registry, version)
    return ModelCard(
        version=version,
        name=model.name,
        state=model.state,
        registered=f"{model.registered_at:%Y-%m-%d %H:%M} UTC",
        cohort=model.cohort_digest,
        demo=bool(manifest.get("demo")),
        intended_use=manifest.get("intended_use") or "",
        architecture=CardArchitecture(**{a.name: manifest.get(a.name) for a in attrs.fields(CardArchitecture)}),
        contract=dict(manifest.get("contract") or {}),
        weights_sha256=manifest.get("weights_sha256"),
        training=dict(model.training) or None,
        gate=gate,
        external=external_of(registry, version).cohorts,
        openings=tuple(
            CardOpening(
                at=f"{opening.opened_at:%Y-%m-%d %H:%M} UTC",
                model_version=opening.model_version,
                by=opening.opened_by,
                why=opening.why,
            )
            for opening in registry.openings(gate.cohort if gate else model.cohort_digest)
        ),
        history=tuple(
            CardEvent(
                at=f"{event.at:%Y-%m-%d %H:%M} UTC",
                action=event.action,
                by=event.by_whom,
                why=event.why,
                to=event.to_state,
            )
            for event in registry.history(version)
        ),
        code_version=__version__,
    )


def write_card(registry: ModelRegistry, models: Path, version: str, *, by: str) -> Path:
    """Write a version's pages into ``<models>/cards/<version>/``, and keep the card with the model.

    They are ``card.html`` and ``card.json``; the checklist of CLAIM 2024 of what they hold, as ``claim.html``,
    ``claim.json`` and ``claim.csv``; and ``report.html``, where the training report is kept with the model.

    Parameters
    ----------
    models : Path
        The store of models (`training.models`).
    by : str
        Who had it written.

    Returns
    -------
    Path
        The card's page: self-contained, nothing from outside.
    """
    card = build_card(registry, version)
    folder = models / "cards" / version
    make_folder(folder, mode=0o755)
    content = to_json(card)
    write_canonical_json(folder / "card.json", content)
    documents = _documents(card, known(registry, version).manifest, folder)
    found = checklist(version, card.name, documents)
    write_canonical_json(folder / "claim.json", to_json(found) | {"counts": found.counts})
    write_text(folder / "claim.csv", found.to_csv())
    write_text(folder / "claim.html", _environment().get_template("claim.html.jinja").render(claim=found))
    if documents.report is None:
        (folder / "report.html").unlink(missing_ok=True)  # of an earlier try
    else:
        write_text(folder / "report.html", documents.report)
    path = write_text(folder / "card.html", documents.card)
    registry.attach(version, "model_card", content, by=by)
    return path


def claim_checklist(registry: ModelRegistry, version: str) -> Checklist:
    """The checklist of CLAIM 2024 of what is known of a version now; nothing is written.

    Raises
    ------
    InputRefused
        The version is not registered.
    """
    card = build_card(registry, version)
    with tempfile.TemporaryDirectory() as scratch:
        return checklist(version, card.name, _documents(card, known(registry, version).manifest, Path(scratch)))


def _documents(card: ModelCard, manifest: Mapping[str, Any], folder: Path) -> ModelDocuments:
    """Card and training report as pages; the drawn nomogram is written into the folder."""
    nomogram = ModelManifest.from_json(manifest).nomogram
    drawn_once = drawn_nomogram(nomogram, folder)
    report = _report(card, drawn_once)
    epochs = card.training.get("epochs") if card.training else None
    drawn = card.gate.curves if card.gate else None
    page = (
        _environment()
        .get_template("card.html.jinja")
        .render(
            **attrs.asdict(card, recurse=False),
            reasons=REASONS,
            has_report=report is not None,
            table_one=shown_table_one((card.training or {}).get("cohort", {}).get("table_1")),
            nomogram_name=nomogram.name if nomogram else "",
            nomogram_note=nomogram.note if nomogram else "",
            nomogram_svg=drawn_once,
            learning=curves(epochs) if epochs else "",
            roc=roc_figure(drawn) if drawn else "",
            calibration=calibration_figure(drawn) if drawn else "",
            decision=decision_figure(drawn) if drawn else "",
        )
    )
    return ModelDocuments(page, report, manifest)


def _report(card: ModelCard, nomogram_svg: str) -> str | None:
    """The page of the training report that is kept with the model; None where an earlier version kept less of it."""
    if card.training is None:
        return None
    try:
        return report_page(card.training, nomogram_svg)
    except (KeyError, TypeError, jinja2.UndefinedError) as err:
        log.warning("card.no_report", model_version=card.version, error=type(err).__name__)
        return None


def rewrite_cards(registry: ModelRegistry, models: Path, versions: Iterable[str | None], *, by: str) -> list[Path]:
    """Write the cards of these versions anew after a decision about them: a card never shows a state that is past."""
    return [write_card(registry, models, version, by=by) for version in dict.fromkeys(versions) if version]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gtr_batch.governance"),
        autoescape=True,
        finalize=printable_value,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"n3": _n3, "share": _share, "ci": _ci, "signed": _signed, "words": _words}
    return environment


def _words(value: object) -> str:
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
