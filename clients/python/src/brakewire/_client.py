"""A process' place at its agentd: it carries the runs of the process, hears the event stream and obeys it, and
registers its runs again with an agentd that does not know them.

Two daemon threads, one that listens and one that keeps the runs registered; a few more for calls in the background.
None of them keeps the interpreter from exiting."""

from __future__ import annotations

import heapq
import json
import logging
import os
import random
import secrets
import string
import sys
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from ._run import Place, RunState
from ._wire import CALL_S, Answer, Away, Caller, Deaf, Stream, default_agentd
from .errors import BrakewireError, Cancel, Forked, Refused, Unavailable, refusal

log = logging.getLogger("brakewire")

EARLY_MAX = 10_000
OWED_MAX = 10_000
BACKGROUND_THREADS = 16
BACKGROUND_JOBS_MAX = 20_000
AWAY_WAIT_S = 5.0
"""What a call about a registered run waits for its agentd to come back."""
DEADLINE_SLACK_S = 1.0
"""The agentd tells of a deadline first; we only where it cannot."""
START_TRIES = 4
REGISTER_TRIES = 3
LINK_WAIT_S = 2.0
"""What a run that was protected waits for a restarted agentd to find Redis, before it is registered without."""
LINKED_FOR_S = 1.0


class Pause:
    """Between two tries: longer each time, never in step with other processes."""

    def __init__(self, first: float = 0.02, most: float = 1.0):
        self._first, self._most = first, most
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def take(self) -> float:
        length, self._next = self._next, min(self._next * 2, self._most)
        return length * random.uniform(0.5, 1.0)


class Background:
    """Daemon threads for calls that must not block the caller's event loop; made when they are needed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = 0
        self._idle = 0

    def submit(self, job: Callable[[], None]) -> None:
        with self._changed:
            if len(self._jobs) >= BACKGROUND_JOBS_MAX:
                raise Unavailable(f"{BACKGROUND_JOBS_MAX} calls wait for the agentd already")
            self._jobs.append(job)
            if self._idle < len(self._jobs) and self._threads < BACKGROUND_THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name="brakewire-call", daemon=True).start()
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                got = self._changed.wait_for(lambda: self._jobs, timeout=30)
                self._idle -= 1
                if not got:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            try:
                job()
            except Exception:
                log.exception("a call in the background failed")
            del job


def _mint_id() -> str:
    """Not of a shape that daemons mint: those begin with 0, or with r and have 21 characters."""
    return "p" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(22))


class Client:
    """agentd: the path of its socket or `http://host:port` (default: as brakectl finds it).
    token: the secret by which the agentd knows this client, 16 to 256 characters; for processes that adopt the runs
    of an earlier one. strict: `start()` raises Unavailable where no agentd answers."""

    def __init__(self, agentd: str | os.PathLike[str] | None = None, token: str | None = None, strict: bool = False):
        self.where = os.fspath(agentd) if agentd is not None else default_agentd()
        self.token = token or secrets.token_urlsafe(24)
        self.strict = strict
        self.incarnation = secrets.token_hex(12)
        self.pid = os.getpid()
        self.caller = Caller(self.where, self.token)
        self.background = Background()
        self._changed = threading.Condition()
        self._runs: dict[str, RunState] = {}
        self._stray: OrderedDict[str, RunState] = OrderedDict()  # to be registered, or their end to be said
        self._early: OrderedDict[str, dict[str, Any]] = OrderedDict()  # told before their start was answered
        self._deadlines: list[tuple[float, str]] = []
        self._linked_at = 0.0  # when its agentd was last seen to have Redis, by time.monotonic()
        self._is_listening = False
        self._stream: Stream | None = None
        self._replica = ""  # of the open stream; empty: there is none
        self._has_warned = self._has_complained = self._is_closed = False
        _clients.add(self)

    @property
    def is_connected(self) -> bool:
        """Whether the event stream is open: cancels arrive."""
        return self._replica != ""

    @property
    def run_ids(self) -> list[str]:
        """The live runs of this client."""
        with self._changed:
            return list(self._runs)

    def close(self) -> None:
        """Ends its threads. Runs that live go on, and for the agentd their client is gone."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            stream = self._stream
        if stream is not None:
            stream.hang_up()
        _clients.discard(self)

    def forget(self) -> None:
        """In the child of a fork: while it held the stream open, the agentd would believe that the parent is there."""
        self.caller.forget()
        if self._stream is not None:
            self._stream.forget()

    # ---- starting --------------------------------------------------------------------------

    def start(self, place: Place) -> RunState:
        if self.pid != os.getpid():
            raise Forked("this client belongs to the parent process: make one here")
        if self._is_closed:
            raise BrakewireError("this client is closed")
        self._be_there()
        run = RunState(self, place)
        key = place.idempotency_key or uuid.uuid4().hex
        pause = Pause(0.05)
        for attempt in range(START_TRIES):
            try:
                answer = self.caller.call("POST", "/v1/runs", run.body(), {"Idempotency-Key": key})
            except Away as why:
                if self.strict or place.body.get("strict"):
                    raise Unavailable(f"no agentd answers: {why}") from why
                return self._start_alone(run, why)
            if answer.is_good:
                return self._started(run, answer.json())
            trouble = refusal(answer.status, answer.body)
            if trouble.code != "unknown_outcome" or attempt == START_TRIES - 1:
                raise trouble
            time.sleep(pause.take())
        raise AssertionError("unreachable")

    def _started(self, run: RunState, answer: dict[str, Any]) -> RunState:
        with self._changed:
            known = self._runs.get(str(answer["run_id"]))
            run = known if known is not None and known.ending is None else run
        run.took(answer)
        self._add(run)
        return run

    def _start_alone(self, run: RunState, why: Away) -> RunState:
        self._warn_of_absence(why)
        run_id = run.place.run_id or _mint_id()
        with self._changed:
            known = self._runs.get(run_id)
        if known is not None:
            return known
        run.go_alone(run_id)
        self._add(run)
        return run

    def _add(self, run: RunState) -> None:
        with self._changed:
            self._runs[run.run_id] = run
            early = self._early.pop(run.run_id, None)
            if run.replica == "" or (self._replica and run.replica != self._replica):
                self._stray[run.run_id] = run
            if run.deadline_at is not None:
                self._note_deadline(run.deadline_at + (DEADLINE_SLACK_S if run.epoch else 0), run.run_id)
            self._changed.notify_all()
        if early is not None:
            self._tell(run, early)

    def warn(self, text: str) -> None:
        log.warning(text)

    def _warn_of_absence(self, why: Away) -> None:
        with self._changed:
            if self._has_warned:
                return
            self._has_warned = True
        text = (f"brakewire: no agentd answers ({why}). Runs go on without the brake until one does: "
                "start brakewire-agentd, or set BRAKEWIRE_AGENTD to its socket")
        if log.hasHandlers():  # else logging itself writes to stderr
            print(text, file=sys.stderr)
        log.warning(text)

    # ---- calls about a run -----------------------------------------------------------------

    def call_run(self, run: RunState, what: str, body: dict[str, Any], timeout: float | None = None) -> Answer:
        """A call about a registered run. Waits a while for an agentd that was there, and registers the run again with
        one that does not know it. Raises Away, or the Refused of that registration."""
        until = time.monotonic() + AWAY_WAIT_S
        pause = Pause()
        tries = 0
        while True:
            try:
                if run.replica == "" and not self.register(run):
                    raise run.refused or Away("the run is not registered")
                whole = body if what == "cancel" else {"epoch": run.epoch, **body}
                answer = self.caller.call("POST", f"/v1/runs/{run.run_id}/{what}", whole, timeout=timeout or CALL_S)
                tries += 1
                if answer.status not in (401, 404) or tries == REGISTER_TRIES:
                    return answer
                run.replica = ""
            except Away:
                if time.monotonic() >= until or what == "end":
                    raise
                time.sleep(pause.take())

    def register(self, run: RunState) -> bool:
        """With the agentd that is there now. False: it refuses, see `run.refused`. Raises Away."""
        with run.registering:
            if run.replica or run.refused is not None:
                return run.refused is None
            if run.is_protected:
                self._wait_for_link()
            answer = self.caller.call("POST", "/v1/runs", run.body())
            if answer.is_good:
                was_alone = run.epoch == 0
                run.took(answer.json())
                if was_alone:
                    log.info("run %s has joined agentd %s", run.run_id, run.replica)
                    self._say_links(run)
                return True
            trouble = refusal(answer.status, answer.body)
            if answer.status in (429, 503) and trouble.code != "full":
                raise Away(str(trouble))
            run.refuse(trouble)
            return False

    def _wait_for_link(self) -> None:
        until = time.monotonic() + LINK_WAIT_S
        pause = Pause(most=0.1)
        while self._linked_at + LINKED_FOR_S < time.monotonic() < until:
            redis = self.caller.call("GET", "/v1/version").json().get("redis")
            if isinstance(redis, dict) and redis.get("linked"):
                self._linked_at = time.monotonic()
            else:
                time.sleep(pause.take())

    def _say_links(self, run: RunState) -> None:
        for link in run.links_waiting():
            answer = self.caller.call("POST", f"/v1/runs/{run.run_id}/links", {"epoch": run.epoch, **link})
            if not answer.is_good:
                self.warn(f"link of run {run.run_id} to {link['to']}: {refusal(answer.status, answer.body)}")

    def end(self, run: RunState) -> str:
        """Says the end that the run is in, now or as soon as an agentd hears it."""
        state = run.ending or "error"
        if run.epoch == 0 or run.refused is not None:
            self._drop(run)
            return state
        try:
            answer = self.call_run(run, "end", {"state": state})
        except Away:
            self._owe(run)
            return state
        except Refused:
            self._drop(run)
            return state
        trouble = None if answer.is_good else refusal(answer.status, answer.body)
        if trouble is not None and trouble.code == "not_cancelled":
            run.goes_on()
            raise trouble
        if trouble is not None and answer.status in (429, 503):
            self._owe(run)
            return state
        self._drop(run)
        run.ending = str(answer.json().get("state") or state)
        return run.ending

    def _owe(self, run: RunState) -> None:
        with self._changed:
            self._stray[run.run_id] = run
            if len(self._stray) > OWED_MAX:
                _, oldest = next((item for item in self._stray.items() if item[1].ending), (None, None))
                if oldest is not None:
                    del self._stray[oldest.run_id]
                    self._runs.pop(oldest.run_id, None)
                    self.warn(f"the end of run {oldest.run_id} is not said: {OWED_MAX} others wait")
            self._changed.notify_all()

    def _drop(self, run: RunState) -> None:
        with self._changed:
            if self._runs.get(run.run_id) is run:
                del self._runs[run.run_id]
            self._stray.pop(run.run_id, None)

    def tell_below(self, run: RunState, cancel: Cancel, include_self: bool) -> int:
        """The runs of this process in the scope of a run that no agentd knows."""
        with self._changed:
            below = [other for other in self._runs.values() if f".{run.run_id}." in f".{other.path}."]
        told = [other for other in below if include_self or other is not run]
        for other in told:
            other.deliver(cancel)
        return len(told)

    # ---- the stream ------------------------------------------------------------------------

    def _be_there(self) -> None:
        with self._changed:
            if self._is_listening:
                return
            self._is_listening = True
        threading.Thread(target=self._listen, name="brakewire-events", daemon=True).start()
        threading.Thread(target=self._keep, name="brakewire-keeper", daemon=True).start()

    def _listen(self) -> None:
        pause = Pause()
        while not self._is_closed:
            try:
                stream = self.caller.listen("/v1/events")
            except Away as why:
                self._complain(why)
                time.sleep(pause.take())
                continue
            self._stream = stream
            try:
                self._connected()
                pause.reset()
                for event, data in stream:
                    if event == "resync":
                        break
                    if event == "cancel":
                        self._heed(data)
            except Away:
                pass
            finally:
                self._stream = None
                stream.close()
                with self._changed:
                    self._replica, self._linked_at = "", 0.0
            time.sleep(pause.take())

    def _complain(self, why: Away) -> None:
        if isinstance(why, Deaf) and not self._has_complained:
            log.warning("cancels do not arrive: %s", why)
        self._has_complained = isinstance(why, Deaf)

    def _connected(self) -> None:
        answer = self.caller.call("GET", "/v1/version").json()
        replica = str(answer.get("replica_id") or "?")
        with self._changed:
            self._replica = replica
            for run in self._runs.values():
                if run.replica != replica and run.refused is None:
                    run.replica = ""
                    self._stray[run.run_id] = run
            self._changed.notify_all()

    def _heed(self, data: str) -> None:
        try:
            notice = json.loads(data)
            run_id = str(notice["run"])
        except (ValueError, KeyError, TypeError):
            log.warning("an event of the agentd that is not understood: %.200s", data)
            return
        with self._changed:
            run = self._runs.get(run_id)
            if run is None:
                self._early[run_id] = notice
                if len(self._early) > EARLY_MAX:
                    self._early.popitem(last=False)
                return
        self._tell(run, notice)

    def _tell(self, run: RunState, notice: dict[str, Any]) -> None:
        if int(notice.get("epoch") or 0) >= run.epoch:  # else it is for an earlier life
            run.deliver(Cancel.from_json(notice))

    # ---- keeping the runs registered -------------------------------------------------------

    def _keep(self) -> None:
        pause = Pause()
        while not self._is_closed:
            with self._changed:
                if not self._has_work():
                    self._changed.wait(self._next_deadline())
                late = self._take_late()
                run = next(iter(self._stray.values()), None) if self._replica else None
            for one in late:
                one.deliver(Cancel("", one.run_id, one.root, reason="deadline", by="client"))
            try:
                if run is not None:
                    self._care(run)
                pause.reset()
            except Away:
                with self._changed:
                    if run is not None and run.run_id in self._stray:
                        self._stray.move_to_end(run.run_id)
                time.sleep(pause.take())
            except Exception:
                log.exception("the runs of this process cannot be kept registered")
                if run is not None:
                    self._drop(run)

    def _has_work(self) -> bool:
        return bool(self._replica and self._stray) or self._next_deadline() == 0

    def _care(self, run: RunState) -> None:
        if run.ending is None or run.epoch:
            self.register(run)
        with self._changed:
            if self._stray.get(run.run_id) is run and (run.replica or run.refused is not None):
                del self._stray[run.run_id]
        if run.ending is not None:
            try:
                self.end(run)
            except Refused:  # nobody has heard of the cancel that it obeyed
                run.ending = "error"
                self.end(run)

    def _next_deadline(self) -> float | None:
        if not self._deadlines:
            return None
        return max(0.0, self._deadlines[0][0] - time.monotonic())

    def _note_deadline(self, at: float, run_id: str) -> None:
        heapq.heappush(self._deadlines, (at, run_id))
        if len(self._deadlines) > 2 * len(self._runs) + 1000:  # most are of runs that have ended
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._runs]
            heapq.heapify(self._deadlines)

    def _take_late(self) -> list[RunState]:
        late = []
        while self._deadlines and self._next_deadline() == 0:
            _, run_id = heapq.heappop(self._deadlines)
            run = self._runs.get(run_id)
            if run is not None and not run.told.is_set():
                late.append(run)
        return late


# ---- one for each agentd that the environment has named ------------------------------------------

_clients: set[Client] = set()
_defaults: dict[str, Client] = {}
_defaults_lock = threading.Lock()


def default_client() -> Client:
    """The client that `start()` and `run()` use: of this process, and of $BRAKEWIRE_AGENTD as it is now."""
    where = default_agentd()
    with _defaults_lock:
        client = _defaults.get(where)
        if client is None or client.pid != os.getpid():
            client = _defaults[where] = Client(where)
        return client


def _forked() -> None:
    """In the child of a fork: threads and connections are the parent's."""
    global _clients, _defaults_lock
    _defaults_lock = threading.Lock()
    _defaults.clear()
    parents, _clients = _clients, set()
    for client in parents:
        client.forget()


os.register_at_fork(after_in_child=_forked)
