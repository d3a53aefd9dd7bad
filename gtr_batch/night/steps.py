"""The steps of the path, joined: retrieve, validate, preprocess, stage (with explain), nomogram, report, deliver."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from gtr_batch.domain.case import Case, CaseState, Selected, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.delivery import ReportObject
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging, Flag
from gtr_batch.domain.step_record import Detail, StepRecord
from gtr_batch.errors import CaseRejected, GtrError, RetrieveIncomplete
from gtr_batch.logs import get_logger
from gtr_batch.night.runner import Shard
from gtr_batch.ports import FileStore

if TYPE_CHECKING:
    from gtr_batch.deliver import Parcel
from gtr_batch.night.site import Site

HELD = "held"  # file of a case whose report was held back
REFERENCE_MODALITIES = ("KO", "SEG", "RTSTRUCT")  # what may name a key slice


def retrieve(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Fetch each case's series, and the study's key objects and segmentations."""
    with site.archive.connected():
        return Shard(site, Step.RETRIEVE, shard).each(CaseState.RETRIEVED, partial(_retrieve, site))


def _retrieve(site: Site, case: Case, record: StepRecord) -> Detail:
    promised = site.archive.find_instances(case.study_uid, case.series_uid)
    expected = sorted({i.sop_instance_uid for i in promised} | set(case.expected_sop_uids))
    record.expects(expected)
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    try:
        paths = site.archive.retrieve(case.study_uid, case.series_uid, expected, folder)
    except RetrieveIncomplete as err:
        before = [e for e in site.cases.events(case.case_id) if e["state"] == CaseState.FAILED]
        tries = 1 + sum(e["detail"].get("error", "").startswith(RetrieveIncomplete.__name__) for e in before)
        if tries < site.settings.night.retrieve_attempts:
            raise
        raise CaseRejected("series_incomplete", f"{err} (after {tries} attempts)", {"attempts": tries}) from err
    for series in site.archive.find_series(case.study_uid):
        if series.modality in REFERENCE_MODALITIES:
            wanted = [i.sop_instance_uid for i in site.archive.find_instances(case.study_uid, series.series_uid)]
            site.archive.retrieve(case.study_uid, series.series_uid, wanted, _references(site, case, series.modality))
    return {"instances": len(paths), "megabytes": round(sum(p.stat().st_size for p in paths) / 1e6, 1)}


def _references(site: Site, case: Case, modality: str) -> Path:
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE) / modality
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def validate(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Judge headers and pixels of the whole shard in one Great Expectations run."""
    from gtr_batch.validate import CaseFiles, validate_shard

    work = Shard(site, Step.VALIDATE, shard)
    if not work.cases:
        return work.finish()
    files = [
        CaseFiles(c.case_id, site.files.folder(c.night, c.case_id, Step.RETRIEVE), c.expected_sop_uids)
        for c in work.cases
    ]
    verdicts = validate_shard(files, site.settings.validate, site.files.night_folder(night, "data_docs"))

    def judge(case: Case, record: StepRecord) -> Detail:
        verdict = verdicts[case.case_id]
        if verdict.fault is not None:
            raise verdict.fault
        site.files.write_json(case.night, case.case_id, Step.VALIDATE, "facts", dict(verdict.facts))
        record.measured(verdict.facts)
        if verdict.refusal is not None:
            raise CaseRejected(verdict.refusal.code, verdict.refusal.sentence, verdict.refusal.numbers)
        return {}

    return work.each(CaseState.VALIDATED, judge)


def preprocess(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Key slice and neighbours as network input."""
    return Shard(site, Step.PREPROCESS, shard).each(CaseState.PREPROCESSED, lambda case, _: _preprocess(site, case))


def _preprocess(site: Site, case: Case) -> Detail:
    from gtr_batch.preprocess import find_key_slice, prepare_all_for_locator, prepare_volume, read_series
    from gtr_batch.preprocess.outline import lesion_on_grid
    from gtr_batch.stage import slice_scores

    artefact = site.artefact_of(case.night)
    contract = artefact.manifest.contract
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    volume = read_series(folder, case.expected_sop_uids)
    facts = site.clinical.facts(case.patient_id, case.study_uid, _on(case))

    def locate() -> Any:
        return slice_scores(artefact, prepare_all_for_locator(volume, contract, device=artefact.device))

    key = find_key_slice(
        volume,
        key_objects=sorted((folder / "KO").glob("*.dcm")),
        ehr_sop_uid=facts.key_slice_sop_uid if facts else None,
        segmentations=sorted([*(folder / "SEG").glob("*.dcm"), *(folder / "RTSTRUCT").glob("*.dcm")]),
        locator=locate if artefact.manifest.key_slice_locator else None,
    )
    index = volume.sop_instance_uids.index(key.sop_instance_uid)
    slices, geometry = prepare_volume(volume, index, contract, key.source, device=artefact.device)
    lesion = lesion_on_grid(sorted((folder / "SEG").glob("*.dcm")), geometry)
    arrays = {"slices": slices} if lesion is None else {"slices": slices, "lesion": lesion}
    site.files.write_arrays(case.night, case.case_id, Step.PREPROCESS, "prepared", arrays)
    site.files.write_json(case.night, case.case_id, Step.PREPROCESS, "contract", contract_json(contract))
    site.files.write_json(case.night, case.case_id, Step.PREPROCESS, "geometry", geometry.to_json())
    return {"key_slice_source": str(key.source), "key_slice_detail": list(key.detail)}


def stage(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """One forward pass for the shard: vote, features and heat maps."""
    from gtr_batch.explain import GradCamForward, to_source_pixels
    from gtr_batch.stage import stage_shard

    work = Shard(site, Step.STAGE, shard)
    if not work.cases:
        return work.finish()
    artefact, inputs, geometries, broken = site.artefact_of(night), {}, {}, {}
    for case in work.cases:
        at = (case.night, case.case_id, Step.PREPROCESS)
        try:
            if site.files.read_json(*at, "contract") != contract_json(artefact.manifest.contract):
                _preprocess(site, case)  # the night was begun anew with another model, which wants its own slices
        except GtrError as err:
            broken[case.case_id] = err
            continue
        inputs[case.case_id] = site.files.read_arrays(*at, "prepared")["slices"]
        geometries[case.case_id] = PreparedGeometry.from_json(site.files.read_json(*at, "geometry"))
    staged = stage_shard(
        artefact,
        inputs,
        geometries,
        forward=GradCamForward(artefact.network),
        batch_cases=site.config.stage.batch_cases,
    )

    def keep(case: Case, record: StepRecord) -> Detail:
        if case.case_id in broken:
            raise broken[case.case_id]
        outcome = staged[case.case_id]
        if isinstance(outcome, CaseRejected):
            raise outcome
        assert outcome.heat is not None  # GradCamForward explains every case it stages
        heat = to_source_pixels(outcome.heat, geometries[case.case_id])
        at = (case.night, case.case_id)
        site.files.write_arrays(*at, Step.STAGE, "features", {"features": outcome.features, "logits": outcome.logits})
        site.files.write_arrays(*at, Step.EXPLAIN, "heat", {"heat": heat})
        flags = (*outcome.staging.flags, *_flags_of_selection(site, case))
        staging = attrs.evolve(outcome.staging, flags=tuple(dict.fromkeys(flags)))
        record.stages(staging, outcome.features[ROLES.index("key")], outcome.logits)
        return {"t_stage": str(staging.t_stage), "p": round(staging.probabilities[staging.t_stage], 3)}

    return work.each(CaseState.STAGED, keep)


def _flags_of_selection(site: Site, case: Case) -> list[Flag]:
    """What a reader must know of how the series was chosen."""
    selection = site.cases.selection(case.case_id) or Selected()
    facts = site.files.read_json(case.night, case.case_id, Step.VALIDATE, "facts")
    flags = [Flag(flag) for flag in selection.flags]
    if not selection.phase_confirmed and facts.get("phase") != "portal_venous":
        flags.append(Flag.PHASE_FROM_WORDS)
    return flags


def nomogram(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Rad-score, points and P(T1..T4) from the key slice's features and the EHR's covariates."""
    return Shard(site, Step.NOMOGRAM, shard).each(CaseState.SCORED, partial(_nomogram, site))


def _nomogram(site: Site, case: Case, record: StepRecord) -> Detail:
    from gtr_batch.nomogram import rad_score, score

    staging = _staging(site, case)
    manifest = site.artefact_by(staging.model_version).manifest
    features = site.files.read_arrays(case.night, case.case_id, Step.STAGE, "features")["features"]
    facts = site.clinical.facts(case.patient_id, case.study_uid, _on(case))
    covariates = facts.covariates if facts else Covariates()
    answer = score(manifest.nomogram, rad_score(manifest.rad_score, features[ROLES.index("key")]), covariates)
    record.scores(answer, covariates)
    if answer.missing:
        record.flag(Flag.MISSING_COVARIATES)
    if answer.probabilities.most_likely is not staging.t_stage:
        record.flag(Flag.NOMOGRAM_DISAGREES)
    return {"points": round(answer.points["total"], 1), "missing": list(answer.missing)}


def report(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Write SR, parametric map, secondary capture and key objects; a refusal SR where the site wants one."""
    work = Shard(site, Step.REPORT, shard)
    for case in _refused(site, shard):
        if not site.cases.objects(case.case_id):
            work.beside(case, partial(_refusal_report, site, case))

    def write(case: Case, record: StepRecord) -> Detail:
        objects = report_one(site, case, Answer(_staging(site, case), site.cases.score(case.case_id)), site.files)
        record.writes(objects)
        return {"objects": len(objects)}

    return work.each(CaseState.REPORTED, write)


@frozen
class Answer:
    """What a case's report says: the staging, and the nomogram's answer on it."""

    staging: CaseStaging
    score: NomogramScore | None


def report_one(site: Site, case: Case, answer: Answer, prepared: FileStore) -> list[ReportObject]:
    """Write the objects of an answer into the case's folder; `prepared` holds what the model saw and its heat map."""
    from gtr_batch.explain import overlay_rgb
    from gtr_batch.preprocess import read_series
    from gtr_batch.report import write_case

    staging = answer.staging
    manifest = site.artefact_by(staging.model_version).manifest
    geometry = PreparedGeometry.from_json(prepared.read_json(case.night, case.case_id, Step.PREPROCESS, "geometry"))
    heat = prepared.read_arrays(case.night, case.case_id, Step.EXPLAIN, "heat")["heat"]
    source = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    key = ROLES.index("key")
    hu = read_series(source, [geometry.sop_instance_uids[key]]).hu()[0]
    overlay = overlay_rgb(hu, heat[key], staging, manifest)
    facts = site.clinical.facts(case.patient_id, case.study_uid, _on(case))
    return write_case(
        site.files.folder(case.night, case.case_id, Step.REPORT),
        case=case,
        source_files=[source / f"{uid}.dcm" for uid in geometry.sop_instance_uids],
        staging=staging,
        score=answer.score,
        covariates=facts.covariates if facts else Covariates(),
        geometry=geometry,
        heat=heat,
        overlay=overlay,
        manifest=manifest,
        config=site.settings.report,
        previous=site.cases.objects(case.case_id),
    )


def _refused(site: Site, shard: Sequence[str]) -> list[Case]:
    if not site.settings.report.refusal_sr:
        return []
    return [case for case in site.cases.select(shard) if case.state is CaseState.REFUSED]


def _refusal_report(site: Site, case: Case) -> None:
    from gtr_batch.report import write_refusal

    sources = sorted(site.files.folder(case.night, case.case_id, Step.RETRIEVE).glob("*.dcm"))
    if case.refusal is None or not sources:
        return
    write = partial(
        write_refusal,
        site.files.folder(case.night, case.case_id, Step.REPORT),
        case=case,
        refusal=case.refusal,
        manifest=site.artefact_of(case.night).manifest,
        config=site.settings.report,
        model_version=site.model_of(case.night),
    )
    # Any instance tells whose study it is; the first that can be read, since a refused series is often broken.
    objects: list[ReportObject] = next(filter(None, (write(source_file=source) for source in sources)), [])
    with site.cases.step(case.case_id, Step.REPORT) as record:
        record.writes(objects)


def deliver(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Store what the PACS has not got yet, then have it committed or read it back.

    What the audit holds back stays `reported`; the night's summary says so, and a later run of the night sends it.
    """
    work = Shard(site, Step.DELIVER, shard)
    work.cases = _not_held_back(site, work.cases)
    for case in _refused(site, shard):
        if site.cases.objects(case.case_id):
            work.beside(case, partial(_deliver_refusal, site, case))
    return work.each(CaseState.COMMITTED, partial(deliver_one, site))


def _not_held_back(site: Site, cases: list[Case]) -> list[Case]:
    """Those that may go; of the others it is noted why not. What the PACS has already is only committed."""
    held, free = site.held_back(), []
    for case in cases:
        why = held.get(_staging(site, case).model_version) if held and case.reached is CaseState.REPORTED else None
        if why is None:
            free.append(case)
        else:
            get_logger(Step.DELIVER).warning("case.held_back", case_id=case.case_id, reason=why)
        if why is not None or why_held(site, case):
            site.files.write_json(case.night, case.case_id, Step.DELIVER, HELD, {"why": why})
    return free


def why_held(site: Site, case: Case) -> str | None:
    """Why the latest run of `deliver` held a case's report back; None where it did not."""
    try:
        found = site.files.read_json(case.night, case.case_id, Step.DELIVER, HELD)
    except FileNotFoundError:
        return None
    return str(found["why"]) if found["why"] else None


def deliver_one(site: Site, case: Case, record: StepRecord) -> Detail:
    """Deliver the newest objects of a case, and note what a reader must know of the delivery.

    Raises
    ------
    GovernanceRefused
        The model that staged it was withdrawn meanwhile.
    """
    from gtr_batch.deliver import commit_objects, store_objects

    site.folder_of(_staging(site, case).model_version)  # a model withdrawn meanwhile sends nothing
    parcel = _parcel(site, case, site.cases.objects(case.case_id))
    sent = store_objects(site.archive, site.deliveries, parcel)
    with site.cases.step(case.case_id, Step.DELIVER) as stored:  # before the commitment, which may take hours
        stored.advance(CaseState.STORED)
    outcome = commit_objects(site.archive, site.deliveries, parcel, site.config.pacs)
    record.flag(*outcome.flags)
    return {"sent": sent + outcome.sent}


def _deliver_refusal(site: Site, case: Case) -> None:
    from gtr_batch.deliver import deliver_case

    parcel = _parcel(site, case, site.cases.objects(case.case_id))
    deliver_case(site.archive, site.deliveries, parcel, site.config.pacs)


def _parcel(site: Site, case: Case, objects: Sequence[ReportObject]) -> Parcel:
    from gtr_batch.deliver import Parcel

    return Parcel(case, objects, site.files.folder(case.night, case.case_id, Step.REPORT))


def contract_json(contract: Any) -> Any:
    """A preprocessing contract as it stands in a case's files: two that are equal here want the same slices."""
    return json.loads(json.dumps(attrs.asdict(contract)))


def _staging(site: Site, case: Case) -> CaseStaging:
    staging = site.cases.staging(case.case_id)
    assert staging is not None  # a case is only scored, reported and sent after it was staged
    return staging


def _on(case: Case) -> date:
    return case.study_at.date() if case.study_at else case.night
