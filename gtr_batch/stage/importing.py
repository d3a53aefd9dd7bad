"""Weights from elsewhere as an artefact: a plain torchvision ResNet's state dict, read without executing anything.

The checkpoint that the paper's authors published is a ResNet-152 with four outputs that takes ImageNet-normalised 8-bit
RGB. GTRNet with its fusion at identity is that network exactly. What it has not got is a rad-score of its own, and so
no nomogram: the artefact holds neither.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

from gtr_batch.domain.model import ModelManifest, N4Settings, PreprocessingContract, RadScoreModel
from gtr_batch.errors import ModelArtefactError
from gtr_batch.stage.artefact import write_artefact

PUBLISHED_MD5 = "a75d40a7ffdfda0faf182e5b64c9bc14"  # models.pth, DESIGN section 4
BACKBONE = "resnet152"


def published_contract() -> PreprocessingContract:
    """Window WL 50 WW 350 on 0 to 255, 8 bits, ImageNet's mean and standard deviation; N4 as the paper has it."""
    return PreprocessingContract(
        window_out=(0.0, 255.0),  # type: ignore[arg-type]  # attrs' converter
        n4=N4Settings(),
        normalisation="imagenet",
    )


def import_published(file: Path, out: Path, *, md5: str = PUBLISHED_MD5, backbone: str = BACKBONE) -> str:
    """Write an artefact of a plain ResNet's state dict with four outputs.

    Parameters
    ----------
    file : Path
        ``torch.save`` of a state dict (zip or legacy format); keys may begin with ``module.``.
    out : Path
        The artefact's folder.
    md5 : str
        The file must have it; empty: any, and the manifest says so.

    Returns
    -------
    str
        The model version.

    Raises
    ------
    ModelArtefactError
        Another MD5, not a state dict, other tensors or shapes than this backbone's; names them. Nothing is written.
    """
    from gtr_batch.stage.network import GTRNet

    file = Path(file)
    given, digest = read_state_dict(file, md5)
    network = GTRNet(backbone)
    own = {k: v for k, v in network.state_dict().items() if not k.startswith("fuse.")}
    wrong = sorted(
        [f"{k} is missing" for k in own if k not in given and not k.endswith("num_batches_tracked")]
        + [f"{k} is not of a {backbone}" for k in given if k not in own]
        + [
            f"{k} has shape {tuple(given[k].shape)}, not {tuple(own[k].shape)}"
            for k in own
            if k in given and given[k].shape != own[k].shape
        ]
    )
    if wrong:
        raise ModelArtefactError(f"{file.name}: {len(wrong)} tensors do not fit {backbone}: {'; '.join(wrong[:3])}")
    network.load_state_dict(given, strict=False)
    manifest = ModelManifest(
        name="imported",
        architecture="gtrnet",
        backbone=backbone,
        feature_count=network.feature_count,
        weights_sha256="",
        contract=published_contract(),
        temperature=1.0,
        rad_score=RadScoreModel((), (), (), ()),
        nomogram=None,
        metrics={"imported_sha256": digest, "md5_checked": bool(md5), "calibrated": False},
        intended_use="Imported weights, neither calibrated nor validated here. Fit and evaluate before any use.",
    )
    return write_artefact(out, network, manifest)


def read_state_dict(file: Path, md5: str = "") -> tuple[dict[str, Any], str]:
    """Tensors by name out of a ``torch.save`` file, and its SHA-256: nothing in it is executed.

    The file is read once, so that what is hashed is what is loaded.

    Raises
    ------
    ModelArtefactError
        It cannot be read, has another MD5, or holds anything but tensors.
    """
    import torch

    try:
        body = file.read_bytes()
    except OSError as err:
        raise ModelArtefactError(f"{file.name}: cannot be read: {err.strerror}") from err
    found = hashlib.md5(body, usedforsecurity=False).hexdigest()
    if md5 and found != md5.lower():
        raise ModelArtefactError(
            f"{file.name}: MD5 is {found}, not {md5.lower()}: this is not the published checkpoint"
        )
    try:
        given = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as err:  # torch raises whatever its unpickler meets
        raise ModelArtefactError(f"{file.name}: not a readable state dict ({type(err).__name__})") from err
    if isinstance(given, dict) and isinstance(given.get("state_dict"), dict):
        given = given["state_dict"]
    if not isinstance(given, dict) or not all(isinstance(v, torch.Tensor) for v in given.values()):
        raise ModelArtefactError(f"{file.name}: holds something else than tensors by name")
    tensors = {str(k).removeprefix("module."): v.float() if v.is_floating_point() else v for k, v in given.items()}
    bad = [k for k, v in tensors.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise ModelArtefactError(f"{file.name}: tensor {bad[0]} holds values that are not finite")
    return tensors, hashlib.sha256(body).hexdigest()
