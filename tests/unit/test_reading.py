"""What a file may cost is judged before it is spent, by every reader of pixels."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from gtr_batch import reading
from gtr_batch.config import ValidateConfig
from gtr_batch.dicom_file import is_intact
from gtr_batch.errors import CaseRejected, InputRefused, UnreadableFile
from gtr_batch.intake.probe import read_probe
from gtr_batch.preprocess import read_series
from gtr_batch.preprocess.key_slice import find_key_slice
from gtr_batch.reading import decode, decode_frames, read_dicom, read_file
from gtr_batch.simulation.hospital.adopt import adopt_series
from gtr_batch.validate import headers
from gtr_batch.validate.pixels import PixelLook
from tests.hostile_files import LYING, deflated, nested, saved, slice_of, with_codestream
from tests.unit.preprocess import outlines

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.parametrize("kind", LYING)
def test_a_codestream_that_lies_is_refused_before_a_decoder_runs(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "a.dcm", LYING[kind]())
    said = {"jpeg2000-tiles": "tiles", "jpeg-progressive": "progressive", "rle": "bytes"}.get(kind, "10000 x 10000")

    with pytest.raises(UnreadableFile, match=said):
        decode(read_dicom(path))


@pytest.mark.parametrize("kind", LYING)
def test_every_reader_of_pixels_refuses_it(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "in" / "a.dcm", LYING[kind]())

    row = headers.read_series(path.parent, ValidateConfig(), PixelLook()).rows[0]
    assert (row["readable"], row["decodable"]) == (True, False)
    with pytest.raises(CaseRejected, match="unreadable_pixels"):
        read_series(path.parent)
    assert read_probe([path], instances=1).contrast == {}
    with pytest.raises(InputRefused, match=r"a\.dcm"):
        adopt_series(path.parent, tmp_path / "out", tmp_path / "ehr", date(2026, 3, 2))


def test_a_decoder_that_panics_ends_its_file_alone(tmp_path: Path) -> None:
    """The decoder of run lengths is written in Rust; what it raises of a frame that is too long is no Exception."""
    ds = with_codestream(RLELossless, lambda stream: stream[:64] + b"\x81\xff" * (len(stream) // 2))
    path = saved(tmp_path / "a.dcm", ds)

    with pytest.raises(UnreadableFile, match="cannot be decoded"):
        decode(read_dicom(path))


def test_a_header_of_impossible_size_is_refused(tmp_path: Path) -> None:
    ds = slice_of()
    ds.Rows, ds.Columns, ds.NumberOfFrames = 60_000, 60_000, 60_000
    path = saved(tmp_path / "a.dcm", ds)

    with pytest.raises(UnreadableFile, match="60000 frames of 60000 x 60000"):
        decode(read_dicom(path))


def test_a_segmentation_of_impossible_size_is_passed_over(tmp_path: Path) -> None:
    sources = [slice_of()]
    path = outlines.segmentation(tmp_path / "seg.dcm", sources, {"Gastric tumour": [9]})
    ds = pydicom.dcmread(path)
    ds.Rows = ds.Columns = 60_000
    saved(path, ds)

    with pytest.raises(CaseRejected) as refused:
        find_key_slice([str(sources[0].SOPInstanceUID)], segmentations=[path])

    assert "could not be used" in refused.value.sentence


def test_what_is_deflated_is_inflated_up_to_a_limit(tmp_path: Path) -> None:
    fine, bomb = deflated(tmp_path / "fine.dcm", 8), deflated(tmp_path / "bomb.dcm", 3000)

    assert len(read_dicom(fine).PixelData) == 8 << 20
    assert read_dicom(fine).file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    assert bomb.stat().st_size < 4 << 20
    with pytest.raises(UnreadableFile, match="inflates to more than"):
        read_dicom(bomb)


def test_only_regular_files_of_their_own_folder_are_read(tmp_path: Path) -> None:
    there = saved(tmp_path / "elsewhere" / "a.dcm", slice_of())
    folder = tmp_path / "in"
    (folder / "folder.dcm").mkdir(parents=True)
    os.mkfifo(folder / "fifo.dcm")
    (folder / "device.dcm").symlink_to("/dev/zero")
    (folder / "out.dcm").symlink_to(there)
    (folder / "gone.dcm").symlink_to(folder / "nowhere.dcm")
    good = saved(folder / "good.dcm", slice_of())
    (folder / "beside.dcm").symlink_to("good.dcm")

    for name in ("folder", "fifo", "device", "out", "gone"):
        with pytest.raises(UnreadableFile) as refused:
            read_file(folder / f"{name}.dcm")
        assert not refused.value.dicom
    assert read_file(folder / "beside.dcm") == good.read_bytes()
    rows = headers.read_series(folder, ValidateConfig(), PixelLook()).rows
    assert sorted(row["readable"] for row in rows) == [False] * 5 + [True] * 2
    assert read_probe(sorted(folder.iterdir())).headers["Modality"] == "CT"


def test_a_file_that_grows_while_it_is_read_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="written to while it was read"):
        read_file(Path("/proc/self/status"))  # says that it has no bytes, and has some


def test_a_file_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    with path.open("wb") as file:
        file.truncate(reading.LIMITS.file_bytes + 1)

    with pytest.raises(UnreadableFile, match="the limit is"):
        read_file(path)


def test_a_header_of_a_million_numbers_is_refused(tmp_path: Path) -> None:
    ds = slice_of()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    ds.ImagePositionPatient = ["0"] * 1_000_000
    path = saved(tmp_path / "a.dcm", ds)

    with pytest.raises(UnreadableFile, match="element"):
        read_dicom(path)


def test_a_header_of_too_many_elements_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "a.dcm", slice_of())
    monkeypatch.setattr(reading._Counted, "left", 20)

    with pytest.raises(UnreadableFile, match="elements"):
        read_dicom(path)


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("depth", [200, 20_000])
def test_sequences_within_sequences_end_no_reader(tmp_path: Path, depth: int, undefined: bool) -> None:
    path = nested(tmp_path / "a.dcm", depth, undefined=undefined)

    rows = headers.read_series(tmp_path, ValidateConfig(), PixelLook()).rows

    assert [row["readable"] for row in rows] == [False]  # it has no pixels either
    assert read_probe([path]).headers.get("Modality", "CT") == "CT"
    assert is_intact(path, slice_of().SOPInstanceUID) in (True, False)


def test_of_a_deflated_file_the_elements_that_are_named_are_read_as_of_another(tmp_path: Path) -> None:
    """A deflated series was read as if it had no slices, a deflated key object as if it named none."""
    path, names = deflated(tmp_path / "a.dcm", 8), ["SOPInstanceUID", (0x0008, 0x0060), 0x00280010]

    found = read_dicom(path, tags=names)

    assert found == pydicom.dcmread(path, specific_tags=names)
    assert found.Modality and "PatientName" not in found


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless, RLELossless])
def test_a_good_compressed_slice_is_decoded_as_before(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    path = saved(tmp_path / "a.dcm", with_codestream(syntax))

    np.testing.assert_array_equal(decode(read_dicom(path)), pydicom.dcmread(path).pixel_array)


def _or_none(make: Callable[[], object]) -> object:
    try:
        return make()
    except Exception:  # noqa: BLE001 - whatever it is, both must agree
        return None


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("*.dcm")), ids=lambda p: p.name)
def test_public_files_are_decoded_as_pydicom_decodes_them(path: Path) -> None:
    theirs = _or_none(lambda: pydicom.dcmread(path).pixel_array)
    ours = _or_none(lambda: decode(read_dicom(path)))
    frames = _or_none(lambda: list(decode_frames(ds := read_dicom(path), range(int(ds.get("NumberOfFrames") or 1)))))

    np.testing.assert_equal(ours, theirs)
    np.testing.assert_equal(frames if frames is None else np.stack(frames).reshape(np.shape(theirs)), theirs)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("bits", [9, 12, 15, 16])
def test_uncompressed_pixels_are_what_pydicom_makes_of_them(tmp_path: Path, bits: int, signed: int) -> None:
    """Also where an old-style overlay lies in the bits above those that are stored."""
    ds = slice_of()
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, signed
    ds.PixelData = np.random.default_rng(bits).integers(0, 65_536, ds.Rows * ds.Columns).astype("<u2").tobytes()
    read = read_dicom(saved(tmp_path / "a.dcm", ds))

    found = decode(read)

    assert reading._uncompressed(read, ds.Rows, ds.Columns) is not None
    assert found.dtype == read.pixel_array.dtype
    assert np.array_equal(found, read.pixel_array)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("PhotometricInterpretation", None), ("PixelRepresentation", None), ("HighBit", 10), ("PixelData", b"\0" * 8)],
)
def test_pixels_that_pydicom_would_not_read_are_not_read_faster_either(
    tmp_path: Path, keyword: str, value: object
) -> None:
    ds = slice_of()
    setattr(ds, keyword, value)
    if value is None:
        delattr(ds, keyword)
    read = read_dicom(saved(tmp_path / "a.dcm", ds))

    assert reading._uncompressed(read, ds.Rows, ds.Columns) is None
