"""The metrics of a table as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from gtr_batch.audit.found.evaluation import Evaluation

_STAGES = ("T1", "T2", "T3", "T4")


def show_metrics(console: Console, found: Evaluation, labels_read_as: str | None) -> None:
    """Whole, by stage, confusion, decisions; below, in words, what could not be computed or must not be misread."""
    reading = f", labels read as {labels_read_as}" if labels_read_as else ""
    whole = Table(title=f"{found.n} rows of {found.patients} patients{reading}")
    for heading in ("metric", "value", "95%", "95%, patients redrawn"):
        whole.add_column(heading, no_wrap=True)
    for name, value, interval, redrawn in (
        ("accuracy", found.accuracy, found.accuracy_ci, found.accuracy_ci_cluster),
        ("macro AUC", found.auc["macro"], found.auc_ci["macro"], found.auc_ci_cluster["macro"]),
        ("quadratic kappa", found.quadratic_kappa, None, found.quadratic_kappa_ci),
        ("RPS", found.rps, None, None),
        ("Brier score (0 to 2)", found.brier, None, None),
        ("log-loss", found.log_loss, None, None),
    ):
        whole.add_row(name, _number(value), _interval(interval), _interval(redrawn))
    ece, line = found.ece, found.calibration
    limit = f"null limit {_number(ece.null_95)}"
    whole.add_row("ECE, likeliest stage", _number(ece.top), limit)
    whole.add_row("ECE, by stage", _number(ece.classwise))
    firth = " (Firth)" if line.penalised else ""
    whole.add_row(f"slope of T3 or more{firth}", _number(line.slope), f"SE {_number(line.slope_se)}")
    whole.add_row(f"intercept of T3 or more{firth}", _number(line.intercept), f"SE {_number(line.intercept_se)}")
    whole.add_row("over-treatment", _number(found.over_treatment))
    whole.add_row("under-treatment", _number(found.under_treatment))
    whole.add_row("NNT", _number(found.nnt, 2))
    console.print(whole)

    stages = Table(title="By stage, against the others")
    for heading in ("", *_STAGES):
        stages.add_column(heading, no_wrap=True)
    stages.add_row("rows", *(str(found.stages[s]) for s in _STAGES))
    for name, values, intervals in (
        ("sensitivity", found.sensitivity, found.sensitivity_ci),
        ("specificity", found.specificity, found.specificity_ci),
        ("PPV", found.ppv, found.ppv_ci),
        ("NPV", found.npv, found.npv_ci),
        ("AUC", found.auc, found.auc_ci),
    ):
        stages.add_row(name, *(_with(values[s], intervals[s]) for s in _STAGES))
    stages.add_row("Hosmer-Lemeshow p", *(_number(found.hosmer_lemeshow[s].p) for s in _STAGES))
    stages.add_row("  four together (Holm)", *(_number(found.hosmer_lemeshow[s].p_holm) for s in _STAGES))
    console.print(stages)

    confusion = Table(title="Pathology (rows) and given stage (columns)")
    for heading in ("", *_STAGES):
        confusion.add_column(heading, justify="right")
    for stage, row in zip(_STAGES, found.confusion, strict=True):
        confusion.add_row(f"p{stage}", *map(str, row))
    console.print(confusion)

    benefit = Table(title="Net benefit of treating T3 or more, by threshold")
    for heading in ("threshold", "model", "all", "none"):
        benefit.add_column(heading, justify="right")
    for point in found.net_benefit[1::2]:
        benefit.add_row(f"{point.threshold:.2f}", *map(_number, (point.model, point.all, point.none)))
    console.print(benefit)
    for sentence in found.sentences:
        console.print(sentence, highlight=False)


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _with(value: float | None, interval: Sequence[float] | None) -> str:
    return _number(value) + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval is not None else "")
