"""All objects of one case, written to its ``report`` folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset

from gtr_batch.config import ReportConfig
from gtr_batch.domain.case import Case
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.identity import mismatch
from gtr_batch.domain.model import ModelManifest
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.score import NomogramScore
from gtr_batch.domain.staging import CaseStaging
from gtr_batch.errors import CaseRejected, UnreadableFile, fault_of
from gtr_batch.identity import identity_of
from gtr_batch.logs import get_logger
from gtr_batch.report.case_page import PageContent, PageDrawings
from gtr_batch.report.context import Context
from gtr_batch.report.encapsulated_pdf import build_pdf
from gtr_batch.report.identity import all_or_none, write_object
from gtr_batch.report.key_objects import build_selection
from gtr_batch.report.measurement_report import Answer, build_report
from gtr_batch.report.parametric_map import build_map
from gtr_batch.report.quiet import quiet
from gtr_batch.report.refusal_report import build_refusal
from gtr_batch.report.secondary_capture import build_capture
from gtr_batch.report.sources import read_sources

log = get_logger("report")


@quiet()
def write_case(
    folder: Path,
    *,
    case: Case,
    source_files: Sequence[Path],
    staging: CaseStaging,
    geometry: PreparedGeometry,
    heat: np.ndarray,
    overlay: np.ndarray,
    manifest: ModelManifest,
    config: ReportConfig,
    drawings: PageDrawings | None = None,
    score: NomogramScore | None = None,
    covariates: Covariates | None = None,
    previous: Sequence[ReportObject] = (),
    written: datetime | None = None,
) -> list[ReportObject]:
    """Write the objects of a staged case.

    Parameters
    ----------
    folder : Path
        The case's ``report`` folder; made where it is not there.
    source_files : sequence of Path
        Source instances in the order below, key, above (one may be there twice); only headers are read.
    heat : numpy.ndarray
        Shape ``(3, rows, columns)``, float32 0 to 1, in source pixels, the same order.
    overlay : numpy.ndarray
        Shape ``(rows, columns, 3)``, uint8 RGB, label burned in.
    drawings : PageDrawings, optional
        For the case's page; needed where the site wants that (`ReportConfig.pdf`).
    previous : sequence of ReportObject
        What was written for this case before. The same answer keeps its objects; a changed SR names its predecessors.
    written : datetime, optional
        Content date and time where the caller has a stable one (a restaged night); default see `identity.written_at`.

    Returns
    -------
    list of ReportObject
        In the order in which they are best stored: what others point at comes first.

    Raises
    ------
    CaseRejected
        ``identity_mismatch``: a source instance is not of the case's patient, study and series.
    ValueError
        The arrays do not fit the geometry: our own mistake, not the case's.
    StorageFull
        No space or quota left. Whatever is raised while they are written, none of the new objects is left.
    """
    shape = (len(ROLES), geometry.source_rows, geometry.source_columns)
    if heat.shape != shape:
        raise ValueError(f"heat map has shape {heat.shape}, the geometry says {shape}")
    if overlay.ndim != 3 or overlay.shape[2] != 3 or overlay.dtype != np.uint8:
        raise ValueError(f"overlay has shape {overlay.shape} and dtype {overlay.dtype}, not (rows, columns, 3) uint8")
    if config.pdf and (drawings is None or drawings.slices.shape != (*shape, 3) or drawings.slices.dtype != np.uint8):
        raise ValueError(f"the page's pictures are not of shape {(*shape, 3)} and dtype uint8")
    sources = [_of_case(ds, case) for ds in read_sources(source_files, case.case_id)]
    found = tuple(str(ds.SOPInstanceUID) for ds in sources)
    if found != tuple(geometry.sop_instance_uids):
        raise ValueError(f"source files hold {found}, the geometry says {geometry.sop_instance_uids}")
    context = Context.of(
        case,
        manifest=manifest,
        model_version=staging.model_version,
        sources=sources,
        config=config,
        written=written,
    )
    key = sources[ROLES.index("key")]
    selected: list[Dataset] = [key]
    with all_or_none(folder) as objects:
        if config.parametric_map:
            heat_map, _ = write_object(folder, build_map(context, heat), ObjectKind.PARAMETRIC_MAP, previous)
            objects.append(heat_map)
        if config.secondary_capture:
            capture = build_capture(context, overlay, key)
            picture, capture = write_object(folder, capture, ObjectKind.SECONDARY_CAPTURE, previous)
            objects.append(picture)
            selected.append(capture)
        if config.key_objects:
            selection, _ = write_object(folder, build_selection(context, selected), ObjectKind.KEY_OBJECTS, previous)
            objects.append(selection)
        answer = Answer(staging, score, covariates, geometry.apart_mm, manifest.abstention is None)
        if config.pdf and drawings is not None:
            content = PageContent(answer, manifest, geometry.positions_mm, drawings)
            page, _ = write_object(folder, build_pdf(context, content), ObjectKind.ENCAPSULATED_PDF, previous)
            objects.append(page)
        document = build_report(context, answer)
        report, _ = write_object(folder, document, ObjectKind.STRUCTURED_REPORT, previous)
        objects.append(report)
    return objects


@quiet()
def write_refusal(
    folder: Path,
    *,
    case: Case,
    refusal: Refusal,
    source_file: Path,
    manifest: ModelManifest,
    config: ReportConfig,
    model_version: str = "",
    previous: Sequence[ReportObject] = (),
    written: datetime | None = None,
) -> list[ReportObject]:
    """Write the SR of a refused case; an empty list where the site does not want it (`ReportConfig.refusal_sr`).

    Parameters
    ----------
    source_file : Path
        Any instance of the refused series, for patient and study.
    model_version : str
        SHA-256 digest of the artefact; where it is not given, that of its weights.

    Returns
    -------
    list of ReportObject
        Empty also where the refused instance is so broken that there is no study to file a report under, and where
        the refusal is that nobody knows whose study it is.

    Raises
    ------
    CaseRejected
        ``identity_mismatch``: the instance is not of the case's patient, study and series.
    """
    if not (config.refusal_sr and refusal.written_back):
        return []
    try:
        sources = [_of_case(ds, case) for ds in read_sources([source_file], case.case_id)]
    except Exception as err:
        if isinstance(err, CaseRejected) and err.code == RefusalCode.IDENTITY_MISMATCH:
            raise
        log.warning("report.no_refusal", case_id=case.case_id, error=fault_of(err))
        return []
    context = Context.of(
        case,
        manifest=manifest,
        model_version=model_version or manifest.weights_sha256,
        sources=sources,
        config=config,
        written=written,
    )
    document = build_refusal(context, refusal)
    report, _ = write_object(folder, document, ObjectKind.STRUCTURED_REPORT, previous)
    return [report]


def _of_case(source: Dataset, case: Case) -> Dataset:
    """A source instance that the objects inherit patient and study from: of the case, or no report."""
    expected, said = case.identity(case.series_uid), identity_of(source)
    if expected.is_lost(said):
        raise UnreadableFile("does not say of which study it is")
    differs = expected.differences(said)
    if differs:
        raise mismatch(
            f"source instance {source.SOPInstanceUID} has another {' and '.join(differs)} than the case: a report "
            f"would be filed under somebody else; none is written",
            differs,
        )
    return source
