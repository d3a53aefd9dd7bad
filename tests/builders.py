"""Hand-made answers of the steps before `report`: small, and their values known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pydicom

from gtr_batch.config import ReportConfig
from gtr_batch.domain.abstention import Abstention, AbstentionCode
from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import ReportObject
from gtr_batch.domain.drawn_nomogram import NomogramDrawing
from gtr_batch.domain.identifiers import case_id
from gtr_batch.domain.model import ModelManifest, NomogramModel, PreprocessingContract, RadScoreModel
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import (
    CaseStaging,
    Flag,
    KeySliceSource,
    SliceStaging,
    StageProbabilities,
    vote,
)
from gtr_batch.report import PageDrawings, write_case
from tests.phantoms import Change, abdomen_hu, write_series

MODEL_VERSION = "3f" * 32
NIGHT = date(2026, 3, 1)


def a_series(folder: Path, *, size: int = 64, change: Change | None = None, **options: Any) -> list[Path]:
    """Three slices of a phantom, in the order below, key, above."""
    return write_series(folder, abdomen_hu(3, size), change=change, shuffle=False, **options)


def a_case(source_files: Sequence[Path], **changes: Any) -> Case:
    """The case that these source instances belong to."""
    ds = pydicom.dcmread(source_files[0], stop_before_pixels=True)
    study, series = str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)
    values = {
        "case_id": case_id(study, series),
        "night": NIGHT,
        "study_uid": study,
        "series_uid": series,
        "patient_id": str(ds.get("PatientID") or ""),
        "study_at": datetime(2026, 3, 1, 20, 15),
    }
    return Case(**{**values, **changes})


def a_geometry(source_files: Sequence[Path], source: KeySliceSource = KeySliceSource.KEY_OBJECT) -> PreparedGeometry:
    """Geometry of a series whose every source pixel is a network pixel."""
    headers = [pydicom.dcmread(p, stop_before_pixels=True) for p in source_files]
    return PreparedGeometry(
        source_rows=int(headers[1].Rows),
        source_columns=int(headers[1].Columns),
        row_origin=0.0,
        row_step=1.0,
        column_origin=0.0,
        column_step=1.0,
        size=int(headers[1].Rows),
        sop_instance_uids=tuple(str(h.SOPInstanceUID) for h in headers),
        positions_mm=tuple(float(h.ImagePositionPatient[2]) for h in headers),
        key_slice_source=source,
    )


def a_staging(
    geometry: PreparedGeometry,
    slices: Sequence[Sequence[float]] = ((0.1, 0.2, 0.6, 0.1), (0.05, 0.15, 0.7, 0.1), (0.1, 0.5, 0.3, 0.1)),
    *,
    flags: tuple[Flag, ...] = (),
    model_version: str = MODEL_VERSION,
) -> CaseStaging:
    """What `stage` would answer for these calibrated probabilities of the three slices."""
    probabilities = [StageProbabilities(tuple(p)) for p in slices]
    stage, mean, found = vote(probabilities)
    return CaseStaging(
        t_stage=stage,
        probabilities=mean,
        slices=tuple(
            SliceStaging(uid, role, p.most_likely, p)
            for uid, role, p in zip(geometry.sop_instance_uids, ROLES, probabilities, strict=True)
        ),
        key_slice_source=geometry.key_slice_source,
        model_version=model_version,
        flags=(*found, *flags),
    )


def not_staged(staging: CaseStaging) -> CaseStaging:
    """The same case where the model gives no stage."""
    reason = Abstention(AbstentionCode.UNLIKE_REFERENCE, "Not staged: unlike (p 0.008).", {"p_distance": 0.008})
    return attrs.evolve(staging, t_stage=None, probabilities=None, abstention=reason)


def a_score(probabilities: Sequence[float] = (0.05, 0.2, 0.55, 0.2), missing: tuple[str, ...] = ()) -> NomogramScore:
    """A nomogram's answer; with `missing` covariates its interval is 0.05 wide on either side."""
    width = 0.05 if missing else 0.0
    return NomogramScore(
        rad_score=0.42,
        linear_predictor=0.7,
        points={"rad_score": 57.0, "tumour_size": 12.5, "differentiation": 8.25, "lauren": 3.0, "total": 80.75},
        probabilities=StageProbabilities(tuple(probabilities)),
        low=tuple(max(0.0, p - width) for p in probabilities),
        high=tuple(min(1.0, p + width) for p in probabilities),
        missing=missing,
        coefficients="paper-table-3",
    )


def a_manifest(**changes: Any) -> ModelManifest:
    """A manifest with the numbers of the paper's Table 3."""
    values: Mapping[str, Any] = {
        "name": "GTRNet phantom",
        "architecture": "gtrnet",
        "backbone": "resnet18",
        "feature_count": 4,
        "weights_sha256": "ab" * 32,
        "contract": PreprocessingContract(),
        "temperature": 1.0,
        "rad_score": RadScoreModel(selected=(0,), feature_mean=(0.0,), feature_scale=(1.0,), coefficients=(1.0,)),
        "nomogram": NomogramModel(
            name="paper-table-3",
            rad_score=1.0,
            tumour_size=0.5,
            size_at_least_cm=4.0,
            differentiation={"well": 0.0, "moderate": 0.3, "poor": 0.6},
            lauren={"intestinal": 0.0, "diffuse": 0.4, "mixed": 0.2},
            thresholds=(-3.2, -1.17, 1.24),
        ),
    }
    return ModelManifest(**{**values, **changes})


def a_heat(size: int = 64) -> np.ndarray:
    """A warm spot that moves from slice to slice; shape (3, size, size), float32 from 0 to 1."""
    y, x = np.mgrid[:size, :size] / size
    spots = [np.exp(-(((y - 0.5) / 0.15) ** 2) - ((x - 0.4 - 0.1 * z) / 0.15) ** 2) for z in range(3)]
    return np.stack(spots).astype(np.float32)


def an_overlay(size: int = 64) -> np.ndarray:
    """A picture; shape (size, size, 3), uint8."""
    heat = a_heat(size)[1]
    return np.stack([255 * heat, 90 * (1 - heat), 90 * (1 - heat)], axis=-1).astype(np.uint8)


def page_drawings(size: int = 64, nomogram: NomogramDrawing | None = None) -> PageDrawings:
    """Three pictures of `size` pixels a side for the case's page."""
    return PageDrawings(np.stack([an_overlay(size)] * 3), nomogram)


def a_written_report(folder: Path, series: Sequence[Path], size: int, **given: Any) -> list[ReportObject]:
    """Write all objects of the hand-made answer to a series of `size` pixels a side into `folder`."""
    geometry = a_geometry(series)
    answer = {
        "case": a_case(series),
        "source_files": series,
        "staging": a_staging(geometry),
        "geometry": geometry,
        "heat": a_heat(size),
        "overlay": an_overlay(size),
        "manifest": a_manifest(),
        "config": ReportConfig(pdf=True),
        "drawings": page_drawings(size),
    }
    return write_case(folder, **{**answer, **given})
