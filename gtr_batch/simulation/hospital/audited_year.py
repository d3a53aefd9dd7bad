"""A year of nights for the audit: patients month by month, a scanner that is replaced, a pathology that shifts.

Everything is written through the ports as the nights would have left it (`simulation.hospital.year`): the stagings are
those of the demo's model on simulated slices. Not everybody is operated, reports come weeks late, and some studies are
refused, so that the audit meets labels as they really come.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path

import attrs
import numpy as np
from attrs import frozen

from gtr_batch.domain.case import Case, CaseState
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.staging import STAGES, KeySliceSource
from gtr_batch.night.close import close_night
from gtr_batch.night.found import note_intake, noted_at_first
from gtr_batch.night.site import Site
from gtr_batch.simulation.hospital.ehr import Rows, write_extracts
from gtr_batch.simulation.hospital.hospital import Hospital
from gtr_batch.simulation.hospital.mix import STAGE_MIX, Mix
from gtr_batch.simulation.hospital.patient import History, Patient, ehr_rows
from gtr_batch.simulation.hospital.year import (
    Operated,
    Prepared,
    into_the_book,
    locator_errors_mm,
    prepare_operated,
    surgery_rows,
)
from gtr_batch.simulation.phantom.scanner import SCANNERS, Phase, Scanner

NEW_SCANNER: Scanner = attrs.evolve(
    SCANNERS[2],
    name="revolution",
    manufacturer="GE MEDICAL SYSTEMS",
    model="Revolution CT",
    software="revo_ct_22bc.50",
    station="CTGE04",
    kernel="STANDARD",
    thickness_mm=2.5,
    slices=62,
    noise_hu=12.0,
    noise_peak=0.24,
    descriptions={**SCANNERS[2].descriptions, Phase.PORTAL_VENOUS: "Abd venous 70s 2.5 STND"},
)
RESECTED = (0.8, 0.92, 0.88, 0.72)  # T1 (some are removed by endoscope) to T4
_REFUSED = (
    (History.PRIOR_CHEMOTHERAPY, RefusalCode.PRIOR_CHEMOTHERAPY, "Chemotherapy before the study."),
    (History.DISTANT_METASTASIS, RefusalCode.DISTANT_METASTASIS, "Distant metastasis before the study."),
    (History.NO_CANCER, RefusalCode.NO_GASTRIC_ADENOCARCINOMA, "No biopsy has proven gastric adenocarcinoma."),
)


@frozen
class AuditedYear:
    """The year; shares are of patients.

    From `scanner_on` all studies come from `NEW_SCANNER`. From `shift_on` (night of the CT) pathology calls a share
    `upstaged` of T1 to T3 one stage higher than before, as after a change of its protocol: the model is as it was, and
    is wrong. `evenly`: patients are spread evenly over all days; else they come on working days, as it happens.
    """

    seed: int = 23
    first: date = date(2025, 3, 1)
    last: date = date(2026, 2, 28)
    patients: int = 480
    scanner_on: date = date(2025, 9, 1)
    shift_on: date = date(2025, 11, 1)
    upstaged: float = 0.5
    refused: float = 0.1
    ypt: float = 0.05
    automatic: float = 0.1
    mix: Mix = STAGE_MIX
    evenly: bool = True

    @property
    def days(self) -> list[date]:
        """Every day of it."""
        return [self.first + timedelta(days=k) for k in range((self.last - self.first).days + 1)]

    @property
    def scanned_on(self) -> list[date]:
        """The day of each patient's CT, in order."""
        days = self.days
        if self.evenly:
            return [days[int(len(days) * k / self.patients)] for k in range(self.patients)]
        working = [day for day in days if day.isoweekday() <= 5]
        places = np.random.default_rng([self.seed, 367]).integers(len(working), size=self.patients)
        return [working[k] for k in sorted(places.tolist())]


def patients_of(year: AuditedYear) -> list[Operated | Patient]:
    """Everybody of the year in the order of nights: staged patients with what becomes of them, and refused ones."""
    hospital, rng = Hospital(year.seed), np.random.default_rng([year.seed, 366])
    found: list[Operated | Patient] = []
    for k, on in enumerate(year.scanned_on):
        stage, scanner = STAGES[int(rng.choice(4, p=year.mix))], SCANNERS[int(rng.integers(3))]
        source = (KeySliceSource.EHR, KeySliceSource.KEY_OBJECT)[int(rng.integers(2))]
        source = KeySliceSource.AUTOMATIC if rng.uniform() < year.automatic else source
        draws, why = rng.uniform(size=3), int(rng.integers(len(_REFUSED)))
        given = {"true_stage": stage, "scanner": NEW_SCANNER if on >= year.scanner_on else scanner}
        history = _REFUSED[why][0] if draws[0] < year.refused else History.ELIGIBLE
        patient = hospital.patient(k, on, k % 5, key_slice=source, history=history, **given)
        if history is not History.ELIGIBLE:
            found.append(patient)
        elif draws[1] >= RESECTED[stage.position]:
            found.append(Operated(patient, "not operated"))
        else:
            found.append(Operated(patient, "ypT" if draws[2] < year.ypt else "pT"))
    return found


def rows_of(one: Operated | Patient, year: AuditedYear) -> Rows:
    """What the EHR says of them, pathology as the year's protocol calls it."""
    if isinstance(one, Patient):
        return ehr_rows(one)
    if one.fate == "not operated":
        return ehr_rows(one.patient)
    rows = surgery_rows(one)
    stage = one.patient.true_stage
    rng = np.random.default_rng([one.patient.seed, one.patient.index, 4714])
    if stage is not None and one.night >= year.shift_on and stage is not STAGES[-1] and rng.uniform() < year.upstaged:
        called = str(STAGES[stage.position + 1])
        rows["surgery"][0]["t_category"] = {"T4": "T4a"}.get(called, called)
    return rows


def write_audited_year(
    site: Site, year: AuditedYear, ehr: Path, *, progress: Callable[[int, int], None], processes: int = 2
) -> list[Operated | Patient]:
    """Simulate the year: book and files of `site`, extracts in `ehr` (load them with `gtr_batch.wiring.refresh_ehr`).

    Returns
    -------
    list
        As `patients_of`.
    """
    everybody = patients_of(year)
    write_extracts(ehr, [rows_of(one, year) for one in everybody])
    staged = [one for one in everybody if isinstance(one, Operated)]
    contract = site.artefact.manifest.contract
    errors = [locator_errors_mm(site.artefact.manifest)] * len(staged)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        unwritten = [None] * len(staged)
        made = pool.map(prepare_operated, staged, [contract] * len(staged), unwritten, errors, chunksize=4)
        batch: list[tuple[Operated, Prepared, bool]] = []
        for k, (one, prepared) in enumerate(zip(staged, made, strict=True), 1):
            batch.append((one, prepared, False))
            if len(batch) == 16 or k == len(staged):
                into_the_book(site, batch)
                batch = []
            progress(k, len(staged))
    for patient in (p for p in everybody if isinstance(p, Patient)):
        _refuse(site, patient)
    return everybody


def close_nights(site: Site, year: AuditedYear) -> None:
    """Close every night of the year, those without a patient too, as the nights themselves do it.

    Raises
    ------
    NightFailed
        A case of the year is not finished.
    """
    for night in year.days:
        if not site.nights.model_of(night):
            site.nights.open(night, site.model_version)
        note_intake(site, night, noted_at_first(len(site.cases.of_night(night))))
        close_night(site, night)


def _refuse(site: Site, patient: Patient) -> None:
    identity = patient.identity
    code, sentence = next((code, sentence) for history, code, sentence in _REFUSED if history is patient.history)
    case = Case(
        case_id=case_id(identity.study_uid),
        night=identity.study_at.date(),
        study_uid=identity.study_uid,
        patient_id=patient.patient_id,
        accession_number=identity.accession_number,
        study_at=identity.study_at,
    )
    site.cases.record([attrs.evolve(case, state=CaseState.REFUSED, refusal=Refusal(code, sentence))])
