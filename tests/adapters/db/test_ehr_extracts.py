"""EHR extracts: all of a folder or nothing, and no row's value in any message."""

from __future__ import annotations

import re
import threading
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtr_batch.db.ehr import load_extracts
from gtr_batch.db.ehr_checks import judge
from gtr_batch.db.extracts import EXTRACTS as KINDS
from gtr_batch.db.queries import sql_folder
from gtr_batch.errors import ExtractRefused
from tests.adapters.db.extracts import EXTRACTS, write

TODAY = date(2026, 6, 1)
CASES = Path(__file__).parents[2] / "cases/ehr"
EMPTY = {e.name: 0 for e in KINDS}
PATIENT, BIOPSY, TUMOUR = KINDS[:3]


@pytest.fixture
def landed(dsn):
    """A function that counts the rows of every landing and staging table."""
    connection = psycopg2.connect(dsn)

    def count(prefix: str = "ehr_") -> dict[str, int]:
        with connection, connection.cursor() as cursor:
            counted = {}
            for extract in KINDS:
                cursor.execute(f"select count(*) from {prefix}{extract.name}")
                counted[extract.name] = cursor.fetchone()[0]
            return counted

    yield count
    connection.close()


def spoil(name: str, *rows: str) -> dict[str, str]:
    """The extract `name` with other rows under its valid header."""
    return {name: EXTRACTS[name].splitlines()[0] + "\n" + "".join(row + "\n" for row in rows)}


def test_the_readme_says_what_the_loader_takes():
    readme = (sql_folder() / "README.md").read_text()
    lines = {extract.file: line for extract in KINDS for line in readme.splitlines() if f"| `{extract.file}`" in line}

    for extract in KINDS:
        cells = lines[extract.file].split("|")
        assert [c.strip().strip("*") for c in cells[2].split(",")] == list(extract.header)
        assert [c.strip().strip("*") for c in cells[2].split(",") if "**" in c] == [
            c.name for c in extract.columns if c.required
        ]
        assert tuple(k.strip() for k in cells[3].split(",")) == extract.key
        for choice in (choice for column in extract.columns for choice in column.choices):
            assert choice in cells[4] or choice.startswith(("T", "yes", "no"))


def test_loads_every_extract_and_says_what_became_of_the_rows(database, tmp_path, landed):
    told = []

    report = load_extracts(database, write(tmp_path / "ehr"), lambda done, of: told.append((done, of)), today=TODAY)

    rows = {name: text.count("\n") - 1 for name, text in EXTRACTS.items()}
    assert landed() == rows
    assert {f.file: (f.rows, f.inserted, f.updated, f.unchanged) for f in report.files} == {
        f"{name}.csv": (n, n, 0, 0) for name, n in rows.items()
    }
    assert told == [(i, 18) for i in range(1, 19)]
    assert landed("ehr_staging_") == EMPTY


def test_loading_again_finds_all_rows_unchanged(database, tmp_path):
    folder = write(tmp_path / "ehr")
    load_extracts(database, folder, today=TODAY)

    again = load_extracts(database, folder, today=TODAY)

    assert all((f.inserted, f.updated, f.unchanged) == (0, 0, f.rows) for f in again.files)


def test_a_changed_row_is_updated_and_a_missing_one_stays(database, tmp_path, landed):
    load_extracts(database, write(tmp_path / "ehr", "patient", "tumour", "marker"), today=TODAY)

    report = load_extracts(
        database, write(tmp_path / "later", "patient", **spoil("tumour", "P1,2026-02-01,7.0,lower")), today=TODAY
    )

    tumour = next(f for f in report.files if f.file == "tumour.csv")
    assert (tumour.rows, tumour.inserted, tumour.updated, tumour.unchanged) == (1, 0, 1, 0)
    assert landed()["tumour"] == 2
    assert landed()["marker"] == 1


def test_an_extract_of_the_header_alone_is_valid(database, tmp_path, landed):
    headers = {name: text.splitlines()[0] + "\n" for name, text in EXTRACTS.items()}

    report = load_extracts(database, write(tmp_path / "ehr", **headers), today=TODAY)

    assert [f.rows for f in report.files] == [0] * 9
    assert landed() == EMPTY


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace("P1", '"P1"').replace(",,", ',"",'),
    ],
    ids=["byte order mark", "CRLF", "no newline at the end", "empty lines at the end", "quoted fields"],
)
def test_takes_what_spreadsheets_write(database, tmp_path, change, landed):
    extracts = {name: change(EXTRACTS[name]) for name in ("patient", "biopsy", "tumour")}

    load_extracts(database, write(tmp_path / "ehr", "patient", **extracts), today=TODAY)

    assert landed() == {**EMPTY, **dict.fromkeys(extracts, 2)}


def load_case(database, name: str, today: date = TODAY):
    return load_extracts(database, CASES / name, today=today)


def test_a_patient_whose_key_is_padded_is_found_as_the_pacs_names_it(database, dsn):
    load_case(database, "padded")

    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select patient_id from ehr_patient union all select patient_id from ehr_biopsy")
        assert cursor.fetchall() == [("P1",), ("P1",)]


@pytest.mark.parametrize("blank", ["\u00a0", "\t", "\u3000", "\u200b", " \u00a0 "])
def test_blanks_of_any_kind_round_a_value_are_no_part_of_it(database, tmp_path, landed, blank):
    rows = [f"{blank}P1{blank},{blank}female,1960-05-17{blank}", "P2,male,1955-11-02"]

    load_extracts(database, write(tmp_path / "ehr", "tumour", **spoil("patient", *rows)), today=TODAY)

    assert landed() == {**EMPTY, "patient": 2, "tumour": 2}


def test_a_number_with_the_noise_of_a_float_is_loaded_as_what_was_measured(database, dsn):
    load_case(database, "float17")

    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select size_cm from ehr_tumour")
        assert cursor.fetchall() == [(3.3,)]


@pytest.mark.parametrize("size", ["0.30000000000000004", "3.3000000000000003", "40.00000000000000"])
def test_no_number_within_its_limits_is_refused_for_its_digits(database, tmp_path, landed, size):
    load_extracts(
        database, write(tmp_path / "ehr", "patient", **spoil("tumour", f"P1,2026-02-01,{size},")), today=TODAY
    )

    assert landed()["tumour"] == 1


def test_a_bound_is_set_aside_and_named_and_the_rest_is_loaded(database, dsn, tmp_path):
    report = load_case(database, "lt")

    [marker] = [f for f in report.files if f.file == "marker.csv"]
    assert marker.set_aside == ("marker.csv, row 2, column cea_ng_ml: a bound, not a number",)
    assert (marker.rows, marker.inserted) == (1, 1)

    rows = spoil("marker", "P1,2026-02-11,4.3,≥ 41,,>=1,,6.8")
    report = load_extracts(database, write(tmp_path / "ehr", "patient", **rows), today=TODAY)

    [marker] = [f for f in report.files if f.file == "marker.csv"]
    assert [v.split("column ")[1].split(":")[0] for v in marker.set_aside] == ["ca19_9_u_ml", "ca125_u_ml"]
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("select cea_ng_ml, ca19_9_u_ml, ca125_u_ml, pd_l1_percent from ehr_marker order by sampled_on")
        assert cursor.fetchall() == [(None, None, None, None), (4.3, None, None, 6.8)]


def test_a_key_in_scientific_notation_is_refused_by_row(database, landed):
    with pytest.raises(ExtractRefused, match=r"patient\.csv, row 2, column patient_id: .*scientific"):
        load_case(database, "excel_sci")

    assert landed() == EMPTY


BAD_ROWS = {
    "unknown Lauren": (
        spoil("biopsy", "P1,2026-02-01,stomach,yes,signetring,poor"),
        "biopsy.csv, row 2, column lauren",
    ),
    "unknown differentiation": (
        spoil("biopsy", "P1,2026-02-01,stomach,yes,,Poor"),
        "biopsy.csv, row 2, column differentiation",
    ),
    "adenocarcinoma neither yes nor no": (
        spoil("biopsy", "P1,2026-02-01,stomach,perhaps,,"),
        "biopsy.csv, row 2, column adenocarcinoma",
    ),
    "size -1": (spoil("tumour", "P1,2026-02-01,-1,lower"), "tumour.csv, row 2, column size_cm"),
    "size 0": (spoil("tumour", "P1,2026-02-01,0,lower"), "tumour.csv, row 2, column size_cm"),
    "size 99": (spoil("tumour", "P2,2026-02-01,5,", "P1,2026-02-01,99,"), "tumour.csv, row 3, column size_cm"),
    "size with a comma": (spoil("tumour", 'P1,2026-02-01,"6,2",lower'), "tumour.csv, row 2, column size_cm"),
    "size not a number": (spoil("tumour", "P1,2026-02-01,NaN,lower"), "tumour.csv, row 2, column size_cm"),
    "size with an exponent": (spoil("tumour", "P1,2026-02-01,1e1,lower"), "tumour.csv, row 2, column size_cm"),
    "unknown stage": (
        spoil("surgery", "P1,2026-03-20,2026-03-27,pT,T5"),
        "surgery.csv, row 2, column t_category",
    ),
    "unknown cT": (spoil("read", "P1,1.2.3,2026-03-02,cT3,"), "read.csv, row 2, column radiologist_ct"),
    "date in the future": (spoil("tumour", "P1,2026-06-02,5,lower"), "tumour.csv, row 2, column measured_on"),
    "date that is none": (spoil("tumour", "P1,2026-02-30,5,lower"), "tumour.csv, row 2, column measured_on"),
    "date another way round": (spoil("tumour", "P1,01.02.2026,5,lower"), "tumour.csv, row 2, column measured_on"),
    "date of another age": (spoil("patient", "P1,female,1066-10-14"), "patient.csv, row 2, column birth_date"),
    "no date": (spoil("tumour", "P1,,5,lower"), "tumour.csv, row 2, column measured_on"),
    "two rows of one key": (
        spoil("tumour", "P1,2026-02-01,5,lower", "P1,2026-02-01,6,lower"),
        "tumour.csv, row 3, column patient_id + measured_on",
    ),
    "a patient twice": (
        spoil("patient", "P1,female,1960-05-17", "P2,male,1955-11-02", "P1,male,1960-05-17"),
        "patient.csv, row 4, column patient_id",
    ),
    "one study read twice": (
        spoil("read", "P1,1.2.3,2026-03-02,T3,", "P2,1.2.3,2026-03-02,T3,"),
        "read.csv, row 3, column study_uid",
    ),
    "a patient nobody knows": (spoil("tumour", "P9,2026-02-01,5,lower"), "tumour.csv, row 2, column patient_id"),
    "an accession number in scientific notation": (
        spoil("key_slice", "P1,,1.23457E+11,1.2.3.4.5"),
        "key_slice.csv, row 2, column accession_number",
    ),
    "a no-break space within a key": (
        spoil("patient", "P1,female,1960-05-17", "P\u00a02,male,1955-11-02"),
        "patient.csv, row 3, column patient_id",
    ),
    "no patient": (spoil("tumour", ",2026-02-01,5,lower"), "tumour.csv, row 2, column patient_id"),
    "an invalid UID": (spoil("read", "P1,../../etc,2026-03-02,T3,"), "read.csv, row 2, column study_uid"),
    "a treatment that ends before it starts": (
        spoil("treatment", "P2,chemotherapy,2026-03-01,2026-02-01"),
        "treatment.csv, row 2, column ended_on",
    ),
    "half a pathology": (spoil("surgery", "P1,2026-03-20,,pT,T4a"), "surgery.csv, row 2, column t_category"),
    "a key slice of no study": (spoil("key_slice", "P1,,,1.2.3.4.5"), "key_slice.csv, row 2, column study_uid"),
    "a key slice that is none": (spoil("key_slice", "P1,1.2.3,,"), "key_slice.csv, row 2, column sop_instance_uid"),
    "PD-L1 over 100%": (spoil("marker", "P1,2026-02-01,,,,,,101"), "marker.csv, row 2, column pd_l1_percent"),
    "a field too many": (spoil("tumour", "P1,2026-02-01,5,lower,oops"), "tumour.csv, row 2: not 4 fields"),
    "a field too few": (spoil("tumour", "P1,2026-02-01,5"), "tumour.csv, row 2: not 4 fields"),
    "an open quote": (spoil("tumour", 'P1,2026-02-01,5,"lower'), "tumour.csv, row 2"),
    "not UTF-8": ({"tumour": EXTRACTS["tumour"].encode() + b"P\xe4,2026-02-01,5,\n"}, "tumour.csv, line 4: not UTF-8"),
    "a NUL": ({"tumour": EXTRACTS["tumour"] + "P\x00,2026-02-01,5,\n"}, "tumour.csv: a NUL"),
    "an empty file": ({"tumour": ""}, "tumour.csv: header expected patient_id,measured_on,size_cm,location"),
    "a wrong header": (
        {"tumour": EXTRACTS["tumour"].replace("size_cm", "size_mm")},
        "expected patient_id,measured_on,size_cm,location; found patient_id,measured_on,size_mm,location",
    ),
    "columns in another order": (
        {"tumour": EXTRACTS["tumour"].replace("size_cm,location", "location,size_cm")},
        "found patient_id,measured_on,location,size_cm",
    ),
    "no header": ({"tumour": "P1,2026-02-01,5,lower\n"}, "tumour.csv: header expected"),
}


@pytest.mark.parametrize(("changed", "said"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_refused_by_file_row_and_column_and_nothing_is_loaded(database, tmp_path, landed, changed, said):
    folder = write(tmp_path / "ehr", "patient", **changed)

    with pytest.raises(ExtractRefused) as caught:
        load_extracts(database, folder, today=TODAY)

    assert said in str(caught.value)
    assert "othing" in str(caught.value)
    assert landed() == EMPTY
    assert landed("ehr_staging_") == EMPTY


def test_one_bad_extract_amid_good_ones_and_nothing_of_any_is_loaded(database, tmp_path, landed):
    folder = write(tmp_path / "ehr", **spoil("treatment", "P2,surgery,2026-03-01,"))

    with pytest.raises(ExtractRefused, match=r"treatment\.csv, row 2, column kind"):
        load_extracts(database, folder, today=TODAY)

    assert landed() == EMPTY
    assert landed("ehr_staging_") == EMPTY


def test_a_bad_extract_leaves_what_was_loaded_before(database, tmp_path, landed):
    load_extracts(database, write(tmp_path / "ehr", "patient", "key_slice"), today=TODAY)
    before = landed()

    with pytest.raises(ExtractRefused):
        load_extracts(
            database,
            write(
                tmp_path / "ehr",
                "patient",
                **spoil("patient", "P3,male,1950-01-01"),
                **spoil("key_slice", "P3,1.9,,not-a-uid"),
            ),
            today=TODAY,
        )

    assert landed() == before


def test_a_refusal_quotes_no_value(database, tmp_path):
    secret = "Zebra"
    folder = write(
        tmp_path / "ehr",
        "patient",
        **spoil("patient", f"{secret}\\,female,1960-05-17", f"P2,{secret},1960-05-17", f"P3,male,{secret}"),
        **spoil("tumour", f"{secret},2026-02-01,{secret},{secret}"),
    )

    with pytest.raises(ExtractRefused) as caught:
        load_extracts(database, folder, today=TODAY)

    assert secret not in str(caught.value)
    assert "patient.csv, row 2, column patient_id" in str(caught.value)
    assert "tumour.csv, row 2, column location" in str(caught.value)
    assert caught.value.__context__ is None


def test_a_first_line_that_may_be_a_patient_is_not_shown(database, tmp_path):
    with pytest.raises(ExtractRefused) as caught:
        load_extracts(database, write(tmp_path / "ehr", "patient", patient="Zebra,female,1960-05-17\n"), today=TODAY)

    assert "Zebra" not in str(caught.value)
    assert "expected patient_id,sex,birth_date" in str(caught.value)


def test_a_misspelt_file_name_is_no_silent_loss(database, tmp_path, landed):
    folder = write(tmp_path / "ehr", "patient")
    (folder / "biopsie.csv").write_text(EXTRACTS["biopsy"])

    with pytest.raises(ExtractRefused, match="unknown names"):
        load_extracts(database, folder, today=TODAY)

    assert landed() == EMPTY


def test_a_folder_without_extracts_is_refused(database, tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ExtractRefused, match=str(folder)):
            load_extracts(database, folder, today=TODAY)


def test_without_a_date_given_tomorrow_is_the_future(database, tmp_path):
    later = (datetime.now(UTC) + timedelta(days=2)).date()

    with pytest.raises(ExtractRefused, match="column measured_on"):
        load_extracts(database, write(tmp_path / "ehr", "patient", **spoil("tumour", f"P1,{later},5,lower")))


def test_a_patient_of_an_earlier_load_is_known(database, tmp_path, landed):
    load_extracts(database, write(tmp_path / "ehr", "patient"), today=TODAY)

    load_extracts(database, write(tmp_path / "later", "tumour"), today=TODAY)

    assert landed()["tumour"] == 2


def test_two_loads_at_once_wait_for_one_another(database, tmp_path, landed):
    folder = write(tmp_path / "ehr", "patient", "tumour")
    reports = []

    def load() -> None:
        reports.append(load_extracts(database, folder, today=TODAY))
        database.close()

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    inserted = sorted(sum(f.inserted for f in report.files) for report in reports)
    assert inserted == [0, sum(landed().values())]


values = st.one_of(
    st.none(),
    st.sampled_from(["P1", "2026-02-01", "2026-02-30", "2026-06-02", "5", "0", "40", "40.1", "-1", "lower", "", "1e1"]),
    st.text(max_size=5).filter(lambda text: "\x00" not in text),
)


def right(row: dict) -> dict[str, bool]:
    """What a reader of sql/README.md would say of a row of tumour.csv, column by column."""

    def day(value: str | None) -> bool:
        try:
            return value is not None and len(value) == 10 and date(1900, 1, 1) <= date.fromisoformat(value) <= TODAY
        except ValueError:
            return False

    size, patient = row["size_cm"], row["patient_id"]
    number = size is None or (re.fullmatch(r"[0-9]{1,9}([.][0-9]{1,9})?", size) and 0 < float(size) <= 40)
    named = patient is not None and 1 <= len(patient) <= 64 and not re.search(r"[\x00-\x1f\x7f\\\\]", patient)
    return {
        "patient_id": bool(named),
        "measured_on": day(row["measured_on"]),
        "size_cm": bool(number),
        "location": row["location"] in (None, "lower", "middle", "upper"),
    }


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.fixed_dictionaries(dict.fromkeys(TUMOUR.header, values)), min_size=1, max_size=4))
def test_the_suite_names_the_first_row_that_is_wrong_in_each_column_and_no_other_column(rows):
    rows = [{**row, "row_number": number} for number, row in enumerate(rows, start=2)]
    wrong = {}
    for row in reversed(rows):
        wrong |= {column: row["row_number"] for column, is_right in right(row).items() if not is_right}

    found = [p for p in judge(TUMOUR, rows, TODAY) if "+" not in p.column]

    first = {}
    for problem in found:
        first[problem.column] = min(problem.row, first.get(problem.column, problem.row))
    assert first == wrong
