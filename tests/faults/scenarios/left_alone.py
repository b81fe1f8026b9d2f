"""An agentd on its own: cut off until it is lost, asked to go, or with a process that does not die."""

import ctypes
import os
import signal

from . import scenario


async def start_with(world, runs, **more):
    """As forest.start, with these members in each start."""
    for run in runs: # a plan has parents before their children
        await world.forest.start_run(run, **more)


@scenario
async def isolated_until_lost(world):
    """Two agentds are cut off until they are declared lost: the one with `when_isolated = cancel`
    stops its runs itself, meanwhile; runs of the other with `on_lost = continue` go on, are told
    nothing, and live again when it is back."""
    house = world.house
    await world.fleet(agentds=4)
    for choice in ("cancel", "continue"):
        house.agentd(when_isolated=choice)
    await world.ready(*house.agentds)
    await world.inhabited(trees=8, size=24)
    cautious, bold = world.forest.agents[4:]
    judge = world.judge
    kept = world.forest.plan_tree(24, among=[bold])
    given_up = world.forest.plan_tree(24, among=[cautious])
    await start_with(world, kept, on_lost="continue")
    await start_with(world, given_up)
    judge.own_reasons |= {"lost", "isolated"}
    judge.permit("over", "fenced", "unavailable", who=("agent",)) # to ends that come too late
    for run in world.forest.runs:
        if run.agent in (cautious, bold) and run not in kept:
            world.forest.imply(run, "out of reach")
            judge.losable.add(run.id)
    mine = [run for run in world.forest.runs if run.agent is cautious]
    for agent in (cautious, bold):
        agent.agentd.room.cut("both")
    await world.until(lambda: not [m for m in judge.unsettled() if m[0] in mine],
                      "the cautious one to stop what it has", within=4 * world.lease)
    world.expect({judge.told[run.id].get("reason") for run in given_up if run.id in judge.told}
                 == {"isolated"}, "its runs were told another reason")
    refused = world.forest.plan_tree(1, among=[cautious])[0]
    await world.forest.start_run(refused, expect=503)
    trees = judge.trees

    def kept_are_lost():
        return all(trees()[run.root].runs[run.id].letter == "L" for run in kept[:1])

    await world.until(kept_are_lost, "the runs of the bold one to be declared lost")
    world.expect(not any(run.id in judge.read_story() for run in kept), "a run was told that goes on")
    judge.redis_forgets = True # lost, and alive again
    for agent in (cautious, bold):
        agent.agentd.room.heal()
    await world.linked(cautious.agentd, bold.agentd)
    world.healed()
    await world.until(lambda: all(trees()[run.root].runs[run.id].letter == "r" for run in kept),
                      "the kept ones to live again")
    await world.cancel_trees([kept[1]], house.brokers, wait="stopped", timeout_ms=8000)
    await world.verdict()


# ---- one that is asked to go ----------------------------------------------------------------------

@scenario
async def drained(world):
    """Two agentds are asked to go: they take no new run and serve those that they have; these are
    cancelled meanwhile, are told and stop, and then both leave by themselves, in order."""
    await world.settled_fleet(trees=5, agentd={"drain": "60s"})
    leaving, agents = world.house.agentds[4:], world.forest.agents[4:]
    await world.forest.grow(5, 24, among=agents)
    world.judge.broken_is_fine = True
    world.judge.permit("overloaded", "unavailable", who=("agent",))
    theirs = [run for run in world.forest.runs if run.agent in agents]
    for agentd in leaving:
        agentd.gone_on_purpose = True
        world.house.note("fault", who=agentd.name, fault="SIGTERM")
        agentd.process.send_signal(signal.SIGTERM)
    for agent in agents:
        await world.until(lambda a=agent: world.answers(a.agentd, "/readyz", 503), "it to drain")
        await world.forest.start_run(world.forest.plan_tree(1, among=[agent])[0], expect=429)
    tops = [run for run in theirs if run.parent not in theirs]
    daemons = [*world.house.brokers, world.house.agentds[0]]
    for number, run in enumerate(tops): # not by who leaves: it may be gone after the last but one
        await world.forest.insist(run, daemons[number % 3:] + daemons)
    for agentd in leaving:
        await world.until(lambda d=agentd: not d.is_alive(), f"{agentd.name} to leave", within=20)
        world.expect(agentd.process.returncode == 0, f"{agentd.name}: {agentd.process.returncode}")
    await world.verdict()


# ---- a process that does not die ----------------------------------------------------------------

PTRACE_CONT, PTRACE_DETACH, PTRACE_SEIZE, TRACE_EXIT, WAIT_ALL = 7, 17, 0x4206, 0x40, 0x40000000


class Debugger:
    """Holds a process in the moment of its death: SIGKILL is delivered, and it is still there."""

    def __init__(self, pid):
        self.pid = pid
        self.call = ctypes.CDLL(None, use_errno=True).ptrace
        self.call.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        if self.call(PTRACE_SEIZE, pid, None, TRACE_EXIT) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def holds(self):
        """True in the moment of death; other signals get through."""
        pid, status = os.waitpid(self.pid, WAIT_ALL | os.WNOHANG)
        if pid == 0 or not os.WIFSTOPPED(status):
            return False
        if status >> 16 == 6: # PTRACE_EVENT_EXIT
            return True
        self.call(PTRACE_CONT, self.pid, None, os.WSTOPSIG(status))
        return False

    def let_go(self):
        self.call(PTRACE_DETACH, self.pid, None, None)


@scenario
async def a_process_that_does_not_die(world):
    """SIGKILL does not end one process: its cancel is never called complete, its agentd takes no new
    run and says so, the others do; resumed by an operator it takes them again; and when the process
    is gone the cancel is complete."""
    await world.settled_fleet(processes=0.3)
    house, broker = world.house, world.house.brokers[0]
    victim = next(run for run in world.forest.runs if run.manner.get("process") == "plain")
    agentd = victim.agent.agentd
    others = [agent for agent in world.forest.agents if agent.agentd is not agentd]
    world.judge.permit("overloaded", who=("agent",))
    debugger = Debugger(victim.pid)
    first = await world.forest.cancel(victim, broker, wait="stopped", timeout_ms=300, grace_ms=200)
    world.expect(first.accepted and not first.answer.body["complete"], f"{first.answer}")
    await world.until(debugger.holds, "SIGKILL to arrive")

    async def quarantined(said=True):
        body = await world.look(broker, "/v1/replicas")
        marked = [replica["replica_id"] for replica in body.get("replicas", []) if replica["quarantined"]]
        return marked if bool(marked) == said else None

    replica = (await world.until(quarantined, "a broker to show its quarantine"))[0]
    own = (await world.look(agentd, "/v1/version"))
    world.expect(own.get("quarantined") and own.get("replica_id") == replica, f"it says {own}")
    world.expect(await world.answers(agentd, "/readyz", 503), "it calls itself ready")
    await world.forest.start_run(world.forest.plan_tree(1, among=[victim.agent])[0], expect=429)
    await world.forest.start(world.forest.plan_tree(12, among=others))
    again = await world.forest.cancel(victim, house.brokers[1], wait="stopped", timeout_ms=300)
    world.expect(again.accepted and victim.id in again.answer.body["names"]["unresponsive"],
                 f"{again.answer}")
    answer = await world.forest.ask(broker, "POST", f"/v1/replicas/{replica}/resume")
    world.expect(answer and answer.status == 200, f"resume: {answer}")
    await world.ready(agentd)
    await world.forest.start(world.forest.plan_tree(12, among=[victim.agent]))
    debugger.let_go()
    world.healed()
    last = await world.forest.cancel(victim, broker, wait="stopped", timeout_ms=8000)
    world.expect(last.accepted and last.answer.body["complete"], f"{last.answer}")
    await world.cancel_trees(world.forest.roots()[:3], house.brokers)
    await world.verdict()
