"""Requests as runs, for FastAPI, Starlette and whatever else speaks ASGI.

    app.add_middleware(brakewire.fastapi.BrakewireMiddleware, agent="researcher")

Each request is a run below the one that its baggage header names; `request.state.brakewire` is that run, and it ends with
the response, a stream's included."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, cast

from . import _aio
from ._aio import Run
from ._client import Client
from .errors import BrakewireError, Cancel, Cancelled, Refused

Scope = Any  # as Starlette and asgiref have them: mappings, each of its own type
Message = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

NOT_RUNS = ("/livez", "/readyz", "/healthz", "/health", "/metrics", "/docs", "/redoc", "/openapi.json", "/favicon.ico",
            "/.well-known/")
"""Paths of requests that are no work, and below those that end in a slash."""

__all__ = ["NOT_RUNS", "BrakewireMiddleware"]

_MESSAGES_AHEAD = 8


class BrakewireMiddleware:
    """on_disconnect: `cancel`: a client that goes away before it has the whole response cancels the run and all below it.
    `continue`: the request goes on, as A2A wants it.
    skip: paths of requests that are no runs, or a function of the ASGI scope.
    options: of brakewire.start() for each request; `entry=True` where users call, whatever context they claim.

    A request below a cancelled run is answered 409, application/problem+json with the code `cancelled`; so is one
    whose run is cancelled before its response has begun. A response that has begun breaks off."""

    def __init__(self, app: App, /, *, agent: str | None = None, on_disconnect: Literal["cancel", "continue"] = "cancel",
                 skip: Sequence[str] | Callable[[Scope], bool] = NOT_RUNS, client: Client | None = None,
                 **options: Any):
        if on_disconnect not in ("cancel", "continue"):
            raise ValueError(f"on_disconnect is cancel or continue, not {on_disconnect!r}")
        self._app, self._agent, self._client, self._options = app, agent, client, options
        self._cancels = on_disconnect == "cancel"
        self._skip = skip

    def _is_skipped(self, scope: Scope) -> bool:
        if scope["type"] != "http":
            return True
        if callable(self._skip):
            return bool(self._skip(scope))
        path = scope["path"]
        return any(path.startswith(one) if one.endswith("/") else path == one for one in self._skip)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_skipped(scope):
            await self._app(scope, receive, send)
            return
        agent = self._agent or getattr(scope.get("app"), "title", None)
        try:
            run = await _aio.start(client=self._client, headers=scope["headers"], **{"agent": agent, **self._options})
        except BrakewireError as why:
            await _answer_problem(send, why)
            return
        exchange = _Exchange(run, receive, send, self._cancels)
        try:
            await self._serve(run, {**scope, "state": {**scope.get("state", {}), "brakewire": run}}, exchange)
        except Cancelled as why:
            if not exchange.has_begun:
                await _answer_problem(send, why)

    async def _serve(self, run: Run, scope: Scope, exchange: _Exchange) -> None:
        async with run:
            listening = asyncio.create_task(exchange.listen())
            try:
                await self._app(scope, exchange.receive, exchange.send)
            finally:
                listening.cancel()
            if exchange.status >= 500:
                await run.end("error")


class _Exchange:
    """One request and its response. Somebody has to listen for the client, or nobody knows when it has gone."""

    def __init__(self, run: Run, receive: Receive, send: Send, cancels: bool):
        self._run, self._receive, self._send, self._cancels = run, receive, send, cancels
        self._came: asyncio.Queue[Message] = asyncio.Queue(_MESSAGES_AHEAD)
        self._is_complete = asyncio.Event()
        self.has_begun = False
        self.status = 0

    async def listen(self) -> None:
        while (message := await self._receive())["type"] != "http.disconnect":
            await self._came.put(message)
        if self._cancels and not self._is_complete.is_set():
            await self._cancel()
        else:
            await self._is_complete.wait()  # for who works on, the client is there
        await self._came.put(message)

    async def _cancel(self) -> None:
        reason = "the client has disconnected"
        try:
            await self._run.cancel_tree(reason, wait="none")
        except BrakewireError:
            cancel = Cancel("", self._run.run_id, self._run.root, reason=reason, by="client")
            self._run._state.deliver(cancel)  # what is below learns it by the end of this run

    async def receive(self) -> Message:
        message = await self._came.get()
        if message["type"] == "http.disconnect":
            with contextlib.suppress(asyncio.QueueFull):
                self._came.put_nowait(message)  # whoever asks again
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun, self.status = True, cast(int, message["status"])
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._is_complete.set()
        await self._send(message)


async def _answer_problem(send: Send, why: BrakewireError) -> None:
    problem: dict[str, Any] = {"type": "about:blank", "status": 503, "code": "unavailable", "detail": str(why)}
    if isinstance(why, Refused):
        problem = {**problem, "status": why.status, **why.problem, "detail": why.detail or str(why)}
    if isinstance(why, Cancelled):
        problem["cancel"] = why.cancel.to_json()
    body = json.dumps(problem).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": problem["status"], "headers": headers})
    await send({"type": "http.response.body", "body": body})
