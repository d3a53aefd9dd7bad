"""Choosing the portal venous series, by evidence that is named."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.series import SeriesEvidence, SeriesRecord
from gtr_batch.domain.staging import Flag
from gtr_batch.intake import select_portal_venous

PORTAL = {"score_portal_venous": 0.9, "aorta_hu": 150.0, "liver_hu": 105.0}
ARTERIAL = {"score_arterial": 1.0, "aorta_hu": 290.0, "liver_hu": 65.0}
UNENHANCED = {"score_unenhanced": 1.0, "aorta_hu": 41.0, "liver_hu": 55.0}


def _series(
    uid: str, description: str = "", contrast: dict[str, float] | None = None, **headers: object
) -> SeriesEvidence:
    plain: dict[str, object] = {
        "Modality": "CT",
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "Manufacturer": "SIEMENS",
        "ConvolutionKernel": "B30f",
        "SliceThickness": 3.0,
        "Rows": 512,
        "Columns": 512,
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "SeriesDescription": description,
    }
    record = SeriesRecord("1", uid, "CT", description)
    return SeriesEvidence(record, plain | headers, contrast or {}, 300.0)


def test_chooses_the_portal_venous_of_three_phases_in_any_order() -> None:
    series = [
        _series("1.1", "Abdomen native", UNENHANCED),
        _series("1.2", "Abdomen arterial", ARTERIAL),
        _series("1.3", "Abdomen portal venous", PORTAL),
    ]

    for order in permutations(series):
        selection = select_portal_venous(order)

        assert selection.series_uid == "1.3"
        assert selection.confirmed
        assert set(selection.rejected) == {"1.1", "1.2"}


def test_the_words_of_a_description_are_not_repeated() -> None:
    """Tardieu reads as delayed, Spathis as late: both are names."""
    for name, meaning in (("Tardieu", "delayed"), ("Spathis", "delayed"), ("venosta", "portal venous")):
        selection = select_portal_venous([_series("1.1", name, PORTAL)])

        [said] = [r.evidence for r in selection.reasons if r.rule == "words"]
        assert said == f"series description says {meaning}"


def test_chooses_by_pixels_where_all_tags_are_silent_and_says_so() -> None:
    selection = select_portal_venous([_series("1.1", "", PORTAL)])

    assert selection.series_uid == "1.1"
    assert Flag.CONTRAST_TAGS_ABSENT in selection.flags
    assert any(r.rule == "pixels" and "aorta 150 HU" in r.evidence for r in selection.reasons)


def test_words_alone_are_enough_but_the_phase_stays_unconfirmed() -> None:
    selection = select_portal_venous([_series("1.1", "Abdomen PV", ContrastBolusAgent="Iohexol")])

    assert selection.series_uid == "1.1"
    assert not selection.confirmed
    assert selection.flags == ()


@pytest.mark.parametrize("pixels", [UNENHANCED, ARTERIAL])
def test_pixels_that_contradict_the_words_refuse_the_series(pixels: dict[str, float]) -> None:
    selection = select_portal_venous([_series("1.1", "Abdomen portal venous", pixels)])

    assert selection.series_uid is None
    assert [r.rule for r in selection.rejected["1.1"]] == ["pixels"]
    assert "HU" in selection.sentence()


def test_probes_that_missed_the_liver_do_not_refuse_alone() -> None:
    weak = {"score_unenhanced": 0.8, "aorta_hu": 70.0}

    assert select_portal_venous([_series("1.1", "Abdomen portal venous", weak)]).series_uid == "1.1"


@pytest.mark.parametrize(
    ("seconds", "chosen"), [(30, False), (44, False), (45, True), (70, True), (90, True), (300, False)]
)
def test_a_delay_of_45_to_90_seconds_is_portal_venous(seconds: int, chosen: bool) -> None:
    taken = f"10{seconds // 60:02d}{seconds % 60:02d}.500000"
    series = _series("1.1", ContrastBolusStartTime="100000.500", AcquisitionTime=taken)

    selection = select_portal_venous([series])

    assert (selection.series_uid == "1.1") is chosen


def test_a_delay_over_midnight_counts() -> None:
    series = _series("1.1", ContrastBolusStartTime="235930", AcquisitionTime="000040")

    assert select_portal_venous([series]).series_uid == "1.1"


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "kind"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "kind"),
        ({"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VNC"]}, "kind"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "kind"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, "kind"),
        ({"Modality": "PT"}, "modality"),
    ],
)
def test_what_is_no_axial_ct_is_never_chosen(headers: dict[str, object], rule: str) -> None:
    series = _series("1.1", "portal venous", PORTAL, **headers)

    selection = select_portal_venous([series])

    assert selection.series_uid is None
    assert rule in {r.rule for r in selection.rejected["1.1"]}


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        ({"ConvolutionKernel": "B70f"}, "kernel"),
        ({"ConvolutionKernel": ["Bl57d", "3"]}, "kernel"),
        ({"Manufacturer": "GE MEDICAL SYSTEMS", "ConvolutionKernel": "LUNG"}, "kernel"),
        ({"Manufacturer": "TOSHIBA", "ConvolutionKernel": "FC52"}, "kernel"),
        ({"Manufacturer": "Philips", "ConvolutionKernel": "L"}, "kernel"),
        ({"SliceThickness": 7.0}, "thickness"),
        ({"SliceThickness": 0.6}, "thickness"),
        ({"Rows": 768, "Columns": 768}, "matrix"),
    ],
)
def test_a_portal_venous_series_of_the_wrong_quality_is_the_last_resort(headers: dict[str, object], rule: str) -> None:
    """Alone it is chosen, so that validation refuses it by that name; beside a fit one, however weak, it is not."""
    unfit = _series("1.1", "portal venous", PORTAL, **headers)
    fit = _series("1.2", "PV")
    other = _series("1.3", "portal venous", ARTERIAL)

    assert select_portal_venous([unfit, other]).series_uid == "1.1"
    assert select_portal_venous([unfit, fit]).series_uid == "1.2"
    assert {r.rule for r in select_portal_venous([unfit, fit]).rejected["1.1"]} == {rule}


def test_an_unfit_series_without_evidence_is_not_chosen_even_then() -> None:
    assert select_portal_venous([_series("1.1", "Abdomen", SliceThickness=7.0)]).series_uid is None


def test_a_delay_does_not_overrule_words_that_name_another_phase() -> None:
    series = _series("1.1", "Abdomen arterial", ContrastBolusStartTime="100000", AcquisitionTime="100050")

    assert select_portal_venous([series]).series_uid is None


@pytest.mark.parametrize(
    ("manufacturer", "kernel"),
    [("SIEMENS", "Br40d"), ("SIEMENS", "I30f"), ("GE MEDICAL SYSTEMS", "STANDARD"), ("GE MEDICAL SYSTEMS", "SOFT"),
     ("Philips", "B"), ("Philips", "C"), ("TOSHIBA", "FC08"), ("CANON", "FC18"), ("SIEMENS", ""), ("NMS", "F20")],
)  # fmt: skip
def test_soft_and_unknown_kernels_are_taken(manufacturer: str, kernel: str) -> None:
    series = _series("1.1", "portal venous", PORTAL, Manufacturer=manufacturer, ConvolutionKernel=kernel)

    assert select_portal_venous([series]).series_uid == "1.1"


def test_a_short_series_gives_way_and_unknown_coverage_is_no_reason() -> None:
    short = SeriesEvidence(_series("1.2").record, _series("1.1", "PV").headers, PORTAL, 38.0)
    unknown = SeriesEvidence(_series("1.1").record, _series("1.1", "PV").headers, PORTAL, None)

    assert select_portal_venous([short, unknown]).series_uid == "1.1"
    assert select_portal_venous([unknown]).series_uid == "1.1"


def test_limits_come_from_the_settings() -> None:
    thick, thin = _series("1.1", "PV", PORTAL, SliceThickness=7.0), _series("1.2", "PV", SliceThickness=3.0)

    assert select_portal_venous([thick, thin]).series_uid == "1.2"
    assert select_portal_venous([thick, thin], ValidateConfig(max_thickness_mm=8.0)).series_uid == "1.1"


def test_of_equals_the_one_nearest_to_3_mm_wins_then_the_later_one() -> None:
    five, three, one = (_series(f"1.{t}", "PV", PORTAL, SliceThickness=float(t)) for t in (5, 3, 1))
    early = _series("1.8", "PV", PORTAL, AcquisitionDate="20260301", AcquisitionTime="100000")
    late = _series("1.7", "PV", PORTAL, AcquisitionDate="20260301", AcquisitionTime="101500")

    assert select_portal_venous([five, three, one]).series_uid == "1.3"
    assert select_portal_venous([early, late]).series_uid == "1.7"


def test_nothing_that_speaks_for_a_phase_chooses_nothing() -> None:
    selection = select_portal_venous([_series("1.1", "Abdomen 5.0", ContrastBolusAgent="Iohexol")])

    assert selection.series_uid is None
    assert "nothing says portal venous" in selection.sentence()


def test_a_refusal_says_what_outweighed_what() -> None:
    late = _series(
        "1.1",
        "Abdomen pv",
        {"score_delayed": 0.9, "aorta_hu": 95.0, "liver_hu": 90.0},
        ContrastBolusStartTime="100000",
        AcquisitionTime="100400",
    )

    sentence = select_portal_venous([late]).sentence()

    assert "series description says portal venous (+4) is outweighed by" in sentence
    assert "pixels look delayed (aorta 95 HU, liver 90 HU) (-3)" in sentence
    assert "taken 240 s after injection: delayed (-3)" in sentence
    assert "nothing says portal venous" not in sentence


def test_a_refusal_begins_with_the_most_telling_reason() -> None:
    """What the pixels show, before what words say, before the limits of a series that is none anyway."""
    series = [
        _series("1.1", "A: arterial"),
        _series("1.2", "Abdomen pv", ARTERIAL),
        _series("1.3", "Abdomen", ImageType=["DERIVED", "SECONDARY", "MPR"], SliceThickness=9.0),
    ]

    sentence = select_portal_venous(series).sentence()

    assert sentence.startswith("None of 3 series is portal venous: pixels look arterial (aorta 290 HU, liver 65 HU)")
    assert sentence.index("pixels look") < sentence.index("says arterial") < sentence.index("9 mm")


@pytest.mark.parametrize(
    "headers",
    [
        {"SeriesDescription": "VMI 40 keV pv"},
        {"SeriesDescription": "pv", "DerivationDescription": "Monoenergetic Plus 40 keV"},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL", "MONO_E40"]},
    ],
)
def test_a_virtual_monoenergetic_series_is_never_chosen(headers: dict[str, object]) -> None:
    selection = select_portal_venous([_series("1.1", "pv", PORTAL, **headers)])

    assert selection.series_uid is None
    assert "virtual monoenergetic" in selection.sentence()


def test_no_series_is_an_answer_too() -> None:
    assert select_portal_venous([]).series_uid is None
    assert select_portal_venous([]).sentence() == "The study has no CT series that could be portal venous."


def test_a_description_of_two_phases_says_nothing() -> None:
    selection = select_portal_venous([_series("1.1", "Abdomen art/ven")])

    assert selection.series_uid is None


@given(
    st.text(max_size=40),
    st.dictionaries(
        st.sampled_from(["SliceThickness", "ContrastBolusStartTime", "AcquisitionTime", "ImageType",
                         "ConvolutionKernel", "ContrastBolusAgent", "ContrastBolusVolume", "AcquisitionNumber"]),
        st.one_of(st.text(max_size=12), st.floats(), st.lists(st.text(max_size=5), max_size=3)), max_size=8),
)  # fmt: skip
def test_no_header_however_odd_breaks_the_choice(description: str, headers: dict[str, object]) -> None:
    """And free text is never quoted: a reason is made of our own words and of matched ones."""
    selection = select_portal_venous([_series("1.1", f"Zzyzxova {description}", PORTAL, **headers)])

    assert selection.series_uid in (None, "1.1")
    assert "zzyzxova" not in repr(selection).lower()
