"""The leak gate on tables whose leaks are known, on a cohort, and on the published tables."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gtr_batch.cli import app
from gtr_batch.errors import InputRefused
from gtr_batch.training.leaks import check_table, read_table, token


def a_table(*rows):
    return pd.DataFrame(rows, columns=["name", "patient", "label", "split"])


CLEAN = a_table(
    ("a0", "a", 0, "train"),
    ("a1", "a", 0, "train"),
    ("b0", "b", 1, "test"),
    ("c0", "c", 2, "train"),
    ("d0", "d", 3, "test"),
)


def check(table, **more):
    return check_table(table, label="label", split="split", **{"patient": "patient", **more})


def test_a_split_by_patient_has_no_leak():
    found = check(CLEAN)

    assert not found.leaks
    assert (found.rows, found.patients) == (5, 4)


def test_a_patient_in_two_splits_is_found_and_the_rows_of_the_smaller_one_counted():
    table = pd.concat([CLEAN, a_table(("a2", "a", 0, "test"), ("c1", "c", 2, "train"), ("c2", "c", 2, "train"))])

    found = check(table)

    assert (found.patients_in_both, found.rows_affected, found.smallest_split) == (1, 1, "test")
    assert found.offenders["rows_affected"] == [7]
    assert found.offenders["patients_in_both"] == [token("a")]


def test_a_patient_with_two_labels_is_found():
    table = pd.concat([CLEAN, a_table(("b1", "b", 2, "test"))])

    found = check(table)

    assert found.conflicting_labels == 1
    assert found.patients_in_both == 0


def test_identical_rows_in_two_splits_are_found_though_they_claim_other_patients():
    table = CLEAN.assign(feature=[1.5, 2.5, 9.5, 9.5, 3.5], label=[0, 0, 1, 1, 1])

    found = check(table)

    assert found.straddling_duplicate_groups == 1
    assert found.offenders["straddling_duplicate_groups"] == [[4, 5]]


def test_clinical_rows_of_one_patient_that_disagree_are_found():
    clinical = pd.DataFrame({"name": ["a0", "a1", "b0", "c0", "d0"], "age": [61, 62, 40, 50, 60]})

    found = check(CLEAN, clinical=clinical, key="name")

    assert found.discordant_patients == 1
    assert found.offenders["discordant_patients"] == [token("a")]


def test_an_empty_clinical_value_agrees_with_an_empty_one():
    clinical = pd.DataFrame({"name": ["a0", "a1", "b0", "c0", "d0"], "age": [None, None, 40, 50, 60]})

    found = check(CLEAN, clinical=clinical, key="name")

    assert found.discordant_patients == 0


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_rows_does_not_matter(random):
    table = pd.concat([CLEAN, a_table(("a2", "a", 1, "test"))], ignore_index=True)
    order = list(range(len(table)))
    random.shuffle(order)

    found = check(table.iloc[order].reset_index(drop=True))

    assert (found.patients_in_both, found.rows_affected, found.conflicting_labels) == (1, 1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": "stage"}, "no column stage"),
        ({"split": "part"}, "no column part"),
        ({"patient": None}, "give either"),
        ({"patient": None, "pattern": "("}, "no regular expression"),
        ({"patient": None, "pattern": "a"}, "must have one group"),
        ({"patient": None, "pattern": "^(a)"}, "names no patient in 3 row"),
    ],
)
def test_says_what_is_wrong_with_a_question(change, words):
    question = {"label": "label", "split": "split", "patient": "patient", **change}

    with pytest.raises(InputRefused, match=words):
        check_table(CLEAN, **question)


def test_cannot_compare_a_single_split():
    with pytest.raises(InputRefused, match="one split only"):
        check(CLEAN.assign(split="train"))


def test_cannot_check_an_empty_table():
    with pytest.raises(InputRefused, match="no rows"):
        check(CLEAN.iloc[:0])


def test_cannot_read_what_is_no_table(tmp_path):
    with pytest.raises(InputRefused, match="cannot read"):
        read_table(tmp_path / "absent.csv")


def test_the_command_ends_red_and_names_no_patient_when_something_leaks(tmp_path):
    pd.concat([CLEAN, a_table(("a2", "a", 0, "test"))]).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["leak-check", "--table", str(tmp_path / "t.csv"), "--patient", "patient", "--label", "label"]

    done = CliRunner().invoke(app, [*arguments, "--split", "split", "--json"])

    assert done.exit_code == 1
    answer = json.loads(done.stdout)
    assert answer["patients_in_both"] == 1
    assert answer["offenders"]["patients_in_both"] == [token("a")]


def test_the_command_ends_green_on_a_clean_table(tmp_path):
    CLEAN.to_csv(tmp_path / "t.csv", index=False)
    arguments = ["leak-check", "--table", str(tmp_path / "t.csv"), "--patient", "patient", "--label", "label"]

    done = CliRunner().invoke(app, [*arguments, "--split", "split"])

    assert done.exit_code == 0
    assert "no leak in 5 rows of 4 patients" in done.stdout


def test_finds_the_leak_of_the_published_tables(shared_data):
    """DESIGN, section 6: 177 of 179 test patients, 233 of 239 test images."""
    tables = shared_data / "tables"

    found = check_table(
        read_table(tables / "label-group.csv"),
        label="label",
        split="group",
        pattern=r"^(.+?)\.nii",
        clinical=read_table(tables / "clinic_sel.csv"),
        key="image_name",
    )

    assert (found.patients_in_both, found.patients_in_smallest) == (177, 179)
    assert (found.rows_affected, found.splits["test"]) == (233, 239)
    assert found.discordant_patients > 0
    assert found.straddling_duplicate_groups > 0


def test_a_row_with_a_field_too_many_is_refused_with_its_number(tmp_path):
    path = tmp_path / "split.csv"
    path.write_text("patient,label,split\nA,T1,train\nB, Jr,T2,test\n")

    with pytest.raises(InputRefused, match="row 3: 4"):
        read_table(path)
