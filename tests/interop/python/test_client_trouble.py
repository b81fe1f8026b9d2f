"""The Python client when its agentd is not there, dies, comes back, or refuses; and when its process forks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import uuid
from typing import Any

import pytest

import brakewire
from brakewire._wire import Caller
from support.stack import Agentd, Stack, ask, until


def seen(stack: Stack, run: str) -> Any:
    answer = ask(stack.broker, "GET", f"/v1/runs/{run}")
    return answer.json if answer.status == 200 else None


def cancel(stack: Stack, run: str) -> None:
    assert ask(stack.broker, "POST", f"/v1/runs/{run}/cancel", {"reason": "enough"}).status == 202


async def soon(what: Any, seconds: float = 20) -> Any:
    return await asyncio.wait_for(what, seconds)


async def when(look: Any) -> Any:
    return await asyncio.to_thread(until, look)


async def test_a_restarted_agentd_is_told_of_the_runs_again(stack: Stack) -> None:
    with Agentd(stack).start() as agentd:
        client = brakewire.Client(agentd.socket)
        runs = [await brakewire.start(client=client, entry=True) for _ in range(20)]
        await when(lambda: client.is_connected)
        owners = {seen(stack, run.run_id)["owner"] for run in runs}
        agentd.kill()
        await when(lambda: not client.is_connected)
        agentd.start()
        await when(lambda: all(seen(stack, run.run_id)["owner"] not in owners for run in runs))
        await when(lambda: all(run.is_known for run in runs))
        assert all(run.epoch == 1 and run.is_protected and not run.is_cancelled for run in runs) # the same life of it
        cancel(stack, runs[0].run_id)
        await soon(runs[0].cancelled.wait())
        assert not runs[1].is_cancelled
        assert await runs[0].end("cancelled") == "cancelled"
        assert [await run.end() for run in runs[1:]] == ["success"] * 19


async def test_a_cancel_and_an_end_while_the_agentd_was_away_are_not_lost(stack: Stack) -> None:
    with Agentd(stack).start() as agentd:
        client = brakewire.Client(agentd.socket)
        told = await brakewire.start(client=client, entry=True)
        over = await brakewire.start(client=client, entry=True)
        agentd.kill()
        cancel(stack, told.run_id)
        assert await soon(over.end()) == "success" # it is said when somebody hears it
        assert seen(stack, over.run_id)["state"] == "running"
        agentd.start()
        await soon(told.cancelled.wait())
        assert told.cancel is not None and told.cancel.reason == "enough"
        await when(lambda: seen(stack, over.run_id)["state"] == "success")
        assert await told.end("cancelled") == "cancelled"


async def test_a_call_waits_for_an_agentd_that_is_only_restarted(stack: Stack) -> None:
    with Agentd(stack).start() as agentd:
        client = brakewire.Client(agentd.socket)
        run = await brakewire.start(client=client, entry=True)
        agentd.kill()
        fence = asyncio.create_task(run.fence("step-1"))
        await asyncio.to_thread(agentd.start)
        assert await soon(fence) == (False, False)
        await run.end()


async def test_a_fence_that_nobody_can_answer_is_no_permission(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brakewire._client.AWAY_WAIT_S", 0.3)
    with Agentd(stack).start() as agentd:
        run = await brakewire.start(client=brakewire.Client(agentd.socket), entry=True)
        agentd.kill()
        with pytest.raises(brakewire.Unavailable):
            await run.fence("step-1") # another life of the run may have begun
        await run.end()


async def test_without_an_agentd_runs_go_on_and_join_when_one_appears(
        stack: Stack, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    with Agentd(stack, f"late-{uuid.uuid4().hex[:8]}") as agentd:
        client = brakewire.Client(agentd.socket)
        run = await brakewire.start(client=client, agent="early", headers={"baggage": "userId=alice"})
        child = await brakewire.start(client=client, headers=run.headers())
        assert not run.is_protected and run.epoch == 0 and run.root == run.run_id
        assert run.headers() == {"baggage": f"brakewire=1.{run.run_id},userId=alice"}
        assert child.path == (run.run_id, child.run_id)
        assert (await run.fence("step-1")).unconfirmed
        await run.ack("checkpointed")
        await run.link(f"other-{uuid.uuid4().hex}")
        forgotten = await brakewire.start(client=client)
        assert await forgotten.end() == "success"
        warnings = [record for record in caplog.records if "no agentd answers" in record.message]
        assert len(warnings) == 1 and agentd.socket in warnings[0].message
        assert capfd.readouterr().err.count("no agentd answers") == 1

        agentd.start()
        await when(lambda: run.is_protected and child.is_protected)
        assert (run.epoch, child.epoch) == (1, 1)
        tree = ask(stack.broker, "GET", f"/v1/roots/{run.run_id}/tree").json
        assert [(node["run_id"], node.get("parent")) for node in tree["runs"]] == [
            (run.run_id, None), (child.run_id, run.run_id)]
        assert tree["links"][0]["run_id"] == run.run_id
        cancel(stack, run.run_id)
        await soon(child.cancelled.wait())
        await child.end("cancelled")
        await run.end("cancelled")
        assert seen(stack, forgotten.run_id) is None


async def test_what_was_cancelled_before_it_could_join_is_stopped(stack: Stack) -> None:
    with Agentd(stack, f"late-{uuid.uuid4().hex[:8]}") as agentd:
        async with brakewire.run(client=brakewire.Client(stack.agentds[0]), entry=True, cancel_task=False) as parent:
            child = await brakewire.start(client=brakewire.Client(agentd.socket), headers=parent.headers())
            cancel(stack, parent.run_id)
            agentd.start()
            await soon(child.cancelled.wait())
            assert child.cancel is not None and child.cancel.run_id == parent.run_id
            await child.end("cancelled")
            await parent.end("cancelled")


async def test_without_an_agentd_a_cancel_reaches_what_is_in_this_process(tmp_path: Any) -> None:
    client = brakewire.Client(tmp_path / "nobody.sock")
    run = await brakewire.start(client=client)
    child = await brakewire.start(client=client, parent=run)
    grandchild = await brakewire.start(client=client, parent=child)
    answer = await run.cancel_children("enough")
    assert answer["told_here"] == 2 and answer["pending"]
    assert child.is_cancelled and grandchild.is_cancelled and not run.is_cancelled
    assert (await child.fence("last one")).last
    with pytest.raises(brakewire.Frozen):
        await child.fence("one more")


async def test_a_deadline_holds_without_an_agentd(tmp_path: Any) -> None:
    client = brakewire.Client(tmp_path / "nobody.sock")
    with pytest.raises(brakewire.Cancelled) as late:
        async with brakewire.run(client=client, deadline_ms=50):
            await soon(asyncio.Event().wait())
    assert late.value.cancel.reason == "deadline"


async def test_a_signed_context_is_not_appended_to_without_an_agentd(tmp_path: Any) -> None:
    client = brakewire.Client(tmp_path / "nobody.sock")
    came = "brakewire=1.root.mid~k1~AAAAAAAAAAAAAAAAAAAAAA"
    run = await brakewire.start(client=client, headers={"baggage": came})
    assert run.baggage == came and run.path == ("root", "mid", run.run_id)


async def test_a_strict_client_wants_an_agentd(tmp_path: Any) -> None:
    with pytest.raises(brakewire.Unavailable, match="no socket"):
        await brakewire.start(client=brakewire.Client(tmp_path / "nobody.sock", strict=True))


def python(code: str, agentd: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, "BRAKEWIRE_AGENTD": agentd}, text=True,
                          capture_output=True, timeout=30)


async def test_a_client_that_is_closed_leaves_no_threads(stack: Stack) -> None:
    def threads() -> int:
        return sum(thread.name in ("brakewire-events", "brakewire-keeper") for thread in threading.enumerate())

    before = threads()
    client = brakewire.Client(stack.agentds[0])
    await (await brakewire.start(client=client, entry=True)).end()
    await when(lambda: client.is_connected)
    assert threads() == before + 2
    client.close()
    await when(lambda: threads() == before)
    with pytest.raises(brakewire.BrakewireError, match="closed"):
        await brakewire.start(client=client)


async def test_who_gets_no_event_stream_is_told_so(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    with Agentd(stack, "full", max_clients="2").start() as agentd:
        first = brakewire.Client(agentd.socket)
        await brakewire.start(client=first, entry=True)
        await when(lambda: first.is_connected)
        another = Caller(agentd.socket, first.token).listen("/v1/events") # no room for a third one
        second = brakewire.Client(agentd.socket)
        run = await brakewire.start(client=second, entry=True)
        await when(lambda: any("max_clients" in record.message for record in caplog.records))
        another.close()
        await when(lambda: second.is_connected)
        assert sum("cancels do not arrive" in record.message for record in caplog.records) == 1
        await run.end()


EXITS = """
import brakewire
run = brakewire.sync.start(agent="leaves")
print(run.run_id, run.is_protected)
"""


def test_the_interpreter_exits_with_a_run_that_lives(stack: Stack, tmp_path: Any) -> None:
    for agentd, is_protected in ((stack.agentds[0], "True"), (str(tmp_path / "nobody.sock"), "False")):
        process = python(EXITS, agentd)
        assert process.returncode == 0 and process.stdout.split()[1] == is_protected, process.stderr
    assert process.stderr.count("no agentd answers") == 1 # the default logging writes there itself


FORKS = """
import os, sys, brakewire
run = brakewire.sync.start(agent="parent", entry=True)
with run:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            run.fence("step")
        except brakewire.Forked as why:
            os.write(writing, b"forked ")
        with brakewire.sync.run(agent="child") as child: # below the parent's run, by a client of its own
            os.write(writing, f"{child.root == run.run_id} {child.is_protected}".encode())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    print(os.read(reading, 100).decode())
    run.fence("step")
print(run.end())
"""


def test_a_child_of_a_fork_has_runs_of_its_own(stack: Stack) -> None:
    process = python(FORKS, stack.agentds[0])
    assert process.stdout.split() == ["forked", "True", "True", "success"], process.stderr


HOLDS = """
import os, brakewire
run = brakewire.sync.start(agent="parent", entry=True, on_client_gone="cancel")
from brakewire._client import default_client
while not default_client().is_connected:
    run.cancelled.wait(0.01)
if os.fork() == 0:
    import signal
    print(run.run_id, flush=True)
    signal.pause()
os._exit(0)
"""


def test_a_child_does_not_make_its_parent_look_alive(stack: Stack) -> None:
    with Agentd(stack, "gone", lost_grace="100ms").start() as agentd:
        process = subprocess.Popen([sys.executable, "-c", HOLDS], stdout=subprocess.PIPE, text=True,
                                   env={**os.environ, "BRAKEWIRE_AGENTD": agentd.socket}, start_new_session=True)
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        try:
            until(lambda: seen(stack, run)["cancelled_by"] == run if "cancelled_by" in seen(stack, run) else False)
        finally:
            os.killpg(process.pid, 9)
            process.wait(30)
            process.stdout.close()
