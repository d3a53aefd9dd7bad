"""What a route takes from its request: the console, addresses of other routes, and Airflow's app around ours."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Request
from starlette.types import Receive, Scope, Send

from gtr_console.queries import Console

_AROUND = "gtr_console.around"


class MountedApp(FastAPI):
    """An application that remembers, request by request, the one that it is mounted in."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on; Starlette puts the innermost application into ``scope["app"]``."""
        scope[_AROUND] = scope.get("app")
        await super().__call__(scope, receive, send)


def app_around(request: Request) -> FastAPI | None:
    """Airflow's API server; None where the console is mounted in nothing."""
    found: FastAPI | None = request.scope.get(_AROUND)
    return found


def console_of(request: Request) -> Console:
    """The application's console."""
    found: Console = request.app.state.console
    return found


Ours = Annotated[Console, Depends(console_of)]


def url(request: Request, name: str, /, **parameters: object) -> str:
    """Path of a route, under whatever prefix the application is mounted."""
    return str(request.scope.get("root_path", "")) + str(request.app.url_path_for(name, **parameters))
