"""An event on its way: as the caller handed it over, and as a call that is ready to be posted.

An *entry* is what waits in the queue: how to build the call, and frozen data to build it from. It
becomes a `Built` call, as data, and then a `RenderedCall`, as bytes, both in the sender's
thread. From then on only the dispatch changes it, under its lock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from types import CodeType
from typing import Any, NamedTuple

__all__ = [
    "NO_HEADERS",
    "Built",
    "Captured",
    "Counts",
    "Data",
    "Entry",
    "Kind",
    "Place",
    "Rare",
    "RenderedCall",
    "UnsendableError",
    "created_of",
    "kind_of",
    "place_of",
    "source_at",
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


Place = tuple["str | CodeType", int]
"""Which line of code logged an event: a file and a line, or code and an instruction of it."""
Captured = tuple[object, Mapping[str, Any], Any, Place]
"""An event as the caller froze it: the event (the name of a track call, a `FrozenCall`, or a raw
call as a dict), its extras, when it was logged (seconds since the epoch), and by what."""
Data = dict[str, Any] | Captured
"""What a call is built from: the copy of a plain record's attributes, or what was captured."""
Entry = tuple[Callable[[Any], Built], Data, int]
"""How to build a call, what from, and its generation: see ``_inbox``."""


def created_of(data: Data) -> float:
    """Return when an event was logged. Rebuilt records may not know: now."""
    created = data["created"] if isinstance(data, dict) else data[2]
    if type(created) is not float:
        return float(created) if isinstance(created, (int, float)) else time.time()
    return created


def place_of(data: Data) -> Place:
    """Return where an event was logged."""
    if not isinstance(data, dict):
        return data[3]
    pathname = data["pathname"]  # rebuilt records may have anything there
    lineno = data["lineno"]
    return (
        pathname if type(pathname) is str else type(pathname).__name__,
        lineno if type(lineno) is int else 0,
    )


def source_at(place: Place) -> str:
    """Return a place as ``path:line``."""
    where, number = place
    if not isinstance(where, CodeType):
        return f"{where}:{number}"
    lines = (line for start, end, line in where.co_lines() if start <= number < end)
    return f"{where.co_filename}:{next(lines, None) or where.co_firstlineno}"


class Kind(NamedTuple):
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


class Rare:
    """What most calls do not have; one for all of those, and never changed then.

    Attributes:
        headers: The headers of this call alone: visitor's address and user agent.
        counts: What it counts, if it is a counter that can be summed.
        writes: Which profile it writes, if it is a barrier or a counter.
        server_errors: How many attempts were answered with a 5xx.
        delivered_before: How many calls of the client had been delivered at the first of them.
        first_unknown: When its profile was unknown for the first time (monotonic clock).
    """

    __slots__ = (
        "counts", "delivered_before", "first_unknown", "headers", "server_errors", "writes",
    )  # fmt: skip

    def __init__(
        self,
        headers: Mapping[str, str] = NO_HEADERS,
        counts: Counts | None = None,
        writes: str | None = None,
    ) -> None:
        self.headers = headers
        self.counts = counts
        self.writes = writes
        self.server_errors = 0
        self.delivered_before = 0
        self.first_unknown = 0.0


_COMMON = Rare()
_places: dict[Place, Place] = {}
_MOST_PLACES = 10_000


class RenderedCall:
    """One API call, ready to be posted. Many may wait, so it is kept small.

    Attributes:
        body: The request's body.
        kind: What kind of call it is.
        profile: What its order is kept by; None where no order is promised.
        rare: What most calls do not have.
        created: When it was logged, in seconds since the epoch.
        place: Where it was logged.
        generation: Which wait it came before; see ``_inbox``.
        attempts: How many times it was sent.
        since: When it was lined up (monotonic clock): its age counts from then on.
        started: When the last attempt began (monotonic clock).
    """

    __slots__ = (
        "attempts", "body", "created", "generation", "kind", "place", "profile", "rare", "since",
        "started",
    )  # fmt: skip

    def __init__(
        self,
        kind: Kind,
        body: bytes,
        created: float,
        place: Place,
        *,
        profile: int | str | None = None,
        rare: Rare | None = None,
        generation: int = 0,
    ) -> None:
        self.kind = kind
        self.body = body
        self.profile = profile
        self.rare = _COMMON if rare is None else rare
        self.created = created
        self.place = _places.setdefault(place, place) if len(_places) < _MOST_PLACES else place
        self.generation = generation
        self.attempts = 0
        self.since = 0.0
        self.started = 0.0

    def own(self) -> Rare:
        """Return what is rare about it, to be changed."""
        if self.rare is _COMMON:
            self.rare = Rare()
        return self.rare

    @property
    def source(self) -> str:
        """Which line of code logged it, ``path:line``."""
        return source_at(self.place)

    @property
    def line(self) -> dict[str, Any]:
        """The call as it stands on a line of the formatter, and as hooks see it."""
        return Built(json.loads(self.body), self.rare.headers).line()

    @property
    def label(self) -> str:
        """What to call it in a message, without personal data: event, counter, group type."""
        call = json.loads(self.body)
        name = call["payload"].get(_NAMES.get(self.kind.type, ""))
        label = f"{self.kind.type} {name}" if isinstance(name, str) else self.kind.type
        return "".join(char if char.isprintable() else "?" for char in label[:_LONGEST_LABEL])
