"""The shape of a call, as the server's validator has it, and the words of its errors.

`errors_of` returns them in the order in which the server names them. Unknown fields are no errors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any

from ._names import BLOCKED, RESERVED, RESERVED_MESSAGE, is_blocked

__all__ = ["MISSING", "errors_of"]

Error = tuple[str, str]
Check = Callable[[Any, str], Iterator[Error]]


class _Missing:
    """Stands for a field that is not there, as JavaScript's ``undefined`` does."""


MISSING = _Missing()
_DATETIME = re.compile(
    r"(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?Z"
)
_EMAIL_NAME = re.compile(r"[A-Za-z0-9_'+\-.]*[A-Za-z0-9_+-]")
_EMAIL_HOST = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*\.)+[A-Za-z]{2,}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_SPECIAL = frozenset({"http", "https", "ws", "wss", "ftp"})
_NO_HOST = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^|\x7f]")


def errors_of(body: Any) -> list[str]:
    """Return what is wrong with a body, each as ``body/path words``."""
    if not isinstance(body, dict):
        return [f"body/ Invalid input: expected object, received {_kind(body)}"] * 2
    kind = body.get("type", MISSING)
    if not isinstance(kind, str) or kind not in _PAYLOADS:
        return ["body/type Invalid input"]
    payload = body.get("payload", MISSING)
    errors = list(_object(payload, "/payload", _PAYLOADS[kind]))
    if kind == "track" and not errors:  # what is asked about the payload as a whole comes last
        errors = list(_revenue(payload, "/payload"))
    return [f"body{path} {words}" for path, words in errors]


def _kind(value: Any) -> str:
    """Name a value's type as JavaScript's validator does."""
    if value is MISSING:
        return "undefined"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _expected(what: str, value: Any) -> str:
    return f"Invalid input: expected {what}, received {_kind(value)}"


def _object(value: Any, path: str, fields: dict[str, Check]) -> Iterator[Error]:
    if not isinstance(value, dict):
        yield path, _expected("object", value)
        return
    for name, field in fields.items():
        yield from field(value.get(name, MISSING), f"{path}/{name}")


def _optional(inner: Check, *, nullable: bool = False) -> Check:
    def check(value: Any, path: str) -> Iterator[Error]:
        if value is MISSING or (nullable and value is None):
            return
        yield from inner(value, path)

    return check


def _text(least: int = 0) -> Check:
    def check(value: Any, path: str) -> Iterator[Error]:
        if not isinstance(value, str):
            yield path, _expected("string", value)
        elif len(value) < least:
            yield path, f"Too small: expected string to have >={least} characters"

    return check


def _name(value: Any, path: str) -> Iterator[Error]:
    yield from _text(1)(value, path)
    if isinstance(value, str):
        if value in RESERVED:
            yield path, RESERVED_MESSAGE
        if is_blocked(value):
            yield path, BLOCKED


def _profile_id(value: Any, path: str) -> Iterator[Error]:
    if isinstance(value, str):
        yield from _text(1)(value, path)
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or math.isinf(value):
        yield path, "Invalid input"


def _positive(value: Any, path: str) -> Iterator[Error]:
    if _kind(value) != "number":
        yield path, _expected("number", value)
    elif value <= 0:
        yield path, "Too small: expected number to be >0"


def _whole(least: int) -> Check:
    def check(value: Any, path: str) -> Iterator[Error]:
        if _kind(value) != "number":
            yield path, _expected("number", value)
        elif value != int(value):
            yield path, "Invalid input: expected int, received number"
        elif value < least:
            yield path, f"Too small: expected number to be >={least}"

    return check


def _flag(value: Any, path: str) -> Iterator[Error]:
    if not isinstance(value, bool):
        yield path, _expected("boolean", value)


def _record(value: Any, path: str) -> Iterator[Error]:
    if not isinstance(value, dict):
        yield path, _expected("record", value)


def _texts(value: Any, path: str) -> Iterator[Error]:
    if not isinstance(value, list):
        yield path, _expected("array", value)
        return
    for index, item in enumerate(value):
        yield from _text(1)(item, f"{path}/{index}")


def _email(value: Any, path: str) -> Iterator[Error]:
    if not isinstance(value, str):
        yield path, _expected("string", value)
        return
    name, at, host = value.rpartition("@")
    fits = at and _EMAIL_NAME.fullmatch(name) and _EMAIL_HOST.fullmatch(host)
    if not fits or value.startswith(".") or ".." in value:
        yield path, "Invalid email address"


def _url(value: Any, path: str) -> Iterator[Error]:
    if not isinstance(value, str):
        yield path, _expected("string", value)
    elif not _is_url(value.strip()):
        yield path, "Invalid URL"


def _is_url(text: str) -> bool:
    match = _SCHEME.fullmatch(text)
    if match is None:
        return False
    if match[1].lower() not in _SPECIAL:
        return True
    authority = re.split(r"[/\\?#]", match[2].lstrip("/\\"), maxsplit=1)[0].rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, ""
    if port and not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        return False
    if host.startswith("[") and host.endswith("]"):
        return ":" in host
    return bool(host) and _NO_HOST.search(host) is None


def _datetime(value: Any, path: str) -> Iterator[Error]:
    if not isinstance(value, str):
        yield path, _expected("string", value)
    elif _DATETIME.fullmatch(value) is None:
        yield path, "Invalid ISO datetime"


def _revenue(payload: Any, path: str) -> Iterator[Error]:
    amount = payload.get("properties", {}).get("__revenue")
    if amount is None:
        return
    if _kind(amount) != "number" or amount != int(amount) or amount < 0:
        where = f"{path}/properties/__revenue"
        yield where, "__revenue must be an integer (no floats or strings)"


_COUNTER: dict[str, Check] = {
    "profileId": _profile_id,
    "property": _text(1),
    "value": _optional(_positive),
}
_PAYLOADS: dict[str, dict[str, Check]] = {
    "track": {
        "name": _name,
        "properties": _optional(_record),
        "profileId": _optional(_profile_id),
        "groups": _optional(_texts, nullable=True),
    },
    "identify": {
        "profileId": _profile_id,
        "firstName": _optional(_text()),
        "lastName": _optional(_text()),
        "email": _optional(_email),
        "avatar": _optional(_url),
        "properties": _optional(_record),
    },
    "alias": {"profileId": _text(1), "alias": _text(1)},
    "increment": _COUNTER,
    "decrement": _COUNTER,
    "group": {
        "id": _text(1),
        "type": _text(1),
        "name": _text(1),
        "properties": _optional(_record),
    },
    "assign_group": {"groupIds": _texts, "profileId": _optional(_profile_id)},
    "replay": {
        "chunk_index": _whole(0),
        "events_count": _whole(1),
        "is_full_snapshot": _flag,
        "started_at": _datetime,
        "ended_at": _datetime,
        "payload": _text(),
    },
}
