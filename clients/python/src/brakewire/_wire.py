"""HTTP and event streams to the agentd, over its Unix socket or loopback TCP. Blocking; threads call it."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SYSTEM_WIDE = "/run/brakewire/agentd.sock"
CALL_S = 15.0
"""More than the 6 s after which an agentd gives up a Redis that hangs."""
SILENT_S = 60.0
"""An agentd says something on every stream each 15 s (`sse_heartbeat`): one that is silent for so long hangs."""
ANSWER_MAX = 4 << 20
LINE_MAX = 64 << 10
IDLE_MAX = 8


class Away(Exception):
    """Nobody answers: no socket, nobody behind it, or a connection that broke."""


class Deaf(Away):
    """Somebody answers, but gives no event stream: cancels do not arrive."""


def default_agentd() -> str:
    """$BRAKEWIRE_AGENTD, else the system's agentd, else the user's: as brakectl looks for it."""
    named = os.environ.get("BRAKEWIRE_AGENTD")
    if named:
        return named
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR")
    if not runtime_dir or os.path.exists(SYSTEM_WIDE):
        return SYSTEM_WIDE
    return f"{runtime_dir}/brakewire/agentd.sock"


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300

    def json(self) -> dict[str, Any]:
        """{} where it is no JSON object."""
        try:
            data = json.loads(self.body)
        except ValueError:
            return {}
        return data if isinstance(data, dict) else {}


class _Connection(http.client.HTTPConnection):
    """To `where`: a path, `unix:` and a path, or `http://host:port`."""

    def __init__(self, where: str, timeout: float):
        self.path = where[5:] if where.startswith("unix:") else where
        if where.startswith("http://"):
            super().__init__(where[7:].rstrip("/"), timeout=timeout)
            self.path = ""
        else:
            super().__init__("localhost", timeout=timeout)

    def connect(self) -> None:
        if not self.path:
            super().connect()
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self.path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def _away(where: str, trouble: Exception) -> Away:
    number = trouble.errno if isinstance(trouble, OSError) else None
    if number == errno.ENOENT:
        return Away(f"there is no socket {where}")
    if number == errno.ECONNREFUSED:
        return Away(f"nobody listens at {where}")
    if number in (errno.EACCES, errno.EPERM):
        return Away(f"{where} may not be opened by uid {os.getuid()}")
    return Away(f"{where}: {str(trouble) or type(trouble).__name__}")


class Caller:
    """Calls of one client, any thread. Keeps up to IDLE_MAX connections open between calls."""

    def __init__(self, where: str, token: str):
        self.where = where
        self._headers = {"Authorization": f"Bearer {token}"}
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None,
             headers: Mapping[str, str] | None = None, timeout: float = CALL_S) -> Answer:
        """Every call of the protocol may be repeated, so one on a connection that turns out to be closed is."""
        data = None if body is None else json.dumps(body).encode()
        sent = {**self._headers, **(headers or {})}
        kept = self._take()
        if kept is not None:
            try:
                return self._call(kept, method, path, data, sent, timeout)
            except (ConnectionError, http.client.BadStatusLine):
                pass
            except (OSError, http.client.HTTPException) as trouble:
                raise _away(self.where, trouble) from trouble
        try:
            return self._call(_Connection(self.where, timeout), method, path, data, sent, timeout)
        except (OSError, http.client.HTTPException) as trouble:
            raise _away(self.where, trouble) from trouble

    def _call(self, connection: _Connection, method: str, path: str, data: bytes | None,
              headers: Mapping[str, str], timeout: float) -> Answer:
        try:
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request(method, path, body=data, headers=dict(headers))
            response = connection.getresponse()
            body = response.read(ANSWER_MAX + 1)
            if len(body) > ANSWER_MAX:
                raise http.client.HTTPException("an answer of more than 4 MiB")
        except BaseException:
            connection.close()
            raise
        self._keep(connection)
        return Answer(response.status, body)

    def _take(self) -> _Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _keep(self, connection: _Connection) -> None:
        with self._lock:
            if connection.sock is not None and len(self._idle) < IDLE_MAX:
                self._idle.append(connection)
                return
        connection.close()

    def forget(self) -> None:
        """After a fork: the connections are the parent's, and only this process's copies are closed."""
        self._lock = threading.Lock()
        for connection in self._idle:
            connection.close()
        self._idle = []

    def listen(self, path: str) -> Stream:
        """Opens an event stream; Away unless the answer is 200."""
        connection = _Connection(self.where, SILENT_S)
        try:
            connection.request("GET", path, headers={**self._headers, "Accept": "text/event-stream"})
            sock = connection.sock
            response = connection.getresponse()
            if response.status != 200:
                raise Deaf(f"{self.where} gives no event stream: {response.status} {response.read(500)!r}")
        except Deaf:
            connection.close()
            raise
        except (OSError, http.client.HTTPException) as trouble:
            connection.close()
            raise _away(self.where, trouble) from trouble
        return Stream(self.where, connection, sock, response)


class Stream:
    """An open event stream. Iterating gives (event, data) and ends, with Away, when the connection does."""

    def __init__(self, where: str, connection: _Connection, sock: socket.socket, response: http.client.HTTPResponse):
        self._where = where
        self._connection = connection
        self._sock = sock
        self._response = response

    def hang_up(self) -> None:
        """From another thread than the one that reads, which then finds the stream at its end."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is at its end already

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    def forget(self) -> None:
        """In the child of a fork: a thread of the parent may hold the locks of all but the descriptor."""
        os.close(self._sock.detach())

    def __iter__(self) -> Iterator[tuple[str, str]]:
        event, data, size = "", [], 0
        while True:
            line = self._line()
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            size += len(line)
            if size > LINE_MAX:
                raise Away(f"{self._where}: an event of more than 64 KiB")
            if name == "event":
                event = value
            elif name == "data":
                data.append(value)
            elif not line:
                if data:
                    yield event or "message", "\n".join(data)
                event, data, size = "", [], 0

    def _line(self) -> str:
        try:
            line = self._response.readline(LINE_MAX + 1)
        except (OSError, ValueError, http.client.HTTPException) as trouble:
            raise _away(self._where, trouble) from trouble
        if not line.endswith(b"\n"):
            raise Away(f"{self._where}: the event stream ended")
        return line.rstrip(b"\r\n").decode("utf-8", "replace")
