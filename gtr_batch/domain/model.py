"""What a model artefact says of itself: everything inference must not read from configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field, frozen

from gtr_batch.domain.abstention import AbstentionRule, FeatureReference
from gtr_batch.domain.calibration import StagePriors
from gtr_batch.domain.conformal import ConformalSets
from gtr_batch.domain.staging import STAGES
from gtr_batch.errors import ModelArtefactError


@frozen
class N4Settings:
    """N4 bias-field correction (Tustison et al. 2010), on the volume shrunk by `shrink` on every axis."""

    shrink: int = 4
    bins: int = 200
    fwhm: float = 0.15
    noise: float = 0.01
    levels: int = 4
    iterations: int = 50
    threshold: float = 0.001


@frozen
class PreprocessingContract:
    """How pixels become network input (paper, "CT imaging protocol and image preprocessing"); HU and mm.

    The window maps ``[level - width / 2, level + width / 2]`` HU linearly on `window_out`; N4's mask is Otsu's
    threshold of the shrunk windowed volume (200 bins), as `SimpleITK.OtsuThreshold` finds it; z-score per slice
    over all of its pixels (``normalisation``).
    """

    hu_low: float = -1024.0
    hu_high: float = 1024.0
    padding_hu: float = -1024.0
    spacing_mm: float = 1.0
    window_level_hu: float = 50.0
    window_width_hu: float = 350.0
    window_out: tuple[float, float] = field(default=(1.0, 256.0), converter=tuple)
    n4: N4Settings | None = field(factory=N4Settings)
    size: int = 224
    normalisation: str = "z_score"  # "z_score" | "imagenet": 8 bits over 255, then ImageNet's mean and SD a channel

    @property
    def window_hu(self) -> tuple[float, float]:
        """Lower and upper end of the window in HU."""
        half = self.window_width_hu / 2
        return self.window_level_hu - half, self.window_level_hu + half


@frozen
class RadScoreModel:
    """LASSO over the standardised penultimate features, then standardised again on the training cohort.

    ``raw = intercept + sum_k coefficients[k] * (features[k] - feature_mean[k]) / feature_scale[k]`` over the selected
    features only; ``rad_score = (raw - score_mean) / score_scale``, in SD. All tuples are as long as `selected`.
    """

    selected: tuple[int, ...] = field(converter=tuple)
    feature_mean: tuple[float, ...] = field(converter=tuple)
    feature_scale: tuple[float, ...] = field(converter=tuple)
    coefficients: tuple[float, ...] = field(converter=tuple)
    intercept: float = 0.0
    score_mean: float = 0.0
    score_scale: float = 1.0


PAPER_TABLE_3 = "paper-table-3"  # the nomogram of a publication, which is of no model's own rad-score


@frozen
class NomogramModel:
    """Proportional odds: ``P(T <= j) = sigmoid(thresholds[j] - lp)``; reference levels have coefficient 0 by name.

    `size_at_least_cm` makes size binary as in Table 3. `distribution` is the cohort's joint or independent share of
    each level, over which missing covariates are marginalised.
    """

    name: str
    rad_score: float
    tumour_size: float
    size_at_least_cm: float
    differentiation: Mapping[str, float]
    lauren: Mapping[str, float]
    thresholds: tuple[float, float, float] = field(converter=tuple)
    distribution: Mapping[str, Mapping[str, float]] = field(factory=dict)
    note: str = ""


@frozen
class KeySliceLocator:
    """A linear score on the penultimate features of every axial slice; `coefficients` as long as the features.

    How scores become a probability of each slice (`gtr_batch.domain.locating`): smoothed over `smoothing_mm`, divided
    by `temperature`; key slices lie `height_mm` above the lungs' lowest slice, with a standard deviation of
    `height_sd_mm` (0: the place in the body is not used). Below `threshold` of certainty a case is flagged, where the
    model has one.
    """

    feature_mean: tuple[float, ...] = field(converter=tuple)
    feature_scale: tuple[float, ...] = field(converter=tuple)
    coefficients: tuple[float, ...] = field(converter=tuple)
    intercept: float = 0.0
    smoothing_mm: float = 0.0
    temperature: float = 1.0
    height_mm: float = 0.0
    height_sd_mm: float = 0.0
    threshold: float | None = None


@frozen
class ModelManifest:
    """``manifest.json``; the SHA-256 of its canonical JSON is the model version and the SR's Device UID source.

    `nomogram` is None where the model has none of its own: no feature makes a rad-score, or the fit was refused.
    """

    name: str
    architecture: str  # "gtrnet"
    backbone: str  # "resnet152", …, "resnet10" for the demo
    feature_count: int
    weights_sha256: str
    contract: PreprocessingContract
    temperature: float
    rad_score: RadScoreModel
    nomogram: NomogramModel | None
    class_order: tuple[str, ...] = field(default=tuple(str(s) for s in STAGES), converter=tuple)
    key_slice_locator: KeySliceLocator | None = None
    conformal: ConformalSets | None = None  # of earlier versions: none, their thresholds were of another score
    abstention: AbstentionRule | None = None  # when no stage is given; None: one is always given
    cohort_digest: str = ""
    metrics: Mapping[str, Any] = field(factory=dict)
    reference: Mapping[str, Any] = field(factory=dict)  # distributions for the drift monitor
    intended_use: str = ""
    demo: bool = False  # "demo, not for patients"
    priors: StagePriors | None = None  # None: not known, so not calibrated here
    created: str = ""
    format: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON-able dict."""
        return attrs.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ModelManifest:
        """Parse and check.

        A nomogram that is not of this model is not taken: coefficients are those of one rad-score, and artefacts of
        earlier versions hold the paper's table, for a rad-score that they have not got.

        Raises
        ------
        ModelArtefactError
            A field is missing, unknown or impossible; the message names it.
        """
        manifest: ModelManifest = _build(cls, value, "manifest")
        if manifest.architecture != "gtrnet":
            raise ModelArtefactError(f"manifest.architecture is {manifest.architecture!r}, not 'gtrnet'")
        if manifest.class_order != tuple(str(s) for s in STAGES):
            raise ModelArtefactError(f"manifest.class_order is {list(manifest.class_order)}, not T1, T2, T3, T4")
        if manifest.contract.normalisation not in ("z_score", "imagenet"):
            raise ModelArtefactError(
                f"manifest.contract.normalisation is {manifest.contract.normalisation!r}, not 'z_score' or 'imagenet'"
            )
        if not manifest.temperature > 0:
            raise ModelArtefactError(f"manifest.temperature is {manifest.temperature}, not above 0")
        foreign = manifest.nomogram is not None and manifest.nomogram.name == PAPER_TABLE_3
        return attrs.evolve(manifest, nomogram=None) if foreign or not manifest.rad_score.selected else manifest


_NESTED: dict[tuple[str, str], type] = {
    ("ModelManifest", "contract"): PreprocessingContract,
    ("PreprocessingContract", "n4"): N4Settings,
    ("ModelManifest", "rad_score"): RadScoreModel,
    ("ModelManifest", "nomogram"): NomogramModel,
    ("ModelManifest", "key_slice_locator"): KeySliceLocator,
    ("ModelManifest", "conformal"): ConformalSets,
    ("ModelManifest", "priors"): StagePriors,
    ("ModelManifest", "abstention"): AbstentionRule,
    ("AbstentionRule", "features"): FeatureReference,
}
_OPTIONAL = ("n4", "nomogram", "key_slice_locator", "conformal", "priors", "abstention", "features")


def _build(cls: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ModelArtefactError(f"{where} is not an object")
    known = {a.name for a in attrs.fields(cls)}
    unknown = sorted(set(value) - known)
    if unknown:
        raise ModelArtefactError(f"{where} has unknown field(s): {', '.join(unknown)}")
    built = {}
    for name, item in value.items():
        kind = _NESTED.get((cls.__name__, name))
        absent = item is None and name in _OPTIONAL
        built[name] = item if kind is None or absent else _build(kind, item, f"{where}.{name}")
    try:
        return cls(**built)
    except (TypeError, ValueError) as err:
        raise ModelArtefactError(f"{where}: {err}") from err
