"""Who asks, and whether they may: Airflow's user, our role, and a token for whatever writes. In doubt it is refused."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from attrs import frozen
from fastapi import Depends, HTTPException, Request, status
from itsdangerous import BadSignature, URLSafeTimedSerializer

from gtr_batch.config import CONSOLE_ROLES, ConsoleConfig
from gtr_batch.domain.console import CaseReader
from gtr_batch.domain.reader_word import LONGEST_NAME

#: Who may ask a route: the roles, by the site's settings where these have a say.
Allowed = Callable[[ConsoleConfig], frozenset[str]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

TOKEN_HEADER, TOKEN_FIELD = "x-gtr-token", "gtr_token"
_TOKEN_SECONDS = 12 * 3600
_SAFE = ("GET", "HEAD")
_DECLARED = "__gtr_allowed__"


def everyone(_: ConsoleConfig) -> frozenset[str]:
    """Every role."""
    return frozenset(CONSOLE_ROLES)


def those(*roles: str) -> Allowed:
    """These roles."""
    assert set(roles) <= set(CONSOLE_ROLES)
    return lambda _: frozenset(roles)


def who_see_pixels(settings: ConsoleConfig) -> frozenset[str]:
    """`console.pixels_for`."""
    return frozenset(settings.pixels_for)


def who_see_patients(settings: ConsoleConfig) -> frozenset[str]:
    """`console.patients_for`."""
    return frozenset(settings.patients_for)


def both(one: Allowed, other: Allowed) -> Allowed:
    """The roles that are in both."""
    return lambda settings: one(settings) & other(settings)


def allowed(who: Allowed) -> Callable[[Endpoint], Endpoint]:
    """Declare who may ask a route; one without a declaration is refused to everybody."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _DECLARED, who)
        return endpoint

    return declare


def declared(endpoint: Any) -> Allowed | None:
    """Who may ask this route; None where nobody has said."""
    return getattr(endpoint, _DECLARED, None)


@frozen
class Visitor:
    """A user of Airflow with a role here; `token` goes with whatever they write.

    `reader` is set for a radiologist, whatever other roles they have: what they are shown of results is noted, and
    withheld where the site asks for their own stage first.
    """

    name: str
    roles: frozenset[str]
    sees_patients: bool
    sees_pixels: bool
    token: str
    reader: CaseReader | None

    def has(self, *roles: str) -> bool:
        """Whether they have one of these roles."""
        return bool(self.roles & set(roles))


async def admit(request: Request, user: Annotated[BaseUser, Depends(get_user)]) -> Visitor:
    """The visitor, where they may ask this route; the dependency of every route.

    Raises
    ------
    HTTPException
        401: not signed in, or no longer. 403: a forged token, no role here, a role that may not, a route that nobody
        has declared, or a write that does not come from a page of ours.
    """
    if conf.getboolean("core", "simple_auth_manager_all_admins", fallback=False):
        raise _refused(
            "Airflow lets everybody in without a name (simple_auth_manager_all_admins); the console does not."
        )
    settings: ConsoleConfig = request.app.state.console.settings
    roles = settings.roles_of(user.get_name(), airflow_roles(user))
    if not roles:
        raise _refused("You have no role in the console. An administrator gives one in the setting console.roles.")
    who = declared(request.scope.get("endpoint"))
    if who is None or not roles & who(settings):
        raise _refused(f"Your role ({', '.join(sorted(roles))}) may not see this.")
    reader = CaseReader(user.get_name(), settings.own_stage_first) if "radiologist" in roles else None
    if reader is not None and not 0 < len(reader.name) <= LONGEST_NAME:
        raise _refused(f"Your name in Airflow cannot be kept as a reader's, which has 1 to {LONGEST_NAME} characters.")
    if request.method not in _SAFE:
        await _written_here(request, user.get_id())
    return Visitor(
        name=user.get_name(),
        roles=roles,
        sees_patients=bool(roles & who_see_patients(settings)),
        sees_pixels=bool(roles & who_see_pixels(settings)),
        token=_signer().dumps(user.get_id()),
        reader=reader,
    )


def airflow_roles(user: BaseUser) -> Sequence[str]:
    """The user's roles in Airflow: one of the simple auth manager, or several of FAB's."""
    one = getattr(user, "role", None)
    several = getattr(user, "roles", None) or ()
    names = [one] if isinstance(one, str) else []
    return [*names, *(str(getattr(role, "name", role)) for role in several)]


async def _written_here(request: Request, user_id: str) -> None:
    """A write comes from a page of ours that this user was given: same origin, and with the page's token."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    same = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if site not in (None, "same-origin") or (site is None and origin != same):
        raise _refused("This was asked for by a page of another site.")
    given = request.headers.get(TOKEN_HEADER)
    if given is None and "form" in request.headers.get("content-type", ""):
        given = str((await request.form()).get(TOKEN_FIELD, ""))
    try:
        named = _signer().loads(given or "", max_age=_TOKEN_SECONDS)
    except BadSignature:
        raise _refused("This page is out of date; open it again.") from None
    if not secrets.compare_digest(str(named).encode(), user_id.encode()):
        raise _refused("This page was made for somebody else; open it again.")


def _signer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(conf.get_mandatory_value("api", "secret_key"), salt="gtr_console.write")


def _refused(why: str) -> HTTPException:
    return HTTPException(status.HTTP_403_FORBIDDEN, why)


Asking = Annotated[Visitor, Depends(admit)]
