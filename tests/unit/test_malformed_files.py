"""Malformed files: whatever is wrong with them, every reader refuses them, and nothing else happens.

Hypothesis draws the damage over valid files: CT slices of the phantoms in every transfer syntax that is taken, key
objects, a segmentation, a structure set, and the public files that pydicom brings with it. The draws are the same in
every run; `python -m tests.bench.malformed` draws thousands more and measures what each costs.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.malformed_files import (
    KINDS,
    Damage,
    a_group_length,
    a_meta_of_vr,
    a_name_of_bytes,
    damaged,
    read_by_everyone,
    valid_files,
    without,
)

pytestmark = pytest.mark.filterwarnings("ignore")
DAMAGES = st.lists(
    st.builds(Damage, st.sampled_from(KINDS), st.floats(0, 1), st.integers(0, 0xFFFF)), min_size=1, max_size=4
)
KNOWN = {
    **{f"file meta of VR {vr!r}": (a_meta_of_vr, vr) for vr in (b"ZZ", b"SQ", b"UN")},
    **{f"group length {value}": (a_group_length, value) for value in (0, 3, 0xFFFFFFFF)},
    **{
        f"no {keyword}": (without, keyword)
        for keyword in (
            *("Modality", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientName"),
            *("PatientID", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
            *("SamplesPerPixel", "PhotometricInterpretation", "PixelData", "ImagePositionPatient", "PixelSpacing"),
        )
    },
}


@pytest.mark.parametrize("fault", KNOWN)
def test_what_public_files_have_shown_is_refused(tmp_path: Path, fault: str) -> None:
    make, argument = KNOWN[fault]
    (tmp_path / "a.dcm").write_bytes(make(argument))

    read_by_everyone(tmp_path)


def test_a_name_that_is_no_text_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(a_name_of_bytes())

    read_by_everyone(tmp_path)


@settings(max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(valid_files())), DAMAGES)
def test_a_damaged_file_is_read_or_refused(name: str, damages: list[Damage]) -> None:
    with TemporaryDirectory() as folder:
        Path(folder, "a.dcm").write_bytes(damaged(valid_files()[name], damages))

        read_by_everyone(Path(folder))
