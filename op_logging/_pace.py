"""When a client may send: all at once, one probe, or nothing for a while.

States, and what leads from one to the other::

    OPEN ----- a failure that concerns every call -----> CLOSED (until a moment)
    CLOSED --- the moment has come, a call is ready ---> PROBING (one call is out)
    PROBING -- it was answered ------------------------> OPEN, at first for few calls at a time
    PROBING -- it failed ------------------------------> CLOSED, for longer

Not thread-safe by itself: only the dispatch changes it, under its lock.
"""

from __future__ import annotations

import enum
from random import SystemRandom

__all__ = ["Pace", "PaceState"]

_FIRST_BACKOFF = 1.0
"""Seconds; doubles with each failure in a row, up to the ``max_backoff`` of the client."""
_HICCUP = 0.1
"""Seconds after a single failure of a server that answered well since the last one."""

_random = SystemRandom()
"""Has no state: neither an application's seed nor a fork makes processes retry in step."""


class PaceState(enum.Enum):
    """What may be sent."""

    OPEN = "open"
    CLOSED = "closed"
    PROBING = "probing"


class Pace:
    """The back-off that all connections of a client share.

    Args:
        max_backoff: The longest pause in seconds.
        max_width: How many calls may be out at a time when all is well.
    """

    def __init__(self, max_backoff: float, max_width: int) -> None:
        self.state = PaceState.OPEN
        self.failures = 0
        self.opens_at = 0.0
        self.width = max_width
        self.told = False
        self.since = 0.0
        self._closed_at = 0.0
        self._max_backoff = max_backoff
        self._max_width = max_width
        self._answered_since = False
        self._width_after = 2

    def room(self, now: float, in_flight: int) -> int:
        """Tell how many more calls may leave at ``now`` while ``in_flight`` calls are out."""
        if self.state is PaceState.OPEN:
            return max(0, self.width - in_flight)
        return 1 if self.state is PaceState.CLOSED and now >= self.opens_at else 0

    def left(self) -> None:
        """Note that a call for which there was `room` was sent."""
        if self.state is PaceState.CLOSED:
            self.state = PaceState.PROBING

    def answered(self, started: float) -> bool:
        """Note an answer that shows that calls get through.

        Args:
            started: When that attempt began: one that began before the last failure proves nothing.

        Returns:
            Whether an outage that had been told of ended with it.
        """
        if started < self._closed_at:
            return False
        self._answered_since = True
        self.width = min(self.width + 1, self._max_width)
        if self.state is PaceState.OPEN:
            return False
        self.state = PaceState.OPEN
        self.width = min(self._width_after, self._max_width)
        self.failures = 0
        ended, self.told = self.told, False
        return ended

    def failed(
        self, now: float, started: float, retry_after: float | None, *, is_down: bool = False
    ) -> None:
        """Note a failure that is not the call's own fault.

        A single one among answers slows the client down, but does not stop it for long: one of
        several servers behind an address may be ill.

        Args:
            now: The moment.
            started: When that attempt began: what left together counts as one failure.
            retry_after: Seconds that the server asked to wait.
            is_down: Whether it is no single failure, since no call can get through.
        """
        if started < self._closed_at:
            self._wait_at_least(now, retry_after)
            return
        is_hiccup = self._answered_since and self.failures == 0 and not is_down
        if self.failures == 0:
            self.since = now
        self.failures += 1
        self.state = PaceState.CLOSED
        self._closed_at = now
        self._answered_since = False
        self._width_after = max(2, self.width // 2) if is_hiccup else 2
        longest = min(self._max_backoff, _FIRST_BACKOFF * 2.0 ** min(self.failures - 1, 30))
        self.opens_at = now + backoff(min(_HICCUP, longest) if is_hiccup else longest)
        self._wait_at_least(now, retry_after)

    def unproven(self, started: float) -> None:
        """Note that a probe found out nothing: another may leave at once."""
        if self.state is PaceState.PROBING and started >= self._closed_at:
            self.state = PaceState.CLOSED

    def _wait_at_least(self, now: float, retry_after: float | None) -> None:
        if retry_after is not None:
            self.opens_at = max(self.opens_at, now + min(retry_after, self._max_backoff))


def backoff(longest: float) -> float:
    """Return a random pause of up to ``longest`` seconds (full jitter), and not quite nothing."""
    return max(0.05, _random.uniform(0.0, longest))
