"""Weights that others wrote with ``torch.save``: read once, so that what is hashed is what is loaded."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtr_batch.errors import ModelArtefactError

if TYPE_CHECKING:
    import torch


def read_state_dict(file: Path, *, md5: str = "", sha256: str = "") -> tuple[dict[str, Any], str]:
    """Tensors by name out of a ``torch.save`` file, and its SHA-256: nothing in it is executed.

    Parameters
    ----------
    file : Path
        Zip or legacy format; keys may begin with ``module.``.
    md5 : str
        That the published file has; empty: any.
    sha256 : str
        With which the file's SHA-256 must begin, as torchvision's file names hold it; empty: any.

    Raises
    ------
    ModelArtefactError
        It cannot be read, has another digest, or holds anything but finite tensors.
    """
    import torch

    try:
        body = file.read_bytes()
    except OSError as err:
        raise ModelArtefactError(f"{file.name}: cannot be read: {err.strerror}") from err
    _check_digest(file, "MD5", hashlib.md5(body, usedforsecurity=False).hexdigest() if md5 else "", md5)
    digest = hashlib.sha256(body).hexdigest()
    _check_digest(file, "SHA-256", digest[: len(sha256)], sha256)
    try:
        given = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as err:  # torch raises whatever its unpickler meets
        raise ModelArtefactError(f"{file.name}: not a readable state dict ({type(err).__name__})") from err
    if isinstance(given, dict) and isinstance(given.get("state_dict"), dict):
        given = given["state_dict"]
    if not isinstance(given, dict) or not all(isinstance(v, torch.Tensor) for v in given.values()):
        raise ModelArtefactError(f"{file.name}: holds something else than tensors by name")
    tensors = {str(k).removeprefix("module."): v.float() if v.is_floating_point() else v for k, v in given.items()}
    bad = [k for k, v in tensors.items() if v.is_floating_point() and not all_finite(v)]
    if bad:
        raise ModelArtefactError(f"{file.name}: tensor {bad[0]} holds values that are not finite")
    return tensors, digest


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether every value is a finite number, looked at in one pass: both ends are NaN where any value is."""
    import torch

    return tensor.numel() == 0 or all(bool(torch.isfinite(end)) for end in torch.aminmax(tensor))


def _check_digest(file: Path, kind: str, found: str, wanted: str) -> None:
    if found != wanted.lower():
        raise ModelArtefactError(
            f"{file.name}: {kind} is {found}, not {wanted.lower()}: this is not the published checkpoint"
        )
