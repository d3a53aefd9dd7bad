"""The paper's reader comparison on the hospital's own patients: network, nomogram, radiologist and EUS against pT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import combinations

import numpy as np
from attrs import fields
from scipy.stats import fisher_exact

from gtr_batch.audit.found.evaluation import Interval95
from gtr_batch.audit.found.patients import Rater, RaterPair, Readers, ReadsBesideNetwork, WithAgainstWithout
from gtr_batch.audit.labels import RULE, Labelled, labelled
from gtr_batch.domain.audit import AuditCase, Classification, Read
from gtr_batch.domain.staging import TStage
from gtr_batch.metrics.classification import CLASSES, accuracy, confusion, kappa_of, quadratic_kappa, rates
from gtr_batch.metrics.intervals import percentile_interval, wide, wilson
from gtr_batch.metrics.paired import paired_differences
from gtr_batch.metrics.redrawing import confusion_by_patient, kappas_of, redrawn_counts

TITLES: Mapping[str, str] = {
    "gtrnet": "GTRNet",
    "nomogram": "nomogram",
    "radiologist": "radiologist's cT",
    "eus": "EUS uT",
}
_READS = (("with_ai", True, "with the AI result at hand"), ("without_ai", False, "without it"))
_NONE = -1  # this rater said nothing of the patient


def compare_readers(cases: Sequence[AuditCase], as_of: date, *, draws: int, seed: int) -> Readers:
    """Every rater against pT, every pair on the patients that both staged, and readers with against without AI.

    Parameters
    ----------
    cases : sequence of AuditCase
    as_of : date
        What was read or reported later does not count.
    draws, seed : int
        Of the bootstrap over patients.

    Returns
    -------
    Readers

    References
    ----------
    Paper, Results, comparison with radiologists and endoscopic ultrasound
    """
    found = labelled(cases, as_of, Classification.PT)
    said = _stages_by_rater(found)
    sentences = [RULE] if len(found.labels) else [f"No patient has a pT by {as_of}: nobody can be compared."]
    sentences += [
        f"No stage by {TITLES[name]} on these patients."
        for name, stages in said.items()
        if len(stages) and (stages == _NONE).all()
    ]
    pairs = [_pair(found.labels, said, names, draws, seed) for names in combinations(said, 2)]
    if sum(p.n > 0 for p in pairs) > 1:
        sentences.append("The p of the pairs are not corrected for their number.")
    with_ai, without_ai, against = _with_ai(found, said["radiologist"], draws, seed, sentences)
    return Readers(
        n=len(found.labels),
        raters={name: _rater(found.labels, stages) for name, stages in said.items()},
        pairs=tuple(pairs),
        with_ai=with_ai,
        without_ai=without_ai,
        with_against_without=against,
        sentences=tuple(sentences),
    )


def _stages_by_rater(found: Labelled) -> dict[str, np.ndarray]:
    """Each rater's stages (n,), -1 where there is none."""
    reads = [c.read for c in found.cases]
    best = np.where(np.isfinite(found.nomogram), found.nomogram, -1.0)
    nomogram = np.where(found.has_nomogram, best.argmax(axis=1) if len(best) else np.zeros(0, int), _NONE)
    return {
        "gtrnet": found.votes,
        "nomogram": nomogram.astype(int),
        "radiologist": np.array([_position(r, "radiologist_ct") for r in reads], int),
        "eus": np.array([_position(r, "endosonographer_ut") for r in reads], int),
    }


def _position(read: Read | None, name: str) -> int:
    stage: TStage | None = None if read is None else getattr(read, name)
    return _NONE if stage is None else stage.position


def _rater(labels: np.ndarray, stages: np.ndarray) -> Rater:
    there = stages != _NONE
    y, s = labels[there], stages[there]
    n, table = len(y), confusion(y, s)
    return Rater(
        n=n,
        accuracy=accuracy(y, s),
        accuracy_ci=wilson(int((y == s).sum()), n),
        sensitivity=rates(table)["sensitivity"],
        sensitivity_ci={stage: wilson(int(table[k, k]), int(table[k].sum())) for k, stage in enumerate(CLASSES)},
        kappa=kappa_of(table),
        over_staging=float((s > y).mean()) if n else None,
        under_staging=float((s < y).mean()) if n else None,
        confusion=tuple(tuple(row) for row in table.astype(int).tolist()),
    )


def _pair(
    labels: np.ndarray, said: Mapping[str, np.ndarray], names: tuple[str, str], draws: int, seed: int
) -> RaterPair:
    a, b = names
    both = (said[a] != _NONE) & (said[b] != _NONE)
    n = int(both.sum())
    found = paired_differences(labels[both], said[a][both], said[b][both], draws=draws, seed=seed)
    difference, interval = found["accuracy_difference"], found["ci"] or found["score_ci"]
    if difference is None or interval is None:
        sentence = f"{TITLES[a]} and {TITLES[b]}: no patient with a pT was staged by both."
    else:
        sentence = (
            f"{TITLES[a]} against {TITLES[b]} on the same {n} patients: accuracy {_points(difference)} (95% "
            f"{_points(interval[0])} to {_points(interval[1])}); right alone {found['only_one_right']} and "
            f"{found['only_other_right']} times, McNemar p {found['mcnemar_p']:.3g}."
        )
    return RaterPair(a=a, b=b, n=n, **found, sentence=sentence)


def _with_ai(
    found: Labelled, radiologist: np.ndarray, draws: int, seed: int, sentences: list[str]
) -> tuple[ReadsBesideNetwork | None, ReadsBesideNetwork | None, WithAgainstWithout | None]:
    read = radiologist != _NONE
    kinds = np.array([None if c.read is None else c.read.with_ai for c in found.cases], object)
    groups = {name: read & np.array([k is flag for k in kinds], bool) for name, flag, _ in _READS}
    unclear = int((read & ~groups["with_ai"] & ~groups["without_ai"]).sum())
    if unclear:
        sentences.append(f"{unclear} reads cannot be told to be with or without the AI result; they are in neither.")
    answer = {name: _beside_network(found, radiologist, inside) for name, inside in groups.items()}
    missing = [words for name, _, words in _READS if answer[name] is None]
    against = None
    if missing and read.any():
        sentences.append(f"No reads {' and none '.join(missing)}: the two cannot be compared.")
    if not missing:
        rows = [(found.labels[g], radiologist[g]) for g in groups.values()]
        against = _unpaired(rows[0], rows[1], draws, seed)
    return answer["with_ai"], answer["without_ai"], against


def _beside_network(found: Labelled, radiologist: np.ndarray, inside: np.ndarray) -> ReadsBesideNetwork | None:
    if not inside.any():
        return None
    y = found.labels[inside]
    rater = _rater(y, radiologist[inside])
    said = {a.name: getattr(rater, a.name) for a in fields(Rater)}
    return ReadsBesideNetwork(**said, gtrnet_accuracy=accuracy(y, found.votes[inside]))


def _unpaired(
    one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], draws: int, seed: int
) -> WithAgainstWithout:
    """Two groups of different patients: differences, both groups redrawn, and Fisher's exact test."""
    hits = [int((y == s).sum()) for y, s in (one, other)]
    sizes = [len(y) for y, _ in (one, other)]
    difference = hits[0] / sizes[0] - hits[1] / sizes[1]
    kappas = [quadratic_kappa(y, s) for y, s in (one, other)]
    drawn = [_drawn(y, s, draws, seed + k) for k, (y, s) in enumerate((one, other))]
    intervals = [_interval(a - b) for a, b in zip(*drawn, strict=True)]
    p = float(fisher_exact([[hits[0], sizes[0] - hits[0]], [hits[1], sizes[1] - hits[1]]]).pvalue)
    width = "" if intervals[0] is None else f" (95% {_points(intervals[0][0])} to {_points(intervals[0][1])})"
    return WithAgainstWithout(
        n_with=sizes[0],
        n_without=sizes[1],
        accuracy_difference=difference,
        ci=intervals[0],
        fisher_p=p,
        kappa_difference=None if kappas[0] is None or kappas[1] is None else kappas[0] - kappas[1],
        kappa_ci=intervals[1],
        sentence=(
            f"Radiologists with the AI result ({sizes[0]} patients) against without ({sizes[1]}): accuracy "
            f"{_points(difference)}{width}, Fisher p {p:.3g}. Unpaired: these are different patients, often of "
            "different months and readers; a difference need not come from the AI result. How accurate GTRNet is in "
            "either group shows how alike the two are."
        ),
    )


def _drawn(y: np.ndarray, s: np.ndarray, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and kappa of redrawn patients, (draws,) each."""
    n = len(y)
    cells = confusion_by_patient(y, s, np.arange(n), n)
    tables = [(counts @ cells).reshape(-1, 4, 4) for counts in redrawn_counts(n, n, draws, seed)]
    if not tables:
        return np.zeros(0), np.zeros(0)
    joined = np.concatenate(tables)
    return np.trace(joined, axis1=1, axis2=2) / n, kappas_of(joined)


def _interval(values: np.ndarray) -> Interval95 | None:
    return wide(percentile_interval(values)) if len(values) else None


def _points(value: float) -> str:
    return f"{100 * value:+.1f} points"
