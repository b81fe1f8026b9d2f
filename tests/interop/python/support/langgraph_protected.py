"""A graph for a LangGraph server whose invocations are runs: its one node waits, or is done at once."""

from __future__ import annotations

import asyncio
from typing import TypedDict

from langgraph.graph import START, StateGraph

import brakewire
from brakewire.langgraph import protect


class State(TypedDict, total=False):
    wait: bool
    run: str


async def work(state: State) -> State:
    run = brakewire.current_run()
    assert run is not None
    if state.get("wait"):
        await asyncio.Event().wait()
    return {"run": run.run_id}


builder = StateGraph(State)
builder.add_node("work", work)
builder.add_edge(START, "work")
graph = protect(builder.compile(name="protected"))
