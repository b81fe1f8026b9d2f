"""One run, as its client knows it: used by any thread, by asyncio (`_aio.Run`) and by threads (`sync.Run`)."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from . import context
from ._wire import Away
from .errors import Cancel, Cancelled, Forked, Frozen, Refused, Unavailable, refusal

if TYPE_CHECKING:
    from ._client import Client

LINKS_WAITING_MAX = 1000


class Granted(NamedTuple):
    """A checkpoint may be written. `last`: the run was cancelled, and no other one will be granted.
    `unconfirmed`: Redis may forget that it was, or there was nobody to ask."""

    last: bool
    unconfirmed: bool


@dataclass
class Place:
    """What a start asks for, and what it brings along."""

    body: dict[str, Any]
    """Members of `POST /v1/runs` but for run_id, incarnation and baggage."""
    run_id: str | None = None
    parent_path: str | None = None
    """As far as it is known here; None for a root."""
    ours: str = ""
    """Our members of the incoming baggage."""
    others: str = ""
    """Those of others."""
    deadline_ms: int | None = None
    idempotency_key: str | None = None


@dataclass
class RunState:
    client: Client
    place: Place
    run_id: str = ""
    root: str = ""
    path: str = ""
    epoch: int = 0
    """0: no agentd has answered yet."""
    replica: str = ""
    """The agentd that carries it; empty: it has to be registered again."""
    is_protected: bool = False
    member: str = ""
    deadline_at: float | None = None
    """By time.monotonic()."""
    cancel: Cancel | None = None
    ending: str | None = None
    """The state that it is to end in, or has."""
    refused: Refused | None = None
    """Why no agentd carries it, for good."""
    told: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    registering: threading.Lock = field(default_factory=threading.Lock)
    _listeners: set[Callable[[], None]] = field(default_factory=set)
    _links: list[dict[str, str]] = field(default_factory=list)
    _late: Cancel | None = None
    _last_write: str | None = None
    _acked: bool = False

    # ---- what the agentd answers -----------------------------------------------------------

    def body(self) -> dict[str, Any]:
        body = {**self.place.body, "incarnation": self.client.incarnation}
        if self.run_id or self.place.run_id:
            body["run_id"] = self.run_id or self.place.run_id
        if self.place.ours:
            body["baggage"] = self.place.ours
        left = self.deadline_left_ms()
        if left is not None:
            body["deadline_ms"] = left
        return body

    def took(self, answer: dict[str, Any]) -> None:
        """An agentd has answered a start of it."""
        with self.lock:
            self.run_id = str(answer["run_id"])
            self.root = str(answer["root"])
            self.path = ".".join(answer["path"])
            self.epoch = int(answer["epoch"])
            self.replica = str(answer["replica_id"])
            self.is_protected = bool(answer["protected"])
            self.member = str(answer["baggage"]).partition(",")[0]
            if "deadline_ms" in answer:
                self.deadline_at = time.monotonic() + answer["deadline_ms"] / 1000
        if answer.get("cancel") and answer.get("would") is None:
            self.deliver(Cancel.from_json(answer["cancel"]))

    def go_alone(self, run_id: str) -> None:
        """Nobody answers: it goes on without the brake, until an agentd appears."""
        self.run_id = run_id
        self.path = context.append(self.place.parent_path, run_id)
        self.root = context.root_of(self.path)
        # A path that is signed ends where its signer ended it: what is below us joins our parent then.
        is_signed = "~" in self.place.ours or "%7" in self.place.ours
        came = self.place.ours.partition(",")[0]
        self.member = came if is_signed else f"{context.MEMBER}=1.{context.cut(self.path)}"
        if self.place.deadline_ms is not None:
            self.deadline_at = time.monotonic() + self.place.deadline_ms / 1000

    def refuse(self, answer: Refused) -> None:
        """An agentd does not take it: the brake says stop by refusing, or the run stays without one."""
        self.refused = answer
        self.is_protected = False
        if isinstance(answer, Cancelled):
            self.deliver(answer.cancel)
            return
        reason = {"over": f"over:{answer.problem.get('state', '')}", "fenced": "fenced", "conflict": "fenced",
                  "run_id_taken": "fenced", "held": "held"}.get(answer.code)
        if reason is not None:
            self.deliver(Cancel("", self.run_id, self.root, reason=reason, by="agentd"))
        else:
            self.client.warn(f"run {self.run_id} goes on without the brake: {answer}")

    # ---- being cancelled -------------------------------------------------------------------

    def deliver(self, cancel: Cancel) -> None:
        """Tells whoever listens, once; a later notice may only shorten the grace."""
        with self.lock:
            if self.ending is not None:
                self._late = cancel
                return
            is_first = self.cancel is None and not self.told.is_set()
            if is_first or (self.cancel is not None and cancel.cancel_id == self.cancel.cancel_id):
                self.cancel = cancel
            listeners = list(self._listeners) if is_first else []
            self.told.set()
        for listener in listeners:
            listener()

    def goes_on(self) -> None:
        """Its end was refused."""
        with self.lock:
            self.ending = None
            late, self._late = self._late, None
        if late is not None:
            self.deliver(late)

    def listen(self, listener: Callable[[], None]) -> None:
        """Calls it once, from any thread, when the run is cancelled; at once if it is already."""
        with self.lock:
            is_told = self.told.is_set()
            if not is_told:
                self._listeners.add(listener)
        if is_told:
            listener()

    def unlisten(self, listener: Callable[[], None]) -> None:
        with self.lock:
            self._listeners.discard(listener)

    def seen(self) -> bool:
        """Whether it is cancelled. The first who is told yes has, by that, acknowledged it."""
        if not self.told.is_set():
            return False
        if self.client.pid != os.getpid():
            return True  # in the child of a fork, where our locks may be held for ever
        with self.lock:
            is_first, self._acked = not self._acked, True
        if is_first and self.epoch and self.ending is None and self.refused is None:
            self.client.background.submit(self._ack_in_background)
        return True

    def _ack_in_background(self) -> None:
        if self.ending is None:
            try:
                self.client.call_run(self, "ack", {"phase": "acknowledged"})
            except (Away, Refused):
                pass  # it costs nothing but its place in the story

    def raise_if_cancelled(self) -> None:
        if self.seen():
            raise self.cancelled()

    def cancelled(self) -> Cancelled:
        return Cancelled.of(self.cancel or Cancel("", self.run_id, self.root))

    # ---- its context -----------------------------------------------------------------------

    def deadline_left_ms(self) -> int | None:
        if self.deadline_at is None:
            return self.place.deadline_ms if not self.run_id else None
        return max(0, int((self.deadline_at - time.monotonic()) * 1000))

    def baggage(self) -> str:
        left = self.deadline_left_ms()
        ours = self.member if left is None else f"{self.member},{context.TTL_MEMBER}={left}"
        return context.merge(ours, self.place.others)

    # ---- what it says ----------------------------------------------------------------------

    def _check_process(self) -> None:
        if self.client.pid != os.getpid():
            raise Forked(f"run {self.run_id} belongs to process {self.client.pid}, this is its child {os.getpid()}: "
                         "start a run of its own here, with parent=run")

    def _say(self, what: str, body: dict[str, Any], timeout: float | None = None) -> dict[str, Any]:
        self._check_process()
        try:
            answer = self.client.call_run(self, what, body, timeout)
        except Away as why:
            raise Unavailable(f"{what} of run {self.run_id}: {why}") from why
        if not answer.is_good:
            trouble = refusal(answer.status, answer.body)
            if trouble.code == "fenced":
                self.deliver(Cancel("", self.run_id, self.root, reason="fenced", by="agentd"))
            raise trouble
        return answer.json()

    @property
    def _is_alone(self) -> bool:
        return self.epoch == 0

    def ack(self, phase: str) -> None:
        self._acked = True
        if not self._is_alone:
            self._say("ack", {"phase": phase})

    def fence(self, write_id: str, data: bytes | None) -> Granted:
        if self._is_alone:
            self._check_process()
            return self._fence_here(write_id)
        body: dict[str, Any] = {"write_id": write_id}
        if data is not None:
            body["bytes"] = base64.b64encode(data).decode()
        answer = self._say("fence", body)
        return Granted(bool(answer.get("last")), bool(answer.get("unconfirmed")))

    def _fence_here(self, write_id: str) -> Granted:
        """Nobody to ask: the same rule, for as much as this process knows."""
        with self.lock:
            if self.ending is None and not self.told.is_set():
                return Granted(False, True)
            if self.ending is not None or self._last_write not in (None, write_id):
                raise Frozen(409, {"code": "frozen", "detail": f"run {self.run_id} has had its last checkpoint"})
            self._last_write = write_id
            return Granted(True, True)

    def link(self, to: str, kind: str) -> None:
        link = {"kind": kind, "to": to}
        with self.lock:
            if self._is_alone and len(self._links) < LINKS_WAITING_MAX:
                self._links.append(link)
                return
        self._say("links", link)

    def links_waiting(self) -> list[dict[str, str]]:
        with self.lock:
            links, self._links = self._links, []
        return links

    def cancel_scope(self, members: dict[str, Any], include_self: bool) -> dict[str, Any]:
        body = {name: value for name, value in members.items() if value is not None}
        body["include_self"] = include_self
        if not self._is_alone:
            wait_s = body.get("timeout_ms", 10_000) / 1000 if body.get("wait", "none") != "none" else 0
            answer = self._say("cancel", body, timeout=wait_s + 15)
            if include_self:
                self.deliver(Cancel.from_json(answer))
            return answer
        self._check_process()
        cancel = Cancel(f"{self.root}.{self.run_id}", self.run_id, self.root, body.get("action", "interrupt"),
                        body.get("reason", ""), "client")
        return {**cancel.to_json(), "told_here": self.client.tell_below(self, cancel, include_self),
                "durability": "local", "pending": True, "complete": False}

    def end(self, state: str) -> str:
        """Once; every later call answers the same. Returns the state that is recorded, as far as it is known."""
        self._check_process()
        with self.lock:
            if self.ending is not None:
                return self.ending
            self.ending = state
        return self.client.end(self)
