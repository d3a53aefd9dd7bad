"""`gtr evaluate`: a model on patients of elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from gtr_batch.cli.model_options import By, Json
from gtr_batch.cli.shell import bars, foreign, out, print_json, speaks_plainly

if TYPE_CHECKING:
    from gtr_batch.domain.external import ExternalEvaluation

app = typer.Typer(help="A model on patients of elsewhere.", no_args_is_help=True)


@app.callback()
def evaluations() -> None:
    """A model on patients of elsewhere."""


@app.command("external")
@speaks_plainly
def external(
    dicom: Annotated[Path, typer.Option(help="Folder of the other hospital's DICOM files.")],
    labels: Annotated[
        Path, typer.Option(help="CSV: series_uid,patient,t_stage[,key_slice_sop_uid]; t_stage is the pathological one.")
    ],
    by: By,
    version: Annotated[
        str | None,
        typer.Argument(help="A registered version, or the digits that it begins with; default: the champion."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the cohort, for the card; default: the folder's name.")] = None,
    as_json: Json = False,
) -> None:
    """Stage another hospital's labelled series: the paper's Table 2 for them, the gate's view, a line on the card."""
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.errors import InputRefused
    from gtr_batch.governance.card import write_card
    from gtr_batch.governance.external import evaluate_external
    from gtr_batch.governance.registry import find
    from gtr_batch.wiring import open_governance

    with bars() as progress, open_governance() as gov:
        bar = progress.add_task("series", total=None)
        chosen = find(gov.registry, version) if version else gov.registry.champion()
        if chosen is None:
            raise InputRefused("there is no champion: name the version that is to be evaluated")
        found = evaluate_external(
            gov,
            chosen,
            dicom=dicom,
            labels=labels,
            name=dicom.resolve().name if name is None else name,
            by=by,
            told=lambda done, total: progress.update(bar, completed=done, total=total),
        )
        page = write_card(gov.registry, gov.night.config.training.models, chosen, by=by)
    if as_json:
        print_json(to_json(found))
        return
    _show(found)
    out.print(f"card: {foreign(page)}", highlight=False)


def _show(found: ExternalEvaluation) -> None:
    from gtr_batch.governance.external import in_words

    for what, words in in_words(found).items():
        out.print(f"{what}: {words}", highlight=False)
    m = found.performance
    out.print(
        f"accuracy {_of(m.accuracy, m.accuracy_ci)}, quadratic kappa {_of(m.quadratic_kappa, m.quadratic_kappa_ci)}"
    )
    table = Table("stage", "AUC", "sensitivity", "specificity", "PPV", "NPV", box=None)
    for stage in ("T1", "T2", "T3", "T4"):
        rates = [
            _of(getattr(m, rate)[stage], m.rates_ci[rate][stage])
            for rate in ("sensitivity", "specificity", "ppv", "npv")
        ]
        table.add_row(stage, _of((m.auc or {}).get(stage), (m.auc_ci or {}).get(stage)), *rates)
    out.print(table)
    if found.gate is not None:
        out.print(
            f"the gate against {found.champion[:12]}: {found.gate.verdict}. {foreign(found.gate.sentence)}",
            highlight=False,
        )


def _of(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
