"""When a model has no business answering: a case is then staged without a stage, and says why.

Two rules, each a conformal p-value over patients whom neither the network nor the rule's fit has seen. The share of
good cases that a rule leaves without a stage is at most its level, whatever the features' distribution; but no p-value
is smaller than ``1 / (n + 1)``, so that few patients may not suffice for a small level.

References
----------
Laxhammar, Falkman, ICAIT 2010 (conformal anomaly detection); Lee et al., NeurIPS 2018 (Mahalanobis distance of
penultimate features); Tipping, Bishop, J R Stat Soc B 1999 (all small eigenvalues of a covariance as one)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from attrs import field, frozen


class AbstentionCode(StrEnum):
    """Coded reasons; the value is what Postgres, the CLI and the report carry."""

    UNLIKE_REFERENCE = "unlike_reference"
    NO_TUMOUR_SIGN = "no_tumour_sign"


@frozen
class AbstentionMeaning:
    """What one reason is called: in the report under our coding scheme (64 characters), and in `words`."""

    coded_value: str
    meaning: str
    words: str


ABSTENTIONS: Mapping[AbstentionCode, AbstentionMeaning] = {
    AbstentionCode.UNLIKE_REFERENCE: AbstentionMeaning(
        "unlike_reference", "Image unlike those of the model's patients", "image unlike those of the model's patients"
    ),
    AbstentionCode.NO_TUMOUR_SIGN: AbstentionMeaning(
        "no_tumour_sign", "No sign of a gastric tumour on any slice", "no sign of a gastric tumour on any slice"
    ),
}


@frozen
class Abstention:
    """Why a case has no stage: a code, its sentence and the numbers behind it; never PHI."""

    code: AbstentionCode = field(converter=AbstentionCode)
    sentence: str
    numbers: Mapping[str, Any] = field(factory=dict)

    @property
    def words(self) -> str:
        """The reason in a few words."""
        return ABSTENTIONS[self.code].words


def _numbers(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(v) for v in values)


@frozen
class FeatureReference:
    """Penultimate features of key slices of the model's patients, and how far other patients lie from them.

    The distance is Mahalanobis' in standardised features, with a covariance whose eigenvalues beyond the leading ones
    are all `residual`: `components` are the leading directions, each in SD. `distances` are those of patients who made
    none of these numbers, ascending.
    """

    mean: tuple[float, ...] = field(converter=_numbers, repr=False)
    scale: tuple[float, ...] = field(converter=_numbers, repr=False)
    components: tuple[tuple[float, ...], ...] = field(
        converter=lambda rows: tuple(_numbers(row) for row in rows), repr=False
    )
    residual: float
    distances: tuple[float, ...] = field(converter=_numbers, repr=False)

    def __attrs_post_init__(self) -> None:
        widths = {len(self.mean), len(self.scale), *(len(row) for row in self.components)}
        if len(widths) != 1 or not self.residual > 0 or not all(s > 0 for s in self.scale):
            raise ValueError("mean, scale and components differ in length, or a scale is not above 0")

    def distance(self, features: np.ndarray) -> float:
        """How far a key slice's features (D,) lie from the reference."""
        return float(feature_distances(np.asarray(features, float)[None], self)[0])


def feature_distances(features: np.ndarray, reference: FeatureReference) -> np.ndarray:
    """Distances of several key slices' features, (n, D)."""
    z = (np.asarray(features, float) - np.array(reference.mean)) / np.array(reference.scale)
    components = np.array(reference.components).reshape(-1, z.shape[1])
    along = z @ components.T  # in SD
    inside = (along**2 / np.maximum((components**2).sum(axis=1), 1e-18)).sum(axis=1)
    rest = np.maximum((z**2).sum(axis=1) - inside, 0.0)
    distances: np.ndarray = np.sqrt((along**2).sum(axis=1) + rest / reference.residual)
    return distances


@frozen
class AbstentionRule:
    """What a model's manifest says of when it does not answer; a part that it does not hold is never used.

    `tumour_scores`: the largest score that the key-slice locator gave any slice of a series, of patients with a tumour
    on whom it was not fitted, ascending.
    """

    features: FeatureReference | None = None
    tumour_scores: tuple[float, ...] = field(default=(), converter=_numbers, repr=False)

    def evidence(self, key_features: np.ndarray, tumour_score: float | None = None) -> Evidence:
        """What speaks against an answer.

        Parameters
        ----------
        key_features : numpy.ndarray
            (D,), penultimate, of the key slice.
        tumour_score : float, optional
            The largest of the locator's scores over the whole series; None where a person or another system named the
            key slice, and so says that there is a tumour.
        """
        distance = p_distance = p_sign = None
        if self.features is not None and self.features.distances:
            distance = self.features.distance(key_features)
            p_distance = p_value(sum(d >= distance for d in self.features.distances), len(self.features.distances))
        if self.tumour_scores and tumour_score is not None:
            p_sign = p_value(sum(s <= tumour_score for s in self.tumour_scores), len(self.tumour_scores))
        return Evidence(
            distance,
            p_distance,
            len(self.features.distances) if self.features else 0,
            tumour_score,
            p_sign,
            len(self.tumour_scores),
        )


def p_value(as_extreme: int, n: int) -> float:
    """Conformal p-value: the rank of a new patient among `n` exchangeable ones and itself."""
    return (1 + as_extreme) / (n + 1)


def smallest_p(n: int) -> float:
    """No p-value over `n` patients is smaller."""
    return p_value(0, n)


@frozen
class Evidence:
    """How a case compares with the model's patients; None: not measured, or nothing to compare with."""

    distance: float | None = None
    p_distance: float | None = None
    n_distance: int = 0
    tumour_score: float | None = None
    p_tumour_sign: float | None = None
    n_tumour_sign: int = 0

    def abstention(self, level: float) -> Abstention | None:
        """Why the case gets no stage at this level; None where it gets one."""
        if self.p_distance is not None and self.p_distance <= level:
            sentence = (
                f"Not staged: the key slice's features are unlike those of the model's patients (distance "
                f"{self.distance:.1f}, p {self.p_distance:.3f} among {self.n_distance} patients; level {level:g})."
            )
            return Abstention(AbstentionCode.UNLIKE_REFERENCE, sentence, self.numbers(level))
        if self.p_tumour_sign is not None and self.p_tumour_sign <= level:
            sentence = (
                f"Not staged: no slice shows a sign of a gastric tumour (largest score {self.tumour_score:.1f}, p "
                f"{self.p_tumour_sign:.3f} among {self.n_tumour_sign} patients; level {level:g})."
            )
            return Abstention(AbstentionCode.NO_TUMOUR_SIGN, sentence, self.numbers(level))
        return None

    def numbers(self, level: float | None = None) -> dict[str, float]:
        """What was measured, JSON-able."""
        found = {
            "distance": self.distance,
            "p_distance": self.p_distance,
            "tumour_score": self.tumour_score,
            "p_tumour_sign": self.p_tumour_sign,
            "level": level,
        }
        return {name: round(float(x), 4) for name, x in found.items() if x is not None and math.isfinite(x)}


def in_words(rule: AbstentionRule | None, level: float) -> str:
    """When a model with this rule gives no stage at this level, and what that costs; for reports and pages."""
    if rule is None or (rule.features is None and not rule.tumour_scores):
        return "The model holds no reference of its patients: it answers every case, also where it should not."
    if level <= 0:
        return "The site asks for an answer to every case (stage.abstain_level is 0)."
    parts = []
    counts = {
        "images unlike those of its patients": len(rule.features.distances) if rule.features else 0,
        "series without a sign of a gastric tumour, where no person named the key slice": len(rule.tumour_scores),
    }
    for what, n in counts.items():
        if not n:
            parts.append(f"{what}: no patients to compare with, so this is not asked")
        elif smallest_p(n) > level:
            parts.append(f"{what}: {n} patients give no p below {smallest_p(n):.3f}, so none is found at {level:g}")
        else:
            parts.append(f"{what}: p of at most {level:g} among {n} patients (smallest possible {smallest_p(n):.3f})")
    asked = sum(n > 0 and smallest_p(n) <= level for n in counts.values())
    cost = f" At most {100 * level * asked:g}% of good cases get no stage by this." if asked else ""
    return f"No stage is given to {'; to '.join(parts)}.{cost}"
