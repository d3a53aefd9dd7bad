"""Staging a shard: one forward pass over all slices of all its cases, then calibration and the vote, case by case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import numpy as np
from attrs import field, frozen

from gtr_batch.domain.abstention import Evidence
from gtr_batch.domain.calibration import calibrated
from gtr_batch.domain.locating import NEAR, Location, locate, log_posterior, lung_share_of
from gtr_batch.domain.model import KeySliceLocator
from gtr_batch.domain.prepared import ROLES, PreparedGeometry
from gtr_batch.domain.refusal import RefusalCode
from gtr_batch.domain.staging import (
    STAGES,
    CaseStaging,
    Flag,
    KeySliceSource,
    SliceStaging,
    StageProbabilities,
    TStage,
    vote,
)
from gtr_batch.errors import CaseRejected, ConfigError, GpuOutOfMemory, ModelArtefactError
from gtr_batch.logs import get_logger

if TYPE_CHECKING:
    from torch import Tensor

    from gtr_batch.stage.artefact import Artefact

log = get_logger("stage")

# Told the logits (n, 4) of a batch, answers the class (0 to 3) of each of its n slices that a heat map shall explain.
Choose = Callable[[np.ndarray], Sequence[int]]


class Forward(Protocol):
    """A forward pass of n slices, for instance `gtr_batch.explain.gradcam.GradCamForward`."""

    def __call__(self, slices: Tensor, choose: Choose) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Features (n, D), logits (n, 4) and heat (n, size, size) or None, float32, of slices (n, 3, size, size)."""


@frozen(eq=False)
class StagedCase:
    """A case's answer and the arrays behind it, slices in the order below, key, above.

    `evidence`: how it compares with the model's patients, whether or not it got a stage.
    """

    staging: CaseStaging
    features: np.ndarray = field(repr=False)  # (3, D) float32
    logits: np.ndarray = field(repr=False)  # (3, 4) float32, not calibrated
    heat: np.ndarray | None = field(default=None, repr=False)  # (3, size, size) float32, 0..1
    evidence: Evidence = field(factory=Evidence)


@frozen
class AbstainAt:
    """The level at which a case gets no stage (0: never), and the locator's largest score of a series, by case id.

    A case whose key slice a person named has no score: that there is a tumour is not asked then.
    """

    level: float = 0.0
    tumour_scores: Mapping[str, float] = field(factory=dict)


def choose_device(setting: str = "auto", threads: int = 0) -> str:
    """The torch device to stage on.

    Parameters
    ----------
    setting : str
        ``auto`` (cuda when there is one, else CPU), ``cpu``, ``cuda`` or ``cuda:<n>``.
    threads : int
        CPU threads torch may use; 0 leaves torch's choice.

    Raises
    ------
    ConfigError
        An unknown word, or a GPU that was asked for and is not there.
    """
    import torch

    if threads > 0:
        torch.set_num_threads(threads)
    if setting == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = setting.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise ConfigError(f"stage.device is {setting!r}; 'auto', 'cpu', 'cuda' or 'cuda:<n>'")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and found <= int(number or 0):
        raise ConfigError(f"stage.device is {setting!r}, but torch sees {found} GPU(s); 'auto' takes the CPU then")
    return setting


def stage_shard(
    artefact: Artefact,
    inputs: Mapping[str, np.ndarray],
    geometries: Mapping[str, PreparedGeometry],
    *,
    forward: Forward | None = None,
    batch_cases: int = 16,
    abstain: AbstainAt | None = None,
) -> dict[str, StagedCase | CaseRejected]:
    """Stage the cases of a shard.

    Parameters
    ----------
    artefact : Artefact
        As `load_artefact` returned it, on its device.
    inputs : mapping of case_id to array, (3, size, size), float32
        Prepared slices: below, key, above.
    geometries : mapping of case_id to PreparedGeometry
        Which instances the slices are, and where the key slice came from.
    forward : Forward, optional
        The forward pass; without one there is no heat map.
    batch_cases : int
        Cases in one pass; halved as often as the GPU runs out of memory.
    abstain : AbstainAt, optional
        When a case gets no stage, by the rule in the artefact's manifest; without it every case gets one.

    Returns
    -------
    dict of case_id to StagedCase or CaseRejected
        In the order of `inputs`. A case whose output is not finite is rejected (``non_finite_output``); the others
        are not touched by that.

    Raises
    ------
    GpuOutOfMemory
        Not even one case fits.

    References
    ----------
    Paper, Methods, "aggregating the model outputs of these three slices through a majority-voting strategy".
    """
    forward = PlainForward(artefact.network) if forward is None else forward
    abstain = abstain or AbstainAt()
    size = artefact.manifest.contract.size
    for case_id, slices in inputs.items():
        if np.shape(slices) != (len(ROLES), size, size):
            raise ValueError(f"case {case_id}: input of shape {np.shape(slices)}, not {(len(ROLES), size, size)}")
    answers: dict[str, StagedCase | CaseRejected] = {}
    ids, at, step = list(inputs), 0, max(1, batch_cases)
    while at < len(ids):
        batch = ids[at : at + step]
        try:
            features, logits, heat = _pass(artefact, np.concatenate([inputs[i] for i in batch]), forward)
        except GpuOutOfMemory as err:
            if len(batch) == 1:
                raise
            step = len(batch) // 2
            log.warning("stage.batch_halved", cases=step, reason=str(err))
            continue
        for k, case_id in enumerate(batch):
            rows = slice(k * len(ROLES), (k + 1) * len(ROLES))
            answer = _answer(
                artefact,
                (features[rows], logits[rows], None if heat is None else heat[rows]),
                geometries[case_id],
            )
            if isinstance(answer, StagedCase):
                answer = _or_none(answer, artefact, abstain.level, abstain.tumour_scores.get(case_id))
            answers[case_id] = answer
        at += len(batch)
    return answers


def find_location(artefact: Artefact, slices: np.ndarray, heights_mm: np.ndarray, batch: int = 48) -> Location | None:
    """The key slice as the artefact's locator finds it, and the stage that each slice near it would be given.

    One pass of the network over all slices serves both: the stages near the choice cost nothing more.

    Parameters
    ----------
    artefact : Artefact
    slices : array, (n, size, size), float32
        Every axial slice, prepared like key slices, in the order of the stack.
    heights_mm : array, (n,)
        Their heights from feet to head.
    batch : int
        Slices in one pass.

    Returns
    -------
    Location or None
        None where no slice has finite features.

    Raises
    ------
    ModelArtefactError
        The artefact has no locator.
    """
    locator = _locator_of(artefact)
    features, logits = _features(artefact, slices, batch)
    scores = _scores(locator, features)
    found = locate(log_posterior(locator, scores, heights_mm, lung_share_of(slices)), heights_mm, locator.threshold)
    if found is None:
        return None
    nearby = _stages_near(artefact, logits, found.index)
    return attrs.evolve(found, nearby=nearby, best_score=float(scores.max(initial=-np.inf)))


def slice_scores(artefact: Artefact, slices: np.ndarray, batch: int = 48) -> np.ndarray:
    """How much each slice looks like a key slice: the locator's score of the penultimate features, before smoothing.

    Parameters
    ----------
    artefact : Artefact
    slices : array, (n, size, size), float32
        Prepared like key slices, in any order.
    batch : int
        Slices in one pass.

    Returns
    -------
    array, (n,), float64
        ``-inf`` where a slice's features are not finite.

    Raises
    ------
    ModelArtefactError
        The artefact has no locator.
    """
    return _scores(_locator_of(artefact), _features(artefact, slices, batch)[0])


def _locator_of(artefact: Artefact) -> KeySliceLocator:
    locator = artefact.manifest.key_slice_locator
    if locator is None:
        raise ModelArtefactError(f"{artefact.folder}: manifest.key_slice_locator is absent: no automatic key slice")
    return locator


def _features(artefact: Artefact, slices: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and logits of all slices, a batch at a time."""
    forward = PlainForward(artefact.network)
    parts = [_pass(artefact, slices[start : start + batch], forward)[:2] for start in range(0, len(slices), batch)]
    if not parts:
        return np.empty((0, artefact.manifest.feature_count)), np.empty((0, len(STAGES)))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _scores(locator: KeySliceLocator, features: np.ndarray) -> np.ndarray:
    standard = (features.astype(np.float64) - np.array(locator.feature_mean)) / np.array(locator.feature_scale)
    scores = locator.intercept + standard @ np.array(locator.coefficients)
    return np.where(np.isfinite(scores), scores, -np.inf)


def _stages_near(artefact: Artefact, logits: np.ndarray, index: int) -> tuple[TStage, ...]:
    """The vote of each slice within two of `index` and its neighbours; of slices whose logits are finite."""
    last, manifest = len(logits) - 1, artefact.manifest
    stages = []
    for key in range(max(index - NEAR, 0), min(index + NEAR, last) + 1):
        beside = logits[[max(key - 1, 0), key, min(key + 1, last)]]
        three = calibrated(beside, manifest.temperature, manifest.priors)
        if np.isfinite(three).all():
            stages.append(vote([StageProbabilities(row) for row in three])[0])
    return tuple(stages)


class PlainForward:
    """Features and logits, no heat map."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def __call__(self, slices: Tensor, choose: Choose) -> tuple[np.ndarray, np.ndarray, None]:
        import torch

        with torch.inference_mode():
            features = self.network.forward_features(slices)
            logits = self.network.classify(features)
        return features.float().cpu().numpy(), logits.float().cpu().numpy(), None


def _pass(artefact: Artefact, slices: np.ndarray, forward: Forward) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    import torch

    device = next(artefact.network.parameters()).device
    x = torch.from_numpy(np.ascontiguousarray(slices, dtype=np.float32)).to(device)[:, None].expand(-1, 3, -1, -1)
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    try:
        with _same_answer_everywhere():
            return forward(x.contiguous(memory_format=layout), lambda logits: _voted(logits, artefact))
    except torch.cuda.OutOfMemoryError:
        reason = f"{len(slices)} slices do not fit into the free memory of {device}"
    # Out of the handler, so that the traceback no longer holds the batch's tensors.
    torch.cuda.empty_cache()
    raise GpuOutOfMemory(reason)


def _voted(logits: np.ndarray, artefact: Artefact) -> list[int]:
    """For each slice, the class that its case is voted into; class 0 where a case has no finite answer."""
    classes = []
    for case in logits.reshape(-1, len(ROLES), len(STAGES)) if len(logits) % len(ROLES) == 0 else ():
        p = calibrated(case, artefact.manifest.temperature, artefact.manifest.priors)
        position = vote([StageProbabilities(row) for row in p])[0].position if np.isfinite(p).all() else 0
        classes += [position] * len(ROLES)
    return classes


def _answer(
    artefact: Artefact,
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray | None],
    geometry: PreparedGeometry,
) -> StagedCase | CaseRejected:
    features, logits, heat = arrays
    parts = {"logits": logits, "features": features} | ({} if heat is None else {"heat": heat})
    broken = {name: int(np.size(a) - np.isfinite(a).sum()) for name, a in parts.items() if not np.isfinite(a).all()}
    if broken:
        told = ", ".join(f"{n} of {np.size(parts[name])} {name}" for name, n in broken.items())
        return CaseRejected(
            RefusalCode.NON_FINITE_OUTPUT, f"The network's output is not finite: {told}; no stage is given.", broken
        )
    slices = tuple(
        SliceStaging(uid, role, p.most_likely, p)
        for uid, role, p in zip(
            geometry.sop_instance_uids,
            ROLES,
            map(StageProbabilities, calibrated(logits, artefact.manifest.temperature, artefact.manifest.priors)),
            strict=True,
        )
    )
    stage, mean, flags = vote([s.probabilities for s in slices])
    if geometry.key_slice_source is KeySliceSource.AUTOMATIC:
        flags += (Flag.AUTOMATIC_KEY_SLICE,)
    flags += geometry.flags
    if artefact.manifest.priors is None:
        flags += (Flag.NOT_CALIBRATED,)
    if any(nearby is not stage for nearby in geometry.nearby):
        flags += (Flag.STAGE_VARIES,)
    if artefact.manifest.demo:
        flags += (Flag.DEMO_MODEL,)
    conformal = artefact.manifest.conformal
    stage_set = None if conformal is None else conformal.of(mean)
    staging = CaseStaging(stage, mean, slices, geometry.key_slice_source, artefact.version, flags, stage_set)
    return StagedCase(staging, features, logits, heat)


def _or_none(answer: StagedCase, artefact: Artefact, level: float, tumour_score: float | None) -> StagedCase:
    """The answer, or the same without a stage where the case is unlike the model's patients."""
    rule = artefact.manifest.abstention
    if rule is None:
        return answer
    evidence = rule.evidence(answer.features[ROLES.index("key")], tumour_score)
    abstention = evidence.abstention(level)
    if abstention is None:
        return attrs.evolve(answer, evidence=evidence)
    votes = (Flag.TIE, Flag.VOTE_MEAN_DISAGREE)
    staging = attrs.evolve(
        answer.staging,
        t_stage=None,
        probabilities=None,
        stage_set=None,
        abstention=abstention,
        flags=tuple(flag for flag in answer.staging.flags if flag not in votes),
    )
    return attrs.evolve(answer, staging=staging, evidence=evidence)


@contextmanager
def _same_answer_everywhere() -> Iterator[None]:
    """Deterministic cuDNN in full float32: the CPU's answer within tolerance, and the same twice."""
    import torch

    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
