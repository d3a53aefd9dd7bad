"""Where inputs and reports of audits lie: folders 0700, files 0600, under their names only when they are intact.

``<audit.folder>/inputs/<run_id>.json.gz`` and ``<audit.folder>/<kind>/<period>/<run_id, 12 digits>/``.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from gtr_batch.domain.audit_run import AuditRecord
from gtr_batch.errors import InputRefused
from gtr_batch.writing import copy_file, make_folder, write_bytes


def keep_inputs(folder: Path, content: bytes) -> str:
    """Keep the canonical inputs of a run; returns their SHA-256, which names it."""
    digest = hashlib.sha256(content).hexdigest()
    path = _inputs(folder, digest)
    _made(folder, "inputs")
    write_bytes(path, gzip.compress(content, mtime=0))
    return digest


def kept_inputs(folder: Path, run_id: str) -> bytes:
    """The inputs of a run as they were kept.

    Raises
    ------
    InputRefused
        They are gone, cannot be read, or are not those that the run was made from.
    """
    path = _inputs(folder, run_id)
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError as err:
        raise InputRefused(
            f"the inputs of audit {run_id[:12]} are gone: no {path}. Its results stay as they were written down; they "
            f"cannot be computed again"
        ) from err
    except (OSError, EOFError, zlib.error) as err:
        raise _spoilt(path, run_id, type(err).__name__) from err
    if hashlib.sha256(content).hexdigest() != run_id:
        raise _spoilt(path, run_id, "another digest")
    return content


def report_folder(folder: Path, run: AuditRecord) -> Path:
    """Where the report of a run lies."""
    return folder / run.kind / run.period / run.run_id[:12]


def keep_report(folder: Path, run: AuditRecord, write: Callable[[Path], Mapping[str, Path]]) -> dict[str, str]:
    """Let `write` fill a folder, then put its files in their place; returns name -> SHA-256."""
    goal = _made(folder, run.kind, run.period, run.run_id[:12])
    fresh = Path(tempfile.mkdtemp(prefix=".", dir=goal.parent))
    try:
        digests = {}
        for name, path in sorted(write(fresh).items()):
            copy_file(path, goal / name)
            digests[name] = digest_of(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return digests


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _spoilt(path: Path, run_id: str, how: str) -> InputRefused:
    return InputRefused(
        f"the inputs of audit {run_id[:12]} are not what they were ({how}: {path}): "
        f" nothing is computed again from others"
    )


def _inputs(folder: Path, run_id: str) -> Path:
    return folder / "inputs" / f"{run_id}.json.gz"


def _made(folder: Path, *parts: str) -> Path:
    return make_folder(folder.joinpath(*parts))
