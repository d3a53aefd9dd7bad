"""Pixels are counted once a slice, and what intake measured counts for the very same instances only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from scipy import ndimage

from gtr_batch.config import ValidateConfig
from gtr_batch.domain.aorta_liver import MeasuredSlice, SliceMeasure
from gtr_batch.domain.contrast import Phase
from gtr_batch.files import LocalFileStore
from gtr_batch.intake import read_probe
from gtr_batch.night.inputs import MEASURED, measured_slices, write_measured
from gtr_batch.validate import headers, pixels
from gtr_batch.validate.pixels import PixelLook, blanked_area
from tests.builders import a_case
from tests.phantoms import abdomen_hu, write_series

SLICES = 12


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, abdomen_hu(SLICES, 256), spacing_mm=1.6, shuffle=False)
    return folder


def _copied(series: Path, folder: Path, change: Callable[[Dataset], None]) -> list[Path]:
    folder.mkdir()
    for path in sorted(series.glob("*.dcm")):
        ds = pydicom.dcmread(path)
        change(ds)
        ds.save_as(folder / path.name)
    return sorted(folder.glob("*.dcm"))


def _look(folder: Path, known: tuple[MeasuredSlice, ...] = ()) -> PixelLook:
    look = PixelLook(known)
    headers.read_series(folder, ValidateConfig(), look)
    return look


def _told(measured: tuple[MeasuredSlice, ...]) -> tuple[MeasuredSlice, ...]:
    """The same slices with an answer that no measurement would give, so that its use shows."""
    return tuple(attrs.evolve(one, measure=SliceMeasure(40.0, 55.0, 9_000.0)) for one in measured)


@pytest.fixture
def measured_here(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every image that validation measures itself."""
    done: list[object] = []
    real = pixels.measure
    monkeypatch.setattr(pixels, "measure", lambda image: done.append(image) or real(image))
    return done


def test_a_series_is_measured_until_its_phase_is_decided(series: Path, measured_here: list[object]) -> None:
    evidence = _look(series).phase()

    assert evidence.phase is Phase.PORTAL_VENOUS
    assert evidence.slices == len(measured_here) == 5


def test_what_intake_measured_of_a_slice_is_not_measured_again(series: Path, measured_here: list[object]) -> None:
    probe = read_probe(sorted(series.glob("*.dcm"))[3:10:3], instances=SLICES)

    evidence = _look(series, probe.measured).phase()

    assert len(probe.measured) == 3
    assert evidence.slices == len(measured_here) + 3
    assert evidence.slices < SLICES
    assert 0 < len(measured_here) <= 3, "never the probes alone"
    assert evidence.liver_hu == pytest.approx(110, abs=3)


def _brighter(ds: Dataset) -> None:
    stored = np.frombuffer(ds.PixelData, "<i2").copy()
    stored[stored.size // 2] += 8
    ds.PixelData = stored.tobytes()


def _another_intercept(ds: Dataset) -> None:
    ds.RescaleIntercept = "1"


def _another_grid(ds: Dataset) -> None:
    ds.PixelSpacing = [1.61, 1.6]


def _another_instance(ds: Dataset) -> None:
    ds.SOPInstanceUID = ds.SOPInstanceUID + ".9"


@pytest.mark.parametrize("change", [_brighter, _another_intercept, _another_grid, _another_instance])
def test_a_fact_of_intake_counts_for_the_very_same_instance_only(
    series: Path, tmp_path: Path, change: Callable[[Dataset], None]
) -> None:
    told = _told(read_probe(sorted(series.glob("*.dcm")), instances=SLICES).measured)
    _copied(series, tmp_path / "changed", change)

    assert _look(series, told).phase().aorta_hu == 40
    assert _look(tmp_path / "changed", told).phase() == _look(tmp_path / "changed").phase()


def test_probes_that_contradict_the_series_make_it_be_measured_whole(series: Path) -> None:
    told = _told(read_probe(sorted(series.glob("*.dcm"))[3:10:3], instances=SLICES).measured)

    evidence = _look(series, told).phase()

    assert evidence.slices == SLICES
    assert (evidence.phase, evidence.aorta_slices) == (Phase.PORTAL_VENOUS, SLICES)


def test_what_intake_measured_lies_in_the_cases_folder_and_is_done_without_where_it_is_cut(
    series: Path, tmp_path: Path
) -> None:
    store, case = LocalFileStore(tmp_path), a_case(sorted(series.glob("*.dcm")))
    blank = MeasuredSlice("1.2.3", "0" * 64, SliceMeasure(body=False))
    measured = (*read_probe(sorted(series.glob("*.dcm"))[:2]).measured, blank)
    assert measured_slices(store, case) == ()

    write_measured(store, case.night, case.case_id, measured)
    read = measured_slices(store, case)

    assert [one.key for one in read] == [one.key for one in measured]
    assert read[:2] == measured[:2]
    assert not read[2].measure.body
    (path,) = tmp_path.rglob(f"{MEASURED}.json")
    assert path.stat().st_mode & 0o077 == 0
    for spoilt in (path.read_text()[:-40], "[]", "{}", '[{"measure": 1}]', "[1]", "null", ""):
        path.write_text(spoilt)
        assert measured_slices(store, case) == ()


def _plainly(hu: np.ndarray) -> tuple[float, float, float, float]:
    """Shares of air and tissue, where air lies, and the blanked area, counted the plain way."""
    thin, edges = hu[::2, ::2], np.arange(-1100, -495, 10)
    labels, _ = ndimage.label(thin > -300)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    air = np.histogram(thin[~ndimage.binary_fill_holes(labels == sizes.argmax())], bins=edges)[0]
    dark, tissue = ((thin > -1100) & (thin < -500)).mean(), ((thin > -150) & (thin < 200)).mean()
    return float(dark), float(tissue), float(edges[air.argmax()] + 5), float(air.sum())


@pytest.mark.parametrize("seed", range(4))
def test_pixels_are_counted_as_the_plain_way_counts_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hu = abdomen_hu(1, 128, seed)[0].astype(np.float32)
    hu += rng.normal(0, 20, hu.shape).astype(np.float32)
    hu[40:60, 50:60] = -900  # gas within the body is no air outside it
    hu[:4] = -500
    look = PixelLook()

    look._count(hu, 0.8)

    dark, tissue, air_hu, air = _plainly(hu)
    assert look.slices == [(pytest.approx(dark), pytest.approx(tissue), air_hu)]
    assert look.air.sum() == air
    assert look.facts()["air_hu"] == air_hu


@pytest.mark.parametrize(("rows", "columns", "found"), [(20, 30, 551), (6, 6, 0), (9, 9, 64)])
def test_a_rectangle_of_one_value_is_found_among_many_small_ones(rows: int, columns: int, found: int) -> None:
    rng = np.random.default_rng(3)
    thin = rng.integers(0, 4, (128, 128)).astype(np.float32)
    thin[40 : 40 + rows, 50 : 50 + columns] = 77

    assert blanked_area(thin, np.ones(thin.shape, dtype=bool)) == found
