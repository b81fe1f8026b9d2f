"""Orders for the whole fleet, and holds on new runs, while those who carry them out die."""

from . import scenario
from .redis_away import everybody, KEEPS_ALL

TEAMS = ("red", "blue", "green")
ADDRESS = "10.7.254.1"


async def with_two_servers(world):
    """A master and its replica, behind one address; who has it, is the master."""
    house = world.house
    first = house.server(*KEEPS_ALL, "--repl-diskless-sync-delay", "0")
    second = house.server(*KEEPS_ALL, "--repl-diskless-sync-delay", "0")
    second.ask("REPLICAOF", first.room.address, "6379")
    await world.until(lambda: b"master_link_status:up" in second.ask("INFO", "replication"),
                      "the replica to follow")
    house.move_address(ADDRESS, first.room)
    url = {"redis_url": f"redis://{ADDRESS}:6379"}
    for _ in range(6):
        house.agentd(**url)
    for _ in range(2):
        house.broker(**url)
    await world.ready(*everybody(world))
    return first, second


async def teams_of_runs(world):
    """In every tree each branch belongs to some team: team → its runs."""
    await world.forest.populate()
    teams = {team: [] for team in TEAMS}
    for _ in range(10):
        for run in world.forest.plan_tree(24, processes=0.03):
            team = world.forest.random.choice(("red", "blue") + ("green",) * 18)
            await world.forest.start_run(run, labels={"team": team})
            teams[team].append(run)
    await world.watch()
    return teams


def expect_stops(world, runs):
    for run in runs:
        world.forest.imply(run, "order")


async def order(world, brokers, team, within=20.0, **more):
    """As an operator gives it: until somebody has written it down. The order as it was answered."""
    body = {"selector": {"labels": {"team": team}}, "action": "interrupt", "by": "user:ann",
            "reason": f"no more {team}", **more}

    async def taken():
        for broker in brokers:
            answer = await world.forest.ask(broker, "POST", "/v1/orders", body)
            if answer and answer.status == 202:
                return answer.body
        return None

    return await world.until(taken, f"the order about {team} to be taken", within)


async def carried_out(world, broker, taken, matched):
    async def done():
        body = await world.look(broker, f"/v1/orders/{taken['order_id']}")
        return body if body.get("state") == "done" else None

    body = await world.until(done, f"the order {taken['order_id']} to be carried out", 30)
    counts = body["counts"]
    world.expect(counts["failed"] == 0 and counts["matched"] <= matched, f"its counts: {counts}")
    return body


async def starts_anywhere(world, team, status):
    """One at every agentd; those that were started are runs like all others."""
    for agent in world.forest.agents:
        run = world.forest.plan_tree(1, among=[agent])[0]
        await world.forest.start_run(run, expect=status, labels={"team": team})


async def starts_nowhere(world, team):
    """Refused at every agentd; where the start overtook the news of the order, the run must stop."""
    for agent in world.forest.agents:
        run = world.forest.plan_tree(1, among=[agent])[0]
        reply = await world.forest.start_run(run, expect=None, labels={"team": team})
        if reply.get("status") == 201:
            world.forest.imply(run, "order")
        else:
            world.expect(reply.get("body", {}).get("code") == "held", f"a held start: {reply}")


async def starts_again(world, team):
    """At every agentd, as soon as it has heard that the hold was lifted."""
    for agent in world.forest.agents:
        run = world.forest.plan_tree(1, among=[agent])[0]

        async def is_started(run=run):
            reply = await world.forest.start_run(run, expect=None, labels={"team": team})
            return reply.get("status") == 201

        await world.until(is_started, f"{agent.name} to start a run that was held", within=5)


@scenario
async def orders_outlive_their_brokers(world):
    """The broker that took a fleet order is killed, Redis fails over, another order is given
    meanwhile: every run that they name stops, with what is below it, and nothing else."""
    first, second = await with_two_servers(world)
    teams = await teams_of_runs(world)
    house, judge = world.house, world.judge
    judge.permit("unavailable", "unknown_outcome")
    judge.broken_is_fine = judge.redis_forgets = True
    expect_stops(world, teams["red"] + teams["blue"])
    red = await order(world, house.brokers[:1], "red")
    house.brokers[0].kill()
    await world.until(lambda: second.ask("HGET", "bw:orders", f"o:{red['order_id']}"),
                      "the replica to have the order")
    first.kill()
    await world.linked(house.brokers[1], linked=False)
    house.brokers[0].again()
    second.ask("REPLICAOF", "NO", "ONE")
    house.servers.reverse()
    house.move_address(ADDRESS, second.room, away=first.room)
    blue = await order(world, house.brokers[1:], "blue")
    await world.linked(*everybody(world))
    world.healed()
    await carried_out(world, house.brokers[0], red, len(teams["red"]))
    await carried_out(world, house.brokers[0], blue, len(teams["blue"]))
    await world.verdict()


@scenario
async def a_hold_outlives_redis(world):
    """While an order holds, no agentd starts what it names, also after Redis was restarted and after
    Redis forgot all; what it does not name starts everywhere; lifted, all starts again."""
    await world.fleet(redis_options=KEEPS_ALL)
    teams = await teams_of_runs(world)
    house, judge = world.house, world.judge
    judge.permit("held", who=("agent",))
    judge.permit("unavailable", "unknown_outcome", who=("harness",))
    expect_stops(world, teams["red"])
    red = await order(world, house.brokers, "red", hold_ms=600000)
    await carried_out(world, house.brokers[1], red, len(teams["red"]))
    await starts_anywhere(world, "red", 409)
    await starts_anywhere(world, "green", 201)
    for forget in (False, True):
        house.redis.kill()
        await world.linked(*everybody(world), linked=False)
        if forget:
            judge.redis_forgets = True
            house.redis.forget()
        house.redis.again()
        await world.linked(*everybody(world))
        await world.until(lambda: house.redis.ask("HEXISTS", "bw:orders", f"o:{red['order_id']}"),
                          "the order to be there again")
        await starts_nowhere(world, "red")
        await starts_anywhere(world, "green", 201)
    lifted = await world.forest.ask(house.brokers[1], "DELETE", f"/v1/orders/{red['order_id']}")
    world.expect(lifted and lifted.body.get("lifted_at"), f"lifted: {lifted}")
    await starts_again(world, "red")
    await world.verdict()
