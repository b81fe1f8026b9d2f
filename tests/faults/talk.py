"""HTTP/1.1 and event streams over a Unix socket, as little as the agents and the judge need.

Written for the judge on purpose and not taken from a library: it must see every byte that a daemon
answers, also a half one, and a connection that breaks is a fact to be noted, not to be hidden."""

import asyncio
import json
import time
from dataclasses import dataclass, field


class Broken(Exception):
    """The connection ended, or never came to be, before there was a whole answer."""


@dataclass
class Answer:
    status: int
    body: dict = field(default_factory=dict)
    ms: float = 0.0

    @property
    def code(self):
        return self.body.get("code", "")


async def open_to(where, limit=1 << 20):
    if isinstance(where, str):
        return await asyncio.open_unix_connection(where, limit=limit)
    return await asyncio.open_connection(*where, limit=limit)


async def read_head(reader):
    line = await reader.readline()
    if not line.startswith(b"HTTP/1.1 "):
        raise Broken(f"no status line: {line[:80]!r}")
    headers = {}
    while (header := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = header.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(line.split()[1]), headers


async def read_chunk(reader):
    size = int((await reader.readline()).split(b";")[0] or b"0", 16)
    data = await reader.readexactly(size)
    await reader.readline()
    return data


async def read_body(reader, headers):
    if headers.get("transfer-encoding") == "chunked":
        data = b""
        while chunk := await read_chunk(reader):
            data += chunk
        return data
    return await reader.readexactly(int(headers.get("content-length", 0)))


def request(method, path, body, token, headers=()):
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: brakewire", f"Content-Length: {len(data)}"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    lines.extend(headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


class Connection:
    """One that is kept, and opened again when it is gone. One call at a time."""

    def __init__(self, where, token=None):
        self.where, self.token = where, token
        self.reader = self.writer = None
        self.turn = asyncio.Lock()

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None

    async def call(self, method, path, body=None, within=30.0):
        async with self.turn:
            try:
                return await asyncio.wait_for(self._call(method, path, body), within)
            except (OSError, EOFError, ValueError, asyncio.TimeoutError) as trouble:
                raise Broken(f"{type(trouble).__name__} {trouble}".strip()) from trouble
            finally:
                if self.writer is not None and not self._whole:
                    self.close()

    async def _call(self, method, path, body):
        self._whole = False
        began = time.monotonic()
        if self.writer is None or self.reader.at_eof():
            self.close()
            self.reader, self.writer = await open_to(self.where)
        self.writer.write(request(method, path, body, self.token))
        await self.writer.drain()
        status, headers = await read_head(self.reader)
        data = await read_body(self.reader, headers)
        if headers.get("connection", "").lower() == "close":
            self.close()
        self._whole = True
        is_json = "json" in headers.get("content-type", "")
        return Answer(status, json.loads(data) if is_json else {"text": data.decode("latin-1")},
                      (time.monotonic() - began) * 1000)


class Stream:
    """GET of an event stream. `async for name, data in stream` ends when the connection does."""

    def __init__(self, where, path, token=None):
        self.where, self.path, self.token = where, path, token
        self.rest = b""

    async def open(self):
        try:
            self.reader, self.writer = await open_to(self.where, limit=1 << 16)
            self.writer.write(request("GET", self.path, None, self.token))
            await self.writer.drain()
            self.status, self.headers = await read_head(self.reader)
            return self.status
        except OSError as trouble:
            raise Broken(str(trouble)) from trouble

    def close(self):
        self.writer.close()

    async def __aiter__(self):
        event, data = "", []
        while (line := await self._line()) is not None:
            if line.startswith(b"event:"):
                event = line[6:].strip().decode()
            elif line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif not line and data:
                yield event, json.loads(b"\n".join(data))
                event, data = "", []

    async def _line(self):
        while b"\n" not in self.rest:
            try:
                if self.headers.get("transfer-encoding") == "chunked":
                    more = await read_chunk(self.reader)
                else:
                    more = await self.reader.read(65536)
            except (OSError, EOFError, ValueError):
                return None
            if not more:
                return None
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return line.rstrip(b"\r")
