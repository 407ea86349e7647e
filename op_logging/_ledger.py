"""The books of a client: what came in, what became of it, and who waits for it.

Not thread-safe by itself: only the dispatch uses it, under its lock. Every event is
entered twice at the most: when the sender takes it from the queue, and when it is settled. What
never got past the queue's door is entered once, as dropped.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from types import MappingProxyType

from ._bell import Bell
from ._stats import DeliveryStats

__all__ = ["Ledger", "Wait"]


class Wait:
    """Somebody waits until all events up to a generation are settled.

    Attributes:
        up_to: That generation.
        done: Whether they are.
    """

    def __init__(self, up_to: int) -> None:
        self.up_to = up_to
        self.done = False
        self._bell = Bell()

    def end(self) -> None:
        """Let go of who waits. May be called again."""
        if not self.done:
            self.done = True
            self._bell.ring()

    def until(self, deadline: float) -> bool:
        """Wait until then at most (monotonic clock); return whether it is done."""
        if not self.done:
            self._bell.wait(deadline - time.monotonic())
        return self.done


class Ledger:
    """Counts what became of a client's events."""

    def __init__(self) -> None:
        self.taken = 0
        self.delivered = 0
        self.merged = 0
        self.rejected = 0
        self.dropped = 0
        self.retried = 0
        self.reasons: Counter[str] = Counter()
        self.last_error: str | None = None
        self.unsettled = 0
        self.waits: tuple[Wait, ...] = ()
        self._turned_away = 0
        self._open: dict[int, int] = {}

    @property
    def lost(self) -> int:
        """How many events were rejected or dropped."""
        return self.rejected + self.dropped

    def take(self, generations: Iterable[int]) -> None:
        """Enter events that leave the queue, by their generations."""
        for generation in generations:
            self.taken += 1
            self.unsettled += 1
            self._open[generation] = self._open.get(generation, 0) + 1

    def deliver(self, generation: int) -> None:
        """Enter a call that the server stored."""
        self.delivered += 1
        self._settle(generation)

    def merge(self, generation: int) -> None:
        """Enter a counter that was summed into another call."""
        self.merged += 1
        self._settle(generation)

    def reject(self, generation: int, reason: str) -> None:
        """Enter a call that the server refused for good."""
        self.rejected += 1
        self.reasons[reason] += 1
        self._settle(generation)

    def drop(self, generation: int, reason: str) -> None:
        """Enter an event that is given up."""
        self.dropped += 1
        self.reasons[reason] += 1
        self._settle(generation)

    def turn_away(self, reason: str, events: int = 1) -> None:
        """Enter events that were dropped before the sender took them."""
        self._turned_away += events
        self.dropped += events
        self.reasons[reason] += events

    def expect(self, up_to: int) -> Wait:
        """Start to wait for all events up to a generation; `forget` must follow."""
        wait = Wait(up_to)
        self.waits = (*self.waits, wait)
        return wait

    def forget(self, wait: Wait) -> None:
        """Stop waiting."""
        self.waits = tuple(other for other in self.waits if other is not wait)

    def is_settled(self, up_to: int) -> bool:
        """Tell whether no event that was taken, up to a generation, is unsettled."""
        return all(generation > up_to for generation in self._open)

    def snapshot(self, queued: int, in_flight: int, oldest: float, held: int = 0) -> DeliveryStats:
        """Return the statistics.

        Args:
            queued: How many events are in the queue now.
            in_flight: How many calls wait for their answer.
            oldest: Age of the oldest unsettled event in seconds.
            held: How many sums of counters wait.
        """
        return DeliveryStats(
            accepted=self.taken + self._turned_away + queued,
            delivered=self.delivered,
            merged=self.merged,
            rejected=self.rejected,
            dropped=self.dropped,
            queued=queued + self.unsettled - in_flight - held,
            in_flight=in_flight,
            held=held,
            reasons=MappingProxyType(dict(self.reasons)),
            retried=self.retried,
            oldest=oldest,
            last_error=self.last_error,
        )

    def _settle(self, generation: int) -> None:
        self.unsettled -= 1
        left = self._open[generation] - 1
        if left:
            self._open[generation] = left
        else:
            del self._open[generation]
