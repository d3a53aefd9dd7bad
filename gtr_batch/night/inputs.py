"""What a step reads of the steps before it: their files, or the word that one is gone or cut and who makes it again.

A file of the night may be deleted, or cut by a full disk or a power failure. Then the case goes back to the step that
makes the file (`InputLost.back_to`) and the night's next run makes it again; no other case notices.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import attrs
import numpy as np

from gtr_batch.dicom_file import is_intact
from gtr_batch.domain.aorta_liver import MeasuredSlice, SliceMeasure
from gtr_batch.domain.case import Case, CaseState, Step
from gtr_batch.domain.locating import Location
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.errors import InputLost
from gtr_batch.identity import read_identity
from gtr_batch.night.site import Site
from gtr_batch.ports import FileStore

BYTES = "bytes"  # in the detail of a retrieval: what its files hold together
MEASURED = "measured"  # file of a series that intake probed: aorta and liver of its probes

_CUT = (FileNotFoundError, ValueError, KeyError, TypeError, EOFError, BadZipFile, zlib.error)


@contextmanager
def made_again_after(state: CaseState, file: str) -> Iterator[None]:
    """Read a file within; where it is gone or cut, the case goes back to `state`, after which it is made."""
    try:
        yield
    except _CUT as err:
        raise InputLost(f"{file} is gone or cut ({type(err).__name__}); it is made again", str(state)) from err


def received(site: Site, case: Case) -> Mapping[str, Any]:
    """What the latest retrieval of a case noted."""
    done = [event["detail"] for event in site.cases.events(case.case_id) if event["state"] == CaseState.RETRIEVED]
    return done[-1] if done else {}


def retrieved_bytes(site: Site, case: Case) -> int:
    """What the series and its attachments hold together, as they lie there."""
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    return sum(path.stat().st_size for path in folder.rglob("*.dcm"))


def has_changed(site: Site, case: Case) -> bool:
    """Whether the series and its attachments hold more or less than when they were retrieved."""
    noted = received(site, case).get(BYTES)
    return noted is not None and noted != retrieved_bytes(site, case)


def check_retrieved(site: Site, case: Case) -> None:
    """Whether the series and its attachments are as they were retrieved.

    Raises
    ------
    InputLost
        A file is gone, or they hold more or less than then. Not where one is of another patient or study: that is
        nobody's fault of the disk, and whoever reads it refuses it or leaves it out.
    """
    folder = site.files.folder(case.night, case.case_id, Step.RETRIEVE)
    gone = [uid for uid in case.expected_sop_uids if not (folder / f"{uid}.dcm").is_file()]
    if gone or (has_changed(site, case) and not _holds_others(folder, case)):
        what = f"{len(gone)} of {len(case.expected_sop_uids)} retrieved files are" if gone else "a retrieved file is"
        raise InputLost(f"{what} gone or cut; retrieved again", str(CaseState.FOUND))


def _holds_others(folder: Path, case: Case) -> bool:
    """Whether an intact file says that it is of another patient or study."""

    def is_of_another(path: Path) -> bool:
        found = read_identity(path) if is_intact(path, path.stem) else None
        return found is not None and bool(found.study_uid and case.identity().differences(found))

    return any(is_of_another(path) for path in folder.rglob("*.dcm"))


@contextmanager
def judging_retrieved(site: Site, case: Case) -> Iterator[None]:
    """While our own copy of a series is not intact, nothing that is found in it is a verdict on the images.

    Raises
    ------
    InputLost
        As `check_retrieved`: before the block, and in the place of whatever the block raised where files were lost
        within. A file that lies there as it arrived is what the PACS holds, however broken: fetched again it would be
        the same, so what is found in it counts.
    """
    check_retrieved(site, case)
    try:
        yield
    except Exception:
        check_retrieved(site, case)
        raise


def write_measured(files: FileStore, night: date, case_id: str, measured: Sequence[MeasuredSlice]) -> None:
    """Keep what intake measured of a series' probes, for validation."""
    rows = [attrs.asdict(one) for one in measured]
    for row in rows:  # JSON knows no NaN
        row["measure"] = {name: value if np.isfinite(value) else None for name, value in row["measure"].items()}
    files.write_json(night, case_id, Step.INTAKE, MEASURED, rows)


def measured_slices(files: FileStore, case: Case) -> tuple[MeasuredSlice, ...]:
    """What intake measured of the case's probes; nothing where it is gone or cut: validation measures anew."""
    try:
        rows = files.read_json(case.night, case.case_id, Step.INTAKE, MEASURED)
        return tuple(_measured(row) for row in rows)
    except (*_CUT, OSError, AttributeError):
        return ()


def _measured(row: Mapping[str, Any]) -> MeasuredSlice:
    said = row["measure"]
    hu = {name: float("nan") if said[name] is None else float(said[name]) for name in ("aorta_hu", "liver_hu")}
    measure = SliceMeasure(**hu, liver_mm2=float(said["liver_mm2"]), body=bool(said["body"]))
    return MeasuredSlice(str(row["sop_instance_uid"]), str(row["digest"]), measure)


def prepared_geometry(files: FileStore, case: Case) -> PreparedGeometry:
    """Where the three slices lie in the series."""
    with made_again_after(CaseState.VALIDATED, "preprocess/geometry.json"):
        return PreparedGeometry.from_json(files.read_json(case.night, case.case_id, Step.PREPROCESS, "geometry"))


def prepared_slices(files: FileStore, case: Case, size: int) -> np.ndarray:
    """The three slices as the network takes them."""
    with made_again_after(CaseState.VALIDATED, "preprocess/prepared.npz"):
        slices = files.read_arrays(case.night, case.case_id, Step.PREPROCESS, "prepared")["slices"]
        if slices.shape != (len(ROLES), size, size):
            raise ValueError(f"slices of shape {slices.shape}")
        return slices


def prepared_contract(files: FileStore, case: Case) -> Any:
    """The contract by which they were prepared."""
    with made_again_after(CaseState.VALIDATED, "preprocess/contract.json"):
        return files.read_json(case.night, case.case_id, Step.PREPROCESS, "contract")


def heat_map(files: FileStore, case: Case) -> np.ndarray:
    """The three slices' heat map in source pixels."""
    with made_again_after(CaseState.PREPROCESSED, "explain/heat.npz"):
        return files.read_arrays(case.night, case.case_id, Step.EXPLAIN, "heat")["heat"]


def locator_in(artefact: Any, volume: Any) -> Callable[[], Location | None] | None:
    """The model's locator on a volume, not run yet; None where it has none.

    `artefact` is a `gtr_batch.stage.artefact.Artefact`, `volume` a `gtr_batch.preprocess.Volume`.
    """
    if artefact.manifest.key_slice_locator is None:
        return None

    def locate() -> Location | None:
        from gtr_batch.preprocess import prepare_all_for_locator
        from gtr_batch.stage import find_location

        every = prepare_all_for_locator(volume, artefact.manifest.contract, device=artefact.device)
        return find_location(artefact, every, volume.heights_mm)

    return locate
