"""A refusal is a result too: why a case was not staged, as a structured report."""

from __future__ import annotations

from highdicom.sr import (
    MeasurementsAndQualitativeEvaluations,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
)
from pydicom import Dataset

from gtr_batch.domain.refusal import Refusal
from gtr_batch.report import codes
from gtr_batch.report.codes import concept
from gtr_batch.report.context import Context
from gtr_batch.report.measurement_report import algorithm, document, evaluation, tracking


def build_refusal(context: Context, refusal: Refusal) -> Dataset:
    """The report of a refused case: the standard reason, ours under ``99GTR``, and its sentence."""
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(context, "Case not staged"),
        finding_type=concept(codes.refusal_finding(refusal.code)),
        algorithm_id=algorithm(context.author),
        qualitative_evaluations=[
            evaluation(codes.REASON, codes.REFUSALS.get(refusal.code) or codes.own("other", "Another reason")),
            evaluation(codes.RESULT_STATUS, codes.AI_NOT_VERIFIED),
        ],
        source_images=[SourceImageForMeasurementGroup.from_source_image(ds) for ds in context.evidence],
    )
    sentence = TextContentItem(
        name=concept(codes.COMMENT), value=refusal.sentence, relationship_type=RelationshipTypeValues.CONTAINS
    )
    group[0].ContentSequence.append(sentence)
    return document(context, [group], library=False)
