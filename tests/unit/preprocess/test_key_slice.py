"""Who marks the key slice, and in what order they are heard."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.sr.codedict import codes

from gtr_batch.domain.staging import KeySliceSource
from gtr_batch.errors import CaseRejected
from gtr_batch.preprocess import find_key_slice, read_series
from gtr_batch.preprocess.cross_section import enclosed_area
from gtr_batch.preprocess.tumour_names import Match, match_gastric_tumour
from tests.phantoms import abdomen_hu, write_series
from tests.unit.preprocess import outlines


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Headers of eight slices, ascending, and their volume."""
    folder = tmp_path_factory.mktemp("series")
    return outlines.headers(write_series(folder, abdomen_hu(8, 32))), read_series(folder)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Headers of another series of another study."""
    return outlines.headers(write_series(tmp_path_factory.mktemp("other"), abdomen_hu(8, 32), name="other"))


def chosen(key, volume) -> int:
    return volume.index(key.sop_instance_uid)


def test_a_key_object_goes_before_ehr_segmentation_and_locator_and_each_steps_in_for_the_one_before(stack, tmp_path):
    heads, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[5]])
    seg = outlines.segmentation(tmp_path / "seg.dcm", heads, {"Gastric tumour": [0, 9, 40, 9, 0, 0, 0, 0]})
    given = {"ehr_sop_uid": heads[4].SOPInstanceUID, "segmentations": [seg]}

    def locator():
        return np.arange(8.0)

    keys = [
        find_key_slice(volume, key_objects=[ko], locator=locator, **given),
        find_key_slice(volume, locator=locator, **given),
        find_key_slice(volume, segmentations=[seg], locator=locator),
        find_key_slice(volume, locator=locator),
    ]

    assert [k.source for k in keys] == list(KeySliceSource)
    assert [chosen(k, volume) for k in keys] == [5, 4, 2, 7]


def test_nothing_that_points_into_the_series_is_a_refusal(stack, elsewhere, tmp_path):
    _, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [elsewhere[3]])

    with pytest.raises(CaseRejected) as refused:
        find_key_slice(volume, key_objects=[ko], ehr_sop_uid=elsewhere[2].SOPInstanceUID)

    assert refused.value.code == "no_key_slice"
    assert refused.value.numbers["key_objects"] == 1
    assert "no instance of this series" in refused.value.sentence


def test_references_to_another_series_are_passed_over_and_noted(stack, elsewhere, tmp_path):
    heads, volume = stack
    foreign = outlines.key_objects(tmp_path / "foreign.dcm", [elsewhere[1]], at="130000")
    mixed = outlines.key_objects(tmp_path / "mixed.dcm", [heads[6], heads[1]], at="110000")

    key = find_key_slice(volume, key_objects=[foreign, mixed])

    assert chosen(key, volume) == 6
    assert any("no instance of this series" in note for note in key.detail)


@pytest.mark.parametrize(
    "title", [codes.DCM.RejectedForQualityReasons, codes.DCM.QualityIssue, codes.DCM.Manifest], ids=lambda c: c.value
)
def test_a_rejection_or_a_manifest_marks_no_key_slice(stack, tmp_path, title):
    heads, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[5]], title=title)

    key = find_key_slice(volume, key_objects=[ko], ehr_sop_uid=heads[2].SOPInstanceUID)

    assert (chosen(key, volume), key.source) == (2, KeySliceSource.EHR)


def test_our_own_key_objects_of_an_earlier_night_are_no_reader_s_mark(stack, tmp_path):
    heads, volume = stack
    ours = outlines.key_objects(tmp_path / "ko.dcm", [heads[5]], observer=outlines.device_observer())

    key = find_key_slice(volume, key_objects=[ours], ehr_sop_uid=heads[2].SOPInstanceUID)

    assert key.source is KeySliceSource.EHR


def test_the_newest_key_objects_count(stack, tmp_path):
    heads, volume = stack
    old = outlines.key_objects(tmp_path / "a.dcm", [heads[1]], at="090000")
    new = outlines.key_objects(tmp_path / "b.dcm", [heads[3]], at="210000")

    assert chosen(find_key_slice(volume, key_objects=[old, new]), volume) == 3
    assert chosen(find_key_slice(volume, key_objects=[new, old]), volume) == 3


def test_a_larger_liver_lesion_or_metastasis_is_not_taken_for_the_tumour(stack, tmp_path):
    heads, volume = stack
    seg = outlines.segmentation(
        tmp_path / "seg.dcm",
        heads,
        {
            "Liver lesion": [0, 0, 0, 0, 0, 90, 0, 0],
            "Lesion": [0, 0, 0, 0, 80, 0, 0, 0],
            "Gastric node metastasis": [0, 70, 0, 0, 0, 0, 0, 0],
            "Stomach": [200] * 8,
            "Lesion 2": [0, 0, 0, 20, 30, 0, 0, 0],
        },
        kinds={"Stomach": codes.SCT.Stomach, "Gastric node metastasis": codes.SCT.NeoplasmSecondary},
        regions={"Lesion": [codes.SCT.Liver], "Lesion 2": [codes.SCT.Stomach]},
    )

    key = find_key_slice(volume, segmentations=[seg])

    assert chosen(key, volume) == 4
    assert any("gastric_tumour" in note and "19 mm2" in note for note in key.detail)  # 30 pixels of 0.8 x 0.8 mm


def test_a_segmentation_without_a_gastric_tumour_is_no_answer(stack, tmp_path):
    heads, volume = stack
    seg = outlines.segmentation(
        tmp_path / "seg.dcm", heads, {"Liver metastasis": [9] * 8}, regions={"Liver metastasis": [codes.SCT.Liver]}
    )

    with pytest.raises(CaseRejected, match="no gastric tumour"):
        find_key_slice(volume, segmentations=[seg])


def test_a_structure_set_is_measured_by_area_less_holes_not_by_contours(stack, tmp_path):
    heads, volume = stack
    rt = outlines.structure_set(
        tmp_path / "rt.dcm",
        heads,
        {"GTV_p": {2: [12.0, 10.0], 3: [8.0], 4: [5.0]}, "Stomach": {6: [20.0]}, "GTVn": {7: [20.0]}},
        interpreted={"Stomach": "ORGAN", "GTVn": "GTV"},
    )

    key = find_key_slice(volume, segmentations=[rt])

    assert (chosen(key, volume), key.source) == (3, KeySliceSource.SEGMENTATION)  # 64 mm2 against 144 - 100


def test_contours_that_name_no_instance_are_placed_by_position(stack, tmp_path):
    heads, volume = stack
    rt = outlines.structure_set(tmp_path / "rt.dcm", heads, {"GTV": {5: [9.0]}}, name_instances=False)

    key = find_key_slice(volume, segmentations=[rt])

    assert chosen(key, volume) == 5


def test_outlines_in_another_frame_of_reference_are_not_placed_by_position(stack, elsewhere, tmp_path):
    _, volume = stack
    rt = outlines.structure_set(tmp_path / "rt.dcm", elsewhere, {"GTV": {5: [9.0]}}, name_instances=False)

    with pytest.raises(CaseRejected):
        find_key_slice(volume, segmentations=[rt])


def test_damaged_objects_beside_the_series_cost_the_case_nothing(stack, tmp_path):
    heads, volume = stack
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"this is not DICOM")
    truncated = tmp_path / "truncated.dcm"
    whole = outlines.segmentation(tmp_path / "seg.dcm", heads, {"Tumour": [9] * 8}).read_bytes()
    truncated.write_bytes(whole[: len(whole) - 300])

    key = find_key_slice(
        volume, key_objects=[broken], segmentations=[truncated], ehr_sop_uid=str(heads[3].SOPInstanceUID)
    )

    assert chosen(key, volume) == 3
    assert any("not readable" in note for note in key.detail)
    with pytest.raises(CaseRejected, match="could not be used"):
        find_key_slice(volume, segmentations=[truncated])


def test_scores_that_are_not_finite_choose_no_slice(stack):
    _, volume = stack

    with pytest.raises(CaseRejected) as refused:
        find_key_slice(volume, locator=lambda: np.full(8, np.nan))

    assert refused.value.code == "no_key_slice"


def test_the_locator_is_not_asked_while_anyone_else_knows(stack):
    heads, volume = stack
    asked = []

    find_key_slice(volume, ehr_sop_uid=str(heads[1].SOPInstanceUID), locator=lambda: asked.append(1))

    assert asked == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Gastric tumour", Match.GASTRIC_TUMOUR),
        ("stomach_cancer", Match.GASTRIC_TUMOUR),
        ("Adenocarcinoma, antrum", Match.GASTRIC_TUMOUR),
        ("GTV", Match.TUMOUR),
        ("GTVp1", Match.TUMOUR),
        ("Primary tumor", Match.TUMOUR),
        ("GTV_N", Match.NO),
        ("Stomach", Match.NO),
        ("Gastric wall", Match.NO),
        ("Liver tumour", Match.NO),
        ("Gastric lymph node", Match.NO),
        ("Lesion 1", Match.NO),
        ("", Match.NO),
    ],
)
def test_a_name_is_the_gastric_tumour_s_only_if_it_says_so(name, expected):
    assert match_gastric_tumour([name]) is expected


def test_area_of_two_separate_contours_adds_up():
    square = np.array([[0, 0, 5], [4, 0, 5], [4, 4, 5], [0, 4, 5]], float)

    assert enclosed_area([square, square + np.array([10, 0, 0])]) == pytest.approx(32)
