"""Redis is there and refuses: for want of memory, of disk, of a replica, of rights."""

import asyncio
import contextlib
import os

import redis

from . import scenario


async def cancels_while_refused(world, harm, heal, records=False, says="", answers=None, publishes=False):
    """Three trees by a broker, three by an agentd. `records`: Redis takes cancels all the same; else
    logs say `says`, and brokers `answers`. `publishes`: and everybody is told before Redis writes again."""
    roots, brokers, house = world.forest.roots(), world.house.brokers, world.house
    await harm()
    if not records:
        world.judge.permit("unavailable", "unknown_outcome", who=("harness",))
    for number, tree in enumerate(roots[:3]):
        cancel = await world.forest.cancel(tree, brokers[number % 2])
        world.expect(cancel.accepted if records else cancel.answer.status == 503,
                     f"a broker answered {cancel.answer}")
        world.expect(records or (says if answers is None else answers) in cancel.answer.body["detail"],
                     f"a broker says {cancel.answer}")
    local = []
    for tree in roots[3:6]:
        local.append(await world.forest.cancel(tree, tree.agent.agentd))
        world.expect(local[-1].accepted and (records or local[-1].answer.body["pending"]),
                     f"an agentd answered {local[-1].answer}")
    await world.told_there(local)
    if publishes:
        everybody = {run for tree in roots[3:6] for run in tree.scope()}
        await world.until(lambda: everybody <= world.told_runs(), "a cancel that nobody records to be heard",
                          within=5)
    asked = [*brokers, *(tree.agent.agentd for tree in roots[3:6])]
    await world.until(lambda: all(says in daemon.logged() for daemon in asked), f"the logs to say {says}", within=5)
    await heal()
    world.healed()
    await world.linked(*house.agentds, *brokers)
    for number, tree in enumerate(roots[:3]):
        await world.forest.insist(tree, [brokers[number % 2]])
    await world.verdict()


def config(world, *words):
    async def act():
        world.house.note("fault", who="redis0", fault=" ".join(words))
        world.house.redis.ask("CONFIG", "SET", *words)
    return act


@scenario
async def maxmemory(world):
    """Redis has no memory left: cancels are recorded and heard as ever; a new run starts as it does
    without Redis, unprotected, and is asserted later."""
    await world.settled_fleet()
    agent = world.forest.agents[0]

    async def harm():
        await config(world, "maxmemory", "1mb")()
        late = world.forest.plan_tree(1, among=[agent])
        await world.forest.start(late)
        body = await world.look(agent.agentd, f"/v1/runs/{late[0].id}")
        world.expect(body.get("protected") is False, f"a start without memory: {body}")

    async def heal():
        await config(world, "maxmemory", "0")()
        run = world.forest.plan_tree(1, among=[agent])
        await world.forest.start(run)

    await cancels_while_refused(world, harm, heal, records=True)


@scenario
async def misconf(world):
    """Redis cannot save to its disk and takes no writes (MISCONF)."""
    await world.settled_fleet(redis_options=("--stop-writes-on-bgsave-error", "yes"))
    server = world.house.redis
    in_the_way = os.path.join(server.data, "dump.rdb")

    async def save_ends(status):
        with contextlib.suppress(redis.exceptions.ResponseError):
            server.ask("BGSAVE")
        await world.until(lambda: f"rdb_last_bgsave_status:{status}".encode()
                          in server.ask("INFO", "persistence"), f"a save to end with {status}")

    async def harm():
        os.mkdir(in_the_way)
        await config(world, "save", "3600 1")()
        await save_ends("err")

    async def heal():
        os.rmdir(in_the_way)
        await save_ends("ok")

    await cancels_while_refused(world, harm, heal, says="MISCONF", publishes=True)


@scenario
async def full_disk(world):
    """The disk of Redis is full and its append-only file cannot grow: no writes until there is room."""
    world.house.server("--appendonly", "yes", "--appendfsync", "everysec", disk_mib=4)
    for _ in range(6):
        world.house.agentd()
    for _ in range(2):
        world.house.broker()
    await world.ready(*world.house.agentds, *world.house.brokers)
    await world.inhabited()
    server = world.house.redis
    filler = os.path.join(server.data, "filler")

    async def harm():
        with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as out:
            while True:
                out.write(bytes(4096))
        server.ask("SET", "something", "x" * 20000)
        await world.until(lambda: b"aof_last_write_status:err" in server.ask("INFO", "persistence"),
                          "the disk to be full")

    async def heal():
        os.unlink(filler)
        await world.until(lambda: b"aof_last_write_status:ok" in server.ask("INFO", "persistence"),
                          "the append-only file to grow again")

    await cancels_while_refused(world, harm, heal, says="MISCONF", publishes=True)


@scenario
async def noreplicas(world):
    """Redis wants a replica that is not there and takes no writes (NOREPLICAS)."""
    await world.settled_fleet()
    await cancels_while_refused(world, config(world, "min-replicas-to-write", "1"),
                                config(world, "min-replicas-to-write", "0"), says="NOREPLICAS", publishes=True)


@scenario
async def readonly(world):
    """Redis becomes a replica of nobody in particular (READONLY), and a primary again."""
    await world.settled_fleet()
    server = world.house.redis

    async def harm():
        server.ask("REPLICAOF", "10.7.255.253", "6379")

    async def heal():
        server.ask("REPLICAOF", "NO", "ONE")

    await cancels_while_refused(world, harm, heal, says="read-only replica", answers="")


@scenario
async def loading(world):
    """Redis is back and reads its data for seconds (LOADING): nothing is taken for an answer, and
    all goes on when it has read them."""
    await world.settled_fleet(redis_options=("--appendonly", "yes", "--appendfsync", "always"))
    server = world.house.redis
    server.ask("EVAL", "for i = 1, 1500 do redis.call('set', 'filler:' .. i, i) end", 0)
    server.ask("BGREWRITEAOF")
    await world.until(lambda: b"aof_rewrite_in_progress:0" in server.ask("INFO", "persistence"),
                      "the append-only file to be rewritten")

    async def harm():
        server.kill()
        server.again("--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024")
        world.expect(b"loading:1" in server.ask("INFO", "persistence"), "Redis was not loading")

    async def heal():
        await world.until(lambda: b"loading:0" in server.ask("INFO", "persistence"), "Redis to load")

    await cancels_while_refused(world, harm, heal, says="loading", answers="is down")


@scenario
async def scripts_flushed(world):
    """Somebody flushes the scripts of Redis all the time: no cancel fails, and none comes twice."""
    await world.settled_fleet()
    stop = asyncio.Event()

    async def flush():
        count = 0
        while not stop.is_set():
            world.house.redis.ask("SCRIPT", "FLUSH", "SYNC")
            count += 1
            await asyncio.sleep(0.001)
        return count

    flushing = asyncio.ensure_future(flush())
    runs = [run for tree in world.forest.roots()[:8] for run in reversed(tree.scope())]
    for number, run in enumerate(runs):
        await world.forest.cancel(run, (world.house.brokers + world.house.agentds)[number % 8])
    stop.set()
    world.notes.append(f"flushed {await flushing} times")
    await world.verdict()
