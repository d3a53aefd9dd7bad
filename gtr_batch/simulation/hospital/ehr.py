"""The synthetic hospital's records: patients as in the paper's Table 1, and the CSV extracts of sql/README.md."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from attrs import frozen

from gtr_batch.domain.clinical import Differentiation, Lauren
from gtr_batch.domain.staging import STAGES, TStage
from gtr_batch.simulation.phantom.stomach import Third

# Table 1, training cohort; where a share depends on the stage, the four stages' mean is the table's.
FEMALE = 0.726
AGE_YEARS = (62.5, 9.4)
LOCATION = {Third.LOWER: 0.585, Third.MIDDLE: 0.268, Third.UPPER: 0.147}
SIZE_CM = (3.86, 2.42)
LAUREN = {  # T1, T2, T3, T4
    Lauren.INTESTINAL: (0.470, 0.400, 0.350, 0.292),
    Lauren.DIFFUSE: (0.250, 0.310, 0.360, 0.420),
    Lauren.MIXED: (0.280, 0.290, 0.290, 0.288),
}
DIFFERENTIATION = {
    Differentiation.WELL: (0.200, 0.140, 0.090, 0.058),
    Differentiation.MODERATE: (0.400, 0.380, 0.350, 0.312),
    Differentiation.POOR: (0.400, 0.480, 0.560, 0.630),
}
MARKERS = {  # mean, standard deviation; skewed: drawn log-normal
    "cea_ng_ml": (4.35, 14.08),
    "ca19_9_u_ml": (41.57, 344.58),
    "ca72_4_u_ml": (5.91, 17.68),
    "ca125_u_ml": (13.12, 19.32),
    "afp_ng_ml": (8.32, 61.36),
    "pd_l1_percent": (6.83, 12.24),
}
_SIZE_PER_STAGE = 0.25  # of log size: a T4 is about twice as large as a T1

COLUMNS: dict[str, tuple[str, ...]] = {
    "patient": ("patient_id", "sex", "birth_date"),
    "biopsy": ("patient_id", "biopsy_date", "site", "adenocarcinoma", "lauren", "differentiation"),
    "tumour": ("patient_id", "measured_on", "size_cm", "location"),
    "marker": ("patient_id", "sampled_on", *MARKERS),
    "treatment": ("patient_id", "kind", "started_on", "ended_on"),
    "metastasis": ("patient_id", "assessed_on", "distant_metastasis"),
    "surgery": ("patient_id", "operated_on", "reported_on", "classification", "t_category"),
    "read": ("patient_id", "study_uid", "read_on", "radiologist_ct", "endosonographer_ut"),
    "key_slice": ("patient_id", "study_uid", "accession_number", "sop_instance_uid"),
}
Rows = dict[str, list[dict[str, str]]]


@frozen
class Clinical:
    """A simulated patient's row of Table 1."""

    age_years: int
    sex: str  # "F" | "M"
    third: Third
    size_cm: float
    lauren: Lauren
    differentiation: Differentiation
    markers: Mapping[str, float]


def lognormal(rng: np.random.Generator, mean: float, deviation: float) -> float:
    """A log-normal number with this mean and standard deviation."""
    variance = np.log1p((deviation / mean) ** 2)
    return float(rng.lognormal(np.log(mean) - variance / 2, np.sqrt(variance)))


def draw_clinical(rng: np.random.Generator, stage: TStage) -> Clinical:
    """A patient of Table 1 whose tumour is of this stage."""
    age = int(np.clip(round(rng.normal(*AGE_YEARS)), 25, 92))
    sex = "F" if rng.uniform() < FEMALE else "M"
    third = _choose(rng, {k: (v,) * 4 for k, v in LOCATION.items()}, stage)
    # Log-normal over all stages together; each stage's mean of the logarithm lies on a line.
    mean, deviation = SIZE_CM
    variance = np.log1p((deviation / mean) ** 2)
    within = np.sqrt(variance - 1.25 * _SIZE_PER_STAGE**2)
    centre = np.log(mean) - variance / 2 + _SIZE_PER_STAGE * (stage.position - 1.5)
    size = float(np.clip(rng.lognormal(centre, within), 0.8, 16.0))
    markers = {name: round(lognormal(rng, *given), 2) for name, given in MARKERS.items()}
    markers["pd_l1_percent"] = min(markers["pd_l1_percent"], 100.0)
    return Clinical(
        age_years=age,
        sex=sex,
        third=third,
        size_cm=round(size, 1),
        lauren=_choose(rng, LAUREN, stage),
        differentiation=_choose(rng, DIFFERENTIATION, stage),
        markers=markers,
    )


def _choose(rng: np.random.Generator, shares: Mapping, stage: TStage):  # type: ignore[no-untyped-def]
    weights = np.array([per_stage[stage.position] for per_stage in shares.values()])
    return list(shares)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def empty_rows() -> Rows:
    """No row in any extract."""
    return {name: [] for name in COLUMNS}


def misread(rng: np.random.Generator, stage: TStage, right: float) -> TStage:
    """A reader's T category: right with this probability, else a neighbouring stage."""
    if rng.uniform() < right:
        return stage
    beside = [p for p in (stage.position - 1, stage.position + 1) if 0 <= p < 4]
    return STAGES[int(rng.choice(beside))]


def clinical_rows(
    patient_id: str, birth_date: date, clinical: Clinical, study_on: date, *, cancer: bool = True
) -> Rows:
    """A patient's rows in the patient, biopsy, tumour and marker extracts, all before the study."""
    rows = empty_rows()
    before = (study_on - timedelta(days=9)).isoformat()
    rows["patient"].append(
        {
            "patient_id": patient_id,
            "sex": {"F": "female", "M": "male"}[clinical.sex],
            "birth_date": birth_date.isoformat(),
        }
    )
    biopsy = {"patient_id": patient_id, "biopsy_date": before, "site": "stomach", "adenocarcinoma": "no"}
    if cancer:
        biopsy |= {
            "adenocarcinoma": "yes",
            "lauren": clinical.lauren.value,
            "differentiation": clinical.differentiation.value,
        }
        rows["tumour"].append(
            {
                "patient_id": patient_id,
                "measured_on": before,
                "size_cm": f"{clinical.size_cm:.1f}",
                "location": clinical.third.value,
            }
        )
        rows["metastasis"].append({"patient_id": patient_id, "assessed_on": before, "distant_metastasis": "no"})
    rows["biopsy"].append(biopsy)
    marker = {"patient_id": patient_id, "sampled_on": before}
    rows["marker"].append(marker | {name: f"{value:.2f}" for name, value in clinical.markers.items()})
    return rows


def write_extracts(folder: Path, rows: Iterable[Rows]) -> list[Path]:
    """Write one CSV a table, or add to those that are there.

    Parameters
    ----------
    folder : Path
        The EHR's extract folder; made where it is absent.
    rows : iterable of dict
        Per patient: rows by extract.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given = list(rows)
    paths = []
    for name, columns in COLUMNS.items():
        path = folder / f"{name}.csv"
        fresh = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
            if fresh:
                writer.writeheader()
            for patient in given:
                writer.writerows(patient[name])
        paths.append(path)
    return paths
