"""Which series deserve a probe."""

from __future__ import annotations

from itertools import permutations

import pytest

from gtr_batch.domain.series import SeriesRecord
from gtr_batch.intake import candidates, probe_indices


def _series(number: int, description: str = "", instances: int | None = 100, modality: str = "CT", **more: str):
    return SeriesRecord("1", f"1.{number}", modality, description, series_number=number, instances=instances, **more)


@pytest.mark.parametrize(
    "description",
    ["Topogram 0.6", "SCOUT", "Surview", "Dose Report", "Patient Protocol", "PV COR 3.0", "venous MPR sag",
     "Lung 1.0 B70",
     "PremonitoringScan", "Smart Prep Series", "3D VRT", "Exam Summary", "定位像"],
)  # fmt: skip
def test_leaves_out_what_its_words_say_is_no_axial_soft_tissue_series(description: str) -> None:
    assert candidates([_series(1, description)]) == []


def test_leaves_out_other_modalities_and_what_is_too_short() -> None:
    series = [_series(1, modality="SR"), _series(2, modality="PT"), _series(3, instances=3)]

    assert candidates(series) == []


def test_an_empty_description_never_excludes_a_series() -> None:
    silent = _series(1, "", instances=None)

    assert candidates([silent]) == [silent]


def test_low_dose_is_no_dose_report() -> None:
    assert len(candidates([_series(1, "Abdomen low dose venous")])) == 1


def test_the_series_that_names_the_portal_venous_phase_is_probed_first() -> None:
    native, arterial, portal, silent = (
        _series(2, "Abdomen native"), _series(3, "Abdomen arterial"), _series(4, "Abdomen PV"), _series(5)
    )  # fmt: skip

    for order in permutations([native, arterial, portal, silent]):
        assert candidates(order) == [portal, silent, arterial, native]


def test_probes_a_handful_at_most() -> None:
    many = [_series(n) for n in range(30)]

    assert len(candidates(many)) == 6
    assert candidates([*many, _series(99, "portal venous")])[0].series_number == 99


@pytest.mark.parametrize(("n", "expected"), [(0, ()), (1, (0,)), (2, (0, 1)), (3, (0, 1, 2)), (5, (1, 2, 3))])
def test_probe_indices_lie_within_the_series(n: int, expected: tuple[int, ...]) -> None:
    assert probe_indices(n) == expected


def test_probes_are_spread_over_the_middle_of_the_series() -> None:
    assert probe_indices(87) == (22, 43, 64)
    assert probe_indices(87, 1) == (43,)
