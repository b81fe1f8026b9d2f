"""Runs for threads: `brakewire.sync.start()` and `with brakewire.sync.run() as run:`.

Nothing stops a thread from outside: it asks `run.is_cancelled`, calls `run.raise_if_cancelled()` or waits on
`run.cancelled`."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from ._aio import end_by
from ._base import BaseRun, Inside
from ._client import Client, default_client
from ._run import Granted, RunState
from ._start import StartOptions, place_of
from .errors import Cancelled

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing import TYPE_CHECKING

    if TYPE_CHECKING:
        from typing_extensions import Unpack

__all__ = ["CancelEvent", "Run", "run", "start"]


class CancelEvent:
    """Set when the run is cancelled; as threading.Event, but nobody else sets it."""

    def __init__(self, state: RunState):
        self._state = state

    def is_set(self) -> bool:
        return self._state.seen()

    def wait(self, timeout: float | None = None) -> bool:
        """timeout: seconds."""
        self._state.told.wait(timeout)
        return self._state.seen()


class Run(BaseRun):
    """A run that has started; its calls block. Also `with run:`, which ends it with the block."""

    def __init__(self, state: RunState):
        super().__init__(state)
        self.cancelled = CancelEvent(state)
        self._inside: Inside | None = None

    def ack(self, phase: str = "acknowledged") -> None:
        """As brakewire.Run.ack()."""
        self._state.ack(phase)

    def fence(self, write_id: str, bytes: bytes | None = None) -> Granted:
        """As brakewire.Run.fence()."""
        return self._state.fence(write_id, bytes)

    def link(self, to: str, kind: str = "root") -> None:
        """As brakewire.Run.link()."""
        self._state.link(to, kind)

    def cancel_tree(self, reason: str | None = None, *, action: str | None = None, grace_ms: int | None = None,
                    wait: str | None = None, timeout_ms: int | None = None) -> dict[str, Any]:
        """As brakewire.Run.cancel_tree()."""
        members = {"reason": reason, "action": action, "grace_ms": grace_ms, "wait": wait, "timeout_ms": timeout_ms}
        return self._state.cancel_scope(members, True)

    def cancel_children(self, reason: str | None = None, *, action: str | None = None, grace_ms: int | None = None,
                        wait: str | None = None, timeout_ms: int | None = None) -> dict[str, Any]:
        """As brakewire.Run.cancel_children()."""
        members = {"reason": reason, "action": action, "grace_ms": grace_ms, "wait": wait, "timeout_ms": timeout_ms}
        return self._state.cancel_scope(members, False)

    def end(self, state: str = "success") -> str:
        """As brakewire.Run.end()."""
        return self._state.end(state)

    def __enter__(self) -> Run:
        self._inside = Inside(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._inside is not None:
            self._inside.leave()
        end_by(self._state, error, isinstance(error, Cancelled) and self._state.told.is_set())


class _Starting:
    def __init__(self, client: Client | None, options: StartOptions):
        self._client, self._options = client, options
        self._run: Run | None = None

    def __enter__(self) -> Run:
        self._run = _start(self._client, self._options)
        return self._run.__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        assert self._run is not None
        self._run.__exit__(kind, error, trace)


def _start(client: Client | None, options: StartOptions) -> Run:
    return Run((client or default_client()).start(place_of(options)))


def start(*, client: Client | None = None, **options: Unpack[StartOptions]) -> Run:
    """As brakewire.start()."""
    return _start(client, options)


def run(*, client: Client | None = None, **options: Unpack[StartOptions]) -> _Starting:
    """`with brakewire.sync.run(agent=…) as run:`: start(), and end with the block: success, cancelled when it raises
    Cancelled after a cancel, else error."""
    return _Starting(client, options)
