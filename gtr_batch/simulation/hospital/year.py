"""A year of operated patients: their CTs staged in their nights, their pathology in the EHR.

What the nights would have left is written without running 365 of them: the same files and the same rows, through the
same ports; the stagings are those of the demo's model on each patient's slices. The oldest patients' pixels are past
retention: they lie in the PACS only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from attrs import frozen
from threadpoolctl import threadpool_limits

from gtr_batch.domain.case import PATH, Case, CaseState, Step
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.contrast import phase_from_pixels
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.model import ModelManifest, PreprocessingContract
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.domain.reconstruction import KernelKind
from gtr_batch.domain.staging import STAGES, KeySliceSource
from gtr_batch.domain.transitions import STEP_OF
from gtr_batch.errors import ModelArtefactError
from gtr_batch.night.site import Site
from gtr_batch.nomogram import rad_score, score
from gtr_batch.preprocess import Volume, prepare_volume
from gtr_batch.simulation.hospital.cohort import sketched_volume
from gtr_batch.simulation.hospital.ehr import Rows, write_extracts
from gtr_batch.simulation.hospital.hospital import Hospital
from gtr_batch.simulation.hospital.mix import STAGE_MIX, Mix, in_turn
from gtr_batch.simulation.hospital.patient import History, Patient, ehr_rows
from gtr_batch.simulation.phantom.dicom import series_uid, sop_uid, write_phase
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.simulation.phantom.scanner import Phase


@frozen
class Year:
    """How many patients, and what becomes of them; shares of the patients."""

    seed: int = 7
    patients: int = 280
    ends_on: date = date(2026, 2, 27)
    in_pacs: int = 24  # the oldest: their pixels are past retention
    ypt: float = 0.05
    unreported: float = 0.04
    automatic: float = 0.05
    mix: Mix = STAGE_MIX


@frozen
class Operated:
    """One of them."""

    patient: Patient
    fate: str  # "pT" | "ypT" | "unreported"

    @property
    def night(self) -> date:
        """The night of the CT."""
        return self.patient.identity.study_at.date()


@frozen(eq=False)
class Prepared:
    """What the night would have made of a patient's series.

    `slices` (3, size, size) below, key, above; `lesion` (3, size, size), bool; `key` the key slice's position in the
    series; `measured` what validation would have measured of the pixels.
    """

    slices: np.ndarray
    lesion: np.ndarray
    geometry: PreparedGeometry
    key: int
    measured: Mapping[str, Any]


def operated(year: Year) -> list[Operated]:
    """The year's patients, oldest first: stages take turns in the proportions of the mix, all else is drawn."""
    hospital, stages = Hospital(year.seed), in_turn(year.mix, year.patients)
    rng = np.random.default_rng([year.seed, 365])
    found = []
    for k in range(year.patients):
        on = year.ends_on - timedelta(days=int(365 * (1 - k / year.patients)) + 30)
        source = KeySliceSource.EHR if k % 3 == 0 else KeySliceSource.KEY_OBJECT
        if rng.uniform() < year.automatic:
            source = KeySliceSource.AUTOMATIC
        stage = STAGES[stages[k]]
        patient = hospital.patient(k, on, k % 5, true_stage=stage, history=History.ELIGIBLE, key_slice=source)
        draw = rng.uniform()
        fate = "ypT" if draw < year.ypt else "unreported" if draw < year.ypt + year.unreported else "pT"
        found.append(Operated(patient, fate))
    return found


def surgery_rows(one: Operated) -> Rows:
    """The EHR of a patient who was operated after the CT."""
    rows = ehr_rows(one.patient)
    rng = np.random.default_rng([one.patient.seed, one.patient.index, 4713])
    on = one.night + timedelta(days=int(rng.integers(8, 28)))
    row = {"patient_id": one.patient.patient_id, "operated_on": str(on)}
    stage = str(one.patient.true_stage)
    if one.fate == "ypT":
        start, end = one.night + timedelta(days=2), one.night + timedelta(days=6)
        rows["treatment"].append(
            {
                "patient_id": one.patient.patient_id,
                "kind": "chemotherapy",
                "started_on": str(start),
                "ended_on": str(end),
            }
        )
    if one.fate != "unreported":
        sub = {"T1": "T1b", "T4": "T4a"}.get(stage, stage)
        row |= {"reported_on": str(on + timedelta(days=9)), "classification": one.fate, "t_category": sub}
    rows["surgery"].append(row)
    return rows


def write_year(
    site: Site,
    year: Year,
    dicom: Path,
    ehr: Path,
    *,
    progress: Callable[[int, int], None],
    processes: int = 2,
) -> list[Operated]:
    """Simulate the year.

    Parameters
    ----------
    site : Site
        Its book, files and champion: what the nights would have written goes there.
    dicom : Path
        Gets the series of the patients whose pixels are past retention.
    ehr : Path
        Gets the extracts; load them with `gtr_batch.wiring.refresh_ehr`.

    Returns
    -------
    list of Operated
    """
    patients = operated(year)
    write_extracts(ehr, [surgery_rows(p) for p in patients])
    contract = site.artefact.manifest.contract
    errors = [locator_errors_mm(site.artefact.manifest)] * len(patients)
    folders = [dicom if k < year.in_pacs else None for k in range(len(patients))]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        made = pool.map(prepare_operated, patients, [contract] * len(patients), folders, errors)
        batch: list[tuple[Operated, Prepared, bool]] = []
        for k, (one, prepared) in enumerate(zip(patients, made, strict=True), 1):
            batch.append((one, prepared, k > year.in_pacs))
            if len(batch) == 16 or k == len(patients):
                into_the_book(site, batch)
                batch = []
            progress(k, len(patients))
    return patients


def locator_errors_mm(manifest: ModelManifest) -> tuple[float, ...]:
    """How far a model's locator lay from the key slices of patients that it had not seen, signed; empty: not known."""
    measured = manifest.metrics.get("locator_unseen") or manifest.metrics.get("locator") or {}
    return tuple(measured.get("errors_mm") or ())


def key_as_found(one: Operated, phantom: Phantom, errors_mm: Sequence[float]) -> int:
    """The slice that a night would have taken: the marked one, or, of automatic patients, one that the locator finds.

    To locate each would cost a pass over all slices; an error is drawn from those that were measured.
    """
    key = phantom.key_slice()
    if one.patient.key_slice is not KeySliceSource.AUTOMATIC or not errors_mm:
        return key
    rng = np.random.default_rng([one.patient.seed, one.patient.index, 4715])
    heights = phantom.positions_mm()
    return int(np.abs(heights - heights[key] - errors_mm[int(rng.integers(len(errors_mm)))]).argmin())


def prepare_operated(
    one: Operated, contract: PreprocessingContract, dicom: Path | None, errors_mm: Sequence[float] = ()
) -> Prepared:
    """A patient's slices by the contract, in a process of its own.

    With `dicom`, the series is written there, too; `errors_mm` are the locator's, as `locator_errors_mm` has them.
    """
    with threadpool_limits(1):
        import torch

        torch.set_num_threads(1)
        phantom, identity = one.patient.phantom(), one.patient.identity
        key, heights = key_as_found(one, phantom, errors_mm), phantom.positions_mm()
        if dicom is not None:
            write_phase(dicom / identity.study_uid, phantom, identity, Phase.PORTAL_VENOUS)
        hu = sketched_volume(phantom)
        chosen = [max(key - 1, 0), key, min(key + 1, len(heights) - 1)]
        for k in set(chosen):
            hu[k] = phantom.slice_hu(float(heights[k]))
        volume = Volume.from_hu(hu, (phantom.scanner.thickness_mm, phantom.pixel_mm, phantom.pixel_mm))
        slices, geometry = prepare_volume(volume, key, contract, one.patient.key_slice)
        uids: Any = tuple(str(sop_uid(identity, Phase.PORTAL_VENOUS, k)) for k in chosen)
        geometry = attrs.evolve(geometry, sop_instance_uids=uids, facts={})
        grid = np.arange(geometry.size)
        rows = np.round(geometry.row_origin + geometry.row_step * grid).astype(int)
        columns = np.round(geometry.column_origin + geometry.column_step * grid).astype(int)
        inside = np.ix_(np.clip(rows, 0, phantom.matrix - 1), np.clip(columns, 0, phantom.matrix - 1))
        lesion = np.stack([phantom.truth(float(heights[k])).tumour[inside] for k in chosen])
        return Prepared(slices, lesion, geometry, key, quality_of(hu, phantom))


def quality_of(hu: np.ndarray, phantom: Phantom) -> dict[str, Any]:
    """Image quality as validation measures it (`gtr_batch.validate.pixels`), of a dozen slices."""
    chosen = hu[np.unique(np.linspace(0, len(hu) - 1, 12).round().astype(int))]
    small = chosen.reshape(len(chosen), hu.shape[1] // 2, 2, hu.shape[2] // 2, 2).mean(axis=(2, 4))
    air, edges = np.histogram(chosen, bins=np.arange(-1100, -495, 10))
    evidence = phase_from_pixels(small, (2 * phantom.pixel_mm, 2 * phantom.pixel_mm))
    thickness = float(phantom.scanner.thickness_mm)
    return {
        "slices": len(hu),
        "spacing_mm": thickness,
        "coverage_mm": thickness * len(hu),
        "air_hu": float(edges[int(air.argmax())] + 5),
        "tissue_share": round(float(((chosen > -150) & (chosen < 200)).mean()), 4),
        **evidence.numbers(),
    }


def into_the_book(site: Site, batch: Sequence[tuple[Operated, Prepared, bool]]) -> None:
    """What the nights would have left of these patients."""
    from gtr_batch.stage import stage_shard

    manifest = site.artefact.manifest
    nomogram = manifest.nomogram
    if nomogram is None:
        raise ModelArtefactError(f"model {manifest.name} has no nomogram: the year's cases are scored")
    cases = {id(one): _case(one) for one, _, _ in batch}
    inputs = {cases[id(one)].case_id: p.slices for one, p, _ in batch}
    geometries = {cases[id(one)].case_id: p.geometry for one, p, _ in batch}
    staged = stage_shard(site.artefact, inputs, geometries)
    for one, prepared, kept in batch:
        case = cases[id(one)]
        site.nights.open(case.night, site.model_version)
        site.cases.record([case])
        outcome: Any = staged[case.case_id]
        key = outcome.features[ROLES.index("key")]
        clinical = one.patient.clinical
        covariates = Covariates(clinical.size_cm, clinical.differentiation, clinical.lauren)
        answer = score(nomogram, rad_score(manifest.rad_score, key), covariates)
        for state in PATH[1:]:
            with site.cases.step(case.case_id, STEP_OF[state]) as record:
                record.advance(state)
                if state is CaseState.VALIDATED:
                    record.measured({**headers_of(one), **prepared.measured})
                elif state is CaseState.STAGED:
                    record.stages(outcome.staging, key, outcome.logits)
                elif state is CaseState.SCORED:
                    record.scores(answer, covariates)
        at = (case.night, case.case_id, Step.PREPROCESS)
        if kept:
            arrays = {"slices": prepared.slices.astype(np.float16), "lesion": prepared.lesion}
            site.files.write_arrays(*at, "prepared", arrays)
        site.files.write_json(*at, "geometry", prepared.geometry.to_json())
        site.files.write_json(*at, "contract", attrs.asdict(site.artefact.manifest.contract))


def _case(one: Operated) -> Case:
    identity = one.patient.identity
    series = str(series_uid(identity, Phase.PORTAL_VENOUS))
    return Case(
        case_id=case_id(identity.study_uid, series),
        night=one.night,
        study_uid=identity.study_uid,
        series_uid=series,
        patient_id=one.patient.patient_id,
        accession_number=identity.accession_number,
        study_at=identity.study_at,
    )


def headers_of(one: Operated) -> dict[str, Any]:
    """What the headers of a patient's series say, as validation reads them."""
    scanner = one.patient.scanner
    assert scanner is not None  # nobody of the year was adopted
    return {
        "manufacturer": scanner.manufacturer,
        "model": scanner.model,
        "kernel": scanner.kernel,
        "kernel_kind": str(KernelKind.SOFT),
        "kvp": float(scanner.kvp),
        "thickness_mm": float(scanner.thickness_mm),
        "pixel_spacing_mm": round(one.patient.phantom().pixel_mm, 4),
        "contrast_agent": True,
        "phase": "portal_venous",
    }
