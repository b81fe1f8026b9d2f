"""A cancel that is handed on into other trees, a run that is handed on to another life, and both in
the moment of a cancel."""

import asyncio

from . import scenario
from forest import NearAgent


@scenario
async def cancel_races_with_links(world):
    """Runs are linked to other trees in the moment of their cancel: a link that was taken and one
    that was refused, both stop the tree they lead to; and no wait ends before that."""
    await world.settled_fleet(trees=10, size=6, processes=0.0)
    world.judge.permit("cancelled", who=("agent",))
    forest, linking = world.forest, []
    for _ in range(6): # they take so long to stop that each is there when its link comes
        linking += await planted(world, 10, after_ms=600)
    targets = [(await planted(world, 4))[0] for _ in linking[::2]]
    counts = {201: 0, 409: 0}

    async def link(run, tree):
        await world.lasts(forest.random.uniform(0, 0.06))
        reply = await run.agent.order("ask", method="POST", path=f"/v1/runs/{run.id}/links",
                                      body={"epoch": run.epoch, "kind": "root", "to": tree.root})
        world.expect(reply.get("status") in counts, f"a link was answered {reply}")
        counts[reply["status"]] += 1
        forest.imply(tree, "link")

    tops = [run for run in linking if run.parent is None]
    daemons = world.house.brokers + world.house.agentds
    await asyncio.gather(*(link(run, tree) for run, tree in zip(linking[::2], targets)),
                         *(cancelled_soon(world, top, daemons[n % 8]) for n, top in enumerate(tops)))
    for cancel in await world.cancel_trees(tops, world.house.brokers, wait="stopped", timeout_ms=10000):
        world.expect(cancel.accepted and cancel.answer.body["complete"], f"asked again: {cancel.answer}")
    world.judge.read_story()
    world.expect(all(run.id in world.judge.ending for tree in targets for run in tree.scope()),
                 "called complete before the linked trees had stopped")
    world.notes.append(f"{counts[201]} links were taken, {counts[409]} refused")
    await world.verdict()


async def planted(world, size, after_ms=2):
    runs = world.forest.plan_tree(size, processes=0.0)
    for run in runs:
        run.manner["after_ms"] = after_ms
    return await world.forest.start(runs)


async def cancelled_soon(world, run, daemon):
    await world.lasts(0.03)
    return await world.forest.cancel(run, daemon, lane=run.id)


async def heir_of(world, agent, agentd):
    """The same client once more, at another agentd: what adopts needs the token that started."""
    heir = NearAgent(world.house, agentd, f"heir-of-{agent.name}")
    heir.token = agent.token
    await heir.open()
    return heir


@scenario
async def cancel_races_with_adoption(world):
    """Runs are taken over by another agentd in the moment of their cancel: whoever has a run then
    is told, the new life as well as the old one, and no other run is; the old one may write no more."""
    await world.settled_fleet(trees=12, size=20, processes=0.0)
    # of the old life, which is fenced, and of what ended before it could be taken over
    world.judge.permit("fenced", "frozen", "over", "conflict", "not_found", who=("agent",))
    agentds, forest = world.house.agentds, world.forest
    heirs = {agent: await heir_of(world, agent, agentds[(n + 1) % 6])
             for n, agent in enumerate(forest.agents)}
    tops = forest.roots()[:9]
    taken, too_late = [], 0

    async def adopt(run):
        nonlocal too_late
        await world.lasts(forest.random.uniform(0, 0.06))
        body = {"run_id": run.id, "epoch": run.epoch, "takeover": True}
        reply = await heirs[run.agent].order("start", body=body, manner={"after_ms": 2})
        if reply.get("status") in (200, 201):
            taken.append(run)
            write = await run.agent.order("ask", method="POST", path=f"/v1/runs/{run.id}/fence",
                                          body={"epoch": run.epoch, "write_id": "of the old life"})
            world.expect(write.get("status") in (404, 409), f"the old life of {run.id} may write: {write}")
        else:
            code = reply.get("body", {}).get("code")
            world.expect(code in ("over", "cancelled", "fenced"), f"an adoption was answered {reply}")
            too_late += 1

    daemons = world.house.brokers + agentds
    await asyncio.gather(*(adopt(run) for top in tops for run in top.scope()[::2]),
                         *(cancelled_soon(world, top, daemons[n % 8]) for n, top in enumerate(tops)))

    def not_told():
        told = {(event["agent"], event["run"]) for event in world.house.story if event["what"] == "told"}
        return [run for run in taken if (heirs[run.agent].name, run.id) not in told]

    await world.until(lambda: not not_told(), "the new lives to be told")
    world.notes.append(f"{len(taken)} runs were taken over, {too_late} came too late")
    await world.verdict()
