"""What a server that is taken away had, and what it had not: slots, and writes that were durable."""

import asyncio

from . import scenario
from .redis_away import everybody
from .topology import cluster_of_six, inhabited_fleet, node_id


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
