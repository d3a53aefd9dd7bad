"""The servers of the synthetic hospital."""

from __future__ import annotations

from datetime import datetime

import attrs
import psycopg2
import pytest
import sqlalchemy

from gtr_batch.config import PacsConfig
from gtr_batch.errors import ConfigError
from gtr_batch.pacs import Pacs
from gtr_batch.simulation.servers.services import EmbeddedPostgres, EmbeddedQrscp, embedded_postgres, load_files


def test_a_preloaded_pacs_shows_the_same_as_a_loaded_one(series_folder, tmp_path, free_port):
    config = PacsConfig(port=free_port)
    seen = []
    server = EmbeddedQrscp(tmp_path / "pacs", free_port)

    assert server.preload(series_folder) == 12
    server.start()
    try:
        before = Pacs(config).find_studies(datetime(2026, 3, 1), datetime(2026, 3, 2))
        sent = load_files(config, series_folder, lambda done, total: seen.append((done, total)))
        after = Pacs(config).find_studies(datetime(2026, 3, 1), datetime(2026, 3, 2))
        series = Pacs(config).find_series(before[0].study_uid)
        listed = Pacs(config).find_instances(before[0].study_uid, series[0].series_uid)
        paths = Pacs(config).retrieve(
            before[0].study_uid, series[0].series_uid, [r.sop_instance_uid for r in listed], tmp_path / "out"
        )
    finally:
        server.stop()

    assert before == after
    assert (sent, seen[-1], len(listed), len(paths)) == (12, (12, 12), 12, 12)
    assert server.pid is None


def test_an_empty_folder_is_an_error_and_not_a_success(tmp_path):
    with pytest.raises(ConfigError, match="no DICOM files"):
        load_files(attrs.evolve(PacsConfig(), port=1), tmp_path)


def test_embedded_postgres_serves_both_drivers_and_asks_for_a_password(tmp_path):
    with embedded_postgres(tmp_path / "pg") as uri:
        with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute("show listen_addresses")
            listens = cursor.fetchone()
        connection.close()
        engine = sqlalchemy.create_engine(uri)
        with engine.connect() as other:
            one = other.execute(sqlalchemy.text("select 1")).scalar()
        engine.dispose()
        password = uri.split(":")[2].split("@")[0]
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(uri.replace(password, "wrong"))

    assert (listens, one) == (("127.0.0.1",), 1)
    assert list((tmp_path / "pg").iterdir()) == []


def test_embedded_postgres_keeps_its_rows_password_and_port_over_a_power_cut(tmp_path):
    server = EmbeddedPostgres(tmp_path / "pg")
    server.start()
    try:
        uri = server.uri
        with psycopg2.connect(uri) as connection, connection.cursor() as cursor:
            cursor.execute("create table kept as select 7 as n")
        connection.close()
        server.stop("immediate")
        stopped = server.running()
        again = EmbeddedPostgres(tmp_path / "pg")
        again.start()
        same = again.uri == uri
        with psycopg2.connect(again.uri) as connection, connection.cursor() as cursor:
            cursor.execute("select n from kept")
            kept = cursor.fetchone()
        connection.close()
    finally:
        server.delete()

    assert (stopped, kept, same) == (False, (7,), True)
    assert oct((tmp_path / "pg").stat().st_mode & 0o777) == "0o700"
