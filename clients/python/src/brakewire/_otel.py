"""Where OpenTelemetry runs in this process, its baggage is what its instrumentation sends on: it must name our run.

Nothing is imported that is not there already."""

from __future__ import annotations

import sys
from typing import Any

from . import context


def attach(baggage: str) -> Any:
    """Puts our members in front of the current OpenTelemetry baggage. The answer is for detach()."""
    otel_baggage: Any = sys.modules.get("opentelemetry.baggage")
    otel_context: Any = sys.modules.get("opentelemetry.context")
    if otel_baggage is None or otel_context is None:
        return None
    there = dict(otel_baggage.get_all())
    fresh = otel_baggage.clear()
    for member in context.parse(baggage).ours.split(","):
        name, _, value = member.partition("=")
        fresh = otel_baggage.set_baggage(name, value, fresh)
    for name, value in there.items():
        if name not in (context.MEMBER, context.TTL_MEMBER):
            fresh = otel_baggage.set_baggage(name, value, fresh)
    return otel_context.attach(fresh)


def detach(token: Any) -> None:
    if token is not None:
        sys.modules["opentelemetry.context"].detach(token)
