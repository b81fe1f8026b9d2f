"""More than one server: sentinels, a cluster; and TLS."""

import asyncio
import os
import subprocess
import time

from . import scenario


async def inhabited_fleet(world, url, **more):
    for _ in range(6):
        world.house.agentd(redis_url=url, **more)
    for _ in range(2):
        world.house.broker(redis_url=url, **more)
    await world.ready(*world.house.agentds, *world.house.brokers, within=20)
    await world.inhabited()


def is_master(server):
    return server.ask("ROLE")[0] == b"master"


@scenario
async def sentinel_failover(world):
    """The primary is killed while trees are cancelled; three sentinels make a replica the primary:
    the daemons find it, what was accepted holds, nobody else is stopped."""
    house = world.house
    first, *others = [house.server("--repl-diskless-sync-delay", "0") for _ in range(3)]
    for server in others:
        server.ask("REPLICAOF", first.room.address, "6379")
    await world.until(lambda: all(b"master_link_status:up" in server.ask("INFO", "replication")
                                      for server in others), "two replicas")
    hosts = ",".join(f"{house.sentinel(first).room.address}:26379" for _ in range(3))
    await world.lasts(2.5) # until the sentinels know of each other and of the replicas
    await inhabited_fleet(world, f"sentinel://{hosts}/brakewire")
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    world.judge.redis_forgets = True # what the replica had not got yet
    roots, brokers = world.forest.roots(), house.brokers
    await world.cancel_trees(roots[:3], brokers)
    first.kill()
    killed_at = time.monotonic()
    insisting = [asyncio.ensure_future(world.forest.insist(tree, brokers, lane=tree.id))
                 for tree in roots[3:5]]
    await world.linked(*house.agentds, *brokers, linked=False)
    await world.until(lambda: any(is_master(server) for server in others), "a new primary", 30)
    house.servers.sort(key=lambda server: server is first or not is_master(server))
    world.healed()
    await world.linked(*house.agentds, *brokers, within=20)
    world.notes.append(f"linked to the new primary {time.monotonic() - killed_at:.1f} s after the kill")
    await asyncio.gather(*insisting)
    await world.cancel_trees(roots[5:7], brokers, wait="stopped", timeout_ms=10000)
    await world.verdict()


# ---- a cluster ----------------------------------------------------------------------------------

def node_id(server):
    return server.ask("CLUSTER", "MYID").decode()


async def cluster_of_six(world):
    """Three primaries, each with a replica."""
    house = world.house
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1500",
               "--repl-diskless-sync-delay", "0")
    nodes = [house.server(*options) for _ in range(6)]
    for number, node in enumerate(nodes[:3]):
        node.ask("CLUSTER", "ADDSLOTSRANGE", number * 5461, (number + 1) * 5461 - 1 + (number == 2))
    for node in nodes[1:]:
        nodes[0].ask("CLUSTER", "MEET", node.room.address, 6379)
    await world.until(lambda: all(b"cluster_known_nodes:6" in n.ask("CLUSTER", "INFO") for n in nodes),
                      "the nodes to know each other")
    for primary, replica in zip(nodes[:3], nodes[3:]):
        await world.until(lambda p=primary, r=replica: follows(r, p), "the replicas to follow")
    await world.until(lambda: all(b"cluster_state:ok" in n.ask("CLUSTER", "INFO") for n in nodes)
                      and all(b"master_link_status:up" in n.ask("INFO", "replication") for n in nodes[3:]),
                      "the cluster to be ready", 20)
    return nodes


def follows(replica, primary):
    try:
        replica.ask("CLUSTER", "REPLICATE", node_id(primary))
    except Exception: # it does not know that node yet
        return False
    return True


def owner_of(nodes, slot):
    for start, end, master, *_ in nodes[0].ask("CLUSTER", "SLOTS"):
        if start <= slot <= end:
            return next(node for node in nodes if node_id(node) == master[2].decode())
    raise AssertionError(f"nobody has slot {slot}")


def move_slot(nodes, slot):
    """To the next primary, with its keys, while it is in use."""
    source = owner_of(nodes[:3], slot)
    to = nodes[(nodes.index(source) + 1) % 3]
    to.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(source))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(to))
    while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
        source.ask("MIGRATE", to.room.address, 6379, "", 0, 5000, "KEYS", *keys)
    for node in (to, source, *[n for n in nodes[:3] if n not in (to, source)]):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", node_id(to))


@scenario
async def cluster_loses_a_primary_and_moves_slots(world):
    """Slots of three trees move to another primary while these are in use and cancelled; then a
    primary is killed and its replica takes over: every cancel arrives, nobody else is stopped."""
    house = world.house
    nodes = await cluster_of_six(world)
    world.judge.masters = lambda: [n for n in nodes if n.is_alive() and is_master(n)]
    await inhabited_fleet(world, "redis+cluster://" + ",".join(f"{n.room.address}:6379" for n in nodes[:3]))
    world.judge.permit("unknown_outcome", "unavailable", who=("harness",))
    world.judge.redis_forgets = True
    roots, brokers = world.forest.roots(), house.brokers
    slots = {tree: nodes[0].ask("CLUSTER", "KEYSLOT", f"bw:{{{tree.root}}}") for tree in roots}
    for number, tree in enumerate(roots[:3]):
        move_slot(nodes, slots[tree])
        await world.forest.insist(tree, [brokers[number % 2]])
    victim = owner_of(nodes[:3], slots[roots[3]])
    await world.forest.insist(roots[3], brokers)
    victim.kill()
    heir = nodes[nodes.index(victim) + 3]
    insisting = [asyncio.ensure_future(world.forest.insist(tree, brokers, lane=tree.id))
                 for tree in roots[4:7]]
    await world.until(lambda: is_master(heir), "the replica to take over", 30)
    world.healed()
    await asyncio.gather(*insisting)
    await world.linked(*house.agentds, *brokers, within=20)
    await world.verdict(within=20)


# ---- TLS ----------------------------------------------------------------------------------------

def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def certificates(folder, name):
    """An authority, and a server's certificate for `name` that it has signed."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(folder, "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2",
            "-subj", "/CN=an authority")
    openssl(folder, "req", *curve, "-keyout", "server.key", "-out", "server.csr", "-subj", f"/CN={name}")
    with open(os.path.join(folder, "names"), "w", encoding="ascii") as out:
        out.write(f"subjectAltName=DNS:{name}\n")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.pem")


@scenario
async def tls_with_a_wrong_name(world):
    """Redis speaks TLS under its own name; who expects another name is never linked, says why, and
    records nothing. The others work as ever."""
    house = world.house
    certificates(house.folder, "redis.example")
    pem = {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}
    server = house.server("--tls-port", "6380", "--tls-auth-clients", "no", *[
        word for kind, name in pem.items()
        for word in (f"--tls-{kind}-file", os.path.join(house.folder, name))])
    url = f"rediss://{server.room.address}:6380"
    ca_file = os.path.join(house.folder, "ca.pem")
    await inhabited_fleet(world, url, redis_ca_file=ca_file, redis_tls_name="redis.example")
    wrong = {"redis_url": url, "redis_ca_file": ca_file, "redis_tls_name": "another.example"}
    strangers = [house.agentd(**wrong), house.broker(**wrong)]
    world.judge.permit("unavailable", who=("harness",))
    for daemon in strangers:
        await world.until(lambda d=daemon: "redis is away" in d.logged(), f"{daemon.name} to say why")
        world.expect(await world.answers(daemon, "/readyz", 503), f"{daemon.name} calls itself ready")
    refused = await world.forest.cancel(world.forest.roots()[9], strangers[1])
    world.expect(refused.answer and refused.answer.status == 503, f"{refused.answer}")
    await world.cancel_trees(world.forest.roots()[:6], house.brokers[:2], wait="stopped", timeout_ms=8000)
    world.notes.append(strangers[1].logged().strip().splitlines()[-1][-160:])
    await world.verdict()
