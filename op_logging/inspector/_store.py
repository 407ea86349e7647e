"""What the stand-in keeps, in memory, as the server would store it.

Thread-safe: one lock around everything, lists handed out as copies.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ._values import flatten, leading_integer, text_of

if TYPE_CHECKING:
    from ._answers import ReceivedCall

__all__ = ["Store", "StoredEvent", "StoredGroup", "StoredProfile"]


@dataclass(frozen=True)
class StoredEvent:
    """A track call as it is stored.

    Attributes:
        name: Its name.
        profile_id: Whose it is, as a text; empty without.
        groups: The groups that it concerns.
        properties: Dotted keys and texts.
        dropped: Keys whose values storage dropped.
        created_at: Its time, UTC.
        device_id: The device; empty where none can be told.
        session_id: The session; empty where there is none.
        ip: The visitor's address; empty without.
        user_agent: The visitor's browser, or the SDK.
        sdk_name: The SDK that sent it.
        sdk_version: Its version.
        revenue: In the currency's minor unit, None without.
        from_server: Whether its user agent is that of a server, not of a visitor.
    """

    name: str
    profile_id: str
    groups: tuple[str, ...]
    properties: dict[str, str]
    dropped: tuple[str, ...]
    created_at: datetime
    device_id: str
    session_id: str
    ip: str
    user_agent: str
    sdk_name: str
    sdk_version: str
    revenue: int | None
    from_server: bool


@dataclass(frozen=True)
class StoredProfile:
    """A profile as it is stored: properties have dotted keys and texts."""

    id: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    avatar: str = ""
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredGroup:
    """A group as it is stored: properties have dotted keys and texts."""

    id: str
    type: str
    name: str
    properties: dict[str, str]


class Store:
    """All that came in and what became of it.

    Args:
        profile_flush: Seconds between two writes of the buffered profiles, as the server has it
            (10); 0: each write is visible at once.
        max_calls: How many calls, and how many events, are kept; the oldest go first.
        clock: Returns seconds that only go up.
    """

    def __init__(
        self,
        profile_flush: float = 0.0,
        max_calls: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.RLock()
        self._profile_flush = profile_flush
        self._clock = clock
        self._calls: deque[ReceivedCall] = deque(maxlen=max_calls)
        self._events: deque[StoredEvent] = deque(maxlen=max_calls)
        self._written: dict[str, StoredProfile] = {}
        self._buffer: dict[str, StoredProfile] = {}
        self._groups: dict[str, StoredGroup] = {}
        self._assignments: dict[str, tuple[str, ...]] = {}
        self._window = self._window_now()

    @property
    def calls(self) -> list[ReceivedCall]:
        """All calls in the order in which they came in."""
        with self._lock:
            return list(self._calls)

    @property
    def refused(self) -> list[ReceivedCall]:
        """The calls that were not stored."""
        return [call for call in self.calls if call.status != 200]

    @property
    def events(self) -> list[StoredEvent]:
        """The stored events in the order in which they came in."""
        with self._lock:
            return list(self._events)

    @property
    def profiles(self) -> dict[str, StoredProfile]:
        """The profiles by id, as far as they are written."""
        with self._lock:
            self._flush_if_due()
            return dict(self._written)

    @property
    def groups(self) -> dict[str, StoredGroup]:
        """The groups by id."""
        with self._lock:
            return dict(self._groups)

    @property
    def assignments(self) -> dict[str, tuple[str, ...]]:
        """The ids of the groups of each profile, by the profile's id."""
        with self._lock:
            return dict(self._assignments)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for each in (self._calls, self._events):
                each.clear()
            for known in (self._written, self._buffer, self._groups, self._assignments):
                known.clear()

    def keep_call(self, call: ReceivedCall) -> None:
        """Keep a call, whatever its answer."""
        with self._lock:
            self._calls.append(call)

    def keep_event(self, event: StoredEvent) -> None:
        """Store an event."""
        with self._lock:
            self._events.append(event)

    def keep_group(self, payload: dict[str, Any]) -> None:
        """Store a group; properties are merged with those that it has."""
        with self._lock:
            known = self._groups.get(payload["id"])
            properties = dict(known.properties) if known else {}
            properties.update(flatten(payload.get("properties") or {})[0])
            self._groups[payload["id"]] = StoredGroup(
                payload["id"], payload["type"], payload["name"], properties
            )

    def assign(self, profile_id: str, group_ids: Iterable[str]) -> None:
        """Put a profile into groups."""
        with self._lock:
            known = self._assignments.get(profile_id, ())
            self._assignments[profile_id] = tuple(dict.fromkeys([*known, *group_ids]))

    def identify(self, profile_id: str, payload: dict[str, Any]) -> tuple[str, ...]:
        """Write what is known of a profile; return the keys that storage dropped."""
        properties, dropped = flatten(payload.get("properties") or {})
        names = {"first_name": "firstName", "last_name": "lastName"}
        names.update(email="email", avatar="avatar")
        given = {
            own: payload[wire].strip()
            for own, wire in names.items()
            if isinstance(payload.get(wire), str) and payload[wire].strip()
        }
        with self._lock:
            self._flush_if_due()
            blank = StoredProfile(profile_id)
            known = self._buffer.get(profile_id) or self._written.get(profile_id, blank)
            merged = {**known.properties, **properties}
            self._write(replace(known, properties=merged, **given))
        return dropped

    def count(self, profile_id: str, key: str, value: float) -> str | None:
        """Add to a number of a profile.

        As in the server, it is read from the last written profile, and all of that profile's
        properties are written back: what else was written in the same window is undone.

        Returns:
            None, or why not: ``unknown`` or ``not a number``.
        """
        with self._lock:
            self._flush_if_due()
            written = self._written.get(profile_id)
            if written is None:
                return "unknown"
            number = leading_integer(written.properties.get(key, "0"))
            if number is None:
                return "not a number"
            text = text_of(number + value)
            known = self._buffer.get(profile_id, written)
            merged = {**known.properties, **written.properties, key: text}
            self._write(replace(known, properties=merged))
        return None

    def _write(self, profile: StoredProfile) -> None:
        target = self._buffer if self._profile_flush else self._written
        target[profile.id] = profile

    def _window_now(self) -> int:
        return int(self._clock() / self._profile_flush) if self._profile_flush else 0

    def _flush_if_due(self) -> None:
        window = self._window_now()
        if window != self._window:
            self._window = window
            self._written.update(self._buffer)
            self._buffer.clear()
