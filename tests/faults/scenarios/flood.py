"""A crowd that only wants to be in the way. What it costs in time, `./dev flood` measures."""

import asyncio
import contextlib
import socket

from . import scenario
from .redis_away import everybody

CROWD = 10000
RSS_MAX_KIB = 128 << 10
REQUEST = b"POST /v1/runs/nobody/cancel HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n"


class Nuisance:
    """A connection that sends a request byte by byte, or nothing; cut off, it comes again."""

    def __init__(self, path, talks):
        self.path, self.talks = path, talks
        self.socket, self.sent, self.cut_off = None, 0, 0

    def turn(self):
        if self.socket is None:
            self._come()
        elif not self._is_welcome():
            self.cut_off += 1
            self.socket.close()
            self.socket = None

    def _come(self):
        link = socket.socket(socket.AF_UNIX)
        link.setblocking(False)
        try:
            link.connect(self.path)
            self.socket, self.sent = link, 0
        except OSError: # so many wait to be let in already
            link.close()

    def _is_welcome(self):
        try:
            if self.talks:
                self.socket.send(REQUEST[self.sent % len(REQUEST):][:1])
                self.sent += 1
            return self.socket.recv(4096) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False


async def crowd_around(daemons, done, arrived):
    crowd = [Nuisance(daemons[n % len(daemons)].socket, talks=n % 3 > 0) for n in range(CROWD)]
    while not done.is_set():
        for number, one in enumerate(crowd):
            one.turn()
            if number % 100 == 0:
                await asyncio.sleep(0) # the agents are read in between
        if all(one.socket or one.cut_off for one in crowd):
            arrived.set()
    for one in crowd:
        with contextlib.suppress(AttributeError):
            one.socket.close()
    return sum(one.cut_off for one in crowd)


@scenario
async def ten_thousand_in_the_way(world):
    """10,000 connections crowd around all daemons, silent or a byte at a time, and come again when
    they are cut off: every cancel is taken and heard, no daemon grows beyond its limit."""
    await world.settled_fleet()
    daemons, done, arrived = everybody(world), asyncio.Event(), asyncio.Event()
    crowd = asyncio.ensure_future(crowd_around(daemons, done, arrived))
    await asyncio.wait_for(arrived.wait(), 30)
    for number, tree in enumerate(world.forest.roots()[:8]):
        cancel = await world.forest.cancel(tree, daemons[number % len(daemons)], lane=f"through{number}")
        world.expect(cancel.accepted, f"in the crowd: {cancel.answer}")
    await world.judge.settle()
    largest = max(daemon.memory_kib() for daemon in daemons)
    done.set()
    world.notes.append(f"{await crowd} were cut off; the largest daemon had {largest >> 10} MiB")
    world.expect(largest < RSS_MAX_KIB, f"a daemon had {largest} KiB")
    await world.verdict()
