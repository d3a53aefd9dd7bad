"""What every answer carries so that a browser keeps it to itself, what a request may bring, how many have a turn."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
CSP = b"content-security-policy"
AT_ONCE = 8  # requests of a process; Airflow's own have 40 threads, and these take no more of them
WAIT_S = 5.0
LARGEST_BODY = 64 * 1024  # bytes of a request; a form with the longest reason has 24,000


def with_own_styles(page: bytes, *, drawn: bool = False) -> str:
    """The policy for a written page whose style lies in it: that style by its digest, no script, nothing else.

    With `drawn` the lines of its drawings have styles of their own.
    """
    styles = re.findall(rb"<style[^>]*>(.*?)</style>", page, re.DOTALL)
    digests = "".join(f" 'sha256-{b64encode(sha256(style).digest()).decode()}'" for style in styles)
    attributes = "style-src-attr 'unsafe-inline'; " if drawn else ""
    return (
        f"default-src 'none'; style-src 'self'{digests}; {attributes}img-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    )


class Headers:
    """Adds `HEADERS` to every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on."""

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name.encode(): value.encode() for name, value in HEADERS.items()}
                theirs = {name.lower() for name, _ in message["headers"]}
                if CSP in theirs:  # a page of another program, which says what it is made of
                    del ours[CSP]
                others = [(name, value) for name, value in message["headers"] if name.lower() not in ours]
                message["headers"] = [*others, *ours.items()]
            await send(message)

        await self._app(scope, receive, sending)


class Bodies:
    """Takes in what a request brings before its turn, and refuses more than `LARGEST_BODY`.

    FastAPI reads a form before it asks who sends it: without this anybody could fill the memory, or the disk with a
    form's files. Who sends slowly keeps nobody else from their turn.
    """

    def __init__(self, app: ASGIApp, most: int = LARGEST_BODY) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its body, when all of it is there."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._states_more(scope):
            await self._refuse(scope, receive, send)
        elif scope["method"] in ("GET", "HEAD"):  # no route reads a body of these
            await self._app(scope, receive, send)
        else:
            await self._with_body(scope, receive, send)

    def _states_more(self, scope: Scope) -> bool:
        stated = dict(scope["headers"]).get(b"content-length", b"")
        return bool(stated.isdigit() and (len(stated) > 18 or int(stated) > self._most))

    async def _with_body(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._most:
                await self._refuse(scope, receive, send)
                return
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def taken_in() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, taken_in, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse

        sentence = f"This request is larger than {self._most} bytes, which no page of the console asks for."
        await PlainTextResponse(sentence, 413, {"Connection": "close"})(scope, receive, send)


class Turns:
    """Lets `AT_ONCE` requests in; others wait their turn without a thread, and are told after `WAIT_S` to come back."""

    def __init__(self, app: ASGIApp, at_once: int = AT_ONCE, wait_s: float = WAIT_S) -> None:
        self._app, self._wait_s = app, wait_s
        self._turn = asyncio.Semaphore(at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, when it is its turn."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await self._turn.acquire()
        except TimeoutError:
            from starlette.responses import PlainTextResponse

            busy = PlainTextResponse("The console is busy; try again in a moment.", 503, {"Retry-After": "5"})
            await busy(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._turn.release()
