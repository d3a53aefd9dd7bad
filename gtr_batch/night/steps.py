"""The steps of the path, joined: retrieve, validate, preprocess, stage (with explain), nomogram, report, deliver."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import numpy as np
from attrs import frozen

from gtr_batch.domain.case import Case, CaseState, Selected, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.contrast import is_unclear
from gtr_batch.domain.delivery import ReportObject
from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.model import ModelManifest, PreprocessingContract
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.domain.score import AnswerSource, NomogramScore, answers_of
from gtr_batch.domain.series import InstanceRecord, SeriesRecord
from gtr_batch.domain.staging import FLAG_MEANINGS, CaseStaging, Flag
from gtr_batch.domain.step_record import Detail, StepRecord
from gtr_batch.errors import (
    AssociationLost,
    AssociationRefused,
    CaseRejected,
    CaseTakenOver,
    GpuOutOfMemory,
    GtrError,
    InputLost,
    PacsBusy,
    PacsUnreachable,
    StillArriving,
    StorageFull,
    fault_of,
)
from gtr_batch.identity import read_identity
from gtr_batch.logs import get_logger
from gtr_batch.night.at_once import do_each
from gtr_batch.night.identity import is_mismatch, references
from gtr_batch.night.inputs import (
    BYTES,
    check_retrieved,
    has_changed,
    heat_map,
    judging_retrieved,
    locator_in,
    measured_slices,
    prepared_contract,
    prepared_geometry,
    prepared_slices,
    received,
    retrieved_bytes,
)
from gtr_batch.night.runner import OURS, Shard, check_space, of_night
from gtr_batch.ports import FileStore
from gtr_batch.writing import full_disk_is_transient, make_folder

if TYPE_CHECKING:
    from gtr_batch.deliver import Parcel
    from gtr_batch.report import PageDrawings
from gtr_batch.night.site import REFERENCE_MODALITIES, Site

HELD = "held"  # file of a case whose report was held back
READS_PIXELS = (Step.VALIDATE, Step.PREPROCESS, Step.STAGE, Step.NOMOGRAM, Step.REPORT)
TUMOUR_SCORE, TUMOUR_SCORE_BY = "tumour_score", "tumour_score_by"  # the locator's largest, and which model's it is
MISSING = "missing_attachments"  # in the detail of a retrieval: what of the study could not be had, and why

T = TypeVar("T")


def retrieve(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Fetch each case's series, and the study's key objects and segmentations.

    A case that an earlier run left in the middle of the path gets back what our file store has lost of it since.
    """
    with site.archive.connected():
        work = Shard(site, Step.RETRIEVE, shard, night)
        for case in of_night(site, shard, night):
            if any(case.ready_for(step) for step in READS_PIXELS):
                work.again(case, partial(_restore, site))
        if site.config.pacs.retrieves == 1:
            return work.each(CaseState.RETRIEVED, partial(_retrieve, site))
    do_each(
        work.cases,
        lambda case: work.one(case, CaseState.RETRIEVED, partial(_retrieve, site)),
        threads=site.config.pacs.retrieves,
        within=site.archive.connected,
        granted=partial(_grants_another_association, site),
    )
    return work.finish()


def _grants_another_association(site: Site, case: Case) -> bool:
    """Whether the PACS takes one more association of ours; asked by what the retrieval of this case asks first."""
    try:
        site.archive.find_instances(case.study_uid, case.series_uid)
    except (AssociationRefused, PacsUnreachable, AssociationLost) as err:
        get_logger(Step.RETRIEVE).warning("pacs.no_further_association", error=fault_of(err))
        return False
    except GtrError:  # it answers; the retrieval says what is wrong
        return True
    return True


def _retrieve(site: Site, case: Case, record: StepRecord) -> Detail:
    _discard_changed_attachments(site, case)
    promised = site.archive.find_instances(case.study_uid, case.series_uid)
    expected = sorted({i.sop_instance_uid for i in promised} | set(case.expected_sop_uids))
    record.expects(expected)
    if site.settings.night.settle_minutes > 0 and 0 < len(case.expected_sop_uids) < len(expected):
        raise StillArriving(
            f"series {case.series_uid} grew from {len(case.expected_sop_uids)} to {len(expected)} instances since "
            "intake looked at it; tried again later"
        )
    _take_over_probes(site, case, expected)
    paths = _fetch(site, attrs.evolve(case, expected_sop_uids=tuple(expected)), promised)
    return {
        "instances": len(paths),
        "megabytes": round(sum(p.stat().st_size for p in paths) / 1e6, 1),
        **_retrieve_attachments(site, case),
        BYTES: retrieved_bytes(site, case),
    }


def _fetch(site: Site, case: Case, promised: Sequence[InstanceRecord] = ()) -> list[Path]:
    """The case's instances; what lies in its folder intact is not fetched again."""
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    identity = case.identity(case.series_uid, promised)
    return site.archive.retrieve(case.study_uid, case.series_uid, case.expected_sop_uids, folder, identity=identity)


def _take_over_probes(site: Site, case: Case, expected: Sequence[str]) -> None:
    """What intake has fetched of the series moves to its instances, and is verified as those of an earlier try."""
    probes = site.files.folder(case.night, case.case_id, Step.INTAKE)
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    for probe in (probes / f"{uid}.dcm" for uid in expected):
        if probe.is_file() and not (folder / probe.name).exists():
            with suppress(FileNotFoundError):  # another worker's by now
                probe.replace(folder / probe.name)


def _restore(site: Site, case: Case) -> None:
    """Fetch what our file store has lost of a case since it was retrieved: instances, and attachments."""
    try:
        check_retrieved(site, case)
    except InputLost:  # what is fetched anew takes space
        check_space(site, Step.RETRIEVE, 1)
    _discard_changed_attachments(site, case)
    _fetch(site, case)
    if has_changed(site, case):
        _retrieve_attachments(site, case)


def _discard_changed_attachments(site: Site, case: Case) -> None:
    """Attachments of a case that comes back since its files changed: documents that were cut may read as if they ended.

    An image that was cut is known by the length of its pixels, and fetched again.
    """
    if has_changed(site, case):
        for modality in REFERENCE_MODALITIES:
            for path in _references(site, case, modality).glob("*.dcm"):
                path.unlink()


def _retrieve_attachments(site: Site, case: Case) -> Detail:
    """Fetch the study's key objects and outlines; why some could not be had, and how many were of another patient.

    They are a help and never cost the CT: the case goes on without them and says so. Only a PACS that does not answer
    any more or tells of other studies, and what is wrong for every case, is raised.
    """
    missing: list[str] = []
    left_out = 0
    listed = _or_noted(case, missing, "the study's series", lambda: site.archive.find_series(case.study_uid))
    for series in listed or ():
        if series.modality not in REFERENCE_MODALITIES:
            continue
        try:
            _or_noted(case, missing, series.modality, partial(_retrieve_attachment, site, case, series))
        except CaseRejected as err:  # of another patient: done without
            left_out += 1
            missing.append(f"{series.modality}: {fault_of(err)}")
            get_logger(Step.RETRIEVE).error(
                "case.reference_left_out", case_id=case.case_id, series_uid=series.series_uid, reason=err.sentence
            )
    return {MISSING: missing, **({"references_left_out": left_out} if left_out else {})}


def _retrieve_attachment(site: Site, case: Case, series: SeriesRecord) -> None:
    """Fetch what may name a key slice."""
    folder = _references(site, case, series.modality)
    listed = site.archive.find_instances(case.study_uid, series.series_uid)
    identity = case.identity(series.series_uid, listed)
    invalid, wanted = [], []
    for number, one in enumerate(listed, 1):
        try:
            wanted.append(Uid(one.sop_instance_uid))
        except CaseRejected as err:  # one among others, which come all the same
            invalid.append(CaseRejected(err.code, f"instance {number} of {len(listed)}: {err.sentence}"))
    site.archive.retrieve(case.study_uid, series.series_uid, wanted, folder, identity=identity)
    if invalid:
        raise invalid[0]


def _or_noted(case: Case, missing: list[str], what: str, work: Callable[[], T]) -> T | None:
    """What `work` gives; None where it cannot be had, and then `missing` says what and why.

    Where the line was cut, or the PACS was busy, it is asked once more. What is of another patient or study is raised.
    """
    for asked_before in (False, True):
        try:
            return work()
        except (*OURS, StorageFull, PacsUnreachable, AssociationRefused):
            raise
        except Exception as err:
            if is_mismatch(err):
                raise
            if isinstance(err, AssociationLost | PacsBusy) and not asked_before:  # a key slice is worth a second call
                continue
            missing.append(f"{what}: {fault_of(err)}")
            log = get_logger(Step.RETRIEVE)
            log.warning("attachment.missing", case_id=case.case_id, what=what, error=fault_of(err))
            break
    return None


def _references(site: Site, case: Case, modality: str) -> Path:
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE) / modality
    with full_disk_is_transient(folder):
        return make_folder(folder)


def validate(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Judge headers and pixels of the whole shard in one Great Expectations run."""
    from gtr_batch.validate import CaseFiles, validate_shard

    work = Shard(site, Step.VALIDATE, shard, night)
    if not work.cases:
        return work.finish()
    lost = _faults(work.cases, partial(check_retrieved, site))
    files = [
        CaseFiles(
            c.case_id,
            site.files.folder(c.night, c.case_id, Step.RETRIEVE),
            c.expected_sop_uids,
            identity=c.identity(c.series_uid),
            measured=measured_slices(site.files, c),
        )
        for c in work.cases
        if c.case_id not in lost
    ]
    verdicts: dict[str, Any] = {}
    try:
        verdicts.update(validate_shard(files, site.settings.validate, site.files.night_folder(night, "data_docs")))
    except StorageFull as err:  # of the Data Docs: no case of the shard is judged, and each says why
        lost |= {case.case_id: err for case in work.cases}

    def judge(case: Case, record: StepRecord) -> Detail:
        if case.case_id in lost:
            raise lost[case.case_id]
        verdict = verdicts[case.case_id]
        if verdict.fault is not None:
            raise verdict.fault
        site.files.write_json(case.night, case.case_id, Step.VALIDATE, "facts", dict(verdict.facts))
        record.measured(verdict.facts)
        if verdict.refusal is not None:
            with judging_retrieved(site, case):
                raise CaseRejected(verdict.refusal.code, verdict.refusal.sentence, verdict.refusal.numbers)
        left_out = references(site, case).left_out
        if left_out:
            work.log.error("case.reference_left_out", case_id=case.case_id, instances=left_out)
        return {"references_left_out": left_out} if left_out else {}

    return work.each(CaseState.VALIDATED, judge)


def _faults(cases: Sequence[Case], work: Callable[[Case], object]) -> dict[str, Exception]:
    """What `work` raises for single cases of a shard, to be raised again where each case is written."""
    found: dict[str, Exception] = {}
    for case in cases:
        try:
            work(case)
        except OURS:
            raise
        except Exception as err:  # noqa: BLE001 - one bad case never stops the night
            found[case.case_id] = err
    return found


def preprocess(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Key slice and neighbours as network input."""
    work = Shard(site, Step.PREPROCESS, shard, night)
    _after_canary(site, night, work, here=True)
    return work.each(CaseState.PREPROCESSED, lambda case, _: prepare_case(site, case))


def _after_canary(site: Site, night: date, work: Shard, *, here: bool) -> None:
    """Go on only where the canary passed: on this machine, where it computes for patients; else anywhere."""
    from gtr_batch.night.canary import check, require

    if work.cases and here:
        require(site, night, site.model_of(night))
    elif work.cases:
        check(site, site.model_of(night))


def prepare_case(site: Site, case: Case) -> Detail:
    """Prepare a case's slices from its retrieved series, and write them; the same whenever it is done."""
    with judging_retrieved(site, case):
        return _prepare(site, case)


def _prepare(site: Site, case: Case) -> Detail:
    from gtr_batch.preprocess import find_key_slice, prepare_volume, read_series
    from gtr_batch.preprocess.outline import lesion_on_grid

    artefact = site.artefact_of(case.night)
    contract = artefact.manifest.contract
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    volume = read_series(folder, case.expected_sop_uids)
    facts = site.clinical.facts(case.patient_id, case.study_uid, _on(case))

    reference = references(site, case).own
    key = find_key_slice(
        volume,
        key_objects=reference["KO"],
        titles=site.settings.preprocess.key_object_titles,
        ehr_sop_uid=facts.key_slice_sop_uid if facts else None,
        segmentations=[*reference["RTSTRUCT"], *reference["SEG"]],
        locator=locator_in(artefact, volume),
    )
    index = volume.sop_instance_uids.index(key.sop_instance_uid)
    slices, geometry = prepare_volume(volume, index, contract, key.source, device=artefact.device)
    geometry = attrs.evolve(geometry, flags=key.flags, apart_mm=key.apart_mm, nearby=key.nearby)
    if key.tumour_score is not None:
        sign = {TUMOUR_SCORE: key.tumour_score, TUMOUR_SCORE_BY: artefact.version}
        geometry = attrs.evolve(geometry, facts={**geometry.facts, **sign})
    lesion = lesion_on_grid(reference["SEG"], geometry)
    arrays = {"slices": slices} if lesion is None else {"slices": slices, "lesion": lesion}
    site.files.write_arrays(case.night, case.case_id, Step.PREPROCESS, "prepared", arrays)
    site.files.write_json(case.night, case.case_id, Step.PREPROCESS, "contract", contract_json(contract))
    site.files.write_json(case.night, case.case_id, Step.PREPROCESS, "geometry", geometry.to_json())
    return {
        "key_slice_source": str(key.source),
        "key_slice_detail": list(key.detail),
        **({"key_slice_apart_mm": key.apart_mm} if key.apart_mm else {}),
    }


def stage(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """One forward pass for the shard: vote, features and heat maps."""
    from gtr_batch.explain import GradCamForward, to_source_pixels
    from gtr_batch.stage import AbstainAt, stage_shard

    work = Shard(site, Step.STAGE, shard, night)
    if not work.cases:
        return work.finish()
    _after_canary(site, night, work, here=True)
    artefact = site.artefact_of(night)
    inputs: dict[str, np.ndarray] = {}
    geometries: dict[str, PreparedGeometry] = {}

    def read(case: Case) -> None:
        inputs[case.case_id], geometries[case.case_id] = _prepared(site, case, artefact.manifest.contract)

    def forward(case_ids: Sequence[str]) -> dict[str, Any]:
        return stage_shard(
            artefact,
            {case_id: inputs[case_id] for case_id in case_ids},
            geometries,
            forward=GradCamForward(artefact.network),
            batch_cases=site.config.stage.batch_cases,
            abstain=AbstainAt(site.settings.stage.abstain_level, _tumour_scores(geometries, artefact.version)),
        )

    broken = _faults(work.cases, read)
    there = [case for case in work.cases if case.case_id not in broken]
    staged: dict[str, Any] = {}
    try:
        staged.update(forward([case.case_id for case in there]))
    except (*OURS, GpuOutOfMemory):
        raise
    except Exception:  # noqa: BLE001 - whose slices they were that the network broke on, each case alone tells
        broken |= _faults(there, lambda case: staged.update(forward([case.case_id])))

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
        return _stage_detail(staging) | outcome.evidence.numbers()

    return work.each(CaseState.STAGED, keep)


def _tumour_scores(geometries: Mapping[str, PreparedGeometry], version: str) -> dict[str, float]:
    """The locator's largest score of each series, where this model located the key slice."""
    mine = {i: g.facts for i, g in geometries.items() if g.facts.get(TUMOUR_SCORE_BY) == version}
    return {case_id: float(facts[TUMOUR_SCORE]) for case_id, facts in mine.items()}


def _stage_detail(staging: CaseStaging) -> dict[str, Any]:
    """A staging in the case's event: the stage and its probability, or why there is none."""
    if staging.t_stage is None or staging.probabilities is None:
        return {"not_staged": str(staging.abstention.code) if staging.abstention else ""}
    return {"t_stage": str(staging.t_stage), "p": round(staging.probabilities[staging.t_stage], 3)}


def _prepared(site: Site, case: Case, contract: PreprocessingContract) -> tuple[np.ndarray, PreparedGeometry]:
    """Slices and geometry of a case as this contract wants them.

    Made here where they are gone or cut, or where the night was begun anew with another model, which wants its own.
    """

    def stored() -> tuple[np.ndarray, PreparedGeometry]:
        return prepared_slices(site.files, case, contract.size), prepared_geometry(site.files, case)

    try:
        if prepared_contract(site.files, case) == contract_json(contract):
            return stored()
    except InputLost as err:
        get_logger(Step.STAGE).warning("case.prepared_again", case_id=case.case_id, reason=str(err))
    prepare_case(site, case)
    return stored()


def _flags_of_selection(site: Site, case: Case) -> list[Flag]:
    """What a reader must know of how the series was chosen, and of what could not be had."""
    selection = site.cases.selection(case.case_id) or Selected()
    facts = site.cases.facts(case.case_id) or {}
    flags = [Flag(flag) for flag in selection.flags]
    if received(site, case).get(MISSING):
        flags.append(Flag.MISSING_ATTACHMENTS)
    if not selection.phase_confirmed and facts.get("phase") != "portal_venous":
        flags.append(Flag.PHASE_FROM_WORDS)
    if facts.get("out_of_order"):
        flags.append(Flag.SLICE_ORDER)
    if is_unclear(str(facts.get("phase", "")), facts.get("aorta_hu"), facts.get("liver_hu")):
        flags.append(Flag.PHASE_UNCLEAR)
    return flags


def nomogram(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Rad-score, points and P(T1..T4) from the key slice's features and the EHR's covariates.

    Where the model has no nomogram of its own the case has none either, and is flagged.
    """
    work = Shard(site, Step.NOMOGRAM, shard, night)
    _after_canary(site, night, work, here=False)
    return work.each(CaseState.SCORED, partial(_nomogram, site))


def _nomogram(site: Site, case: Case, record: StepRecord) -> Detail:
    from gtr_batch.nomogram import rad_score, score

    staging = _staging(site, case)
    if staging.abstention is not None:  # no rad-score of an image that the model knows nothing of
        return {"not_staged": str(staging.abstention.code)}
    manifest = site.manifest_by(staging.model_version)
    if manifest.nomogram is None:
        record.flag(*_flags_of_answer(staging, None), Flag.NO_NOMOGRAM)
        return {"nomogram": FLAG_MEANINGS[Flag.NO_NOMOGRAM].words}
    features = site.cases.features(case.case_id, staging.model_version)
    if features is None:
        raise InputLost("the features of the key slice are gone; staged again", CaseState.PREPROCESSED)
    facts = site.clinical.facts(case.patient_id, case.study_uid, _on(case))
    covariates = facts.covariates if facts else Covariates()
    answer = attrs.evolve(
        score(manifest.nomogram, rad_score(manifest.rad_score, features[0]), covariates),
        is_primary=site.settings.report.primary == AnswerSource.NOMOGRAM,
    )
    record.scores(answer, covariates)
    if answer.missing:
        record.flag(Flag.MISSING_COVARIATES)
    record.flag(*_flags_of_answer(staging, answer))
    return {"points": round(answer.points["total"], 1), "missing": list(answer.missing)}


def _flags_of_answer(staging: CaseStaging, score: NomogramScore | None) -> list[Flag]:
    """Where network and nomogram differ, and where what counts lies outside the set of likely stages."""
    found, flags = answers_of(staging, score), []
    if found is None:
        return []
    if found.supporting is not None and found.supporting.t_stage is not found.primary.t_stage:
        flags.append(Flag.NOMOGRAM_DISAGREES)
    if staging.stage_set is not None and found.primary.t_stage not in staging.stage_set:
        flags.append(Flag.STAGE_OUTSIDE_SET)
    return flags


def report(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Write SR, parametric map, secondary capture and key objects; a refusal SR where the site wants one."""
    work = Shard(site, Step.REPORT, shard, night)
    _after_canary(site, night, work, here=False)
    for case in _refused(site, shard):
        work.beside(case, partial(_refusal_report, site, case))

    def write(case: Case, record: StepRecord) -> Detail:
        with judging_retrieved(site, case):
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
    from gtr_batch.report import write_case

    staging = answer.staging
    manifest = site.manifest_by(staging.model_version)
    geometry, heat = prepared_geometry(prepared, case), heat_map(prepared, case)
    source = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    key = ROLES.index("key")
    hu = _slice_hu(source, geometry.sop_instance_uids[key])
    found = answers_of(staging, answer.score)
    overlay = overlay_rgb(hu, heat[key], staging, manifest, found.primary if found else None)
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
        drawings=_drawings(source, geometry, heat, manifest, answer) if site.settings.report.pdf else None,
        previous=_previous(site, case),
    )


def _slice_hu(folder: Path, sop_instance_uid: str) -> np.ndarray:
    """One retrieved slice in HU, in source pixels."""
    from gtr_batch.preprocess import read_series

    return read_series(folder, [sop_instance_uid]).hu()[0]


def _drawings(
    folder: Path, geometry: PreparedGeometry, heat: np.ndarray, manifest: ModelManifest, answer: Answer
) -> PageDrawings:
    """Slices and nomogram for the case's page."""
    from gtr_batch.explain import heat_over_slice
    from gtr_batch.nomogram import nomogram_of
    from gtr_batch.report import PageDrawings

    window = manifest.contract.window_hu
    slices = [
        heat_over_slice(_slice_hu(folder, uid), h, window)
        for uid, h in zip(geometry.sop_instance_uids, heat, strict=True)
    ]
    if manifest.nomogram is None or answer.score is None:
        return PageDrawings(np.stack(slices))
    return PageDrawings(np.stack(slices), nomogram_of(manifest.nomogram, answer.score))


def _previous(site: Site, case: Case) -> list[ReportObject]:
    """What was written for the case before; not what was written under another PatientID and never sent."""
    stored, folder = site.deliveries.stored(case.case_id), site.files.folder(case.night, case.case_id, Step.REPORT)
    kept = []
    for one in site.cases.objects(case.case_id):
        found = None if one.sop_instance_uid in stored else read_identity(folder / one.file)
        if found is None or not case.patient.differences(found.patient):
            kept.append(one)
    return kept


def _refused(site: Site, shard: Sequence[str]) -> list[Case]:
    if not site.settings.report.refusal_sr:
        return []
    refused = [case for case in site.cases.select(shard) if case.state is CaseState.REFUSED]
    return [case for case in refused if case.refusal and case.refusal.written_back]


def _refusal_report(site: Site, case: Case) -> None:
    from gtr_batch.report import write_refusal

    sources = sorted(site.files.folder(case.night, case.case_id, Step.RETRIEVE).glob("*.dcm"))
    if case.refusal is None or not sources:
        return
    before = site.cases.objects(case.case_id)
    write = partial(
        write_refusal,
        site.files.folder(case.night, case.case_id, Step.REPORT),
        case=case,
        refusal=case.refusal,
        manifest=site.manifest_by(site.model_of(case.night)),
        config=site.settings.report,
        model_version=site.model_of(case.night),
        previous=before,  # a case that was staged, or refused for another reason, before it was reopened
    )
    # Any instance tells whose study it is; the first that can be read, since a refused series is often broken.
    objects: list[ReportObject] = next(filter(None, (write(source_file=source) for source in sources)), [])
    if any(one not in before for one in objects):
        with site.cases.step(case.case_id, Step.REPORT) as record:
            record.writes(objects)


def deliver(site: Site, night: date, shard: Sequence[str]) -> list[str]:
    """Store what the PACS has not got yet, then have it committed or read it back.

    What the audit holds back stays `reported`; the night's summary says so, and a later run of the night sends it.
    """
    work = Shard(site, Step.DELIVER, shard, night)
    work.cases = _not_held_back(site, work.cases)
    return deliver_cases(site, work, [case for case in _refused(site, shard) if site.cases.objects(case.case_id)])


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
    except (FileNotFoundError, ValueError):
        return None
    return str(found["why"]) if found["why"] else None


def deliver_cases(site: Site, work: Shard, refused: Sequence[Case] = ()) -> list[str]:
    """Store the newest objects of a shard's cases over one association, then ask once for the commitment of all.

    Each case succeeds or fails alone, and is `stored` as soon as the PACS has taken its objects: the commitment may
    take hours. Refusals are sent beside them.

    Raises
    ------
    GovernanceRefused
        Of a case: the model that staged it was withdrawn meanwhile.
    """
    from gtr_batch.deliver import commit_objects, commit_together, store_objects

    parcels = {case.case_id: _parcel(site, case) for case in (*work.cases, *refused)}
    taken: dict[str, tuple[Parcel, int, Case]] = {}  # with how many objects were sent, and the case as it was then

    def store(case: Case) -> None:
        site.check_running()
        site.folder_of(_staging(site, case).model_version)  # a model withdrawn meanwhile sends nothing
        parcel = parcels[case.case_id]
        if not _as_written(parcel):
            raise InputLost("a written object is gone or cut; written again", CaseState.SCORED)
        sent = store_objects(site.archive, site.deliveries, parcel)
        try:
            with site.cases.step(case.case_id, Step.DELIVER) as stored:
                stored.seen = case
                stored.advance(CaseState.STORED)
        except CaseTakenOver:
            if not _has_sent_the_same(site, parcel):
                raise
        taken[case.case_id] = parcel, sent, site.cases.get(case.case_id)

    def store_refusal(case: Case) -> None:
        parcel = parcels[case.case_id]
        if not _as_written(parcel):
            _refusal_report(site, case)
            parcel = _parcel(site, case)
        taken[case.case_id] = parcel, store_objects(site.archive, site.deliveries, parcel), case

    def commit(case: Case, record: StepRecord | None = None) -> Detail:
        parcel, sent, seen = taken[case.case_id]
        if record is not None:
            record.seen = seen
        asked = answers.get(case.case_id)
        outcome = commit_objects(site.archive, site.deliveries, parcel, site.config.pacs, asked)
        if record is not None:
            record.flag(*outcome.flags)
        return {"sent": sent + outcome.sent}

    def finish(case: Case, record: StepRecord) -> Detail:
        if case.case_id in faults:
            raise faults[case.case_id]
        return commit(case, record)

    with site.archive.connected([file for parcel in parcels.values() for file in parcel.files(parcel.objects)]):
        for case in refused:
            work.beside(case, partial(store_refusal, case))
        faults = _faults(work.cases, store)
        answers = commit_together(site.archive, [parcel for parcel, _, _ in taken.values()], site.config.pacs)
        for case in refused:
            if case.case_id in taken:
                work.beside(case, partial(commit, case))
        return work.each(CaseState.COMMITTED, finish)


def _parcel(site: Site, case: Case) -> Parcel:
    from gtr_batch.deliver import Parcel

    return Parcel(case, site.cases.objects(case.case_id), site.files.folder(case.night, case.case_id, Step.REPORT))


def _has_sent_the_same(site: Site, parcel: Parcel) -> bool:
    """Whether an earlier try, which outlives its worker, has sent these very objects meanwhile and stands before the
    commitment: it may never come to ask for it, so we do too.
    """
    now = site.cases.get(parcel.case.case_id)
    return now.state is CaseState.STORED and _parcel(site, now).objects == parcel.objects


def _as_written(parcel: Parcel) -> bool:
    """Whether every object's file is there as it was written: nothing cut is ever sent."""
    from gtr_batch.report import is_as_written

    return all(is_as_written(parcel.folder, one) for one in parcel.objects)


def contract_json(contract: Any) -> Any:
    """A preprocessing contract as it stands in a case's files: two that are equal here want the same slices."""
    return json.loads(json.dumps(attrs.asdict(contract)))


def _staging(site: Site, case: Case) -> CaseStaging:
    staging = site.cases.staging(case.case_id)
    assert staging is not None  # a case is only scored, reported and sent after it was staged
    return staging


def _on(case: Case) -> date:
    return case.study_at.date() if case.study_at else case.night
