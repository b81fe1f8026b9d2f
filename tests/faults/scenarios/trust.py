"""Who may be believed, and who may ask: a Redis that is another, users that are strangers."""

import http.client
import json
import os
import socket

from . import scenario
from .redis_away import everybody
from .topology import inhabited_fleet, openssl

STRANGER = 64001 # a user without a name


# ---- TLS ----------------------------------------------------------------------------------------

def certificate(folder, name, subject):
    """Signed by itself, for that host alone: the paths of certificate and key."""
    paths = [os.path.join(folder, name + ending) for ending in (".crt", ".key")]
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}",
            "-out", paths[0], "-keyout", paths[1])
    return paths


def show(server, pair):
    """It goes on with that certificate, and everybody has to connect again."""
    server.ask("CONFIG", "SET", "tls-cert-file", pair[0], "tls-key-file", pair[1])
    for kind in ("normal", "pubsub"):
        server.ask("CLIENT", "KILL", "TYPE", kind)


def asked_of(server):
    """How often it was asked for what only a daemon asks for."""
    lines = server.ask("INFO", "commandstats").decode().splitlines()
    return [line.partition(",")[0] for line in lines
            if line.startswith(("cmdstat_hello:", "cmdstat_evalsha:", "cmdstat_subscribe:"))]


@scenario
async def tls_turns_into_another_host(world):
    """Redis shows a certificate of the right authority for another host: nobody asks it for
    anything, each log says why, brokers say 503, cancels of an agentd stop what is there; with the
    right name all of that is recorded."""
    house = world.house
    server = house.server("--tls-auth-clients", "no")
    right = certificate(house.folder, "right", f"IP:{server.room.address}")
    wrong = certificate(house.folder, "wrong", "DNS:redis.elsewhere")
    authority = os.path.join(house.folder, "authority.crt")
    with open(authority, "w", encoding="ascii") as out:
        for pair in (right, wrong):
            with open(pair[0], encoding="ascii") as one:
                out.write(one.read())
    show(server, right)
    server.ask("CONFIG", "SET", "tls-port", "6380")
    url = f"rediss://{server.room.address}:6380"
    await inhabited_fleet(world, url, redis_ca_file=authority)
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    show(server, wrong)
    await world.linked(*everybody(world), linked=False)
    before = asked_of(server)
    late = house.agentd(redis_url=url, redis_ca_file=authority)
    roots, brokers = world.forest.roots(), house.brokers
    for number, tree in enumerate(roots[:4]):
        cancel = await world.forest.cancel(tree, tree.agent.agentd)
        world.expect(cancel.accepted and cancel.answer.body["pending"], f"{cancel.answer}")
        await world.told_there([cancel])
        refused = await world.forest.cancel(roots[9], brokers[number % 2])
        world.expect(refused.answer and refused.answer.code == "unavailable", f"{refused.answer}")
    why = f"redis.elsewhere, not for {server.room.address}"
    await world.until(lambda: all(why in daemon.logged() for daemon in everybody(world)),
                      "the logs to say why")
    world.expect(await world.answers(late, "/readyz", 503), "ready without a Redis to trust")
    world.expect(asked_of(server) == before, f"it was asked: {before}, then {asked_of(server)}")
    show(server, right)
    await world.ready(*everybody(world))
    await world.linked(*everybody(world))
    world.healed()
    await world.cancel_trees(roots[4:6], brokers, wait="stopped", timeout_ms=8000)
    await world.verdict()


# ---- strangers ----------------------------------------------------------------------------------

class Local(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self.path)


def ask(path, method, target, body, token):
    link = Local(path)
    link.request(method, target, json.dumps(body),
                 {"Authorization": f"Bearer {token}"} if token else {})
    answer = link.getresponse()
    return [answer.status, json.loads(answer.read() or b"{}").get("code", "")]


def tried(function, *words):
    try:
        return function(*words) or "done"
    except OSError as trouble:
        return type(trouble).__name__


def as_user(uid, attempts):
    """What came of each, done by that user in a process of its own."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        os.write(writing, json.dumps([tried(*attempt) for attempt in attempts]).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as results:
        found = json.load(results)
    os.waitpid(child, 0)
    return found


def expect_each(world, attempts, expected):
    for attempt, found in zip(attempts, as_user(STRANGER, attempts)):
        world.expect(found == expected, f"a stranger's {attempt[1:]} was answered {found}")


def attempts_on(run, token):
    """Each of them would be a disaster."""
    path, epoch = f"/v1/runs/{run.id}", run.epoch
    bodies = {"cancel": {"root": run.root}, "end": {"epoch": epoch, "state": "success"},
              "ack": {"epoch": epoch, "phase": "acknowledged"},
              "fence": {"epoch": epoch, "write_id": "w"}}
    return [(ask, run.agent.agentd.socket, "POST", f"{path}/{call}", body, token)
            for call, body in bodies.items()]


def adoption_of(run, token):
    body = {"run_id": run.id, "epoch": run.epoch, "takeover": True}
    return (ask, run.agent.agentd.socket, "POST", "/v1/runs", body, token)


@scenario
async def strangers(world):
    """Another user of the machine tries to reach each daemon, to signal it, its runs and its
    clients, and, where a socket was left open to all, to cancel, end or adopt every run: refused
    each time, no run notices, and who may cancel, can."""
    await world.settled_fleet(processes=0.2)
    os.chmod(world.house.folder, 0o755)
    daemons, runs = everybody(world), world.forest.runs
    sockets = [daemon.socket for daemon in daemons]
    expect_each(world, [(ask, path, "GET", "/v1/runs", None, None) for path in sockets]
                + [(os.unlink, path) for path in sockets], "PermissionError")
    pids = [run.pid for run in runs if run.pid] + [d.pid for d in daemons] \
        + [agent.process.pid for agent in world.forest.agents]
    expect_each(world, [(os.kill, pid, number) for pid in pids for number in (9, 15, 19)],
                "PermissionError")
    for agentd in world.house.agentds:
        os.chmod(agentd.socket, 0o666)
    mine = "the-token-of-a-stranger"
    expect_each(world, [one for run in runs for one in attempts_on(run, None)], [401, "unauthorized"])
    own = [(ask, agentd.socket, "POST", "/v1/runs", {}, mine) for agentd in world.house.agentds]
    expect_each(world, own, [201, ""])
    expect_each(world, [one for run in runs for one in attempts_on(run, mine)]
                + [adoption_of(run, mine) for run in runs], [403, "forbidden"])
    takes = [{"stop": [{"kind": "process", "pid": pid}]} for pid in pids]
    expect_each(world, [(ask, sockets[0], "POST", "/v1/runs", body, mine) for body in takes],
                [403, "forbidden"])
    world.notes.append(f"{len(runs) * 9 + len(pids) * 4 + len(sockets) * 2} attempts refused")
    await world.cancel_trees(world.forest.roots()[:5], world.house.brokers, wait="stopped",
                             timeout_ms=8000)
    await world.verdict()
