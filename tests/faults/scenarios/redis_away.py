"""Redis goes away and comes back: with what it knew, with less, with nothing."""

import asyncio
import signal

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
    world.healed()
    await world.linked(*everybody(world))


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
        await world.told_there([cancel])
        refused = await world.forest.cancel(roots[9], brokers[1])
        world.expect(refused.answer and refused.answer.code == "unavailable",
                     f"a broker without Redis answered {refused.answer}")
    await restart()
    await world.cancel_trees(roots[7:9], brokers, wait="stopped", timeout_ms=10000)


@scenario
async def redis_gone_for_long(world):
    """Redis is gone: cancels given to an agentd stop at once what is there; new runs start
    unprotected or are refused, as each agentd was told; brokers say 503. When it is back, all of
    that is recorded."""
    house = world.house
    await world.fleet(agentds=3, redis_options=KEEPS_ALL)
    for _ in range(3):
        house.agentd(when_redis_is_down="refuse")
    await world.ready(*house.agentds)
    await world.inhabited()
    world.judge.permit("unavailable", who=("harness", "agent"))
    await away(world)
    roots, local = world.forest.roots(), []
    for tree in roots[:6]:
        local.append(await world.forest.cancel(tree, tree.agent.agentd))
        world.expect(local[-1].accepted and local[-1].answer.body["pending"], f"{local[-1].answer}")
        refused = await world.forest.cancel(roots[9], house.brokers[0])
        world.expect(refused.answer and refused.answer.status == 503, f"{refused.answer}")
    await world.told_there(local)
    new = [world.forest.plan_tree(1, among=[agent])[0] for agent in world.forest.agents]
    for run in new[:3]:
        reply = await world.forest.start_run(run)
        world.expect(reply["body"]["protected"] is False, f"a start without Redis: {reply}")
    for run in new[3:]:
        await world.forest.start_run(run, expect=503)
    await world.lasts(60 if world.long else 4)
    await back(world)

    def all_known():
        trees = world.judge.trees()
        return all(run.root in trees for run in new[:3])

    await world.until(all_known, "runs that started without Redis to be asserted")
    await world.cancel_trees(new[:2], house.brokers, wait="stopped", timeout_ms=8000)
    await world.verdict()


@scenario
async def failover_loses_writes(world):
    """The replica has not got the last writes when the primary dies and it takes over: accepted
    cancels are asserted again, nobody else is stopped."""
    house, address = world.house, "10.7.254.1"
    first, second = house.server(), house.server()
    second.ask("REPLICAOF", first.room.address, "6379")
    await world.until(lambda: b"master_link_status:up" in second.ask("INFO", "replication"),
                      "the replica to follow")
    house.move_address(address, first.room)
    for _ in range(6):
        house.agentd(redis_url=f"redis://{address}:6379")
    for _ in range(2):
        house.broker(redis_url=f"redis://{address}:6379")
    await world.ready(*everybody(world))
    await world.inhabited()
    await world.until(lambda: world.judge.trees(second).keys() == world.judge.trees(first).keys(),
                      "the replica to have all trees")
    second.room.cut("both", other=first.room)
    roots = world.forest.roots()
    await world.cancel_trees(roots[:5], house.brokers)
    first.kill()
    await world.linked(*everybody(world), linked=False)
    world.expect(not any(tree.cancels for tree in world.judge.trees(second).values()),
                 "the replica had the cancels: nothing was lost")
    world.judge.redis_forgets = True
    second.ask("REPLICAOF", "NO", "ONE")
    house.servers.reverse()
    house.move_address(address, second.room, away=first.room)
    await world.linked(*everybody(world))
    world.healed()
    await world.cancel_trees(roots[5:7], house.brokers, wait="stopped", timeout_ms=10000)
    await world.verdict()


@scenario
async def a_replicated_cancel_outlives_everybody(world):
    """Cancels that were answered `replicated`; then the primary, all brokers and all agentds are
    killed at once. On the replica the cancels stand, and who registers again is told."""
    house, address = world.house, "10.7.254.1"
    first, second = (house.server("--repl-diskless-sync-delay", "0") for _ in range(2))
    second.ask("REPLICAOF", first.room.address, "6379")
    await world.until(lambda: b"master_link_status:up" in second.ask("INFO", "replication"),
                      "the replica to follow")
    house.move_address(address, first.room)
    for _ in range(6):
        house.agentd(redis_url=f"redis://{address}:6379", lease="5s")
    for _ in range(2):
        house.broker(redis_url=f"redis://{address}:6379", lease="5s")
    await world.ready(*everybody(world))
    await world.inhabited(processes=0.0)
    world.judge.broken_is_fine = world.judge.redis_forgets = True
    world.judge.permit("unauthorized", "not_found", "unavailable", who=("agent",)) # until they are known again
    for agent in world.forest.agents: # nobody obeys before the crash
        agent.signal(signal.SIGSTOP)
    cancels = await world.cancel_trees(world.forest.roots()[:6], house.brokers, durability="replicated")
    for cancel in cancels:
        world.expect(cancel.accepted and cancel.answer.body["durability"] == "replicated",
                     f"{cancel.answer}")
    for victim in [first, *everybody(world)]:
        victim.kill()
    second.ask("REPLICAOF", "NO", "ONE")
    house.servers.reverse()
    house.move_address(address, second.room, away=first.room)
    for agent in world.forest.agents:
        agent.signal(signal.SIGCONT)
    for daemon in everybody(world):
        daemon.again()
    await world.ready(*everybody(world))
    world.healed()
    await world.verdict()


@scenario
async def slow_redis(world):
    """Redis stands still for up to two seconds, again and again, while trees are cancelled: slow,
    and nothing else."""
    await world.settled_fleet(agentd={"lease": "6s"}, broker={"lease": "6s"})
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    done = asyncio.Event()

    async def stand_still():
        while not done.is_set():
            world.house.redis.freeze()
            await asyncio.sleep(world.forest.random.uniform(0.3, 2))
            world.house.redis.thaw()
            await asyncio.sleep(0.2)

    # The judge may not look meanwhile: it would stand still as well.
    world.judge.sampling.cancel()
    standing = asyncio.ensure_future(stand_still())
    for number, tree in enumerate(world.forest.roots()[:8]):
        await world.forest.insist(tree, world.house.brokers + world.house.agentds[:number % 6])
    done.set()
    await standing
    await world.verdict()


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
