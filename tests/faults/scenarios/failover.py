"""A server that is taken away, or that is not the only one: what it had, and what it had not."""

import asyncio

from . import scenario
from .redis_away import everybody
from .topology import cluster_of_six, inhabited_fleet, is_master, node_id


def owner_of(primaries, slot):
    """By what each says of itself: the others may not have heard of it yet."""
    for node in primaries:
        for start, end, master, *_ in node.ask("CLUSTER", "SLOTS"):
            if start <= slot <= end and master[2].decode() == node_id(node):
                return node
    raise AssertionError(f"nobody has slot {slot}")


async def move(world, slot, source, to):
    """Live, as an operator does it; between the steps others have their turn."""
    to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(to))
    await world.lasts(0.03)
    while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 10):
        for key in keys:
            source.ask("MIGRATE", to.room.address, 6379, key, 0, 5000)
            await world.lasts(0.03)
    for node in (to, source):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", node_id(to))
    world.house.note("fault", who=source.name, fault=f"slot {slot} to {to.name}")


@scenario
async def slots_move_to_and_fro(world):
    """Slots with trees of ours move to another primary and back again while runs all over these
    trees are cancelled: no cancel fails for good, all are heard, and trees beside them never notice."""
    primaries = (await cluster_of_six(world))[:3]
    world.judge.masters = lambda: primaries
    url = "redis+cluster://" + ",".join(f"{node.room.address}:6379" for node in primaries)
    await inhabited_fleet(world, url)
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    roots, brokers = world.forest.roots(), world.house.brokers

    async def to_and_fro(tree):
        slot = primaries[0].ask("CLUSTER", "KEYSLOT", f"bw:{{{tree.root}}}")
        home = owner_of(primaries, slot)
        away = primaries[primaries.index(home) - 1]
        await move(world, slot, home, away)
        await world.lasts(0.2)
        await move(world, slot, away, home)

    async def cancel(tree, broker):
        for target in reversed(tree.scope()[::6]): # from below to the top
            await world.forest.insist(target, [broker], lane=tree.id)
            await world.lasts(0.04)

    for first in (0, 3):
        some = roots[first:first + 3]
        await asyncio.gather(*(to_and_fro(tree) for tree in some),
                             *(cancel(tree, brokers[n % 2]) for n, tree in enumerate(some)))
    await to_and_fro(roots[8])
    world.healed()
    await world.cancel_trees(roots[6:8], brokers, wait="stopped", timeout_ms=10000)
    await world.verdict()


@scenario
async def what_was_replicated_and_what_was_not(world):
    """What was answered `replicated` is on the replica when the master is killed; what could only be
    answered `memory` said so, and is asserted again after the promotion."""
    house, address = world.house, "10.7.254.1"
    first, second = (house.server("--repl-diskless-sync-delay", "0") for _ in range(2))
    second.ask("REPLICAOF", first.room.address, "6379")
    await world.until(lambda: b"master_link_status:up" in second.ask("INFO", "replication"),
                      "the replica to follow")
    house.move_address(address, first.room)
    await inhabited_fleet(world, f"redis://{address}:6379", durability="replicated",
                          durable_timeout="1s")
    world.judge.redis_forgets = True
    roots, brokers = world.forest.roots(), house.brokers
    for cancel in await world.cancel_trees(roots[:4], brokers):
        world.expect(cancel.answer.body["durability"] == "replicated", f"{cancel.answer}")
    second.room.cut("both", other=first.room)
    for cancel in await world.cancel_trees(roots[4:7], brokers):
        body = cancel.answer.body
        world.expect(body["durability"] == "memory" and body.get("not_durable_because"),
                     f"without a replica: {cancel.answer}")
    first.kill()
    kept = world.judge.trees(second)
    for number, tree in enumerate(roots[:7]):
        there = tree.id in kept[tree.root].cancels
        world.expect(there == (number < 4), f"tree {number}: its cancel is {there} on the replica")
    await world.linked(*everybody(world), linked=False)
    second.ask("REPLICAOF", "NO", "ONE")
    house.servers.reverse()
    house.move_address(address, second.room, away=first.room)
    await world.linked(*everybody(world))
    world.healed()
    await world.cancel_trees(roots[7:9], brokers, durability="memory", wait="stopped", timeout_ms=10000)
    await world.verdict()


# ---- split brain --------------------------------------------------------------------------------

async def watched_group(world):
    """A primary, two replicas and three sentinels, who know of each other: servers and url."""
    house = world.house
    first, *others = [house.server("--repl-diskless-sync-delay", "0") for _ in range(3)]
    for server in others:
        server.ask("REPLICAOF", first.room.address, "6379")
    await world.until(lambda: all(b"master_link_status:up" in server.ask("INFO", "replication")
                                  for server in others), "two replicas")
    hosts = ",".join(f"{house.sentinel(first).room.address}:26379" for _ in range(3))
    await world.lasts(2.5) # until the sentinels know of each other and of the replicas
    return first, others, f"sentinel://{hosts}/brakewire"


@scenario
async def split_brain(world):
    """The primary, a broker and half of the agentds are on one side, the sentinels on the other:
    there are two primaries, and cancels are accepted on both sides. When all see each other again,
    each of these cancels holds, and nobody else is stopped."""
    house = world.house
    first, others, url = await watched_group(world)
    await inhabited_fleet(world, url, lease="20s")
    here = [*house.agentds[:3], house.brokers[0]]
    there = [*house.agentds[3:], house.brokers[1]]
    for other in [*others, *house.sentinels]:
        for one in [first, *here]:
            one.room.cut("both", other=other.room)
    for one in there:
        one.room.cut("both", other=first.room)
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    world.judge.redis_forgets = True
    roots = world.forest.roots()
    early = await world.cancel_trees(roots[:2], here)
    await world.until(lambda: any(map(is_master, others)), "a second primary", 30)
    late = await world.cancel_trees(roots[2:4], [house.brokers[0], house.agentds[0]])
    world.expect(is_master(first) and all(cancel.accepted for cancel in early + late),
                 f"beside the old primary: {[cancel.answer for cancel in early + late]}")
    for tree in roots[3:7]: # one of them on both sides
        await world.forest.insist(tree, [house.brokers[1]])
    for room in house.all_rooms:
        room.heal()
    await world.until(lambda: not is_master(first), "the old primary to follow", 30)
    house.servers.sort(key=lambda server: not is_master(server))
    await world.linked(*everybody(world), within=20)
    world.healed()
    await world.cancel_trees(roots[7:8], house.brokers)
    await world.verdict(within=20)
