"""Daemons and agents are killed, frozen, and started again."""

import asyncio
import signal
import time

from . import scenario
from forest import Agent
from proc import processes_of_runs


@scenario
async def agentds_killed(world):
    """Half of the agentds are killed, trees are cancelled meanwhile, the agentds come back within
    the lease: agents register again and find every cancel; the other trees never notice."""
    await world.settled_fleet()
    world.judge.broken_is_fine = True
    world.judge.permit("conflict", who=("agent",))
    gone = world.house.agentds[:3]
    for daemon in gone:
        daemon.kill()
    brokers = world.house.brokers
    for number, tree in enumerate(world.forest.roots()[:6]):
        await world.forest.cancel(tree, brokers[number % 2])
    for daemon in gone:
        daemon.again()
    await world.ready(*gone)
    world.judge.healed_at = time.monotonic()
    await world.verdict()


@scenario
async def agents_killed(world):
    """Two of six agent processes are killed: what they carried, and everything below it, is
    stopped, processes too; nothing else is. Runs with on_client_gone = continue go on as long as their
    processes do, and stop when they are cancelled."""
    await world.settled_fleet(processes=0.2)
    world.judge.own_reasons.add("client_gone")
    world.judge.broken_is_fine = True
    victims = world.forest.agents[1:3]
    kept = world.forest.plan_tree(12, processes=1.0, among=victims)[1:] # the top one has no process
    for run in kept:
        run.parent, run.children, run.depth = None, [], 1
        await world.forest.start_run(run, on_client_gone="continue")
    for agent in victims:
        agent.signal(signal.SIGKILL)
        for run in world.forest.runs:
            if run.agent is agent and run not in kept:
                world.forest.imply(run, "client_gone")
    await world.forest.cancel(world.forest.roots()[0], world.house.brokers[0])
    await world.judge.settle()
    orphans = {run.token for run in world.forest.runs if run.pid and run.agent.dead and run not in kept}
    await world.until(lambda: not orphans & processes_of_runs().keys(), "the processes of the dead to be killed")
    alive, trees = processes_of_runs(), world.judge.trees()
    for run in kept:
        world.expect(run.token in alive and trees[run.root].runs[run.id].letter == "r",
                     f"{run.id} did not go on without its client")
    await world.cancel_trees(kept[:6], world.house.brokers, wait="stopped", timeout_ms=8000)
    world.expect(all(run.token in processes_of_runs() for run in kept[6:]), "one was stopped that nobody cancelled")
    await world.verdict()


class Mayflies:
    """At each agentd a second agent process, with a small tree of its own: it is killed, and another one
    comes with a new tree."""

    def __init__(self, world):
        self.world, self.alive, self.count = world, {}, 0

    async def hatch(self, agentd):
        self.count += 1
        agent = Agent(self.world.house, agentd, f"mayfly{self.count}-{agentd.name}")
        await agent.open()
        self.alive[agentd] = agent
        await self.world.forest.start(self.world.forest.plan_tree(3, processes=0.3, among=[agent]))

    async def die(self, agentd):
        agent = self.alive[agentd]
        agent.signal(signal.SIGKILL)
        for run in self.world.forest.runs:
            if run.agent is agent: # nobody may be left who knows it but for its lease
                self.world.forest.imply(run, "client_gone")
                self.world.judge.losable.add(run.id)
        await self.hatch(agentd)


async def torment(world, until, mayflies):
    """One thing at a time, for less than a lease, and never the same for long."""
    dice, forest = world.forest.random, world.forest
    while time.monotonic() < until:
        victim = dice.choice(world.house.agentds + world.house.brokers)
        harm = dice.choice(("kill", "freeze", "agent frozen", "agent killed"))
        if harm == "kill":
            victim.kill()
            await asyncio.sleep(dice.uniform(0, 0.3))
            victim.again()
            await world.ready(victim)
        elif harm == "freeze":
            victim.freeze()
            await asyncio.sleep(dice.uniform(0.05, 1.0))
            victim.thaw()
        elif harm == "agent killed":
            await mayflies.die(dice.choice(world.house.agentds))
        else:
            agent = dice.choice([a for a in forest.agents if not a.dead])
            agent.signal(signal.SIGSTOP)
            await asyncio.sleep(dice.uniform(0.05, 0.4))
            agent.signal(signal.SIGCONT)
        await asyncio.sleep(dice.uniform(0, 0.1))


async def cancel_until(world, until, trees):
    daemons = world.house.brokers + world.house.agentds
    for number, tree in enumerate(trees):
        share = (until - time.monotonic()) / max(1, len(trees) - number)
        order = daemons[number % len(daemons):] + daemons[:number % len(daemons)]
        target = world.forest.random.choice(tree.scope()) if number % 2 else tree
        await world.forest.insist(target, order, within=20)
        await asyncio.sleep(max(0.0, min(share, until - time.monotonic())))


async def confirm_losses(world):
    """Where an agentd died with its agent, nobody comes back, and so many losses suspend the sweep until an
    operator says that they are really gone. A confirmation is of those that are gone by then, for two leases;
    so there is one after the other."""
    while True:
        said = await world.forest.ask(world.house.brokers[0], "POST", "/v1/replicas/confirm-losses")
        world.expect(said and said.status == 200, f"confirm-losses: {said}")
        await asyncio.sleep(world.lease)


@scenario
async def random_torment(world):
    """Agentds, brokers and agents are killed, frozen and started again at random while trees are
    cancelled: what was accepted stops, what was not cancelled goes on."""
    await world.settled_fleet(trees=24, size=16)
    world.judge.broken_is_fine = True
    world.judge.permit("unknown_outcome", "unavailable")
    world.judge.permit("conflict", "not_found", "unauthorized", who=("agent",))
    world.judge.own_reasons |= {"client_gone", "lost"}
    roots, mayflies = world.forest.roots(), Mayflies(world)
    for agentd in world.house.agentds:
        await mayflies.hatch(agentd)
    until = time.monotonic() + (60 if world.long else 12)
    await asyncio.gather(torment(world, until, mayflies), cancel_until(world, until, roots[:18]))
    world.notes.append(f"{mayflies.count - 6} agents were killed")
    await world.ready(*world.house.brokers)
    operator = asyncio.create_task(confirm_losses(world))
    try:
        await world.verdict(within=20)
    finally:
        operator.cancel()


@scenario
async def rolling_upgrade(world):
    """Three agentds and a broker write the next version of the messages beside three and one that
    do not know it; then the old ones are replaced, one after the other. Every cancel by any of them
    reaches everybody, and nobody else is stopped."""
    house = world.house
    world.judge.versions = (1, 2)
    house.server()
    for number in range(6):
        house.agentd(drain="200ms", program="brakewire-agentd" + ("-next" if number % 2 else ""))
    house.broker()
    house.broker(program="brakewire-broker-next")
    await world.ready(*house.agentds, *house.brokers)
    await world.inhabited(trees=16, size=16)
    world.judge.permit("not_found", who=("agent",)) # a process that died just now
    world.judge.broken_is_fine = True # an agentd ends between a request and its answer
    roots = iter(world.forest.roots()[:14])
    for daemon in house.brokers + house.agentds[:4]:
        await world.forest.cancel(next(roots), daemon, wait="stopped", timeout_ms=5000)
    for old in house.agentds[::2] + house.brokers[:1]:
        old.kill(signal.SIGTERM)
        await world.forest.cancel(next(roots), house.brokers[1])
        old.upgrade("brakewire-broker-next" if old in house.brokers else "brakewire-agentd-next")
        old.again()
        await world.ready(old)
        await world.forest.insist(next(roots), [old])
    await world.verdict()


@scenario
async def zombie(world):
    """An agentd is frozen until its runs are lost, and goes on: no checkpoint is granted to them,
    they are told and stop, with what is below them; trees without it never notice."""
    await world.settled_fleet(trees=6)
    await world.forest.grow(4, 24, among=world.forest.agents[1:])
    frozen, agent = world.house.agentds[0], world.forest.agents[0]
    mine = [run for run in world.forest.runs if run.agent is agent]
    world.judge.permit("frozen", "fenced", "over", who=("agent",))
    frozen.freeze()
    world.will_be_lost(frozen)
    writes = [asyncio.ensure_future(agent.order(
        "ask", method="POST", path=f"/v1/runs/{run.id}/fence",
        body={"epoch": run.epoch, "write_id": "w1"})) for run in mine[:8]]

    def all_lost():
        trees = world.judge.trees()
        return all(trees[run.root].runs[run.id].letter in "LC" for run in mine)

    await world.until(all_lost, "its runs to be declared lost")
    frozen.thaw()
    world.healed()
    for answer in await asyncio.gather(*writes):
        world.expect(answer.get("status") == 409, f"a zombie's checkpoint was answered {answer}")
    await world.verdict()


@scenario
async def broker_killed_mid_wait(world):
    """A broker is killed while ten callers wait for their trees to stop: the other one, asked
    again, knows the same cancel and waits to the end."""
    await world.fleet()
    await world.forest.populate()
    planned = [run for _ in range(10) for run in world.forest.plan_tree(24)]
    for run in planned:
        run.manner["after_ms"] = 1500
    await world.forest.start(planned)
    await world.watch()
    world.judge.broken_is_fine = True
    first, second = world.house.brokers
    waiting = asyncio.ensure_future(world.cancel_trees(world.forest.roots(), [first], wait="stopped",
                                                       timeout_ms=10000))
    await world.until(lambda: all(run.id in world.judge.read_story() for run in planned
                                  if run.pid is None), "all to be told")
    first.kill()
    first.gone_on_purpose = True
    for cancel in await waiting:
        world.expect(cancel.broken, f"a dead broker answered {cancel.answer}")
    for again in await world.cancel_trees(world.forest.roots(), [second], wait="stopped",
                                          timeout_ms=10000):
        body = again.answer.body if again.answer else {}
        world.expect(body.get("already") and body.get("complete"), f"asked again: {again.answer}")
    await world.verdict()
