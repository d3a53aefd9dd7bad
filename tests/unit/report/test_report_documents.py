"""The structured reports, read back with highdicom's reader."""

from __future__ import annotations

from pathlib import Path

import attrs
import highdicom as hd
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.config import ReportConfig
from gtr_batch.domain.abstention import AbstentionRule, FeatureReference
from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.domain.delivery import ObjectKind, ReportObject
from gtr_batch.domain.refusal import Refusal, RefusalCode
from gtr_batch.domain.score import AnswerSource
from gtr_batch.domain.staging import STAGES, Flag, KeySliceSource, StageSet, TStage
from gtr_batch.errors import CaseRejected
from gtr_batch.report import codes, write_case, write_refusal
from tests.builders import (
    MODEL_VERSION,
    a_case,
    a_geometry,
    a_heat,
    a_manifest,
    a_score,
    a_series,
    a_staging,
    an_overlay,
    not_staged,
)

ONLY_SR = ReportConfig(parametric_map=False, secondary_capture=False, key_objects=False, refusal_sr=True)
SIZE = 16


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return a_series(tmp_path_factory.mktemp("series"), size=SIZE)


def report(
    folder: Path, series: list[Path], source: KeySliceSource = KeySliceSource.KEY_OBJECT, **changes: object
) -> hd.sr.Comprehensive3DSR:
    """Write a case's report and read it."""
    geometry = a_geometry(series, source)
    arguments = {
        "case": a_case(series),
        "source_files": series,
        "staging": a_staging(geometry),
        "geometry": geometry,
        "heat": a_heat(SIZE),
        "overlay": an_overlay(SIZE),
        "manifest": a_manifest(),
        "config": ONLY_SR,
        "score": a_score(),
        **changes,
    }
    [written] = write_case(folder, **arguments)
    return hd.sr.srread(folder / written.file)


def groups(document: hd.sr.Comprehensive3DSR) -> dict[str, hd.sr.MeasurementsAndQualitativeEvaluations]:
    """Measurement groups by tracking identifier."""
    return {g.tracking_identifier: g for g in document.content.get_image_measurement_groups()}


def evaluations(group: hd.sr.MeasurementsAndQualitativeEvaluations, name: object) -> list[str]:
    return [e.value.value for e in group.get_qualitative_evaluations(name)]


def by_stage(group: hd.sr.MeasurementsAndQualitativeEvaluations, name: object) -> list[float]:
    """Values of `name` in the order of the stages, by the category that modifies each."""
    values = {}
    for measurement in group.get_measurements(name):
        modifier = measurement[0].ContentSequence[0]
        values[modifier.ConceptCodeSequence[0].CodeValue] = measurement.value
    return [values[codes.T_STAGE[stage].value] for stage in STAGES]


probabilities = st.lists(st.floats(0.01, 1), min_size=4, max_size=4).map(lambda v: [x / sum(v) for x in v])


@settings(max_examples=8, deadline=None)
@given(
    slices=st.lists(probabilities, min_size=3, max_size=3),
    nomogram=probabilities,
    missing=st.sets(st.sampled_from(["tumour_size", "differentiation", "lauren"])),
    flags=st.sets(st.sampled_from([Flag.AUTOMATIC_KEY_SLICE, Flag.CONTRAST_TAGS_ABSENT, Flag.DEMO_MODEL])),
    source=st.sampled_from(list(KeySliceSource)),
)
def test_a_report_written_then_read_gives_the_same_values(
    series, tmp_path_factory, slices, nomogram, missing, flags, source
):
    geometry = a_geometry(series, source)
    staging = a_staging(geometry, slices, flags=tuple(sorted(flags)))
    score = a_score(nomogram, tuple(sorted(missing)))

    found = groups(
        report(tmp_path_factory.mktemp("report"), series, source, geometry=geometry, staging=staging, score=score)
    )

    case = found["Gastric cancer cT category"]
    assert evaluations(case, codes.CT_CATEGORY) == [codes.T_STAGE[staging.t_stage].value]
    assert evaluations(case, codes.KEY_SLICE_SOURCE) == [codes.KEY_SLICE_SOURCES[source].value]
    assert evaluations(case, codes.FLAG) == [codes.FLAGS[f].value for f in staging.flags]
    assert evaluations(case, codes.MISSING_COVARIATE) == [codes.COVARIATES[m].value for m in score.missing]
    numbers = found["Probabilities of cT1, cT2, cT3, cT4"]
    assert by_stage(numbers, codes.PROBABILITY) == list(staging.probabilities.values)
    scored = found["Nomogram"]
    supporting = codes.SUPPORTING_PROBABILITY[AnswerSource.NOMOGRAM]
    assert by_stage(scored, supporting) == list(score.probabilities.values)
    assert by_stage(scored, codes.LOWEST_PROBABILITY) == list(score.low)
    assert by_stage(scored, codes.HIGHEST_PROBABILITY) == list(score.high)
    for name, points in score.points.items():
        [measurement] = scored.get_measurements(codes.NOMOGRAM_POINTS[name])
        assert measurement.value == points
    for one in staging.slices:
        group = found[codes.ROLES[one.role].meaning]
        assert evaluations(group, codes.SLICE_VOTE) == [codes.T_STAGE[one.t_stage].value]
        assert [i.referenced_sop_instance_uid for i in group.source_images] == [one.sop_instance_uid]


@pytest.mark.parametrize("nomogram_counts", [False, True])
def test_one_answer_alone_stands_under_the_standard_codes(series, tmp_path, nomogram_counts):
    """Whoever looks for "cT category" and "Probability" finds one stage and one set of four."""
    geometry = a_geometry(series)
    network, score = a_staging(geometry), attrs.evolve(a_score((0.1, 0.6, 0.2, 0.1)), is_primary=nomogram_counts)

    document = report(tmp_path, series, geometry=geometry, staging=network, score=score)

    found, content = groups(document), list(_descendants(document))
    named = [i for i in content if "ConceptNameCodeSequence" in i and i.ValueType in ("CODE", "NUM")]
    by_name = [i.ConceptNameCodeSequence[0].CodeValue for i in named if i.RelationshipType == "CONTAINS"]
    assert by_name.count(codes.CT_CATEGORY.value) == 1
    assert by_name.count(codes.PROBABILITY.value) == 4
    answers = [network.t_stage, score.probabilities.most_likely]
    primary, supporting = reversed(answers) if nomogram_counts else answers
    case = found["Gastric cancer cT category"]
    assert evaluations(case, codes.CT_CATEGORY) == [codes.T_STAGE[primary].value]
    assert evaluations(case, codes.SUPPORTING_CATEGORY) == [codes.T_STAGE[supporting].value]
    assert evaluations(case, codes.ANSWER_BY) == ["by_nomogram" if nomogram_counts else "by_network"]
    probabilities = score.probabilities if nomogram_counts else network.probabilities
    assert by_stage(found["Probabilities of cT1, cT2, cT3, cT4"], codes.PROBABILITY) == list(probabilities.values)
    source = AnswerSource.NETWORK if nomogram_counts else AnswerSource.NOMOGRAM
    group = found["Supporting: network" if nomogram_counts else "Nomogram"]
    other = network.probabilities if nomogram_counts else score.probabilities
    assert by_stage(group, codes.SUPPORTING_PROBABILITY[source]) == list(other.values)


def test_the_set_of_likely_stages_is_coded_with_its_coverage(series, tmp_path):
    geometry = a_geometry(series)
    staging = attrs.evolve(a_staging(geometry), stage_set=StageSet(TStage.T2, TStage.T3, 0.9))

    found = groups(report(tmp_path, series, geometry=geometry, staging=staging))

    case = found["Gastric cancer cT category"]
    assert evaluations(case, codes.SET_LOWEST) == [codes.T_STAGE[TStage.T2].value]
    assert evaluations(case, codes.SET_HIGHEST) == [codes.T_STAGE[TStage.T3].value]
    [coverage] = found["Probabilities of cT1, cT2, cT3, cT4"].get_measurements(codes.SET_COVERAGE)
    assert coverage.value == 0.9


def test_a_report_without_a_set_codes_none(series, tmp_path):
    case = groups(report(tmp_path, series))["Gastric cancer cT category"]

    assert evaluations(case, codes.SET_LOWEST) == []


def test_patient_study_and_frame_of_reference_come_from_the_source(series, tmp_path):
    source = pydicom.dcmread(series[0])

    document = report(tmp_path, series)

    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "StudyID",
        "StudyDescription",
    ):
        assert document.get(keyword) == source.get(keyword), keyword
    frames = [
        item.UID
        for item in _descendants(document)
        if item.get("UID") and "Frame" in item.ConceptNameCodeSequence[0].CodeMeaning
    ]
    assert set(frames) == {source.FrameOfReferenceUID}


def test_a_report_is_complete_unverified_and_says_that_no_one_has_verified_it(series, tmp_path):
    document = report(tmp_path, series)

    assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert "AI result - not verified" in document.SeriesDescription
    assert evaluations(groups(document)["Gastric cancer cT category"], codes.RESULT_STATUS) == ["ai_not_verified"]


def test_every_group_names_the_algorithm_its_version_and_the_model_digest(series, tmp_path):
    document = report(tmp_path, series)

    for name, group in groups(document).items():
        texts = {i.name.meaning: i.value for i in group[0].ContentSequence if i.ValueType == "TEXT"}
        assert texts["Algorithm Name"] == "GTRNet phantom", name
        assert MODEL_VERSION in texts["Algorithm Version"], name
        families = [i.value.value for i in group[0].ContentSequence if i.name.value == "111000"]
        assert families == ["123110"], name


def test_numbers_and_coded_evaluations_never_share_a_group(series, tmp_path):
    for name, group in groups(report(tmp_path, series)).items():
        kinds = [
            i.ValueType
            for i in group[0].ContentSequence
            if i.RelationshipType == "CONTAINS" and i.name not in (pydicom.sr.codedict.codes.DCM.Finding,)
        ]
        assert not ({"NUM", "CODE"} <= set(kinds)), name


def test_tracking_uids_stay_when_the_answer_changes(series, tmp_path):
    geometry = a_geometry(series)
    changed = a_staging(geometry, [(0.9, 0.05, 0.03, 0.02)] * 3)

    before = groups(report(tmp_path / "a", series))
    after = groups(report(tmp_path / "b", series, staging=changed))

    assert {n: g.tracking_uid for n, g in before.items()} == {n: g.tracking_uid for n, g in after.items()}
    assert len({g.tracking_uid for g in before.values()}) == len(before)


def test_every_private_code_belongs_to_the_declared_scheme(series, tmp_path):
    document = report(tmp_path, series)

    declared = {i.CodingSchemeDesignator for i in document.CodingSchemeIdentificationSequence}
    assert declared == {"99GTR"}
    used = {
        code.CodingSchemeDesignator
        for item in _descendants(document)
        for keyword in ("ConceptNameCodeSequence", "ConceptCodeSequence")
        for code in item.get(keyword) or []
    }
    assert {s for s in used if s.startswith("99")} == declared


def test_what_the_nomogram_was_computed_from_is_said(series, tmp_path):
    covariates = Covariates(6.0, Differentiation.POOR, Lauren.DIFFUSE)

    group = groups(report(tmp_path, series, covariates=covariates))["Nomogram"]

    parameters = [i.value for i in group[0].ContentSequence if i.name.value == "111002"]
    assert parameters == [
        "nomogram coefficients: paper-table-3",
        "tumour size: 6 cm",
        "differentiation: poor",
        "Lauren type: diffuse",
    ]


def test_how_far_apart_the_marks_of_the_key_slice_lie_is_said(series, tmp_path):
    geometry = attrs.evolve(a_geometry(series, KeySliceSource.KEY_OBJECT), apart_mm=64.4)

    document = report(tmp_path, series, geometry=geometry)

    group = groups(document)["Gastric cancer cT category"]
    parameters = [i.value for i in group[0].ContentSequence if i.name.value == "111002"]
    assert "key slice: another mark lies 64 mm away" in parameters


def test_a_case_without_a_score_has_no_nomogram_group(series, tmp_path):
    assert "Nomogram" not in groups(report(tmp_path, series, score=None))


def test_the_report_of_the_imaging_procedure_keeps_the_sites_procedure_code(tmp_path):
    def coded(index: int, ds: pydicom.Dataset) -> None:
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "CTABD", "99SITE", "CT abdomen with contrast"
        ds.ProcedureCodeSequence = [item]

    document = report(tmp_path / "report", a_series(tmp_path / "series", size=SIZE, change=coded))

    assert [i.CodeValue for i in document.PerformedProcedureCodeSequence] == ["CTABD"]


def test_a_neighbour_that_is_used_twice_is_evidence_once(series, tmp_path):
    twice = [series[0], series[1], series[0]]

    document = report(tmp_path, twice)

    evidence = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert len(evidence) == 2
    assert len([n for n in groups(document) if "slice" in n.lower()]) == 3


@pytest.mark.parametrize("character_set", ["ISO_IR 100", "ISO_IR 192", ["", "ISO 2022 IR 87"]])
def test_names_keep_their_characters_and_so_does_the_institution(tmp_path, character_set):
    def renamed(index: int, ds: pydicom.Dataset) -> None:
        ds.SpecificCharacterSet = character_set
        ds.PatientName = "Müller^Jörg" if "IR 87" not in str(character_set) else "Yamada^Tarou=山田^太郎"

    series = a_series(tmp_path / "series", size=SIZE, change=renamed)

    plain = report(tmp_path / "a", series)
    accented = report(tmp_path / "b", series, config=ReportConfig(institution="Universitätsklinikum", **_only_sr()))

    name = pydicom.dcmread(series[0]).PatientName
    assert plain.PatientName == name
    assert accented.PatientName == name
    assert accented.InstitutionName == "Universitätsklinikum"


def _only_sr() -> dict[str, bool]:
    return {"parametric_map": False, "secondary_capture": False, "key_objects": False}


def _descendants(item: pydicom.Dataset) -> list[pydicom.Dataset]:
    children = list(item.get("ContentSequence") or [])
    return [*children, *(d for c in children for d in _descendants(c))]


def test_a_refusal_carries_the_standard_reason_ours_and_its_sentence(series, tmp_path):
    sentence = "3 of 40 slices are missing: the largest gap is 9.0 mm where the median spacing is 3.0 mm."

    [written] = write_refusal(
        tmp_path,
        case=a_case(series),
        refusal=Refusal(RefusalCode.SLICE_GAP, sentence),
        source_file=series[0],
        manifest=a_manifest(),
        config=ONLY_SR,
        model_version=MODEL_VERSION,
    )

    [group] = groups(hd.sr.srread(tmp_path / written.file)).values()
    assert (group.finding_type.value, group.finding_type.scheme_designator) == ("110531", "DCM")
    assert evaluations(group, codes.REASON) == ["slice_gap"]
    assert [i.value for i in group[0].ContentSequence if i.name == codes.COMMENT] == [sentence]


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        (RefusalCode.UNREADABLE_PIXELS, "111235"),
        (RefusalCode.SCRUBBED_PIXELS, "111235"),
        (RefusalCode.WRONG_PHASE, "110531"),
        (RefusalCode.SERIES_INCOMPLETE, "110523"),
        (RefusalCode.PRIOR_CHEMOTHERAPY, "110513"),
    ],
)
def test_only_what_lies_in_the_images_is_called_a_matter_of_quality(code, finding):
    assert codes.refusal_finding(code).value == finding


def test_a_site_that_wants_no_refusals_in_its_pacs_gets_none(series, tmp_path):
    written = write_refusal(
        tmp_path / "report",
        case=a_case(series),
        refusal=Refusal(RefusalCode.SLICE_GAP, "A gap."),
        source_file=series[0],
        manifest=a_manifest(),
        config=ReportConfig(refusal_sr=False),
    )

    assert written == []
    assert not (tmp_path / "report").exists()


def test_a_refused_file_without_lawful_uids_gets_no_report_and_stops_nothing(tmp_path):
    good = a_series(tmp_path / "good", size=SIZE)

    def broken(index: int, ds: pydicom.Dataset) -> None:
        ds.StudyInstanceUID = ""

    [bad, *_] = a_series(tmp_path / "bad", size=SIZE, change=broken)

    written = write_refusal(
        tmp_path / "report",
        case=a_case(good),
        refusal=Refusal(RefusalCode.INVALID_UID, "Empty UID."),
        source_file=bad,
        manifest=a_manifest(),
        config=ONLY_SR,
    )

    assert written == []


def test_every_code_of_ours_has_at_most_16_characters_a_meaning_of_64_and_no_twin():
    tables = (
        codes.FLAGS,
        codes.KEY_SLICE_SOURCES,
        codes.REFUSALS,
        codes.COVARIATES,
        codes.ROLES,
        codes.NOMOGRAM_POINTS,
    )
    values = [code for table in tables for code in table.values()]
    names = [c for c in vars(codes).values() if isinstance(c, pydicom.sr.coding.Code)]
    ours = [c for c in (*values, *names) if c.scheme_designator == codes.PRIVATE]

    assert all(len(c.value) <= 16 and len(c.meaning) <= 64 for c in ours)
    assert len({c.value for c in ours}) == len(ours)


@pytest.mark.parametrize(
    ("table", "members"),
    [
        (codes.FLAGS, Flag),
        (codes.KEY_SLICE_SOURCES, KeySliceSource),
        (codes.REFUSALS, RefusalCode),
        (codes.T_STAGE, STAGES),
    ],
)
def test_every_member_has_its_code(table, members):
    assert set(table) == set(members)


def test_a_changed_answer_names_its_predecessor(series, tmp_path):
    [first] = _write(tmp_path, series)
    changed = a_staging(a_geometry(series), [(0.9, 0.05, 0.03, 0.02)] * 3)

    [second] = _write(tmp_path, series, staging=changed, previous=[first])

    assert second.series_uid == first.series_uid
    assert second.sop_instance_uid != first.sop_instance_uid
    document = pydicom.dcmread(tmp_path / second.file)
    [study] = document.PredecessorDocumentsSequence
    [named] = study.ReferencedSeriesSequence
    assert study.StudyInstanceUID == document.StudyInstanceUID
    assert named.SeriesInstanceUID == first.series_uid
    assert [r.ReferencedSOPInstanceUID for r in named.ReferencedSOPSequence] == [first.sop_instance_uid]


def test_an_answer_that_changes_back_is_a_third_instance(series, tmp_path):
    changed = a_staging(a_geometry(series), [(0.9, 0.05, 0.03, 0.02)] * 3)
    [first] = _write(tmp_path, series)
    [second] = _write(tmp_path, series, staging=changed, previous=[first])

    [third] = _write(tmp_path, series, previous=[second])

    assert len({first.sop_instance_uid, second.sop_instance_uid, third.sop_instance_uid}) == 3


def test_a_retry_of_a_changed_answer_keeps_the_instance_and_its_predecessor(series, tmp_path):
    changed = a_staging(a_geometry(series), [(0.9, 0.05, 0.03, 0.02)] * 3)
    [first] = _write(tmp_path, series)
    [second] = _write(tmp_path, series, staging=changed, previous=[first])
    before = (tmp_path / second.file).read_bytes()

    [again] = _write(tmp_path, series, staging=changed, previous=[second])

    assert again == second
    assert (tmp_path / again.file).read_bytes() == before


@pytest.mark.parametrize("cut", [False, True])
def test_a_changed_answer_whose_file_was_lost_is_the_same_instance_with_the_same_predecessor(cut, series, tmp_path):
    """What was never sent may be written again; what names the one before must go on naming it."""
    changed = a_staging(a_geometry(series), [(0.9, 0.05, 0.03, 0.02)] * 3)
    [first] = _write(tmp_path, series)
    [second] = _write(tmp_path, series, staging=changed, previous=[first])
    [third] = _write(tmp_path, series, previous=[second])
    for one, staging in ((second, changed), (third, a_staging(a_geometry(series)))):
        path = tmp_path / one.file
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2]) if cut else path.unlink()

        [again] = _write(tmp_path, series, staging=staging, previous=[one])

        assert again == one
        assert path.read_bytes() == before


def _write(folder: Path, series: list[Path], **changes: object) -> list[ReportObject]:
    geometry = a_geometry(series)
    arguments = {
        "case": a_case(series),
        "source_files": series,
        "staging": a_staging(geometry),
        "geometry": geometry,
        "heat": a_heat(SIZE),
        "overlay": an_overlay(SIZE),
        "manifest": a_manifest(),
        "config": ONLY_SR,
        **changes,
    }
    written = write_case(folder, **arguments)
    assert [w.kind for w in written] == [ObjectKind.STRUCTURED_REPORT]
    return written


@pytest.mark.parametrize("keyword", ["patient_id", "study_uid", "series_uid", "issuer_of_patient_id"])
def test_nothing_is_written_from_images_of_another_patient_study_or_series(tmp_path, keyword):
    def issued(index: int, ds: pydicom.Dataset) -> None:
        ds.IssuerOfPatientID = "A"

    series = a_series(tmp_path / "series", size=SIZE, change=issued)
    other = a_case(series, **{keyword: "1.2.3"})

    with pytest.raises(CaseRejected) as refused:
        report(tmp_path / "report", series, case=other)
    with pytest.raises(CaseRejected) as refused_too:
        write_refusal(
            tmp_path / "report",
            case=other,
            refusal=Refusal(RefusalCode.SLICE_GAP, "A gap."),
            source_file=series[0],
            manifest=a_manifest(),
            config=ONLY_SR,
        )

    assert refused.value.code == refused_too.value.code == "identity_mismatch"
    assert "PHANTOM" not in f"{refused.value} {refused_too.value}"
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("code", [RefusalCode.IDENTITY_MISMATCH, RefusalCode.AMBIGUOUS_PATIENT])
def test_a_refusal_that_nobody_knows_whose_it_is_gets_no_report(series, tmp_path, code):
    written = write_refusal(
        tmp_path / "report",
        case=a_case(series),
        refusal=Refusal(code, "Whose study is this?"),
        source_file=series[0],
        manifest=a_manifest(),
        config=ONLY_SR,
    )

    assert written == []
    assert not (tmp_path / "report").exists()


def test_a_case_without_a_stage_says_why_and_gives_neither_category_nor_probability(tmp_path, series):
    staging = not_staged(a_staging(a_geometry(series)))

    document = report(tmp_path, series, staging=staging, score=None)

    found = groups(document)
    case = found["Gastric cancer cT category"]
    assert evaluations(case, codes.CT_CATEGORY) == ["not_staged"]
    assert evaluations(case, codes.REASON) == ["unlike_reference"]
    assert evaluations(case, codes.RESULT_STATUS) == ["ai_not_verified"]
    assert staging.abstention.sentence in document.to_json()
    assert not any(code.value in document.to_json() for code in codes.T_STAGE.values())
    assert not any(group.get_measurements() for group in found.values())
    pictured = [g for name, g in found.items() if name in {role.meaning for role in codes.ROLES.values()}]
    assert len(pictured) == 3  # its slices are referenced all the same
    assert not any(evaluations(group, codes.CT_CATEGORY) for group in pictured)


def test_the_images_of_a_case_without_a_stage_are_written_all_the_same(tmp_path, series):
    written = write_case(
        tmp_path,
        case=a_case(series),
        source_files=series,
        staging=not_staged(a_staging(a_geometry(series))),
        geometry=a_geometry(series),
        heat=a_heat(SIZE),
        overlay=an_overlay(SIZE),
        manifest=a_manifest(),
        config=ReportConfig(),
    )

    assert [one.kind for one in written] == [
        ObjectKind.PARAMETRIC_MAP,
        ObjectKind.SECONDARY_CAPTURE,
        ObjectKind.KEY_OBJECTS,
        ObjectKind.STRUCTURED_REPORT,
    ]


def test_the_report_of_a_model_without_a_reference_says_that_it_always_answers(tmp_path, series):
    rule = AbstentionRule(FeatureReference((0.0,), (1.0,), ((1.0,),), 1.0, (1.0,)))

    without = report(tmp_path / "without", series, manifest=a_manifest())
    with_one = report(tmp_path / "with", series, manifest=a_manifest(abstention=rule))

    assert "every case gets a stage" in without.to_json()
    assert "every case gets a stage" not in with_one.to_json()
