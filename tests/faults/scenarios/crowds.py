"""Much at once, and readers that do not read."""

import asyncio

from . import scenario
from forest import Run


@scenario
async def ten_thousand_duplicates(world):
    """10,000 cancels of one tree over 200 connections to every daemon: one cancel id, one
    interruption, success for everybody."""
    await world.settled_fleet()
    target = world.forest.roots()[0]
    daemons = world.house.brokers + world.house.agentds

    async def caller(number):
        for _ in range(50):
            await world.forest.cancel(target, daemons[number % len(daemons)], lane=number)

    await asyncio.gather(*(caller(number) for number in range(200)))
    ids = {cancel.answer.body["cancel_id"] for cancel in world.forest.cancels if cancel.accepted}
    world.expect(len(ids) == 1, f"cancel ids: {ids}")
    world.expect(all(cancel.accepted for cancel in world.forest.cancels), "not everybody had success")
    record = world.judge.trees()[target.root].cancels
    world.expect(len(record) == 1, f"records: {record}")
    took = sorted(cancel.answer.ms for cancel in world.forest.cancels if cancel.answer)
    world.notes.append(f"answered in {took[len(took) // 2]:.1f} ms p50, {took[int(len(took) * .99)]:.1f} ms p99")
    await world.verdict()


@scenario
async def silent_readers(world):
    """An agent with 3,000 runs stops reading its stream while all of them are cancelled: memory
    stays bounded, the others are told at once, and it is told when it reads again."""
    await world.settled_fleet(processes=0.0, agentd={"lost-grace": "5s"})
    silent = world.forest.agents[0]
    others = [run for tree in world.forest.roots()[:8] for run in tree.scope() if run.agent is not silent]
    planned = [run for _ in range(3) for run in wide(silent, 1000)]
    await world.forest.start(planned)
    before = silent.agentd.memory_kib()
    await silent.order("read", on=False)
    await world.cancel_trees([run for run in planned if run.parent is None]
                             + world.forest.roots()[:8], world.house.brokers)
    await world.until(lambda: all(run.id in world.judge.read_story() for run in others),
                      "the others to be told", within=5)
    grown = silent.agentd.memory_kib() - before
    world.expect(grown < 16 * 1024, f"its agentd grew by {grown} KiB")
    world.notes.append(f"its agentd grew by {grown} KiB")
    if not world.sabotage:
        await silent.order("read", on=True)
    world.healed()
    await world.verdict(within=25)


@scenario
async def slow_readers(world):
    """An agent with 3,000 runs takes a millisecond for each event while all of them are cancelled:
    memory stays bounded, the others are told at once, and it is told all, in its own time."""
    await world.settled_fleet(processes=0.0, agentd={"lost-grace": "5s"})
    slow = world.forest.agents[0]
    others = [run for tree in world.forest.roots()[:8] for run in tree.scope() if run.agent is not slow]
    planned = [run for _ in range(3) for run in wide(slow, 1000)]
    await world.forest.start(planned)
    before = slow.agentd.memory_kib()
    await slow.order("read", on=not world.sabotage, each_ms=1)
    await world.cancel_trees([run for run in planned if run.parent is None]
                             + world.forest.roots()[:8], world.house.brokers)
    await world.until(lambda: all(run.id in world.judge.read_story() for run in others),
                      "the others to be told", within=5)
    await world.judge.settle(3 if world.sabotage else 40)
    grown = slow.agentd.memory_kib() - before
    world.expect(grown < 16 * 1024, f"its agentd grew by {grown} KiB")
    streams = {event["stream"] for event in world.house.story
               if event["what"] == "hearing" and event["agent"] == slow.name}
    world.notes.append(f"its agentd grew by {grown} KiB; it connected {len(streams)} times")
    await world.verdict()


def wide(agent, count):
    root = Run(None, agent, {"after_ms": 2})
    return [root] + [Run(root, agent, {"after_ms": 2}) for _ in range(count - 1)]


@scenario
async def a_tree_100_deep(world):
    """A chain of 100 runs over six agentds, cancelled at the top: every one is told, in one hop."""
    await world.settled_fleet()
    runs = []
    for depth in range(100):
        runs.append(Run(runs[-1] if runs else None, world.forest.agents[depth % 6], {"after_ms": 2}))
    await world.forest.start(runs)
    await world.forest.cancel(runs[0], world.house.brokers[0], wait="stopped", timeout_ms=10000)
    world.expect(world.forest.cancels[0].answer.status == 200, f"{world.forest.cancels[0].answer}")
    await world.verdict()


@scenario
async def a_tree_10000_wide(world):
    """A tree of 10,000 runs, its top cancelled: all are told and stop, the other trees go on."""
    await world.settled_fleet(trees=8, processes=0.0, agentd={"lost-grace": "5s"})
    agents = world.forest.agents
    root = Run(None, agents[0], {"after_ms": 1})
    middle = [Run(root, agents[i % 6], {"after_ms": 1}) for i in range(11)]
    leaves = [Run(middle[i % 11], agents[i % 6], {"after_ms": 1}) for i in range(9988)]
    await world.forest.start([root] + middle + leaves)
    await world.forest.cancel(root, world.house.brokers[0], wait="stopped", timeout_ms=30000,
                              within=40)
    await world.verdict(within=30)


@scenario
async def linked_trees_in_a_circle(world):
    """Twelve trees, each linked to the next and the last to the first; one is cancelled: all of
    them stop, each once, and the walk ends."""
    await world.settled_fleet(trees=20, size=12)
    ring = world.forest.roots()[:12]
    for number, tree in enumerate(ring):
        after = ring[(number + 1) % len(ring)]
        reply = await tree.agent.order(
            "ask", method="POST", path=f"/v1/runs/{tree.id}/links",
            body={"epoch": tree.epoch, "kind": "root", "to": after.root})
        world.expect(reply.get("status") == 201, f"a link was answered {reply}")
    cancel = await world.forest.cancel(ring[0], world.house.brokers[0], wait="stopped", timeout_ms=10000)
    for tree in ring[1:]:
        world.forest.imply(tree, "link")
    world.expect(cancel.answer.status == 200, f"{cancel.answer}")
    await world.verdict()
