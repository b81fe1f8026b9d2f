"""Partitions: packets are swallowed, in one direction or both. Nobody is told; no FIN, no RST."""

import asyncio
import time

from . import scenario
from forest import Run


@scenario
async def partition_shorter_than_the_lease(world):
    """Three agentds are cut off for less than the lease, both ways, outwards, inwards, while trees
    are cancelled: their runs are told when packets pass again, and nobody is suspected."""
    await world.settled_fleet(agentd={"lease": "5s"}, broker={"lease": "5s"})
    cut = world.house.agentds[:3]
    for daemon, direction in zip(cut, ("both", "out", "in")):
        daemon.room.cut(direction)
    await world.cancel_trees(world.forest.roots()[:6], world.house.brokers)
    await world.lasts(2.5)
    for daemon in cut:
        daemon.room.heal()
    world.healed()
    await world.verdict()


@scenario
async def partition_longer_than_the_lease(world):
    """Two agentds are cut off until their runs are lost; when packets pass again these are told and
    stop, with what is below them. Trees without those two never notice."""
    await world.settled_fleet(trees=6)
    await world.forest.grow(4, 24, among=world.forest.agents[2:])
    cut = world.house.agentds[:2]
    for daemon, direction in zip(cut, ("both", "out")):
        daemon.room.cut(direction)
    world.will_be_lost(*cut)
    mine = [run for run in world.forest.runs if run.agent.agentd in cut]
    await world.cancel_trees(world.forest.roots()[:2], world.house.brokers)

    def all_lost():
        trees = world.judge.trees()
        return all(trees[run.root].runs[run.id].letter in "LC" for run in mine)

    await world.until(all_lost, "their runs to be declared lost")
    for daemon in cut:
        daemon.room.heal()
    world.healed()
    await world.verdict()


def trees_known_at(world, agentds):
    """All roots; the first ones have a run at the agentd of the same place. Without Redis an agentd
    can only take a cancel of what it carries."""
    left, known = world.forest.roots(), []
    for agentd in agentds:
        at_home = {run.root for run in world.forest.runs if run.agent.agentd is agentd}
        known.append(next(tree for tree in left if tree.id in at_home))
        left.remove(known[-1])
    return known + left


@scenario
async def half_open_is_noticed(world):
    """Connections die in silence: both ways, outwards, inwards, and on the server's side. Each
    daemon says within ten seconds that it is cut off; a cancel given to it meanwhile stops what is
    there at once, and everybody else when packets pass again."""
    await world.settled_fleet(agentd={"lease": "15s"}, broker={"lease": "15s"})
    world.judge.permit("unavailable", "unknown_outcome", who=("harness",))
    agentds, broker, redis = world.house.agentds, world.house.brokers[0], world.house.redis
    trees = trees_known_at(world, agentds[:4])
    began = time.monotonic()
    for daemon, direction in zip(agentds, ("both", "out", "in")):
        daemon.room.cut(direction)
    redis.room.cut("both", other=agentds[3].room)
    broker.room.cut("both")
    cut = [*agentds[:4], broker]

    async def notices(daemon):
        await world.linked(daemon, linked=False, within=10)
        return time.monotonic() - began

    noticed = await asyncio.gather(*(notices(daemon) for daemon in cut))
    world.notes.append("noticed after " + ", ".join(f"{seconds:.1f}" for seconds in noticed) + " s")
    local = await world.cancel_trees(trees[:4], agentds[:4])
    world.expect(all(c.accepted and c.answer.body["durability"] == "local" for c in local),
                 f"agentds that are cut off answered {[c.answer for c in local]}")
    await world.told_there(local)
    refused = await world.forest.cancel(trees[9], broker)
    world.expect(refused.answer and refused.answer.code == "unavailable",
                 f"a broker that is cut off answered {refused.answer}")
    await world.cancel_trees(trees[4:7], world.house.brokers[1:])
    for room in [daemon.room for daemon in cut] + [redis.room]:
        room.heal()
    world.healed()
    await world.verdict()


@scenario
async def isolated_runs(world):
    """An agentd is cut off for longer than its lease and back before it is declared lost: runs with
    when_isolated = cancel have stopped, with what is below them; the others went on."""
    await world.settled_fleet(trees=8, agentd={"lease": "3s"}, broker={"lease": "3s"})
    agent, others = world.forest.agents[0], world.forest.agents[1:]
    tops = {"cancel": [], "continue": []}
    for word, roots in tops.items():
        for _ in range(10):
            top = Run(None, agent, {"after_ms": 2})
            await world.forest.start_run(top, when_isolated=word)
            below = Run(top, world.forest.random.choice(others), {"after_ms": 2})
            await world.forest.start([below])
            roots.append(top)
    world.judge.own_reasons.add("isolated")
    agent.agentd.room.cut("both")
    for top in tops["cancel"]:
        world.forest.imply(top, "isolated")
    await world.until(lambda: all(top.id in world.judge.read_story() for top in tops["cancel"]),
                      "those that must not go on alone to be told", within=5.5)
    agent.agentd.room.heal()
    world.healed()
    await world.verdict()
