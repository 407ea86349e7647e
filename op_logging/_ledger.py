"""The books of a client: what came in, what became of it, and who waits for it.

Not thread-safe by itself: only the client uses it, under the client's lock. Every event is
entered twice at the most: when the sender takes it from the queue, and when it is settled. What
never got past the queue's door is entered once, as dropped.
"""

from __future__ import annotations

import threading
from collections import Counter
from types import MappingProxyType

from ._stats import DeliveryStats

__all__ = ["Ledger", "Wait"]


class Wait:
    """Somebody waits until all events up to a position are settled.

    Attributes:
        done: Set when they are.
    """

    def __init__(self, up_to: int, unsettled: int) -> None:
        self.up_to = up_to
        self.unsettled = unsettled
        self.done = threading.Event()


class Ledger:
    """Counts what became of a client's events."""

    def __init__(self) -> None:
        self.taken = 0
        self.delivered = 0
        self.rejected = 0
        self.dropped = 0
        self.retried = 0
        self.reasons: Counter[str] = Counter()
        self.last_error: str | None = None
        self._turned_away = 0
        self._waits: list[Wait] = []

    @property
    def unsettled(self) -> int:
        """How many of the events that were taken are not settled yet."""
        return self.taken + self._turned_away - self.delivered - self.rejected - self.dropped

    @property
    def lost(self) -> int:
        """How many events were rejected or dropped."""
        return self.rejected + self.dropped

    def take(self, events: int) -> int:
        """Enter events that leave the queue; return the position of the first of them."""
        first = self.taken + 1
        self.taken += events
        return first

    def deliver(self, position: int) -> None:
        """Enter a call that the server stored."""
        self.delivered += 1
        self._settled(position)

    def reject(self, position: int, reason: str) -> None:
        """Enter a call that the server refused for good."""
        self.rejected += 1
        self.reasons[reason] += 1
        self._settled(position)

    def drop(self, position: int, reason: str) -> None:
        """Enter an event that is given up."""
        self.dropped += 1
        self.reasons[reason] += 1
        self._settled(position)

    def turn_away(self, reason: str, *, was_queued: bool) -> None:
        """Enter an event that was dropped before the sender took it.

        Args:
            reason: Why.
            was_queued: Whether it had been in the queue: then nobody needs to wait for it any more.
        """
        self._turned_away += 1
        self.dropped += 1
        self.reasons[reason] += 1
        if was_queued:
            self._settled(0)

    def wait_for(self, queued: int) -> Wait | None:
        """Start to wait for all that is unsettled now, and for ``queued`` events before the door.

        Returns:
            What to wait on, to be handed to `forget` in the end; None where nothing is open.
        """
        unsettled = self.unsettled + queued
        if not unsettled:
            return None
        wait = Wait(self.taken + queued, unsettled)
        self._waits.append(wait)
        return wait

    def forget(self, wait: Wait) -> None:
        """Stop waiting."""
        if wait in self._waits:
            self._waits.remove(wait)

    def snapshot(self, queued: int, in_flight: int, oldest: float) -> DeliveryStats:
        """Return the statistics.

        Args:
            queued: How many events are in the queue now.
            in_flight: How many calls wait for their answer.
            oldest: Age of the oldest unsettled event in seconds.
        """
        return DeliveryStats(
            accepted=self.taken + self._turned_away + queued,
            delivered=self.delivered,
            rejected=self.rejected,
            dropped=self.dropped,
            queued=queued + self.unsettled - in_flight,
            in_flight=in_flight,
            reasons=MappingProxyType(dict(self.reasons)),
            retried=self.retried,
            oldest=oldest,
            last_error=self.last_error,
        )

    def _settled(self, position: int) -> None:
        for wait in self._waits:
            if position <= wait.up_to:
                wait.unsettled -= 1
                if wait.unsettled <= 0:
                    wait.done.set()
