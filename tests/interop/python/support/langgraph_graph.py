"""A graph without a model: one node that works for `ticks` times 20 ms. It registers its run with
the agentd beside it, naming its own server as the stop target, and ends it when it has stopped.
`stubborn`: it works in a thread, where no cancellation of a task arrives."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph

from support.stack import ask

AGENTD = os.environ["AGENTD"]
OWN_URL = os.environ["OWN_URL"]


class State(TypedDict, total=False):
    ticks: int
    stubborn: bool
    grace: int
    done: int


def register(config: RunnableConfig, grace: int) -> dict[str, Any]:
    named = config["configurable"]
    thread, run = str(named["thread_id"]), str(named.get("run_id") or config["metadata"]["run_id"])
    target = {"kind": "http", "preset": "langgraph", "url": OWN_URL, "thread_id": thread, "run_id": run}
    answer = ask(AGENTD, "POST", "/v1/runs", {
        "agent": "worker", "thread_id": thread, "entry": True, "stop": [{**target, "grace_ms": grace}],
    })
    assert answer.status == 201, answer.text
    return dict(answer.json)


def end(brake: dict[str, Any], state: str) -> None:
    path, body = f"/v1/runs/{brake['run_id']}/end", {"epoch": brake["epoch"], "state": state}
    if ask(AGENTD, "POST", path, body, brake["token"]).status == 409:  # nobody cancelled it here
        ask(AGENTD, "POST", path, {**body, "state": "error"}, brake["token"])


def toil(brake: dict[str, Any], ticks: int) -> None:
    for _ in range(ticks):
        time.sleep(0.02)
    end(brake, "success")


async def work(state: State, config: RunnableConfig) -> State:
    brake = await asyncio.to_thread(register, config, state["grace"])
    if state.get("stubborn"):
        thread = threading.Thread(target=toil, args=(brake, state["ticks"]))
        thread.start()
        while thread.is_alive():
            await asyncio.sleep(0.02)
        return {"done": state["ticks"]}
    try:
        for _ in range(state["ticks"]):
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        await asyncio.shield(asyncio.to_thread(end, brake, "cancelled"))
        raise
    await asyncio.to_thread(end, brake, "success")
    return {"done": state["ticks"]}


builder = StateGraph(State)
builder.add_node("work", work)
builder.add_edge("__start__", "work")
builder.add_edge("work", "__end__")
graph = builder.compile()
