"""The console in a small application with Airflow's own tokens, on a real PostgreSQL that holds a phantom hospital."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest

from tests.airflow_home import own_airflow_home
from tests.console_hospital import Hospital, fill
from tests.fixtures_db import *  # noqa: F403

own_airflow_home()

#: User -> role in Airflow; who is what in the console is `tests.console_hospital.ROLES`.
USERS = {"olga": "op", "rahel": "user", "anton": "viewer", "ada": "admin", "nemo": "viewer"}
SECRET = secrets.token_hex(32)


@pytest.fixture(scope="session")
def airflow_tokens() -> Iterator[Callable[..., str]]:
    """A function that gives a user's token, as Airflow's API server makes it; Airflow checks it as that server does."""
    patch = pytest.MonkeyPatch()
    folder = tempfile.mkdtemp(prefix="gtr-airflow-")
    for option, value in {
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": f"{folder}/passwords.json",
        "API_AUTH__JWT_SECRET": SECRET,
        "API__SECRET_KEY": secrets.token_hex(32),
    }.items():
        patch.setenv(f"AIRFLOW__{option}", value)
    from airflow import settings
    from airflow.api_fastapi.app import get_auth_manager, init_auth_manager, purge_cached_app
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.models.revoked_token import RevokedToken

    RevokedToken.__table__.create(settings.engine, checkfirst=True)  # all that a token is looked up in
    purge_cached_app()
    init_auth_manager()

    def token(user: str, seconds: int = 600) -> str:
        known = SimpleAuthManagerUser(username=user, role=USERS[user])
        return get_auth_manager().generate_jwt(known, expiration_time_in_seconds=seconds)

    yield token
    purge_cached_app()
    patch.undo()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def hospital(module_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """The phantom hospital, on the morning after its night."""
    return fill(module_dsn, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def app_of(airflow_tokens) -> Iterator[Callable]:
    """A function that mounts the console of a site as Airflow mounts it, under a prefix; its sites are closed after."""
    from airflow.api_fastapi.auth.middlewares.refresh_token import JWTRefreshMiddleware
    from fastapi import FastAPI

    from gtr_console.app import create_app

    sites = []

    def mounted(open_site, prefix: str = "/ops") -> FastAPI:
        def opened():
            sites.append(open_site())
            return sites[-1]

        root = FastAPI(openapi_url=None, root_path=prefix)
        root.mount("/gtr", create_app(opened))
        root.add_middleware(JWTRefreshMiddleware)
        return root

    yield mounted
    for site in sites:
        site.close()


@pytest.fixture(scope="module")
def browse(app_of, hospital, airflow_tokens) -> Iterator[Callable]:
    """A function that asks a page of the hospital's console as a user (None: nobody)."""
    from starlette.testclient import TestClient

    client = TestClient(app_of(hospital.open_site), base_url="https://airflow.example", follow_redirects=False)

    def ask(path: str, user: str | None = "rahel", *, client: TestClient = client, method: str = "GET", **given):
        headers = {"accept": "text/html", **given.pop("headers", {})}
        if user is not None:
            headers["cookie"] = f"_token={airflow_tokens(user)}"
        return client.request(method, f"/ops/gtr{path}", headers=headers, **given)

    yield ask
    client.close()


@pytest.fixture
def rows(hospital) -> Callable[..., list[tuple]]:
    """A function that asks the hospital's database as its superuser."""
    import psycopg2

    def asked(statement: str, *values: object) -> list[tuple]:
        connection = psycopg2.connect(hospital.dsn)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()
        finally:
            connection.close()

    return asked
