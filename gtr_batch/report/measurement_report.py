"""The structured report: Comprehensive 3D SR, TID 1500 (PS3.16), one result of one model for one case."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    Comprehensive3DSR,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes as dicom
from pydicom.sr.coding import Code

from gtr_batch import __version__
from gtr_batch.domain.clinical import Covariates
from gtr_batch.domain.delivery import ObjectKind
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.domain.score import AnswerSource, CaseAnswers, NomogramScore, StageAnswer, answers_of
from gtr_batch.domain.staging import STAGES, CaseStaging, TStage
from gtr_batch.report import codes
from gtr_batch.report.codes import concept
from gtr_batch.report.context import Context
from gtr_batch.report.identity import Author
from gtr_batch.report.sources import performed_procedures


@frozen
class Answer:
    """What the report is about; `always`: the model holds nothing by which it could tell when not to answer."""

    staging: CaseStaging
    score: NomogramScore | None
    covariates: Covariates | None
    marks_apart_mm: float = 0.0  # how far the furthest other mark of the key slice lies from it
    always: bool = False  # the model gives every case a stage


def build_report(context: Context, answer: Answer) -> Dataset:
    """The report of a staged case.

    Groups (TID 1501): the case (category, status, flags), its probabilities, what supports it, and one a slice. The
    category and the probabilities of one answer alone stand under the standard codes.
    Numbers and coded evaluations never share a group: older OHIF viewers fail on a bare NUM beside qualitative items.
    A case without a stage has the coded reason in the category's place, no probabilities, and its slices as they are.
    """
    found = answers_of(answer.staging, answer.score)
    groups = [_case(context, answer, found)]
    if found is not None:
        groups.append(_probabilities(context, answer.staging, found.primary))
    if found is not None and found.supporting is not None and found.supporting.source is AnswerSource.NETWORK:
        groups.append(_supporting_network(context, found.supporting))
    if answer.score is not None:
        groups.append(_nomogram(context, answer.score, answer.covariates or Covariates()))
    groups += [_slice(context, answer, role) for role in range(len(answer.staging.slices))]
    return document(context, groups)


def document(
    context: Context,
    groups: Sequence[MeasurementsAndQualitativeEvaluations],
    *,
    library: bool = True,
    observation: ObservationContext | None = None,
    kind: ObjectKind = ObjectKind.STRUCTURED_REPORT,
) -> Dataset:
    """A TID 1500 document around measurement groups: COMPLETE, UNVERIFIED, evidence-based; observed by the model.

    The Image Library takes geometry from the source headers: none for a refusal, whose headers may lack it.
    """
    content = MeasurementReport(
        observation_context=observation or ObservationContext(observer_device_context=observer(context.author)),
        procedure_reported=concept(codes.CT_PROCEDURE),
        imaging_measurements=groups,
        title=codes.REPORT_TITLE,
        referenced_images=context.evidence if library else None,
    )
    ds = Comprehensive3DSR(
        evidence=context.evidence,
        content=content,
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=codes.coding_schemes(context.config.institution),
        performed_procedure_codes=[concept(c) for c in performed_procedures(context.sources[0])],
        **context.attributes(kind),
    )
    _separate(ds)
    return context.settle(ds)


def observer(author: Author) -> ObserverContext:
    """The device observer (TID 1004): its UID stands for the model digest."""
    return ObserverContext(
        observer_type=dicom.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=author.uid,
            name="gtr-batch",
            manufacturer_name=author.manufacturer,
            model_name=author.name,
            serial_number=author.model_version,
        ),
    )


def algorithm(author: Author, parameters: Sequence[str] = ()) -> AlgorithmIdentification:
    """TID 4019: which model, which version of it and of this service."""
    return AlgorithmIdentification(
        name=author.name,
        version=f"gtr-batch {__version__}, model sha256:{author.model_version}",
        parameters=list(parameters) or None,
        family=concept(codes.ARTIFICIAL_INTELLIGENCE),
        manufacturer=author.manufacturer,
    )


def tracking(context: Context, identifier: str) -> TrackingIdentifier:
    """Tracking identifier and UID of a group: the same for one case, model and group, also when the answer changes."""
    return TrackingIdentifier(
        uid=derived_uid("tracking", context.case.case_id, context.author.model_version, identifier),
        identifier=identifier,
    )


def evaluation(name: Code, value: Code) -> QualitativeEvaluation:
    """One coded evaluation."""
    return QualitativeEvaluation(concept(name), concept(value))


def _separate(item: Dataset) -> None:
    """Mark every container as a list: in running text, highdicom's default, viewers leave the values' names out."""
    if "ContinuityOfContent" in item:
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence") or []:
        _separate(child)


def _case(context: Context, answer: Answer, found: CaseAnswers | None) -> MeasurementsAndQualitativeEvaluations:
    staging, score = answer.staging, answer.score
    evaluations = [
        *_stage_or_reason(staging, found),
        evaluation(codes.RESULT_STATUS, codes.AI_NOT_VERIFIED),
        evaluation(codes.KEY_SLICE_SOURCE, codes.KEY_SLICE_SOURCES[staging.key_slice_source]),
    ]
    if found is not None and found.supporting is not None:
        evaluations.append(evaluation(codes.SUPPORTING_CATEGORY, codes.T_STAGE[found.supporting.t_stage]))
    if staging.stage_set is not None:
        evaluations += [
            evaluation(codes.SET_LOWEST, codes.T_STAGE[staging.stage_set.lowest]),
            evaluation(codes.SET_HIGHEST, codes.T_STAGE[staging.stage_set.highest]),
        ]
    evaluations += [evaluation(codes.FLAG, codes.FLAGS[flag]) for flag in staging.flags]
    evaluations += [evaluation(codes.MISSING_COVARIATE, _covariate(m)) for m in (score.missing if score else ())]
    apart = answer.marks_apart_mm
    notes = [f"key slice: another mark lies {apart:.0f} mm away"] if apart else []
    notes += ["no reference of the model's patients: every case gets a stage"] if answer.always else []
    group = _group(
        context, "Gastric cancer cT category", evaluations=evaluations, parameters=notes, method=codes.AJCC_8
    )
    if staging.abstention is not None:
        sentence = TextContentItem(
            name=concept(codes.COMMENT),
            value=staging.abstention.sentence,
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        group[0].ContentSequence.append(sentence)
    return group


def _stage_or_reason(staging: CaseStaging, found: CaseAnswers | None) -> list[QualitativeEvaluation]:
    if found is not None:
        return [
            evaluation(codes.CT_CATEGORY, codes.T_STAGE[found.primary.t_stage]),
            evaluation(codes.ANSWER_BY, codes.ANSWERS[found.primary.source]),
        ]
    assert staging.abstention is not None  # one of the two is there
    return [
        evaluation(codes.CT_CATEGORY, codes.NOT_STAGED),
        evaluation(codes.REASON, codes.ABSTAINED[staging.abstention.code]),
    ]


def _probabilities(
    context: Context, staging: CaseStaging, primary: StageAnswer
) -> MeasurementsAndQualitativeEvaluations:
    measurements = [_of_stage(codes.PROBABILITY, primary.probabilities[stage], stage) for stage in STAGES]
    if staging.stage_set is not None:
        measurements.append(_number(codes.SET_COVERAGE, staging.stage_set.coverage, codes.NO_UNITS))
    return _group(context, "Probabilities of cT1, cT2, cT3, cT4", measurements=measurements)


def _supporting_network(context: Context, answer: StageAnswer) -> MeasurementsAndQualitativeEvaluations:
    name = codes.SUPPORTING_PROBABILITY[AnswerSource.NETWORK]
    measurements = [_of_stage(name, answer.probabilities[stage], stage) for stage in STAGES]
    return _group(context, "Supporting: network", measurements=measurements)


def _nomogram(context: Context, score: NomogramScore, covariates: Covariates) -> MeasurementsAndQualitativeEvaluations:
    points = codes.NOMOGRAM_POINTS.items()
    measurements = [
        _number(codes.RAD_SCORE, score.rad_score, codes.STANDARD_DEVIATIONS),
        *(_number(code, score.points[name], codes.POINTS) for name, code in points if name in score.points),
        _number(codes.LINEAR_PREDICTOR, score.linear_predictor, codes.NO_UNITS),
    ]
    if not score.is_primary:
        name = codes.SUPPORTING_PROBABILITY[AnswerSource.NOMOGRAM]
        measurements += [_of_stage(name, score.probabilities[stage], stage) for stage in STAGES]
    for i, stage in enumerate(STAGES):
        measurements += [
            _of_stage(codes.LOWEST_PROBABILITY, score.low[i], stage),
            _of_stage(codes.HIGHEST_PROBABILITY, score.high[i], stage),
        ]
    parameters = [f"nomogram coefficients: {score.coefficients}"] if score.coefficients else []
    parameters += [f"{name}: {value}" for name, value in _known(covariates)]
    if score.rad_score_clipped:
        parameters.append("rad-score outside -3..3 SD: points taken at the end of the axis")
    return _group(context, "Nomogram", measurements=measurements, parameters=parameters)


def _slice(context: Context, answer: Answer, index: int) -> MeasurementsAndQualitativeEvaluations:
    one, given = answer.staging.slices[index], answer.staging.t_stage is not None
    source = next(ds for ds in context.sources if ds.SOPInstanceUID == one.sop_instance_uid)
    return _group(
        context,
        codes.ROLES[one.role].meaning,
        evaluations=[
            *([evaluation(codes.SLICE_VOTE, codes.T_STAGE[one.t_stage])] if given else []),
            evaluation(codes.SLICE_ROLE, codes.ROLES[one.role]),
        ],
        images=[source],
        method=codes.AJCC_8,
    )


def _group(
    context: Context,
    identifier: str,
    *,
    evaluations: Sequence[QualitativeEvaluation] = (),
    measurements: Sequence[Measurement] = (),
    images: Sequence[Dataset] = (),
    parameters: Sequence[str] = (),
    method: Code | None = None,
) -> MeasurementsAndQualitativeEvaluations:
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(context, identifier),
        finding_type=concept(codes.GASTRIC_CANCER),
        method=concept(method) if method else None,
        algorithm_id=algorithm(context.author, parameters),
        finding_sites=[FindingSite(concept(codes.STOMACH))],
        measurements=list(measurements) or None,
        qualitative_evaluations=list(evaluations) or None,
        source_images=[SourceImageForMeasurementGroup.from_source_image(ds) for ds in images] or None,
    )
    for item in group[0].ContentSequence:
        if method is not None and item.name == codes.MEASUREMENT_METHOD:
            # TID 1501, row 5; highdicom writes CONTAINS
            item.RelationshipType = RelationshipTypeValues.HAS_CONCEPT_MOD.value
    return group


def _number(name: Code, value: float, unit: Code) -> Measurement:
    measurement = Measurement(name=concept(name), value=float(value), unit=concept(unit))
    # Six digits are for people; Floating Point Value (0040,A161) beside it is exact (PS3.3, C.18.1).
    measurement[0].MeasuredValueSequence[0].NumericValue = f"{value:.6g}"
    return measurement


def _of_stage(name: Code, value: float, stage: TStage) -> Measurement:
    # Post-coordinated (TID 300, $ModType): the same concept four times, each modified by its category.
    measurement = _number(name, value, codes.NO_UNITS)
    category = CodeContentItem(
        name=concept(codes.CT_CATEGORY),
        value=concept(codes.T_STAGE[stage]),
        relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
    )
    measurement[0].ContentSequence = ContentSequence([category])
    return measurement


def _known(covariates: Covariates) -> list[tuple[str, str]]:
    size = covariates.tumour_size_cm
    known = {
        "tumour size": f"{size:g} cm" if size is not None else None,
        "differentiation": covariates.differentiation,
        "Lauren type": covariates.lauren,
    }
    return [(name, str(value)) for name, value in known.items() if value is not None]


def _covariate(name: str) -> Code:
    return codes.COVARIATES.get(name) or codes.own("cov_other", "Another covariate")
