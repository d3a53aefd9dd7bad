"""Replay: what would this model have said of that night? And, once a person approved it, let that be the result.

A replay runs the night's own steps on a book in memory and files of its own. It reads the night's pixels, or fetches
them again, and changes nothing of the night. The digest of a comparison is over every answer in it: approving a digest
approves those answers and no others, and delivery replays again to see that they are still the same.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, cast

import attrs
import numpy as np

from gtr_batch import night as steps
from gtr_batch.domain.case import PATH, Case, CaseState, Step
from gtr_batch.domain.governed_settings import digest_of_settings, governed
from gtr_batch.domain.lifecycle import CHAMPION, WITHDRAWN
from gtr_batch.domain.staging import CaseStaging, StageProbabilities
from gtr_batch.errors import CasesToRetry, GovernanceRefused, GtrError, InputRefused
from gtr_batch.governance.registry import answered_for, check_registered
from gtr_batch.governance.scratch import ScratchBook, ScratchFiles
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.logs import get_logger
from gtr_batch.metrics.agreement import agreement
from gtr_batch.night.site import Site
from gtr_batch.night.steps import deliver_one, report_one
from gtr_batch.ports import CaseBook

_REPLAYED = (steps.preprocess, steps.stage, steps.nomogram)


def compare(
    gov: GovernanceSite, version: str, *, nights: Sequence[date] = (), accession_numbers: Sequence[str] = ()
) -> dict[str, Any]:
    """Replay cases with a model and set its answers beside those that the cases carry; nothing is sent.

    Parameters
    ----------
    version : str
        Any registered model that was not withdrawn.
    nights, accession_numbers : sequence
        Whose cases; refused ones are left out, since no model saw them.

    Returns
    -------
    dict
        ``digest``, ``model_version``, ``cases`` (a row each: ``case_id``, ``night``, ``before`` and ``after`` with
        stage, probabilities, nomogram and model version, or None with the reason in ``error``), ``changed`` (case ids)
        and ``agreement`` (`gtr_batch.metrics.agreement`). The same replay gives the same digest.

    Raises
    ------
    InputRefused
        No such model, or nothing to replay.
    GovernanceRefused
        The model was withdrawn.
    """
    cases = _cases(gov, nights, accession_numbers)
    found, _ = _compared(gov, version, cases)
    wanted = {"nights": sorted({str(c.night) for c in cases}), "case_ids": [c.case_id for c in cases]}
    gov.restages.save(found["digest"], version, wanted, found)
    return found


def deliver(gov: GovernanceSite, digits: str, *, by: str, why: str) -> dict[str, Any]:
    """Make the answers of an approved comparison the results of their cases, and send them.

    Parameters
    ----------
    digits : str
        Digest of the comparison that the person was shown, or its beginning.
    by, why : str
        Who answers for it, and the reason.

    Returns
    -------
    dict
        ``digest``, ``delivered`` (case ids), ``failed`` (case id -> sentence). Run again, what is in the PACS is not
        sent twice.

    Raises
    ------
    GovernanceRefused
        There is no such comparison; the model was never a champion, or was withdrawn; or replayed again, the answers
        are not those that were approved. Nothing is sent.
    """
    answered_for(by, why)
    row = gov.restages.get(digits) if digits else None
    if row is None:
        raise GovernanceRefused(f"not one comparison begins with {digits!r}: `gtr restage --compare` first")
    version = row.model_version
    if not any(event.to_state == CHAMPION for event in gov.registry.history(version)):
        raise GovernanceRefused(
            f"model {version[:12]} was never a champion, so nobody answered for it: it may be compared, and its "
            f"results do not leave the hospital. Nothing is sent"
        )
    cases = gov.night.book.select(row.case_ids)
    found, book = _compared(gov, version, cases)
    if found["digest"] != row.digest:
        raise GovernanceRefused(
            f"replayed again, model {version[:12]} gives comparison {found['digest'][:12]}, approved was "
            f"{row.digest[:12]}: the cases, the EHR or the machine changed meanwhile. Nothing is sent"
        )
    gov.restages.approve(row.digest, by=by, why=why)
    _note_openings(gov.night, version, {case.night for case in cases})
    delivered, failed = [], {}
    for case in (c for c in cases if c.case_id in book.stagings):
        try:
            _replace_result(gov, case, book)
            delivered.append(case.case_id)
        except GtrError as err:
            failed[case.case_id] = f"{type(err).__name__}: {err}"
        gov.night.progress(Step.DELIVER, len(delivered) + len(failed), len(book.stagings))
    get_logger("restage").info("restage.delivered", model_version=version, cases=len(delivered), by=by)
    return {"digest": row.digest, "delivered": delivered, "failed": failed}


def in_words(found: Mapping[str, Any]) -> str:
    """A comparison as Markdown for the person who is asked; case ids and counts, no PHI."""
    together = found["agreement"]
    lines = [
        f"Comparison `{found['digest'][:12]}` with model `{found['model_version'][:12]}`: {len(found['cases'])} cases, "
        f"{together['cases']} compared, {together['agree']} agree; {together['higher']} staged higher, "
        f"{together['lower']} lower than before.",
        "",
        "| case | night | before | after |",
        "| --- | --- | --- | --- |",
    ]
    for row in found["cases"]:
        before, after = row["before"], row["after"]
        if before is None or after is None or before["t_stage"] != after["t_stage"]:
            was = before["t_stage"] if before else "none"
            lines.append(f"| {row['case_id'][:8]} | {row['night']} | {was} | {_cell(row)} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, Any]) -> str:
    return str(row["after"]["t_stage"]) if row["after"] else f"not staged: {row['error']}"


def _cases(gov: GovernanceSite, nights: Sequence[date], accession_numbers: Sequence[str]) -> list[Case]:
    book = gov.night.book
    found = [case for night in nights for case in book.of_night(night)]
    found += book.of_accessions(accession_numbers) if accession_numbers else []
    cases = {c.case_id: c for c in found if _validated(c)}
    if not cases:
        raise InputRefused(
            f"nothing to replay: of {len(found)} cases of {len(nights)} night(s) and {len(accession_numbers)} "
            f"accession number(s) none passed validation"
        )
    return sorted(cases.values(), key=lambda c: (c.night, c.case_id))


def _validated(case: Case) -> bool:
    return case.state is not CaseState.REFUSED and PATH.index(case.reached) >= PATH.index(CaseState.VALIDATED)


def _compared(gov: GovernanceSite, version: str, cases: Sequence[Case]) -> tuple[dict[str, Any], ScratchBook]:
    model = check_registered(gov.registry, version)
    if model.state == WITHDRAWN:
        raise GovernanceRefused(f"model {version[:12]} was withdrawn: it stages nothing any more, not even in a replay")
    book = _replayed(gov, version, cases)
    rows = [_row(gov.night, book, case) for case in cases]
    both = [(r["before"]["t_stage"], r["after"]["t_stage"]) for r in rows if r["before"] and r["after"]]
    positions = np.array([[int(a[1]) - 1, int(b[1]) - 1] for a, b in both], int).reshape(-1, 2)
    found = {
        "model_version": version,
        "cases": rows,
        "changed": [r["case_id"] for r in rows if _stage(r["before"]) != _stage(r["after"])],
        "agreement": agreement(positions[:, 0], positions[:, 1]),
    }
    # What a case carried before is no part of it: an approval is of the answers that will be sent.
    answers = [version, [[r["case_id"], r["after"], r["error"]] for r in rows]]
    digest = hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()
    return {"digest": digest, **found}, book


def _replayed(gov: GovernanceSite, version: str, cases: Sequence[Case]) -> ScratchBook:
    """The night's steps on a book in memory."""
    at = [_ready(gov.night, case) for case in cases]
    book = ScratchBook(at, version)
    files = ScratchFiles(gov.night.files, gov.scratch)
    site = attrs.evolve(gov.night, book=cast(CaseBook, book), files=files, shadows=None)
    for night in dict.fromkeys(c.night for c in at):
        ids = [c.case_id for c in at if c.night == night]
        _do(site, steps.retrieve, night, ids)
        for case_id in ids:
            book.advance(case_id, CaseState.VALIDATED)  # the night validated it, and the pixels are the same
        for step in _REPLAYED:
            _do(site, step, night, ids)
    return book


def _do(site: Site, step: Any, night: date, ids: list[str]) -> None:
    size = site.config.night.shard_size
    for start in range(0, len(ids), size):
        try:
            step(site, night, ids[start : start + size])
        except CasesToRetry as err:  # in the book, and so in the comparison
            get_logger("restage").warning("restage.cases_failed", error=str(err))


def _ready(site: Site, case: Case) -> Case:
    """The case as it was after validation; before retrieval, where its pixels were cleared away."""
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    there = all((folder / f"{uid}.dcm").is_file() for uid in case.expected_sop_uids)
    state = CaseState.VALIDATED if there and case.expected_sop_uids else CaseState.FOUND
    return attrs.evolve(case, state=state, reached=state, failure=None, refusal=None)


def _row(site: Site, book: ScratchBook, case: Case) -> dict[str, Any]:
    before, score = site.book.staging(case.case_id), site.book.score(case.case_id)
    staging = book.stagings.get(case.case_id)
    scored = book.scores.get(case.case_id)
    then = book.cases[case.case_id]
    error = None
    if staging is None or scored is None:
        error = then.failure.error if then.failure else (then.refusal.sentence if then.refusal else "not staged")
    return {
        "case_id": case.case_id,
        "night": str(case.night),
        "before": _answer(before, score.probabilities if score else None) if before else None,
        "after": _answer(staging, scored[0].probabilities) if staging and scored else None,
        "error": error,
    }


def _answer(staging: CaseStaging, nomogram: StageProbabilities | None) -> dict[str, Any]:
    # Six digits: what differs beyond them differs between machines, not between models.
    return {
        "t_stage": str(staging.t_stage),
        "probabilities": [round(p, 6) for p in staging.probabilities.values],
        "nomogram": [round(p, 6) for p in nomogram.values] if nomogram else None,
        "key_slice_source": str(staging.key_slice_source),
        "slices": [s.sop_instance_uid for s in staging.slices],
        "flags": [str(f) for f in staging.flags],
        "model_version": staging.model_version,
    }


def _note_openings(site: Site, version: str, nights: set[date]) -> None:
    """These results are made by this model, under today's settings: so that each of them can say so."""
    if site.settings_history is not None:
        settings = governed(site.settings)
        for night in sorted(nights):
            site.settings_history.note_opening(night, version, digest_of_settings(settings), settings)


def _stage(answer: Mapping[str, Any] | None) -> str | None:
    return str(answer["t_stage"]) if answer else None


def _replace_result(gov: GovernanceSite, case: Case, scratch: ScratchBook) -> None:
    """One case: the replay's files and answers become the night's, then its report is written and delivered."""
    site, book = gov.night, gov.night.book
    staging, (score, covariates) = scratch.stagings[case.case_id], scratch.scores[case.case_id]
    for step in (Step.PREPROCESS, Step.STAGE, Step.EXPLAIN):
        source, goal = (files.folder(case.night, case.case_id, step) for files in (gov.scratch, site.files))
        for path in sorted(p for p in source.iterdir() if p.is_file()):
            fresh = goal / f".{path.name}.restaged"
            shutil.copyfile(path, fresh)
            fresh.chmod(0o600)
            fresh.replace(goal / path.name)
    book.save_staging(case.case_id, staging)
    book.save_features(case.case_id, staging.model_version, *scratch.features[case.case_id])
    book.save_score(case.case_id, score, covariates)
    report_one(site, book.get(case.case_id))
    deliver_one(site, book.get(case.case_id))
    for state in (CaseState.STAGED, CaseState.SCORED, CaseState.REPORTED, CaseState.STORED, CaseState.COMMITTED):
        book.advance(case.case_id, state, {"restaged": True})
