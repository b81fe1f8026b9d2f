"""What a scenario has in its hands: the house, the forest of runs, and the judge."""

import asyncio
import contextlib
import time

from forest import Forest
from house import House
from judge import Judge
from talk import Broken


class World:
    def __init__(self, folder, build, server_program, long=False, sabotage=False):
        self.house = House(folder, build, server_program)
        self.forest = Forest(self.house)
        self.judge = Judge(self.house, self.forest)
        self.long, self.sabotage, self.notes = long, sabotage, []

    @property
    def lease(self):
        return self.house.LEASE_MS / 1000

    # ---- beginnings ------------------------------------------------------------------------

    async def fleet(self, agentds=6, brokers=2, redis_options=(), agentd=None, broker=None):
        self.house.server(*redis_options)
        for _ in range(agentds):
            self.house.agentd(**(agentd or {}))
        for _ in range(brokers):
            self.house.broker(**(broker or {}))
        await self.ready(*self.house.agentds, *self.house.brokers)

    async def ready(self, *daemons, within=15.0):
        for daemon in daemons:
            await self.until(lambda d=daemon: self.answers(d, "/readyz", 200),
                             f"{daemon.name} to be ready", within)

    async def settled_fleet(self, trees=10, size=24, **more):
        """The usual beginning: six agentds, two brokers, ten trees of twenty-four runs."""
        fleet = {key: more.pop(key) for key in ("agentds", "brokers", "redis_options", "agentd", "broker")
                 if key in more}
        await self.fleet(**fleet)
        await self.inhabited(trees, size, **more)

    async def inhabited(self, trees=10, size=24, **more):
        await self.forest.populate()
        await self.forest.grow(trees, size, **more)
        await self.watch()

    async def watch(self):
        """The runs are there: from now on the judge looks."""
        self.judge.sampling = asyncio.ensure_future(self.judge.sample())
        if self.sabotage:
            # The first agent hears nothing from now on: the judge has to find that out.
            await self.forest.agents[0].order("read", on=False)

    # ---- waiting ---------------------------------------------------------------------------

    async def until(self, condition, what, within=15.0):
        """Looks again and again; there is always a bound, and it is an error to reach it."""
        deadline = time.monotonic() + within
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {within:.0f} s in vain for {what}")
            await asyncio.sleep(0.02)

    async def lasts(self, seconds):
        """A fault goes on for so long; this is no wait for something to happen."""
        await asyncio.sleep(seconds)

    async def answers(self, daemon, path, status):
        with contextlib.suppress(Broken):
            answer = await self.forest.connection(daemon, "quiet").call("GET", path, within=5)
            return answer.status == status
        return False

    async def look(self, daemon, path):
        """A GET that is not evidence: nobody was promised its answer."""
        with contextlib.suppress(Broken):
            return (await self.forest.connection(daemon, "quiet").call("GET", path, within=5)).body
        return {}

    async def linked(self, *daemons, linked=True, within=15.0):
        async def is_so(daemon):
            body = await self.look(daemon, "/v1/version")
            return body.get("redis", {}).get("linked") is linked
        for daemon in daemons:
            await self.until(lambda d=daemon: is_so(d),
                             f"{daemon.name} to be {'linked' if linked else 'cut off'}", within)

    # ---- harm that several rows do ---------------------------------------------------------

    def will_be_lost(self, *agentds):
        """What these carry, and what is below it, has to stop: they stay away for too long."""
        self.judge.own_reasons.add("lost")
        self.judge.permit("over", "fenced", who=("agent",)) # to an end that comes too late
        for run in self.forest.runs:
            if run.agent.agentd in agentds:
                self.forest.imply(run, "lost")
                self.judge.losable.add(run.id)

    def healed(self):
        self.judge.healed_at = time.monotonic()

    async def cancel_trees(self, trees, via, **body):
        return await asyncio.gather(*(
            self.forest.cancel(tree, via[number % len(via)], lane=f"tree{number}", **body)
            for number, tree in enumerate(trees)))

    async def told_there(self, cancels, within=3.0):
        """What a cancel found at the agentd that was asked: told at once, whoever else cannot be."""
        there = {run for cancel in cancels for run in cancel.target.scope()
                 if run.agent.agentd.name == cancel.via}
        await self.until(lambda: there <= self.told_runs(), "what is there to be told at once", within)

    def told_runs(self):
        return {self.forest.by_id[run] for run in self.judge.read_story() if run in self.forest.by_id}

    # ---- endings ---------------------------------------------------------------------------

    async def verdict(self, within=12.0, server=None):
        if self.judge.sampling:
            self.judge.sampling.cancel()
        await self.judge.settle(3 if self.sabotage else within) # what is deaf stays deaf
        await self.judge.settle_records(3 if self.sabotage else 6, server)
        self.judge.judge_records(server)
        self.judge.judge_claims()
        for daemon in self.house.agentds + self.house.brokers:
            self.look_for_crash(daemon)

    def look_for_crash(self, daemon):
        if not daemon.is_alive() and not getattr(daemon, "gone_on_purpose", False):
            self.judge.complain(self.judge.strange, f"{daemon.name} ended by itself: "
                                                    f"{daemon.logged()[-300:]}")

    def expect(self, truth, text):
        """A promise of this scenario alone."""
        if not truth:
            self.judge.complain(self.judge.strange, text)
