"""What runs of asyncio and runs of threads have in common."""

from __future__ import annotations

import contextvars
from typing import Any

from . import _otel, context
from ._run import RunState
from ._start import AnyRun, current
from .errors import Cancel


class BaseRun:
    def __init__(self, state: RunState):
        self._state = state

    @property
    def run_id(self) -> str:
        return self._state.run_id

    @property
    def root(self) -> str:
        """The run at the top of its tree."""
        return self._state.root

    @property
    def path(self) -> tuple[str, ...]:
        """root … self; an empty id marks what is not known here."""
        return tuple(self._state.path.split("."))

    @property
    def epoch(self) -> int:
        """Which life of the run this is; 0 before an agentd has answered."""
        return self._state.epoch

    @property
    def is_protected(self) -> bool:
        """Whether its agentd promised, when it was registered, that a cancel from outside reaches it: not while Redis is
        away, or below runs that nobody knows."""
        return self._state.is_protected

    @property
    def is_known(self) -> bool:
        """Whether an agentd carries it."""
        return self._state.replica != ""

    @property
    def deadline_ms(self) -> int | None:
        """What is left of its deadline."""
        return self._state.deadline_left_ms()

    @property
    def baggage(self) -> str:
        """The value of the baggage header for whatever this run starts: its place in the tree, then the members of
        others that came in."""
        return self._state.baggage()

    def headers(self, existing: Any = None) -> dict[str, str]:
        """Headers to send on: `existing`, with one baggage header that has ours in front of the other members."""
        return context.to_headers(self.baggage, existing)

    def environment(self, environ: dict[str, str] | None = None) -> dict[str, str]:
        """The environment for a process below this run."""
        environment = context.to_environment(self.baggage, environ)
        for name in ("BRAKEWIRE_RUN_ID", "BRAKEWIRE_ROOT", "BRAKEWIRE_EPOCH"):
            environment.pop(name, None)  # they are those of this process' own run
        return environment

    @property
    def is_cancelled(self) -> bool:
        """Whether the run must stop. Cheap; from any thread."""
        return self._state.seen()

    @property
    def cancel(self) -> Cancel | None:
        """Who stopped it and why; None while nobody has."""
        return self._state.cancel

    def raise_if_cancelled(self) -> None:
        """Raises Cancelled when the run must stop."""
        self._state.raise_if_cancelled()

    def __repr__(self) -> str:
        state = "cancelled" if self._state.told.is_set() else self._state.ending or "running"
        return f"<{type(self).__module__}.{type(self).__name__} {self.run_id} {state}>"


class Inside:
    """While a run is the current one, for current_run() and for OpenTelemetry."""

    def __init__(self, run: AnyRun):
        self._token: contextvars.Token[AnyRun | None] = current.set(run)
        self._otel = _otel.attach(run.baggage)

    def leave(self) -> None:
        _otel.detach(self._otel)
        try:
            current.reset(self._token)
        except ValueError:
            pass  # left in another context than it was entered in, as generators are when they are collected
