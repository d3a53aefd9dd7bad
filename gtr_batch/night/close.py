"""The end of a night: its colour and its summary. And housekeeping."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np

from gtr_batch.domain.case import PATH, Case, CaseState, Step
from gtr_batch.domain.night_case import NightCase
from gtr_batch.domain.night_colour import RedBecause, failed_in, red_because
from gtr_batch.domain.refusal import MENDED_BY_EHR, RefusalCode
from gtr_batch.domain.score import answers_of
from gtr_batch.errors import GtrError, NightFailed, StorageFull
from gtr_batch.logs import get_logger
from gtr_batch.night.looking_back import came_by_looking_back
from gtr_batch.night.runner import GB, Shard
from gtr_batch.night.site import Site
from gtr_batch.night.steps import why_held
from gtr_batch.writing import discard_scratch, write_json


def close_night(site: Site, night: date) -> dict[str, Any]:
    """Count the night's cases, write its summary and decide its colour.

    Returns
    -------
    dict
        ``identity_mismatch`` (case ids whose images, reports or study are not their patient's; a person must look),
        ``night``, ``cases``, ``states`` (counts), ``stages`` (counts), ``refusals`` (counts by code), ``failed``
        (case id -> error), ``delivery`` (case ids ``held`` back by the audit and the sentences that say ``why``;
        empty where none was), ``looked_back`` (how many cases are of earlier days, and why they came only now),
        ``intake`` (counts; errors, and what is ``waiting`` as it still arrives, by study), ``shadow`` (each
        challenger's agreement with the champion), ``canary`` (what each machine made of the model's own phantom series,
        and the seconds that took), ``stopped`` (who stopped the service, when and why; empty while it runs). No PHI.

    Raises
    ------
    NightFailed
        More cases or studies failed, or did not finish, than `night.failure_tolerance` allows; names them. Or the
        service is stopped, or the canary failed.
    """
    cases = site.cases.of_night(night)
    summary = summarise(site, night, cases)
    site.nights.close(night, summary)
    log = get_logger("close_night")
    try:
        write_json(site.files.night_folder(night, "summary") / "night.json", summary)
    except StorageFull as err:  # the database has it; the colour is decided all the same
        log.error("night.summary_not_written", night=str(night), error=str(err))
    if summary["identity_mismatch"]:
        log.error("night.identity_mismatch", night=str(night), case_ids=summary["identity_mismatch"])
    log.info("night.closed", night=str(night), **summary["states"])
    red = red_because(summary, site.settings.night.failure_tolerance)
    if red is RedBecause.STOPPED:
        raise NightFailed(
            f"night {night}: {summary['stopped']}. {len(summary['failed'])} of {len(cases)} cases wait; after "
            f"`gtr resume` run the night again: finished cases are left alone"
        )
    if red is RedBecause.CANARY:
        raise NightFailed(
            f"night {night}: no patient was staged after this: {summary['canary'][0]['sentence']}. "
            f"{len(summary['failed'])} of {len(cases)} cases wait; when the machine is mended run the night again: "
            f"finished cases are left alone"
        )
    if red is RedBecause.FAILED:
        failed = failed_in(summary)
        named = "; ".join(f"{key}: {error}" for key, error in list(failed.items())[:10])
        raise NightFailed(
            f"night {night}: {len(failed)} of {len(cases)} cases failed, "
            f"{site.settings.night.failure_tolerance} tolerated: {named}. "
            f"Mend the cause, then run the night again: finished cases are left alone"
        )
    return summary


def summarise(site: Site, night: date, cases: list[Case]) -> dict[str, Any]:
    """The night's summary as JSON-able counts, without PHI."""
    done = (CaseState.COMMITTED, CaseState.REFUSED)
    failed, held = {}, _held(site, cases)
    intake = _intake(site, night)
    for case in cases:
        if case.failure is not None and case.state is CaseState.FAILED:
            failed[case.case_id] = f"{case.failure.step}: {case.failure.error}"
        elif case.state not in done and case.case_id not in held and case.study_uid not in intake.get("waiting", {}):
            failed[case.case_id] = f"did not finish: stopped after {case.state}"
    committed = [c.case_id for c in cases if c.state is CaseState.COMMITTED]
    stagings = {case_id: staging for case_id in committed if (staging := site.cases.staging(case_id)) is not None}
    answers = [answers_of(staging, site.cases.score(case_id)) for case_id, staging in stagings.items()]
    return {
        "identity_mismatch": [c.case_id for c in cases if _is_mismatched(c)],
        "night": str(night),
        "model_version": site.nights.model_of(night) or site.model_version,
        "cases": len(cases),
        "states": dict(Counter(str(c.state) for c in cases)),
        "stages": dict(Counter(str(found.primary.t_stage) for found in answers if found)),
        "not_staged": dict(Counter(str(s.abstention.code) for s in stagings.values() if s.abstention)),
        "refusals": dict(Counter(str(c.refusal.code) for c in cases if c.refusal)),
        "failed": failed,
        "delivery": {"held": list(held), "why": list(dict.fromkeys(held.values()))} if held else {},
        "looked_back": came_by_looking_back(site, night, cases),
        "intake": intake,
        "shadow": _shadow(site, night),
        "canary": canaries_of(site, night),
        "stopped": stopped.sentence if (stopped := site.switch.stopped()) else "",
    }


def canaries_of(site: Site, night: date) -> list[dict[str, Any]]:
    """The newest canary of each machine and model in a night, newest first: what came of it, and what it cost."""
    found = site.canaries.of_night(night) if site.canaries is not None else ()
    return [
        {
            "outcome": str(one.outcome),
            "model_version": one.model_version,
            "host": one.host,
            "device": one.device,
            "seconds": one.seconds,
            "sentence": one.sentence,
        }
        for one in found
    ]


def _is_mismatched(case: Case) -> bool:
    return case.refusal is not None and case.refusal.code is RefusalCode.IDENTITY_MISMATCH


def _intake(site: Site, night: date) -> dict[str, Any]:
    """What intake noted: counts, errors and what waits, by study."""
    try:
        found: dict[str, Any] = json.loads((site.files.night_folder(night, Step.INTAKE) / "intake.json").read_text())
    except (FileNotFoundError, ValueError):
        return {"errors": {"intake": "did not finish"}}
    return found


def _held(site: Site, cases: list[Case]) -> dict[str, str]:
    """Cases whose reports the audit holds back, each with why: staged and written, and nothing is wrong with them."""
    asked = ((case.case_id, why_held(site, case)) for case in cases if case.state is CaseState.REPORTED)
    return {case_id: why for case_id, why in asked if why}


def _shadow(site: Site, night: date) -> dict[str, Any]:
    """Agreement of each challenger with the champion; what goes wrong here never touches the night."""
    from gtr_batch.metrics.agreement import agreement

    try:
        rows = site.shadows.of_night(night)
    except GtrError as err:
        return {"error": f"{type(err).__name__}: {err}"}
    found: dict[str, Any] = {}
    for version in dict.fromkeys(row.model_version for row in rows):
        mine = [row for row in rows if row.model_version == version]
        both = [(r.champion_stage.position, r.t_stage.position) for r in mine if r.t_stage]
        table = np.array(both, int).reshape(-1, 2)
        errors = {row.case_id: row.error for row in mine if row.error}
        found[version] = {**agreement(table[:, 0], table[:, 1]), "errors": errors}
    return found


def housekeeping(site: Site, today: date) -> dict[str, Any]:
    """Delete pixels past their retention, but not those of unfinished cases; name what waits; look at the free space.

    With them goes what a training left that was killed while it prepared a series from the PACS.

    Returns
    -------
    dict
        ``freed_bytes``, ``spared`` (case ids past their retention that are not finished), ``free_gb``, ``uncommitted``
        (case ids that the PACS took before today and has not committed: for `ask_again`), ``dead_letters`` (case ids
        that the PACS refused for good).

    Raises
    ------
    NightFailed
        Less space is free than `files.min_free_gb`.
    """
    files = site.config.files
    past = today - timedelta(days=files.retention_days)
    spared = [case.case_id for case in site.cases.unfinished(past)]
    freed = site.files.discard_pixels(past, spared) + discard_scratch(site.config.training.folder, past)
    free = site.files.free_bytes()
    nights = [today - timedelta(days=back) for back in range(1, files.retention_days + 1)]
    found = {
        "freed_bytes": freed,
        "spared": spared,
        "free_gb": round(free / GB, 1),
        "uncommitted": [c.case_id for c in site.cases.uncommitted(today) if c.ready_for(Step.DELIVER)],
        "dead_letters": [c.case_id for night in nights for c in site.cases.of_night(night) if _is_dead_letter(c)],
    }
    get_logger("housekeeping").info("housekeeping.done", **found)
    if free < files.min_free_gb * GB:
        raise NightFailed(
            f"{free / GB:.1f} GB free in the file store, {files.min_free_gb} wanted: free space before the next night"
        )
    return found


def _is_dead_letter(case: Case) -> bool:
    """Whether delivery failed and is not asked for again: the PACS refused an object for good, or never took it."""
    failure = case.failure if case.state is CaseState.FAILED else None
    waits = case.reached is CaseState.STORED and case.ready_for(Step.DELIVER)
    return failure is not None and failure.step is Step.DELIVER and not waits


def ask_again(site: Site, case_ids: Sequence[str]) -> dict[str, Any]:
    """Ask the PACS again to commit what it took; what it lists by now, or commits, makes the case `committed`.

    Returns
    -------
    dict
        ``committed``: case ids.

    Raises
    ------
    CasesToRetry
        Some are not committed yet; a retry asks for those alone.
    """
    from gtr_batch.night.steps import deliver_cases

    work = Shard(site, Step.DELIVER, case_ids)
    work.cases = [case for case in work.cases if case.reached is CaseState.STORED]
    asked = [case.case_id for case in work.cases]
    deliver_cases(site, work)
    return {"committed": [c.case_id for c in site.cases.select(asked) if c.state is CaseState.COMMITTED]}


def night_cases(site: Site, night: date) -> list[NightCase]:
    """A night's cases for people, those of another patient's images first: state, stage, flags, reason; no PHI."""
    cases = sorted(site.cases.of_night(night), key=lambda case: not _is_mismatched(case))
    return [night_case(site, case) for case in cases]


def night_case(site: Site, case: Case) -> NightCase:
    """One case as `night_cases` shows it."""
    begun = case.state is not CaseState.REFUSED and PATH.index(case.reached) < PATH.index(CaseState.STAGED)
    staging = None if begun else site.cases.staging(case.case_id)  # one that begins anew shows no result of before
    score = None if begun else site.cases.score(case.case_id)
    answers = answers_of(staging, score) if staging else None
    reason = ""
    if case.refusal is not None:
        reason = f"{case.refusal.code}: {case.refusal.sentence}"
        if case.ehr_changed_at is not None and case.refusal.code in MENDED_BY_EHR:
            reason += " The EHR has new rows of this patient since; a run of the night judges the case anew."
    elif case.state is CaseState.FAILED and case.failure is not None:
        reason = f"{case.failure.step}: {case.failure.error}"
    elif case.state is CaseState.REPORTED:
        reason = why_held(site, case) or ""
    abstention = staging.abstention if staging and case.refusal is None else None
    if abstention is not None and not reason:
        reason = abstention.sentence
    return NightCase(
        case_id=case.case_id,
        study_uid=case.study_uid,
        series_uid=case.series_uid,
        state=case.state,
        reached=case.reached,
        t_stage=answers.primary.t_stage if answers else None,
        probabilities=answers.primary.probabilities if answers else None,
        stage_set=staging.stage_set if staging else None,
        primary=answers.primary.source if answers else None,
        supporting=answers.supporting if answers else None,
        points=score.points if score else None,
        key_slice_source=staging.key_slice_source if staging else None,
        flags=staging.flags if staging else (),
        model_version=staging.model_version if staging else None,
        refusal=case.refusal.code if case.refusal else None,
        reason=reason,
        not_staged=abstention.code if abstention else None,
    )
