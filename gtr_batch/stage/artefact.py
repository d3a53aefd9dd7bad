"""A model artefact on disk: a folder with ``weights.safetensors`` and ``manifest.json``.

The manifest holds the SHA-256 of the weights file, and the SHA-256 of the manifest's canonical JSON (sorted keys, no
spaces) is the model version: one changed number anywhere is another model. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from gtr_batch.domain.model import ModelManifest
from gtr_batch.domain.staging import STAGES
from gtr_batch.errors import ModelArtefactError
from gtr_batch.stage.state_dict import all_finite
from gtr_batch.writing import READABLE, new_folder, write_bytes, write_text

if TYPE_CHECKING:
    import torch

    from gtr_batch.stage.network import GTRNet

WEIGHTS, MANIFEST = "weights.safetensors", "manifest.json"
FORMAT = 1
_COUNTER = "num_batches_tracked"
IMAGENET_MEAN, IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@frozen
class Artefact:
    """A loaded model: what it says of itself, the network in eval mode and float32, and its version."""

    manifest: ModelManifest
    network: GTRNet
    version: str  # SHA-256, 64 hexadecimal digits
    folder: Path

    @property
    def device(self) -> str:
        """Torch device the network lies on: ``cpu``, ``cuda:0``, …"""
        return str(next(self.network.parameters()).device)


def write_artefact(folder: Path, network: GTRNet, manifest: ModelManifest, dtype: torch.dtype | None = None) -> str:
    """Write an artefact; it appears under `folder` intact or not at all, and replaces one that is there.

    Parameters
    ----------
    folder : Path
        Where it shall lie; parents are made.
    network : GTRNet
        Its trained weights; not changed.
    manifest : ModelManifest
        Its `weights_sha256` is computed here, whatever it holds.
    dtype : torch.dtype, optional
        Of the stored weights: float32 (default) or float16 (half the size; loaded as float32 again).

    Returns
    -------
    str
        The model version.

    Raises
    ------
    ModelArtefactError
        Manifest and network disagree, or a weight is not finite in `dtype`; names the field.
    """
    import torch
    from safetensors.torch import save

    dtype = torch.float32 if dtype is None else dtype
    if dtype not in (torch.float32, torch.float16):
        raise ModelArtefactError(f"{folder}: weights are stored as float32 or float16, not {dtype}")
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in _weights(network).items()}
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise ModelArtefactError(f"{folder}: tensor {name} holds values that are not finite in {dtype}")
    if manifest.backbone != network.backbone:
        raise ModelArtefactError(
            f"{folder}: manifest.backbone is {manifest.backbone}, the network a {network.backbone}"
        )
    folder = Path(folder)
    # Other accounts may have to read it: there is no patient in it.
    with new_folder(folder, mode=0o755) as fresh:
        body = save(tensors)
        write_bytes(fresh / WEIGHTS, body, mode=READABLE)
        value = attrs.evolve(manifest, weights_sha256=hashlib.sha256(body).hexdigest()).to_json()
        try:
            text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, default=_json_value)
        except (TypeError, ValueError) as err:
            raise ModelArtefactError(f"{folder}: manifest cannot be written as JSON: {err}") from err
        write_text(fresh / MANIFEST, text + "\n", mode=READABLE)
        _check(ModelManifest.from_json(json.loads(text)), network.feature_count, folder)
    return _version(json.loads(text))


def load_artefact(folder: Path, device: str = "cpu") -> Artefact:
    """Read and check an artefact.

    Parameters
    ----------
    folder : Path
    device : str
        Torch device the network is moved to.

    Raises
    ------
    ModelArtefactError
        Anything missing, unreadable, unknown, or not what the manifest says; names the field and the folder.
    """
    import torch

    manifest, version, network, tensors = _checked(Path(folder))
    for name, buffer in network.named_buffers():
        if name.endswith(_COUNTER):
            tensors[name] = torch.zeros_like(buffer, device="cpu")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}, assign=True)
    if manifest.contract.normalisation == "imagenet":
        network.normalise_channels(IMAGENET_MEAN, IMAGENET_SD)
    return Artefact(manifest, network.to(device).ready_for_inference(), version, Path(folder))


def _checked(folder: Path) -> tuple[ModelManifest, str, GTRNet, dict[str, torch.Tensor]]:
    """Manifest, model version, the network still without weights (device ``meta``), and the weights that fit it."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from gtr_batch.stage.network import GTRNet

    manifest, version = read_manifest(folder)
    weights = _weights_of(folder, manifest)
    try:
        with torch.device("meta"):  # without drawing the weights that a training would begin with
            network = GTRNet(manifest.backbone)
    except ModelArtefactError as err:
        raise ModelArtefactError(f"{folder}: manifest.{err}") from err
    _check(manifest, network.feature_count, folder)
    try:
        tensors = load(weights)
    except (SafetensorError, ValueError) as err:
        raise ModelArtefactError(f"{folder}: {WEIGHTS} is not a safetensors file: {err}") from err
    own = _weights(network)
    missing, unknown = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    if missing or unknown:
        raise ModelArtefactError(
            f"{folder}: {WEIGHTS} is not a {manifest.backbone}: missing {missing[:3]}, unknown {unknown[:3]}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise ModelArtefactError(
                f"{folder}: tensor {name} has shape {tuple(tensor.shape)}, "
                f"in a {manifest.backbone} it has {tuple(own[name].shape)}"
            )
        if tensor.dtype not in (torch.float32, torch.float16):
            raise ModelArtefactError(f"{folder}: tensor {name} is {tensor.dtype}, not float32 or float16")
        if not all_finite(tensor):
            raise ModelArtefactError(f"{folder}: tensor {name} holds values that are not finite")
    return manifest, version, network, tensors


def read_manifest(folder: Path) -> tuple[ModelManifest, str]:
    """Manifest and model version, without the weights and without torch.

    Raises
    ------
    ModelArtefactError
        No such folder, no manifest, no JSON, or an impossible field.
    """
    path = Path(folder) / MANIFEST
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant)
    except OSError as err:
        raise ModelArtefactError(f"{folder}: cannot read {MANIFEST}: {err.strerror}") from err
    except ValueError as err:  # JSON and encoding errors
        raise ModelArtefactError(f"{folder}: {MANIFEST} is not JSON: {err}") from err
    try:
        manifest = ModelManifest.from_json(value)
    except (ModelArtefactError, TypeError) as err:  # TypeError: a word where a number should be
        raise ModelArtefactError(f"{folder}: {err}") from err
    if manifest.format != FORMAT:
        raise ModelArtefactError(f"{folder}: manifest.format is {manifest.format!r}; this service reads {FORMAT}")
    return manifest, _version(value)


def read_version(folder: Path) -> str:
    """Model version, without the weights; raises as `read_manifest`."""
    return read_manifest(folder)[1]


def verify(folder: Path) -> str:
    """Check manifest and weights as `load_artefact` does; returns the version, raises `ModelArtefactError`."""
    return _checked(Path(folder))[1]


def _check(manifest: ModelManifest, feature_count: int, folder: Path) -> None:
    def need(holds: bool, field: str, why: str) -> None:
        if not holds:
            raise ModelArtefactError(f"{folder}: manifest.{field} {why}")

    def numbers(values: Any, field: str, count: int | None = None, above_zero: bool = False) -> None:
        need(count in (None, len(values)), field, f"has {len(values)} values, not {count}")
        try:
            good = all(abs(v) < float("inf") and (v > 0 or not above_zero) for v in values)
        except TypeError:
            good = False
        need(good, field, "holds a value that is not a finite number" + (" above 0" if above_zero else ""))

    contract = attrs.asdict(manifest.contract)
    n4 = contract.pop("n4") or {}
    contract.pop("normalisation")  # a word, checked where the manifest is read
    for name, value in {**contract, **{f"n4.{k}": v for k, v in n4.items()}}.items():
        numbers(value if isinstance(value, list | tuple) else [value], f"contract.{name}")
    need(manifest.feature_count == feature_count, "feature_count", f"is {manifest.feature_count}, not {feature_count}")
    need(len(manifest.class_order) == len(STAGES), "class_order", f"has {len(manifest.class_order)} classes")
    numbers([manifest.temperature], "temperature", 1, above_zero=True)
    rad, chosen = manifest.rad_score, len(manifest.rad_score.selected)
    inside = all(isinstance(k, int) and 0 <= k < feature_count for k in rad.selected)
    need(inside and len(set(rad.selected)) == chosen, "rad_score.selected", f"is not a set of 0..{feature_count - 1}")
    numbers(rad.feature_mean, "rad_score.feature_mean", chosen)
    numbers(rad.feature_scale, "rad_score.feature_scale", chosen, above_zero=True)
    numbers(rad.coefficients, "rad_score.coefficients", chosen)
    numbers([rad.intercept, rad.score_mean], "rad_score.intercept or .score_mean", 2)
    numbers([rad.score_scale], "rad_score.score_scale", 1, above_zero=True)
    locator = manifest.key_slice_locator
    if locator is not None:
        numbers(locator.feature_mean, "key_slice_locator.feature_mean", feature_count)
        numbers(locator.feature_scale, "key_slice_locator.feature_scale", feature_count, above_zero=True)
        numbers(locator.coefficients, "key_slice_locator.coefficients", feature_count)
        numbers([locator.intercept, locator.height_mm], "key_slice_locator.intercept or .height_mm", 2)
        numbers([locator.temperature], "key_slice_locator.temperature", 1, above_zero=True)
        spreads = [locator.smoothing_mm, locator.height_sd_mm, locator.threshold or 0.0]
        numbers(spreads, "key_slice_locator.smoothing_mm, .height_sd_mm or .threshold", 3)
        need(min(spreads) >= 0, "key_slice_locator", "has a smoothing, standard deviation or threshold below 0")


def _weights_of(folder: Path, manifest: ModelManifest) -> bytes:
    """The weights' bytes, read once: what is hashed is what is loaded, whatever becomes of the file meanwhile."""
    try:
        body = (folder / WEIGHTS).read_bytes()
    except OSError as err:
        raise ModelArtefactError(f"{folder}: cannot read {WEIGHTS}: {err.strerror}") from err
    found = hashlib.sha256(body).hexdigest()
    if found != manifest.weights_sha256:
        raise ModelArtefactError(
            f"{folder}: {WEIGHTS} has SHA-256 {found[:12]}…, "
            f"manifest.weights_sha256 says {str(manifest.weights_sha256)[:12]}…"
        )
    return body


def _weights(network: GTRNet) -> dict[str, torch.Tensor]:
    # The batch norms' counters are of no use once the momentum is fixed, and they are not floats.
    return {k: v for k, v in network.state_dict().items() if not k.endswith(_COUNTER)}


def _version(manifest: Any) -> str:
    # Over the file's own JSON, not over the parsed class: a field added to the class later changes no version.
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _json_value(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
