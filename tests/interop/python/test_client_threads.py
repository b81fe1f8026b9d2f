"""The Python client without asyncio: `brakewire.sync`."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

import pytest

import brakewire
from support.stack import Stack, ask, until


def cancel(stack: Stack, run: str) -> None:
    assert ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough"}).status == 202


def seen(stack: Stack, run: str) -> Any:
    return ask(stack.broker, "GET", f"/v1/runs/{run}").json


def test_a_thread_sees_the_cancel_at_its_next_look(stack: Stack) -> None:
    client = brakewire.Client(stack.agentds[0])
    with pytest.raises(brakewire.Cancelled) as caught:
        with brakewire.sync.run(client=client, entry=True, agent="thread") as run:
            assert run.is_protected and brakewire.current_run() is run and not run.cancelled.wait(0)
            cancel(stack, run.run_id)
            assert run.cancelled.wait(20) and run.is_cancelled
            brakewire.raise_if_cancelled()
    assert caught.value.cancel.reason == "enough"
    assert seen(stack, run.run_id)["state"] == "cancelled" and brakewire.current_run() is None


def test_a_hundred_threads_each_with_a_run(stack: Stack) -> None:
    clients = [brakewire.Client(agentd) for agentd in stack.agentds]
    began = threading.Barrier(101, timeout=60)

    def work(number: int) -> str:
        with brakewire.sync.run(client=clients[number % 2], headers=root.headers()) as run:
            began.wait()
            run.cancelled.wait(30)
            return run.cancel.reason if run.cancel else "went on"

    with brakewire.sync.run(client=clients[0], entry=True) as root:
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            results = [pool.submit(work, number) for number in range(100)]
            began.wait()
            cancel(stack, root.run_id)
            assert {result.result(60) for result in results} == {"enough"}
        assert root.cancelled.wait(20)
        root.end("cancelled")
    tree = ask(stack.broker, "GET", f"/v1/roots/{root.run_id}/tree?limit=1000").json
    assert len(tree["runs"]) == 101 and {node["state"] for node in tree["runs"]} == {"cancelled"}


def test_acks_fences_and_children(stack: Stack) -> None:
    client = brakewire.Client(stack.agentds[0])
    with brakewire.sync.run(client=client, entry=True) as run:
        child = brakewire.sync.start(client=brakewire.Client(stack.agentds[1]), parent=run)
        assert child.path == (run.run_id, child.run_id)
        assert run.cancel_children("not needed")["cancels"] == [f"{run.run_id}.{child.run_id}"]
        assert child.cancelled.wait(20) and not run.is_cancelled
        child.ack("cleaned_up")
        assert child.fence("one").last
        with pytest.raises(brakewire.Frozen):
            child.fence("two")
        until(lambda: "cleaned_up" in seen(stack, child.run_id)["flags"])
        assert child.end("success") == "cancelled"
        assert run.fence("one") == (False, False)
        assert run.cancel_tree("enough", wait="none")["known"]
        assert run.cancelled.wait(20)
    assert seen(stack, run.run_id)["state"] == "cancelled" # what was cancelled is not a success


def test_the_environment_for_a_process_below(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    client = brakewire.Client(stack.agentds[0])
    with brakewire.sync.run(client=client, entry=True) as run:
        environment = run.environment({"BAGGAGE": "a=b,brakewire=1.old", "BRAKEWIRE_RUN_ID": "old", "PATH": "/bin"})
        assert environment == {"BAGGAGE": f"brakewire=1.{run.run_id},a=b", "PATH": "/bin"}
    monkeypatch.setenv("BAGGAGE", environment["BAGGAGE"])
    with brakewire.sync.run(client=client) as below: # as a process that was started with it
        assert below.path == (run.run_id, below.run_id)
