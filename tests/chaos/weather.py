"""What the chaotic server does to each request, and what it really stored."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.misbehaving import Pieces, Play, reset_when_closed
from support.scripted_server import OK, Hang, Request, Reset, Vanish, http

__all__ = ["TIMEOUT", "Weather", "identity"]

TIMEOUT = 0.4
"""Seconds that the client waits for an answer."""

Made = bytes | Hang | Reset | Vanish | Play
CHUNKED = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n"
)
INTERIM = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK
BOT = http(202, {"bot": {"name": "x"}})


@dataclass(frozen=True)
class Kind:
    """One way to answer.

    Attributes:
        make: Makes the answer.
        stores: How likely it is that the call was stored.
        is_final: Whether the client is not to send the call again.
        is_ambiguous: Whether the client cannot know if it was stored.
    """

    make: Callable[[], Made]
    stores: float = 0.0
    is_final: bool = False
    is_ambiguous: bool = False


def _late() -> Play:
    return Pieces(b"", OK, pause=2 * TIMEOUT, closes=True)


KINDS = {
    "ok": Kind(lambda: OK, 1.0, is_final=True),
    "ok in pieces": Kind(lambda: Pieces(OK[:20], OK[20:60], OK[60:], pause=0.01), 1.0, True),
    "ok, chunked": Kind(lambda: CHUNKED, 1.0, is_final=True),
    "ok after an interim answer": Kind(lambda: INTERIM, 1.0, is_final=True),
    "ok, and closes without a word": Kind(lambda: Pieces(OK, pause=0.0, closes=True), 1.0, True),
    "bad request": Kind(lambda: http(400, {"message": "no"}), is_final=True),
    "too large": Kind(lambda: http(413, "no"), is_final=True),
    "bot": Kind(lambda: BOT, is_final=True),
    "blocked": Kind(
        lambda: http(401, "Ingestion: Profile id is blocked by project filter"), is_final=True
    ),
    "busy": Kind(lambda: http(503, "<html>busy</html>")),
    "too many": Kind(lambda: http(429, "", {"retry-after": "0"})),
    "locked out": Kind(lambda: http(401, "Ingestion: Invalid client id")),
    "moved": Kind(lambda: http(302, "", {"location": "https://example.com"})),
    "error": Kind(lambda: http(500, "Internal server error"), 0.5, is_ambiguous=True),
    "gateway": Kind(lambda: http(502, "<html>"), 0.5, is_ambiguous=True),
    "reset": Kind(Reset, 0.5, is_ambiguous=True),
    "vanishes": Kind(Vanish, 0.5, is_ambiguous=True),
    "half an answer": Kind(lambda: Pieces(OK[:10], closes=True), 0.5, is_ambiguous=True),
    "late": Kind(_late, 0.5, is_ambiguous=True),
    "no HTTP": Kind(lambda: Pieces(b"220 smtp ready\r\n", closes=True), 0.5, is_ambiguous=True),
}
CALM = [name for name in KINDS if name.startswith("ok")]


def identity(call: dict[str, Any]) -> str:
    """Return what tells a call from all others; a counter's is what it counts."""
    payload = call["payload"]
    if call["type"] in {"increment", "decrement"}:
        return f"{payload['profileId']} {payload['property']}"
    if call["type"] == "identify":
        return str(payload["properties"]["number"])
    return str(payload["properties"]["number"])


@dataclass
class Seen:
    """What happened to one call on the server.

    Attributes:
        arrived: When it came in first.
        times: How often it came in.
        stored: How often it was stored.
        after_the_end: How often it came in after an answer that was final.
        ambiguous: How many answers left open whether it was stored.
        after_doubt: How often it came in after such an answer.
        is_over: Whether it got an answer that was final.
    """

    arrived: float = 0.0
    times: int = 0
    stored: int = 0
    after_the_end: int = 0
    ambiguous: int = 0
    after_doubt: int = 0
    is_over: bool = False


@dataclass
class Weather:
    """A script for a server, by chance.

    Attributes:
        storm: How many of its answers are not fine, from 0 to 1. Changed while it runs.
        seen: What happened to each call, but for counters.
        sums: What was stored of each counter.
        kinds: How often each kind of answer was given.
    """

    seed: int
    storm: float = 0.3
    seen: dict[str, Seen] = field(default_factory=lambda: defaultdict(Seen))
    sums: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    credentials: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._lock = threading.Lock()

    def greeting(self, connection: socket.socket, _number: int) -> bool:
        """Close some connections before a request is read."""
        with self._lock:
            chance = self._random.random()
        if chance >= self.storm / 10:
            return True
        if chance < self.storm / 20:
            reset_when_closed(connection)
        return False

    def script(self, request: Request) -> Made:
        """Answer a request."""
        call = json.loads(request.body)
        with self._lock:
            stormy = self._random.random() < self.storm
            name = self._random.choice(sorted(KINDS) if stormy else CALM)
            kind = KINDS[name]
            stores = self._random.random() < kind.stores
            self.kinds[name] += 1
            if call["type"] in {"increment", "decrement"}:
                sign = 1 if call["type"] == "increment" else -1
                if stores:
                    self.sums[identity(call)] += sign * call["payload"]["value"]
                return kind.make()
            seen = self.seen[identity(call)]
            seen.arrived = seen.arrived or time.monotonic()
            seen.times += 1
            seen.after_the_end += seen.is_over
            seen.after_doubt += seen.ambiguous > 0
            seen.stored += stores
            seen.ambiguous += kind.is_ambiguous
            seen.is_over = seen.is_over or kind.is_final
        return kind.make()
