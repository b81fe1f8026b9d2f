"""What a start may ask for, in one place for asyncio and threads."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TypedDict

from . import context
from ._run import Place
from .errors import Malformed

log = logging.getLogger("brakewire")


class AnyRun(Protocol):
    """A run of asyncio or of threads."""

    @property
    def run_id(self) -> str: ...

    @property
    def root(self) -> str: ...

    @property
    def path(self) -> tuple[str, ...]: ...

    @property
    def baggage(self) -> str: ...


current: ContextVar[AnyRun | None] = ContextVar("brakewire_run", default=None)


class StartOptions(TypedDict, total=False):
    """Where a run belongs is taken from the first that is given of: entry, baggage, headers, parent; else it is below
    current_run(), or below the run that $BAGGAGE names, or a root."""

    entry: bool
    """A root whatever the context says: for what a user calls directly."""
    baggage: str
    """The value of a baggage header."""
    headers: Any
    """Those of the request that is served: a mapping, or pairs of str or bytes."""
    parent: str | AnyRun
    root: str
    """Of a parent that is given as an id."""
    agent: str
    run_id: str
    thread_id: str
    labels: Mapping[str, str]
    deadline_ms: int
    on_end: str
    """cancel | leave: what is below it, when it ends by itself."""
    on_lost: str
    """cancel | takeover | continue"""
    on_client_gone: str
    """cancel | continue"""
    when_isolated: str
    """continue | cancel"""
    stop: Sequence[Mapping[str, Any]]
    collateral: str
    multitask_strategy: str
    aliases: Mapping[str, str]
    """Other names of it, by protocol: {"a2a": task id}."""
    linked_from: str
    retry_of: str
    resumed_from: str
    epoch: int
    """Adopts the run `run_id`, which another process carried under this epoch."""
    takeover: bool
    strict: bool
    idempotency_key: str


_IN_BODY = ("root", "agent", "thread_id", "labels", "deadline_ms", "on_end", "on_lost", "on_client_gone", "when_isolated",
            "stop", "collateral", "multitask_strategy", "aliases", "linked_from", "retry_of", "resumed_from", "epoch",
            "takeover", "strict")
_KNOWN = frozenset(_IN_BODY) | {"entry", "baggage", "headers", "parent", "run_id", "idempotency_key"}


def place_of(options: Mapping[str, Any]) -> Place:
    """Raises TypeError for an option that is not known, Malformed for an id that is none."""
    unknown = sorted(set(options) - _KNOWN)
    if unknown:
        raise TypeError(f"start() has no option {', '.join(unknown)}")
    body = {name: options[name] for name in _IN_BODY if options.get(name) is not None}
    run_id = options.get("run_id")
    if run_id is not None and not context.is_id(run_id):
        raise Malformed(f"run_id {run_id!r} is not 1 to 64 of A-Z a-z 0-9 _ -")
    place = Place(body, run_id, deadline_ms=body.pop("deadline_ms", None),
                  idempotency_key=options.get("idempotency_key"))
    header, parent = _context_of(options)
    if options.get("entry"):
        body["entry"] = True
        place.others = header or ""
    elif isinstance(parent, str):
        body["parent"] = parent
        root = options.get("root") or context.minted_root(parent) or parent
        place.parent_path = root if root == parent else f"{root}..{parent}"
    else:
        _take_header(place, header)
    return place


def _context_of(options: Mapping[str, Any]) -> tuple[str | None, str | None]:
    if options.get("baggage") is not None:
        return options["baggage"], None
    if options.get("headers") is not None:
        return context.from_headers(options["headers"]), None
    parent = options.get("parent")
    if parent is None and not options.get("root"):
        parent = current.get()
        if parent is None:
            return context.from_environment(), None
    if parent is None or isinstance(parent, str):
        return None, parent
    return parent.baggage, None


def _take_header(place: Place, header: str | None) -> None:
    """A context that is broken is no reason to refuse work: the run begins a tree of its own."""
    try:
        found = context.parse(header)
    except Malformed as why:
        log.warning("the context of a new run is ignored: %s", why)
        return
    place.parent_path, place.ours = found.path, found.ours
    place.others = ",".join(found.others)
    if found.ttl_ms is not None and (place.deadline_ms is None or found.ttl_ms < place.deadline_ms):
        place.deadline_ms = found.ttl_ms
