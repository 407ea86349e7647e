"""Hooks, and what tests want to know of their calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Line = dict[str, Any]


class Recorder:
    """A hook, ``before_send`` or ``on_drop``, that keeps what it was called with.

    Args:
        then: What to return, given the call; default: the call as it is.

    Attributes:
        lines: The calls.
        reasons: Why each was lost, if it is ``on_drop``.
        threads: The names of the threads that it was called in.
    """

    def __init__(self, then: Callable[[Line], Any] | None = None) -> None:
        self._then = then
        self.lines: list[Line] = []
        self.reasons: list[str] = []
        self.threads: list[str] = []

    def __call__(self, line: Line, reason: str | None = None) -> Any:
        """Keep what it was called with."""
        self.threads.append(threading.current_thread().name)
        self.lines.append(line)
        if reason is not None:
            self.reasons.append(reason)
        return line if self._then is None else self._then(line)

    @property
    def names(self) -> list[str]:
        """The names of the track calls, and the types of others."""
        return [name_of(line) for line in list(self.lines)]


def name_of(line: Line) -> str:
    """Return the name of a track call, and the type of another."""
    return str(line["payload"].get("name", line["type"]))


def mark(line: Line) -> Line:
    """Add a property: what a dotted path names."""
    line["payload"]["properties"]["marked"] = True
    return line


def drop(_line: Line) -> None:
    """Drop everything: what a dotted path names."""


def mark_tracks(line: Line) -> Line:
    """Add a property to track calls: what a dotted path names."""
    return mark(line) if line["type"] == "track" else line
