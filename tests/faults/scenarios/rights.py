"""Redis has rules of its own: who may do what, and what it may forget."""

import os

from . import scenario


async def fleet_with_a_user(world):
    server = world.house.server()
    server.ask("ACL", "SETUSER", "brakewire", "on", ">secret", "~*", "+@all", "&*")
    password = os.path.join(world.house.folder, "password")
    with open(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as out:
        out.write("secret\n")
    rights = {"redis_user": "brakewire", "redis_password_file": password}
    for _ in range(6):
        world.house.agentd(**rights)
    for _ in range(2):
        world.house.broker(**rights)
    await world.ready(*world.house.agentds, *world.house.brokers)
    await world.inhabited()
    return server


@scenario
async def no_right_to_the_channels(world):
    """The user of the daemons loses the right to its channels while trees are cancelled: the log
    says so; all is told when the right is back."""
    server = await fleet_with_a_user(world)
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    server.ask("ACL", "SETUSER", "brakewire", "resetchannels")
    cancels = await world.cancel_trees(world.forest.roots()[:4], world.house.brokers)
    world.notes.append(f"answers without channels: {[c.answer.status for c in cancels if c.answer]}")
    await world.cancel_trees(world.forest.roots()[4:6], world.house.agentds)
    await world.until(lambda: all("NOPERM" in daemon.logged() for daemon in world.house.agentds),
                      "the logs to say why")
    server.ask("ACL", "SETUSER", "brakewire", "&*")
    await world.linked(*world.house.agentds, *world.house.brokers)
    world.healed()
    for tree in world.forest.roots()[:6]:
        await world.forest.insist(tree, world.house.brokers)
    await world.verdict()


@scenario
async def wrong_password(world):
    """The password of the daemons is no longer the right one: that is a link down, with a reason in
    the log; cancels of an agentd hold, and all goes on when the password is right again."""
    server = await fleet_with_a_user(world)
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    server.ask("ACL", "SETUSER", "brakewire", "resetpass", ">another")
    server.ask("CLIENT", "KILL", "USER", "brakewire")
    everybody = world.house.agentds + world.house.brokers
    await world.linked(*everybody, linked=False)
    refused = await world.forest.cancel(world.forest.roots()[0], world.house.brokers[0])
    world.expect(refused.answer and refused.answer.code == "unavailable", f"{refused.answer}")
    for tree in world.forest.roots()[1:4]:
        cancel = await world.forest.cancel(tree, tree.agent.agentd)
        world.expect(cancel.accepted and cancel.answer.body["pending"], f"{cancel.answer}")
        await world.told_there([cancel])
    await world.until(lambda: all("WRONGPASS" in daemon.logged() for daemon in everybody),
                      "the logs to say why")
    server.ask("ACL", "SETUSER", "brakewire", ">secret")
    await world.linked(*everybody)
    world.healed()
    await world.cancel_trees(world.forest.roots()[4:6], world.house.brokers)
    await world.verdict()


@scenario
async def redis_that_evicts(world):
    """A Redis that may evict our keys (allkeys-lru) is refused, unless that was overridden: then
    all works as ever."""
    house = world.house
    await world.fleet(redis_options=("--maxmemory-policy", "allkeys-lru"),
                      agentd={"eviction-override": "true"}, broker={"eviction-override": "true"})
    refused = [house.agentd(), house.broker()]
    for daemon in refused:
        daemon.gone_on_purpose = True
        await world.until(lambda d=daemon: not d.is_alive() and "allkeys-lru" in d.logged(),
                          f"{daemon.name} to refuse")
        world.expect(daemon.process.returncode > 0, f"{daemon.name}: {daemon.process.returncode}")
    house.agentds.remove(refused[0])
    house.brokers.remove(refused[1])
    await world.inhabited()
    await world.cancel_trees(world.forest.roots()[:6], house.brokers)
    await world.verdict()
