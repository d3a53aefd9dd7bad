"""One study at once, by a person's word, ahead of whatever a running night has still to do.

It goes through the checks of every night (one patient, eligibility, an intact series that stands still, whose images
they are) and becomes a case of the **coming night**, the first from today on that has not begun. So the steps of a
night that is running leave it alone from that moment, as they leave what a later night has taken over, and the coming
night finds it done, or finishes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import attrs
from attrs import field, frozen

from gtr_batch import intake as step
from gtr_batch.domain.case import PATH, Case, CaseState, Step
from gtr_batch.domain.governed_settings import digest_of_settings, governed
from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.series import StudyRecord
from gtr_batch.domain.transitions import Reopening
from gtr_batch.errors import CaseRejected, InputRefused, NightFailed, StillArriving
from gtr_batch.logs import get_logger
from gtr_batch.night import arriving
from gtr_batch.night.found import judged, refusal_without_pacs
from gtr_batch.night.site import Site

AT_ONCE = "asked for at once"
_CALENDAR = 366  # days ahead; a night further away than that has not begun


@frozen
class Taken:
    """What became of the studies that were asked for: the night and the cases, and why others were not taken.

    `not_taken` holds a sentence by Study Instance UID: what is staged already, refused, or not known to the EHR.
    """

    night: date
    case_ids: tuple[str, ...] = ()
    not_taken: Mapping[str, str] = field(factory=dict)


def as_it_is(site: Site) -> None:
    """Let this process take a study although its images may still be arriving; a later night takes what comes after."""
    site.settings = attrs.evolve(site.settings, night=attrs.evolve(site.settings.night, settle_minutes=0.0))


def coming_night(site: Site) -> date:
    """The first night from today on that nobody has opened."""
    today = site.clock.now().astimezone(ZoneInfo(site.config.night.timezone)).date()
    nights = (today + timedelta(days=ahead) for ahead in range(_CALENDAR))
    return next(night for night in nights if not site.nights.model_of(night))


def study_of_accession(site: Site, accession_number: str) -> str:
    """The Study Instance UID of the one CT study under an accession number.

    Raises
    ------
    InputRefused
        The PACS lists no CT study under it, or several; no message holds the number.
    """
    listed = site.archive.find_accession(accession_number)
    found = sorted({study.study_uid for study in listed if _has_ct(site, study)})
    if not found:
        others = f" ({len(listed)} of other modalities)" if listed else ""
        raise InputRefused(f"the PACS lists no CT study under this accession number{others}: nothing was taken")
    if len(found) > 1:
        raise InputRefused(
            f"the PACS lists {len(found)} CT studies under this accession number ({', '.join(found)}): nothing was "
            "taken. Name the one with --study"
        )
    return found[0]


def studies_of_cases(site: Site, case_ids: Sequence[str]) -> list[str]:
    """The studies of these cases; `InputRefused` where there is no such case."""
    try:
        return list(dict.fromkeys(case.study_uid for case in site.cases.select(case_ids)))
    except KeyError as err:
        raise InputRefused(f"there is no case {err.args[0]!r}; `gtr status --json` lists the ids of a night") from None


def case_of_study(site: Site, study_uid: str) -> Case | None:
    """The case of a study: that of its series, where one was chosen, else its refusal; None where it has none."""
    known = site.cases.of_study(study_uid)
    return next((case for case in known if case.series_uid), known[-1] if known else None)


def first_look(site: Site, study_uids: Sequence[str]) -> None:
    """Look at the studies for the first time, so that `take` can see whether they stand still."""
    arriving.first_look(site, study_uids)


def take(site: Site, study_uids: Sequence[str]) -> Taken:
    """Judge the studies as intake judges a night's, and take those that may be staged into the coming night.

    Raises
    ------
    ServiceStopped
        A person has stopped the service.
    StillArriving
        One of them has not stood still for `night.settle_minutes`; says what to do.
    TransientError
        The PACS or the database does not answer now.
    InputRefused
        The PACS does not list one of them.
    """
    site.check_running()
    night = coming_night(site)
    with site.archive.connected():
        outcomes = {uid: _take_one(site, night, uid) for uid in dict.fromkeys(study_uids)}
    taken = tuple(found.case_id for found in outcomes.values() if isinstance(found, Case))
    if taken:
        _note_opening(site, night)
    return Taken(night, taken, {uid: why for uid, why in outcomes.items() if isinstance(why, str)})


def outcome(site: Site, taken: Taken) -> list[str]:
    """What became of each study that was asked for, a sentence each.

    Raises
    ------
    NightFailed
        The report of one is not in the PACS: it was not taken, was refused on the way, or did not end.
    """
    cases = [*site.cases.select(taken.case_ids), *filter(None, (case_of_study(site, uid) for uid in taken.not_taken))]
    committed = {case.study_uid for case in cases if case.state is CaseState.COMMITTED}
    told = {case.study_uid: sentence_of(case) for case in cases} | dict(taken.not_taken)
    if trouble := [sentence for uid, sentence in told.items() if uid not in committed]:
        raise NightFailed("; ".join(trouble))
    return list(told.values())


def sentence_of(case: Case) -> str:
    """What became of a case, and what follows; no PHI."""
    named, again = f"case {case.case_id} of night {case.night}", f"`gtr night --night {case.night}`"
    if case.state is CaseState.COMMITTED:
        return (
            f"{named} is staged and its report is in the PACS: `gtr case show {case.case_id}` shows it; to let "
            "a model stage it again: `gtr restage --compare`, by accession number or in the DAG restage by case id"
        )
    if case.refusal is not None:
        back = f"; `gtr case reopen {case.case_id}` takes that back" if case.series_uid else ""
        return f"{named} is refused, {case.refusal.code}: {case.refusal.sentence}{back}"
    if case.failure is not None and case.state is CaseState.FAILED:
        return f"{named} failed in {case.failure.step}: {case.failure.error}; ask again, or {again}"
    if PATH.index(case.reached) >= PATH.index(CaseState.REPORTED):
        return f"{named} is staged and {case.state}: its night delivers it ({again}), or the audit holds it back"
    return f"{named} did not finish: stopped after {case.state}; ask again, or {again}"


def _take_one(site: Site, night: date, study_uid: str) -> Case | str:
    """The case, where there is something to do for it now; else a sentence that says why not."""
    study, others = _listed(site, study_uid)
    ambiguous = step.judge_study([study, *others]).get(study_uid)
    try:
        judged(site, night, study, ambiguous)
    except StillArriving as err:
        raise StillArriving(
            f"study {study_uid} is not taken, it may still be arriving: {err}. Ask again then; or ask for it as it is "
            "(--as-it-is; as_it_is in Airflow): a later night takes what comes after"
        ) from err
    case = case_of_study(site, study_uid)
    if case is None:
        return f"study {study_uid}: the EHR extracts do not know its patient, so nothing may be staged (`gtr ehr load`)"
    if case.night != night and _may_be_taken(case):
        refusal = refusal_without_pacs(site, night, study, ambiguous)  # by what is known now
        if refusal is not None:
            return f"study {study_uid} is not taken, {refusal.code}: {refusal.sentence}"
        arriving.begin_anew(site, case, Reopening(why=AT_ONCE, night=night), seen=case)
        case = site.cases.get(case.case_id)
    if case.night == night and case.state not in (CaseState.COMMITTED, CaseState.REFUSED):
        get_logger(Step.INTAKE).info("case.taken_at_once", case_id=case.case_id, night=str(night))
        return case
    return sentence_of(case)


def _may_be_taken(case: Case) -> bool:
    """Whether a case of another night may begin anew: what is written already is delivered there, and sent once."""
    written = PATH.index(case.reached) >= PATH.index(CaseState.REPORTED)
    return bool(case.series_uid) and case.state not in (CaseState.COMMITTED, CaseState.REFUSED) and not written


def _listed(site: Site, study_uid: str) -> tuple[StudyRecord, list[StudyRecord]]:
    """The study as the PACS lists it, and what else is under its Study Instance UID or accession number."""
    try:
        listed = site.archive.find_study(Uid(study_uid))
    except CaseRejected as err:
        raise InputRefused(f"this study cannot be asked for: {err.sentence}") from None
    if not listed:
        raise InputRefused(f"the PACS does not list study {study_uid}: nothing was taken")
    study, *others = listed
    if not _has_ct(site, study):
        raise InputRefused(f"study {study_uid} has no CT series: nothing was taken")
    if study.accession_number:
        try:
            others += site.archive.find_accession(study.accession_number)
        except InputRefused as err:
            raise InputRefused(
                f"study {study_uid}: its accession number holds characters by which no PACS can be asked whether two "
                "patients share it: nothing was taken, a night judges it"
            ) from err
    return study, [one for one in others if one != study]


def _has_ct(site: Site, study: StudyRecord) -> bool:
    listed = study.modalities or [series.modality for series in site.archive.find_series(study.study_uid)]
    return "CT" in listed


def _note_opening(site: Site, night: date) -> None:
    """Under which model and settings the results are made; the night itself has not begun, and chooses its own."""
    settings = governed(site.settings)
    site.settings_history.note_opening(night, site.model_of(night), digest_of_settings(settings), settings)
