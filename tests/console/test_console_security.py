"""Who gets in: every route, by role, without a token, with a forged or an expired one; what every answer carries."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import jwt
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from gtr_batch.config import CONSOLE_ROLES, ConsoleConfig
from gtr_batch.errors import ConfigError
from gtr_console.app import create_app
from gtr_console.auth import Asking, admit, allowed, declared, everyone
from tests.console.conftest import USERS
from tests.console_hospital import MODEL, NIGHT, ROLES

ROLE_OF = {"olga": "operator", "rahel": "radiologist", "anton": "auditor", "ada": "admin"}
SETTINGS = ConsoleConfig(roles=ROLES)
SAME = {"sec-fetch-site": "same-origin", "origin": "https://airflow.example"}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "console.md"


ROUTES = list(create_app(lambda: None).routes)


@pytest.fixture
def path_of(hospital):
    """A function that fills in a route's path with what the hospital has."""
    values = {
        "night": str(NIGHT),
        "path": "index.html",
        "case_id": hospital.cases["staged"],
        "index": "1",
        "place": "1",
        "run_id": "c" * 64,
        "document": "card.html",
        "version": MODEL,
        "name": "console.css",
        "number": "1",
        "alarm_id": "1",
    }

    def filled(route: APIRoute) -> str:
        path = route.path.replace("{path:path}", "{path}")
        return path.format(**values)

    return filled


def test_every_route_says_who_may_ask_it_and_depends_on_the_user():
    assert ROUTES
    for route in ROUTES:
        assert isinstance(route, APIRoute), f"{route} is mounted beside the guard"
        assert declared(route.endpoint) is not None, route.path
        assert any(one.call is admit for one in route.dependant.dependencies), route.path


def test_the_page_about_the_console_lists_every_route_with_who_may():
    listed = dict(re.findall(r"^\| `(/[^`]*)` \|[^|]*\| ([^|]*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))

    actual = {route.path: declared(route.endpoint)(SETTINGS) for route in ROUTES}
    assert {
        path: set(CONSOLE_ROLES) if who == "everyone" else set(who.split(", ")) for path, who in listed.items()
    } == actual


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_nobody_gets_in_without_a_valid_token(browse, path_of, airflow_tokens, route):
    path, method = path_of(route), next(iter(route.methods))
    claims = jwt.decode(airflow_tokens("ada"), options={"verify_signature": False})
    forged = jwt.encode(claims, "x" * 64, algorithm="HS512")
    unsigned = jwt.encode(claims, "", algorithm="none")
    nobody = [
        browse(path, None, method=method),
        *(
            browse(path, None, method=method, headers={"cookie": f"_token={token}"})
            for token in (airflow_tokens("ada", -60), forged, unsigned, "", "nonsense")
        ),
        *(
            browse(path, None, method=method, headers={"authorization": f"Bearer {token}"})
            for token in (airflow_tokens("ada", -60), forged, unsigned)
        ),
        # A good cookie does not help a bad token in the header.
        browse(path, "ada", method=method, headers={"authorization": f"Bearer {forged}"}),
    ]

    assert {answer.status_code for answer in nobody} <= {401, 403}
    assert nobody[0].status_code == 401


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
@pytest.mark.parametrize("user", USERS)
def test_each_role_gets_what_stands_beside_the_route(browse, path_of, hospital, route, user):
    """A route that writes is asked with the token of a page, where the user's page has one."""
    may = ROLE_OF.get(user) in declared(route.endpoint)(SETTINGS)
    pages = "".join(browse(path, user).text for path in (f"/cases/{hospital.cases['staged']}", "/nights", "/audits"))
    tokens = re.findall(r'name="gtr_token" value="([^"]+)"', pages)
    headers = {**SAME, "x-gtr-token": "".join(tokens[:1])}

    answer = browse(path_of(route), user, method=next(iter(route.methods)), headers=headers)

    assert (answer.status_code != 403) == may
    assert answer.status_code in ((200, 303, 404, 409) if may else (403,))


def test_a_route_that_nobody_has_declared_is_refused_to_everybody(app_of, hospital, browse):
    root = app_of(hospital.open_site)
    console = root.routes[-1].app
    console.get("/undeclared")(lambda: "data")
    client = TestClient(root, base_url="https://airflow.example")

    answers = [browse("/undeclared", user, client=client) for user in (None, *USERS)]

    assert [answer.status_code for answer in answers] == [401, *[403] * len(USERS)]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/static/../app.py", "/static/%2e%2e%2fapp.py"])
def test_there_is_no_description_of_the_routes_and_no_other_file(browse, path):
    assert browse(path, "ada").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/nights/2026-03-01/data-docs/../../../etc/passwd", "/nights/2026-03-01/data-docs/..%2f..%2fnight.json"],
)
def test_the_data_docs_lead_to_no_other_file(browse, path):
    assert browse(path, "ada").status_code == 404


def test_nobody_is_let_in_where_airflow_lets_everybody_in(browse, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS", "True")

    assert browse("/nights", "ada").status_code == 403


def test_every_answer_keeps_itself_to_this_browser_and_site(browse, hospital):
    answers = [
        browse("/nights"),
        browse("/nights", None),
        browse("/nights", "nemo"),
        browse("/no-such-page"),
        browse(f"/cases/{hospital.cases['staged']}/slices/0"),
        browse("/static/console.css"),
    ]

    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'self'" in policy and "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert len(answer.headers.get_list("content-security-policy")) == 1


def test_a_fault_shows_nothing_and_carries_the_same_headers(app_of, hospital, browse):
    def broken():
        raise RuntimeError("PHANTOM-7")

    client = TestClient(app_of(broken), base_url="https://airflow.example", raise_server_exceptions=False)

    answer = browse("/nights", client=client)

    assert answer.status_code == 500
    assert "PHANTOM" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


# Writing


@pytest.fixture
def writing(app_of, hospital):
    """The console with a route that writes, as those that will come; and the visitor's token for it."""
    root = app_of(hospital.open_site)
    console: FastAPI = root.routes[-1].app
    written: list[str] = []

    @console.post("/write")
    @allowed(everyone)
    def write(visitor: Asking) -> str:
        written.append(visitor.name)
        return "written"

    @console.get("/token")
    @allowed(everyone)
    def token(visitor: Asking) -> str:
        return visitor.token

    return TestClient(root, base_url="https://airflow.example"), written


def test_what_writes_needs_the_token_of_a_page_that_this_user_was_given(writing, browse):
    client, written = writing
    mine = browse("/token", "rahel", client=client).json()
    others = browse("/token", "olga", client=client).json()

    def post(user: str = "rahel", **headers: str) -> int:
        return browse("/write", user, client=client, method="POST", headers=headers).status_code

    refused = [
        post(**SAME),
        post(**SAME, **{"x-gtr-token": "nonsense"}),
        post(**SAME, **{"x-gtr-token": others}),
        post(**{"sec-fetch-site": "cross-site", "x-gtr-token": mine}),
        post(**{"sec-fetch-site": "same-site", "x-gtr-token": mine}),
        post(**{"origin": "https://evil.example", "x-gtr-token": mine}),
        post(**{"x-gtr-token": mine}),  # neither says where it comes from
    ]

    assert refused == [403] * len(refused)
    assert written == []
    assert post(**SAME, **{"x-gtr-token": mine}) == 200
    assert written == ["rahel"]


@pytest.mark.parametrize("route", [r for r in ROUTES if "POST" in r.methods], ids=lambda route: route.name)
def test_every_route_that_writes_needs_a_fresh_token_of_a_page_of_ours(writing, browse, path_of, route, monkeypatch):
    client, _ = writing
    user = next(one for one, role in ROLE_OF.items() if role in declared(route.endpoint)(SETTINGS))
    mine, others = (browse("/token", one, client=client).json() for one in (user, "nemo" if user == "ada" else "ada"))

    answers = [
        browse(path_of(route), user, client=client, method="POST", headers=headers)
        for headers in (SAME, {**SAME, "x-gtr-token": others}, {"sec-fetch-site": "cross-site", "x-gtr-token": mine})
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    monkeypatch.setattr("gtr_console.auth._TOKEN_SECONDS", -1)  # every page was opened too long ago
    old = browse(path_of(route), user, client=client, method="POST", headers={**SAME, "x-gtr-token": mine})
    assert (old.status_code, "out of date" in old.text) == (403, True)


def test_a_form_carries_the_token_as_a_field(writing, browse):
    client, written = writing
    token = browse("/token", "rahel", client=client).json()

    answer = browse("/write", client=client, method="POST", headers=SAME, data={"gtr_token": token})

    assert (answer.status_code, written) == (200, ["rahel"])


# Settings


def test_roles_come_from_names_and_from_airflows_roles_and_from_nowhere_else():
    settings = ConsoleConfig(roles=("radiologist=user:rahel", "operator=role:Op", "auditor=role:op"))

    assert settings.roles_of("rahel", ["viewer"]) == {"radiologist"}
    assert settings.roles_of("Rahel", ["op"]) == {"operator", "auditor"}
    assert settings.roles_of("nemo", ["viewer", "user:rahel"]) == frozenset()
    assert ConsoleConfig().roles_of("ada", ["admin"]) == frozenset()


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"roles": ("king=user:ada",)}, "king"),
        ({"roles": ("admin=ada",)}, "admin=ada"),
        ({"patients_for": ("nurse",)}, "nurse"),
        ({"pacs_viewer": "http://viewer.example/{study_uid}"}, "https"),
        ({"pacs_viewer": "https://viewer.example/{patient_id}"}, "no patient"),
    ],
)
def test_a_setting_that_would_let_somebody_in_by_mistake_is_refused(section, why):
    with pytest.raises(ConfigError, match=why):
        ConsoleConfig(**section)


def test_the_roles_are_those_of_the_settings():
    assert set(ROLE_OF.values()) == set(CONSOLE_ROLES)


def test_the_console_imports_neither_torch_nor_the_model():
    code = (
        "import sys, gtr_console.app, gtr_batch.wiring as w; "
        "import gtr_batch.config as c; "
        "w.open_console(c.Config(database=c.DatabaseConfig(console_dsn='postgresql://nobody@127.0.0.1/none'))); "
        "print([m for m in ('torch', 'torchvision', 'SimpleITK', 'great_expectations', 'gtr_batch.stage') "
        "if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_plugin_is_light_until_somebody_asks_for_a_page():
    code = (
        "import sys; from gtr_console.lazy import LazyConsole; LazyConsole(); "
        "print('jinja2' in sys.modules, 'fastapi' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]


def test_a_night_in_an_address_is_a_date(browse):
    assert browse("/nights/PHANTOM-7").status_code == 404
    assert "PHANTOM" not in browse("/nights/PHANTOM-7").text
    assert browse(f"/nights/{date(1999, 1, 1)}").status_code == 404
