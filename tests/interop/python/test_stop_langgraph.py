"""The stop target `langgraph` against the real Python LangGraph server, two replicas of it, each
beside its own agentd."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.langgraph_server import Replica
from support.stack import Answer, Stack, ask, until


@pytest.fixture(scope="module")
def replicas(stack: Stack) -> Iterator[list[Replica]]:
    started = [Replica(agentd) for agentd in stack.agentds]
    try:
        yield [replica.wait() for replica in started]
    finally:
        for replica in started:
            replica.stop()


def begin(stack: Stack, replica: Replica, **state: Any) -> tuple[str, str]:
    """A run of the graph, once its node has registered it → its path at the server, its run here."""
    thread = ask(replica.url, "POST", "/threads", {}).json["thread_id"]
    given = {"assistant_id": "agent", "input": {"ticks": 500, "grace": 1500, **state}}
    run = ask(replica.url, "POST", f"/threads/{thread}/runs", given)
    assert run.status == 200, run.text
    found = until(lambda: ask(stack.broker, "GET", f"/v1/runs?thread={thread}").json["runs"], 60)
    return f"/threads/{thread}/runs/{run.json['run_id']}", found[0]["run_id"]


def node(stack: Stack, brake: str) -> dict[str, Any]:
    return dict(ask(stack.broker, "GET", f"/v1/runs/{brake}").json)


def cancel(where: str, brake: str, **body: Any) -> Answer:
    return ask(where, "POST", f"/v1/runs/{brake}/cancel", {"wait": "stopped", **body})


def test_a_cancel_stops_the_run_on_whichever_replica_it_is(stack: Stack, replicas: list[Replica]) -> None:
    for replica in replicas:
        path, brake = begin(stack, replica)
        answer = cancel(stack.broker, brake)
        assert answer.json["complete"] is True, answer.text
        assert node(stack, brake)["state"] == "cancelled"
        until(lambda: ask(replica.url, "GET", path).json["status"] == "interrupted")


def test_a_cancel_at_the_agentd_of_the_other_replica_stops_it(stack: Stack, replicas: list[Replica]) -> None:
    _, brake = begin(stack, replicas[0])
    answer = cancel(stack.agentds[1], brake, root=node(stack, brake)["root"])
    assert answer.json["complete"] is True, answer.text
    assert node(stack, brake)["state"] == "cancelled"


def test_langgraph_alone_finds_nothing_at_the_other_replica(stack: Stack, replicas: list[Replica]) -> None:
    path, brake = begin(stack, replicas[0])
    assert ask(replicas[1].url, "POST", f"{path}/cancel?wait=0").status == 404
    assert node(stack, brake)["state"] == "running"
    assert cancel(stack.broker, brake).json["complete"] is True


def by_hand(stack: Stack, replica: Replica, thread: str, run: str) -> str:
    """A run here that names one over there, and that nobody will end."""
    target = {"kind": "http", "preset": "langgraph", "url": replica.url, "thread_id": thread, "run_id": run}
    started = ask(stack.agentds[0], "POST", "/v1/runs", {"entry": True, "stop": [{**target, "grace_ms": 300}]})
    assert started.status == 201, started.text
    return str(started.json["run_id"])


def test_a_run_that_was_over_there_is_over_here(stack: Stack, replicas: list[Replica]) -> None:
    path, brake = begin(stack, replicas[1], ticks=1)
    until(lambda: ask(replicas[1].url, "GET", path).json["status"] == "success")
    _, _, thread, _, run = path.split("/")
    brake = by_hand(stack, replicas[1], thread, run)
    answer = cancel(stack.broker, brake)
    assert answer.json["complete"] is True, answer.text
    assert node(stack, brake)["finished_anyway"] == "success"


def test_a_run_that_is_not_there_is_not_called_stopped(stack: Stack, replicas: list[Replica]) -> None:
    path, other = begin(stack, replicas[0])
    _, _, thread, _, run = path.split("/")
    brake = by_hand(stack, replicas[1], thread, run)  # the wrong replica
    assert cancel(stack.broker, brake, timeout_ms=1000).json["names"]["unresponsive"] == [brake]
    assert node(stack, other)["state"] == "running"
    assert cancel(stack.broker, other).json["complete"] is True


def test_a_thread_that_works_on_is_unresponsive_and_never_stopped(stack: Stack, replicas: list[Replica]) -> None:
    path, brake = begin(stack, replicas[1], stubborn=True, ticks=150, grace=500)
    answer = cancel(stack.broker, brake, timeout_ms=1500)
    assert answer.status == 202
    assert answer.json["complete"] is False
    assert answer.json["names"]["unresponsive"] == [brake]
    assert answer.json["counts"]["stopped"] == 0
    assert ask(replicas[1].url, "GET", path).json["status"] == "interrupted"  # what LangGraph believes
    until(lambda: node(stack, brake).get("finished_anyway") == "success")
