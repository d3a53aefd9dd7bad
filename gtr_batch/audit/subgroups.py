"""Is the stage as often right on every scanner, for women and men, young and old, everywhere in the stomach?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import evolve
from scipy.stats import fisher_exact

from gtr_batch.audit.cohorts import Cohort
from gtr_batch.audit.found.patients import Subgroup
from gtr_batch.domain.audit import AuditCase
from gtr_batch.metrics.intervals import wilson

JUDGED = 20  # patients; smaller groups are listed, not judged, as the gate does
_LEVEL = 0.05  # over all groups of a table together (Holm)
_UNKNOWN = "not known"


def scanner_of(case: AuditCase) -> str:
    """Manufacturer and model, as the headers say."""
    words = [str(case.facts.get(name) or "").strip() for name in ("manufacturer", "model")]
    return " ".join(w for w in words if w) or _UNKNOWN


def age_of(case: AuditCase) -> str:
    """Age in three groups."""
    age = case.age_years
    if age is None:
        return _UNKNOWN
    return "under 60" if age < 60 else ("60 to 74" if age < 75 else "75 and over")


GROUPINGS: Mapping[str, Callable[[AuditCase], str]] = {
    "scanner": scanner_of,
    "sex": lambda c: c.sex if c.sex in ("female", "male", "other") else _UNKNOWN,
    "age": age_of,
    "location": lambda c: f"{c.location} third" if c.location else _UNKNOWN,
}
_ORDER = (
    "under 60",
    "60 to 74",
    "75 and over",
    "upper third",
    "middle third",
    "lower third",
    "female",
    "male",
    "other",
)


def subgroups(cohort: Cohort) -> tuple[Subgroup, ...]:
    """Accuracy by group, and each group against all others of its grouping.

    Returns
    -------
    tuple of Subgroup
        With Wilson's intervals and Fisher's two-sided p; Holm's rule holds the chance of any "worse" or "better" among
        all groups to 5%.
    """
    rows: list[Subgroup] = []
    right = (cohort.labels == cohort.votes).tolist()
    for by, word in GROUPINGS.items():
        groups = [word(c) for c in cohort.cases]
        if set(groups) == {_UNKNOWN}:
            continue
        for group in sorted(set(groups), key=lambda g: (g == _UNKNOWN, _place(g), g)):
            inside = [r for r, g in zip(right, groups, strict=True) if g == group]
            others = [r for r, g in zip(right, groups, strict=True) if g != group]
            rows.append(_row(by, group, inside, others))
    return _decided(rows)


def _row(by: str, group: str, inside: Sequence[bool], others: Sequence[bool]) -> Subgroup:
    n, k, rest_n, rest_k = len(inside), sum(inside), len(others), sum(others)
    judged = min(n, rest_n) >= JUDGED and group != _UNKNOWN
    return Subgroup(
        by=by,
        group=group,
        n=n,
        right=k,
        accuracy=k / n if n else None,
        ci=wilson(k, n),
        rest=rest_k / rest_n if rest_n else None,
        p=float(fisher_exact([[k, n - k], [rest_k, rest_n - rest_k]]).pvalue) if judged else None,
        verdict="not shown" if judged else "too small",
    )


def _decided(rows: Sequence[Subgroup]) -> tuple[Subgroup, ...]:
    decided = list(rows)
    judged = sorted((r.p, at, r) for at, r in enumerate(rows) if r.p is not None)
    for k, (p, at, row) in enumerate(judged):
        if p > _LEVEL / (len(judged) - k):
            break
        assert row.accuracy is not None and row.rest is not None  # it was judged
        decided[at] = evolve(row, verdict="worse" if row.accuracy < row.rest else "better")
    return tuple(decided)


def _place(group: str) -> int:
    return _ORDER.index(group) if group in _ORDER else len(_ORDER)
