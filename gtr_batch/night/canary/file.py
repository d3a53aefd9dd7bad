"""``canary.zip`` beside a model's weights: the canary series as DICOM files, and the answer that was recorded.

It is no part of the model version, which is a digest of what stages; its own SHA-256 is kept in the database when the
model is registered, so one that is changed or gone afterwards is noticed.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from attrs import field, frozen

from gtr_batch.domain.canary import CanaryAnswer
from gtr_batch.domain.identifiers import Uid
from gtr_batch.domain.model_json import from_json, to_json
from gtr_batch.errors import CaseRejected, ModelArtefactError
from gtr_batch.writing import READABLE, write_bytes

CANARY = "canary.zip"
_ANSWER, _SERIES, _END = "answer.json", "series/", ".dcm"
_MOST_BYTES = 64 * 1024**2  # unpacked; the series is drawn here and has about 0.7 MB


@frozen
class StoredCanary:
    """A canary as it lies there: the series' files by SOP Instance UID, the recorded answer, and the file's SHA-256."""

    series: Mapping[str, bytes] = field(repr=False)
    answer: CanaryAnswer = field(repr=False)
    sha256: str


def write_canary(folder: Path, series: Mapping[str, bytes], answer: CanaryAnswer) -> str:
    """Write it beside the weights; returns its SHA-256. The same series and answer give the same file."""
    body = io.BytesIO()
    text = json.dumps(to_json(answer), sort_keys=True, indent=1, allow_nan=False)
    with ZipFile(body, "w", ZIP_DEFLATED) as archive:
        for name, content in {_ANSWER: text.encode(), **{f"{_SERIES}{u}{_END}": b for u, b in series.items()}}.items():
            archive.writestr(ZipInfo(name), content, ZIP_DEFLATED, 9)
    write_bytes(folder / CANARY, body.getvalue(), mode=READABLE)
    return hashlib.sha256(body.getvalue()).hexdigest()


def read_canary(folder: Path) -> StoredCanary | None:
    """The canary of a model's folder; None where there is none.

    Raises
    ------
    ModelArtefactError
        It cannot be read: cut, changed, or written by something else.
    """
    try:
        body = (folder / CANARY).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as err:
        raise ModelArtefactError(f"{folder}: cannot read {CANARY}: {err.strerror}") from err
    try:
        with ZipFile(io.BytesIO(body)) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
                raise ValueError("it unpacks to more than any canary has")
            files = {info.filename: archive.read(info) for info in archive.infolist()}
        answer = from_json(json.loads(files.pop(_ANSWER)), CanaryAnswer)
        series = {str(Uid(name.removeprefix(_SERIES).removesuffix(_END))): found for name, found in files.items()}
    except (BadZipFile, zlib.error, KeyError, TypeError, ValueError, EOFError, NotImplementedError) as err:
        raise ModelArtefactError(f"{folder}: {CANARY} cannot be read ({type(err).__name__}): cut or changed") from err
    except CaseRejected as err:
        raise ModelArtefactError(f"{folder}: {CANARY} holds a file that is no instance: {err.sentence}") from err
    return StoredCanary(series, answer, hashlib.sha256(body).hexdigest())
