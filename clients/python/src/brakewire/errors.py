"""What a call of Brakewire can raise. Each error carries the problem (RFC 9457) that the agentd answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cancel:
    """Who stopped a run, and why: the cancel object of the protocol.

    `reason` is free text of whoever asked, or a word of Brakewire's own: `deadline`, `parent_ended`, `lost`,
    `client_gone`, `isolated`, `fenced` (a later life of the run exists), `over:<state>` (it has ended for the world).
    `grace_ms` is the time left before the next stop target of this run, None where nobody limits it."""

    cancel_id: str
    run_id: str
    root: str
    action: str = "interrupt"
    reason: str = ""
    by: str = ""
    requested_at: str | None = None
    grace_ms: int | None = None
    cause: str | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Cancel:
        """Of a cancel object; what is missing is empty."""
        grace = data.get("grace_ms")
        return cls(
            cancel_id=str(data.get("cancel_id", "")),
            run_id=str(data.get("run_id", "")),
            root=str(data.get("root", "")),
            action=str(data.get("action", "interrupt")),
            reason=str(data.get("reason") or ""),
            by=str(data.get("by") or ""),
            requested_at=data.get("requested_at"),
            grace_ms=grace if isinstance(grace, int) else None,
            cause=data.get("cause"),
        )

    def to_json(self) -> dict[str, Any]:
        """The members that are known, as the protocol names them."""
        return {name: value for name, value in self.__dict__.items() if value not in (None, "")}

    def __str__(self) -> str:
        text = f"run {self.run_id} was cancelled"
        if self.by:
            text += f" by {self.by}"
        return f"{text}: {self.reason}" if self.reason else text


class BrakewireError(RuntimeError):
    """Anything that Brakewire raises. A RuntimeError, which retry policies (LangGraph) do not try again."""


class Malformed(BrakewireError, ValueError):
    """A baggage member, a path or an id that is not what the protocol says."""


class Forked(BrakewireError):
    """A run of the parent process was used in a child: each process starts runs of its own."""


class Unavailable(BrakewireError):
    """No agentd answers, and this call cannot do without one."""


class Refused(BrakewireError):
    """The agentd refused. `code` is the stable word of the protocol, `problem` its whole answer."""

    def __init__(self, status: int, problem: Mapping[str, Any]):
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        super().__init__(": ".join(text for text in (self.code or str(status), self.detail) if text))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.problem)


class Cancelled(Refused):
    """The run was cancelled, or a run above it. `cancel` says by whom and why."""

    def __init__(self, status: int, problem: Mapping[str, Any]):
        super().__init__(status, problem)
        self.cancel = Cancel.from_json(problem.get("cancel") or {})
        self.args = (str(self.cancel) if self.cancel.run_id else self.args[0],)

    @classmethod
    def of(cls, cancel: Cancel) -> Cancelled:
        return cls(409, {"code": "cancelled", "cancel": cancel.to_json()})


class Conflict(Refused):
    """Another process carries this run. `epoch` is the one to adopt it with."""

    def __init__(self, status: int, problem: Mapping[str, Any]):
        super().__init__(status, problem)
        self.epoch = int(problem.get("epoch") or 0)
        self.owner = str(problem.get("owner") or "")


class Frozen(Refused):
    """No more checkpoint for this run: it was stopped, and the last one is written."""


class Fenced(Refused):
    """A later life of this run exists. Stop this one, and write nothing."""


class Over(Refused):
    """The run has ended."""


_BY_CODE: dict[str, type[Refused]] = {
    "cancelled": Cancelled,
    "conflict": Conflict,
    "frozen": Frozen,
    "fenced": Fenced,
    "over": Over,
}


def refusal(status: int, body: bytes) -> Refused:
    """The error for an answer that is not 2xx. A body that is no problem becomes its detail."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"status": status, "detail": body[:200].decode("utf-8", "replace").strip()}
    return _BY_CODE.get(str(problem.get("code")), Refused)(status, problem)
