"""Two things at once."""

import asyncio
import time

from . import scenario
from forest import Run


@scenario
async def cancel_races_with_starts(world):
    """Children start below a tree while it is cancelled: each is refused, or told; none starts
    after the answer to the cancel."""
    await world.settled_fleet(trees=10, size=20)
    world.judge.permit("cancelled", who=("agent",))
    roots = world.forest.roots()[:8]
    counts = {"started": 0, "refused": 0}

    async def breed(tree):
        while True:
            parent = world.forest.random.choice(tree.scope())
            child = Run(None, world.forest.random.choice(world.forest.agents), {"after_ms": 2})
            child.parent = parent
            asked_at = time.monotonic()
            reply = await world.forest.start_run(child, expect=None)
            if reply.get("status") != 201:
                world.expect(reply.get("body", {}).get("code") == "cancelled", f"a start: {reply}")
                counts["refused"] += 1
                return
            parent.children.append(child)
            child.asked_at = asked_at
            counts["started"] += 1

    breeding = [asyncio.ensure_future(breed(tree)) for tree in roots for _ in range(3)]
    await world.lasts(0.3)
    daemons = world.house.brokers + world.house.agentds
    cancels = await asyncio.gather(*(world.forest.cancel(tree, daemons[i], lane=i)
                                     for i, tree in enumerate(roots)))
    await asyncio.gather(*breeding)
    for cancel in cancels:
        for run in cancel.target.scope():
            world.expect(getattr(run, "asked_at", 0) < cancel.answered_at,
                         f"{run.id} started after its scope was cancelled")
    world.notes.append(f"{counts['started']} started in time, {counts['refused']} refused")
    await world.verdict()


@scenario
async def cancel_races_with_ends(world):
    """Runs end by themselves in the moment in which they are cancelled: each has one end, and who
    ended it was told which."""
    await world.settled_fleet(trees=12, size=20, processes=0.0)
    world.judge.permit("over", "not_cancelable", "not_cancelled", who=("agent", "harness"))
    roots, replies = world.forest.roots()[:10], {}

    async def end(run):
        await asyncio.sleep(world.forest.random.uniform(0, 0.1)) # somewhere among the cancels
        replies[run.id] = await run.agent.order("end", run=run.id, state="success")

    daemons = world.house.brokers + world.house.agentds
    runs = [run for tree in roots for run in reversed(tree.scope())]
    await asyncio.gather(*(end(run) for run in runs[::2]),
                         *(world.forest.cancel(run, daemons[i % 8], lane=i % 16)
                           for i, run in enumerate(runs)))
    world.judge.ended.update(run.id for run in runs[::2])
    await world.forest.cancel(roots[0], daemons[0])
    trees = world.judge.trees()
    for run in runs[::2]:
        state = trees[run.root].runs[run.id].letter
        reply = replies[run.id]
        said = reply.get("body", {}).get("state")
        words = {"S": "success", "C": "cancelled"}
        world.expect(reply.get("status") != 200 or said == words.get(state),
                     f"{run.id}: its end was answered {said}, and Redis says {state}")
        world.expect(state in words, f"{run.id}: ended as {state}")
    ended = sum(trees[run.root].runs[run.id].letter == "S" for run in runs[::2])
    world.notes.append(f"{ended} ended first, {len(runs[::2]) - ended} were cancelled first")
    await world.verdict()


@scenario
async def cancel_races_with_cancel(world):
    """Each run of a tree is cancelled from every daemon at once, parents and children together:
    each cancel has one id, and each run is told once."""
    await world.settled_fleet(trees=10, size=24)
    daemons = world.house.brokers + world.house.agentds
    runs = [run for tree in world.forest.roots()[:8] for run in tree.scope()]
    world.forest.random.shuffle(runs)
    # A process may be dead before its own turn comes: then there is nothing left to cancel.
    world.judge.permit("not_cancelable", who=("harness",))
    await asyncio.gather(*(world.forest.cancel(run, daemons[(i + j) % 8], lane=i % 8)
                           for i, run in enumerate(runs) for j in range(3)))
    await world.verdict()
