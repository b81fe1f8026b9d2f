"""The examples of clients/python/README.md, as they stand there, against real daemons."""

from __future__ import annotations

import asyncio
import re
import textwrap
import types
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

import brakewire
from support.stack import SOURCE, Stack, ask

README = (SOURCE / "clients/python/README.md").read_text()
EXAMPLES: list[str] = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)


def example(word: str) -> str:
    """The one that has this word in it."""
    found = [text for text in EXAMPLES if word in text]
    assert len(found) == 1, f"{len(found)} examples say {word!r}"
    return found[0]


async def run_example(text: str, **names: Any) -> dict[str, Any]:
    """What it left behind, by name."""
    body = textwrap.indent(text, "    ")
    exec(f"async def example():\n{body}\n    return locals()", names)
    return dict(await names["example"]())


@pytest.fixture(autouse=True)
def agentd(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAKEWIRE_AGENTD", stack.agentds[1])


def cancel(stack: Stack, run: str) -> None:
    assert ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough"}).status == 202


async def test_the_three_lines(stack: Stack) -> None:
    assert len(EXAMPLES[0].splitlines()) <= 4 and "headers=request.headers" in EXAMPLES[0]
    root = await brakewire.start(client=brakewire.Client(stack.agentds[0]), entry=True)
    called: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

    async def work(headers: dict[str, str]) -> None:
        called.set_result(headers)
        await asyncio.Event().wait()

    request = types.SimpleNamespace(headers=root.headers())
    task = asyncio.create_task(run_example(EXAMPLES[0], request=request, work=work))
    headers = await asyncio.wait_for(called, 20)
    assert headers["baggage"].startswith(f"brakewire=1.{root.run_id}.")
    cancel(stack, root.run_id)
    with pytest.raises(brakewire.Cancelled, match="enough"):
        await asyncio.wait_for(task, 20)
    await root.end("cancelled")


async def test_without_a_block(stack: Stack) -> None:
    children: list[brakewire.Run] = []

    async def plan(headers: dict[str, str]) -> None:
        children.append(await brakewire.start(headers=headers))

    left = await run_example(example("brakewire.start"), plan=plan)
    await asyncio.wait_for(children[0].cancelled.wait(), 20)
    assert not left["run"].is_cancelled and await left["run"].end() == "success"
    await children[0].end("cancelled")


async def test_threads(stack: Stack) -> None:
    fetched: list[int] = []
    root = await brakewire.start(client=brakewire.Client(stack.agentds[0]), entry=True)

    def fetch(page: int, headers: dict[str, str]) -> None:
        run = brakewire.current_run()
        assert run is not None and headers == run.headers()
        fetched.append(page)
        if page == 2:
            cancel(stack, root.run_id)
            assert run._state.told.wait(20)

    with pytest.raises(brakewire.Cancelled):
        await run_example(example("brakewire.sync.run"), fetch=fetch, pages=range(9),
                          request=types.SimpleNamespace(headers=root.headers()))
    assert fetched == [0, 1, 2]
    await root.end("cancelled")


async def test_the_fence(stack: Stack) -> None:
    saved: list[str] = []

    async def save(state: str) -> None:
        saved.append(state)

    run = await brakewire.start(entry=True)
    await run_example(example("run.fence"), run=run, save=save, state="before")
    cancel(stack, run.run_id)
    await asyncio.wait_for(run.cancelled.wait(), 20)
    await run.fence("another write is the last one")
    await run_example(example("run.fence"), run=run, save=save, state="after")
    assert saved == ["before"]
    await run.end("cancelled")


async def test_langgraph(stack: Stack) -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import START, StateGraph

    runs: list[Any] = []

    async def node(state: dict[str, str]) -> dict[str, str]:
        runs.append(brakewire.current_run())
        return {"answer": "42"}

    builder: Any = StateGraph(dict)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    left = await run_example(example("brakewire.langgraph"), builder=builder, saver=InMemorySaver(), question={})
    assert left["result"] == {"answer": "42"}
    seen = ask(stack.broker, "GET", f"/v1/runs/{runs[0].run_id}").json
    assert (seen["agent"], seen["thread_id"], seen["state"]) == ("researcher", "t-1", "success")


async def test_fastapi(stack: Stack) -> None:
    app = FastAPI()

    @app.get("/")
    def root(request: Request) -> str:
        return str(request.state.brakewire.run_id)

    await run_example(example("add_middleware"), app=app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        run = (await client.get("/")).json()
    seen = ask(stack.broker, "GET", f"/v1/runs/{run}").json
    assert (seen["agent"], seen["state"]) == ("researcher", "success")


async def test_a2a(stack: Stack) -> None:
    from a2a.server.agent_execution import AgentExecutor
    from a2a.types import AgentCard, Message

    class MyExecutor(AgentExecutor):
        async def execute(self, context: Any, event_queue: Any) -> None:
            raise NotImplementedError

        async def cancel(self, context: Any, event_queue: Any) -> None:
            raise NotImplementedError

    card, message = AgentCard(), Message()
    left = await run_example(example("brakewire.a2a"), MyExecutor=MyExecutor, card=card, message=message)
    assert isinstance(left["executor"], AgentExecutor)
    assert card.capabilities.extensions[0].uri == brakewire.context.A2A_EXTENSION == message.extensions[0]
    assert brakewire.context.from_a2a(message) == f"brakewire=1.{left['run'].run_id}"
