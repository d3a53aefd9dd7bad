"""Who is in a cohort, where, and that neither order nor growth changes it."""

from __future__ import annotations

from datetime import date, timedelta

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtr_batch.domain.clinical import Covariates, Lauren, Markers
from gtr_batch.domain.cohort import Candidate, CohortManifest, Split, digest_of
from gtr_batch.domain.model_json import from_json
from gtr_batch.domain.staging import STAGES, KeySliceSource
from gtr_batch.errors import CannotTell, InputRefused
from gtr_batch.metrics.table_one import TableOne
from gtr_batch.training.cohort import REASONS, CohortSettings, build_cohort, require_enough

OPERATED = date(2026, 3, 2)
SETTINGS = CohortSettings(minimum_per_class=3, minimum_holdout_per_class=1)


def a_candidate(number: int, **changes) -> Candidate:
    made = Candidate(
        subject=f"s{number:04d}",
        operated_on=OPERATED,
        reported_on=OPERATED + timedelta(days=9),
        classification="pT",
        t_category=("T1b", "T2", "T3", "T4a")[number % 4],
        case_id=f"case-{number}",
        study_uid=f"1.2.{number}",
        series_uid=f"1.2.{number}.1",
        study_on=OPERATED - timedelta(days=12),
        slices=(f"1.2.{number}.1.1", f"1.2.{number}.1.2", f"1.2.{number}.1.3"),
        key_slice_source=KeySliceSource.KEY_OBJECT,
        scanner=("A", "B", "C")[number % 3],
        covariates=Covariates(4.5, None, Lauren.DIFFUSE),
    )
    return attrs.evolve(made, **changes)


def many(count: int = 80) -> list[Candidate]:
    return [a_candidate(n) for n in range(count)]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"reported_on": None, "classification": None, "t_category": None}, "not_reported"),
        ({"classification": "ypT"}, "ypt"),
        ({"t_category": "Tis"}, "not_t1_to_t4"),
        ({"case_id": "", "slices": ()}, "not_staged"),
        ({"study_on": OPERATED + timedelta(days=1)}, "not_before_surgery"),
        ({"study_on": OPERATED - timedelta(days=121)}, "not_before_surgery"),
        ({"treated_before_surgery": True}, "treated_before_surgery"),
        ({"key_slice_source": KeySliceSource.AUTOMATIC}, "key_slice_not_marked"),
    ],
)
def test_a_patient_is_left_out_with_the_reason(changes, code):
    manifest, _ = build_cohort([*many(), a_candidate(900, **changes)], SETTINGS)

    assert [(e.subject, e.code) for e in manifest.exclusions] == [("s0900", code)]
    assert (manifest.flow["operated"], manifest.flow[code], manifest.flow["included"]) == (81, 1, 80)


def test_a_patient_with_two_different_pt_is_left_out():
    twice = [a_candidate(900), a_candidate(900, operated_on=OPERATED + timedelta(days=40), t_category="T2")]

    manifest, _ = build_cohort([*many(), *twice], SETTINGS)

    assert [e.code for e in manifest.exclusions] == ["conflicting_pathology"]


def test_of_two_series_the_one_nearer_to_the_operation_is_in():
    older = a_candidate(3, case_id="older", series_uid="1.2.3.0", study_on=OPERATED - timedelta(days=60))

    manifest, holdout = build_cohort([older, *many()], SETTINGS)

    chosen = {m.subject: m.case_id for m in [*manifest.members, *holdout]}
    assert chosen["s0003"] == "case-3"
    assert [(e.case_id, e.code) for e in manifest.exclusions] == [("older", "another_series")]


def test_table_1_is_of_every_split_and_the_sealed_members_stay_unknown():
    candidates = [attrs.evolve(c, markers=Markers(cea_ng_ml=float(k)), sex="male") for k, c in enumerate(many())]

    manifest, holdout = build_cohort(candidates, SETTINGS)

    table = from_json(manifest.table_1, TableOne)
    assert dict(zip(table.cohorts, table.n, strict=True)) == {str(s): manifest.flow[str(s)] for s in Split}
    [cea] = [row for row in table.rows if row.name == "CEA, ng/ml"]
    assert (cea.known, cea.test) == (table.n, "Kruskal-Wallis")
    assert not any(m.subject in str(manifest.to_json()) for m in holdout)


def test_a_cohort_that_was_frozen_without_a_table_is_read_as_it_was():
    manifest, _ = build_cohort(many(), SETTINGS)
    body = {k: v for k, v in manifest.to_json().items() if k not in ("table_1", "digest")}
    before = {**body, "digest": digest_of(body)}

    assert "markers" not in body["members"][0]
    assert CohortManifest.from_json(before).to_json() == before


def test_the_boxes_of_the_flow_add_up():
    odd = [a_candidate(900, classification="ypT"), a_candidate(901, case_id="", slices=())]

    manifest, _ = build_cohort([*many(), *odd], SETTINGS)

    left_out = sum(manifest.flow[code] for code in REASONS if code in manifest.flow)
    assert manifest.flow["operated"] == left_out + manifest.flow["included"]
    assert manifest.flow["included"] == sum(manifest.flow[str(s)] for s in Split)


@given(st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_the_same_patients_in_another_order_are_the_same_cohort(random):
    shuffled = many()
    random.shuffle(shuffled)

    assert build_cohort(shuffled, SETTINGS)[0].digest == build_cohort(many(), SETTINGS)[0].digest


@given(st.integers(12, 200), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_no_patient_is_in_two_splits_and_the_holdout_is_not_in_the_manifest(count, seed):
    manifest, holdout = build_cohort(many(count), attrs.evolve(SETTINGS, seed=seed))

    seen = {m.subject for m in manifest.members}
    assert not seen & {m.subject for m in holdout}
    assert len(seen) + len(holdout) == count
    assert not any(m.subject in str(manifest.to_json()) for m in holdout)


def test_the_holdout_holds_each_stage_and_scanner_in_proportion():
    manifest, holdout = build_cohort(many(240), SETTINGS)

    assert manifest.holdout_counts == {str(s): 12 for s in STAGES}
    assert all(sum(m.label is s and m.scanner == k for m in holdout) == 4 for s in STAGES for k in "ABC")


def test_a_sealed_patient_stays_sealed_when_the_cohort_grows():
    first, holdout = build_cohort(many(80), SETTINGS)
    sealed = {m.subject for m in holdout}
    trained = {m.subject for m in first.members}

    second, later = build_cohort(many(160), SETTINGS, sealed=sealed, trained=trained)

    assert sealed <= {m.subject for m in later}
    assert not trained & {m.subject for m in later}
    assert not sealed & {m.subject for m in second.members}


def test_cannot_ask_the_manifest_for_the_holdout():
    manifest, _ = build_cohort(many(), SETTINGS)

    with pytest.raises(ValueError, match="sealed"):
        manifest.of(Split.HOLDOUT)


def test_cannot_read_a_manifest_that_was_changed():
    value = build_cohort(many(), SETTINGS)[0].to_json()
    value["members"][0]["label"] = "T4" if value["members"][0]["label"] != "T4" else "T1"

    with pytest.raises(InputRefused, match="not what its digest says"):
        CohortManifest.from_json(value)


def test_a_small_cohort_cannot_tell():
    manifest, _ = build_cohort(many(16), attrs.evolve(SETTINGS, minimum_per_class=20))

    with pytest.raises(CannotTell, match=r"T1 \d of 20"):
        require_enough(manifest, attrs.evolve(SETTINGS, minimum_per_class=20))


def test_a_thin_holdout_cannot_tell():
    settings_now = attrs.evolve(SETTINGS, minimum_per_class=1, minimum_holdout_per_class=9)
    manifest, _ = build_cohort(many(40), settings_now)

    with pytest.raises(CannotTell, match="sealed"):
        require_enough(manifest, settings_now)


def test_a_large_cohort_is_enough():
    manifest, _ = build_cohort(many(), SETTINGS)

    require_enough(manifest, SETTINGS)
