"""Airflow's connections as our settings, so that what an operator writes in the connection form takes effect.

===============  =============  ==================================================================
connection       type           settings that it overrides
===============  =============  ==================================================================
``gtr_pacs``     ``dicom``      ``[pacs]``: host, port, AE titles, retrieve mode, commitment, ...
``gtr_postgres`` ``postgres``   ``[database] dsn`` (the role app)
``gtr_governor`` ``postgres``   ``[database] governor_dsn`` (the role governor), for tasks that carry out a decision
``gtr_ehr``      ``fs``         ``[ehr] folder``
``gtr_ris``      ``generic``    ``[ris]``: host, port; in its extra the settings of the section
===============  =============  ==================================================================

A connection that is absent overrides nothing: the TOML file and the environment hold. `gtr_batch` never sees
Airflow; it gets one environment, read once by `gtr_batch.config.load`. A task of a night or an audit never gets the
governor's login, wherever it is written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError, ErrorType

if TYPE_CHECKING:
    from gtr_batch.audit.site import AuditSite
    from gtr_batch.config import Config
    from gtr_batch.governance.site import GovernanceSite
    from gtr_batch.night.site import Site
    from gtr_batch.training.site import TrainingSite

#: The fields of a ``dicom`` connection that are kept in its ``extra``; named as in `gtr_batch.config.PacsConfig`.
DICOM_FIELDS = (
    "called_ae_title",
    "store_ae_title",
    "calling_ae_title",
    "retrieve_mode",
    "move_host",
    "move_port",
    "move_ae_title",
    "commitment",
    "commitment_port",
    "commitment_timeout_s",
    "answer_cap",
    "associations",
    "accepted_ae_titles",
    "peer_addresses",
    "tls_ca",
    "tls_cert",
    "tls_key",
    "tls_crl",
)
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs")


def pacs_settings(connection: Connection) -> dict[str, str]:
    """A ``dicom`` connection as ``GTR_PACS__...``; an empty field overrides nothing."""
    extra = connection.extra_dejson
    given = {"host": connection.host, "port": connection.port, **{name: extra.get(name) for name in DICOM_FIELDS}}
    return {f"GTR_PACS__{name.upper()}": str(value) for name, value in given.items() if value not in (None, "")}


def database_settings(connection: Connection, setting: str = "DSN") -> dict[str, str]:
    """A ``postgres`` connection as ``GTR_DATABASE__DSN``, with its TLS settings and nothing else of its ``extra``."""
    from psycopg2.extensions import make_dsn

    given = {
        "host": connection.host,
        "port": connection.port,
        "user": connection.login,
        "password": connection.password,
        "dbname": connection.schema,
        **{name: connection.extra_dejson.get(name) for name in _TLS},
    }
    dsn = make_dsn(**{name: str(value) for name, value in given.items() if value not in (None, "")})
    return {f"GTR_DATABASE__{setting}": dsn}


def governor_settings(connection: Connection) -> dict[str, str]:
    """A ``postgres`` connection as ``GTR_DATABASE__GOVERNOR_DSN``; as `database_settings`."""
    return database_settings(connection, "GOVERNOR_DSN")


def ehr_settings(connection: Connection) -> dict[str, str]:
    """A ``fs`` connection as ``GTR_EHR__FOLDER``."""
    path = connection.extra_dejson.get("path")
    return {"GTR_EHR__FOLDER": str(path)} if path else {}


def ris_settings(connection: Connection) -> dict[str, str]:
    """A ``generic`` connection as ``GTR_RIS__...``; an empty field overrides nothing."""
    given = {**connection.extra_dejson, "host": connection.host, "port": connection.port}
    return {
        f"GTR_RIS__{name.upper()}": ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for name, value in given.items()
        if value not in (None, "")
    }


def connection_or_none(conn_id: str) -> Connection | None:
    """A connection, or None where nobody made one."""
    try:
        return Connection.get(conn_id)
    except AirflowNotFoundException:
        return None
    except AirflowRuntimeError as err:
        if err.error.error == ErrorType.CONNECTION_NOT_FOUND:
            return None
        raise


def overrides() -> dict[str, str]:
    """All settings that Airflow's connections override, as environment variables."""
    found: dict[str, str] = {}
    for conn_id, translate in (
        ("gtr_pacs", pacs_settings),
        ("gtr_postgres", database_settings),
        ("gtr_governor", governor_settings),
        ("gtr_ehr", ehr_settings),
        ("gtr_ris", ris_settings),
    ):
        if (connection := connection_or_none(conn_id)) is not None:
            found |= translate(connection)
    return found


def settings(*, decides: bool = False) -> Config:
    """Our settings with Airflow's connections over them; only a task that decides gets the governor's login."""
    import attrs

    from gtr_batch import config

    found = config.load(environ={**os.environ, **overrides()})
    return found if decides else attrs.evolve(found, database=attrs.evolve(found.database, governor_dsn=""))


@contextmanager
def task_site() -> Iterator[Site]:
    """The site that a task works in: settings, then connections over them, then the adapters; closed at the end.

    The task may take `night.task_memory_gb` of memory meanwhile.
    """
    from gtr_airflow.callbacks import notify
    from gtr_batch import wiring
    from gtr_batch.night.task_memory import limited_memory

    config = settings()
    with limited_memory(config), wiring.open_site(config, alert=notify) as site:
        yield site


@contextmanager
def task_governance() -> Iterator[GovernanceSite]:
    """The site of those who decide about models; as `task_site`."""
    from gtr_airflow.callbacks import notify
    from gtr_batch import wiring
    from gtr_batch.night.task_memory import limited_memory

    config = settings(decides=True)
    with limited_memory(config), wiring.open_governance(config, alert=notify) as site:
        yield site


@contextmanager
def task_audit() -> Iterator[AuditSite]:
    """The site that an audit works in; as `task_site`."""
    from gtr_batch import wiring

    with wiring.open_audit(settings()) as site:
        yield site


@contextmanager
def task_training() -> Iterator[TrainingSite]:
    """The site that a retraining works in; as `task_site`."""
    from gtr_batch import wiring

    with wiring.open_training(settings(decides=True)) as site:
        yield site
