"""A hospital's nights: who was scanned, on what, what the EHR says, and how each case ought to end."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from multiprocessing import get_context
from pathlib import Path

import attrs
import numpy as np
import pydicom
from attrs import frozen

from gtr_batch.domain.case import CaseState
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import STAGES, KeySliceSource, TStage
from gtr_batch.simulation.dicom import (
    THICK_MM,
    THIN_MM,
    StudyIdentity,
    sop_uid,
    write_key_objects,
    write_localizer,
    write_phase,
)
from gtr_batch.simulation.ehr import Clinical, Rows, clinical_rows, draw_clinical, misread, write_extracts
from gtr_batch.simulation.phantom import Phantom
from gtr_batch.simulation.scanner import SCANNERS, Phase, Scanner
from gtr_batch.simulation.spoil import drop_slice, truncate_pixels


class History(StrEnum):
    """What the EHR says beside the tumour (paper, Fig. 1: reasons of exclusion)."""

    ELIGIBLE = "eligible"
    PRIOR_CHEMOTHERAPY = "prior chemotherapy"
    DISTANT_METASTASIS = "distant metastasis"
    NO_CANCER = "no gastric cancer"


class Fault(StrEnum):
    """What is wrong with the study's images."""

    NONE = "none"
    NO_PORTAL_VENOUS = "no portal venous series"
    MISSING_SLICE = "a slice is missing"
    TRUNCATED = "an instance's pixel data is cut short"
    THICK = "slices of 7.5 mm"


_REFUSED_FOR: dict[History | Fault, RefusalCode] = {
    History.PRIOR_CHEMOTHERAPY: RefusalCode.PRIOR_CHEMOTHERAPY,
    History.DISTANT_METASTASIS: RefusalCode.DISTANT_METASTASIS,
    History.NO_CANCER: RefusalCode.NO_GASTRIC_ADENOCARCINOMA,
    Fault.NO_PORTAL_VENOUS: RefusalCode.NO_PORTAL_VENOUS_SERIES,
    Fault.MISSING_SLICE: RefusalCode.SLICE_GAP,
    Fault.TRUNCATED: RefusalCode.UNREADABLE_PIXELS,
    Fault.THICK: RefusalCode.SLICE_THICKNESS,
}


@frozen
class Patient:
    """A simulated patient with one study, and how its case ought to end.

    `true_stage` is None where there is no tumour, or nobody knows (an adopted series).
    """

    identity: StudyIdentity
    clinical: Clinical
    scanner: Scanner | None
    true_stage: TStage | None
    seed: int = 0
    index: int = 0
    key_slice: KeySliceSource = KeySliceSource.KEY_OBJECT
    history: History = History.ELIGIBLE
    fault: Fault = Fault.NONE

    @property
    def study_uid(self) -> str:
        """Study Instance UID."""
        return self.identity.study_uid

    @property
    def patient_id(self) -> str:
        """Patient ID."""
        return self.identity.patient_id

    @property
    def expected_refusal(self) -> RefusalCode | None:
        """The code that the case ought to be refused with; the EHR is asked before the images are."""
        return _REFUSED_FOR.get(self.history) or _REFUSED_FOR.get(self.fault)

    @property
    def expected_state(self) -> CaseState:
        """The state that the case ought to end in."""
        return CaseState.REFUSED if self.expected_refusal else CaseState.COMMITTED

    def phantom(self) -> Phantom:
        """The patient as a scanner sees it."""
        if self.scanner is None:
            raise ValueError("an adopted series has no phantom")
        stage = None if self.history is History.NO_CANCER else self.true_stage
        return Phantom(self.seed, self.index, stage, self.clinical.third, self.clinical.size_cm, self.scanner)


@frozen
class Hospital:
    """Patients without end, all of them drawn from one seed."""

    seed: int = 0

    def patient(self, index: int, on: date, place: int = 0, **given: object) -> Patient:
        """Patient `index`, scanned on `on` as the day's `place`-th; `given` overrides what is drawn."""
        rng = np.random.default_rng([self.seed, index, 4711])
        stage = given.get("true_stage") or STAGES[int(rng.integers(4))]
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
    portal = write_phase(
        study / "4", phantom, identity, Phase.PORTAL_VENOUS, thickness_mm=thickness, change=change
    )
    if patient.key_slice is KeySliceSource.KEY_OBJECT and phantom.tumour is not None and thickness is None:
        marked = pydicom.dcmread(study / "4" / f"{_key_sop(patient, phantom)}.dcm", stop_before_pixels=True)
        paths.append(write_key_objects(study / "100", marked, identity))
    return paths + portal


def ehr_rows(patient: Patient) -> Rows:
    """What the EHR says of a patient on the evening of the study."""
    identity, on = patient.identity, patient.identity.study_at.date()
    cancer = patient.history is not History.NO_CANCER
    rows = clinical_rows(patient.patient_id, identity.birth_date, patient.clinical, on, cancer=cancer)
    who = {"patient_id": patient.patient_id}
    if patient.history is History.PRIOR_CHEMOTHERAPY:
        began, ended = on - timedelta(days=75), on - timedelta(days=20)
        rows["treatment"].append(
            who | {"kind": "chemotherapy", "started_on": began.isoformat(), "ended_on": ended.isoformat()}
        )
    if patient.history is History.DISTANT_METASTASIS:
        rows["metastasis"][0]["distant_metastasis"] = "yes"
    if patient.true_stage is not None and cancer:
        rng = np.random.default_rng([patient.seed, patient.index, 4712])
        reader = misread(rng, patient.true_stage, 0.584)  # radiologists alone, Hospital A
        sonographer = misread(rng, patient.true_stage, 0.65)
        said = {"radiologist_ct": str(reader), "endosonographer_ut": str(sonographer) if rng.uniform() < 0.4 else ""}
        rows["read"].append(who | {"study_uid": patient.study_uid, "read_on": on.isoformat()} | said)
    if patient.key_slice is KeySliceSource.EHR and patient.scanner is not None and cancer:
        rows["key_slice"].append(
            who
            | {
                "study_uid": patient.study_uid,
                "accession_number": identity.accession_number,
                "sop_instance_uid": _key_sop(patient, patient.phantom()),
            }
        )
    return rows


def write_night(patients: list[Patient], dicom_folder: Path, ehr_folder: Path, processes: int = 2) -> list[Path]:
    """Write all studies and the EHR's extracts; several studies at once."""
    dicom_folder.mkdir(parents=True, exist_ok=True)
    write_extracts(ehr_folder, [ehr_rows(p) for p in patients])
    if processes <= 1:
        return [path for p in patients for path in write_study(p, dicom_folder)]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        written = pool.map(write_study, patients, [dicom_folder] * len(patients))
        return [path for paths in written for path in paths]


def demo_night(dicom_folder: Path, ehr_folder: Path, night: date, seed: int = 2026, processes: int = 2) -> list[Patient]:
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


def _key_sop(patient: Patient, phantom: Phantom) -> str:
    return str(sop_uid(patient.identity, Phase.PORTAL_VENOUS, phantom.key_slice()))
