"""The runs of a scenario: which tree, whose child, carried by which agent process at which agentd;
and the cancels that were asked for. What is known here, the harness did itself; what became of it,
the story says."""

import asyncio
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time

import agents
from proc import processes_of_runs
from talk import Broken, Connection

HERE = os.path.dirname(os.path.abspath(__file__))


class Agent:
    """The harness' end of an agent process."""

    def __init__(self, house, agentd, name):
        self.house, self.agentd, self.name = house, agentd, name
        self.token, self.replies, self.orders = secrets.token_hex(16), {}, 0
        self.hearing = asyncio.Event()
        self.died_at = None

    @property
    def dead(self):
        return self.died_at is not None

    async def open(self):
        # Two of them: what it reads is non-blocking, and what it says must not be.
        orders, its_orders = socket.socketpair()
        story, its_story = socket.socketpair()
        with its_orders, its_story, open(os.path.join(self.house.folder, self.name + ".log"), "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-B", os.path.join(HERE, "agents.py"), self.agentd.socket, self.token],
                stdin=its_orders, stdout=its_story, stderr=log)
        _, self.writer = await asyncio.open_connection(sock=orders)
        self.reader, self.story_writer = await asyncio.open_connection(sock=story, limit=1 << 24)
        self.listening = asyncio.ensure_future(self._listen())
        await asyncio.wait_for(self.hearing.wait(), 15)

    async def _listen(self):
        try:
            while line := await self.reader.readline():
                self._heard(json.loads(line))
        except (OSError, ValueError):
            pass
        for reply in self.replies.values():
            if not reply.done():
                reply.set_result({"broken": "the agent process is gone"})

    def _heard(self, event):
        if event["what"] == "reply":
            if (reply := self.replies.pop(event["to"], None)) and not reply.done():
                reply.set_result(event["reply"])
            return
        if event["what"] == "hearing":
            self.hearing.set()
        self.house.story.append({**event, "agent": self.name, "agentd": self.agentd.name})

    async def order(self, what, within=40.0, **more):
        self.orders += 1
        reply = self.replies[self.orders] = asyncio.get_running_loop().create_future()
        self.writer.write(json.dumps({"id": self.orders, "do": what, **more}).encode() + b"\n")
        return await asyncio.wait_for(reply, within)

    def signal(self, number):
        self.house.note("fault", who=self.name, fault=signal.Signals(number).name)
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.died_at = time.monotonic()
            self.process.wait()


class NearAgent(Agent):
    """One without a process of its own: where a thousand of them are needed."""

    async def open(self):
        self.inner = agents.Agent(self.agentd.socket, self.token, self._say)
        self.listening = asyncio.ensure_future(self.inner.listen())
        await asyncio.wait_for(self.hearing.wait(), 60)

    def _say(self, what, **more):
        self._heard({"at": time.monotonic(), "what": what, **more})

    async def order(self, what, within=60.0, **more):
        return await asyncio.wait_for(self.inner.do({"do": what, **more}), within)


class Run:
    def __init__(self, parent, agent, manner):
        self.parent, self.agent, self.manner = parent, agent, manner
        self.children, self.id, self.root, self.epoch, self.pid = [], None, None, 0, None
        self.baggage, self.token = None, manner.get("token")
        self.depth = parent.depth + 1 if parent else 1
        if parent:
            parent.children.append(self)

    def scope(self):
        """Itself and everything below, without recursion: trees are deep here."""
        found, todo = [], [self]
        while todo:
            run = todo.pop()
            found.append(run)
            todo.extend(run.children)
        return found

    def is_under(self, target):
        run = self
        while run is not None and run is not target:
            run = run.parent
        return run is target


class Cancel:
    """One request; or, `implied`, what the fleet has to do by itself: nobody asked and nobody is
    answered."""

    def __init__(self, target, via, implied=False):
        self.target, self.via, self.sent_at = target, via, time.monotonic()
        self.implied = implied
        self.answered_at = self.answer = self.broken = None
        self.alive_then = {} # the processes of runs at the moment of the answer

    @property
    def accepted(self):
        return self.answer is not None and self.answer.status in (200, 202)


class Forest:
    def __init__(self, house, seed=1):
        self.house, self.random = house, random.Random(seed)
        self.agents, self.runs, self.cancels, self.by_id = [], [], [], {}
        self.links = {}

    # ---- agents and runs -------------------------------------------------------------------

    async def populate(self, kind=Agent):
        """One at each agentd; at once and not one after the other: Python takes its time."""
        self.agents = [kind(self.house, agentd, f"agent{i}-{agentd.name}")
                       for i, agentd in enumerate(self.house.agentds)]
        await asyncio.gather(*(agent.open() for agent in self.agents))

    def plan_tree(self, size, processes=0.06, shape=3, among=None):
        """A random tree: each run below one of the last few, so that it is deep and bushy."""
        among, runs = among or self.agents, []
        for _ in range(size):
            parent = self.random.choice(runs[-shape * 2:]) if runs else None
            manner = {"after_ms": self.random.choice((1, 2, 5, 20))}
            if runs and self.random.random() < processes:
                manner["process"] = self.random.choice(("plain", "stubborn"))
                manner["token"] = f"token-{secrets.token_hex(8)}"
            runs.append(Run(parent, self.random.choice(among), manner))
        return runs

    async def start(self, runs):
        """Parents before their children; what is on one level, together."""
        for depth in sorted({run.depth for run in runs}):
            await asyncio.gather(*(self.start_run(run) for run in runs if run.depth == depth))
        return runs

    async def start_run(self, run, expect=201, **more):
        body = {"agent": "worker", **more}
        if run.parent:
            body["baggage"] = run.parent.baggage
        reply = await run.agent.order("start", body=body, manner=run.manner)
        if expect is not None and reply.get("status") != expect:
            raise AssertionError(f"a start was answered {reply}")
        if reply.get("status") in (200, 201):
            answer = reply["body"]
            run.id, run.root, run.epoch = answer["run_id"], answer["root"], answer["epoch"]
            run.baggage, run.pid = answer["baggage"], reply["pid"]
            self.runs.append(run)
            self.by_id[run.id] = run
        return reply

    async def grow(self, trees=10, size=24, **more):
        planned = [run for _ in range(trees) for run in self.plan_tree(size, **more)]
        await self.start(planned)
        return self.roots()

    def roots(self):
        return [run for run in self.runs if run.parent is None]

    # ---- cancels ---------------------------------------------------------------------------

    def connection(self, daemon, lane=0):
        key = (daemon.name, lane)
        if key not in self.links:
            self.links[key] = Connection(daemon.socket)
        return self.links[key]

    async def cancel(self, run, via, lane=0, within=30.0, **body):
        """One try, without a second: who gets no answer knows nothing, and the judge knows that."""
        cancel = Cancel(run, via.name)
        self.cancels.append(cancel)
        path = f"/v1/runs/{run.id}/cancel"
        body = {"reason": "a fault scenario", "root": run.root, **body}
        try:
            cancel.answer = await self.connection(via, lane).call("POST", path, body, within)
            if "names" in cancel.answer.body:
                cancel.alive_then = processes_of_runs()
            self.house.note("answer", agent="harness", agentd=via.name, method="POST", path=path,
                            run=run.id, status=cancel.answer.status, code=cancel.answer.code,
                            body=cancel.answer.body, ms=cancel.answer.ms, sent_at=cancel.sent_at)
        except Broken as trouble:
            cancel.broken = str(trouble)
            self.house.note("broken", agent="harness", agentd=via.name, path=path, run=run.id,
                            why=cancel.broken)
        cancel.answered_at = time.monotonic()
        return cancel

    def imply(self, run, why):
        self.cancels.append(Cancel(run, why, implied=True))

    async def insist(self, run, daemons, within=30.0, **body):
        """As an operator does: again, elsewhere, until somebody has accepted it."""
        until, turn = time.monotonic() + within, 0
        while True:
            cancel = await self.cancel(run, daemons[turn % len(daemons)], **body)
            if cancel.accepted or time.monotonic() > until:
                return cancel
            turn += 1
            await asyncio.sleep(0.05)

    async def ask(self, daemon, method, path, body=None, within=30.0, lane=0):
        try:
            answer = await self.connection(daemon, lane).call(method, path, body, within)
        except Broken as trouble:
            self.house.note("broken", agent="harness", agentd=daemon.name, path=path, why=str(trouble))
            return None
        self.house.note("answer", agent="harness", agentd=daemon.name, method=method, path=path,
                        status=answer.status, code=answer.code, body=answer.body, ms=answer.ms)
        return answer
