"""Where a training can be taken up again: after each epoch, in one of two slots whose space is reserved beforehand.

The space of both slots is taken before the first epoch, so that a disk that fills up later cannot cost one; the slots
take turns, so that a kill in the middle of writing leaves the other. Each begins with its own digest. Nothing is ever
unpickled but tensors and plain values.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from gtr_batch.errors import ConfigError
from gtr_batch.writing import full_disk_is_transient, make_folder

_MAGIC = b"gtr-checkpoint-1"
_HEAD = len(_MAGIC) + 8 + 32  # magic, length, SHA-256
SLACK = 4 * 1024**2  # history and bookkeeping


class Checkpoint:
    """Two slots in a folder.

    Parameters
    ----------
    folder : Path
        Made where it is absent, 0700.
    identity : str
        What is trained: a digest over cohort, recipe and seed. A checkpoint of anything else is refused.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = Path(folder)
        self.identity = identity
        self._next = 0

    def reserve(self, payload_bytes: int) -> None:
        """Take the space of both slots.

        Raises
        ------
        StorageFull
            There is not enough; nothing was trained yet.
        """
        make_folder(self.folder)
        size = payload_bytes + SLACK + _HEAD
        for path in self._slots():
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                with full_disk_is_transient(path, "free space, then train again", f"reserving {size / 1e6:.0f} MB for"):
                    if os.fstat(handle).st_size < size:
                        os.posix_fallocate(handle, 0, size)
            finally:
                os.close(handle)

    def save(self, state: dict[str, Any]) -> None:
        """Write into the older slot; the other one stays as it is until this one is intact.

        Raises
        ------
        StorageFull
            The slot had to grow and could not.
        """
        buffer = io.BytesIO()
        torch.save({**state, "identity": self.identity}, buffer)
        payload = buffer.getvalue()
        path = self._slots()[self._next]
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        with (
            full_disk_is_transient(path, "the epoch before it is kept in the other slot; free space, then train again"),
            os.fdopen(handle, "r+b") as file,
        ):
            file.write(b"\0" * _HEAD)  # from here on this slot is void
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            file.write(_MAGIC + len(payload).to_bytes(8, "big") + hashlib.sha256(payload).digest())
            file.flush()
            os.fsync(file.fileno())
        self._next = 1 - self._next

    def load(self) -> dict[str, Any] | None:
        """The later of the intact slots, or None where there is none; a torn slot is passed over.

        Raises
        ------
        ConfigError
            The checkpoint is of another training.
        """
        found = [(state, k) for k, path in enumerate(self._slots()) if (state := _read(path)) is not None]
        if not found:
            return None
        state, k = max(found, key=lambda pair: (pair[0]["lesson"], pair[0]["epoch"]))
        if state["identity"] != self.identity:
            raise ConfigError(
                f"{self.folder} holds a checkpoint of another training ({state['identity'][:12]}, this one is "
                f"{self.identity[:12]}): cohort, recipe or seed differ; use another folder, or delete it"
            )
        self._next = 1 - k
        return state

    def discard(self) -> None:
        """Delete both slots."""
        for path in self._slots():
            path.unlink(missing_ok=True)

    def _slots(self) -> tuple[Path, Path]:
        return self.folder / "slot-0.pt", self.folder / "slot-1.pt"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if len(head) < _HEAD or not head.startswith(_MAGIC):
                return None
            length = int.from_bytes(head[len(_MAGIC) : len(_MAGIC) + 8], "big")
            payload = file.read(length)
    except OSError:
        return None
    if hashlib.sha256(payload).digest() != head[-32:]:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return state
