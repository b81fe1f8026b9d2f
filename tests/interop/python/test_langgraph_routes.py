"""LangGraph's routes of the broker, asked by the real client of LangGraph for Python."""

import asyncio
import uuid
from typing import Any, Callable, Coroutine, Iterator

import httpx
import pytest
from langgraph_sdk import get_client, get_sync_client
from langgraph_sdk.client import LangGraphClient, SyncLangGraphClient

from support.stack import Stack, ask, until


class Run:
    """A run as LangGraph names it, registered at an agentd of the stack."""

    def __init__(self, stack: Stack, thread: str | None = None, agentd: int = 0, **body: Any) -> None:
        self.agentd = stack.agentds[agentd]
        self.thread = thread or str(uuid.uuid4())
        self.id = str(uuid.uuid4())
        start = ask(self.agentd, "POST", "/v1/runs", {"run_id": self.id, "thread_id": self.thread, **body})
        assert start.status == 201, start.text
        self.token, self.epoch = start.json["token"], start.json["epoch"]

    def state(self) -> str:
        return str(ask(self.agentd, "GET", f"/v1/runs/{self.id}", token=self.token).json["state"])

    def stopping(self) -> None:
        until(lambda: self.state() == "stopping")

    def end(self, state: str) -> None:
        end = ask(self.agentd, "POST", f"/v1/runs/{self.id}/end", {"epoch": self.epoch, "state": state}, self.token)
        assert end.status == 200, end.text

    def obey(self) -> None:
        self.stopping()
        self.end("cancelled")


@pytest.fixture
def client(stack: Stack) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=stack.broker) as sync:
        yield sync


def status(client: SyncLangGraphClient, run: Run) -> str:
    return str(client.runs.get(run.thread, run.id)["status"])


def refused(status: int, call: Callable[[], object]) -> None:
    with pytest.raises(httpx.HTTPStatusError) as error:
        call()
    assert error.value.response.status_code == status
    assert error.value.response.json()["detail"]


def aio(stack: Stack, story: Callable[[LangGraphClient], Coroutine[Any, Any, None]]) -> None:
    async def told() -> None:
        async with get_client(url=stack.broker) as client:
            await story(client)

    asyncio.run(told())


def test_a_cancel_is_told_and_the_run_is_interrupted_when_it_has_stopped(
        stack: Stack, client: SyncLangGraphClient) -> None:
    run = Run(stack)
    assert client.runs.cancel(run.thread, run.id) is None
    run.stopping()
    assert status(client, run) == "running"
    run.obey()
    assert status(client, run) == "interrupted"
    assert client.runs.cancel(run.thread, run.id, wait=True) is None


def test_with_wait_it_returns_when_all_has_stopped(stack: Stack) -> None:
    async def story(client: LangGraphClient) -> None:
        run = Run(stack)
        cancel = asyncio.create_task(client.runs.cancel(run.thread, run.id, wait=True))
        await asyncio.to_thread(run.stopping)
        assert not cancel.done()
        await asyncio.to_thread(run.end, "cancelled")
        assert await cancel is None

    aio(stack, story)


def test_a_rolled_back_run_is_gone(stack: Stack, client: SyncLangGraphClient) -> None:
    run = Run(stack)
    client.runs.cancel(run.thread, run.id, action="rollback")
    run.stopping()
    run.end("rolled_back")
    refused(404, lambda: client.runs.get(run.thread, run.id))


def test_what_is_over_or_of_another_thread_is_refused(stack: Stack, client: SyncLangGraphClient) -> None:
    run, other = Run(stack), Run(stack)
    run.end("success")
    refused(404, lambda: client.runs.cancel(run.thread, run.id))
    refused(404, lambda: client.runs.cancel(run.thread, other.id))
    refused(404, lambda: client.runs.cancel(other.thread, str(uuid.uuid4()), wait=True))
    assert status(client, other) == "running"
    other.end("success")


def test_many_are_cancelled_in_every_form(stack: Stack, client: SyncLangGraphClient) -> None:
    one, other = Run(stack), Run(stack, agentd=1)
    two = Run(stack, one.thread, agentd=1)
    assert client.runs.cancel_many(thread_id=one.thread, run_ids=[one.id]) is None
    one.obey()
    client.runs.cancel_many(thread_id=one.thread, status="running")
    two.obey()
    assert status(client, other) == "running"
    refused(404, lambda: client.runs.cancel_many(thread_id=one.thread, run_ids=[one.id, str(uuid.uuid4())]))
    refused(422, lambda: client.runs.cancel_many())
    refused(422, lambda: client.runs.cancel_many(thread_id=one.thread, run_ids=[one.id], status="all"))
    client.runs.cancel_many(status="all", action="rollback")
    other.obey()


def test_runs_of_a_thread_are_listed_and_deleted(stack: Stack, client: SyncLangGraphClient) -> None:
    one = Run(stack)
    two = Run(stack, one.thread, agentd=1)
    one.end("error")

    def ids(**options: Any) -> list[str]:
        return [str(run["run_id"]) for run in client.runs.list(one.thread, **options)]

    assert ids() == [two.id, one.id]
    assert ids(limit=1, offset=1) == [one.id]
    assert ids(status="error") == [one.id]
    assert client.runs.delete(one.thread, two.id) is None
    two.obey()
    refused(404, lambda: client.runs.delete(one.thread, two.id))
    assert ids() == [one.id]


def test_a_join_and_a_stream_last_as_long_as_the_run(stack: Stack) -> None:
    async def story(client: LangGraphClient) -> None:
        run = Run(stack)
        events = []
        begun = asyncio.Event()

        async def stream() -> None:
            async for part in client.runs.join_stream(run.thread, run.id, cancel_on_disconnect=True):
                events.append(part.event)
                begun.set()

        streamed = asyncio.create_task(stream())
        joined = asyncio.create_task(client.runs.join(run.thread, run.id))
        await begun.wait()
        assert not joined.done()
        await asyncio.to_thread(run.end, "success")
        await streamed
        assert events == ["metadata", "end"]
        answer: Any = await joined
        assert answer["status"] == "success"

    aio(stack, story)


@pytest.mark.parametrize("cancels", [True, False])
def test_a_client_that_goes_away_cancels_if_it_said_so(stack: Stack, cancels: bool) -> None:
    run = Run(stack)

    async def story(client: LangGraphClient) -> None:
        async for _ in client.runs.join_stream(run.thread, run.id, cancel_on_disconnect=cancels):
            break

    aio(stack, story)
    if cancels:
        run.obey()
    else:
        later = Run(stack)  # served after the other has gone
        later.end("success")
        assert run.state() == "running"
        run.end("success")


def test_cancels_at_the_same_time_all_succeed(stack: Stack) -> None:
    async def story(client: LangGraphClient) -> None:
        run = Run(stack)
        await asyncio.gather(*(client.runs.cancel(run.thread, run.id) for _ in range(10)))
        entries = ask(stack.broker, "GET", f"/v1/audit?run={run.id}").json["entries"]
        assert [entry["outcome"] for entry in entries].count("accepted") == 1
        await asyncio.to_thread(run.obey)

    aio(stack, story)


def test_a_cancel_that_races_the_end_wins_or_loses(stack: Stack) -> None:
    async def story(client: LangGraphClient) -> None:
        for _ in range(20):
            run = Run(stack)
            end = asyncio.create_task(asyncio.to_thread(run.end, "success"))
            try:
                await client.runs.cancel(run.thread, run.id)
                wins = True
            except httpx.HTTPStatusError as error:
                assert error.response.status_code == 404
                wins = False
            await end
            seen = await client.runs.get(run.thread, run.id)
            assert seen["status"] == ("interrupted" if wins else "success")

    aio(stack, story)
