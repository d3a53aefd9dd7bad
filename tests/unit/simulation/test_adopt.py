"""A real series for the demo's night, as archives and old scanners write it."""

from __future__ import annotations

from datetime import date, time

import pydicom
import pytest

from gtr_batch.errors import InputRefused
from gtr_batch.simulation.hospital.adopt import adopt_series
from tests.hostile_files import deflated
from tests.phantoms import abdomen_hu, write_series

NIGHT = date(2026, 3, 1)


def adopt(tmp_path, key_slice=None):
    return adopt_series(tmp_path / "ct", tmp_path / "out", tmp_path / "ehr", NIGHT, key_slice)


@pytest.mark.parametrize(
    ("written", "read"),
    [("10:15:30", time(10, 15, 30)), ("1015", time(10, 15)), ("", time(17)), ("noon", time(17)), ("996000", time(17))],
)
def test_a_study_time_is_read_in_every_form_and_else_taken_as_the_afternoon(tmp_path, written, read):
    write_series(tmp_path / "ct", abdomen_hu(2, 16), change=lambda index, ds: setattr(ds, "StudyTime", written))

    assert adopt(tmp_path).identity.study_at.time() == read


def test_files_without_preamble_are_taken(tmp_path):
    for path in write_series(tmp_path / "ct", abdomen_hu(3, 16)):
        ds = pydicom.dcmread(path)
        pydicom.dcmwrite(path, pydicom.Dataset(ds), implicit_vr=True, little_endian=True)
    (tmp_path / "ct" / "readme.txt").write_text("no DICOM")

    adopt(tmp_path, "2")

    copies = [pydicom.dcmread(p) for p in (tmp_path / "out").iterdir()]
    assert sorted(ds.Modality for ds in copies) == ["CT", "CT", "CT", "KO"]


def test_a_folder_without_a_series_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "readme.txt").write_text("no DICOM")

    with pytest.raises(InputRefused, match="0 of its 1 files are CT images"):
        adopt(tmp_path)


def test_a_file_that_costs_more_than_any_slice_is_not_read(tmp_path):
    (tmp_path / "ct").mkdir()
    deflated(tmp_path / "ct" / "bomb.dcm", 300)

    with pytest.raises(InputRefused, match=r"passed over 1: bomb\.dcm inflates to more than"):
        adopt(tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "ct").mkdir()
    elsewhere = write_series(tmp_path / "elsewhere", abdomen_hu(2, 16))[0]
    (tmp_path / "ct" / "link.dcm").symlink_to(elsewhere)

    with pytest.raises(InputRefused, match="is a link out of its folder"):
        adopt(tmp_path)
