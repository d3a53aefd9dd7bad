"""`gtr night --accession A`: one study at once, ahead of a running night."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gtr_batch.cli.shell import RED, err, foreign, out, print_json, step_bars

if TYPE_CHECKING:
    from gtr_batch.night.site import Site
    from gtr_batch.night.stage_now import Taken


def stage_now(accession: str | None, study: str | None, case_id: str | None, *, as_it_is: bool, as_json: bool) -> None:
    """Take one study and bring it from PACS to PACS; ends with 0 where its report is in the PACS, else with 1."""
    from gtr_batch.config import load
    from gtr_batch.domain.case import CaseState
    from gtr_batch.night import stage_now as now
    from gtr_batch.night.close import night_case
    from gtr_batch.night.task_memory import limited_memory
    from gtr_batch.wiring import open_site

    config = load()
    with limited_memory(config), step_bars() as progress, open_site(config, progress=progress) as site:
        if as_it_is:
            now.as_it_is(site)
        if case_id is not None:
            [study_uid] = now.studies_of_cases(site, [case_id])
        else:
            study_uid = study if study is not None else now.study_of_accession(site, str(accession))
        taken = now.take(site, [study_uid])
        _work_through(site, taken)
        case = now.case_of_study(site, study_uid)
        shown = night_case(site, case) if case else None
        sentence = taken.not_taken.get(study_uid) or (now.sentence_of(case) if case else "")
    done = case is not None and case.state is CaseState.COMMITTED
    if as_json:
        print_json({"taken": bool(taken.case_ids), "sentence": sentence, "case": shown.to_json() if shown else None})
    else:
        if shown and case:
            from gtr_batch.cli.table import show_night

            show_night(out, case.night, [shown])
        if sentence:
            out.print(foreign(sentence), highlight=False)
    if not done:
        raise typer.Exit(RED)


def _work_through(site: Site, taken: Taken) -> None:
    """The steps of a night for the cases that were taken."""
    from gtr_batch import night as steps
    from gtr_batch.errors import CasesSentBack, CasesToRetry

    shard = list(taken.case_ids)
    for step in steps.SHARD_STEPS if shard else ():
        try:
            step(site, taken.night, shard)
        except (CasesToRetry, CasesSentBack) as error:  # noted with the case, whose state says what follows
            err.print(f"[yellow]{foreign(error)}[/]", highlight=False)
    if shard:
        steps.shadow(site, taken.night, shard)
