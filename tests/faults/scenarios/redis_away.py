"""Redis goes away and comes back: with what it knew, with less, with nothing."""

import asyncio

from . import scenario

KEEPS_ALL = ("--appendonly", "yes", "--appendfsync", "always")


def everybody(world):
    return world.house.agentds + world.house.brokers


async def away(world):
    """Killed, and everybody has noticed."""
    world.house.redis.kill()
    await world.linked(*everybody(world), linked=False)


async def back(world, *options):
    world.house.redis.again(*options)
    await world.linked(*everybody(world))
    world.healed()


@scenario
async def redis_down_three_leases(world):
    """Redis is away for three leases and back with its data: nothing is lost or cancelled by that,
    and what is cancelled afterwards stops."""
    await world.settled_fleet(redis_options=KEEPS_ALL)
    await away(world)
    await world.lasts(3 * world.lease)
    await back(world)
    await world.lasts(2 * world.lease)
    world.judge.judge_untouched(world.judge.trees())
    await world.cancel_trees(world.forest.roots()[:5], world.house.brokers, wait="stopped",
                             timeout_ms=8000)
    await world.verdict()


async def cancels_around_a_crash(world, restart):
    """Two trees long before it, three in the moment of it, two while Redis is away, two after it."""
    roots, brokers = world.forest.roots(), world.house.brokers
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    await world.cancel_trees(roots[:2], brokers, wait="stopped", timeout_ms=5000)
    at_once = [asyncio.ensure_future(world.forest.cancel(tree, brokers[0], lane=tree.id))
               for tree in roots[2:5]]
    await asyncio.wait(at_once, return_when=asyncio.FIRST_COMPLETED)
    await away(world)
    await asyncio.gather(*at_once)
    for tree in roots[5:7]:
        cancel = await world.forest.cancel(tree, tree.agent.agentd)
        world.expect(cancel.accepted and cancel.answer.body["pending"]
                     and cancel.answer.body["durability"] == "local",
                     f"an agentd without Redis answered {cancel.answer}")
        refused = await world.forest.cancel(roots[9], brokers[1])
        world.expect(refused.answer and refused.answer.code == "unavailable",
                     f"a broker without Redis answered {refused.answer}")
    await restart()
    await world.cancel_trees(roots[7:9], brokers, wait="stopped", timeout_ms=10000)


@scenario
async def aof_restart(world):
    """Redis is killed during cancels and back from its append-only file: what was accepted holds,
    what an agentd took meanwhile is recorded, the rest goes on."""
    await world.settled_fleet(redis_options=KEEPS_ALL)
    await cancels_around_a_crash(world, lambda: back(world))
    await world.verdict()


@scenario
async def empty_restart(world):
    """Redis is killed during cancels and back with nothing: agentds and brokers assert again what
    lives and what was cancelled; no acknowledged cancel is gone, and nobody else is stopped."""
    await world.settled_fleet()
    world.judge.redis_forgets = True

    async def restart():
        world.house.redis.forget()
        await back(world)

    await cancels_around_a_crash(world, restart)
    await world.verdict()
