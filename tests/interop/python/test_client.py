"""The Python client against real daemons: the life of a run, as an asyncio program sees it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import brakewire
from support.stack import Stack, ask, until


@pytest.fixture
def here(stack: Stack) -> Iterator[brakewire.Client]:
    yield brakewire.Client(stack.agentds[0])


@pytest.fixture
def there(stack: Stack) -> Iterator[brakewire.Client]:
    yield brakewire.Client(stack.agentds[1])


def cancel(stack: Stack, run: str, **members: Any) -> Any:
    answer = ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough", "by": "user:alice", **members})
    assert answer.status in (200, 202), answer.text
    return answer.json


def seen(stack: Stack, run: str) -> Any:
    return ask(stack.broker, "GET", f"/v1/runs/{run}").json


async def forever() -> None:
    await asyncio.Event().wait()


async def soon(what: Any, seconds: float = 20) -> Any:
    return await asyncio.wait_for(what, seconds)


async def test_a_run_is_registered_and_ended_with_its_block(stack: Stack, here: brakewire.Client) -> None:
    async with brakewire.run(client=here, entry=True, agent="researcher", thread_id="t-1", labels={"team": "red"}) as run:
        assert run.is_protected and run.is_known and run.epoch == 1 and run.root == run.run_id
        assert run.headers() == {"baggage": f"brakewire=1.{run.run_id}"}
        assert brakewire.current_run() is run
        node = seen(stack, run.run_id)
        assert node["state"] == "running" and node["agent"] == "researcher" and node["labels"] == {"team": "red"}
    assert brakewire.current_run() is None
    assert seen(stack, run.run_id)["state"] == "success"
    assert await run.end() == "success" # said once
    assert here.run_ids == []


async def test_an_error_ends_the_run_as_one_and_takes_along_its_children(stack: Stack, here: brakewire.Client,
                                                                         there: brakewire.Client) -> None:
    child = None
    with pytest.raises(ZeroDivisionError):
        async with brakewire.run(client=here, entry=True) as run:
            child = await brakewire.start(client=there, headers=run.headers())
            raise ZeroDivisionError
    assert child is not None
    assert seen(stack, run.run_id)["state"] == "error"
    await soon(child.cancelled.wait())
    assert child.cancel is not None and child.cancel.reason == "parent_ended"
    assert await child.end("success") == "cancelled" # what was cancelled is not a success


async def test_a_cancel_of_the_root_stops_the_child_on_another_replica(stack: Stack, here: brakewire.Client,
                                                                       there: brakewire.Client) -> None:
    running = asyncio.Event()

    async def child(headers: dict[str, str]) -> None:
        async with brakewire.run(client=there, agent="child", headers=headers) as run:
            assert run.root == root.run_id and run.path == (root.run_id, run.run_id)
            running.set()
            await forever()

    root = await brakewire.start(client=here, entry=True, agent="root")
    task = asyncio.create_task(child({"Baggage": root.baggage, "x-other": "1"}))
    await soon(running.wait())
    cancel(stack, root.run_id, grace_ms=9000)
    with pytest.raises(brakewire.Cancelled) as caught:
        await soon(task)
    why = caught.value.cancel
    assert (why.reason, why.by, why.run_id, why.action) == ("enough", "user:alice", root.run_id, "interrupt")
    assert why.cancel_id == f"{root.run_id}.{root.run_id}" and why.grace_ms is not None and why.grace_ms <= 9000
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    await soon(root.cancelled.wait())
    with pytest.raises(brakewire.Cancelled):
        root.raise_if_cancelled()
    assert await root.end("cancelled") == "cancelled"
    tree = ask(stack.broker, "GET", f"/v1/roots/{root.run_id}/tree").json
    assert {node["state"] for node in tree["runs"]} == {"cancelled"} and len(tree["runs"]) == 2


async def test_who_starts_below_a_cancelled_run_is_refused(stack: Stack, here: brakewire.Client,
                                                           there: brakewire.Client) -> None:
    async with brakewire.run(client=here, entry=True, cancel_task=False) as run:
        cancel(stack, run.run_id)
        await soon(run.cancelled.wait())
        with pytest.raises(brakewire.Cancelled) as refused:
            await brakewire.start(client=there, headers=run.headers())
        assert refused.value.status == 409 and refused.value.cancel.reason == "enough"
        assert await run.end("cancelled") == "cancelled"


async def test_a_cancel_of_the_task_from_elsewhere_stays_what_it_is(stack: Stack, here: brakewire.Client) -> None:
    running = asyncio.Event()
    ids: list[str] = []

    async def work() -> None:
        async with brakewire.run(client=here, entry=True) as run:
            ids.append(run.run_id)
            running.set()
            await forever()

    task = asyncio.create_task(work())
    await soon(running.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert task.cancelled()
    await asyncio.to_thread(until, lambda: seen(stack, ids[0])["state"] == "error")


async def test_the_task_goes_on_after_a_cancel_that_it_has_dealt_with(stack: Stack, here: brakewire.Client) -> None:
    try:
        async with brakewire.run(client=here, entry=True) as run:
            cancel(stack, run.run_id)
            await forever()
    except brakewire.Cancelled:
        pass
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0
    async with asyncio.timeout(10): # counts the cancels of the task, as TaskGroup does
        await asyncio.to_thread(time.monotonic)


async def test_both_at_once_is_a_cancel_from_elsewhere(stack: Stack, here: brakewire.Client) -> None:
    caught: list[BaseException] = []

    async def work() -> None:
        try:
            async with brakewire.run(client=here, entry=True) as run:
                cancel(stack, run.run_id)
                try:
                    await forever()
                finally:
                    asyncio.current_task().cancel() # type: ignore[union-attr]
        except BaseException as error:
            caught.append(error)
            raise

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert isinstance(caught[0], asyncio.CancelledError)


async def test_how_far_a_stop_has_come(stack: Stack, here: brakewire.Client) -> None:
    run = await brakewire.start(client=here, entry=True)
    cancel(stack, run.run_id)
    assert await soon(run.cancelled.wait())
    await asyncio.to_thread(until, lambda: "acknowledged" in seen(stack, run.run_id)["flags"]) # by being heard
    await run.ack("cleaned_up")
    await run.ack("checkpointed")
    wanted = {"delivered", "acknowledged", "cleaned_up", "checkpointed"}
    await asyncio.to_thread(until, lambda: wanted <= set(seen(stack, run.run_id)["flags"]))
    assert await run.end("rolled_back") == "rolled_back"


async def test_nobody_cancelled_it(stack: Stack, here: brakewire.Client) -> None:
    run = await brakewire.start(client=here, entry=True)
    with pytest.raises(brakewire.Refused) as refused:
        await run.end("cancelled")
    assert refused.value.code == "not_cancelled"
    assert await run.end("paused") == "paused"


async def test_one_last_checkpoint_after_a_cancel(stack: Stack, here: brakewire.Client) -> None:
    run = await brakewire.start(client=here, entry=True)
    assert await run.fence("step-1", b"one") == (False, False)
    cancel(stack, run.run_id)
    await soon(run.cancelled.wait())
    assert (await run.fence("step-2", b"two")).last
    assert (await run.fence("step-2", b"two")).last # its answer may have been lost
    with pytest.raises(brakewire.Frozen):
        await run.fence("step-3")
    kept = ask(stack.broker, "GET", f"/v1/runs/{run.run_id}/checkpoint")
    assert kept.text == "two"
    await run.end("cancelled")


async def test_the_same_key_is_the_same_run(stack: Stack, here: brakewire.Client) -> None:
    key = uuid.uuid4().hex
    one, two = await asyncio.gather(*(brakewire.start(client=here, entry=True, idempotency_key=key) for _ in range(2)))
    assert one.run_id == two.run_id and here.run_ids == [one.run_id]
    await one.end()
    assert await two.end() == "success"


async def test_an_adopted_run_fences_its_first_life(stack: Stack, here: brakewire.Client, there: brakewire.Client) -> None:
    token = uuid.uuid4().hex
    first = brakewire.Client(stack.agentds[0], token=token)
    second = brakewire.Client(stack.agentds[1], token=token)
    name = f"job-{uuid.uuid4().hex}"
    old = await brakewire.start(client=first, entry=True, run_id=name)
    with pytest.raises(brakewire.Conflict) as conflict:
        await brakewire.start(client=second, entry=True, run_id=name)
    assert conflict.value.epoch == 1
    new = await brakewire.start(client=second, run_id=name, epoch=conflict.value.epoch, takeover=True)
    assert (new.run_id, new.epoch) == (name, 2)
    with pytest.raises(brakewire.Fenced):
        await old.fence("late")
    await soon(old.cancelled.wait())
    assert old.cancel is not None and old.cancel.reason == "fenced"
    assert not (await new.fence("step-1")).last
    assert await new.end() == "success"


async def test_entry_ignores_the_context(stack: Stack, here: brakewire.Client) -> None:
    async with brakewire.run(client=here, entry=True) as outer:
        async with brakewire.run(client=here, entry=True, headers={"baggage": f"{outer.baggage},userId=alice"}) as run:
            assert run.root == run.run_id
            assert run.headers() == {"baggage": f"brakewire=1.{run.run_id},userId=alice"}
        async with brakewire.run(client=here) as child: # below the current run
            assert child.path == (outer.run_id, child.run_id)


async def test_a_context_that_is_broken_begins_a_tree_of_its_own(here: brakewire.Client) -> None:
    async with brakewire.run(client=here, headers=[(b"baggage", b"brakewire=nonsense,a=b")]) as run:
        assert run.root == run.run_id and run.is_protected


async def test_a_deadline_travels_and_ends_the_run_as_a_timeout(stack: Stack, here: brakewire.Client,
                                                                there: brakewire.Client) -> None:
    run = await brakewire.start(client=here, entry=True, deadline_ms=1500)
    member, ttl = run.baggage.split(",")
    assert member == f"brakewire=1.{run.run_id}" and 0 < int(ttl.removeprefix("brakewire-ttl=")) <= 1500
    child = await brakewire.start(client=there, headers=run.headers(), deadline_ms=60_000)
    assert child.deadline_ms is not None and child.deadline_ms <= 1500
    await soon(asyncio.gather(run.cancelled.wait(), child.cancelled.wait()))
    assert run.cancel is not None and run.cancel.reason == "deadline"
    assert await run.end("cancelled") == "timeout"
    assert child.cancel is not None
    await child.end("cancelled")


async def test_a_supervisor_stops_its_children_and_goes_on(stack: Stack, here: brakewire.Client,
                                                           there: brakewire.Client) -> None:
    async with brakewire.run(client=here, entry=True) as run:
        children = [await brakewire.start(client=there, headers=run.headers()) for _ in range(3)]
        answer = await run.cancel_children("no longer needed", wait="delivered")
        assert len(answer["cancels"]) == 3
        await soon(asyncio.gather(*(child.cancelled.wait() for child in children)))
        assert all(child.cancel is not None and child.cancel.reason == "no longer needed" for child in children)
        for child in children:
            await child.end("cancelled")
        assert not run.is_cancelled
        stopped = asyncio.create_task(run.cancel_tree("done", wait="none"))
        with contextlib.suppress(asyncio.CancelledError):
            await soon(forever())
        await stopped
        raise_if = pytest.raises(brakewire.Cancelled)
        with raise_if:
            run.raise_if_cancelled()


async def test_a_linked_tree_is_cancelled_too(stack: Stack, here: brakewire.Client, there: brakewire.Client) -> None:
    name = f"other-{uuid.uuid4().hex}"
    run = await brakewire.start(client=here, entry=True)
    await run.link(name)
    other = await brakewire.start(client=there, entry=True, run_id=name, linked_from=f"{run.root}/{run.run_id}")
    cancel(stack, run.run_id)
    await soon(other.cancelled.wait())
    assert other.cancel is not None and other.cancel.cause == f"{run.root}.{run.run_id}"
    with pytest.raises(brakewire.Cancelled):
        await run.link(f"late-{uuid.uuid4().hex}")
    await run.end("cancelled")
    await other.end("cancelled")


async def test_many_runs_of_one_client(stack: Stack, here: brakewire.Client) -> None:
    async with brakewire.run(client=here, entry=True, cancel_task=False) as root:
        began = asyncio.Semaphore(0)

        async def child(number: int) -> str:
            try:
                async with brakewire.run(client=here, headers=root.headers(), agent=f"child-{number}"):
                    began.release()
                    await forever()
            except brakewire.Cancelled as why:
                return why.cancel.reason
            return "went on"

        tasks = [asyncio.create_task(child(number)) for number in range(300)]
        for _ in tasks:
            await soon(began.acquire(), 60)
        answer = await asyncio.to_thread(cancel, stack, root.run_id)
        assert answer["known"]
        assert set(await soon(asyncio.gather(*tasks), 60)) == {"enough"}
        await root.end("cancelled")
    tree = ask(stack.broker, "GET", f"/v1/roots/{root.run_id}/tree?limit=1000").json
    assert len(tree["runs"]) == 301 and {node["state"] for node in tree["runs"]} == {"cancelled"}
    assert tree["live"] == 0


async def test_a_start_that_nobody_waits_for_is_ended(stack: Stack, here: brakewire.Client) -> None:
    name = f"left-{uuid.uuid4().hex}"
    task = asyncio.create_task(brakewire.start(client=here, entry=True, run_id=name))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    def state() -> object:
        answer = ask(stack.broker, "GET", f"/v1/runs/{name}")
        return answer.status == 200 and answer.json["state"] == "error"

    await asyncio.to_thread(until, state)


async def test_what_a_start_may_not_say(here: brakewire.Client) -> None:
    with pytest.raises(brakewire.Malformed):
        await brakewire.start(client=here, run_id="not an id")
    with pytest.raises(TypeError, match="colour"):
        await brakewire.start(client=here, colour="red") # type: ignore[call-arg]
    with pytest.raises(brakewire.Refused) as refused:
        await brakewire.start(client=here, entry=True, on_end="explode")
    assert refused.value.status == 422 and "on_end" in refused.value.detail
