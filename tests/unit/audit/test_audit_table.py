"""`gtr audit metrics` as a person calls it: columns, codings of the stage, rows that cannot be used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gtr_batch.audit.table import read_metric_table
from gtr_batch.cli.main import app
from gtr_batch.errors import InputRefused

CASES = Path(__file__).parents[2] / "cases/metrics"
KEYS = {
    "n", "accuracy", "accuracy_ci", "auc", "sensitivity", "specificity", "ppv", "npv", "confusion", "quadratic_kappa",
    "rps", "brier", "log_loss", "ece", "hosmer_lemeshow", "calibration", "net_benefit", "over_treatment",
    "under_treatment", "nnt",
}  # fmt: skip


def a_frame(n=80, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.5, (n, 4))
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    labels = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 3)
    labels[:4] = range(4)
    frame = pd.DataFrame(p, columns=["p1", "p2", "p3", "p4"])
    return frame.assign(label=labels, patient=[f"PAT{k // 2}" for k in range(n)])


@pytest.fixture
def write(tmp_path):
    def to_csv(frame):
        path = tmp_path / "table.csv"
        frame.to_csv(path, index=False)
        return path

    return to_csv


def run(path, *options):
    return CliRunner().invoke(app, ["audit", "metrics", "--table", str(path), "--label", "label", *options])


def test_json_has_the_keys_of_the_contract_and_the_same_numbers_each_time(write):
    path = write(a_frame())

    first, again = (run(path, "--json", "--draws", "50", "--patient", "patient") for _ in range(2))

    found = json.loads(first.stdout)
    assert first.exit_code == 0
    assert set(found) >= KEYS
    assert set(found["auc"]) == {"T1", "T2", "T3", "T4", "macro"}
    assert set(found["ece"]) == {"top", "classwise", "null_95"}
    assert set(found["hosmer_lemeshow"]["T3"]) == {"statistic", "p", "p_df8", "p_holm"}
    assert set(found["calibration"]) >= {"slope", "intercept", "slope_se", "intercept_se"}
    assert (found["n"], found["patients"]) == (80, 40)
    assert again.stdout == first.stdout


def test_people_read_a_table_with_intervals_and_no_patient(write):
    done = run(write(a_frame()), "--draws", "50", "--patient", "patient")

    assert done.exit_code == 0
    for words in ("80 rows of 40 patients", "accuracy", "null limit", "sensitivity", "Net benefit", "zero-based"):
        assert words in done.stdout
    assert "PAT" not in done.output


@pytest.mark.parametrize(
    ("coded", "reading"),
    [
        (lambda k: k, "zero-based"),
        (lambda k: k + 1, "one-based"),
        (lambda k: f"T{k + 1}", "T1-T4"),
        (lambda k: f" {k + 1}.0", "one-based"),
    ],
)
def test_stages_may_be_coded_in_three_ways(write, coded, reading):
    frame = a_frame()
    stages = frame["label"].to_numpy()

    found = read_metric_table(write(frame.assign(label=[coded(k) for k in stages])), label="label")

    assert found.reading == reading
    assert found.labels.tolist() == stages.tolist()


def test_only_1_2_and_3_are_refused_unless_the_reading_is_said(write):
    path = write(a_frame().query("label > 0"))

    with pytest.raises(InputRefused, match="1 could be T1 or T2; say --labels zero-based"):
        read_metric_table(path, label="label")
    zero = read_metric_table(path, label="label", labels="zero-based")
    one = read_metric_table(path, label="label", labels="one-based")

    assert set(zero.labels) == {1, 2, 3}
    assert set(one.labels) == {0, 1, 2}
    assert "0 is T1" in zero.sentences[0]


def test_only_1_2_and_3_are_read_as_the_given_stages_beside_them(write):
    frame = a_frame().query("label > 0")
    frame["given"] = frame["label"] - 1

    found = read_metric_table(write(frame), label="label", predicted="given")

    assert set(found.labels) == {1, 2, 3}
    assert set(found.predicted) == {0, 1, 2}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({3: 4}, "mixes codings of the stage \\(0, 1, 2, 3, 4\\)"),
        ({3: "T4"}, "mixes codings of the stage"),
        ({0: "pT1", 7: "T5"}, "it holds 'T5', 'pT1' in 2 row\\(s\\): 2, 9"),
        ({5: ""}, "an empty cell in 1 row\\(s\\): 7"),
        ({5: "1.5"}, "'1.5' in 1 row\\(s\\): 7"),
        ({5: 5}, "'5' in 1 row\\(s\\): 7"),
    ],
)
def test_any_other_label_is_named_with_its_rows(write, values, said):
    frame = a_frame()
    frame["label"] = [values.get(k, v) for k, v in enumerate(frame["label"])]

    with pytest.raises(InputRefused, match=said):
        read_metric_table(write(frame), label="label")


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (["0.4", "0.4", "0.4", "0.4"], "row 5: sum 1.6"),
        (["0.5", "0.6", "-0.1", "0"], "row 5: negative \\(-0.1\\)"),
        (["0.5", "", "0.25", "0.25"], "row 5: not four finite numbers"),
        (["inf", "0", "0", "0"], "row 5: not four finite numbers"),
        (["nan", "0", "0", "1"], "row 5: not four finite numbers"),
        (["half", "0.5", "0", "0"], "row 5: not four finite numbers"),
        (["0.2489", "0.25", "0.25", "0.25"], "row 5: sum 0.9989"),
    ],
)
def test_rows_that_are_no_probabilities_are_listed(write, values, why):
    frame = a_frame().astype(dict.fromkeys(("p1", "p2", "p3", "p4"), object))
    frame.loc[3, ["p1", "p2", "p3", "p4"]] = values

    with pytest.raises(InputRefused, match=f"1 of 80 rows .*{why}"):
        read_metric_table(write(frame), label="label")


def test_of_many_bad_rows_ten_are_listed_and_all_are_counted(write):
    frame = a_frame()
    frame["p1"] += 0.5

    done = run(write(frame), "--json")

    assert done.exit_code == 2
    assert "80 of 80 rows" in done.output
    assert "row 11: sum" in done.output
    assert "row 12:" not in done.output
    assert "and 70 more" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("row", [["0.249", "0.25", "0.25", "0.25"], ["0.251", "0.25", "0.25", "0.25"]])
def test_a_sum_that_is_off_by_a_thousandth_is_taken(write, row):
    frame = a_frame().astype(dict.fromkeys(("p1", "p2", "p3", "p4"), object))
    frame.loc[3, ["p1", "p2", "p3", "p4"]] = row

    assert len(read_metric_table(write(frame), label="label").labels) == 80


def test_columns_of_probabilities_are_found_or_named(write):
    frame = a_frame()
    named = frame.rename(columns={"p1": "a", "p2": "b", "p3": "c", "p4": "d"})
    lower = frame.rename(columns={f"p{k}": f"p_t{k}" for k in range(1, 5)})
    expected = frame[["p1", "p2", "p3", "p4"]].to_numpy()

    by_name = read_metric_table(write(named), label="label", probabilities="a, b,c,d").probabilities
    by_default = read_metric_table(write(lower), label="label").probabilities

    assert by_name == pytest.approx(expected)
    assert by_default == pytest.approx(expected)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label": "stage"}, "no column stage; it has p1"),
        ({"label": "label", "patient": "mrn"}, "no column mrn"),
        ({"label": "label", "probabilities": "p1,p2,p3"}, "give four columns"),
        ({"label": "label", "probabilities": "p1,p2,p3,p3"}, "give four columns"),
        ({"label": "label", "labels": "two-based"}, "labels 'two-based' is not known"),
    ],
)
def test_a_column_that_is_not_there_is_named(write, options, said):
    path = write(a_frame())

    with pytest.raises(InputRefused, match=said):
        read_metric_table(path, **options)


def test_a_row_without_a_patient_is_refused(write):
    frame = a_frame()
    frame.loc[[1, 4], "patient"] = ""

    with pytest.raises(InputRefused, match="tells no patient in 2 row\\(s\\): 3, 6"):
        read_metric_table(write(frame), label="label", patient="patient")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b'p1,p2\n"1,2\n3', b"\x00\x00\x00"])
def test_a_file_that_is_no_table_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "table.csv").write_bytes(content)

    done = run(tmp_path / "table.csv")

    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_a_file_that_is_not_there_is_refused_in_a_sentence(tmp_path):
    done = run(tmp_path / "nowhere.csv")

    assert done.exit_code == 2
    assert "cannot read nowhere.csv" in done.output


def test_a_table_without_rows_has_every_key_and_no_number(write):
    done = run(write(a_frame().iloc[:0]), "--json")

    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert set(found) >= KEYS
    assert found["n"] == 0
    assert found["accuracy"] is None
    assert found["sentences"] == ["There is no row: nothing can be computed."]


def test_one_column_twice_in_the_header_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text("p1,p2,p3,p4,label,label\n0.1,0.2,0.3,0.4,3,0\n")

    with pytest.raises(InputRefused, match="column label comes twice"):
        read_metric_table(tmp_path / "table.csv", label="label")


@pytest.mark.parametrize(("name", "row"), [("ward_comma", 5), ("extra_field", 42)])
def test_a_row_with_a_field_too_many_is_refused_with_its_number(name, row):
    """The values would move into other columns, and probabilities that still sum to 1 would pass."""
    answer = run(CASES / f"{name}.csv")

    assert answer.exit_code != 0
    with pytest.raises(InputRefused, match=rf"row {row}: 8"):
        read_metric_table(CASES / f"{name}.csv", label="label")


def test_without_the_comma_the_table_is_read_as_it_is(tmp_path):
    text = (CASES / "ward_comma.csv").read_text()
    path = tmp_path / "mended.csv"
    path.write_text(re.sub(r"^Case, ", "Case ", text, flags=re.MULTILINE))

    found = json.loads(run(path, "--json", "--draws", "20").stdout)

    assert found["accuracy"] == 1.0


@pytest.mark.parametrize("text", ["label,p1,p2,p3,p4\nT1,1,0,0\n", 'label,p1,p2,p3,p4\n"T1,1,0,0,0\n', ""])
def test_rows_cut_short_broken_quotes_and_an_empty_file_are_refused(text, tmp_path):
    path = tmp_path / "broken.csv"
    path.write_text(text)

    with pytest.raises(InputRefused):
        read_metric_table(path, label="label")
