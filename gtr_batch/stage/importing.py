"""Weights from elsewhere as an artefact: a plain torchvision ResNet's state dict, read without executing anything.

The checkpoint that the paper's authors published is a ResNet-152 with four outputs that takes ImageNet-normalised 8-bit
RGB. GTRNet with its fusion at identity is that network exactly. What it has not got is a rad-score of its own, and so
no nomogram: the artefact holds neither.
"""

from __future__ import annotations

from pathlib import Path

from gtr_batch.domain.model import ModelManifest, N4Settings, PreprocessingContract, RadScoreModel
from gtr_batch.errors import ModelArtefactError
from gtr_batch.stage.artefact import write_artefact
from gtr_batch.stage.state_dict import read_state_dict

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
    given, digest = read_state_dict(file, md5=md5)
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
