"""What supersedes a report whose model was withdrawn: the same case, no result, and the reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from highdicom.sr import MeasurementsAndQualitativeEvaluations, RelationshipTypeValues, TextContentItem
from pydicom import Dataset

from gtr_batch.config import ReportConfig
from gtr_batch.domain.case import Case
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.model import ModelManifest
from gtr_batch.errors import PermanentError, UnreadableFile
from gtr_batch.reading import read_dicom
from gtr_batch.report import codes
from gtr_batch.report.codes import concept
from gtr_batch.report.context import Context
from gtr_batch.report.identity import write_object
from gtr_batch.report.inherited import inherit
from gtr_batch.report.measurement_report import document, evaluation, tracking
from gtr_batch.report.quiet import quiet


@quiet()
def write_withdrawal(
    folder: Path,
    *,
    case: Case,
    report_file: Path,
    superseded: ReportObject,
    manifest: ModelManifest,
    model_version: str,
    withdrawn_at: datetime,
    config: ReportConfig,
) -> ReportObject:
    """Write the notice that supersedes one structured report.

    Patient and study are copied from the report itself, so the images need not be there any more. The notice is dated
    by the withdrawal: written again, it is the same object, byte for byte.

    Parameters
    ----------
    folder : Path
        Where the notice goes.
    report_file : Path
        The report that it supersedes.
    superseded : ReportObject
        The same report as the case book has it; becomes the *Predecessor Documents Sequence* (0040,A360).
    withdrawn_at : datetime
        Hospital time of the withdrawal.

    Raises
    ------
    PermanentError
        The file is no such report.

    References
    ----------
    DICOM PS3.3, C.17.2 (Predecessor Documents); PS3.16, TID 1500
    """
    context = context_about(
        superseded,
        report_file,
        case=case,
        manifest=manifest,
        model_version=model_version,
        config=config,
        at=withdrawn_at,
    )
    notice, _ = write_object(
        folder, build_withdrawal(context, superseded), ObjectKind.STRUCTURED_REPORT, previous=[superseded]
    )
    return notice


def context_about(
    report: ReportObject,
    report_file: Path,
    *,
    case: Case,
    manifest: ModelManifest,
    model_version: str,
    config: ReportConfig,
    at: datetime,
) -> Context:
    """Of an object about a report, dated `at`: its patient and study are those of the report's own file.

    Raises
    ------
    PermanentError
        The file is no such report.
    """
    old = read_report(report_file, report, case)
    return Context.of(
        case, manifest=manifest, model_version=model_version, sources=[inherit(old)[0]], config=config, written=at
    )


def read_report(report_file: Path, report: ReportObject, case: Case) -> Dataset:
    """The report's own file; `PermanentError` where it is no such report."""
    try:
        old = read_dicom(report_file)
    except UnreadableFile as err:
        raise PermanentError(f"case {case.case_id}: {report_file.name} {err.why}") from err
    if str(old.get("SOPInstanceUID", "")) != report.sop_instance_uid:
        raise PermanentError(f"case {case.case_id}: {report_file.name} is not the report {report.sop_instance_uid}")
    return old


def build_withdrawal(context: Context, superseded: ReportObject) -> Dataset:
    """The notice: a coded status, and a sentence for whoever opens it. No stage, no probability, no person."""
    sentence = (
        f"The model that made the report {superseded.sop_instance_uid} was withdrawn on {context.when:%Y-%m-%d}. "
        f"That result must not be used. Where the case was staged anew, that is a report of its own."
    )
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(context, "Result withdrawn"),
        finding_type=concept(codes.WITHDRAWN_RESULT),
        qualitative_evaluations=[evaluation(codes.RESULT_STATUS, codes.AI_WITHDRAWN)],
    )
    group[0].ContentSequence.append(
        TextContentItem(name=concept(codes.COMMENT), value=sentence, relationship_type=RelationshipTypeValues.CONTAINS)
    )
    groups: Sequence[MeasurementsAndQualitativeEvaluations] = [group]
    return document(context, groups, library=False)
