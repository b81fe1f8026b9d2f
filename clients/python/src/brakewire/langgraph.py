"""LangGraph graphs as runs, and checkpointers that ask before they write.

    graph = brakewire.langgraph.protect(builder.compile(checkpointer=brakewire.langgraph.fenced(saver)))

Each invocation is a run, below the current one. When it is cancelled, what its nodes await is cancelled, nodes that do not
await are stopped at their next step (a model call, a token, a tool, the next node), and the invocation raises
brakewire.Cancelled. After a cancel no partial writes are stored, and one last checkpoint."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import merge_configs
from langgraph.errors import GraphInterrupt

from . import _aio, sync
from ._base import BaseRun
from ._start import current
from .errors import Cancelled, Frozen, Refused

__all__ = ["fenced", "protect"]

T = TypeVar("T")

_CHUNKS_AHEAD = 16


def _behind(ours: type, thing: T, members: dict[str, Any]) -> T:
    """A shallow copy of `thing`, of its own class with `ours` in front."""
    base = type(thing)
    kind = type(base.__name__, (ours, base), {"__module__": base.__module__, **members})
    made: Any = object.__new__(kind)
    made.__dict__.update(thing.__dict__)
    return cast(T, made)


# ---- graphs --------------------------------------------------------------------------------------


def protect(graph: T, **options: Any) -> T:
    """The same graph, whose invocations (invoke, stream, batch, astream_events …, also as a subgraph) are runs.

    options: of brakewire.start() for each of them. Their agent is the graph's name, their thread that of the config;
    a `baggage` in the config's `configurable` is their context, else the current run is their parent."""
    return _behind(_Protected, graph, {"_brakewire": options})


class _Check(BaseCallbackHandler):
    """LangChain tells what a graph does, step by step; each is a moment to stop."""

    raise_error = True
    run_inline = True

    def __init__(self, run: BaseRun):
        self.run = run
        self.is_interrupted = False

    def _check(self, *_: Any, **__: Any) -> None:
        self.run.raise_if_cancelled()

    on_chain_start = on_llm_start = on_chat_model_start = on_llm_new_token = on_tool_start = on_retriever_start = _check

    def on_chain_error(self, error: BaseException, **_: Any) -> None:
        self.is_interrupted = self.is_interrupted or isinstance(error, GraphInterrupt)


class _Protected:
    """In front of a graph's class. All ways to invoke a graph end in stream() or astream()."""

    _brakewire: dict[str, Any]

    def _options(self, config: Any) -> dict[str, Any]:
        configurable = (config or {}).get("configurable") or {}
        options: dict[str, Any] = {"agent": getattr(self, "name", None)}
        if configurable.get("thread_id"):
            options["thread_id"] = str(configurable["thread_id"])
        if isinstance(configurable.get("baggage"), str):
            options["baggage"] = configurable["baggage"]
        return {**options, **self._brakewire}

    def stream(self, input: Any, config: Any = None, **more: Any) -> Iterator[Any]:
        run = sync.start(**self._options(config))
        check = _Check(run)
        context = contextvars.copy_context()  # the caller's stays as it is between two chunks
        inside = context.run(run.__enter__)
        chunks = context.run(super().stream, input, merge_configs(config, {"callbacks": [check]}), **more)  # type: ignore[misc]
        try:
            end = object()
            while (chunk := context.run(next, chunks, end)) is not end:
                yield chunk
                run.raise_if_cancelled()
            if check.is_interrupted:
                run.end("paused")
        except BaseException as error:
            with contextlib.suppress(Exception):
                context.run(chunks.close)  # before the run ends: it may write its last checkpoint
            if run.is_cancelled and isinstance(error, Exception) and not isinstance(error, Cancelled):
                error = Cancelled.of(cast(Any, run.cancel))
            context.run(inside.__exit__, type(error), error, None)
            raise error
        context.run(inside.__exit__, None, None, None)

    async def astream(self, input: Any, config: Any = None, **more: Any) -> AsyncIterator[Any]:
        run = await _aio.start(**self._options(config))
        check = _Check(run)
        chunks = super().astream(input, merge_configs(config, {"callbacks": [check]}), **more)  # type: ignore[misc]
        queue: asyncio.Queue[Any] = asyncio.Queue(_CHUNKS_AHEAD)

        async def work() -> None:
            async with run:
                try:
                    async with contextlib.aclosing(chunks):
                        async for chunk in chunks:
                            await queue.put(chunk)
                except Frozen as why:  # the checkpointer was told before we were
                    raise (Cancelled.of(run.cancel) if run.cancel else why) from why
                if check.is_interrupted:
                    await run.end("paused")

        # A task of its own: a cancel stops the graph, and is raised to whoever reads the chunks, whenever he does.
        task = asyncio.create_task(work(), name=f"brakewire:{run.run_id}")
        try:
            while (chunk := await _next_of(queue, task)) is not None:
                yield chunk[0]
            await task
        finally:
            if not task.done():
                task.cancel()
                with contextlib.suppress(BaseException):
                    await task


async def _next_of(queue: asyncio.Queue[Any], task: asyncio.Task[None]) -> tuple[Any] | None:
    """What comes next, in a tuple; None when the task is over and all that it said is read."""
    if queue.empty() and not task.done():
        getting = asyncio.ensure_future(queue.get())
        try:
            await asyncio.wait((getting, task), return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                return (getting.result(),)
        finally:
            getting.cancel()
    return None if queue.empty() else (queue.get_nowait(),)


# ---- checkpointers -------------------------------------------------------------------------------


def fenced(saver: T) -> T:
    """The same checkpointer, which asks the current run's fence before it writes; without a run it writes as ever.

    Of a run that was cancelled it stores no writes of single tasks, and one last checkpoint; of one that another process
    has taken over, none. What it does not store raises Cancelled, Frozen or Fenced."""
    return _behind(_Fenced, saver, {})


def _write_id(config: Mapping[str, Any]) -> str:
    """Of all that is written in the step behind one checkpoint: what is granted once is granted for that step."""
    configurable = config.get("configurable") or {}
    names = (configurable.get("thread_id", ""), configurable.get("checkpoint_ns", ""), configurable.get("checkpoint_id", ""))
    return "langgraph:" + hashlib.sha256("\0".join(map(str, names)).encode()).hexdigest()[:40]


def _refuse(run: BaseRun) -> Refused:
    if run.cancel is not None:
        return Cancelled.of(run.cancel)
    return Frozen(409, {"code": "frozen", "detail": f"run {run.run_id} was cancelled: no writes of single tasks"})


class _Fenced:
    """In front of a checkpointer's class."""

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        run = _current()
        if run is not None:
            run._state.fence(_write_id(config), None)
        return super().put(config, checkpoint, metadata, new_versions)  # type: ignore[misc]

    def put_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        run = _current()
        if run is not None and (run._state.told.is_set() or run._state.fence(_write_id(config), None).last):
            raise _refuse(run)
        super().put_writes(config, writes, task_id, task_path)  # type: ignore[misc]

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        run = _current()
        if run is not None:
            await _fence(run, _write_id(config))
        return await super().aput(config, checkpoint, metadata, new_versions)  # type: ignore[misc]

    async def aput_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str,
                          task_path: str = "") -> None:
        run = _current()
        if run is not None and (run._state.told.is_set() or (await _fence(run, _write_id(config))).last):
            raise _refuse(run)
        await super().aput_writes(config, writes, task_id, task_path)  # type: ignore[misc]


def _current() -> BaseRun | None:
    run = current.get()
    return run if isinstance(run, BaseRun) else None


async def _fence(run: BaseRun, write_id: str) -> Any:
    return await _aio.in_background(run._state.client, lambda: run._state.fence(write_id, None))
