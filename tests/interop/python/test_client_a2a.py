"""A2A agents of a2a-sdk with Brakewire: a real server, the SDK's own client, real daemons."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from a2a.client import Client, ClientConfig, create_client
from a2a.helpers import new_task_from_user_message, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import (AgentCapabilities, AgentCard, AgentInterface, CancelTaskRequest, GetTaskRequest, Message, Role,
                       SendMessageRequest, StreamResponse, TaskState)
from starlette.applications import Starlette

import brakewire
from brakewire import context
from brakewire.a2a import extension, protect
from support.serve import serve
from support.stack import Stack, ask, until


class Agent(AgentExecutor):
    """Does what the message says."""

    def __init__(self) -> None:
        self.runs: list[Any] = []
        self.below: list[dict[str, str]] = []
        self.said: list[str] = []

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        run = brakewire.current_run()
        assert run is not None and context.message is not None
        self.runs.append(run)
        self.below.append(run.headers())
        if context.current_task is None:
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
        task = TaskUpdater(event_queue, context.task_id or "", context.context_id or "")
        await task.start_work()
        what = context.get_user_input()
        if what == "ask":
            await task.requires_input()
            return
        if what == "fail":
            raise ZeroDivisionError
        if what in ("wait", "cleanup", "talks on"):
            try:
                await asyncio.Event().wait()
            finally:
                self.said.append("stopped")
                if what != "wait":
                    await task.cancel() # as careful agents do
                if what == "talks on":
                    await TaskUpdater(event_queue, task.task_id, task.context_id).complete()
        await task.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        self.said.append("cancel")
        await TaskUpdater(event_queue, context.task_id or "", context.context_id or "").cancel()


@pytest.fixture(autouse=True)
def agentd(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAKEWIRE_AGENTD", stack.agentds[1])


@pytest.fixture
def agent() -> Agent:
    return Agent()


@pytest.fixture
def url(agent: Agent) -> Iterator[str]:
    capabilities = AgentCapabilities(streaming=True, extensions=[extension()])
    card = AgentCard(name="agent", description="does", version="1", capabilities=capabilities)
    app = Starlette()
    with serve(app) as url:
        card.supported_interfaces.append(AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0"))
        handler = DefaultRequestHandler(agent_executor=protect(agent, agent="tested"), task_store=InMemoryTaskStore(),
                                        agent_card=card)
        app.routes.extend([*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with httpx.AsyncClient(timeout=30) as http:
        yield await create_client(url, ClientConfig(httpx_client=http))


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[brakewire.Run]:
    run = await brakewire.start(client=brakewire.Client(stack.agentds[0]), entry=True, agent="caller")
    yield run
    await run.end("cancelled" if run.is_cancelled else "success")


def message(text: str, caller: brakewire.Run | None = None, task: str = "") -> Message:
    made = new_text_message(text, role=Role.ROLE_USER)
    made.task_id = task
    if caller is not None:
        context.to_a2a(caller.baggage, made)
    return made


class Sent:
    """A message on its way, and what has been heard of it."""

    def __init__(self, client: Client, message: Message) -> None:
        self.states: list[int] = []
        self.task = ""
        self.reading = asyncio.create_task(self.read(client.send_message(SendMessageRequest(message=message))))

    async def read(self, answers: AsyncIterator[StreamResponse]) -> None:
        async for answer in answers:
            if answer.HasField("task"):
                self.task = answer.task.id
                self.states.append(answer.task.status.state)
            elif answer.HasField("status_update"):
                self.task = answer.status_update.task_id
                self.states.append(answer.status_update.status.state)

    async def until(self, state: int) -> None:
        async with asyncio.timeout(20):
            while state not in self.states:
                await asyncio.sleep(0.01)

    async def over(self) -> None:
        await asyncio.wait_for(self.reading, 30)


def cancel(stack: Stack, run: str) -> None:
    assert ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough"}).status == 202


def state_of(stack: Stack, run: Any) -> str:
    return str(ask(stack.broker, "GET", f"/v1/runs/{run.run_id}").json["state"])


async def test_a_task_is_a_run_below_its_caller(stack: Stack, agent: Agent, client: Client,
                                                caller: brakewire.Run) -> None:
    sent = Sent(client, message("work", caller))
    await sent.over()
    assert sent.states[-1] == TaskState.TASK_STATE_COMPLETED
    run = agent.runs[0]
    assert run.path == (caller.run_id, run.run_id)
    assert agent.below == [{"baggage": f"brakewire=1.{caller.run_id}.{run.run_id}"}]
    await asyncio.to_thread(until, lambda: state_of(stack, run) == "success")
    node = ask(stack.broker, "GET", f"/v1/runs/{run.run_id}").json
    assert node["agent"] == "tested" and node["thread_id"]
    # Whoever knows the task's id alone finds it.
    found = ask(stack.broker, "GET", f"/tasks/{sent.task}", headers={"A2A-Version": "1.0"})
    assert found.json["status"]["state"] == "TASK_STATE_COMPLETED"


@pytest.mark.parametrize("what", ["wait", "cleanup", "talks on"])
async def test_a_cancel_from_above_stops_it_and_is_said_once(stack: Stack, agent: Agent, client: Client,
                                                             caller: brakewire.Run, what: str) -> None:
    sent = Sent(client, message(what, caller))
    await sent.until(TaskState.TASK_STATE_WORKING)
    cancel(stack, caller.run_id)
    await sent.over()
    assert sent.states.count(TaskState.TASK_STATE_CANCELED) == 1 and sent.states[-1] == TaskState.TASK_STATE_CANCELED
    assert agent.said == ["stopped"]
    await asyncio.to_thread(until, lambda: state_of(stack, agent.runs[0]) == "cancelled")
    task = await client.get_task(GetTaskRequest(id=sent.task))
    assert task.status.state == TaskState.TASK_STATE_CANCELED


async def test_a_cancel_of_the_task_stops_what_is_below_it(stack: Stack, agent: Agent, client: Client) -> None:
    sent = Sent(client, message("wait"))
    await sent.until(TaskState.TASK_STATE_WORKING)
    child = await brakewire.start(client=brakewire.Client(stack.agentds[0]), headers=agent.below[0])
    cancelling = asyncio.create_task(client.cancel_task(CancelTaskRequest(id=sent.task)))
    await asyncio.wait_for(child.cancelled.wait(), 20)
    assert child.cancel is not None and child.cancel.run_id == agent.runs[0].run_id
    await child.end("cancelled")
    assert (await cancelling).status.state == TaskState.TASK_STATE_CANCELED
    await sent.over()
    assert sent.states.count(TaskState.TASK_STATE_CANCELED) == 1 and agent.said == ["stopped"]
    assert state_of(stack, agent.runs[0]) == "cancelled"


async def test_canceled_is_a_word_about_all_that_is_below(stack: Stack, agent: Agent, client: Client) -> None:
    sent = Sent(client, message("wait"))
    await sent.until(TaskState.TASK_STATE_WORKING)
    child = await brakewire.start(client=brakewire.Client(stack.agentds[0]), headers=agent.below[0])
    cancel(stack, agent.runs[0].run_id)
    await asyncio.wait_for(child.cancelled.wait(), 20)
    await asyncio.to_thread(until, lambda: state_of(stack, agent.runs[0]) == "cancelled")
    assert TaskState.TASK_STATE_CANCELED not in sent.states # the child still works
    await child.end("cancelled")
    await sent.over()
    assert sent.states[-1] == TaskState.TASK_STATE_CANCELED
    task = await client.get_task(GetTaskRequest(id=sent.task))
    run = agent.runs[0].run_id
    assert dict(task.metadata[context.A2A_EXTENSION]) == {
        "run_id": run, "root": run, "state": "cancelled", "cancel": "stopped", "cancel_id": f"{run}.{run}", "pending": 0}


async def test_a_cancel_at_the_broker_by_the_id_of_the_task(stack: Stack, agent: Agent, client: Client) -> None:
    sent = Sent(client, message("wait"))
    await sent.until(TaskState.TASK_STATE_WORKING)
    answer = await asyncio.to_thread(ask, stack.broker, "POST", f"/tasks/{sent.task}:cancel",
                                     headers={"A2A-Version": "1.0"})
    assert answer.json["status"]["state"] == "TASK_STATE_CANCELED"
    await sent.over()
    assert sent.states[-1] == TaskState.TASK_STATE_CANCELED


async def test_each_turn_has_its_own_run_and_context(stack: Stack, agent: Agent, client: Client,
                                                     caller: brakewire.Run) -> None:
    first = Sent(client, message("ask"))
    await first.over()
    await asyncio.to_thread(until, lambda: state_of(stack, agent.runs[0]) == "paused")
    second = Sent(client, message("wait", caller, first.task))
    await second.until(TaskState.TASK_STATE_WORKING)
    assert agent.runs[0].root == agent.runs[0].run_id and agent.runs[1].root == caller.run_id
    cancel(stack, caller.run_id)
    await second.over()
    assert second.states[-1] == TaskState.TASK_STATE_CANCELED and second.task == first.task


async def test_the_header_counts_more_than_the_message(stack: Stack, agent: Agent, url: str,
                                                       caller: brakewire.Run) -> None:
    other = await brakewire.start(client=brakewire.Client(stack.agentds[0]), entry=True)
    async with httpx.AsyncClient(timeout=30, headers=caller.headers()) as http:
        client = await create_client(url, ClientConfig(httpx_client=http))
        await Sent(client, message("work", other)).over()
    assert agent.runs[0].root == caller.run_id
    await other.end()


async def test_below_a_cancelled_run_nothing_is_executed(stack: Stack, agent: Agent, client: Client,
                                                         caller: brakewire.Run) -> None:
    cancel(stack, caller.run_id)
    await asyncio.wait_for(caller.cancelled.wait(), 20)
    sent = Sent(client, message("work", caller))
    await sent.over()
    assert sent.states == [TaskState.TASK_STATE_CANCELED] and agent.runs == []


async def test_an_agent_that_fails_is_an_error(stack: Stack, agent: Agent, client: Client) -> None:
    sent = Sent(client, message("fail"))
    with pytest.raises(Exception): # the SDK's own, whatever its version makes of it
        await sent.over()
    await asyncio.to_thread(until, lambda: state_of(stack, agent.runs[0]) == "error")
