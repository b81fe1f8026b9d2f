"""brakewire.context, held to the vectors that all clients are held to, and its carriers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from brakewire import Malformed, context
from support.stack import SOURCE

VECTORS = json.loads((SOURCE / "tests/vectors/baggage.json").read_text())


def keys(text: str) -> dict[str, bytes]:
    lines = [line.split() for line in text.splitlines()]
    return {line[0]: line[1].encode() for line in lines if line and not line[0].startswith("#")}


KEYS = keys(VECTORS["keys"])


def header(vector: Any) -> str:
    return ",".join(vector["headers"]) if "headers" in vector else str(vector["header"])


def each(what: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", VECTORS[what], ids=lambda vector: vector["name"])


@each("parse")
def test_parse(vector: Any) -> None:
    if "error" in vector:
        with pytest.raises(Malformed):
            context.parse(header(vector))
        return
    found = context.parse(header(vector))
    assert (found.path, found.ttl_ms) == (vector["path"], vector["ttl_ms"])
    assert (found.key_id, found.mac) == (vector.get("key_id"), vector.get("mac"))


@each("format")
def test_format(vector: Any) -> None:
    assert context.format(vector["path"], vector["ttl_ms"], vector["others"]) == vector["header"]


@each("append")
def test_append(vector: Any) -> None:
    incoming = context.parse(header(vector))
    path = context.append(incoming.path, vector["self"])
    assert path == vector["path"]
    assert context.format(path, vector["ttl_ms"], header(vector)) == vector["children"]


@each("sign")
def test_sign(vector: Any) -> None:
    key = next(iter(KEYS.items()))
    assert context.format(vector["path"], vector["ttl_ms"], vector["others"], key) == vector["header"]


@each("verify")
def test_verify(vector: Any) -> None:
    assert context.verify(header(vector), KEYS) == vector["verdict"]


@each("merge")
def test_merge(vector: Any) -> None:
    assert context.merge(vector["ours"], vector["existing"]) == vector["header"]


@pytest.mark.parametrize("path", VECTORS["bad_paths"])
def test_bad_paths_are_never_written(path: str) -> None:
    with pytest.raises(Malformed):
        context.format(path)


OURS = "brakewire=1.root.self"


@pytest.mark.parametrize("headers", [
    {"Baggage": "a=b,brakewire=1.old"}, [("BAGGAGE", "a=b"), ("baggage", "brakewire=1.old")],
    [(b"baggage", b"a=b,brakewire=1.old")], {"baggage": ["a=b", "brakewire=1.old"]}])
def test_headers(headers: Any) -> None:
    assert context.from_headers(headers) == "a=b,brakewire=1.old"
    assert context.to_headers(OURS, headers) == {"baggage": f"{OURS},a=b"}


def test_headers_without_any() -> None:
    assert context.from_headers({"x": "1"}) is None
    assert context.to_headers(OURS) == {"baggage": OURS}
    assert context.to_headers(OURS, {"x": "1"}) == {"x": "1", "baggage": OURS}


def test_headers_of_the_libraries_that_have_a_type_of_their_own() -> None:
    import httpx
    import requests.structures
    from starlette.datastructures import Headers

    pairs = [("baggage", "a=b"), ("baggage", "brakewire=1.old"), ("x", "1")]
    assert context.from_headers(Headers(raw=[(n.encode(), v.encode()) for n, v in pairs])) == "a=b,brakewire=1.old"
    assert context.parse(context.from_headers(httpx.Headers(pairs))).path == "old"
    assert context.from_headers(requests.structures.CaseInsensitiveDict({"BAGGAGE": OURS})) == OURS


def test_environment() -> None:
    assert context.from_environment({"BAGGAGE": OURS}) == OURS and context.from_environment({}) is None
    assert context.to_environment(OURS, {"BAGGAGE": "a=b", "PATH": "/bin"}) == {"BAGGAGE": f"{OURS},a=b", "PATH": "/bin"}


def test_a2a_messages_of_json_and_of_both_versions_of_the_sdk() -> None:
    from a2a.types import Message

    message = {"messageId": "m", "parts": [], "metadata": {"x": 1}, "extensions": ["https://other"]}
    context.to_a2a(OURS, message)
    assert message["extensions"] == ["https://other", context.A2A_EXTENSION]
    assert message["metadata"] == {"x": 1, context.A2A_EXTENSION: {"baggage": OURS}}
    assert context.from_a2a(message) == OURS and context.from_a2a({"metadata": None}) is None
    proto = context.to_a2a(OURS, context.to_a2a("brakewire=1.old", Message(message_id="m")))
    assert list(proto.extensions) == [context.A2A_EXTENSION] and context.from_a2a(proto) == OURS
    assert context.from_a2a(Message()) is None


def test_mcp_requests_of_json_and_of_the_sdk() -> None:
    from mcp.types import CallToolRequestParams

    sent = context.to_mcp(OURS, {"name": "search", "_meta": {"progressToken": 1, "baggage": "a=b"}})
    assert sent == {"name": "search", "_meta": {"progressToken": 1, "baggage": f"{OURS},a=b"}}
    assert context.from_mcp(sent) == f"{OURS},a=b" and context.from_mcp({}) is None
    assert context.from_mcp(CallToolRequestParams.model_validate(sent)) == f"{OURS},a=b"
