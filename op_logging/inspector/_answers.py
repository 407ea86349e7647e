"""An answer of the stand-in, and what is kept of the call that got it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ._body import BodyError
from ._store import StoredEvent

__all__ = ["Answer", "ReceivedCall", "body_error", "error", "name_of", "respond", "words_of"]


@dataclass(frozen=True)
class Answer:
    """An answer: a status, and a text or JSON."""

    status: int
    body: str | dict[str, Any] | None = None
    closes: bool = False


@dataclass(frozen=True)
class ReceivedCall:
    """A call as it came in, and what was answered.

    Attributes:
        type: The call's type; empty where it has none.
        name: The name of a track call, the counter's property, the group's name; else empty.
        payload: The payload as it came.
        headers: The request's headers, lower-case names, without the credentials.
        status: The status of the answer; 200: it was stored.
        message: The server's words; empty for a stored call.
        received_at: When, UTC.
        event: What was stored of a track call.
        dropped: Keys whose values storage dropped.
    """

    type: str
    name: str
    payload: Any
    headers: Mapping[str, str]
    status: int
    message: str
    received_at: datetime
    event: StoredEvent | None = None
    dropped: tuple[str, ...] = ()


def error(status: int, words: str) -> Answer:
    """Return an error of the HTTP layer, which closes the connection."""
    return Answer(
        status, {"status": status, "error": "FastifyError", "message": words}, closes=True
    )


def body_error(found: BodyError) -> Answer:
    """Return the answer to a body that could not be read."""
    if found.message is None:
        return Answer(found.status, "Internal server error")
    words = {"status": found.status, "error": "FastifyError", "message": found.message}
    return Answer(found.status, words, found.closes)


def name_of(kind: object, payload: object) -> str:
    """Return what a call is about: a track call's or a group's name, a counter's property."""
    key = {"track": "name", "group": "name", "increment": "property", "decrement": "property"}
    name = payload.get(key.get(str(kind), "")) if isinstance(payload, dict) else None
    return name if isinstance(name, str) else ""


def words_of(answer: Answer) -> str:
    """Return the words of an answer."""
    if isinstance(answer.body, dict):
        return str(answer.body.get("message") or answer.body)
    return str(answer.body or "")


async def respond(send: Callable[[Any], Awaitable[None]], answer: Answer, method: str) -> None:
    """Send an answer: the ASGI interface."""
    kind = b"application/json; charset=utf-8"
    data = b""
    if isinstance(answer.body, str):
        kind, data = b"text/plain; charset=utf-8", answer.body.encode()
    elif answer.body is not None:
        data = json.dumps(answer.body, separators=(",", ":"), ensure_ascii=False).encode(
            "utf-8", "replace"
        )
    headers = [(b"content-length", str(len(data)).encode())]
    if data:
        headers.append((b"content-type", kind))
    if answer.closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else data})
