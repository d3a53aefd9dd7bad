"""A withdrawal notice in the PACS, seen with other people's eyes: DCMTK's, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pydicom

from gtr_batch.config import PacsConfig
from gtr_batch.domain.lifecycle import ReportOfModel
from gtr_batch.ports import ImageArchive
from gtr_batch.writing import make_folder

DCMTK = ("findscu", "getscu", "dsrdump")
_SHOWN = ("Predecessor Docs", "Completion Flag", "Verification Flag", '"Result status"', '"Comment"')


def look_at_notice(
    archive: ImageArchive, pacs: PacsConfig, row: ReportOfModel, folder: Path
) -> Iterator[tuple[bool, str]]:
    """Find a notice in the PACS, fetch it back and read it; yields whether each thing is as it should be, in words.

    Parameters
    ----------
    row : ReportOfModel
        With its notice in the PACS.
    folder : Path
        Gets the notice.
    """
    make_folder(folder)
    if all(map(shutil.which, DCMTK)):
        path = yield from _fetch_with_dcmtk(pacs, row, folder)
    else:
        path = archive.retrieve(row.study_uid, row.series_uid, [str(row.notice_uid)], folder)[0]
        yield path.is_file(), "DCMTK is not installed: the notice was fetched by this service and read by pydicom"
    named = pydicom.dcmread(path).PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    uid = str(named.ReferencedSOPInstanceUID)
    yield uid == row.sop_instance_uid, f"it supersedes report {uid} (Predecessor Documents): {path}"


def _fetch_with_dcmtk(pacs: PacsConfig, row: ReportOfModel, folder: Path) -> Generator[tuple[bool, str], None, Path]:
    peer = ["-S", "-aet", pacs.calling_ae_title, "-aec", pacs.called_ae_title, pacs.host, str(pacs.port)]
    keys = [
        "QueryRetrieveLevel=IMAGE",
        f"StudyInstanceUID={row.study_uid}",
        f"SeriesInstanceUID={row.series_uid}",
    ]
    asked = [word for key in keys for word in ("-k", key)]
    found = _run("findscu", *peer, *asked, "-k", "SOPInstanceUID")
    both = row.sop_instance_uid in found and str(row.notice_uid) in found
    yield both, f"findscu: the series in the PACS holds the report and the notice {row.notice_uid}"
    for old in folder.glob("*"):
        old.unlink()
    _run("getscu", *peer, *asked, "-k", f"SOPInstanceUID={row.notice_uid}", "-od", str(folder))
    path = next(iter(folder.iterdir()))
    said = _run("dsrdump", "+Pl", str(path)).splitlines()
    shown = [line.strip() for line in said if any(word in line for word in _SHOWN)]
    yield len(shown) == len(_SHOWN), "getscu and dsrdump, the notice as it came back:"
    for line in shown:
        yield True, f"  {line}"
    return path


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr
