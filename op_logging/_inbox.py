"""The callers' side of the engine: a queue that nobody waits for.

What runs here runs inside the application's log calls, also in signal handlers and finalizers.
So there is no lock, no wait and no diagnosis here: `collections.deque` appends and pops
atomically, and the doorbell is a bell of ``_bell``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ._bell import Bell
from ._rendered import Built, Data, Entry, Place, created_of, place_of

__all__ = ["Doorbell", "Inbox", "TurnedAway"]

TurnedAway = tuple[str, Place, Entry | None]


class Doorbell(Bell):
    """Wakes one thread that sleeps. A ring too many does no harm, and one too few cannot be.

    Attributes:
        asleep: Whether the sleeper wants to be woken for an event. Set by the sleeper, cleared by
            who rings.
    """

    __slots__ = ("asleep",)

    def __init__(self) -> None:
        super().__init__()
        self.asleep = False

    def ring(self) -> None:
        """Wake the sleeper, now or as soon as it sleeps. Safe in signal handlers."""
        self.asleep = False
        super().ring()


class Inbox:
    """A bounded queue of entries with a doorbell for the one who empties it.

    Args:
        limit: How many events may wait, here and behind the sender.
        drop_oldest: Whether a full queue drops its oldest event instead of the new one. What the
            sender has taken already is its own to drop.
        start: Called in the caller's thread for an event that nobody is there to send.

    Attributes:
        queue: The entries that wait to be taken.
        room: How many entries may wait here; kept by the dispatch.
        doorbell: The sender's; None while there is no sender. The only place that says so, so that
            no two threads can see halves of a change.
        owner: Who is to live as long as the threads that deliver, so that the exit finds it.
        generation: What events that come in now are marked with. Whoever begins to wait for what
            is there raises it, under the dispatch's lock, and so tells it from what comes later.
        last: What tells the last record that came in the quick way from all others; see ``_seen``.
        turned_away: Reason, place and, where it can be had, the entry of each event that was
            dropped here: for the sender to count and to say.
    """

    def __init__(self, limit: int, *, drop_oldest: bool, start: Callable[[], None]) -> None:
        self._limit = limit
        self._drop_oldest = drop_oldest
        self._start = start
        self.owner: object | None = None
        self.renew()

    def renew(self) -> None:
        """Forget everything: the child of a fork leaves what it inherited to its parent."""
        self.queue: deque[Entry] = deque()
        self.doorbell: Doorbell | None = None
        self.room = self._limit
        self.generation = 0
        self.last: object = None
        self.turned_away: deque[TurnedAway] = deque()

    def __len__(self) -> int:
        """How many events wait to be taken."""
        return len(self.queue)

    def put(self, build: Callable[[Any], Built], data: Data) -> bool:
        """Take an event in; return whether there was room for it."""
        entry = (build, data, self.generation)
        if len(self.queue) >= self.room and not self.make_room(entry):
            return False
        self.queue.append(entry)
        self.call_sender()
        return True

    def call_sender(self) -> None:
        """Wake the sender if it sleeps, or start one.

        Safe in signal handlers, but for the start: a new thread takes locks of `threading`.
        """
        doorbell = self.doorbell
        if doorbell is None:
            self._start()
        elif doorbell.asleep:
            doorbell.ring()

    def turn_away(self, reason: str, place: Place, entry: Entry | None = None) -> None:
        """Note an event that did not come in, for the sender to count and to say.

        Args:
            reason: A short name for the statistics.
            place: Which line of code logged it.
            entry: The event itself.
        """
        known = entry if len(self.turned_away) < self._limit else None
        self.turned_away.append((reason, place, known))
        self.call_sender()

    def sleep(self, doorbell: Doorbell, seconds: float | None, *, nap: bool) -> None:
        """Wait for an event or a ring, at most so many seconds; None: without an end. The sender's.

        An event that comes in before ``asleep`` is set is seen by the look at the queue after it;
        one that comes in later rings. Nobody rings while the sender only takes a nap.
        """
        if not nap:
            doorbell.asleep = True
            if self.queue or self.turned_away:
                doorbell.asleep = False
                return
        doorbell.wait(seconds)
        doorbell.asleep = False

    def take(self, most: int) -> list[Entry]:
        """Take out the oldest events, at most so many."""
        queue = self.queue
        events: list[Entry] = []
        try:
            while len(events) < most:
                events.append(queue.popleft())
        except IndexError:
            pass
        return events

    def take_up_to(self, generation: int) -> list[Entry]:
        """Take out the oldest events, up to the first that is of a later generation."""
        events: list[Entry] = []
        while self.holds(generation):
            events += self.take(1)
        return events

    def holds(self, generation: int) -> bool:
        """Tell whether the oldest waiting event is of this generation or an earlier one."""
        try:
            return self.queue[0][2] <= generation
        except IndexError:
            return False

    def oldest(self) -> float | None:
        """Return when the oldest waiting event was logged, in seconds since the epoch."""
        try:
            return created_of(self.queue[0][1])
        except IndexError:
            return None

    def make_room(self, entry: Entry) -> bool:
        """Let somebody go, since it is full; return whether the entry may come in."""
        if self._drop_oldest:
            if len(self.queue) < self._limit:  # the sender drops the oldest of what it has
                return True
            try:
                entry = self.queue.popleft()
            except IndexError:  # the sender was quicker
                return True
        self.turn_away("queue_full", place_of(entry[1]), entry)
        return self._drop_oldest
