"""Reading a series: order, HU, padding, and what is refused."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from gtr_batch.domain.model import PreprocessingContract
from gtr_batch.errors import CaseRejected
from gtr_batch.preprocess import Volume, read_series
from gtr_batch.preprocess.grid import Grid, shrunk_volume
from tests.phantoms import abdomen_hu, write_series


@pytest.fixture(scope="module")
def hu() -> np.ndarray:
    """Six slices that differ."""
    return np.round(abdomen_hu(6, 48) + 10 * np.arange(6)[:, None, None])


@settings(max_examples=8, deadline=None)
@given(order=st.permutations(range(6)))
def test_order_does_not_depend_on_file_names_or_instance_numbers(tmp_path_factory, hu, order):
    folder = tmp_path_factory.mktemp("shuffled")
    paths = write_series(folder, hu, change=lambda i, ds: setattr(ds, "InstanceNumber", str(order[i] + 1)))
    for path, place in zip(paths, order, strict=True):
        path.rename(folder / f"{place}.bin")

    volume = read_series(folder)

    np.testing.assert_array_equal(volume.hu(), hu)
    np.testing.assert_allclose(volume.positions_mm, 3.0 * np.arange(6))


def test_slices_ascend_along_the_normal_where_the_rows_run_the_other_way(tmp_path, hu):
    """Feet first or prone: the normal is the cross product of the orientation, not the z axis."""

    def turn(_, ds):
        ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]

    write_series(tmp_path, hu, change=turn)

    volume = read_series(tmp_path)

    np.testing.assert_array_equal(volume.hu(), hu[::-1])
    assert volume.spacing == pytest.approx((3.0, 0.8, 0.8))
    np.testing.assert_allclose(volume.normal, [0, 0, -1])


def test_spacing_comes_from_positions_not_from_thickness(tmp_path, hu):
    write_series(tmp_path, hu, change=lambda _, ds: setattr(ds, "SliceThickness", 5.0))

    volume = read_series(tmp_path)

    assert volume.spacing[0] == pytest.approx(3.0)
    assert volume.thickness_mm == 5.0


def test_each_slice_has_its_own_slope_and_intercept(tmp_path, hu):
    def rescale(index, ds):
        stored = np.frombuffer(ds.PixelData, "<i2").astype(int)
        slope, intercept = (2, -1000 - 2 * index) if index % 2 else (1, -1024)
        ds.RescaleSlope, ds.RescaleIntercept = str(slope), str(intercept)
        ds.PixelData = ((stored - intercept) // slope).astype("<i2").tobytes()

    even = np.round(hu / 2) * 2
    write_series(tmp_path, even, change=rescale)

    np.testing.assert_array_equal(read_series(tmp_path).hu(), even)


@pytest.mark.parametrize("limit", [None, -1990])
def test_padding_becomes_the_contract_s_value(tmp_path, hu, limit):
    padded = hu.copy()
    padded[:, :4] = -2000
    padded[:, 4:6] = -2000 if limit is None else -1995

    def declare(_, ds):
        ds.add_new("PixelPaddingValue", "SS", -2000)
        if limit is not None:
            ds.add_new("PixelPaddingRangeLimit", "SS", limit)

    write_series(tmp_path, padded, change=declare)

    read = read_series(tmp_path).hu(padding_hu=-1024)

    assert (read[:, :6] == -1024).all()
    np.testing.assert_array_equal(read[:, 6:], padded[:, 6:])


def test_padding_written_with_the_wrong_sign_is_still_padding(tmp_path, hu):
    """Some scanners write 63536 (VR US) for -2000 in a series of signed pixels."""
    padded = hu.copy()
    padded[:, :4] = -2000
    write_series(tmp_path, padded, change=lambda _, ds: ds.add_new("PixelPaddingValue", "US", 63536))

    assert (read_series(tmp_path).hu(padding_hu=-1024)[:, :4] == -1024).all()


def test_bits_above_bits_stored_are_no_part_of_the_pixel(tmp_path, hu):
    """Old-style overlays lie in the unused bits (PS3.5, 8.1.1)."""

    def overlay(_, ds):
        stored = np.frombuffer(ds.PixelData, "<i2") + 1024
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 12, 11, 0, "-1024"
        ds.PixelData = (stored.astype("<u2") | 0x8000).tobytes()

    write_series(tmp_path, hu, change=overlay)

    np.testing.assert_array_equal(read_series(tmp_path).hu(), hu)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_compressed_syntaxes_decode_to_the_same_values(tmp_path, hu, syntax):
    for path in write_series(tmp_path, hu):
        ds = pydicom.dcmread(path)
        ds.compress(syntax)
        ds.save_as(path)

    np.testing.assert_array_equal(read_series(tmp_path).hu(), hu)


def test_only_the_wanted_instances_are_read(tmp_path, hu):
    write_series(tmp_path, hu)
    everything = read_series(tmp_path)
    wanted = everything.sop_instance_uids[1:4]

    part = read_series(tmp_path, wanted)

    assert part.sop_instance_uids == wanted
    np.testing.assert_array_equal(part.hu(), hu[1:4])


def test_files_that_are_not_dicom_are_passed_over(tmp_path, hu):
    write_series(tmp_path, hu)
    (tmp_path / "README.txt").write_text("about this series")

    assert read_series(tmp_path).shape == (6, 48, 48)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _garble(path):
    path.write_bytes(b"nothing of DICOM")


@pytest.mark.parametrize("damage", [_truncate, _garble])
def test_a_damaged_file_is_unreadable_pixels(tmp_path, hu, damage):
    damage(write_series(tmp_path, hu)[2])

    with pytest.raises(CaseRejected) as refused:
        read_series(tmp_path)

    assert refused.value.code == "unreadable_pixels"
    assert "Phantom^Test" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda i, ds: setattr(ds, "ImagePositionPatient", [0, 0, 3.0 * max(i, 1)]), "duplicate_slices"),
        (lambda i, ds: setattr(ds, "SeriesInstanceUID", f"1.2.{i // 3}"), "inconsistent_headers"),
        (lambda i, ds: setattr(ds, "PixelSpacing", [0.8 + 0.1 * (i == 2)] * 2), "inconsistent_headers"),
        (lambda i, ds: delattr(ds, "ImagePositionPatient"), "inconsistent_headers"),
        (lambda i, ds: setattr(ds, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "inconsistent_headers"),
        (lambda i, ds: setattr(ds, "SOPInstanceUID", ""), "invalid_uid"),
    ],
    ids=["two at one place", "two series", "two spacings", "no position", "no plane", "no identity"],
)
def test_a_series_that_is_no_volume_is_refused_by_name(tmp_path, hu, change, code):
    write_series(tmp_path, hu, change=change)

    with pytest.raises(CaseRejected) as refused:
        read_series(tmp_path)

    assert refused.value.code == code


def test_an_absent_instance_is_an_incomplete_series(tmp_path, hu):
    paths = write_series(tmp_path, hu)
    uids = read_series(tmp_path).sop_instance_uids
    paths[0].unlink()

    with pytest.raises(CaseRejected) as refused:
        read_series(tmp_path, uids)

    assert refused.value.code == "series_incomplete"
    assert refused.value.numbers == {"expected": 6, "absent": 1}


def test_an_empty_folder_is_an_incomplete_series(tmp_path):
    with pytest.raises(CaseRejected, match="series_incomplete"):
        read_series(tmp_path)


def test_real_jpeg_2000_slices_without_identity_are_refused(shared_data):
    with pytest.raises(CaseRejected) as refused:
        read_series(shared_data / "ct" / "totalsegmentator" / "example_ct_dicom")

    assert refused.value.code == "invalid_uid"


@pytest.mark.parametrize("slice_name", ["CT1", "CT2"])
def test_real_slices_are_the_same_in_every_lossless_syntax(shared_data, tmp_path, slice_name):
    read = []
    for syntax in ("JPLL", "JLSL", "J2KR", "RLE"):
        folder = tmp_path / syntax
        folder.mkdir()
        shutil.copy(shared_data / "quirks" / "wg04_syntaxes" / f"{slice_name}_{syntax}", folder)
        read.append(read_series(folder).hu())

    assert np.ptp(read[0]) > 2000
    assert all(np.array_equal(read[0], other) for other in read[1:])


def test_real_series_is_read_as_another_library_reads_it(shared_data):
    import SimpleITK as sitk

    from tests.unit.preprocess import reference

    folder = shared_data / "ct" / "tcga_coad_siemens"

    volume = read_series(folder)

    assert volume.stored.dtype == np.int16
    np.testing.assert_array_equal(volume.hu(), sitk.GetArrayFromImage(reference.read(folder)))


@pytest.mark.parametrize("key_index", [0, 3, 5])
def test_values_straight_from_the_source_lie_within_the_window(hu, key_index):
    contract = PreprocessingContract()
    volume = Volume.from_hu(hu, (3.0, 3.0, 3.0))

    small = shrunk_volume(volume, Grid.anchored(volume, key_index, 1.0), contract, contract.n4)

    assert contract.window_out[0] <= float(small.min())
    assert float(small.max()) <= contract.window_out[1]
