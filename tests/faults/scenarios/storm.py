"""Everybody comes back at once."""

import asyncio
import time

from . import scenario
from forest import NearAgent

KIB_EACH = 10 * 1024


def how_many():
    """A thousand, or as many as leave half of the memory to others."""
    with open("/proc/meminfo", encoding="ascii") as info:
        available = next(int(line.split()[1]) for line in info if line.startswith("MemAvailable"))
    return min(1000, available // 2 // KIB_EACH)


@scenario
async def a_thousand_sidecars_reconnect(world):
    """A thousand agentds, each with a run, lose their connections at once while half of the trees
    are cancelled: all are told, Redis goes on answering, and nobody is suspected."""
    house, count = world.house, how_many()
    house.server("--maxclients", "4000")
    rooms = [house.room() for _ in range(10)]
    for number in range(count):
        house.agentd(room=rooms[number % 10], lease="15s", lost_grace="30s")
    for _ in range(2):
        house.broker(lease="15s")
    await world.ready(*house.agentds, *house.brokers, within=60)
    await world.forest.populate(NearAgent)
    runs = []
    for tree in range(20):
        runs += world.forest.plan_tree(count // 20, processes=0.0,
                                       among=world.forest.agents[tree::20])
    await world.forest.start(runs)
    await world.watch()
    slowest = 0.0
    done = asyncio.Event()

    async def ping():
        nonlocal slowest
        while not done.is_set():
            began = time.monotonic()
            house.redis.ask("PING")
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.01)

    pinging = asyncio.ensure_future(ping())
    killed = house.redis.ask("CLIENT", "KILL", "TYPE", "pubsub")
    killed += house.redis.ask("CLIENT", "KILL", "TYPE", "normal")
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    for tree in world.forest.roots()[:10]:
        await world.forest.insist(tree, house.brokers)
    await world.judge.settle(20)
    done.set()
    await pinging
    shared = sum(daemon.memory_kib() for daemon in house.agentds) // 1024
    world.notes.append(f"{count} agentds, {shared} MiB resident together; {killed} connections killed; "
                       f"slowest PING {slowest * 1000:.0f} ms")
    await world.verdict()
