"""FastAPI with Brakewire: real servers, real clients that go away, real daemons."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, StreamingResponse

import brakewire
from brakewire.fastapi import BrakewireMiddleware
from support.serve import serve
from support.stack import Stack, ask, until


class Service:
    """What its requests have seen."""

    def __init__(self) -> None:
        self.runs: list[brakewire.Run] = []
        self.ended: list[str] = []
        self.may_go_on = threading.Event()

    def app(self, **options: Any) -> FastAPI:
        app = FastAPI(title="service")
        app.add_middleware(BrakewireMiddleware, **options)

        @app.get("/hello")
        async def hello(request: Request) -> dict[str, str]:
            run: brakewire.Run = request.state.brakewire
            self.runs.append(run)
            assert brakewire.current_run() is run
            return run.headers(request.headers)

        @app.get("/wait")
        async def wait(request: Request) -> None:
            self.runs.append(request.state.brakewire)
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.append("wait")

        @app.get("/stream")
        async def stream(request: Request) -> StreamingResponse:
            self.runs.append(request.state.brakewire)

            async def tokens() -> AsyncIterator[str]:
                try:
                    yield "first "
                    while not self.may_go_on.is_set():
                        await asyncio.sleep(0.01)
                    yield "last"
                    self.ended.append("whole")
                finally:
                    self.ended.append("stream")

            return StreamingResponse(tokens())

        @app.get("/thread")
        def thread(request: Request) -> None:
            self.runs.append(request.state.brakewire)
            while True:
                brakewire.raise_if_cancelled()
                self.may_go_on.wait(0.01)

        @app.post("/echo")
        async def echo(request: Request) -> PlainTextResponse:
            return PlainTextResponse(str(len(await request.body())))

        @app.get("/breaks")
        async def breaks(request: Request) -> None:
            self.runs.append(request.state.brakewire)
            raise ZeroDivisionError

        @app.get("/answers-500")
        async def answers(request: Request) -> PlainTextResponse:
            self.runs.append(request.state.brakewire)
            return PlainTextResponse("sorry", 500)

        @app.get("/health")
        async def health(request: Request) -> bool:
            return hasattr(request.state, "brakewire")

        return app


@pytest.fixture(autouse=True)
def agentd(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAKEWIRE_AGENTD", stack.agentds[1])


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def caller(stack: Stack) -> Iterator[brakewire.sync.Run]:
    """The run that calls the service, on another replica."""
    run = brakewire.sync.start(client=brakewire.Client(stack.agentds[0]), entry=True, agent="caller")
    yield run
    run.end("cancelled" if run.is_cancelled else "success")


def cancel(stack: Stack, run: str) -> None:
    assert ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough"}).status == 202


def state_of(stack: Stack, run: brakewire.Run) -> str:
    return str(ask(stack.broker, "GET", f"/v1/runs/{run.run_id}").json["state"])


def in_thread(call: Any) -> tuple[threading.Thread, list[Any]]:
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()), daemon=True)
    thread.start()
    return thread, answers


def test_a_request_is_a_run_below_its_caller(stack: Stack, service: Service, caller: brakewire.sync.Run) -> None:
    with serve(service.app(labels={"team": "red"})) as url:
        headers = caller.headers({"baggage": "userId=alice"})
        answer = httpx.get(f"{url}/hello", headers=headers)
        run = service.runs[0]
        assert answer.json()["baggage"] == f"brakewire=1.{caller.run_id}.{run.run_id},userId=alice"
        until(lambda: state_of(stack, run) == "success")
        node = ask(stack.broker, "GET", f"/v1/runs/{run.run_id}").json
        assert (node["agent"], node["labels"]) == ("service", {"team": "red"})
        assert httpx.get(f"{url}/health").json() is False # no work
        assert httpx.post(f"{url}/echo", content=b"x" * 300_000).text == "300000"


@pytest.mark.parametrize("path", ["wait", "thread"])
def test_a_cancel_stops_the_request_and_says_so(stack: Stack, service: Service, caller: brakewire.sync.Run,
                                                path: str) -> None:
    with serve(service.app()) as url:
        thread, answers = in_thread(lambda: httpx.get(f"{url}/{path}", headers=caller.headers(), timeout=30))
        until(lambda: service.runs)
        cancel(stack, caller.run_id)
        thread.join(30)
        problem = answers[0].json()
        assert answers[0].status_code == 409 and answers[0].headers["content-type"] == "application/problem+json"
        assert problem["code"] == "cancelled" and problem["cancel"]["reason"] == "enough"
        assert state_of(stack, service.runs[0]) == "cancelled"
        refused = httpx.get(f"{url}/hello", headers=caller.headers())
        assert refused.status_code == 409 and refused.json()["cancel"]["run_id"] == caller.run_id
        assert len(service.runs) == 1


def test_a_stream_that_is_cancelled_breaks_off(stack: Stack, service: Service, caller: brakewire.sync.Run) -> None:
    with serve(service.app()) as url, httpx.stream("GET", f"{url}/stream", headers=caller.headers()) as answer:
        chunks = answer.iter_text()
        assert next(chunks) == "first "
        assert state_of(stack, service.runs[0]) == "running"
        cancel(stack, caller.run_id)
        with pytest.raises(httpx.RemoteProtocolError):
            list(chunks)
        until(lambda: state_of(stack, service.runs[0]) == "cancelled")
        assert service.ended == ["stream"]


def test_a_stream_is_a_run_until_its_end(stack: Stack, service: Service) -> None:
    with serve(service.app()) as url, httpx.stream("GET", f"{url}/stream") as answer:
        chunks = answer.iter_text()
        assert next(chunks) == "first " and state_of(stack, service.runs[0]) == "running"
        service.may_go_on.set()
        assert "".join(chunks) == "last"
        until(lambda: state_of(stack, service.runs[0]) == "success")


@pytest.mark.parametrize("path", ["wait", "stream"])
def test_a_client_that_goes_away_cancels(stack: Stack, service: Service, path: str) -> None:
    with serve(service.app()) as url:
        with httpx.Client(timeout=1) as client:
            if path == "stream":
                with client.stream("GET", f"{url}/{path}") as answer:
                    assert next(answer.iter_text()) == "first "
            else:
                with pytest.raises(httpx.ReadTimeout):
                    client.get(f"{url}/{path}")
        until(lambda: state_of(stack, service.runs[0]) == "cancelled")
        node = ask(stack.broker, "GET", f"/v1/runs/{service.runs[0].run_id}").json
        assert node["cancel"]["reason"] == "the client has disconnected" and service.ended == [path]


def test_or_the_request_goes_on(stack: Stack, service: Service) -> None:
    with serve(service.app(on_disconnect="continue")) as url:
        with httpx.stream("GET", f"{url}/stream") as answer:
            assert next(answer.iter_text()) == "first "
        assert state_of(stack, service.runs[0]) == "running"
        service.may_go_on.set()
        until(lambda: state_of(stack, service.runs[0]) == "success")
        assert service.ended == ["whole", "stream"]


@pytest.mark.parametrize("path", ["breaks", "answers-500"])
def test_an_error_is_the_end_of_the_run(stack: Stack, service: Service, path: str) -> None:
    with serve(service.app()) as url:
        assert httpx.get(f"{url}/{path}").status_code == 500
        until(lambda: state_of(stack, service.runs[0]) == "error")


def test_an_entry_believes_no_context(stack: Stack, service: Service, caller: brakewire.sync.Run) -> None:
    with serve(service.app(entry=True)) as url:
        httpx.get(f"{url}/hello", headers=caller.headers())
        assert service.runs[0].root == service.runs[0].run_id


def test_what_it_is_told_wrongly() -> None:
    with pytest.raises(ValueError, match="cancel or continue"):
        BrakewireMiddleware(FastAPI(), on_disconnect="explode") # type: ignore[arg-type]
