"""The report of an audit: it is written whatever the month was like, says why, and names nobody."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import date, timedelta

import attrs
import pytest

from gtr_batch.audit.findings import compute
from gtr_batch.audit.found.filed import findings_from_json
from gtr_batch.audit.report import words, write_report
from gtr_batch.audit.report.blocks import Cell, Column, Table
from gtr_batch.domain.audit import Classification, ConsoleReading, Read, Surgery
from gtr_batch.domain.audit_run import AlarmLevel, StandingAlarm
from gtr_batch.domain.staging import STAGES, TStage
from tests.audit_builder import a_month, a_week, every_stage, hand_made, labelled_case

NIGHT = date(2026, 1, 5)
NOT_A_NUMBER = re.compile(r"\b(nan|NaN|None|inf|Infinity)\b")
NOT_WORDS = re.compile(r"\bNone of\b")  # begins a sentence


def of_one_stage():
    return [labelled_case(k, TStage.T3, TStage.T3, night=NIGHT) for k in range(25)]


def of_three_stages():
    return [c for c in every_stage(40) if c.surgery.t_stage is not TStage.T1]


def nearly_parted():
    """Nothing that was said of T3 or T4 was ever wrong."""
    return [
        labelled_case(k, STAGES[k % 4], STAGES[(k % 4) ^ 1] if k % 3 == 0 else STAGES[k % 4], night=NIGHT)
        for k in range(40)
    ]


def without_pathology():
    return [labelled_case(k, STAGES[k % 4], None, night=NIGHT) for k in range(30)]


def refused_only():
    return [
        labelled_case(
            k, TStage.T1, None, night=NIGHT, t_stage=None, probabilities=None, slice_stages=(), refusal="wrong_phase",
            model_version="", facts={}, key_slice_source="",
        )
        for k in range(12)
    ]  # fmt: skip


def treated_first():
    surgery = Surgery(NIGHT + timedelta(days=5), NIGHT + timedelta(days=9), Classification.YPT, "T2", TStage.T2)
    return [labelled_case(k, STAGES[k % 4], None, night=NIGHT, surgery=surgery) for k in range(20)]


def twice_each():
    cases = every_stage(24)
    again = [attrs.evolve(c, case_id=f"{c.case_id}-again", night=NIGHT - timedelta(days=30)) for c in cases]
    return [*cases, *again]


MONTHS = {
    "a month without cases": (list, "there is nothing to judge"),
    "one patient": (lambda: every_stage(1), "Only 1 patient with a pT"),
    "one class": (of_one_stage, "no patient with that pT"),
    "one class absent": (of_three_stages, "no patient with that pT"),
    "nearly separated": (nearly_parted, "penalised"),
    "no labels at all": (without_pathology, "no patient with a pT"),
    "only refusals": (refused_only, "wrong contrast phase"),
    "only ypT": (treated_first, "ypT"),
    "duplicated patients": (twice_each, "An earlier case of a patient"),
}


@pytest.fixture(scope="session")
def on_paper(need_program):
    """The words of a PDF."""
    program = need_program("pdftotext", "poppler-utils")

    def read(pdf, *options):
        said = subprocess.run([program, *options, pdf, "-"], capture_output=True, check=True).stdout
        return " ".join(said.decode().split())

    return read


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each bad month's report, once."""
    found = {}
    for name, (cases, _) in MONTHS.items():
        folder = tmp_path_factory.mktemp("report")
        found[name] = {k: p.read_bytes() for k, p in write_report(compute(hand_made(cases())), folder).items()}
    return found


@pytest.mark.parametrize("name", MONTHS)
def test_a_bad_month_gives_a_report_that_says_why_and_no_number_that_is_none(written, name):
    page = written[name]["report.html"].decode()
    said = re.sub(r"<svg.*?</svg>|<style>.*?</style>", " ", page, flags=re.DOTALL)

    assert MONTHS[name][1] in said
    assert not NOT_A_NUMBER.findall(NOT_WORDS.sub("", said))
    assert written[name]["report.pdf"].startswith(b"%PDF")
    json.loads(written[name]["report.json"], parse_constant=pytest.fail)


@pytest.mark.parametrize("name", MONTHS)
def test_a_bad_month_reads_the_same_on_paper(written, name, tmp_path, on_paper):
    (tmp_path / "report.pdf").write_bytes(written[name]["report.pdf"])

    text = on_paper(tmp_path / "report.pdf")

    assert "May we go on using it?" in text
    assert not NOT_A_NUMBER.findall(NOT_WORDS.sub("", text))


@pytest.fixture(scope="module")
def month():
    return a_month()


@pytest.fixture(scope="module")
def filed(month, tmp_path_factory):
    """The month's report."""
    return write_report(compute(month), tmp_path_factory.mktemp("filed"))


def test_the_same_findings_give_the_same_bytes(filed, tmp_path):
    findings = findings_from_json(json.loads(filed["report.json"].read_text()))

    again = write_report(findings, tmp_path)

    assert sorted(again) == ["report.html", "report.json", "report.pdf"]
    assert [k for k in again if again[k].read_bytes() != filed[k].read_bytes()] == []


def test_the_page_needs_nothing_from_outside_and_runs_nothing(filed):
    page = filed["report.html"].read_text()

    outside = re.findall(r"(?:src|href)\s*=\s*[\"']?(?!#)[^\"'>\s]+|@import|url\((?!#)[^)]*\)", page)
    assert "<script" not in page and "javascript:" not in page
    assert outside == []
    assert page.count("<svg") == page.count("</figcaption>") > 10


def test_neither_patient_nor_case_is_named_anywhere(month, tmp_path, on_paper):
    marked = [
        attrs.evolve(
            c,
            case_id=f"MARKCASE{k}",
            subject=f"MARKSUBJECT{c.subject}",
            facts={**c.facts, "patient_name": "MARKNAME", "study_uid": "MARKUID"},
            surgery=c.surgery and attrs.evolve(c.surgery, t_category="MARKT4a"),
        )
        for k, c in enumerate(month.cases)
    ]

    files = write_report(compute(attrs.evolve(month, cases=tuple(marked))), tmp_path)

    everything = "".join(
        (files["report.html"].read_text(), files["report.json"].read_text(), on_paper(files["report.pdf"]))
    )
    assert "MARK" not in everything
    assert not [c.subject for c in month.cases if c.subject in everything]


def test_the_first_page_asks_and_answers(filed, on_paper):
    first = on_paper(filed["report.pdf"], "-l", "1")

    assert "May we go on using it?" in first
    assert "Medical physicist" in first
    assert "page 1 of " in first


def test_a_week_has_a_shorter_report(month, filed, tmp_path):
    long = filed["report.html"].read_text()

    short = write_report(compute(a_week(month)), tmp_path)["report.html"].read_text()

    assert "Drift monitors, week" in short and "Refusals" in short and "The monitors" in short
    assert "Decision curves" in long and "Decision curves" not in short


def test_open_alarms_and_the_readers_share_the_page(tmp_path):
    alarm = StandingAlarm("headers", AlarmLevel.LOOK, date(2026, 1, 9), date(2025, 11, 1), "New.")
    seen = Read(NIGHT, TStage.T3, TStage.T2, with_ai=True)
    cases = [attrs.evolve(c, read=seen) for c in every_stage(24)]

    page = write_report(compute(hand_made(cases, alarms=(alarm,))), tmp_path)["report.html"].read_text()

    assert "Alarms that are open" in page and "9 January 2026" in page
    assert "Overrides" in page and "EUS (uT)" in page
    assert '<section class="band look">' in page


def test_readings_in_the_console_are_told_apart_by_what_was_shown(tmp_path, on_paper):
    unaided = ConsoleReading(TStage.T3, TStage.T2, NIGHT, TStage.T3, NIGHT)
    aided = ConsoleReading(TStage.T3, said=TStage.T4, said_on=NIGHT)
    cases = [attrs.evolve(c, readings=(unaided, aided)) for c in every_stage(24)]

    files = write_report(compute(hand_made(cases)), tmp_path)

    for text in (files["report.html"].read_text(), on_paper(files["report.pdf"])):
        assert "Own stage first (unaided)" in text and "0 of 24" in text
        assert "24 had said another stage and agreed" in text


def test_what_the_headers_say_cannot_become_markup(tmp_path):
    facts = {"manufacturer": "<b>A&B", "model": "<script>alert(1)</script>", "kvp": 120.0, "kernel": "B"}
    cases = [attrs.evolve(c, facts=facts) for c in every_stage(24)]

    files = write_report(compute(hand_made(cases)), tmp_path)

    assert "<script" not in files["report.html"].read_text()
    assert files["report.pdf"].stat().st_size > 10_000


def test_days_numbers_and_names_are_written_for_readers():
    assert words.prose("Crossed on 2026-03-01 by -0.5 (2026-13-40 is no day).") == (
        "Crossed on 1 Mar 2026 by −0.5 (2026-13-40 is no day)."
    )
    assert words.span("2026-03-01", "2026-03-31") == "1 to 31 March 2026"
    assert words.period("week", "2026-W09") == "week 9 of 2026"
    assert words.share(None) == words.number(None) == words.signed(None) == "–"
    assert words.count(1, "patient") == "1 patient" and words.count(1200, "patient") == "1 200 patients"


def test_every_refusal_has_words():
    from gtr_batch.domain.refusal import REASONS, RefusalCode

    assert [words.refusal(str(code)) for code in RefusalCode] == [REASONS[code].words for code in RefusalCode]


def test_a_table_whose_rows_do_not_fit_its_columns_is_our_mistake():
    with pytest.raises(ValueError, match="as long"):
        Table((Column("a"), Column("b")), [("1",)])
    with pytest.raises(ValueError, match="tone"):
        Cell("x", "loud")


def test_cases_without_a_stage_are_counted_and_the_others_risk_is_shown_against_coverage(month, tmp_path):
    def unlike(k, case):
        if case.t_stage is None or case.night < month.first or k % 2:
            return case
        return attrs.evolve(case, t_stage=None, probabilities=None, nomogram=None, not_staged="unlike_reference")

    cases = tuple(unlike(k, c) for k, c in enumerate(month.cases))
    count = sum(bool(c.not_staged) for c in cases)

    files = write_report(compute(attrs.evolve(month, cases=cases)), tmp_path)

    page, kept = files["report.html"].read_text(), json.loads(files["report.json"].read_text())
    assert count > 0
    assert f"{count} without a stage" in page
    assert "Risk against coverage" in page
    curve = kept["performance"]["window"]["risk_coverage"]
    assert 0 <= curve["best"] <= curve["aurc"] <= 1
    assert [f["n"] for f in kept["fates"] if f["fate"] == "not_staged"] == [count]


def test_table_1_sets_patients_with_a_pt_beside_those_without(tmp_path):
    known, unknown = every_stage(20), [attrs.evolve(c, age_years=80 + k % 3) for k, c in enumerate(without_pathology())]
    cases = [attrs.evolve(c, case_id=f"x{k}", subject=f"y{k}") for k, c in enumerate([*known, *unknown])]

    found = compute(hand_made(cases))

    table = found.month.table_1
    assert (table.cohorts, table.n) == (("with pT", "without pT"), (20, 30))
    assert table.rows[0].test == "Welch's t"
    assert [level.name for level in table.rows[1].levels] == ["female", "male", "other"]
    page = write_report(found, tmp_path)["report.html"].read_text()
    assert "Table 1" in page
    assert "with pT, n = 20" in page
