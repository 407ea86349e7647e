"""Counters that wait: increments and decrements are summed, and leave when the server can take it.

The server reads a profile as it was last written down (every 10 seconds), changes a number and
writes the whole of it back. So counters of one profile that come close together overwrite each
other, and one that comes soon after an identify undoes its properties (as the open-source server,
run as of August 2026, behaved). Therefore a sum is held for an interval from its first increment,
and a profile gets no counter sooner than an interval after the last call that wrote it was
answered.

Not thread-safe by itself: only the dispatch uses it, under its lock. It knows no threads, no
clock and no network: moments (monotonic clock, seconds) are handed in.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from decimal import Context, Decimal
from itertools import count
from typing import NamedTuple

from ._encoding import dumps
from ._rendered import NO_HEADERS, Counts, Rare, RenderedCall, kind_of

__all__ = ["Counters", "Leaving"]

_LARGEST = 2**53
_SUMS = Context(prec=400)
"""Exact for all numbers that JSON holds up to the largest: ten times 0.1 is 1."""


class Leaving(NamedTuple):
    """A sum whose time has come.

    Attributes:
        first: The call that it began with.
        call: The call that is to be sent; None where the sum is net zero.
        at_risk: Whether the server may lose it, since the profile was written not long ago.
    """

    first: RenderedCall
    call: RenderedCall | None
    at_risk: bool


class _Sum:
    """What one property of one profile is to be changed by."""

    __slots__ = ("amount", "counts", "due", "first")

    def __init__(self, first: RenderedCall, counts: Counts, due: float) -> None:
        self.first = first
        self.counts = counts
        self.amount = _exact(counts.amount)
        self.due = due


class _Profile:
    """A profile that has sums, or was written not long ago."""

    __slots__ = ("safe_at", "sums", "writing")

    def __init__(self) -> None:
        self.sums: dict[str | RenderedCall, _Sum] = {}
        self.writing = 0
        self.safe_at = 0.0

    def ready_at(self) -> float:
        """Return when its oldest sum may leave."""
        if self.writing or not self.sums:
            return math.inf
        return max(self.safe_at, next(iter(self.sums.values())).due)


class Counters:
    """The sums that are held, by profile and property.

    Args:
        interval: Seconds to hold a sum, and between two calls that write a profile. 0: hold none.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._profiles: dict[str, _Profile] = {}
        self._looks: list[tuple[float, int, str]] = []
        self._ticket = count()
        self._held = 0

    def __len__(self) -> int:
        """How many sums are held."""
        return self._held

    def __iter__(self) -> Iterator[RenderedCall]:
        """Go through the calls that the sums began with."""
        for profile in self._profiles.values():
            for held in profile.sums.values():
                yield held.first

    @property
    def is_on(self) -> bool:
        """Whether counters are held at all."""
        return self._interval > 0

    @property
    def next_leave(self) -> float:
        """When to look again for sums that may leave; infinity where none is held."""
        return self._looks[0][0] if self._held and self._looks else math.inf

    def merge(self, counts: Counts, first_unknown: float = 0.0) -> bool:
        """Add a counter to the sum that is held; return False where there is none for it.

        Args:
            counts: What it counts.
            first_unknown: When its profile was unknown to the server for the first time, if ever.
        """
        profile = self._profiles.get(counts.profile)
        held = None if profile is None else profile.sums.get(counts.property)
        if held is None or abs(_SUMS.add(held.amount, _exact(counts.amount))) > _LARGEST:
            return False
        held.amount = _SUMS.add(held.amount, _exact(counts.amount))
        held.first.rare.first_unknown = held.first.rare.first_unknown or first_unknown
        return True

    def hold(self, call: RenderedCall, counts: Counts, now: float) -> None:
        """Begin a sum with a counter that could not be merged."""
        profile = self._profile(counts.profile)
        held = profile.sums.get(counts.property)
        # What would be more than JSON holds exactly is left as it is: the new one goes by itself.
        profile.sums[counts.property if held is None else call] = _Sum(
            call, counts, now + self._interval
        )
        self._held += 1
        if len(profile.sums) == 1:
            self._look(counts.profile, profile)

    def writes(self, profile: str) -> None:
        """Note that a call that writes a profile is on its way."""
        if self._interval > 0:
            self._profile(profile).writing += 1

    def wrote(self, profile: str, now: float) -> None:
        """Note that such a call is settled."""
        found = self._profiles.get(profile)
        if found is None:
            return
        found.writing -= 1
        found.safe_at = now + self._interval
        self._look(profile, found)

    def leave(self, now: float, *, hurry: bool = False, force: bool = False) -> list[Leaving]:
        """Take out the sums that may leave; for each that is sent, `writes` is noted.

        Args:
            now: The moment.
            hurry: Whether sums need not be held any more, since somebody waits for them.
            force: Whether those leave as well that the server may lose.
        """
        leaving: list[Leaving] = []
        due = list(self._due(now))  # in any case: it forgets what it looked at
        for name in list(self._profiles) if hurry or force else due:
            profile = self._profiles.get(name)
            if profile is not None:
                self._empty(name, profile, now, leaving, hurry=hurry, force=force)
        return leaving

    def withdraw(self, up_to: int) -> list[Leaving]:
        """Take out the sums up to a generation; they are not sent."""
        gone = []
        for name, profile in self._profiles.items():
            for key, held in list(profile.sums.items()):
                if held.first.generation <= up_to:
                    gone.append(Leaving(held.first, _sum_call(held), at_risk=False))
                    del profile.sums[key]
            self._look(name, profile)  # what is left may have been behind what is gone
        self._held -= len(gone)
        return gone

    def _empty(
        self,
        name: str,
        profile: _Profile,
        now: float,
        leaving: list[Leaving],
        *,
        hurry: bool,
        force: bool,
    ) -> None:
        """Take out of one profile what may leave."""
        had = len(profile.sums)
        while profile.sums:
            key, held = next(iter(profile.sums.items()))
            is_safe = not profile.writing and profile.safe_at <= now
            if not force and not (is_safe and (hurry or held.due <= now)):
                break
            del profile.sums[key]
            self._held -= 1
            call = _sum_call(held)
            if call is not None:
                profile.writing += 1
            leaving.append(Leaving(held.first, call, call is not None and not is_safe))
        if len(profile.sums) < had:
            self._look(name, profile)

    def _due(self, now: float) -> Iterator[str]:
        """Go through the profiles that are to be looked at."""
        while self._looks and self._looks[0][0] <= now:
            _, _, name = heapq.heappop(self._looks)
            profile = self._profiles.get(name)
            if profile is None:
                continue
            if not profile.sums and not profile.writing and profile.safe_at <= now:
                del self._profiles[name]  # nothing is known of it any more
            elif profile.sums and profile.ready_at() <= now:
                yield name

    def _profile(self, name: str) -> _Profile:
        found = self._profiles.get(name)
        if found is None:
            found = self._profiles[name] = _Profile()
        return found

    def _look(self, name: str, profile: _Profile) -> None:
        """Make sure that a profile is looked at when something may leave, or be forgotten."""
        if profile.writing:
            return  # its answer looks
        when = profile.ready_at() if profile.sums else profile.safe_at
        heapq.heappush(self._looks, (when, next(self._ticket), name))


def _sum_call(held: _Sum) -> RenderedCall | None:
    """Return the call that a sum is sent as; None where it changes nothing."""
    first, amount, counts = held.first, held.amount, held.counts
    if not amount:
        return None
    if amount == _exact(counts.amount):
        return first
    number = int(amount) if amount == amount.to_integral_value() else float(amount)
    call = {
        "type": "increment" if number > 0 else "decrement",
        "payload": {
            "profileId": counts.profile_id,
            "property": counts.property,
            "value": abs(number),
        },
    }
    rare = Rare(NO_HEADERS, counts._replace(amount=number), counts.profile)
    rare.first_unknown = first.rare.first_unknown
    return RenderedCall(
        kind_of(call),
        dumps(call),
        first.created,
        first.place,
        profile=first.profile,
        rare=rare,
        generation=first.generation,
    )


def _exact(amount: float) -> Decimal:
    return Decimal(repr(amount))
