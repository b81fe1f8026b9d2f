"""A2A agents (a2a-sdk) whose tasks are runs.

    handler = DefaultRequestHandler(agent_executor=brakewire.a2a.protect(MyExecutor(), agent="researcher"), …)

Each turn of a task is a run below the one that the message names, and can be found by the task's id. When it is cancelled,
`execute()` is, and the task is CANCELED, once, when it has really stopped; a CancelTask cancels the run and all below it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.tasks import TaskUpdater
from a2a.types import AgentExtension, Task, TaskState, TaskStatus, TaskStatusUpdateEvent

from . import _aio, context
from ._aio import Run
from ._client import Client
from .errors import BrakewireError, Cancel, Cancelled

log = logging.getLogger("brakewire")

STOP_WAIT_S = 10.0
"""What a canceled task waits for all below it to stop, and a CancelTask for execute() before the SDK cancels it its own
way."""

_OVER = (TaskState.TASK_STATE_COMPLETED, TaskState.TASK_STATE_CANCELED, TaskState.TASK_STATE_FAILED,
         TaskState.TASK_STATE_REJECTED)
_PAUSED = (TaskState.TASK_STATE_INPUT_REQUIRED, TaskState.TASK_STATE_AUTH_REQUIRED)

__all__ = ["extension", "protect"]


def extension() -> AgentExtension:
    """For `capabilities.extensions` of the agent card."""
    declared = AgentExtension(uri=context.A2A_EXTENSION, required=False,
                              description="A cancel of a task stops everything below it (Brakewire)")
    declared.params.update({"carriers": ["baggage", "metadata"], "cancel": "tree"})
    return declared


def protect(executor: AgentExecutor, *, client: Client | None = None, **options: Any) -> AgentExecutor:
    """The same executor, whose tasks are runs. options: of brakewire.start() for each of them."""
    return _Protected(executor, client, options)


_WORDS: dict[int | None, str] = {TaskState.TASK_STATE_COMPLETED: "success", TaskState.TASK_STATE_CANCELED: "cancelled",
          TaskState.TASK_STATE_FAILED: "error", TaskState.TASK_STATE_REJECTED: "error",
          TaskState.TASK_STATE_INPUT_REQUIRED: "paused", TaskState.TASK_STATE_AUTH_REQUIRED: "paused"}


class _Once(EventQueue):
    """The queue of one turn: sees in which state the task is, says which run it is, and lets it be over only once."""

    def __init__(self, queue: EventQueue, has_task: bool):
        self._queue, self.has_task = queue, has_task
        self.run: Run | None = None
        self.cancel: Cancel | None = None
        self.pending = 0
        """Runs below that are not known to have stopped."""
        self.state: int | None = None

    @property
    def is_over(self) -> bool:
        return self.state in _OVER

    async def enqueue_event(self, event: Any) -> None:
        if isinstance(event, (Task, TaskStatusUpdateEvent)):
            if self.is_over:
                return
            self.has_task = self.has_task or isinstance(event, Task)
            self.state = event.status.state
            event.metadata.update({context.A2A_EXTENSION: self._facts()})
        await self._queue.enqueue_event(event)

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        if self.run is not None:
            word = _WORDS.get(self.state, "stopping" if self.run.cancel else "running")
            facts = {"run_id": self.run.run_id, "root": self.run.root, "state": word}
            self.cancel = self.run.cancel
        if self.cancel is not None and self.cancel.cancel_id:
            is_stopped = self.state == TaskState.TASK_STATE_CANCELED and self.pending == 0
            facts["cancel_id"] = self.cancel.cancel_id
            facts["cancel"] = "stopped" if is_stopped else "requested"
            facts["pending"] = self.pending
        return facts


class _Turn:
    def __init__(self, run: Run, events: _Once):
        self.run, self.events = run, events
        self.is_over = asyncio.Event()


class _Protected(AgentExecutor):
    def __init__(self, executor: AgentExecutor, client: Client | None, options: Mapping[str, Any]):
        self._executor, self._client, self._options = executor, client, options
        self._turns: dict[str, _Turn] = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        events = _Once(event_queue, context.current_task is not None)
        try:
            run = events.run = await self._start(context)
        except Cancelled as why:
            events.cancel = why.cancel
            await _say_canceled(context, events)
            return
        task_id = context.task_id or ""
        turn = self._turns[task_id] = _Turn(run, events)
        try:
            async with run:
                await self._executor.execute(context, events)
                if events.state in _PAUSED:
                    await run.end("paused")
                elif events.state in (TaskState.TASK_STATE_FAILED, TaskState.TASK_STATE_REJECTED):
                    await run.end("error")
        except Cancelled:
            if not run.is_cancelled:
                raise
            events.pending = await _wait_for_all(run)
            await _say_canceled(context, events)
        finally:
            turn.is_over.set()
            if self._turns.get(task_id) is turn:
                del self._turns[task_id]

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        turn = self._turns.get(context.task_id or "")
        if turn is None:
            await self._executor.cancel(context, event_queue)
            return
        try:
            await turn.run.cancel_tree("CancelTask", wait="none")
            await asyncio.wait_for(turn.is_over.wait(), 2 * STOP_WAIT_S)
        except (BrakewireError, asyncio.TimeoutError) as why:
            log.warning("task %s does not stop by its run (%s): it is cancelled as the SDK does it", context.task_id, why)
        if not turn.events.is_over:
            await self._executor.cancel(context, turn.events)

    async def _start(self, request: RequestContext) -> Run:
        options: dict[str, Any] = {"baggage": _context_of(request) or "", "thread_id": request.context_id}
        if request.task_id:
            options["aliases"] = {"a2a": request.task_id}
        return await _aio.start(client=self._client, **{**options, **self._options})


def _context_of(request: RequestContext) -> str | None:
    """Of this turn: contextvars, and with them OpenTelemetry's baggage, may be those of the first one."""
    headers = request.call_context.state.get("headers") or {}
    found = context.from_headers(headers)
    if found is not None and context.MEMBER in found:
        return found
    return context.from_a2a(request.message) or found


async def _wait_for_all(run: Run) -> int:
    """CANCELED is a word about everything below. How many runs are not known to have stopped when the time is over; one
    where nobody can say."""
    try:
        answer = await run.cancel_tree(wait="stopped", timeout_ms=int(STOP_WAIT_S * 1000))
    except BrakewireError as why:
        log.warning("run %s: nobody knows whether all below it has stopped: %s", run.run_id, why)
        return 1
    counts = answer.get("counts") or {}
    return 0 if answer.get("complete") else max(1, int(counts.get("pending", 0)) + int(counts.get("lost", 0)))


async def _say_canceled(request: RequestContext, events: _Once) -> None:
    if events.is_over:
        return
    task_id, context_id = request.task_id or "", request.context_id or ""
    if events.has_task:
        await TaskUpdater(events, task_id, context_id).cancel()
    else:
        status = TaskStatus(state=TaskState.TASK_STATE_CANCELED)
        await events.enqueue_event(Task(id=task_id, context_id=context_id, status=status))
