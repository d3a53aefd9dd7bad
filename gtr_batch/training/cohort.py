"""The cohort: from the case book and the EHR to who is trained on, with everybody who is not and why.

Paper, Fig. 1 and Methods: consecutive patients with resected, pathologically staged gastric cancer and a portal venous
CT before the operation. pT alone is a label; ypT, the stage after neoadjuvant treatment, is another question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import frozen

from gtr_batch.domain.cohort import Candidate, CohortManifest, Exclusion, Member, Split, digest_of, member_json
from gtr_batch.domain.model_json import to_json
from gtr_batch.domain.staging import STAGES, KeySliceSource, TStage
from gtr_batch.errors import CannotTell
from gtr_batch.metrics.table_one import table_one
from gtr_batch.training.split import split_members

# In the order in which a patient is asked; the codes are keys of the flow.
REASONS: Mapping[str, str] = {
    "not_reported": "operated, but pathology has not reported yet",
    "ypt": "staged after neoadjuvant treatment (ypT), which is another question than pT",
    "not_t1_to_t4": "pathology found T0 or Tis",
    "conflicting_pathology": "two operations with different pT",
    "not_staged": "no series that this service has staged",
    "not_before_surgery": "the CT does not lie in the time before the operation",
    "treated_before_surgery": "chemotherapy or radiotherapy between CT and operation, though the stage is given as pT",
    "key_slice_not_marked": "the key slice was found automatically; nobody marked or confirmed it",
    "another_series": "another series of the same patient, nearer to the operation, is in the cohort",
}


@frozen
class CohortSettings:
    """What decides who is in, and where; part of the cohort's digest."""

    days_before_surgery: int = 120
    holdout_share: float = 0.2
    validation_share: float = 0.15
    minimum_per_class: int = 20
    minimum_holdout_per_class: int = 5
    seed: int = 0


def build_cohort(
    candidates: Sequence[Candidate],
    settings: CohortSettings,
    *,
    sealed: Collection[str] = (),
    trained: Collection[str] = (),
) -> tuple[CohortManifest, list[Member]]:
    """Judge the candidates and split those who are in.

    Parameters
    ----------
    candidates : sequence of Candidate
        In any order: the answer does not depend on it.
    settings : CohortSettings
    sealed, trained : collection of str
        Subjects of earlier cohorts' holdouts, and of their other splits.

    Returns
    -------
    CohortManifest
        Without the holdout's members.
    list of Member
        The holdout, to be sealed at once.
    """
    by_subject: dict[str, list[Candidate]] = {}
    for candidate in sorted(candidates, key=lambda c: (c.subject, c.operated_on, c.study_uid, c.series_uid)):
        by_subject.setdefault(candidate.subject, []).append(candidate)
    members: list[Member] = []
    exclusions: list[Exclusion] = []
    flow: Counter[str] = Counter()
    for subject, theirs in by_subject.items():
        chosen, why = _judge(theirs, settings)
        if chosen is None:
            flow[why] += 1
            exclusions.append(Exclusion(subject, "", why, REASONS[why]))
            continue
        members.append(_member(chosen))
        others = {c.case_id for c in theirs if c.case_id and c.case_id != chosen.case_id}
        exclusions += [Exclusion(subject, c, "another_series", REASONS["another_series"]) for c in sorted(others)]
    split = split_members(
        members,
        holdout_share=settings.holdout_share,
        validation_share=settings.validation_share,
        seed=settings.seed,
        sealed=sealed,
        trained=trained,
    )
    holdout = [m for m in split if m.split is Split.HOLDOUT]
    seen = [m for m in split if m.split is not Split.HOLDOUT]
    boxes = {"operated": len(by_subject), **{code: flow[code] for code in REASONS if code != "another_series"}}
    boxes |= {"included": len(members), **{str(s): sum(m.split is s for m in split) for s in Split}}
    body: dict[str, Any] = {
        "members": [member_json(m) for m in seen],
        "exclusions": [
            {"subject": e.subject, "case_id": e.case_id, "code": e.code, "sentence": e.sentence} for e in exclusions
        ],
        "holdout_digest": digest_of([member_json(m) for m in holdout]),
        "holdout_counts": _counts(holdout),
        "table_1": to_json(table_one({str(s): [m.characteristics for m in split if m.split is s] for s in Split})),
        "flow": boxes,
        "settings": {a: getattr(settings, a) for a in sorted(CohortSettings.__annotations__)},
    }
    return CohortManifest.from_json({**body, "digest": digest_of(body)}), holdout


def require_enough(manifest: CohortManifest, settings: CohortSettings) -> None:
    """Refuse to spend anything on a cohort that cannot answer.

    Raises
    ------
    CannotTell
        A stage has fewer patients in train, or in the sealed holdout, than the settings ask for; says how many.
    """
    train = _counts(manifest.of(Split.TRAIN))
    short = [f"{s} {n} of {settings.minimum_per_class}" for s, n in train.items() if n < settings.minimum_per_class]
    if short:
        raise CannotTell(
            f"cannot tell: too few patients to train on ({', '.join(short)}); of {manifest.flow['operated']} operated "
            f"patients {manifest.flow['included']} are in the cohort"
        )
    asked = settings.minimum_holdout_per_class
    thin = [f"{s} {n} of {asked}" for s, n in manifest.holdout_counts.items() if n < asked]
    if thin:
        raise CannotTell(f"cannot tell: too few sealed patients to judge a candidate by ({', '.join(thin)})")
    if len(manifest.of(Split.VALIDATION)) < 2:
        raise CannotTell(
            "cannot tell: fewer than two patients validate; one part chooses the epoch, one is for the fits"
        )


def _judge(theirs: Sequence[Candidate], settings: CohortSettings) -> tuple[Candidate | None, str]:
    """The series of one patient that is in the cohort, or why there is none."""
    reported = [c for c in theirs if c.reported_on is not None and c.classification is not None]
    if not reported:
        return None, "not_reported"
    primary = [c for c in reported if c.classification == "pT"]
    if not primary:
        return None, "ypt"
    labels = {_label(c) for c in primary}
    if len(labels) > 1:
        return None, "conflicting_pathology"
    if labels == {None}:
        return None, "not_t1_to_t4"
    staged = [c for c in primary if c.case_id and len(c.slices) == 3]
    if not staged:
        return None, "not_staged"
    before = [
        c for c in staged if c.study_on and 0 <= (c.operated_on - c.study_on).days <= settings.days_before_surgery
    ]
    if not before:
        return None, "not_before_surgery"
    untreated = [c for c in before if not c.treated_before_surgery]
    if not untreated:
        return None, "treated_before_surgery"
    marked = [c for c in untreated if c.key_slice_source not in (None, KeySliceSource.AUTOMATIC)]
    if not marked:
        return None, "key_slice_not_marked"
    return max(marked, key=lambda c: (c.study_on, c.series_uid)), ""


def _label(candidate: Candidate) -> TStage | None:
    """T4a and T4b are one class, as are T1a and T1b; None for T0 and Tis."""
    category = (candidate.t_category or "")[:2]
    return TStage(category) if category in {str(s) for s in STAGES} else None


def _member(c: Candidate) -> Member:
    label = _label(c)
    assert label is not None and c.study_on is not None and c.key_slice_source is not None  # `_judge` asked
    return Member(
        subject=c.subject,
        case_id=c.case_id,
        study_uid=c.study_uid,
        series_uid=c.series_uid,
        slices=c.slices,
        key_slice_source=c.key_slice_source,
        label=label,
        split=Split.TRAIN,
        scanner=c.scanner or "unknown",
        study_on=c.study_on,
        operated_on=c.operated_on,
        covariates=c.covariates,
        sex=c.sex,
        age_years=c.age_years,
        location=c.location,
        markers=c.markers,
    )


def _counts(members: Sequence[Member]) -> dict[str, int]:
    return {str(stage): sum(m.label is stage for m in members) for stage in STAGES}
