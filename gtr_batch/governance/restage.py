"""Replay: what would this model have said of that night? And, once a person approved it, let that be the result.

A replay runs the night's own steps on cases in memory and files of its own. It reads the night's pixels, or fetches
them again, and changes nothing of the night. The digest of a comparison is over every answer in it: approving a digest
approves those answers and no others, and delivery replays again to see that they are still the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import date

import attrs
import numpy as np

from gtr_batch import night as steps
from gtr_batch.domain.case import PATH, Case, CaseState, Step
from gtr_batch.domain.governed_settings import digest_of_settings, governed
from gtr_batch.domain.lifecycle import CHAMPION, WITHDRAWN
from gtr_batch.domain.replay import CaseAnswer, ComparedCase, Comparison, Redelivered, ReplayApproval
from gtr_batch.domain.score import NomogramScore, answers_of
from gtr_batch.domain.staging import STAGES, CaseStaging, TStage
from gtr_batch.errors import CasesSentBack, CasesToRetry, GovernanceRefused, GtrError, InputRefused, ServiceStopped
from gtr_batch.governance.registry import answered_for, check_registered
from gtr_batch.governance.scratch import ScratchFiles
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.logs import get_logger
from gtr_batch.metrics.agreement import agreement
from gtr_batch.night.absent import NoShadows
from gtr_batch.night.identity import tell_operations
from gtr_batch.night.memory import MemoryCases, MemoryNights
from gtr_batch.night.site import Site
from gtr_batch.night.steps import Answer, report_one
from gtr_batch.writing import copy_file

_REPLAYED = (steps.preprocess, steps.stage, steps.nomogram)


def compare(
    gov: GovernanceSite,
    version: str,
    *,
    nights: Sequence[date] = (),
    accession_numbers: Sequence[str] = (),
    case_ids: Sequence[str] = (),
) -> Comparison:
    """Replay cases with a model and set its answers beside those that the cases carry; nothing is sent.

    Parameters
    ----------
    version : str
        Any registered model that was not withdrawn.
    nights, accession_numbers, case_ids : sequence
        Whose cases; refused ones are left out, since no model saw them.

    Returns
    -------
    Comparison
        The same replay gives the same digest.

    Raises
    ------
    InputRefused
        No such model, or nothing to replay.
    GovernanceRefused
        The model was withdrawn.
    """
    cases = _cases(gov, nights, accession_numbers, case_ids)
    found, _ = _compared(gov, version, cases)
    wanted = {"nights": sorted({str(c.night) for c in cases}), "case_ids": [c.case_id for c in cases]}
    gov.restages.save(found.digest, version, wanted, found.to_json())
    return found


def deliver(gov: GovernanceSite, digits: str, *, by: str, why: str) -> Redelivered:
    """Make the answers of an approved comparison the results of their cases, and send them.

    Parameters
    ----------
    digits : str
        Digest of the comparison that the person was shown, or its beginning.
    by, why : str
        Who answers for it, and the reason.

    Returns
    -------
    Redelivered
        Run again, what is in the PACS is not sent twice.

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
    cases = gov.night.cases.select(row.case_ids)
    found, replayed = _compared(gov, version, cases)
    if found.digest != row.digest:
        raise GovernanceRefused(
            f"replayed again, model {version[:12]} gives comparison {found.digest[:12]}, approved was "
            f"{row.digest[:12]}: the cases, the EHR or the machine changed meanwhile. Nothing is sent"
        )
    gov.restages.approve(row.digest, by=by, why=why)
    _note_openings(gov.night, version, {case.night for case in cases})
    delivered, failed = [], {}
    staged = [c for c in cases if answer_of(replayed, c.case_id) is not None]
    for case in staged:
        try:
            gov.night.check_running()
            _replace_result(gov, case, replayed, row.digest)
            delivered.append(case.case_id)
        except ServiceStopped:
            raise
        except GtrError as err:
            failed[case.case_id] = f"{type(err).__name__}: {err}"
            tell_operations(gov.night, case.case_id, Step.DELIVER, err)
        gov.night.progress(Step.DELIVER, len(delivered) + len(failed), len(staged))
    get_logger("restage").info("restage.delivered", model_version=version, cases=len(delivered), by=by)
    return Redelivered(row.digest, tuple(delivered), failed)


def in_words(found: Comparison, approvals: Sequence[ReplayApproval] = ()) -> str:
    """A comparison, and who approved it before, as Markdown for the person who is asked; no PHI."""
    together = found.agreement
    lines = [
        f"Comparison `{found.digest[:12]}` with model `{found.model_version[:12]}`: {len(found.cases)} cases, "
        f"{together['cases']} compared, {together['agree']} agree; {together['higher']} staged higher, "
        f"{together['lower']} lower than before.",
        *(f"\n{approval_in_words(one)}" for one in approvals),
        "",
        "| case | night | before | after |",
        "| --- | --- | --- | --- |",
    ]
    for case in found.cases:
        if case.before is None or case.changed:
            was = case.before.t_stage if case.before else "none"
            now = case.after.t_stage if case.after else f"not staged: {case.error}"
            lines.append(f"| {case.case_id[:8]} | {case.night} | {was} | {now} |")
    return "\n".join(lines)


def approval_in_words(approval: ReplayApproval) -> str:
    """Who let these results go to the PACS before, when and why."""
    return f"Approved before by {approval.by_whom} on {approval.at:%Y-%m-%d %H:%M} UTC: {approval.why}"


def _cases(
    gov: GovernanceSite, nights: Sequence[date], accession_numbers: Sequence[str], case_ids: Sequence[str]
) -> list[Case]:
    known = gov.night.cases
    found = [case for night in nights for case in known.of_night(night)]
    found += known.of_accessions(accession_numbers) if accession_numbers else []
    try:
        found += known.select(case_ids) if case_ids else []
    except KeyError as err:
        raise InputRefused(f"there is no case {err}; `gtr status --json` lists the ids of a night") from None
    cases = {c.case_id: c for c in found if _validated(c)}
    if not cases:
        raise InputRefused(
            f"nothing to replay: of {len(found)} cases of {len(nights)} night(s), {len(accession_numbers)} "
            f"accession number(s) and {len(case_ids)} case id(s) none passed validation"
        )
    return sorted(cases.values(), key=lambda c: (c.night, c.case_id))


def _validated(case: Case) -> bool:
    return case.state is not CaseState.REFUSED and PATH.index(case.reached) >= PATH.index(CaseState.VALIDATED)


def _compared(gov: GovernanceSite, version: str, cases: Sequence[Case]) -> tuple[Comparison, MemoryCases]:
    model = check_registered(gov.registry, version)
    if model.state == WITHDRAWN:
        raise GovernanceRefused(f"model {version[:12]} was withdrawn: it stages nothing any more, not even in a replay")
    replayed = _replayed(gov, version, cases)
    compared = tuple(_compared_case(gov.night, replayed, case) for case in cases)
    both = [(c.before.t_stage, c.after.t_stage) for c in compared if c.before and c.after]
    both = [pair for pair in both if set(pair) <= set(STAGES)]  # a case without a stage agrees with nothing
    positions = np.array([[TStage(stage).position for stage in pair] for pair in both], int).reshape(-1, 2)
    # What a case carried before is no part of it: an approval is of the answers that will be sent.
    answers = [version, [[c.case_id, c.after and attrs.asdict(c.after), c.error] for c in compared]]
    found = Comparison(
        digest=hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest(),
        model_version=version,
        cases=compared,
        changed=tuple(c.case_id for c in compared if c.changed),
        agreement=agreement(positions[:, 0], positions[:, 1]),
    )
    return found, replayed


def _replayed(gov: GovernanceSite, version: str, cases: Sequence[Case]) -> MemoryCases:
    """The night's steps on cases in memory."""
    at = [_ready(gov.night, case) for case in cases]
    selections = {c.case_id: chosen for c in at if (chosen := gov.night.cases.selection(c.case_id)) is not None}
    replayed = MemoryCases(at, selections)
    for case in at:  # what the night noted of its retrieval and measured of the series, the answer says too
        known = gov.night.cases.events(case.case_id), gov.night.cases.facts(case.case_id)
        replayed.remember(case.case_id, [e for e in known[0] if e["state"] == CaseState.RETRIEVED], known[1])
    site = attrs.evolve(
        gov.night,
        nights=MemoryNights(version),
        cases=replayed,
        files=ScratchFiles(gov.night.files, gov.scratch),
        shadows=NoShadows(),
    )
    for night in dict.fromkeys(c.night for c in at):
        ids = [c.case_id for c in at if c.night == night]
        _do(site, steps.retrieve, night, ids)
        for case_id in ids:
            with replayed.step(case_id, Step.VALIDATE) as record:
                record.advance(CaseState.VALIDATED)  # the night validated it, and the pixels are the same
        for step in _REPLAYED:
            _do(site, step, night, ids)
    return replayed


def _do(site: Site, step: Callable[[Site, date, Sequence[str]], object], night: date, ids: list[str]) -> None:
    size = site.config.night.shard_size
    for start in range(0, len(ids), size):
        try:
            step(site, night, ids[start : start + size])
        except (CasesToRetry, CasesSentBack) as err:  # with the cases, and so in the comparison
            get_logger("restage").warning("restage.cases_failed", error=str(err))


def _ready(site: Site, case: Case) -> Case:
    """The case as it was after validation; before retrieval, where its pixels were cleared away."""
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    there = all((folder / f"{uid}.dcm").is_file() for uid in case.expected_sop_uids)
    state = CaseState.VALIDATED if there and case.expected_sop_uids else CaseState.FOUND
    return attrs.evolve(case, state=state, reached=state, failure=None, refusal=None)


def _compared_case(site: Site, replayed: MemoryCases, case: Case) -> ComparedCase:
    before, score = site.cases.staging(case.case_id), site.cases.score(case.case_id)
    after, then = answer_of(replayed, case.case_id), replayed.get(case.case_id)
    error = None
    if after is None:
        error = then.failure.error if then.failure else (then.refusal.sentence if then.refusal else "not staged")
    return ComparedCase(
        case_id=case.case_id,
        night=str(case.night),
        before=_answer(before, score) if before else None,
        after=after,
        error=error,
    )


def answer_of(replayed: MemoryCases, case_id: str) -> CaseAnswer | None:
    """What the replay says of a case; None where it did not come past the nomogram, which not every model has."""
    staging, score = replayed.staging(case_id), replayed.score(case_id)
    if staging is None or replayed.get(case_id).state is not CaseState.SCORED:
        return None
    return _answer(staging, score)


def _answer(staging: CaseStaging, score: NomogramScore | None) -> CaseAnswer:
    found = answers_of(staging, score)
    none = f"not staged: {staging.abstention.code}" if staging.abstention else "not staged"
    return CaseAnswer(
        t_stage=str(found.primary.t_stage) if found else none,
        probabilities=tuple(round(p, 6) for p in staging.probabilities.values) if staging.probabilities else (),
        nomogram=tuple(round(p, 6) for p in score.probabilities.values) if score else None,
        key_slice_source=str(staging.key_slice_source),
        slices=tuple(s.sop_instance_uid for s in staging.slices),
        flags=tuple(str(f) for f in staging.flags),
        model_version=staging.model_version,
        primary=str(found.primary.source) if found else "",
        stage_set=None if staging.stage_set is None else str(staging.stage_set),
    )


def _note_openings(site: Site, version: str, nights: set[date]) -> None:
    """These results are made by this model, under today's settings: so that each of them can say so."""
    settings = governed(site.settings)
    for night in sorted(nights):
        site.settings_history.note_opening(night, version, digest_of_settings(settings), settings)


def _replace_result(gov: GovernanceSite, case: Case, replayed: MemoryCases, digest: str) -> None:
    """One case: its new report goes to the PACS; once that has it, the replay's answer becomes the case's result.

    Until then the worklist shows what the PACS has. Cut off anywhere, the same call goes on: the objects are the same.
    """
    from gtr_batch.deliver import Parcel, commit_objects, store_objects

    site, case_id = gov.night, case.case_id
    staging, scored = replayed.staging(case_id), replayed.scored(case_id)
    assert staging is not None  # only what has an answer is delivered
    features = replayed.features(case_id, staging.model_version)
    assert features is not None  # kept with the staging
    files = ScratchFiles(site.files, gov.scratch)
    site.folder_of(staging.model_version)  # a model withdrawn meanwhile sends nothing
    objects = report_one(site, case, Answer(staging, scored.score if scored else None), files)
    parcel = Parcel(case, objects, site.files.folder(case.night, case_id, Step.REPORT))
    sent = store_objects(site.archive, site.deliveries, parcel)
    if not {o.sop_instance_uid for o in objects} <= {o.sop_instance_uid for o in site.cases.objects(case_id)}:
        _take_over_files(gov, case)
        with site.cases.step(case_id, Step.DELIVER) as record:  # the PACS has it now: so may the worklist
            record.stages(staging, *features)
            if scored is not None:
                record.scores(scored.score, scored.covariates)
            record.writes(objects, staging.model_version)
            record.replace({"restaged": digest, "model_version": staging.model_version, "sent": sent})
            record.advance(CaseState.STORED)
    outcome = commit_objects(site.archive, site.deliveries, parcel, site.config.pacs)
    with site.cases.step(case_id, Step.DELIVER) as record:
        record.flag(*outcome.flags)
        record.advance(CaseState.COMMITTED, {"restaged": digest})


def _take_over_files(gov: GovernanceSite, case: Case) -> None:
    """What the replay's model saw and where it looked becomes what lies in the night's folders."""
    for step in (Step.PREPROCESS, Step.STAGE, Step.EXPLAIN):
        source, goal = (files.folder(case.night, case.case_id, step) for files in (gov.scratch, gov.night.files))
        for path in sorted(p for p in source.iterdir() if p.is_file()):
            copy_file(path, goal / path.name)
