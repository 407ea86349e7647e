"""Which call may leave next: the promised order, and nothing else.

A profile's calls are kept in order where it matters. A *barrier* (identify, alias, group,
assign_group) leaves after the answers to what was added before it for its profile, and what is
added after it waits for its answer. All other calls between two barriers go side by side.
Calls without a profile go as they come. A call that has to be sent again still counts as
unanswered, so that a barrier behind it keeps waiting.

Not thread-safe by itself: only the dispatch uses it, under its lock. It knows no
threads, no clock and no network.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from itertools import count

from ._rendered import RenderedCall

__all__ = ["Lanes"]

_MOST_PROBES = 10
"""Attempts after which a call is no longer preferred: it may be its own fault that it fails."""


class Lanes:
    """The calls that wait, ordered by profile."""

    def __init__(self) -> None:
        self._ready: deque[RenderedCall] = deque()
        # By what the order is kept by. Plain numbers and few deques: there may be many profiles.
        self._unanswered: dict[int | str, int] = {}
        self._at_barrier: set[int | str] = set()
        self._later: dict[int | str, deque[RenderedCall]] = {}
        self._again: list[tuple[float, int, RenderedCall]] = []
        self._ticket = count()
        self._behind = 0

    @property
    def ready(self) -> int:
        """How many calls may leave now."""
        return len(self._ready)

    @property
    def waiting(self) -> int:
        """How many calls wait in all: ready ones, those behind a barrier, those to be retried."""
        return len(self._ready) + self._behind + len(self._again)

    def __iter__(self) -> Iterator[RenderedCall]:
        """Go through all calls that wait, in no particular order."""
        yield from self._ready
        for _, _, call in self._again:
            yield call
        for later in self._later.values():
            yield from later

    def add(self, call: RenderedCall) -> None:
        """Put a new call at the end of its profile's line."""
        key = call.profile
        if key is None:
            self._ready.append(call)
        elif key in self._unanswered and (
            call.kind.barrier or key in self._at_barrier or key in self._later
        ):
            self._later.setdefault(key, deque()).append(call)
            self._behind += 1
        else:
            self._open(key, call)

    def take(self, *, probe: bool = False) -> RenderedCall | None:
        """Take the next call that may leave.

        Args:
            probe: Whether it is to find out if the server is back: then one that may be sent twice
                is preferred, and best one that was never sent.

        Returns:
            The call, or None where none is ready. `answered` or `again` must follow.
        """
        if not self._ready:
            return None
        if probe:
            self._bring_forward_a_probe()
        return self._ready.popleft()

    def _bring_forward_a_probe(self) -> None:
        """Move a call to the front that does no harm if it is lost or sent twice."""
        for index, call in enumerate(self._ready):
            if not call.attempts and not call.kind.at_most_once:
                del self._ready[index]
                self._ready.appendleft(call)
                return
        if not self._ready[0].kind.at_most_once:
            return
        # Rather one whose time has not come, unless it may be what makes the server fail.
        tried = [entry for entry in self._again if not entry[2].kind.at_most_once]
        found = min(tried, key=lambda entry: entry[2].attempts, default=None)
        if found is not None and found[2].attempts < _MOST_PROBES:
            self._again.remove(found)
            heapq.heapify(self._again)
            self._ready.appendleft(found[2])

    def answered(self, call: RenderedCall) -> None:
        """Note that a call that was taken is settled, for good or ill: what waited may go."""
        key = call.profile
        if key is None:
            return
        self._unanswered[key] -= 1
        if self._unanswered[key]:
            return
        del self._unanswered[key]
        self._at_barrier.discard(key)
        if key in self._later:
            self._open(key, self._next_of(key))
            while key not in self._at_barrier and key in self._later:
                if self._later[key][0].kind.barrier:
                    break
                self._open(key, self._next_of(key))

    def again(self, call: RenderedCall, due: float) -> None:
        """Keep a call that was taken, to be sent again at ``due``."""
        heapq.heappush(self._again, (due, next(self._ticket), call))

    def detach(self, call: RenderedCall) -> None:
        """Let what waits behind a taken call go on without waiting for it, from now on."""
        self.answered(call)
        call.profile = None

    def evict(self) -> RenderedCall | None:
        """Take out one of the oldest calls that wait; None where there is none.

        Sums do not make room for others: each stands for many.
        """
        for number, entry in enumerate(self._again):
            if entry[2].rare.counts is None:
                del self._again[number]
                heapq.heapify(self._again)
                self.answered(entry[2])
                return entry[2]
        for number, call in enumerate(self._ready):
            if call.rare.counts is None:
                del self._ready[number]
                self.answered(call)
                return call
        for key, later in self._later.items():
            if later[0].rare.counts is None:
                return self._next_of(key)
        return None

    def wake(self, now: float) -> None:
        """Make the calls ready that are due to be sent again."""
        while self._again and self._again[0][0] <= now:
            self._ready.appendleft(heapq.heappop(self._again)[2])

    @property
    def next_due(self) -> float | None:
        """When the next call is due to be sent again; None where there is none."""
        return self._again[0][0] if self._again else None

    def withdraw(self, up_to: int) -> list[RenderedCall]:
        """Take out the calls that wait, up to a generation.

        Those that were taken still count as unanswered.
        """
        gone = [call for call in self if call.generation <= up_to]
        for key in list(self._later):
            kept = deque(call for call in self._later.pop(key) if call.generation > up_to)
            if kept:
                self._later[key] = kept
        self._behind = sum(map(len, self._later.values()))
        was_open = [call for call in self._ready if call.generation <= up_to]
        was_open += [entry[2] for entry in self._again if entry[2].generation <= up_to]
        self._ready = deque(call for call in self._ready if call.generation > up_to)
        self._again = [entry for entry in self._again if entry[2].generation > up_to]
        heapq.heapify(self._again)
        for call in was_open:
            self.answered(call)
        return gone

    def _open(self, key: int | str, call: RenderedCall) -> None:
        self._unanswered[key] = self._unanswered.get(key, 0) + 1
        if call.kind.barrier:
            self._at_barrier.add(key)
        self._ready.append(call)

    def _next_of(self, key: int | str) -> RenderedCall:
        later = self._later[key]
        call = later.popleft()
        if not later:
            del self._later[key]
        self._behind -= 1
        return call
