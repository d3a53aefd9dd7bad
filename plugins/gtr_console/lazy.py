"""The console as Airflow mounts it: built at its first request, since every process of Airflow loads the plugin."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class LazyConsole:
    """An ASGI application that is imported and built when it is first asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""
        if self._app is None:
            from starlette.concurrency import run_in_threadpool

            await run_in_threadpool(self._build)
        app: Any = self._app
        await app(scope, receive, send)

    def _build(self) -> None:
        from gtr_console.app import create_app

        with self._lock:
            if self._app is None:
                self._app = create_app()
