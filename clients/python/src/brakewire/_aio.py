"""Runs for asyncio."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from ._base import BaseRun, Inside
from ._client import Client, default_client
from ._run import Granted, RunState
from ._start import StartOptions, place_of
from .errors import Cancelled, Refused

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing import TYPE_CHECKING

    if TYPE_CHECKING:
        from typing_extensions import Unpack

T = TypeVar("T")


async def in_background(client: Client, work: Callable[[], T], when_left: Callable[[T], None] | None = None) -> T:
    """What blocks, in a thread. A caller that is cancelled meanwhile leaves it to its end, and `when_left` gets it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            if error is None and when_left is not None:
                client.background.submit(lambda: when_left(result))  # type: ignore[arg-type]
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def job() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as trouble:
            error = trouble
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            if error is None and when_left is not None:
                when_left(result)  # type: ignore[arg-type]

    client.background.submit(job)
    return await future


class CancelEvent:
    """Set when the run is cancelled; as asyncio.Event, but for any loop."""

    def __init__(self, state: RunState):
        self._state = state

    def is_set(self) -> bool:
        return self._state.seen()

    async def wait(self) -> bool:
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(True)

        def listener() -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:
                pass  # the loop is closed

        self._state.listen(listener)
        try:
            await woken
        finally:
            self._state.unlisten(listener)
        return self._state.seen()


class _TaskCancel:
    """Cancels a task when the run is cancelled, and knows its own cancel from those of others."""

    def __init__(self, state: RunState):
        task = asyncio.current_task()
        assert task is not None
        self._task, self._loop, self._state = task, asyncio.get_running_loop(), state
        self._cancelling_before = 0
        if sys.version_info >= (3, 11):
            self._cancelling_before = task.cancelling()
        self._has_cancelled = self._is_over = False
        state.listen(self._told)

    def _told(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:
            pass  # the loop is closed

    def _cancel(self) -> None:
        if not self._is_over and not self._has_cancelled:
            self._has_cancelled = True
            self._state.seen()
            self._task.cancel(f"brakewire: {self._state.cancelled()}")

    def close(self, error: BaseException | None) -> bool:
        """After the body. Whether what it raised is our cancel, and of nobody else."""
        self._is_over = True
        self._state.unlisten(self._told)
        if not self._has_cancelled:
            return False
        is_ours = isinstance(error, asyncio.CancelledError)
        if sys.version_info >= (3, 11):
            return self._task.uncancel() <= self._cancelling_before and is_ours
        return is_ours and str(error).startswith("brakewire: ")


class Run(BaseRun):
    """A run that has started. Also `async with run:`, which ends it with the block."""

    def __init__(self, state: RunState):
        super().__init__(state)
        self.cancelled = CancelEvent(state)
        """`await run.cancelled.wait()`"""
        self._cancel_task = True
        self._inside: Inside | None = None
        self._task: _TaskCancel | None = None

    async def _do(self, work: Callable[[], T]) -> T:
        return await in_background(self._state.client, work)

    async def ack(self, phase: str = "acknowledged") -> None:
        """How far its stop has come: acknowledged (said by itself) | cleaned_up | checkpointed."""
        await self._do(lambda: self._state.ack(phase))

    async def fence(self, write_id: str, bytes: bytes | None = None) -> Granted:
        """Before a checkpoint: may it be written? After a cancel exactly one is granted, and is `last`; the same
        write_id again is the same one. Raises Frozen, Fenced, Over; Unavailable when nobody can say.

        write_id: 1 to 128 characters. bytes: up to 1 MiB, kept beside it for `GET /v1/runs/{id}/checkpoint`."""
        return await self._do(lambda: self._state.fence(write_id, bytes))

    async def link(self, to: str, kind: str = "root") -> None:
        """A child outside of this tree, `<root>` or `<root>/<run>`: say it before it is started. Raises Cancelled, and
        the child is cancelled, when this run is cancelled already."""
        await self._do(lambda: self._state.link(to, kind))

    async def cancel_tree(self, reason: str | None = None, *, action: str | None = None, grace_ms: int | None = None,
                          wait: str | None = None, timeout_ms: int | None = None) -> dict[str, Any]:
        """Cancels this run and all below it; the answer is the cancel answer of the protocol. wait: none | delivered |
        stopped."""
        members = {"reason": reason, "action": action, "grace_ms": grace_ms, "wait": wait, "timeout_ms": timeout_ms}
        return await self._do(lambda: self._state.cancel_scope(members, True))

    async def cancel_children(self, reason: str | None = None, *, action: str | None = None,
                              grace_ms: int | None = None, wait: str | None = None,
                              timeout_ms: int | None = None) -> dict[str, Any]:
        """Cancels all below this run, which goes on. Later children may start. While Redis is away only those at this
        agentd are told: repeat it as long as the answer is `pending`."""
        members = {"reason": reason, "action": action, "grace_ms": grace_ms, "wait": wait, "timeout_ms": timeout_ms}
        return await self._do(lambda: self._state.cancel_scope(members, False))

    async def end(self, state: str = "success") -> str:
        """success | error | cancelled | rolled_back | paused → the state that is recorded: what was cancelled is not
        a success. Said once; out of reach of an agentd it is said later. Raises Refused (`not_cancelled`)."""
        return await self._do(lambda: self._state.end(state))

    # ---- async with ------------------------------------------------------------------------

    async def __aenter__(self) -> Run:
        self._inside = Inside(self)
        if self._cancel_task:
            self._task = _TaskCancel(self._state)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        if self._inside is not None:
            self._inside.leave()
        is_ours = self._task is not None and self._task.close(error)
        await self._do(lambda: end_by(self._state, error, is_ours))
        if is_ours:
            raise self._state.cancelled() from error


def end_by(state: RunState, error: BaseException | None, is_ours: bool) -> None:
    """Ends a run as its block has ended, unless the block has said how."""
    if state.ending is not None:
        return
    if error is None:
        how = "success"
    elif is_ours or (isinstance(error, Cancelled) and state.told.is_set()):
        how = "cancelled"
    else:
        how = "error"
    try:
        state.end(how)
    except Refused as why:
        if how == "error" or why.code != "not_cancelled":
            return
        state.end("error")  # stopped, but not by a cancel that anybody has recorded


class _Starting:
    """`async with brakewire.run(…) as run:`"""

    def __init__(self, client: Client | None, cancel_task: bool, options: StartOptions):
        self._client, self._cancel_task, self._options = client, cancel_task, options
        self._run: Run | None = None

    async def __aenter__(self) -> Run:
        self._run = await _start(self._client, self._options)
        self._run._cancel_task = self._cancel_task
        return await self._run.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        assert self._run is not None
        await self._run.__aexit__(kind, error, trace)


async def _start(client: Client | None, options: StartOptions) -> Run:
    place = place_of(options)
    client = client or default_client()

    def nobody_wants_it(state: RunState) -> None:
        end_by(state, asyncio.CancelledError(), False)

    return Run(await in_background(client, lambda: client.start(place), nobody_wants_it))


async def start(*, client: Client | None = None, **options: Unpack[StartOptions]) -> Run:
    """Starts a run: it is registered with the agentd, and `await run.end(…)` is owed. Its context comes from `headers`,
    `baggage` or `parent`, else from current_run() or $BAGGAGE; see StartOptions for all that may be given.

    Raises Cancelled when a run above it was cancelled, Conflict, or another Refused. Where no agentd answers the run
    goes on without the brake, and joins when one does."""
    return await _start(client, options)


def run(*, client: Client | None = None, cancel_task: bool = True, **options: Unpack[StartOptions]) -> _Starting:
    """`async with brakewire.run(agent=…, headers=request.headers) as run:`: start(), and end with the block: success,
    or error when it raises.

    When the run is cancelled the task that entered the block is cancelled (unless cancel_task is False), and the block
    raises Cancelled. A cancel of the task that came from elsewhere stays what it is."""
    return _Starting(client, cancel_task, options)
