"""A hospital's nights: who is scanned, on what, and the files that this leaves in the PACS and the EHR."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime, time, timedelta
from multiprocessing import get_context
from pathlib import Path

import attrs
import numpy as np
import pydicom
from attrs import frozen
from threadpoolctl import threadpool_limits

from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.domain.staging import STAGES, KeySliceSource, TStage
from gtr_batch.simulation.hospital.adopt import adopt_series
from gtr_batch.simulation.hospital.ehr import draw_clinical, write_extracts
from gtr_batch.simulation.hospital.mix import STAGE_MIX, Mix
from gtr_batch.simulation.hospital.patient import Fault, History, Patient, ehr_rows, key_sop_uid
from gtr_batch.simulation.hospital.spoil import drop_slice, truncate_pixels
from gtr_batch.simulation.phantom.dicom import (
    THICK_MM,
    THIN_MM,
    StudyIdentity,
    write_key_objects,
    write_localizer,
    write_phase,
)
from gtr_batch.simulation.phantom.scanner import SCANNERS, Phase

__all__ = ["Hospital", "Patient", "adopt_series", "demo_night", "write_night", "write_study"]


@frozen
class Hospital:
    """Patients without end, all of them drawn from one seed."""

    seed: int = 0
    mix: Mix = STAGE_MIX

    def patient(self, index: int, on: date, place: int = 0, **given: object) -> Patient:
        """Patient `index`, scanned on `on` as the day's `place`-th; `given` overrides what is drawn."""
        rng = np.random.default_rng([self.seed, index, 4711])
        stage = given.get("true_stage") or STAGES[int(rng.choice(4, p=self.mix))]
        assert isinstance(stage, TStage)
        clinical = draw_clinical(rng, stage)
        histories = [History.ELIGIBLE, History.PRIOR_CHEMOTHERAPY, History.DISTANT_METASTASIS, History.NO_CANCER]
        history = histories[int(rng.choice(4, p=[0.84, 0.06, 0.06, 0.04]))]  # 1792 of 2134 were eligible (Fig. 1)
        sources = [KeySliceSource.KEY_OBJECT, KeySliceSource.EHR, KeySliceSource.AUTOMATIC]
        key_slice = sources[int(rng.choice(3, p=[0.6, 0.25, 0.15]))]
        scanner = SCANNERS[int(rng.integers(len(SCANNERS)))]
        born = on - timedelta(days=int(clinical.age_years * 365.25) + int(rng.integers(5, 360)))
        identity = StudyIdentity(
            patient_id=f"SIM-{index:06d}",
            name=f"Phantom^{index:06d}",
            sex=clinical.sex,
            birth_date=born,
            accession_number=f"SIM{on:%y%m%d}{index % 1_000_000:06d}",
            study_uid=derived_uid("simulation-study", str(self.seed), str(index), on.isoformat()),
            study_at=datetime.combine(on, time(8, 10)) + timedelta(minutes=11 * place),
        )
        drawn = Patient(identity, clinical, scanner, stage, self.seed, index, key_slice, history)
        return attrs.evolve(drawn, **given)  # type: ignore[arg-type]

    def night(self, on: date, patients: int) -> list[Patient]:
        """The patients scanned on a day; other days have other patients."""
        first = (on.toordinal() % 1000) * 1000
        return [self.patient(first + k, on, k) for k in range(patients)]


def write_study(patient: Patient, folder: Path) -> list[Path]:
    """Write a patient's study: localizer, phases, and a key object selection where there is one.

    Parameters
    ----------
    folder : Path
        Gets a folder a study and in it one a series.

    Returns
    -------
    list of Path
    """
    phantom, identity = patient.phantom(), patient.identity
    study = folder / identity.study_uid
    paths = [write_localizer(study / "1", phantom, identity)]
    paths += write_phase(study / "2", phantom, identity, Phase.UNENHANCED, thickness_mm=THIN_MM)
    if patient.fault is Fault.NO_PORTAL_VENOUS:
        return paths
    paths += write_phase(study / "3", phantom, identity, Phase.ARTERIAL, thickness_mm=THIN_MM)
    thickness = THICK_MM if patient.fault is Fault.THICK else None
    middle = len(phantom.positions_mm(thickness)) // 2
    change = {Fault.MISSING_SLICE: drop_slice(middle), Fault.TRUNCATED: truncate_pixels(middle)}.get(patient.fault)
    portal = write_phase(study / "4", phantom, identity, Phase.PORTAL_VENOUS, thickness_mm=thickness, change=change)
    if patient.key_slice is KeySliceSource.KEY_OBJECT and phantom.tumour is not None and thickness is None:
        marked = pydicom.dcmread(study / "4" / f"{key_sop_uid(patient, phantom)}.dcm", stop_before_pixels=True)
        paths.append(write_key_objects(study / "100", marked, identity))
    return paths + portal


def _write_alone(patient: Patient, folder: Path) -> list[Path]:
    # The arrays are small: threads of the linear algebra cost five times the work that they save.
    with threadpool_limits(1):
        return write_study(patient, folder)


def write_night(patients: list[Patient], dicom_folder: Path, ehr_folder: Path, processes: int = 2) -> list[Path]:
    """Write all studies and the EHR's extracts; several studies at once."""
    dicom_folder.mkdir(parents=True, exist_ok=True)
    write_extracts(ehr_folder, [ehr_rows(p) for p in patients])
    if processes <= 1:
        return [path for p in patients for path in write_study(p, dicom_folder)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        written = pool.map(_write_alone, patients, [dicom_folder] * len(patients))
        return [path for paths in written for path in paths]


def demo_night(
    dicom_folder: Path, ehr_folder: Path, night: date, seed: int = 2026, processes: int = 2
) -> list[Patient]:
    """The demo's night: every stage, every scanner, every source of the key slice, and three that must be refused.

    Parameters
    ----------
    dicom_folder : Path
        Gets a folder a study and in it one a series.
    ehr_folder : Path
        Gets the CSV extracts.
    night : date
        Study date of all of them.

    Returns
    -------
    list of Patient
        With `expected_state`, `expected_refusal` and `true_stage`.
    """
    hospital = Hospital(seed)
    toshiba, philips, ingenuity = SCANNERS
    kos, ehr, automatic = KeySliceSource.KEY_OBJECT, KeySliceSource.EHR, KeySliceSource.AUTOMATIC
    plan: list[dict[str, object]] = [
        {"true_stage": TStage.T1, "scanner": toshiba, "key_slice": kos},
        {"true_stage": TStage.T2, "scanner": philips, "key_slice": kos},
        {"true_stage": TStage.T3, "scanner": ingenuity, "key_slice": ehr},
        {"true_stage": TStage.T4, "scanner": toshiba, "key_slice": automatic},
        {"true_stage": TStage.T3, "scanner": philips, "key_slice": kos},
        {"true_stage": TStage.T2, "scanner": toshiba, "key_slice": kos, "history": History.PRIOR_CHEMOTHERAPY},
        {"true_stage": TStage.T4, "scanner": toshiba, "key_slice": automatic, "fault": Fault.NO_PORTAL_VENOUS},
        {"true_stage": TStage.T1, "scanner": philips, "key_slice": ehr, "fault": Fault.MISSING_SLICE},
    ]
    first = (night.toordinal() % 1000) * 1000
    patients = [
        hospital.patient(first + k, night, k, **({"history": History.ELIGIBLE} | given)) for k, given in enumerate(plan)
    ]
    write_night(patients, dicom_folder, ehr_folder, processes)
    return patients
