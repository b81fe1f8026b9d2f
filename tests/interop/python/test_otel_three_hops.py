"""OpenTelemetry carries the context through services that know nothing of Brakewire.

Three FastAPI services, each a process of its own, instrumented with OpenTelemetry's own packages. The middle one has no code
of ours: only what `opentelemetry-instrument` would install."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

import brakewire
from support.stack import Stack, ask, until

SERVICE = '''
import asyncio, os, sys, httpx
from fastapi import FastAPI, Request
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider

app = FastAPI()
if os.environ["OURS"]:
    import brakewire.fastapi
    app.add_middleware(brakewire.fastapi.BrakewireMiddleware, agent=os.environ["NAME"])
provider = TracerProvider()
FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
HTTPXClientInstrumentor().instrument(tracer_provider=provider)
calls = httpx.AsyncClient(timeout=30)

@app.get("/work")
async def work(request: Request):
    seen = {"baggage": request.headers.get("baggage"), "trace": request.headers.get("traceparent", "")[3:35]}
    if os.environ["OURS"]:
        seen["run"] = request.state.brakewire.run_id
        seen["path"] = request.state.brakewire.path
    below = []
    if os.environ["NEXT"]: # called with no header of ours: the instrumentation adds what there is
        below = (await calls.get(os.environ["NEXT"] + "/work", params=request.query_params)).json()
    if os.environ["OURS"] and "wait" in request.query_params: # until we are told; what is below may be told sooner
        await asyncio.Event().wait()
    return [seen, *below]

assert bool(os.environ["OURS"]) == any(name.startswith("brakewire") for name in sys.modules)
import socket, uvicorn
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off")).run(sockets=[listening])
'''


@contextmanager
def service(name: str, after: str, agentd: str | None) -> Iterator[str]:
    environment = {**os.environ, "NAME": name, "NEXT": after, "OURS": "yes" if agentd else "",
                   "BRAKEWIRE_AGENTD": agentd or "", "OTEL_SDK_DISABLED": "false", "OTEL_TRACES_EXPORTER": "none"}
    process = subprocess.Popen([sys.executable, "-c", SERVICE], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               text=True, env=environment)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="module")
def first(stack: Stack) -> Iterator[str]:
    with service("third", "", stack.agentds[1]) as third, service("second", third, None) as second, \
            service("first", second, stack.agentds[0]) as url:
        yield url


def states(stack: Stack, root: str) -> list[tuple[str, str]]:
    tree = ask(stack.broker, "GET", f"/v1/roots/{root}/tree").json
    return [(node["agent"], node["state"]) for node in tree["runs"]]


def test_the_third_is_below_the_first_though_the_second_knows_nothing(stack: Stack, first: str) -> None:
    with brakewire.sync.run(client=brakewire.Client(stack.agentds[0]), entry=True, agent="user") as root:
        headers = root.headers({"baggage": "userId=alice,plan=pro%20plus"})
        one, two, three = httpx.get(f"{first}/work", headers=headers, timeout=30).json()
    ours = f"brakewire=1.{root.run_id}"
    assert one["baggage"] == f"{ours},userId=alice,plan=pro%20plus"
    assert two["baggage"].split(",")[0] == f"{ours}.{one['run']}" # the first service's own run, and in front
    assert set(two["baggage"].split(",")[1:]) == {"userId=alice", "plan=pro+plus"} # as OpenTelemetry encodes it
    assert three["baggage"] == two["baggage"]
    assert three["path"] == [root.run_id, one["run"], three["run"]]
    assert two["trace"] == three["trace"] != ""
    until(lambda: states(stack, root.root) == [("user", "success"), ("first", "success"), ("third", "success")])


def test_a_cancel_at_the_top_stops_the_third(stack: Stack, first: str) -> None:
    run = brakewire.sync.start(client=brakewire.Client(stack.agentds[0]), entry=True, agent="user")
    with httpx.Client(timeout=30) as client:
        answers: list[httpx.Response] = []
        thread = threading.Thread(target=lambda: answers.append(
            client.get(f"{first}/work?wait=1", headers=run.headers())), daemon=True)
        thread.start()
        until(lambda: states(stack, run.root) == [("user", "running"), ("first", "running"), ("third", "running")])
        assert ask(stack.broker, "POST", f"/v1/runs/{run.run_id}/cancel", {"reason": "enough"}).status == 202
        thread.join(30)
    assert answers[0].status_code == 409 and answers[0].json()["cancel"]["reason"] == "enough"
    run.end("cancelled")
    until(lambda: states(stack, run.root) == [("user", "cancelled"), ("first", "cancelled"), ("third", "cancelled")])
