"""Who marks the key slice, and in what order they are heard."""

from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from pydicom.sr.codedict import codes

from gtr_batch.config import PreprocessConfig
from gtr_batch.domain.locating import Location
from gtr_batch.domain.staging import Flag, KeySliceSource, TStage
from gtr_batch.errors import CaseRejected, ConfigError
from gtr_batch.preprocess import find_key_slice, read_series
from gtr_batch.preprocess.cross_section import enclosed_area
from gtr_batch.preprocess.tumour_names import Match, match_gastric_tumour, other_organ
from tests.phantoms import abdomen_hu, write_series
from tests.unit.preprocess import outlines


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Headers of eight slices, ascending, and their volume."""
    folder = tmp_path_factory.mktemp("series")
    return outlines.headers(write_series(folder, abdomen_hu(8, 32))), read_series(folder)


@pytest.fixture(scope="module")
def tall_stack(tmp_path_factory):
    """The same, of slices 5 mm apart."""
    folder = tmp_path_factory.mktemp("tall")
    paths = write_series(folder, abdomen_hu(8, 32), thickness_mm=5.0)
    return outlines.headers(paths), read_series(folder)


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
        return Location(7, p_near=0.9, expected_error_mm=4.0)

    keys = [
        find_key_slice(volume, key_objects=[ko], locator=locator, **given),
        find_key_slice(volume, locator=locator, **given),
        find_key_slice(volume, segmentations=[seg], locator=locator),
        find_key_slice(volume, locator=locator),
    ]

    assert [k.source for k in keys] == [s for s in KeySliceSource if s is not KeySliceSource.READER]
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


@pytest.mark.parametrize(
    "title",
    [codes.DCM.ForTeaching, codes.DCM.ForResearch, codes.DCM.ForLitigation, codes.DCM.ForPrinting],
    ids=lambda c: c.value,
)
def test_a_selection_with_another_purpose_does_not_outrank_the_ehr_s_tumour_slice(stack, tmp_path, title):
    heads, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[5]], title=title)

    key = find_key_slice(volume, key_objects=[ko], ehr_sop_uid=heads[2].SOPInstanceUID)

    assert (chosen(key, volume), key.source) == (2, KeySliceSource.EHR)
    assert any(title.value in note for note in key.detail)


@pytest.mark.parametrize(
    "title",
    [codes.DCM.OfInterest, codes.DCM.ForSurgery, codes.DCM.BestInSet, codes.DCM.ForTumorBoard],
    ids=lambda c: c.value,
)
def test_a_selection_that_shows_what_was_found_is_accepted(stack, tmp_path, title):
    heads, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[5]], title=title)

    key = find_key_slice(volume, key_objects=[ko], ehr_sop_uid=heads[5].SOPInstanceUID)

    assert (chosen(key, volume), key.source, key.flags) == (5, KeySliceSource.KEY_OBJECT, ())


def test_which_titles_are_accepted_is_the_site_s(stack, tmp_path):
    heads, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[5]], title=codes.DCM.ForTeaching)
    own = outlines.key_objects(
        tmp_path / "own.dcm", [heads[4]], at="230000", title=hd.sr.CodedConcept("KEY", "99SITE", "Key slice")
    )

    keys = [
        find_key_slice(volume, key_objects=[ko, own], titles=titles, locator=lambda: Location(7, 0.9, 4.0))
        for titles in (("113004",), ("113004", "99SITE:KEY"), ())
    ]

    assert [chosen(key, volume) for key in keys] == [5, 4, 7]


@pytest.mark.parametrize("title", ["113001", "113037", "Of Interest", ""])
def test_a_title_that_rejects_images_or_is_no_code_is_no_setting(title):
    with pytest.raises(ConfigError, match="key_object_titles"):
        PreprocessConfig(key_object_titles=(title,))


@pytest.mark.parametrize(
    ("description", "series"),
    [
        ("Liver metastasis, segment VI", ""),
        ("Lebermetastase", ""),
        ("肝转移", ""),
        ("", "Metastases"),
        ("Node 12a", ""),
    ],
)
def test_a_selection_about_another_organ_does_not_outrank_the_ehr_s_tumour_slice(stack, tmp_path, description, series):
    heads, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[5]], description=description or None, series=series)

    key = find_key_slice(volume, key_objects=[ko], ehr_sop_uid=heads[2].SOPInstanceUID)

    assert key.source is KeySliceSource.EHR
    assert any("another organ" in note for note in key.detail)
    assert not description or all(description not in note for note in key.detail)  # words of a person stay out


@pytest.mark.parametrize(
    ("text", "organ"),
    [
        ("Largest axial cross-section of the gastric tumour", ""),
        ("Gastric cancer, invades pancreas and colon", ""),
        ("Gastric carcinoma with perigastric nodes", ""),
        ("Antrum tumour, no liver metastases", ""),
        ("Magenkarzinom, keine Metastasen", ""),
        ("key image, rim enhancement, first rate", ""),
        ("", ""),
        ("Liver lesion beside the stomach", "liver"),
        ("Liver metastasis of gastric cancer", "metastasis"),
        ("Gastric lymph node", "lymph node"),
        ("left kidney cyst", "kidney"),
        ("Nierenzyste", "kidney"),
        ("foie", "liver"),
        ("Киста печени", "liver"),
        ("胰腺癌", "pancreas"),
        ("rectal cancer", "bowel"),
        ("Cardiac thrombus", "vessel"),
    ],
)
def test_a_description_is_about_the_organ_that_it_names_first(text, organ):
    assert other_organ(text) == organ


def test_of_several_marks_the_first_is_taken_and_flagged_with_their_distance(stack, tmp_path):
    heads, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[4], heads[5], heads[2]])
    spread_mm = float(volume.positions_mm[5] - volume.positions_mm[2])

    key = find_key_slice(volume, key_objects=[ko])

    assert chosen(key, volume) == 4
    assert Flag.SEVERAL_KEY_SLICES in key.flags
    assert any("3 slices of this series" in note and f"{spread_mm:.0f} mm apart" in note for note in key.detail)


def test_one_mark_that_is_named_twice_is_one_mark(stack, tmp_path):
    heads, volume = stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[4], heads[4]])

    assert find_key_slice(volume, key_objects=[ko]).flags == ()


@pytest.mark.parametrize("other", ["older key object", "ehr", "segmentation"])
@pytest.mark.parametrize(("place", "flags"), [(7, (Flag.KEY_SLICES_APART,)), (2, ())])
def test_sources_more_than_3_cm_apart_are_flagged_with_their_distance(tall_stack, tmp_path, other, place, flags):
    heads, volume = tall_stack
    ko = outlines.key_objects(tmp_path / "ko.dcm", [heads[0]], at="210000")
    pixels = [30 if index == place else 0 for index in range(8)]
    given = {
        "older key object": {"key_objects": [ko, outlines.key_objects(tmp_path / "old.dcm", [heads[place]])]},
        "ehr": {"key_objects": [ko], "ehr_sop_uid": heads[place].SOPInstanceUID},
        "segmentation": {
            "key_objects": [ko],
            "segmentations": [outlines.segmentation(tmp_path / "seg.dcm", heads, {"Gastric tumour": pixels})],
        },
    }[other]
    away_mm = float(volume.positions_mm[place] - volume.positions_mm[0])

    key = find_key_slice(volume, **given)

    assert (chosen(key, volume), key.flags) == (0, flags)
    assert key.apart_mm == pytest.approx(away_mm)
    assert any(f"{away_mm:.0f} mm away" in note for note in key.detail) is bool(flags)


def test_of_two_written_in_the_same_second_the_later_instance_counts(stack, tmp_path):
    heads, volume = stack
    first = outlines.key_objects(tmp_path / "z.dcm", [heads[1]], number=1)
    second = outlines.key_objects(tmp_path / "a.dcm", [heads[3]], number=2)

    assert chosen(find_key_slice(volume, key_objects=[second, first]), volume) == 3


def test_a_time_with_fewer_digits_is_earlier_than_the_same_with_more(stack, tmp_path):
    heads, volume = stack
    early = outlines.key_objects(tmp_path / "z.dcm", [heads[1]], at="0930")
    late = outlines.key_objects(tmp_path / "a.dcm", [heads[3]], at="093000.5")

    assert chosen(find_key_slice(volume, key_objects=[early, late]), volume) == 3


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


@pytest.mark.parametrize(("certain", "flags"), [(True, ()), (None, ()), (False, (Flag.KEY_SLICE_UNCERTAIN,))], ids=str)
def test_an_automatic_key_slice_below_the_threshold_of_certainty_is_flagged(stack, certain, flags):
    _, volume = stack

    key = find_key_slice(volume, locator=lambda: Location(3, 0.41, 12.0, certain, nearby=(TStage.T2,) * 5))

    assert (chosen(key, volume), key.flags, key.nearby) == (3, flags, (TStage.T2,) * 5)
    assert any("probability 0.41" in note and "12 mm" in note for note in key.detail)


def test_scores_that_are_not_finite_choose_no_slice(stack):
    _, volume = stack

    with pytest.raises(CaseRejected) as refused:
        find_key_slice(volume, locator=lambda: None)

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
