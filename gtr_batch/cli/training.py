"""`gtr train`: the path of a retraining from a shell, with progress and the time left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from gtr_batch.cli.shell import bars, foreign, out, print_json, speaks_plainly

if TYPE_CHECKING:
    from rich.progress import TaskID

    from gtr_batch.training.site import TrainingSite

app = typer.Typer(help="Make a candidate: cohort, leak gate, slices, network, fits.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


@contextmanager
def _site() -> Iterator[TrainingSite]:
    from gtr_batch.wiring import open_training

    with bars() as progress:
        tasks: dict[str, TaskID] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        with open_training(progress=report) as site:
            yield site


@app.command("run")
@speaks_plainly
def run(
    by: Annotated[str, typer.Option(help="Your name: who asks for this candidate.")],
    why: Annotated[str, typer.Option(help="Why.")],
    as_json: Json = False,
) -> None:
    """All of it, up to a registered candidate; what was done before is not done again."""
    from gtr_batch.training import steps

    with _site() as site:
        digest = steps.freeze_cohort(site)
        done: dict[str, object] = {"cohort": digest, "leaks": steps.leak_gate(site, digest)}
        done["slices"] = steps.cache_slices(site, digest)
        done["training"] = steps.train_network(site, digest)
        version = steps.fit_artefact(site, digest)
        done["model_version"] = steps.register_candidate(site, digest, version, by, why)
        done["report"] = str(site.run_folder(digest) / "report.html")
    _show(done, as_json)


@app.command("cohort")
@speaks_plainly
def cohort(as_json: Json = False) -> None:
    """Freeze the cohort and show who is in it and who is not; nothing is trained."""
    from gtr_batch.errors import CannotTell
    from gtr_batch.training import steps
    from gtr_batch.training.cohort import build_cohort

    with _site() as site:
        settings = steps.cohort_settings(site)
        sealed, trained = site.cohorts.sealed_subjects(), site.cohorts.trained_subjects()
        manifest, _ = build_cohort(site.source.candidates(), settings, sealed=sealed, trained=trained)
        try:
            steps.freeze_cohort(site)
            enough = "enough to train on"
        except CannotTell as err:
            enough = str(err)
    _show({"cohort": manifest.digest, "flow": dict(manifest.flow), "answer": enough}, as_json)


@app.command("evaluate")
@speaks_plainly
def evaluate(
    digest: Annotated[str, typer.Argument(help="Cohort.")],
    version: Annotated[str, typer.Argument(help="A registered model.")],
    by: Annotated[str, typer.Option(help="Your name: who opens the sealed holdout.")],
    why: Annotated[str, typer.Option(help="Why.")],
    as_json: Json = False,
) -> None:
    """Open the sealed holdout for a registered model; leaves a row that cannot be changed."""
    from gtr_batch.domain.model_json import to_json
    from gtr_batch.governance.holdout import evaluate_holdout

    with _site() as site:
        found = evaluate_holdout(site, digest, version, by, why)
    _show(to_json(found), as_json)


def _show(found: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        out.print(f"[bold]{name:>18}[/]  {foreign(value)}", highlight=False)
