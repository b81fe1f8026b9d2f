"""The context between agents: who is above a run, as one member of W3C baggage.

    baggage: brakewire=1.<root>.<…>.<parent>,brakewire-ttl=<ms>,<members of others, untouched>

It says where a run belongs; it gives nobody the right to cancel. The functions here read it from what brings it
(HTTP headers, A2A messages, MCP `_meta`, the environment), and write it for the next one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Malformed

MEMBER = "brakewire"
TTL_MEMBER = "brakewire-ttl"
A2A_EXTENSION = "https://brakewire.dev/a2a/ext/run-context/v1"
"""Declared in an agent card, named in `message.extensions`; its data is `message.metadata[A2A_EXTENSION]`."""
HEADER_MAX_BYTES = 8192
"""Of a whole baggage header: https://www.w3.org/TR/baggage/#limits"""

_MEMBER_MAX_BYTES = 1024
_IDS_MAX = 16
_IDS_KEPT_AT_END = 14
_PATH_MAX_IDS = 128
_TTL_MAX = 2**63 - 1
_MAC_LEN = 22
_MEMBERS_MAX = 180  # more of them OpenTelemetry drops, the last ones first
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MINTED = re.compile(r"(0[A-Za-z0-9]{20})(-[A-Za-z0-9]{1,16})?")
_BLANKS = " \t"


@dataclass(frozen=True)
class Baggage:
    """What a baggage header says. `path` is None where it has no member of ours."""

    path: str | None = None
    """root…parent, joined by dots; an empty id behind the root marks what was cut."""
    ttl_ms: int | None = None
    """What is left of the deadline."""
    key_id: str | None = None
    mac: str | None = None
    others: tuple[str, ...] = ()
    """The members of others, as they came."""

    @property
    def ours(self) -> str:
        """The members of ours alone, as a header; empty where there is none."""
        members = []
        if self.path is not None:
            members.append(f"{MEMBER}={_signed(self.path, self.key_id, self.mac)}")
        if self.ttl_ms is not None:
            members.append(f"{TTL_MEMBER}={self.ttl_ms}")
        return ",".join(members)


def _signed(path: str, key_id: str | None, mac: str | None) -> str:
    return f"1.{path}" if key_id is None else f"1.{path}~{key_id}~{mac}"


# ---- ids and paths -------------------------------------------------------------------------------


def is_id(text: str) -> bool:
    """1 to 64 of A-Z a-z 0-9 _ -"""
    return _ID.fullmatch(text) is not None


def is_path(text: str) -> bool:
    """1 to 128 ids; an empty one may stand behind the root, once."""
    parts = text.split(".")
    if len(parts) > 2 and parts[1] == "":
        del parts[1]
    return len(parts) <= _PATH_MAX_IDS and all(is_id(part) for part in parts)


def root_of(path: str) -> str:
    return path.partition(".")[0]


def minted_root(run_id: str) -> str | None:
    """The root that an id minted by Brakewire names; None for an id that a client chose."""
    found = _MINTED.fullmatch(run_id)
    return found[1] if found else None


def append(path: str | None, run_id: str) -> str:
    """The path of a run below `path`; of a root where that is None. Raises Malformed."""
    whole = run_id if path is None else f"{path}.{run_id}"
    if not is_id(run_id) or not is_path(whole):
        raise Malformed(f"{run_id!r} below {path!r} is no path")
    return whole


def cut(path: str) -> str:
    """As it travels: of more than 16 ids or 1024 bytes, the root and the last 14."""
    parts = path.split(".")
    ids = [part for part in parts if part]
    if len(ids) <= _IDS_MAX and len(MEMBER) + len("=1.") + len(path) <= _MEMBER_MAX_BYTES:
        return path
    return f"{ids[0]}..{'.'.join(ids[-_IDS_KEPT_AT_END:])}"


# ---- the header ----------------------------------------------------------------------------------


def _members(header: str) -> Iterator[tuple[str, str, str]]:
    """(key, value without properties, the whole member), blanks around them left out."""
    for text in header.split(","):
        member = text.strip(_BLANKS)
        if member:
            key, _, rest = member.partition("=")
            yield key.strip(_BLANKS), rest.partition(";")[0].strip(_BLANKS), member


# Encoders that know no unreserved characters but letters, digits and "-_." pass a ~ on as %7E.
_TILDE = re.compile("~|%7[Ee]")


def _parse_path(value: str) -> tuple[str, str | None, str | None]:
    text, *signature = _TILDE.split(value, maxsplit=2)
    version, _, path = text.partition(".")
    if version != "1" or not is_path(path):
        raise Malformed(f"the {MEMBER} member of baggage is not 1.<root>.<…>.<parent>")
    if not signature:
        return path, None, None
    return path, signature[0], "".join(signature[1:])


def _parse_ttl(value: str) -> int:
    if not (value.isascii() and value.isdigit()) or int(value) > _TTL_MAX:
        raise Malformed(f"the {TTL_MEMBER} member of baggage is not a number of milliseconds")
    return int(value)


def parse(header: str | None) -> Baggage:
    """Reads the value of a baggage header, of several joined by commas. Raises Malformed when a member of ours is."""
    if header is None:
        return Baggage()
    if len(header.encode("utf-8", "replace")) > HEADER_MAX_BYTES:
        raise Malformed(f"a baggage header of more than {HEADER_MAX_BYTES} bytes")
    path: tuple[str, str | None, str | None] | None = None
    ttl: int | None = None
    others = []
    for key, value, member in _members(header):
        if key == MEMBER:
            path = path or _parse_path(value)
        elif key == TTL_MEMBER:
            ttl = _parse_ttl(value) if ttl is None else ttl
        else:
            others.append(member)
    found, key_id, mac = path or (None, None, None)
    return Baggage(found, ttl, key_id, mac, tuple(others))


def _is_text(member: str) -> bool:
    return all(c >= " " or c == "\t" for c in member) and not any("\ud800" <= c <= "\udfff" for c in member)


class _Header:
    """A header in the making: what belongs to others goes on untouched, but never at the cost of ours."""

    def __init__(self, *ours: str):
        self.members = list(ours)
        self.room = HEADER_MAX_BYTES - len(",".join(ours))

    def add(self, others: str, hidden: Iterable[str] = ()) -> None:
        """Those of `others` that are text, not ours, have no key of `hidden`, and fit."""
        for key, _, member in _members(others):
            if key in (MEMBER, TTL_MEMBER) or key in hidden or not _is_text(member):
                continue
            size = len(member.encode()) + (1 if self.members else 0)
            if size <= self.room and len(self.members) < _MEMBERS_MAX:
                self.members.append(member)
                self.room -= size

    def __str__(self) -> str:
        return ",".join(self.members)


def format(path: str, ttl_ms: int | None = None, others: str = "",
           key: tuple[str, bytes] | None = None) -> str:
    """The header for the runs below the one at the end of `path`, signed where a key (id, secret) is given.

    `others`: a header whose other members go on behind ours, as far as they fit. Raises Malformed."""
    if not is_path(path):
        raise Malformed(f"{path!r} is no path")
    value = f"1.{cut(path)}"
    if key is not None:
        value = f"{value}~{key[0]}~{_mac(key[1], value)}"
    ours = [f"{MEMBER}={value}"]
    if ttl_ms is not None and ttl_ms >= 0:
        ours.append(f"{TTL_MEMBER}={ttl_ms}")
    header = _Header(*ours)
    header.add(others)
    return str(header)


def merge(ours: str, existing: str) -> str:
    """The header of a request that has one already: our members of `ours`, the foreign ones of `existing`, and
    those of `ours` whose key `existing` does not have. Members of ours in `existing` are older ones, and go."""
    header = _Header(*(member for key, _, member in _members(ours) if key in (MEMBER, TTL_MEMBER)))
    header.add(existing)
    header.add(ours, hidden={key for key, _, _ in _members(existing)})
    return str(header)


# ---- signatures ----------------------------------------------------------------------------------


def _mac(secret: bytes, value: str) -> str:
    digest = hmac.new(secret, value.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode()[:_MAC_LEN]


def verify(header: str, keys: Mapping[str, bytes]) -> str:
    """What the signature of a header is worth, `keys` being secrets by their ids: `good`, `unsigned`, `unknown_key`,
    `forged`, `none` (no member of ours) or `malformed`."""
    try:
        baggage = parse(header)
    except Malformed:
        return "malformed"
    if baggage.path is None:
        return "none"
    if baggage.key_id is None or baggage.mac is None:
        return "unsigned"
    if baggage.key_id not in keys:
        return "unknown_key"
    wanted = _mac(keys[baggage.key_id], f"1.{baggage.path}")
    return "good" if hmac.compare_digest(wanted.encode(), baggage.mac.encode("utf-8", "replace")) else "forged"


# ---- carriers ------------------------------------------------------------------------------------


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, (bytes, bytearray)) else str(value)


def from_headers(headers: Any) -> str | None:
    """The value of all `baggage` headers, joined; None without one.

    `headers`: a mapping (of Starlette, httpx, requests, aiohttp, a dict …) or pairs, of str or bytes (ASGI)."""
    pairs = headers.items() if hasattr(headers, "items") else headers
    found: list[str] = []
    for name, value in pairs:
        if _text(name).lower() == "baggage":
            found.extend(_text(one) for one in (value if isinstance(value, (list, tuple)) else [value]))
    return ",".join(found) if found else None


def to_headers(baggage: str, existing: Any = None) -> dict[str, str]:
    """`existing` with one `baggage` header: ours first, then the members that were there."""
    headers: dict[str, str] = {}
    if existing is not None:
        pairs = existing.items() if hasattr(existing, "items") else existing
        for name, value in pairs:
            if _text(name).lower() != "baggage":
                headers[_text(name)] = _text(value)
        baggage = merge(baggage, from_headers(existing) or "")
    headers["baggage"] = baggage
    return headers


def from_environment(environ: Mapping[str, str] | None = None) -> str | None:
    """$BAGGAGE, as `brakectl exec` and OpenTelemetry's environment carrier set it."""
    return (os.environ if environ is None else environ).get("BAGGAGE") or None


def to_environment(baggage: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a process below this run."""
    environment = dict(os.environ if environ is None else environ)
    environment["BAGGAGE"] = merge(baggage, environment.get("BAGGAGE", ""))
    return environment


def _get(thing: Any, name: str) -> Any:
    """A member, whether of JSON, of a protobuf Struct, or of a model of pydantic."""
    if thing is None:
        return None
    if hasattr(thing, "keys"):
        return thing[name] if name in thing else None
    return getattr(thing, name, None)


def from_a2a(message: Any) -> str | None:
    """What an A2A message carries in `metadata`; a message of JSON, or one of a2a-sdk."""
    value = _get(_get(_get(message, "metadata"), A2A_EXTENSION), "baggage")
    return value if isinstance(value, str) and value else None


def to_a2a(baggage: str, message: Any) -> Any:
    """Puts it into an A2A message, of JSON or of a2a-sdk, and answers that message."""
    data = {"baggage": baggage}
    if isinstance(message, dict):
        message["metadata"] = {**(message.get("metadata") or {}), A2A_EXTENSION: data}
        extensions = message.setdefault("extensions", [])
    else:
        if hasattr(message.metadata, "update"):
            message.metadata.update({A2A_EXTENSION: data})
        else:
            message.metadata = {A2A_EXTENSION: data}
        if message.extensions is None:
            message.extensions = []
        extensions = message.extensions
    if A2A_EXTENSION not in extensions:
        extensions.append(A2A_EXTENSION)
    return message


def from_mcp(params: Any) -> str | None:
    """What the params of an MCP request carry in `_meta`; of JSON, or of the mcp package."""
    meta = _get(params, "_meta") if hasattr(params, "keys") else _get(params, "meta")
    value = _get(meta, "baggage")
    return value if isinstance(value, str) and value else None


def to_mcp(baggage: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The params of an MCP request, with `_meta.baggage`: https://modelcontextprotocol.io, SEP-414."""
    meta = dict((params or {}).get("_meta") or {})
    meta["baggage"] = merge(baggage, str(meta.get("baggage") or ""))
    return {**(params or {}), "_meta": meta}
