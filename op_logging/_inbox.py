"""The callers' side of the engine: a queue that nobody waits for.

What runs here runs inside the application's log calls, also in signal handlers and finalizers.
So there is no lock, no wait and no diagnosis here: `collections.deque` appends and pops
atomically, and the doorbell is a `queue.SimpleQueue`, whose ``put`` is reentrant
(`threading.Event.set` is not: it can deadlock in a signal handler).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from ._rendered import Captured

__all__ = ["Doorbell", "Inbox"]


class Doorbell:
    """Wakes one thread that sleeps. A ring too many does no harm, and one too few cannot be.

    Attributes:
        asleep: Whether the sleeper wants to be woken for an event. Set by the sleeper, cleared by
            who rings.
    """

    __slots__ = ("_rings", "asleep")

    def __init__(self) -> None:
        self.asleep = False
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake the sleeper, now or as soon as it sleeps. Safe in signal handlers."""
        self.asleep = False
        self._rings.put(None)

    def sleep(self, seconds: float | None) -> None:
        """Wait for a ring, at most so many seconds; None: without an end."""
        try:
            self._rings.get(timeout=seconds)
            while True:
                self._rings.get_nowait()
        except Empty:
            pass
        self.asleep = False


class Inbox:
    """A bounded queue of captured events with a doorbell for the one who empties it.

    Args:
        limit: How many events may wait, here and behind the sender.
        drop_oldest: Whether a full queue drops its oldest event instead of the new one. What the
            sender has taken already is not dropped any more.
        start: Called in the caller's thread for an event that nobody is there to send.

    Attributes:
        doorbell: The sender's; None while there is no sender. The only place that says so, so that
            no two threads can see halves of a change.
        owner: Who is to live as long as the threads that deliver, so that the exit finds it.
        backlog: How many events wait behind the sender; kept by the engine.
        generation: What events that come in now are marked with. Whoever begins to wait for what
            is there raises it, under the engine's lock, and so tells it from what comes later.
        turned_away: Reason and source of each event that was dropped here: for the sender to count
            and to say.
    """

    def __init__(self, limit: int, *, drop_oldest: bool, start: Callable[[], None]) -> None:
        self._limit = limit
        self._drop_oldest = drop_oldest
        self._start = start
        self.owner: object | None = None
        self.renew()

    def renew(self) -> None:
        """Forget everything: the child of a fork leaves what it inherited to its parent."""
        self._queue: deque[Captured] = deque()
        self.doorbell: Doorbell | None = None
        self.backlog = 0
        self.generation = 0
        self.turned_away: deque[tuple[str, str]] = deque()

    def __len__(self) -> int:
        """How many events wait to be taken."""
        return len(self._queue)

    def put(self, captured: Captured) -> bool:
        """Take an event in; return whether there was room for it."""
        queue = self._queue
        if len(queue) + self.backlog >= self._limit and not self._make_room(captured):
            return False
        captured.generation = self.generation
        queue.append(captured)
        self._call_sender()
        return True

    def turn_away(self, reason: str, source: str) -> None:
        """Note an event that did not come in, for the sender to count and to say.

        Args:
            reason: A short name for the statistics.
            source: Which line of code logged it, ``path:line``.
        """
        self.turned_away.append((reason, source))
        self._call_sender()

    def sleep(self, doorbell: Doorbell, seconds: float | None) -> None:
        """Wait for an event or a ring, at most so many seconds; None: without an end. The sender's.

        An event that comes in before ``asleep`` is set is seen by the look at the queue after it;
        one that comes in later rings. While the queue is not empty nobody rings: the sender
        looks again by itself.
        """
        doorbell.asleep = not self._queue
        if seconds is None and (self._queue or self.turned_away):
            doorbell.asleep = False
            return
        doorbell.sleep(seconds)

    def take(self, most: int) -> list[Captured]:
        """Take out the oldest events, at most so many."""
        queue = self._queue
        events: list[Captured] = []
        try:
            while len(events) < most:
                events.append(queue.popleft())
        except IndexError:
            pass
        return events

    def take_up_to(self, generation: int) -> list[Captured]:
        """Take out the oldest events, up to the first that is of a later generation."""
        events: list[Captured] = []
        while self.holds(generation):
            events += self.take(1)
        return events

    def holds(self, generation: int) -> bool:
        """Tell whether the oldest waiting event is of this generation or an earlier one."""
        try:
            return self._queue[0].generation <= generation
        except IndexError:
            return False

    def oldest(self) -> float | None:
        """Return when the oldest waiting event was logged, in seconds since the epoch."""
        try:
            return self._queue[0].created
        except IndexError:
            return None

    def _make_room(self, captured: Captured) -> bool:
        if self._drop_oldest:
            try:
                oldest = self._queue.popleft()
            except IndexError:  # the sender was quicker
                return True
            self.turned_away.append(("queue_full", oldest.source))
            return True
        self.turn_away("queue_full", captured.source)
        return False

    def _call_sender(self) -> None:
        doorbell = self.doorbell
        if doorbell is None:
            self._start()
        elif doorbell.asleep:
            doorbell.ring()
