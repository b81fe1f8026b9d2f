"""Brakewire stops a tree of agents. This is how a Python agent joins the tree:

    async with brakewire.run(agent="researcher", headers=request.headers) as run:
        await work(headers=run.headers())      # cancelled here when somebody says stop

`brakewire.sync` is the same for threads; `brakewire.context` reads and writes what goes from agent to agent."""

from __future__ import annotations

from . import context, sync
from ._aio import CancelEvent, Run, run, start
from ._client import Client
from ._run import Granted
from ._start import AnyRun, StartOptions, current
from .errors import (
    BrakewireError,
    Cancel,
    Cancelled,
    Conflict,
    Fenced,
    Forked,
    Frozen,
    Malformed,
    Over,
    Refused,
    Unavailable,
)

__version__ = "0.1.0"

__all__ = [
    "AnyRun", "BrakewireError", "Cancel", "CancelEvent", "Cancelled", "Client", "Conflict", "Fenced", "Forked", "Frozen",
    "Granted", "Malformed", "Over", "Refused", "Run", "StartOptions", "Unavailable", "context", "current_run",
    "raise_if_cancelled", "run", "start", "sync",
]


def current_run() -> Run | sync.Run | None:
    """The run in whose block (`async with`, `with`) this code is."""
    found = current.get()
    return found if isinstance(found, (Run, sync.Run)) else None


def raise_if_cancelled() -> None:
    """Raises Cancelled when the current run must stop; the check for long work without an await."""
    found = current_run()
    if found is not None:
        found.raise_if_cancelled()
