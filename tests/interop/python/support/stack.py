"""The real thing for a test: `brakectl up` with a private Redis, a broker and agentds in a folder
of its own; all of it is gone when the test is."""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from typing import Any, Callable, NamedTuple, TypeVar

SOURCE = pathlib.Path(os.environ.get("BW_SOURCE", pathlib.Path(__file__).parents[4]))
BIN = pathlib.Path(os.environ.get("BW_BIN", SOURCE / "build/bin"))
T = TypeVar("T")


class Stack:
    """Up as soon as it is made. folder, redis (socket), broker (url), agentds [socket…]."""

    def __init__(self, agentds: int = 1) -> None:
        self.folder = tempfile.mkdtemp(prefix="bw-")
        command = [str(BIN / "brakectl"), "--json", "up", "--any-port"]
        command += ["--agentds", str(agentds), "--dir", self.folder]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"brakectl up ended with {self.process.wait()}"
        up = json.loads(line)
        self.redis: str = up["redis"]
        self.broker: str = up["broker"]
        self.agentds: list[str] = up["agentds"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Agentd:
    """One beside those of a stack, to be killed and started again. socket: where it is, or will be."""

    def __init__(self, stack: Stack, name: str = "own", **options: str) -> None:
        self.socket = f"{stack.folder}/{name}.sock"
        self.command = [str(BIN / "brakewire-agentd"), f"--socket={self.socket}", f"--redis-url=unix://{stack.redis}"]
        self.command += [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
        self.log = open(f"{stack.folder}/log/{name}.log", "ab")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Agentd:
        """Ready when this returns."""
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        until(self.is_ready)
        return self

    def is_ready(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "the agentd has ended by itself"
        try:
            return ask(self.socket, "GET", "/readyz").status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """As a crash would: it says nothing to anybody."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def __enter__(self) -> Agentd:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.log.close()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str
    json: Any


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(where: str, method: str, path: str, body: Any = None, token: str | None = None,
        headers: dict[str, str] | None = None) -> Answer:
    """One request. where: a URL, or the path of a Unix socket."""
    sent = dict(headers or {})
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    if body is not None and not isinstance(body, str):
        body = json.dumps(body)
    if body is not None:
        sent.setdefault("content-type", "application/json")
    connection: http.client.HTTPConnection
    if where.startswith("/"):
        connection = _OverSocket(where)
    else:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(where).netloc, timeout=60)
    try:
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        text = response.read().decode()
        try:
            parsed = json.loads(text)
        except ValueError:
            parsed = None
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, text, parsed)
    finally:
        connection.close()


def until(look: Callable[[], T], seconds: float = 20) -> T:
    """Wait until look() answers something true, and answer that; bounded, never for luck."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.01)
    return found
