"""LangGraph with Brakewire: real graphs, real SQLite checkpointers, real daemons."""

from __future__ import annotations

import asyncio
import itertools
import operator
import pathlib
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

import brakewire
from brakewire.langgraph import fenced, protect
from support.stack import Stack, ask, until


class State(TypedDict):
    done: Annotated[list[str], operator.add]


Node = Callable[[State], Any]


@pytest.fixture(autouse=True)
def agentd(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRAKEWIRE_AGENTD", stack.agentds[0])


def graph_of(nodes: dict[str, Node], checkpointer: Any = None, name: str = "agent", **more: Any) -> Any:
    """One node after the other."""
    builder: Any = StateGraph(State)
    before = START
    for title, node in nodes.items():
        builder.add_node(title, node, **more)
        builder.add_edge(before, title)
        before = title
    builder.add_edge(before, END)
    return builder.compile(checkpointer=checkpointer, name=name)


def cancel(stack: Stack, run: str, **members: Any) -> None:
    answer = ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough", **members})
    assert answer.status in (200, 202), answer.text


def state_of(stack: Stack, run: str) -> str:
    return str(ask(stack.broker, "GET", f"/v1/runs/{run}").json["state"])


def run_of_agent(stack: Stack, thread: str) -> Any:
    found = ask(stack.broker, "GET", f"/v1/runs?thread={thread}").json["runs"]
    return found and found[0]


def here() -> Any:
    """The current run, in a node."""
    run = brakewire.current_run()
    assert run is not None
    return run


def config_of(thread: str | None = None) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread or f"t-{uuid.uuid4().hex}"}}


async def soon(what: Any, seconds: float = 30) -> Any:
    return await asyncio.wait_for(what, seconds)


async def test_an_invocation_is_a_run(stack: Stack) -> None:
    seen: list[Any] = []

    async def look(state: State) -> State:
        seen.append(await asyncio.to_thread(ask, stack.broker, "GET", f"/v1/runs/{here().run_id}"))
        return {"done": ["look"]}

    graph = protect(graph_of({"look": look}, name="looker"), labels={"team": "red"})
    config = config_of()
    assert await graph.ainvoke({"done": []}, config) == {"done": ["look"]}
    node = seen[0].json
    assert (node["agent"], node["state"], node["labels"]) == ("looker", "running", {"team": "red"})
    assert node["thread_id"] == config["configurable"]["thread_id"]
    assert state_of(stack, node["run_id"]) == "success" and brakewire.current_run() is None
    async with brakewire.run(entry=True) as outer: # below the current run; streams too, and those of events
        assert [chunk async for chunk in graph.astream({"done": []}, stream_mode="values")][-1] == {"done": ["look"]}
        assert [event async for event in graph.astream_events({"done": []}, version="v2")]
        assert [answer.json["root"] for answer in seen[1:]] == [outer.run_id] * 2


async def test_a_cancel_reaches_the_node_that_waits(stack: Stack) -> None:
    waiting = asyncio.Event()
    ended: list[str] = []

    async def wait(state: State) -> State:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(here().run_id)
            raise
        return {"done": ["wait"]}

    graph = protect(graph_of({"wait": wait}, retry_policy=RetryPolicy(max_attempts=5)))
    config = config_of()
    task = asyncio.create_task(graph.ainvoke({"done": []}, config))
    await soon(waiting.wait())
    run = run_of_agent(stack, config["configurable"]["thread_id"])["run_id"]
    cancel(stack, run)
    with pytest.raises(brakewire.Cancelled, match="enough"):
        await soon(task)
    assert ended == [run] and state_of(stack, run) == "cancelled"


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
async def test_a_node_that_does_not_wait_is_stopped_at_the_next_step(stack: Stack, way: str) -> None:
    working, may_go_on = threading.Event(), threading.Event()
    reached: list[str] = []

    def work(state: State) -> State:
        working.set()
        assert may_go_on.wait(20)
        reached.append("work")
        return {"done": ["work"]}

    def late(state: State) -> State:
        reached.append("late")
        return {"done": ["late"]}

    graph = protect(graph_of({"work": work, "late": late}, retry_policy=RetryPolicy(max_attempts=5)))
    config = config_of()
    started = (asyncio.create_task(graph.ainvoke({"done": []}, config)) if way == "ainvoke"
               else asyncio.create_task(asyncio.to_thread(graph.invoke, {"done": []}, config)))
    assert await asyncio.to_thread(working.wait, 20)
    run = run_of_agent(stack, config["configurable"]["thread_id"])["run_id"]
    cancel(stack, run)
    await asyncio.to_thread(until, lambda: "delivered" in ask(stack.broker, "GET", f"/v1/runs/{run}").json["flags"])
    may_go_on.set()
    with pytest.raises(brakewire.Cancelled):
        await soon(started)
    await asyncio.to_thread(until, lambda: reached)
    assert reached == ["work"]
    await asyncio.to_thread(until, lambda: state_of(stack, run) == "cancelled")


@pytest.mark.parametrize("looks", ["by itself", "by what it calls"])
async def test_long_work_in_a_node_is_stopped_inside_of_it(stack: Stack, looks: str) -> None:
    looping = threading.Event()
    ended: list[BaseException] = []
    tool = RunnableLambda(lambda number: number)

    def loop(state: State) -> State:
        looping.set()
        try:
            for number in itertools.count():
                if looks == "by itself":
                    brakewire.raise_if_cancelled()
                else:
                    tool.invoke(number) # as any model, tool or chain of LangChain
        except brakewire.Cancelled as why:
            ended.append(why)
            raise
        return {"done": []}

    never_in_time = RetryPolicy(max_attempts=5, initial_interval=100)
    graph = protect(graph_of({"loop": loop}, retry_policy=never_in_time))
    config = config_of()
    task = asyncio.create_task(asyncio.to_thread(graph.invoke, {"done": []}, config))
    assert await asyncio.to_thread(looping.wait, 20)
    cancel(stack, run_of_agent(stack, config["configurable"]["thread_id"])["run_id"])
    with pytest.raises(brakewire.Cancelled):
        await soon(task)
    assert len(ended) == 1


async def test_who_stops_reading_stops_the_graph(stack: Stack) -> None:
    def tick(state: State) -> State:
        return {"done": ["tick"]}

    stopped = asyncio.Event()

    async def wait(state: State) -> State:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {"done": ["wait"]}

    graph = protect(graph_of({"tick": tick, "wait": wait}))
    config = config_of()
    chunks = graph.astream({"done": []}, config, stream_mode="updates")
    assert await anext(chunks) == {"tick": {"done": ["tick"]}}
    assert brakewire.current_run() is None # between two chunks the caller is not inside
    run = run_of_agent(stack, config["configurable"]["thread_id"])["run_id"]
    await chunks.aclose()
    await soon(stopped.wait())
    assert state_of(stack, run) == "error"


async def test_a_graph_below_a_graph_is_a_run_below_a_run(stack: Stack) -> None:
    waiting = asyncio.Event()
    paths: list[tuple[str, ...]] = []

    async def wait(state: State) -> State:
        paths.append(here().path)
        waiting.set()
        await asyncio.Event().wait()
        return {"done": []}

    inner = protect(graph_of({"wait": wait}, name="inner"))
    outer = protect(graph_of({"inner": inner}, name="outer"))
    config = config_of()
    task = asyncio.create_task(outer.ainvoke({"done": []}, config))
    await soon(waiting.wait())
    root = paths[0][0]
    assert len(paths[0]) == 2
    cancel(stack, root)
    with pytest.raises(brakewire.Cancelled):
        await soon(task)
    tree = ask(stack.broker, "GET", f"/v1/roots/{root}/tree").json
    assert [(node["agent"], node["state"]) for node in tree["runs"]] == [("outer", "cancelled"), ("inner", "cancelled")]


# ---- checkpointers -------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "checkpoints.db")


@pytest.fixture
def saver(file: str) -> Iterator[SqliteSaver]:
    with SqliteSaver.from_conn_string(file) as saver:
        yield saver


@pytest.fixture
async def async_saver(file: str) -> AsyncIterator[AsyncSqliteSaver]:
    async with AsyncSqliteSaver.from_conn_string(file) as saver:
        yield saver


def stored(file: str) -> tuple[int, int]:
    """Checkpoints, and writes of tasks, read with other eyes."""
    with sqlite3.connect(file) as database:
        count = [database.execute(f"select count(*) from {table}").fetchone()[0] for table in ("checkpoints", "writes")]
    return count[0], count[1]


async def test_a_pause_for_a_human_is_no_cancel(stack: Stack, saver: SqliteSaver) -> None:
    def approve(state: State) -> State:
        return {"done": [interrupt("may I?")]}

    graph = protect(graph_of({"approve": approve}, fenced(saver)))
    config = config_of()
    assert "__interrupt__" in await asyncio.to_thread(graph.invoke, {"done": []}, config)
    run = run_of_agent(stack, config["configurable"]["thread_id"])
    assert run["state"] == "paused"
    assert await asyncio.to_thread(graph.invoke, Command(resume="yes"), config) == {"done": ["yes"]}


def test_without_a_run_it_writes_as_ever(saver: SqliteSaver, file: str) -> None:
    graph = graph_of({"tick": lambda state: {"done": ["tick"]}}, fenced(saver))
    assert isinstance(fenced(saver), SqliteSaver)
    assert graph.invoke({"done": []}, config_of()) == {"done": ["tick"]}
    assert stored(file)[0] == 3 # input, start, tick


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_step_that_ends_after_the_cancel_is_the_last_checkpoint(
        stack: Stack, saver: SqliteSaver, file: str, durability: str) -> None:
    working, may_go_on = threading.Event(), threading.Event()
    ids: list[str] = []

    def first(state: State) -> State:
        return {"done": ["first"]}

    def stubborn(state: State) -> State:
        ids.append(here().run_id)
        working.set()
        assert may_go_on.wait(20)
        return {"done": ["stubborn"]}

    def never(state: State) -> State:
        return {"done": ["never"]}

    graph = protect(graph_of({"first": first, "stubborn": stubborn, "never": never}, fenced(saver)))
    config = config_of()
    task = asyncio.create_task(asyncio.to_thread(graph.invoke, {"done": []}, config, durability=durability))
    assert await asyncio.to_thread(working.wait, 20)
    await asyncio.to_thread(until, lambda: stored(file) == ((0, 0) if durability == "exit" else (3, 4)))
    cancel(stack, ids[0])
    await asyncio.to_thread(until, lambda: "delivered" in ask(stack.broker, "GET", f"/v1/runs/{ids[0]}").json["flags"])
    writes_before = stored(file)[1]
    may_go_on.set()
    with pytest.raises(brakewire.Cancelled):
        await soon(task)
    assert graph.get_state(config).values == {"done": ["first", "stubborn"]}
    assert graph.get_state(config).next == ("never",)
    assert stored(file)[1] == writes_before # nothing of single tasks


async def test_nothing_is_written_after_the_cancel_of_an_async_graph(
        stack: Stack, async_saver: AsyncSqliteSaver, file: str) -> None:
    waiting = asyncio.Event()
    ids: list[str] = []

    async def first(state: State) -> State:
        return {"done": ["first"]}

    async def quick(state: State) -> State:
        return {"done": ["quick"]}

    async def cleans_up(state: State) -> State:
        ids.append(here().run_id)
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return {"done": ["too late"]} # a node that swallows its cancel, and goes on
        return {"done": []}

    builder: Any = StateGraph(State)
    for name, node in (("first", first), ("quick", quick), ("cleans_up", cleans_up)):
        builder.add_node(name, node)
    builder.add_edge(START, "first")
    builder.add_edge("first", "quick")
    builder.add_edge("first", "cleans_up") # in one step
    graph = protect(builder.compile(checkpointer=fenced(async_saver)))
    config: Any = config_of()
    task = asyncio.create_task(graph.ainvoke({"done": []}, config))
    await soon(waiting.wait())
    # What was done before the cancel may stay: three checkpoints, and what `quick` has written.
    await asyncio.to_thread(until, lambda: stored(file) == (3, 6))
    before = stored(file)
    cancel(stack, ids[0])
    with pytest.raises(brakewire.Cancelled):
        await soon(task)
    assert stored(file) == before
    assert (await graph.aget_state(config)).values == {"done": ["first", "quick"]}


async def test_after_the_last_checkpoint_there_is_none(stack: Stack, async_saver: AsyncSqliteSaver, file: str) -> None:
    guarded = fenced(async_saver)
    config: Any = {"configurable": {"thread_id": "t-1", "checkpoint_ns": ""}}
    async with brakewire.run(entry=True, cancel_task=False) as run:
        config = await guarded.aput(config, empty_checkpoint(), {}, {})
        await guarded.aput_writes(config, [("done", "one")], "task-1")
        assert stored(file) == (1, 1)
        await run.cancel_tree("enough", wait="none")
        await soon(run.cancelled.wait())
        with pytest.raises(brakewire.Cancelled):
            await guarded.aput_writes(config, [("done", "two")], "task-2")
        last = await guarded.aput(config, empty_checkpoint(), {}, {})
        with pytest.raises(brakewire.Frozen):
            await guarded.aput(last, empty_checkpoint(), {}, {})
        with pytest.raises(brakewire.Cancelled):
            await guarded.aput_writes(last, [("done", "three")], "task-3")
        assert stored(file) == (2, 1)
        await run.end("cancelled")


async def test_a_former_life_of_a_run_stores_nothing(stack: Stack, saver: SqliteSaver, file: str) -> None:
    token = uuid.uuid4().hex
    name = f"job-{uuid.uuid4().hex}"
    working, may_go_on = threading.Event(), threading.Event()

    def work(state: State) -> State:
        working.set()
        assert may_go_on.wait(20)
        return {"done": ["zombie"]}

    graph = protect(graph_of({"work": work}, fenced(saver)), run_id=name,
                    client=brakewire.Client(stack.agentds[0], token=token))
    task = asyncio.create_task(asyncio.to_thread(graph.invoke, {"done": []}, config_of(), durability="sync"))
    assert await asyncio.to_thread(working.wait, 20)
    heir = await brakewire.start(client=brakewire.Client(stack.agentds[1], token=token), run_id=name, epoch=1,
                                 takeover=True)
    before = stored(file)
    may_go_on.set()
    with pytest.raises(brakewire.BrakewireError):
        await soon(task)
    assert stored(file) == before
    await heir.end()
