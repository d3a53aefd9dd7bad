"""Names of manufacturers and scanners: what vendors write is shown, what anybody typed is not."""

from __future__ import annotations

import pytest

from gtr_batch.domain.scanner_name import OTHER_MANUFACTURER, OTHER_MODEL, manufacturer_shown, model_shown


@pytest.mark.parametrize(
    "name",
    [
        "SIEMENS", "Siemens Healthineers", "GE MEDICAL SYSTEMS", "GE Healthcare", "Philips", "Philips Medical Systems",
        "TOSHIBA", "TOSHIBA_MEC", "CANON_MEC", "Canon Medical Systems", "Hitachi Medical Corporation", "UIH",
        "FUJIFILM Healthcare", "United Imaging Healthcare", "NMS", "Neusoft Medical Systems Co., Ltd.", "",
    ],
)  # fmt: skip
def test_a_vendors_name_is_shown_as_it_stands(name):
    assert manufacturer_shown(f" {name} ") == name


@pytest.mark.parametrize(
    "name",
    [
        "SOMATOM Definition AS+", "SOMATOM Force", "SOMATOM go.Top", "SOMATOM X.cite", "Sensation 64", "Biograph128",
        "NAEOTOM Alpha", "LightSpeed VCT", "Optima CT660", "Revolution CT", "Discovery CT750 HD", "BrightSpeed",
        "Brilliance 64", "Ingenuity CT", "IQon - Spectral CT", "iCT 256", "Spectral CT 7500", "MX 16-slice", "Aquilion",
        "Aquilion ONE", "Aquilion Prime SP", "SCENARIA", "Supria", "uCT 780", "NeuViz 128", "SCT-7000", "",
    ],
)  # fmt: skip
def test_a_scanners_name_is_shown_as_it_stands(name):
    assert model_shown(name) == name


@pytest.mark.parametrize(
    "typed",
    [
        "Zweigstein", "SIEMENS Zweigstein", "GE 19370417", "Philips Zweigstein^Ada", "Medical Systems",
        "\u738b\u5c0f\u660e", "Philips\u738b", "Healthcare Group",
    ],
)  # fmt: skip
def test_what_is_no_manufacturer_is_not_repeated(typed):
    assert manufacturer_shown(typed) == OTHER_MANUFACTURER


@pytest.mark.parametrize(
    "typed",
    [
        "Zweigstein", "SOMATOM Zweigstein", "SOMATOM 19370417", "SOMATOM 1937", "SOMATOM 19 37 041", "64", "CT", "PLUS",
        "Aquilion \u738b\u5c0f\u660e", "Force of Zweigstein",
    ],
)  # fmt: skip
def test_what_is_no_scanner_is_not_repeated(typed):
    assert model_shown(typed) == OTHER_MODEL
