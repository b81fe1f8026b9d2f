"""Redis goes away and comes back: with what it knew, with less, with nothing."""

from . import scenario


@scenario
async def redis_down_three_leases(world):
    """Redis is away for three leases and back with its data: nothing is lost or cancelled by that,
    and what is cancelled afterwards stops."""
    await world.settled_fleet(redis_options=("--appendonly", "yes", "--appendfsync", "always"))
    redis = world.house.redis
    redis.kill()
    await world.linked(*world.house.agentds, *world.house.brokers, linked=False)
    await world.lasts(3 * world.lease)
    redis.again()
    await world.linked(*world.house.agentds, *world.house.brokers)
    await world.lasts(2 * world.lease)
    world.judge.judge_untouched(world.judge.trees())
    for tree in world.forest.roots()[:5]:
        await world.forest.cancel(tree, world.house.brokers[0], wait="stopped", timeout_ms=8000)
    await world.verdict()
