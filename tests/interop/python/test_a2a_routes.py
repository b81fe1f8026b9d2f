"""The A2A face of the broker, asked by the Python SDK: 1.0 and 0.3, JSON-RPC and REST."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from a2a.client import A2ACardResolver, Client, ClientConfig, ClientFactory
from a2a.types import (CancelTaskRequest, GetTaskRequest, StreamResponse, SubscribeToTaskRequest,
                       Task, TaskState)
from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError
from google.protobuf.json_format import MessageToDict

from support.stack import Stack, ask

URI = "https://brakewire.dev/a2a/ext/run-context/v1"
FACES = [(version, binding) for version in ("1.0", "0.3") for binding in ("JSONRPC", "HTTP+JSON")]


class Run:
    """As an agent's client would carry it, straight over the API of an agentd."""

    def __init__(self, agentd: str, **members: Any) -> None:
        start = ask(agentd, "POST", "/v1/runs", {"agent": "tested", **members})
        assert start.status == 201, start.text
        self.agentd = agentd
        self.id: str = start.json["run_id"]
        self.token: str = start.json["token"]
        self.epoch: int = start.json["epoch"]

    def call(self, what: str, **members: Any) -> None:
        answer = ask(self.agentd, "POST", f"/v1/runs/{self.id}/{what}",
                     {"epoch": self.epoch, **members}, self.token)
        assert answer.status == 200, answer.text

    def end(self, state: str) -> None:
        self.call("end", state=state)

    async def obey(self) -> None:
        """What a good agent does: stop when told."""
        async with asyncio.timeout(20):
            while self.seen()["state"] != "stopping":
                await asyncio.sleep(0.01)
        self.call("ack", phase="acknowledged")
        self.end("cancelled")

    def seen(self) -> Any:
        return ask(self.agentd, "GET", f"/v1/runs/{self.id}", token=self.token).json


@pytest_asyncio.fixture(params=FACES, ids=lambda face: " ".join(face))
async def face(request: pytest.FixtureRequest, stack: Stack) -> AsyncIterator[tuple[str, Client]]:
    """Only one interface, so that the client has no choice."""
    version, binding = request.param
    async with httpx.AsyncClient(timeout=30) as http:
        card = await A2ACardResolver(http, stack.broker).get_agent_card()
        kept = [one for one in card.supported_interfaces
                if (one.protocol_version, one.protocol_binding) == (version, binding)]
        del card.supported_interfaces[:]
        card.supported_interfaces.extend(kept)
        config = ClientConfig(httpx_client=http, supported_protocol_bindings=[binding])
        yield version, ClientFactory(config).create(card)


def ours(task: Any) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(task.metadata)[URI]
    return found


async def get(client: Client, task: str) -> Task:
    return await client.get_task(GetTaskRequest(id=task))


async def cancel(client: Client, task: str) -> Task:
    return await client.cancel_task(CancelTaskRequest(id=task))


async def stops(client: Client, task: str) -> Task:
    """Of a run that stops when told: the answer, or, on a machine that is slower than a2a_wait, what
    becomes of it."""
    answer = await cancel(client, task)
    await becomes(lambda: get(client, task), TaskState.TASK_STATE_CANCELED)
    if answer.status.state != TaskState.TASK_STATE_CANCELED:
        answer = await get(client, task)
    return answer


async def becomes(look: Callable[[], Any], state: int) -> None:
    async with asyncio.timeout(20):
        while (await look()).status.state != state:
            await asyncio.sleep(0.01)


async def test_a_task_is_working_then_canceled(stack: Stack, face: tuple[str, Client]) -> None:
    _, client = face
    run = Run(stack.agentds[0], thread_id="talk-7")
    child = Run(stack.agentds[1], root=run.id, parent=run.id)
    seen = await get(client, run.id)
    assert (seen.id, seen.context_id) == (run.id, "talk-7")
    assert seen.status.state == TaskState.TASK_STATE_WORKING
    task, _, _ = await asyncio.gather(stops(client, run.id), run.obey(), child.obey())
    assert task.status.state == TaskState.TASK_STATE_CANCELED
    assert ours(task)["cancel"] == "stopped"
    assert (await get(client, run.id)).status.state == TaskState.TASK_STATE_CANCELED


async def test_a_second_cancel(stack: Stack, face: tuple[str, Client]) -> None:
    version, client = face
    run = Run(stack.agentds[1])
    await asyncio.gather(stops(client, run.id), run.obey())
    if version == "1.0":
        again = await cancel(client, run.id)
        assert again.status.state == TaskState.TASK_STATE_CANCELED
    else:
        with pytest.raises(TaskNotCancelableError):
            await cancel(client, run.id)


async def test_two_cancels_at_once(stack: Stack, face: tuple[str, Client]) -> None:
    version, client = face
    run = Run(stack.agentds[0])
    *answers, _ = await asyncio.gather(stops(client, run.id), stops(client, run.id), run.obey(),
                                       return_exceptions=True)
    # Of 0.3 the one that comes when the task is canceled already is a second cancel.
    tasks = [answer for answer in answers if isinstance(answer, Task)]
    assert len(tasks) == 2 or version == "0.3"
    assert {task.status.state for task in tasks} == {TaskState.TASK_STATE_CANCELED}
    assert all(isinstance(answer, (Task, TaskNotCancelableError)) for answer in answers)


async def test_who_does_not_stop_in_time_is_working(stack: Stack,
                                                    face: tuple[str, Client]) -> None:
    _, client = face
    run = Run(stack.agentds[1])
    child = Run(stack.agentds[0], root=run.id, parent=run.id)
    task, _ = await asyncio.gather(cancel(client, run.id), run.obey())
    assert task.status.state == TaskState.TASK_STATE_WORKING
    assert ours(task)["cancel"] == "requested"
    assert ours(task)["pending"] >= 1
    left = ours(await get(client, run.id))
    assert (left["acked"], left["pending"]) == (1, 1)
    child.end("success")
    await becomes(lambda: get(client, run.id), TaskState.TASK_STATE_CANCELED)


async def test_what_is_over_or_unknown(stack: Stack, face: tuple[str, Client]) -> None:
    _, client = face
    run = Run(stack.agentds[0])
    run.end("success")
    assert (await get(client, run.id)).status.state == TaskState.TASK_STATE_COMPLETED
    with pytest.raises(TaskNotCancelableError):
        await cancel(client, run.id)
    with pytest.raises(TaskNotFoundError):
        await cancel(client, "nobody-has-seen-this")


async def test_a_task_by_the_id_that_its_agent_gave_it(stack: Stack,
                                                       face: tuple[str, Client]) -> None:
    _, client = face
    task = str(uuid.uuid4())
    run = Run(stack.agentds[1], aliases={"a2a": task})
    canceled, _ = await asyncio.gather(stops(client, task), run.obey())
    assert canceled.id == task
    assert ours(canceled)["run_id"] == run.id


def state_of(event: StreamResponse) -> tuple[str, int]:
    kind = event.WhichOneof("payload")
    assert kind in ("task", "status_update")
    return kind, getattr(event, kind).status.state


async def test_a_subscription_ends_with_its_task(stack: Stack, face: tuple[str, Client]) -> None:
    _, client = face
    run = Run(stack.agentds[0])
    events: list[tuple[str, int]] = []
    is_open = asyncio.Event()

    async def listen() -> None:
        async for event in client.subscribe(SubscribeToTaskRequest(id=run.id)):
            events.append(state_of(event))
            is_open.set()

    listening = asyncio.create_task(listen())
    await asyncio.wait_for(is_open.wait(), 20)
    await asyncio.gather(cancel(client, run.id), run.obey())
    await asyncio.wait_for(listening, 20)
    assert events[0] == ("task", TaskState.TASK_STATE_WORKING)
    assert events[-1] == ("status_update", TaskState.TASK_STATE_CANCELED)


async def test_who_stops_listening_cancels_nothing(stack: Stack, face: tuple[str, Client]) -> None:
    _, client = face
    run = Run(stack.agentds[0])
    async for _ in client.subscribe(SubscribeToTaskRequest(id=run.id)):
        break
    run.end("success")  # would be recorded as cancelled, had anybody cancelled it
    assert (await get(client, run.id)).status.state == TaskState.TASK_STATE_COMPLETED
