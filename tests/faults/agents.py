"""One agent process: it carries many runs, hears its agentd's event stream and obeys it.

    agents.py SOCKET TOKEN

Commands come as JSON lines on stdin, what happens goes out as JSON lines on stdout, each with the
monotonic time at which it was seen. It does what a client library is asked to do by
docs/PROTOCOL.md: connects again, registers its runs again with an agentd that is new, and ends what
it is told to stop."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from talk import Broken, Connection, Stream

AGAIN_S = 0.02
# A process that is to be stopped: one that obeys SIGTERM, one that does not and has a child, too.
BODIES = {
    "plain": ["/bin/sleep", "100000"],
    "stubborn": ["/bin/sh", "-c", "trap '' TERM; /bin/sleep 100000 & exec /bin/sleep 100000"],
}


def say(what, **more):
    sys.stdout.write(json.dumps({"at": time.monotonic(), "what": what, **more}) + "\n")
    sys.stdout.flush()


class Run:
    def __init__(self, body, manner):
        self.body, self.manner = body, manner
        self.id, self.epoch, self.process = body.get("run_id"), 0, None
        self.over = self.told = False


class Agent:
    def __init__(self, where, token, say=say):
        self.where, self.token, self.say = where, token, say
        self.incarnation = secrets.token_hex(8)
        self.spare = [Connection(where, token) for _ in range(8)]
        self.free = asyncio.Semaphore(len(self.spare))
        self.own = Connection(where, token) # never behind a thousand ends
        self.runs, self.replica, self.reading = {}, None, asyncio.Event()
        self.reading.set()
        self.each_ms = 0 # how long it looks at an event
        self.connections = 0
        self.early = {} # told before the answer to the start was read

    # ---- asking ----------------------------------------------------------------------------

    async def ask(self, method, path, body=None, run=None):
        """One try. Every answer is said, and so is a connection that broke."""
        async with self.free:
            connection = self.spare.pop()
            try:
                answer = await connection.call(method, path, body)
            except Broken as trouble:
                self.say("broken", method=method, path=path, run=run, why=str(trouble))
                raise
            finally:
                self.spare.append(connection)
        self.say("answer", method=method, path=path, run=run, status=answer.status, code=answer.code,
            body=answer.body, ms=answer.ms)
        return answer

    async def insist(self, method, path, body=None, run=None):
        """Until somebody answers; 503 is worth another try, as Retry-After says."""
        while True:
            try:
                answer = await self.ask(method, path, body, run)
                if answer.status != 503:
                    return answer
            except Broken:
                pass
            await asyncio.sleep(AGAIN_S * 5)

    # ---- runs ------------------------------------------------------------------------------

    async def start(self, body, manner):
        run = Run({**body, "incarnation": self.incarnation}, manner)
        if manner.get("process"):
            self.launch(run)
        answer = await self.ask("POST", "/v1/runs", run.body)
        if answer.status in (200, 201):
            self.took(run, answer.body)
        elif run.process is not None:
            run.process.kill()
        pid = run.process.pid if run.process else None
        return {"status": answer.status, "body": answer.body, "pid": pid}

    def launch(self, run):
        token = run.manner["token"]
        run.process = subprocess.Popen(BODIES[run.manner["process"]], stdin=subprocess.DEVNULL,
                                       env={"BRAKEWIRE_RUN_TOKEN": token})
        target = {"kind": "process", "pid": run.process.pid, "token": token}
        run.body = {**run.body, "stop": [{"kind": "notify"}, target]}

    def took(self, run, body):
        run.id, run.epoch = body["run_id"], body["epoch"]
        self.runs[run.id] = run
        self.say("started", run=run.id, root=body["root"], epoch=run.epoch, path=body["path"],
            protected=body["protected"])
        if run.id in self.early:
            self.heed(run, self.early.pop(run.id))

    async def register_again(self):
        for run in [r for r in self.runs.values() if not r.over]:
            if run.process is not None and run.process.poll() is not None:
                continue # it was killed, as it should be, while nobody was there to say so
            answer = await self.insist("POST", "/v1/runs", {**run.body, "run_id": run.id}, run.id)
            if answer.status in (200, 201):
                run.epoch = answer.body["epoch"]
                self.say("again", run=run.id, epoch=run.epoch)
            else:
                # Over, fenced or cancelled: the brake says stop by refusing.
                self.heed(run, {"refused": answer.code, **answer.body.get("cancel", {})})

    def heed(self, run, cancel):
        self.say("told", run=run.id, stream=self.connections, over=run.over,
            cancel_id=cancel.get("cancel_id"), reason=cancel.get("reason"),
            refused=cancel.get("refused"), epoch=cancel.get("epoch"))
        if not run.told:
            run.told = True
            asyncio.ensure_future(self.stop(run, cancel))

    async def stop(self, run, cancel):
        manner = run.manner.get("stops", "soon")
        if manner == "never":
            return
        await asyncio.sleep(run.manner.get("after_ms", 2) / 1000)
        self.say("ending", run=run.id)
        if run.process is not None:
            return # its process is what has to be stopped, and whoever stops it says so
        if not cancel.get("refused"):
            await self.insist("POST", f"/v1/runs/{run.id}/ack",
                              {"epoch": run.epoch, "phase": "acknowledged"}, run.id)
            for _ in range(60):
                if (await self.end(run, "cancelled"))["status"] not in (401, 404):
                    break
                await asyncio.sleep(AGAIN_S * 5) # a new agentd: first it has to know us again
        run.over = True
        self.say("over", run=run.id)

    async def end(self, run, state):
        answer = await self.insist("POST", f"/v1/runs/{run.id}/end",
                                   {"epoch": run.epoch, "state": state}, run.id)
        run.over = answer.status not in (401, 404)
        return {"status": answer.status, "body": answer.body}

    # ---- the stream ------------------------------------------------------------------------

    async def listen(self):
        while True:
            try:
                await self.listen_once()
            except Broken:
                pass
            self.say("deaf")
            await asyncio.sleep(AGAIN_S)

    async def whose(self):
        return (await self.own.call("GET", "/v1/version")).body.get("replica_id")

    async def listen_once(self):
        replica = await self.whose()
        if self.replica not in (None, replica):
            await self.register_again()
        self.replica = replica
        stream = Stream(self.where, "/v1/events", self.token)
        if await stream.open() != 200:
            raise Broken(f"events: {stream.status}")
        # It may have been started again while the runs were registered, with some here and some there.
        if await self.whose() != replica:
            stream.close()
            raise Broken("another agentd by now")
        self.connections += 1
        self.say("hearing", replica=replica, stream=self.connections)
        try:
            async for event, data in stream:
                await self.reading.wait()
                if self.each_ms:
                    await asyncio.sleep(self.each_ms / 1000)
                if event == "resync":
                    self.say("resync")
                    return
                run = self.runs.get(data.get("run"))
                if run is not None:
                    self.heed(run, data)
                else:
                    self.early[data.get("run")] = data
        finally:
            stream.close()

    # ---- commands --------------------------------------------------------------------------

    async def do(self, order):
        try:
            if order["do"] == "start":
                return await self.start(order["body"], order["manner"])
            if order["do"] == "end":
                return await self.end(self.runs[order["run"]], order["state"])
            if order["do"] == "ask":
                answer = await self.ask(order["method"], order["path"], order.get("body"))
                return {"status": answer.status, "body": answer.body}
            if order["do"] == "read":
                self.reading.set() if order["on"] else self.reading.clear()
                self.each_ms = order.get("each_ms", 0)
                return {}
            return {"error": "unknown order"}
        except Broken as trouble:
            return {"broken": str(trouble)}

    async def obey(self, order):
        reply = await self.do(order)
        self.say("reply", to=order["id"], reply=reply)


async def main():
    agent = Agent(sys.argv[1], sys.argv[2])
    reader = asyncio.StreamReader(limit=1 << 22)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    listening = asyncio.ensure_future(agent.listen())
    while line := await reader.readline():
        asyncio.ensure_future(agent.obey(json.loads(line)))
    listening.cancel()


if __name__ == "__main__":
    asyncio.run(main())
