"""Migrations: forward only, never edited, safe when two run at once."""

from __future__ import annotations

import io
import shutil
import threading
from pathlib import Path

import psycopg2
import pytest
import structlog

from gtr_batch.db import migrate, pending
from gtr_batch.db.migrate import migrations, views
from gtr_batch.db.queries import sql_folder
from gtr_batch.errors import ConfigError, DatabaseRefused


@pytest.fixture
def own_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of sql/ that a test may spoil."""
    folder = tmp_path / "sql"
    shutil.copytree(sql_folder(), folder)
    monkeypatch.setenv("GTR_SQL_DIR", str(folder))
    return folder


def rows(dsn: str, statement: str) -> list[tuple]:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()
    finally:
        connection.close()


def run(dsn: str, statements: str) -> None:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statements)
    finally:
        connection.close()


def test_migrating_twice_applies_each_migration_once(empty_dsn):
    names = [m.name for m in migrations()]
    made = [f"view {view.name}" for view in views()]
    told = []

    assert pending(empty_dsn) == names + made
    assert migrate(empty_dsn, progress=lambda done, total: told.append((done, total))) == names + made
    assert migrate(empty_dsn) == []
    assert pending(empty_dsn) == []
    assert told == [(i, len(names)) for i in range(1, len(names) + 1)]


def test_two_migrations_at_once_apply_each_migration_once(empty_dsn):
    applied: list[list[str]] = []

    threads = [threading.Thread(target=lambda: applied.append(migrate(empty_dsn))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(map(len, applied)) == [0, len(migrations()) + len(views())]


def test_refuses_to_go_on_where_an_applied_migration_was_edited(empty_dsn, own_sql):
    migrate(empty_dsn)
    edited = own_sql / "migrations" / "0002_night.sql"
    edited.write_text(edited.read_text() + "\n-- one more thought\n")

    with pytest.raises(DatabaseRefused, match="0002_night was edited"):
        migrate(empty_dsn)
    with pytest.raises(DatabaseRefused, match="0002_night was edited"):
        pending(empty_dsn)


def test_a_login_in_the_owner_role_may_migrate_where_the_roles_are_there(migrated_template, empty_dsn):
    """A hospital's administrator makes roles and database; whoever runs `gtr migrate` is no superuser."""
    name = psycopg2.extensions.parse_dsn(empty_dsn)["dbname"]
    run(empty_dsn, "create role migrator login password 'm' in role gtr_owner")
    run(empty_dsn, f"grant create on schema public to gtr_owner; grant create on database {name} to gtr_owner")
    migrator = psycopg2.extensions.make_dsn(empty_dsn, user="migrator", password="m")

    try:
        assert len(migrate(migrator)) == len(migrations()) + len(views())
    finally:
        run(empty_dsn, "drop owned by migrator; drop role migrator")


def test_line_endings_of_a_checkout_are_no_edit(empty_dsn, own_sql):
    migrate(empty_dsn)
    path = own_sql / "migrations" / "0002_night.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert migrate(empty_dsn) == []


def test_refuses_a_database_that_is_newer_than_the_checkout(empty_dsn, own_sql):
    migrate(empty_dsn)
    sorted((own_sql / "migrations").glob("*.sql"))[-1].unlink()

    with pytest.raises(DatabaseRefused, match="install the newer version"):
        migrate(empty_dsn)


def test_a_migration_that_fails_leaves_those_before_it_and_nothing_of_itself(empty_dsn, own_sql):
    number = len(migrations()) + 1
    bad = own_sql / "migrations" / f"{number:04d}_half.sql"
    bad.write_text("create table half (id integer);\nselect 1 / 0;\n")

    with pytest.raises(DatabaseRefused, match=f"migration {bad.stem}.*22012"):
        migrate(empty_dsn)

    assert pending(empty_dsn) == [bad.stem, *(f"view {view.name}" for view in views())]
    assert rows(empty_dsn, "select to_regclass('half')") == [(None,)]


@pytest.mark.parametrize("name", ["0099_gap.sql", "0002_double.sql", "12_short.sql", "0012-Dash.sql"])
def test_refuses_migrations_with_gaps_doubles_or_odd_names(own_sql, name):
    (own_sql / "migrations" / name).write_text("select 1;")

    with pytest.raises(ConfigError, match="migration"):
        migrations()


def test_every_table_says_who_writes_it(dsn):
    silent = rows(
        dsn,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') "
        "and coalesce(obj_description(oid), '') !~* '(written|wrote) by'",
    )

    assert silent == []


def test_every_table_belongs_to_the_owner_role(dsn):
    others = rows(
        dsn,
        "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') "
        "and pg_get_userbyid(relowner) <> 'gtr_owner'",
    )

    assert others == []


def test_the_reader_sees_views_and_no_table(dsn):
    seen = rows(
        dsn,
        "select relname, relkind from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v') "
        "and has_table_privilege('gtr_reader', oid, 'select') order by relname",
    )

    assert seen == [("drift_alarm_status", "v"), ("worklist_annotation", "v")]


def test_the_group_roles_cannot_log_in(dsn):
    assert rows(dsn, "select count(*) from pg_roles where rolname ~ '^gtr_' and rolcanlogin") == [(0,)]


# Views

WORKLIST = "worklist_annotation"


def columns_of(dsn: str, view: str) -> list[str]:
    found = rows(dsn, f"select column_name from information_schema.columns where table_name = '{view}' order by 1")
    return [name for (name,) in found]


def change_worklist(own_sql: Path, old: str, new: str) -> None:
    path = own_sql / "views" / f"{WORKLIST}.sql"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_column_is_added_to_a_view_in_one_place(empty_dsn, own_sql):
    migrate(empty_dsn)
    change_worklist(own_sql, "    e.delivered_at\n", "    e.delivered_at,\n    c.series_uid\n")

    waiting, made = pending(empty_dsn), migrate(empty_dsn)

    assert waiting == made == [f"view {WORKLIST}"]
    assert "series_uid" in columns_of(empty_dsn, WORKLIST)
    assert rows(empty_dsn, f"select has_table_privilege('gtr_reader', '{WORKLIST}', 'select')") == [(True,)]
    assert migrate(empty_dsn) == pending(empty_dsn) == []


def test_a_column_of_a_view_can_go_and_be_renamed(empty_dsn, own_sql):
    migrate(empty_dsn)
    change_worklist(own_sql, "    case when n.is_primary then n.p_t4 else s.p_t4 end as p_t4,\n", "")
    change_worklist(
        own_sql, " then n.p_t1 else s.p_t1 end as p_t1,\n", " then n.p_t1 else s.p_t1 end as probability_t1,\n"
    )

    migrate(empty_dsn)

    assert {"p_t4", "p_t1"}.isdisjoint(columns_of(empty_dsn, WORKLIST))
    assert "probability_t1" in columns_of(empty_dsn, WORKLIST)


def test_a_view_that_cannot_be_made_leaves_the_one_before(empty_dsn, own_sql):
    migrate(empty_dsn)
    before = columns_of(empty_dsn, WORKLIST)
    change_worklist(own_sql, "    e.delivered_at\n", "    e.delivered_at,\n    c.no_such_column\n")

    with pytest.raises(DatabaseRefused):
        migrate(empty_dsn)

    assert columns_of(empty_dsn, WORKLIST) == before
    assert pending(empty_dsn) == [f"view {WORKLIST}"]


def test_refuses_a_file_that_makes_another_view_than_its_name(own_sql):
    (own_sql / "views" / "another.sql").write_text("create view else as\nselect 1 as one;\n")

    with pytest.raises(ConfigError, match=r"another\.sql"):
        views()


def test_a_refusal_kept_under_its_old_code_has_the_new_one_everywhere(empty_dsn, own_sql):
    """Also in events, which only ever grow, and where the code stood beside the one that named the refusal."""
    later = [path for path in sorted((own_sql / "migrations").glob("*.sql")) if path.name >= "0023"]
    texts = {path: path.read_text() for path in later}
    for path in later:
        path.unlink()
    views_of_then = own_sql / "views"
    kept = views_of_then.rename(own_sql / "views_kept")
    views_of_then.mkdir()
    migrate(empty_dsn)
    one, other = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
    named, beside = '{"also": []}', '{"also": ["slice_gap", "unlawful_uid"]}'
    run(
        empty_dsn,
        f"""
        insert into night (night, model_version) values ('2026-03-02', 'm');
        insert into staging_case (case_id, night, study_uid, state, refusal_step, refusal_code, refusal_sentence,
            refusal_numbers)
        values ('{one}', '2026-03-02', '1.2', 'refused', 'validate', 'unlawful_uid', 's', '{named}'),
            ('{other}', '2026-03-02', '1.3', 'refused', 'validate', 'matrix', 's', '{beside}');
        insert into case_event (case_id, step, state, detail)
        select case_id, 'validate', 'refused',
            jsonb_build_object('code', refusal_code, 'sentence', 's', 'numbers', refusal_numbers)
        from staging_case;
    """,
    )

    for path, text in texts.items():
        path.write_text(text)
    views_of_then.rmdir()
    kept.rename(views_of_then)
    migrate(empty_dsn)

    expected = [("invalid_uid", []), ("matrix", ["slice_gap", "invalid_uid"])]
    cases = "select refusal_code, refusal_numbers -> 'also' from staging_case order by case_id"
    events = "select detail ->> 'code', detail #> '{numbers,also}' from case_event order by case_id"
    assert rows(empty_dsn, cases) == expected
    assert rows(empty_dsn, events) == expected


@pytest.fixture
def before_trimming(empty_dsn, own_sql) -> str:
    """A database of the time when extracts were loaded with the blanks round their keys."""
    files = sorted((own_sql / "migrations").glob("*.sql"))
    names = [path.name.partition("_")[2] for path in files]
    later = files[names.index("trimmed_ehr_keys.sql") :]
    texts = {path: path.read_text() for path in later}
    for path in later:
        path.unlink()
    kept = (own_sql / "views").rename(own_sql / "views_kept")
    (own_sql / "views").mkdir()
    migrate(empty_dsn)
    for path, text in texts.items():
        path.write_text(text)
    (own_sql / "views").rmdir()
    kept.rename(own_sql / "views")
    return empty_dsn


def test_keys_that_were_loaded_with_blanks_are_trimmed_where_that_makes_no_duplicate(before_trimming):
    """Also with no-break spaces; what the trimmed key has already, or is another person, stays and is counted."""
    run(
        before_trimming,
        """
        insert into ehr_patient (patient_id, sex, birth_date) values
            ('A1 ', 'female', '1960-01-01'), (U&'\\00A0B2', 'male', '1961-01-01'),
            ('C3', 'male', '1962-01-01'), ('C3 ', 'male', '1962-01-01'),
            ('D4', 'male', '1963-01-01'), ('D4 ', 'female', '1963-01-01'), ('E5', 'other', '1964-01-01');
        insert into ehr_biopsy (patient_id, biopsy_date, site, adenocarcinoma) values
            ('A1 ', '2026-01-01', 'stomach', true), ('C3', '2026-01-01', 'stomach', true),
            ('C3 ', '2026-01-01', 'stomach', false), ('C3 ', '2026-02-01', 'stomach', true),
            ('D4 ', '2026-01-01', 'stomach', true);
        insert into ehr_tumour (patient_id, measured_on, size_cm) values (U&'\\00A0B2', '2026-01-01', 3);
        insert into ehr_treatment (patient_id, kind, started_on) values ('A1 ', 'chemotherapy', '2026-01-02');
        insert into ehr_surgery (patient_id, operated_on) values ('A1 ', '2026-03-01');
        insert into ehr_read (study_uid, patient_id, read_on) values ('1.2', 'A1 ', '2026-01-01');
        insert into ehr_key_slice (patient_id, accession_number, sop_instance_uid) values
            ('A1 ', 'ACC1 ', '1.2.3'), ('E5', 'ACC5', '1.2.5'), ('E5', 'ACC5 ', '1.2.6');
        """,
    )

    log = io.StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(log))
    migrate(before_trimming)

    assert "2 patients trimmed, 2 left with 3 rows" in log.getvalue()
    patients = [patient for (patient,) in rows(before_trimming, "select patient_id from ehr_patient order by 1")]
    assert patients == ["A1", "B2", "C3", "C3 ", "D4", "D4 ", "E5"]
    biopsies = "select patient_id, biopsy_date::text, adenocarcinoma from ehr_biopsy order by 1, 2"
    assert rows(before_trimming, biopsies) == [
        ("A1", "2026-01-01", True),
        ("C3", "2026-01-01", True),
        ("C3", "2026-02-01", True),
        ("C3 ", "2026-01-01", False),
        ("D4 ", "2026-01-01", True),
    ]
    for table in ("treatment", "surgery", "read"):
        assert rows(before_trimming, f"select patient_id from ehr_{table}") == [("A1",)]
    assert rows(before_trimming, "select patient_id from ehr_tumour") == [("B2",)]
    assert rows(before_trimming, "select patient_id, accession_number from ehr_key_slice order by 1, 2") == [
        ("A1", "ACC1"),
        ("E5", "ACC5"),
        ("E5", "ACC5 "),
    ]
