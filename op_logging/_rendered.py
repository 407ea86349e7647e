"""An event on its way: as the caller handed it over, and as a call that is ready to be posted.

An *entry* is what waits in the queue: how to build the call, and frozen data to build it from. It
becomes a `Built` call, as data, and then a `RenderedCall`, as bytes, both in the sender's
thread. From then on only the dispatch changes it, under its lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = [
    "NO_HEADERS",
    "Built",
    "Counts",
    "Data",
    "Entry",
    "Kind",
    "RenderedCall",
    "UnsendableError",
    "kind_of",
    "source_of",
]

NO_HEADERS: Mapping[str, str] = {}
_LONGEST_LABEL = 100
_NAMES = {"track": "name", "increment": "property", "decrement": "property", "group": "type"}


class UnsendableError(Exception):
    """An event that cannot become a call.

    Args:
        reason: A short name for the statistics, such as ``invalid``.
        words: What was wrong, never the value of it.
    """

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class Built(NamedTuple):
    """A call as data.

    Attributes:
        call: ``{"type": …, "payload": …}``, JSON-ready.
        headers: The headers of this call alone, lower-case names.
        notes: What was left out and why, free of values.
        given: The profile that it was logged for, if the call itself names none.
    """

    call: dict[str, Any]
    headers: Mapping[str, str] = NO_HEADERS
    notes: tuple[str, ...] = ()
    given: object = None

    def line(self) -> dict[str, Any]:
        """Return the call as it stands on a line of the formatter, and as hooks see it."""
        return {**self.call, "headers": dict(self.headers)} if self.headers else self.call


Data = Mapping[str, Any]
"""What a call is built from. Always has ``created`` (seconds since the epoch), ``pathname`` and
``lineno`` (which line of code logged it)."""
Entry = tuple[Callable[[Data], Built], Data, int]
"""How to build a call, what from, and its generation: see ``_inbox``."""


def source_of(data: Data) -> str:
    """Return which line of code logged an event, ``path:line``."""
    return f"{data['pathname']}:{data['lineno']}"


@dataclass(frozen=True)
class Kind:
    """What delivery has to know of a type of calls.

    Attributes:
        type: The API's name of it, such as ``track``.
        barrier: Whether it leaves alone, after what was logged before it for its profile.
        counter: Whether it is an increment or a decrement.
        at_most_once: Whether a double would do harm (counters, revenue).
    """

    type: str
    barrier: bool = False
    counter: bool = False
    at_most_once: bool = False


_KINDS = {
    kind.type: kind
    for kind in (
        Kind("track"),
        *(Kind(name, barrier=True) for name in ("identify", "alias", "group", "assign_group")),
        *(Kind(name, counter=True, at_most_once=True) for name in ("increment", "decrement")),
    )
}
_REVENUE = Kind("track", at_most_once=True)


def kind_of(call: Mapping[str, Any]) -> Kind:
    """Return the kind of a call."""
    name = call["type"]
    if name == "track":
        properties = call["payload"].get("properties")
        is_revenue = type(properties) is dict and "__revenue" in properties
        return _REVENUE if is_revenue else _KINDS["track"]
    return _KINDS.get(name) or Kind(str(name))


class Counts(NamedTuple):
    """What a counter counts.

    Attributes:
        profile: Whose it is, as the order is kept by.
        profile_id: The same, as on the wire.
        property: The property that is counted.
        amount: By how much; below 0 for a decrement.
    """

    profile: str
    profile_id: str | float
    property: str
    amount: float


class RenderedCall:
    """One API call, ready to be posted.

    Attributes:
        body: The request's body.
        headers: The headers of this call alone: visitor's address and user agent.
        kind: What kind of call it is.
        profile: What its order is kept by; None where no order is promised.
        counts: What it counts, if it is a counter that can be summed.
        created: When it was logged, in seconds since the epoch.
        generation: Which wait it came before; see ``_inbox``.
        attempts: How many times it was sent.
        started: When the last attempt began (monotonic clock).
        trouble: What went wrong with it so far; None for most.
    """

    __slots__ = (
        "_lineno", "_pathname", "attempts", "body", "counts", "created", "generation", "headers",
        "kind", "profile", "started", "trouble",
    )  # fmt: skip

    def __init__(
        self,
        kind: Kind,
        body: bytes,
        data: Data,
        *,
        headers: Mapping[str, str] = NO_HEADERS,
        profile: str | None = None,
        counts: Counts | None = None,
        generation: int = 0,
    ) -> None:
        self.kind = kind
        self.body = body
        self.headers = headers
        self.profile = profile
        self.counts = counts
        self.created: float = data["created"]
        self._pathname: str = data["pathname"]
        self._lineno: int = data["lineno"]
        self.generation = generation
        self.attempts = 0
        self.started = 0.0
        self.trouble: Trouble | None = None

    @property
    def data(self) -> Data:
        """When and where it was logged."""
        return {"created": self.created, "pathname": self._pathname, "lineno": self._lineno}

    @property
    def source(self) -> str:
        """Which line of code logged it, ``path:line``."""
        return f"{self._pathname}:{self._lineno}"

    @property
    def line(self) -> dict[str, Any]:
        """The call as it stands on a line of the formatter, and as hooks see it."""
        return Built(json.loads(self.body), self.headers).line()

    @property
    def label(self) -> str:
        """What to call it in a message, without personal data: event, counter, group type."""
        call = json.loads(self.body)
        name = call["payload"].get(_NAMES.get(self.kind.type, ""))
        if not isinstance(name, str):
            return self.kind.type[:_LONGEST_LABEL]
        shown = "".join(char if char.isprintable() else "?" for char in name)
        return f"{self.kind.type} {shown}"[:_LONGEST_LABEL]


class Trouble:
    """What went wrong with a call so far.

    Attributes:
        server_errors: How many attempts were answered with a 5xx.
        delivered_before: How many calls of the client had been delivered at the first of them.
        first_unknown: When its profile was unknown for the first time (monotonic clock).
    """

    __slots__ = ("delivered_before", "first_unknown", "server_errors")

    def __init__(self) -> None:
        self.server_errors = 0
        self.delivered_before = 0
        self.first_unknown = 0.0
