"""Bytes that nobody should have sent."""

import asyncio

import msgpack

from . import scenario


def nonsense(dice, root, run):
    """One message of many kinds; none of them is a cancel that anybody may obey."""
    record = [1, 1, root, run, 0, "garbage", "nobody", 1, "", -1, "", 0, False]
    kinds = (
        lambda: dice.randbytes(dice.randrange(0, 200)),
        lambda: dice.randbytes(20000),
        lambda: b"\x91" * 5000,
        lambda: b"\xdd\x0f\xff\xff\xff",
        lambda: b"\xdf\xff\xff\xff\xff" + dice.randbytes(10),
        lambda: msgpack.packb([9] + record[1:]),                     # a version of tomorrow
        lambda: msgpack.packb([1, 77] + record[2:]),                 # a type of tomorrow
        lambda: msgpack.packb(record)[:dice.randrange(1, 20)],
        lambda: msgpack.packb(record) + b"more",
        lambda: msgpack.packb(record[:3] + ["../../etc"] + record[4:]),
        lambda: msgpack.packb(["another"] + record[1:]),
        lambda: msgpack.packb([1, 1, "another-root", run] + record[4:]),
        lambda: msgpack.packb(record[:5] + ["x" * 17000] + record[6:]),
        lambda: b"cancel ",
        lambda: b"cancel no/such/run please",
        lambda: b"cancel " + b"a" * 2000,
        lambda: b"",
    )
    return dice.choice(kinds)()


@scenario
async def garbage_on_the_channels(world):
    """Random, oversized, truncated messages and ones of other versions on every channel, while
    trees are cancelled: counted, dropped, and no cancel is later for it. A cancel published by hand
    among them is obeyed."""
    await world.settled_fleet()
    redis, dice, roots = world.house.redis, world.forest.random, world.forest.roots()
    done, sent = asyncio.Event(), 0

    async def pour():
        nonlocal sent
        while not done.is_set():
            for root in roots:
                target = dice.choice(root.scope()).id
                channel = f"bw:{{{root.root}}}" + dice.choice(("", ":watch"))
                redis.ask("PUBLISH", channel, nonsense(dice, root.root, target))
                sent += 1
            await asyncio.sleep(0.005)

    pouring = asyncio.ensure_future(pour())
    redis.ask("PUBLISH", f"bw:{{{roots[9].root}}}", f"cancel {roots[9].id} by hand")
    world.forest.imply(roots[9], "channel")
    await world.lasts(1)
    for number, tree in enumerate(roots[:6]):
        await world.forest.cancel(tree, world.house.brokers[number % 2], wait="stopped", timeout_ms=8000)
    redis.ask("PUBLISH", f"bw:{{{roots[8].root}}}", b"x" * (8 << 20))
    await world.lasts(1)
    done.set()
    await pouring
    counted = 0
    for daemon in world.house.agentds:
        metrics = (await world.look(daemon, "/metrics"))["text"]
        counted += sum(float(line.split()[-1]) for line in metrics.splitlines()
                       if line.startswith("brakewire_malformed_total"))
    world.expect(counted > 0, "nobody has counted any of it")
    world.notes.append(f"{sent} messages, {counted:.0f} counted as malformed by six agentds")
    await world.verdict()
