"""From the PACS's answers to the night's cases: query, eligibility, series selection."""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from gtr_batch.errors import CaseRejected, RetrieveIncomplete, StillArriving, TransientError
from gtr_batch.logs import get_logger
from gtr_batch.night import arriving
from gtr_batch.night.identity import is_mismatch, tell_operations
from gtr_batch.night.runner import is_ours
from gtr_batch.night.site import Site, looked_back_window, night_window
from gtr_batch.writing import write_json


def query_pacs(site: Site, night: date) -> list[str]:
    """Ask the PACS for the CT studies of the night's window and note them; returns their Study Instance UIDs.

    Those of the days before come too, since a study may arrive late, or grow. Eligible ones are looked at for the first
    time, so that intake can see whether they stand still.
    """
    model, settings = site.model_of(night), governed(site.settings)
    site.nights.open(night, model)
    site.settings_history.note_opening(night, model, digest_of_settings(settings), settings)
    studies = site.archive.find_studies(*looked_back_window(site.config, night))
    folder = site.files.night_folder(night, Step.PACS)
    write_json(folder / "studies.json", [_study_json(study) for study in studies])
    if site.settings.night.settle_minutes > 0:
        arriving.first_look(site, _eligible(site, night, studies))
    get_logger(Step.PACS).info("pacs.queried", night=str(night), studies=len(studies))
    return [study.study_uid for study in studies]


def intake(site: Site, night: date, studies: Sequence[str]) -> list[list[str]]:
    """Choose the night's cases; returns shards of the case ids that still have work to do.

    A study whose series the PACS could not tell us of is noted among the night's errors and the others go on; where
    that happened to every study that the PACS was asked about, the fault is the PACS's and the task is retried.

    Raises
    ------
    TransientError
        No study that had to be looked at could be.
    """
    log = get_logger(Step.INTAKE)
    wanted = set(studies)
    records = [r for r in _read_studies(site, night) if r.study_uid in wanted]
    ambiguous = step.judge_study(records)
    report: dict[str, Any] = {"studies": len(records), "unknown_patients": 0, "already_staged": 0, "errors": {}}
    report["waiting"] = {}
    last: TransientError | None = None
    asked: list[str] = []  # studies that the PACS was asked about
    with site.archive.connected():
        for done, study in enumerate(records, 1):
            try:
                outcome = _one_study(site, night, study, ambiguous.get(study.study_uid), asked)
                if outcome:
                    report[outcome] += 1
            except StillArriving as err:
                report["waiting"][study.study_uid] = str(err)
                log.info("study.waits", study_uid=study.study_uid, reason=str(err))
            except TransientError as err:
                last = err
                report["errors"][study.study_uid] = f"{type(err).__name__}: {err}"
                log.error("study.failed", study_uid=study.study_uid, error=str(err))
            site.progress(Step.INTAKE, done, len(records))
    if last is not None and set(asked) <= set(report["errors"]):
        raise last
    write_json(site.files.night_folder(night, Step.INTAKE) / "intake.json", report)
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


def _one_study(site: Site, night: date, study: StudyRecord, ambiguous: Refusal | None, asked: list[str]) -> str:
    """Decide on one study; returns the counter it belongs to where it becomes no case of tonight.

    It is added to `asked` before the PACS is asked about it.
    """
    earlier = _is_earlier(site, night, study)
    known = site.cases.of_study(study.study_uid)
    refusal = _refusal_without_pacs(site, night, study, ambiguous)
    if refusal is not None:
        if not (earlier and known):  # judged in its own night already
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
    arriving.look(site, listing)
    if earlier and any(arriving.judged_as_it_is(site, case) for case in known):
        return ""
    try:
        selection, expected = _select(site, night, study, listing)
    except CaseRejected as err:  # the PACS gave us another patient's images, or does not look at the study UID
        case = _study_case(night, study)
        tell_operations(site, case.case_id, Step.INTAKE, err)
        _refuse(site, case, Refusal.of(err))
        return ""
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
    site.cases.record([case], {case.case_id: _selected(selection)})
    return ""


def _eligible(site: Site, night: date, studies: Sequence[StudyRecord]) -> list[str]:
    """Studies whose patients may be staged: those that the PACS will be asked about."""
    ambiguous = step.judge_study(studies)
    return [
        study.study_uid
        for study in studies
        if _refusal_without_pacs(site, night, study, ambiguous.get(study.study_uid)) is None
        and _facts(site, night, study) is not None
    ]


def _refusal_without_pacs(site: Site, night: date, study: StudyRecord, ambiguous: Refusal | None) -> Refusal | None:
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
    return step.judge_patient(facts)


def _facts(site: Site, night: date, study: StudyRecord) -> PatientFacts | None:
    on = study.study_at.date() if study.study_at else night
    return site.clinical.facts(study.patient_id, study.study_uid, on)


def _is_earlier(site: Site, night: date, study: StudyRecord) -> bool:
    """Whether a study lies before the night's own window: looked back on."""
    return study.study_at is not None and study.study_at < night_window(site.config, night)[0]


def _select(site: Site, night: date, study: StudyRecord, listing: arriving.Listing) -> tuple[Any, tuple[str, ...]]:
    """Probe the promising series and choose; returns the selection and the chosen series' instances."""
    evidence, instances = [], {}
    for series in step.candidates(listing.series):
        found = listing.instances(series.series_uid)
        instances[series.series_uid] = tuple(i.sop_instance_uid for i in found)
        evidence.append(_probe(site, night, study, series, found))
    selection = step.select_portal_venous(evidence, site.settings.validate)
    return selection, instances.get(selection.series_uid or "", ())


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


def _selected(selection: step.Selection) -> Selected:
    detail = {
        "series_uid": selection.series_uid,
        "phase": str(selection.phase),
        "reasons": [{"rule": r.rule, "evidence": r.evidence, "weight": r.weight} for r in selection.reasons],
        "sentence": selection.sentence(),
        **selection.numbers(),
    }
    return Selected(tuple(str(flag) for flag in selection.flags), selection.confirmed, detail)


def _refuse(site: Site, case: Case, refusal: Refusal) -> None:
    # A refused study is recorded as refused; one that is a case already is refused where it stands.
    if case.case_id not in site.cases.record([attrs.evolve(case, state=CaseState.REFUSED, refusal=refusal)]):
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
