"""A protected graph inside the real LangGraph server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.langgraph_server import Replica
from support.stack import Stack, ask, until


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[str]:
    replica = Replica(stack.agentds[0], "langgraph_protected.py")
    try:
        yield replica.wait().url
    finally:
        replica.stop()


def begin(server: str, **state: Any) -> tuple[str, str]:
    """thread, run"""
    thread = str(ask(server, "POST", "/threads", {}).json["thread_id"])
    run = ask(server, "POST", f"/threads/{thread}/runs", {"assistant_id": "agent", "input": state})
    assert run.status == 200, run.text
    return thread, str(run.json["run_id"])


def node_of(stack: Stack, thread: str) -> Any:
    return until(lambda: ask(stack.broker, "GET", f"/v1/runs?thread={thread}").json["runs"], 30)[0]


def test_what_the_server_runs_is_a_run(stack: Stack, server: str) -> None:
    thread, run = begin(server)
    until(lambda: ask(server, "GET", f"/threads/{thread}/runs/{run}").json["status"] == "success")
    values = ask(server, "GET", f"/threads/{thread}/state").json["values"]
    node = ask(stack.broker, "GET", f"/v1/runs/{values['run']}").json
    assert (node["state"], node["thread_id"]) == ("success", thread)


def test_a_cancel_from_outside_stops_it_at_the_server(stack: Stack, server: str) -> None:
    thread, run = begin(server, wait=True)
    node = node_of(stack, thread)
    answer = ask(stack.broker, "POST", f"/v1/runs/{node['run_id']}/cancel", {"reason": "enough", "wait": "stopped"})
    assert answer.json["complete"], answer.text
    until(lambda: ask(server, "GET", f"/threads/{thread}/runs/{run}").json["status"] in ("error", "interrupted"))


def test_a_cancel_at_the_server_ends_the_run(stack: Stack, server: str) -> None:
    thread, run = begin(server, wait=True)
    node = node_of(stack, thread)
    assert ask(server, "POST", f"/threads/{thread}/runs/{run}/cancel", {}).status == 202
    until(lambda: ask(stack.broker, "GET", f"/v1/runs/{node['run_id']}").json["state"] == "error")
