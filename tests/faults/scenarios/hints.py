"""The fast way, pub/sub, is taken away."""

import asyncio
import contextlib

import redis

from . import scenario


async def kill_subscribers(server, stop):
    """As often as Redis answers: every connection that has subscribed to anything."""
    killed = 0
    while not stop.is_set():
        with contextlib.suppress(redis.exceptions.RedisError):
            killed += server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        await asyncio.sleep(0.02)
    return killed


@scenario
async def subscribers_killed(world):
    """Connections with subscriptions are killed all the time while 1,000 cancels go out, each for
    one run: none is lost."""
    await world.settled_fleet(trees=44, size=25, processes=0.0)
    world.judge.permit("unknown_outcome", "unavailable")
    runs = [run for tree in world.forest.roots()[4:] for run in reversed(tree.scope())]
    stop = asyncio.Event()
    killer = asyncio.ensure_future(kill_subscribers(world.house.redis, stop))
    seconds = 60 if world.long else 18
    lanes = asyncio.Queue()
    for run in sorted(runs, key=lambda r: -r.depth):
        lanes.put_nowait(run)

    async def lane(number):
        while not lanes.empty():
            run = lanes.get_nowait()
            daemons = world.house.brokers + world.house.agentds
            order = daemons[number % len(daemons):] + daemons[:number % len(daemons)]
            await world.forest.insist(run, order, lane=number)
            await asyncio.sleep(seconds * 4 / len(runs))

    await asyncio.gather(*(lane(number) for number in range(4)))
    stop.set()
    world.notes.append(f"{await killer} connections killed")
    await world.verdict()
