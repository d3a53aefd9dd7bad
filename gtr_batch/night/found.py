"""From the PACS's answers to the night's cases: query, eligibility, series selection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

import attrs

from gtr_batch import intake as step
from gtr_batch.domain.case import Case, CaseState, Selected, Step
from gtr_batch.domain.clinical import PatientFacts
from gtr_batch.domain.governed_settings import digest_of_settings, governed
from gtr_batch.domain.identifiers import Uid, case_id
from gtr_batch.domain.identity import SeriesIdentity
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.series import SeriesEvidence, SeriesRecord, StudyRecord
from gtr_batch.domain.transitions import Reopening
from gtr_batch.errors import (
    AssociationRefused,
    CaseRejected,
    ConfigError,
    PacsUnreachable,
    PermanentError,
    RetrieveIncomplete,
    StillArriving,
    StorageFull,
    TransientError,
    fault_of,
)
from gtr_batch.logs import get_logger
from gtr_batch.night import arriving
from gtr_batch.night.identity import is_mismatch, tell_operations
from gtr_batch.night.inputs import write_measured
from gtr_batch.night.looking_back import concerning, is_earlier
from gtr_batch.night.runner import OURS, is_ours
from gtr_batch.night.site import Site, looked_back_window
from gtr_batch.writing import write_json

# Not about one study: the database, the settings, the model or the file store are wrong for all of them.
NIGHT_WIDE = (*OURS, StorageFull)


def query_pacs(site: Site, night: date) -> list[str]:
    """Ask the PACS for the CT studies of the night's window and note them; returns their Study Instance UIDs.

    Those of the days before come too where something may have become of them, since a study may arrive late or grow,
    and the EHR may know more by now. Eligible ones are looked at for the first time, so that intake can see whether
    they stand still.
    """
    site.check_running()
    model, settings = site.model_of(night), governed(site.settings)
    site.nights.open(night, model)
    site.settings_history.note_opening(night, model, digest_of_settings(settings), settings)
    studies = site.archive.find_studies(*looked_back_window(site.config, night))
    folder = site.files.night_folder(night, Step.PACS)
    write_json(folder / "studies.json", [_study_json(study) for study in studies])
    mine = concerning(site, night, studies)
    if site.settings.night.settle_minutes > 0:
        arriving.first_look(site, _eligible(site, night, mine, step.judge_study(studies)))
    earlier = sum(is_earlier(site, night, study) for study in mine)
    get_logger(Step.PACS).info("pacs.queried", night=str(night), studies=len(studies), earlier=earlier)
    return [study.study_uid for study in mine]


def intake(site: Site, night: date, studies: Sequence[str]) -> list[list[str]]:
    """Choose the night's cases; returns shards of the case ids that still have work to do.

    A study that could not be looked at, for whatever reason, is noted among the night's errors and the others go on.
    That is no verdict on the patient: the summary names it, and the next run of the night looks at it again. Where no
    study that the PACS was asked about could be looked at, the fault is the PACS's and the task is retried.

    Raises
    ------
    TransientError
        The PACS does not answer any more, no study that had to be looked at could be, or the fault is not one study's:
        the database or the file store.
    """
    log = get_logger(Step.INTAKE)
    wanted = set(studies)
    try:
        listed = _read_studies(site, night)
    except (FileNotFoundError, ValueError, KeyError, TypeError):  # gone or cut: the PACS is asked again
        query_pacs(site, night)
        listed = _read_studies(site, night)
    records = [r for r in listed if r.study_uid in wanted]
    ambiguous = step.judge_study(listed)
    earlier = sum(is_earlier(site, night, study) for study in records)
    report = noted_at_first(len(records) - earlier, earlier)
    last: TransientError | None = None
    asked: list[str] = []  # studies that the PACS was asked about
    with site.archive.connected():
        for done, study in enumerate(records, 1):
            site.check_running()
            try:
                outcome = judged(site, night, study, ambiguous.get(study.study_uid), asked)
                if outcome:
                    report[outcome] += 1
            except StillArriving as err:
                report["waiting"][study.study_uid] = str(err)
                log.info("study.waits", study_uid=study.study_uid, reason=str(err))
            except NIGHT_WIDE:
                raise
            except Exception as err:  # noqa: BLE001 - one study never stops the night
                report["errors"][_name_of(study)] = fault_of(err)
                log.error("study.failed", study_uid=_name_of(study), error=fault_of(err))
                if isinstance(err, PacsUnreachable | AssociationRefused):
                    _check_that_the_pacs_answers(site)
                last = err if isinstance(err, TransientError) else last
            site.progress(Step.INTAKE, done, len(records))
    if last is not None and set(asked) <= set(report["errors"]):
        raise last
    note_intake(site, night, report)
    arriving.take_over(site, night)
    cases = site.cases.of_night(night)
    _reopen(site, cases)
    ids = [c.case_id for c in cases if _has_work(site, c) and c.study_uid not in report["waiting"]]
    size = site.config.night.shard_size
    log.info(
        "intake.done",
        night=str(night),
        cases=len(ids),
        waiting=len(report["waiting"]),
        studies=len(records),
        unknown_patients=report["unknown_patients"],
        already_staged=report["already_staged"],
    )
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def noted_at_first(studies: int, earlier_studies: int = 0) -> dict[str, Any]:
    """What intake notes of a night, before it has looked at a study: counts, errors and what waits, by study."""
    counts = {"studies": studies, "earlier_studies": earlier_studies, "unknown_patients": 0, "already_staged": 0}
    return {**counts, "errors": {}, "waiting": {}}


def note_intake(site: Site, night: date, report: Mapping[str, Any]) -> None:
    """Keep what intake noted, for the night's close."""
    write_json(site.files.night_folder(night, Step.INTAKE) / "intake.json", report)


def judged(
    site: Site, night: date, study: StudyRecord, ambiguous: Refusal | None, asked: list[str] | None = None
) -> str:
    """`_one_study`, and the study refused where that is what came of it."""
    asked = [] if asked is None else asked
    if not study.study_uid:
        raise PermanentError("the PACS listed a study whose Study Instance UID cannot be read")
    try:
        return _one_study(site, night, study, ambiguous, asked)
    except CaseRejected as err:  # an invalid UID, another patient's images, or a PACS that does not look at the UID
        if is_ours(err):
            raise
        case = _study_case(night, study)
        tell_operations(site, case.case_id, Step.INTAKE, err)
        _refuse(site, case, Refusal.of(err))
        return ""


def _name_of(study: StudyRecord) -> str:
    """A study as it may be named: what stands in place of a UID may be anything."""
    try:
        return Uid(study.study_uid)
    except CaseRejected:
        return "a study without a valid Study Instance UID"


def _check_that_the_pacs_answers(site: Site) -> None:
    """Whether it was one study's fault; raises where the PACS does not answer to C-ECHO either."""
    try:
        site.archive.echo()
    except ConfigError:
        raise
    except PermanentError:  # it does answer, if only with a status
        return


def _one_study(site: Site, night: date, study: StudyRecord, ambiguous: Refusal | None, asked: list[str]) -> str:
    """Decide on one study; returns the counter it belongs to where it becomes no case of tonight.

    It is added to `asked` before the PACS is asked about it.
    """
    earlier = is_earlier(site, night, study)
    known = site.cases.of_study(study.study_uid)
    refusal = refusal_without_pacs(site, night, study, ambiguous)
    if refusal is not None:
        if not earlier or not any(case.series_uid for case in known):  # else what was staged in its own night stays
            _refuse(site, _study_case(night, study), refusal)
        return ""
    facts = _facts(site, night, study)
    if facts is None and not site.settings.intake.refuse_without_ehr:
        return "" if earlier else "unknown_patients"
    asked.append(study.study_uid)
    listing = arriving.Listing.of(site.archive, study.study_uid)
    chosen = [case for case in known if case.series_uid]
    marked = arriving.newly_marked(site, listing, chosen, facts.key_slice_sop_uid if facts else None)
    if more := arriving.grown(listing, chosen) or marked:
        arriving.look(site, listing)
        arriving.take_anew(site, night, listing, more)
        return ""
    if any(site.cases.selection(c.case_id) or c.reached is not CaseState.FOUND for c in chosen if c.night == night):
        return ""  # chosen in an earlier run of this night: its case goes on, and no second one is made beside it
    if elsewhere := [case.series_uid for case in chosen if case.night != night]:
        staged = site.cases.staged_before(elsewhere, site.model_of(night))
        return "already_staged" if staged and not earlier else ""
    if operated := step.judge_descriptions(_described(listing)):
        _refuse(site, _study_case(night, study), operated)
        return ""
    arriving.look(site, listing)
    if earlier and any(arriving.judged_as_it_is(site, case) for case in known):
        return ""
    selection, expected, unread = _select(site, night, study, listing)
    if selection.series_uid is None:
        refusal = Refusal(RefusalCode.NO_PORTAL_VENOUS_SERIES, selection.sentence(), selection.numbers())
        _refuse(site, _study_case(night, study), refusal)
        return ""
    arriving.covers_its_promise(listing, selection.series_uid)
    case = attrs.evolve(
        _study_case(night, study),
        case_id=case_id(study.study_uid, selection.series_uid),
        series_uid=selection.series_uid,
        expected_sop_uids=expected,
    )
    site.cases.record([case], {case.case_id: _selected(selection, unread)})
    return ""


def _described(listing: arriving.Listing) -> list[tuple[str, str]]:
    """What the CT series of a study are called, and after which protocol they were taken."""
    series = [one for one in listing.series if one.modality == "CT"]
    return [("series description", one.description) for one in series] + [("protocol", one.protocol) for one in series]


def _eligible(site: Site, night: date, studies: Sequence[StudyRecord], ambiguous: Mapping[str, Refusal]) -> list[str]:
    """Studies whose patients may be staged: those that the PACS will be asked about."""

    def may_be_staged(study: StudyRecord) -> bool:
        try:
            refusal = refusal_without_pacs(site, night, study, ambiguous.get(study.study_uid))
            return refusal is None and _facts(site, night, study) is not None
        except NIGHT_WIDE:
            raise
        except Exception as err:  # noqa: BLE001 - one study never stops the night; intake notes it
            get_logger(Step.PACS).warning("study.not_looked_at", study_uid=_name_of(study), error=fault_of(err))
            return False

    return [study.study_uid for study in studies if may_be_staged(study)]


def refusal_without_pacs(site: Site, night: date, study: StudyRecord, ambiguous: Refusal | None) -> Refusal | None:
    """What can be said against a study without the PACS; nothing of a patient who is not known, but not refused."""
    try:
        Uid(study.study_uid)
    except CaseRejected as err:
        return Refusal.of(err)
    if ambiguous is not None:
        return ambiguous
    facts = _facts(site, night, study)
    if facts is None and not site.settings.intake.refuse_without_ehr:
        return None
    return step.judge_patient(facts) or step.judge_descriptions([("study description", study.description)])


def _facts(site: Site, night: date, study: StudyRecord) -> PatientFacts | None:
    on = study.study_at.date() if study.study_at else night
    return site.clinical.facts(study.patient_id, study.study_uid, on)


def _select(
    site: Site, night: date, study: StudyRecord, listing: arriving.Listing
) -> tuple[Any, tuple[str, ...], list[str]]:
    """Probe the promising series and choose.

    Returns
    -------
    selection, the chosen series' instances, and why other series could not be looked at

    Raises
    ------
    Exception
        What kept a series from being looked at, where no other can be chosen: "no portal venous series" would be a
        verdict on what nobody has seen. A fault that may pass is raised at once: what is second best today may not be
        the best tomorrow. So is an identity mismatch: it is not clear whose study this is.
    """
    evidence, instances, unread = [], {}, []
    for series in step.candidates(listing.series):
        try:
            found = listing.instances(series.series_uid)
            evidence.append(_probe(site, night, study, series, found))
            instances[series.series_uid] = tuple(i.sop_instance_uid for i in found)
        except (*NIGHT_WIDE, TransientError):
            raise
        except Exception as err:
            if is_mismatch(err):
                raise
            get_logger(Step.INTAKE).warning("series.unread", study_uid=study.study_uid, error=fault_of(err))
            unread.append(err)
    if operated := step.judge_descriptions(_described_in_headers(evidence)):
        raise CaseRejected(operated.code, operated.sentence, operated.numbers)
    selection = step.select_portal_venous(evidence, site.settings.validate)
    if selection.series_uid is None and unread:
        raise unread[0]
    return selection, instances.get(selection.series_uid or "", ()), [fault_of(err) for err in unread]


def _described_in_headers(evidence: Sequence[SeriesEvidence]) -> list[tuple[str, str]]:
    """What the instances say of study and series: a PACS may leave texts out of its answers, or have changed them."""
    return [
        (where, str(one.headers.get(keyword, "")))
        for where, keyword in (("study description", "StudyDescription"), ("series description", "SeriesDescription"))
        for one in evidence
    ]


def _probe(site: Site, night: date, study: StudyRecord, series: SeriesRecord, found: Sequence[Any]) -> SeriesEvidence:
    """Fetch a few instances of a series and read what they show."""
    ordered = sorted(found, key=lambda i: (i.instance_number is None, i.instance_number or 0, i.sop_instance_uid))
    chosen = [ordered[i].sop_instance_uid for i in step.probe_indices(len(ordered), site.config.intake.probes)]
    probe_id = case_id(study.study_uid, series.series_uid)
    folder = site.files.folder(night, probe_id, Step.INTAKE)
    try:
        classes = {i.sop_instance_uid: i.sop_class_uid for i in ordered if i.sop_class_uid}
        identity = SeriesIdentity(study.study_uid, series.series_uid, study.patient, classes)
        paths = site.archive.retrieve(study.study_uid, series.series_uid, chosen, folder, identity=identity)
    except CaseRejected as err:
        if is_mismatch(err):
            raise  # it is not clear whose study this is
        if is_ours(err):  # no verdict on the series: the study is looked at again
            raise RetrieveIncomplete(f"probes of series {series.series_uid}: {err}; tried again later") from err
        return SeriesEvidence(series)  # an invalid UID: the series has no usable evidence, select says so
    probe = step.read_probe(paths, instances=len(ordered))
    write_measured(site.files, night, probe_id, probe.measured)
    return SeriesEvidence(series, probe.headers, probe.contrast, probe.coverage_mm)


def _has_work(site: Site, case: Case) -> bool:
    """Whether a step may still have to do something: not committed, or refused and the refusal not written back yet."""
    if case.state is not CaseState.REFUSED:
        return case.state is not CaseState.COMMITTED
    if not (site.settings.report.refusal_sr and case.series_uid and case.refusal and case.refusal.written_back):
        return False
    written = {o.sop_instance_uid for o in site.cases.objects(case.case_id)}
    return not written or not written <= site.deliveries.stored(case.case_id)


def _reopen(site: Site, cases: Sequence[Case]) -> None:
    """Failures that a person had to mend: running the night again is that person saying that it is mended."""
    for case in cases:
        if case.state is CaseState.FAILED and case.failure is not None and not case.failure.retryable:
            with site.cases.step(case.case_id, case.failure.step) as record:
                record.fail(attrs.evolve(case.failure, retryable=True))


def _selected(selection: step.Selection, unread: Sequence[str]) -> Selected:
    detail = {
        "unread": list(unread),
        "series_uid": selection.series_uid,
        "phase": str(selection.phase),
        "reasons": [{"rule": r.rule, "evidence": r.evidence, "weight": r.weight} for r in selection.reasons],
        "sentence": selection.sentence(),
        **selection.numbers(),
    }
    return Selected(tuple(str(flag) for flag in selection.flags), selection.confirmed, detail)


def _refuse(site: Site, case: Case, refusal: Refusal) -> None:
    """A refused study is recorded as refused; one that is a case already is refused where it stands.

    One that was refused for what time can mend, and is judged otherwise now, is refused anew, in this night.
    """
    if case.case_id not in site.cases.record([attrs.evolve(case, state=CaseState.REFUSED, refusal=refusal)]):
        before = site.cases.get(case.case_id).refusal
        if before is not None:
            same = (before.code, before.sentence) == (refusal.code, refusal.sentence)
            if same or not before.waiting_can_mend:
                return
            arriving.begin_anew(site, case, Reopening(why="judged otherwise now", night=case.night))
        with site.cases.step(case.case_id, Step.INTAKE) as record:
            record.refuse(refusal)
    get_logger(Step.INTAKE).warning(
        "case.refused", case_id=case.case_id, code=str(refusal.code), reason=refusal.sentence
    )


def _study_case(night: date, study: StudyRecord) -> Case:
    return Case(
        case_id=case_id(study.study_uid),
        night=night,
        study_uid=study.study_uid,
        patient_id=study.patient_id,
        accession_number=study.accession_number,
        study_at=study.study_at,
        issuer_of_patient_id=study.issuer_of_patient_id,
    )


def _study_json(study: StudyRecord) -> dict[str, Any]:
    value = attrs.asdict(study)
    value["study_at"] = study.study_at.isoformat() if study.study_at else None
    return value


def _read_studies(site: Site, night: date) -> list[StudyRecord]:
    rows = json.loads((site.files.night_folder(night, Step.PACS) / "studies.json").read_text())
    for row in rows:
        row["study_at"] = datetime.fromisoformat(row["study_at"]) if row["study_at"] else None
        row["modalities"] = tuple(row["modalities"])
    return [StudyRecord(**row) for row in rows]
