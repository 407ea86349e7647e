"""The dispatch: what waits and what is out, behind one lock.

Threads come here for a few lines at a time; nothing is rendered, posted or said while the lock is
held. It is reentrant, since a signal handler may ask for the statistics, or flush.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

from ._batch import render_batch, tell_of_losses
from ._config import OpenPanelConfig
from ._delivery import MOST_LOST, Delivery
from ._diagnostics import Diagnostics
from ._inbox import Inbox, TurnedAway
from ._ledger import Wait
from ._rendered import Place, RenderedCall, place_of, source_at
from ._stats import DeliveryStats

__all__ = ["Dispatch"]

_BATCH = 25
"""Events that are rendered at a time: some tenths of a millisecond."""


class Dispatch:
    """Moves events from the inbox to the lanes, and calls to their end.

    Thread-safe. In a forked child, `renew` replaces the lock and forgets the calls.

    Args:
        config: The options.
        diagnostics: Where to say what went wrong.
        start: Called in the caller's thread for an event that nobody is there to send.
    """

    def __init__(
        self, config: OpenPanelConfig, diagnostics: Diagnostics, start: Callable[[], None]
    ) -> None:
        self._config = config
        self._diagnostics = diagnostics
        self.inbox = Inbox(
            config.queue_size, drop_oldest=config.overflow == "drop_oldest", start=start
        )
        self.renew()

    def renew(self) -> None:
        """Start from nothing, also in a forked child: nothing that was inherited is acquired."""
        self.lock = threading.RLock()
        self.delivery = Delivery(self._config)
        self._turned_away: list[TurnedAway] = []
        self._handing_over = 0
        self.inbox.renew()

    def has_work(self) -> bool:
        """Tell whether anything waits."""
        lanes, counters = self.delivery.lanes, self.delivery.counters
        return bool(self.inbox) or lanes.waiting > 0 or len(counters) > 0

    def is_awaited(self) -> bool:
        """Tell whether somebody waits for an event that is still in the inbox."""
        return any(self.inbox.holds(wait.up_to) for wait in self.delivery.ledger.waits)

    # Events come in.

    def line_up(self) -> None:
        """Take some events from the inbox, render them and put their calls in line."""
        with self.lock:
            # What is found after a close came in after it, even if its log call began before.
            least = self.delivery.closed_up_to + 1
            entries = [(b, data, max(g, least)) for b, data, g in self.inbox.take(_BATCH)]
            self.delivery.ledger.take(entry[2] for entry in entries)
            self.recount()
        try:
            batch = render_batch(entries, self._config)
        except BaseException:  # what a hook raised for the application's thread, not for us
            with self.lock:
                for entry in entries:
                    self.delivery.ledger.drop(entry[2], "hook_failed")
                self.recount()
            raise
        with self.lock:
            now = time.monotonic()
            for call in batch.calls:
                self.delivery.line_up(call, now)
            ledger = self.delivery.ledger
            for generation, reason in batch.unsendable:
                ledger.drop(generation, reason)
            ledger.last_error = batch.last_error or ledger.last_error
            if batch.left_out:
                ledger.reasons["left_out"] += batch.left_out
            if self._config.on_drop is not None:
                self.delivery.lost += batch.lost
            self.recount()
        if batch.messages:
            self._diagnostics.tell(batch.messages)

    # Calls go out.

    def take(self) -> RenderedCall | None:
        """Take the next call that may leave now; it must be settled."""
        with self.lock:
            call = self.delivery.take(time.monotonic())
            self.recount()
        return call

    # Whoever waits.

    def expect(self, deadline: float | None = None) -> Wait | None:
        """Start to wait for all events that came in so far; `forget` must follow.

        Returns:
            What to wait on; None if the lock was not to be had before ``deadline``.
        """
        left = -1.0 if deadline is None else max(0.0, deadline - time.monotonic())
        if not self.lock.acquire(timeout=left):
            return None
        try:
            wait = self.delivery.ledger.expect(self.inbox.generation)
            self.inbox.generation += 1
            self.recount()
        finally:
            self.lock.release()
        return wait

    def forget(self, wait: Wait) -> None:
        """Stop waiting."""
        with self.lock:
            self.delivery.ledger.forget(wait)

    def drop_up_to(self, generation: int) -> None:
        """Drop what waits, up to a generation, since the client was closed."""
        with self.lock:
            queued = self.inbox.take_up_to(generation)
            self.delivery.close([entry[2] for entry in queued], generation, time.monotonic())
            if self._config.on_drop is not None:
                self._turned_away += (("closed", place_of(entry[1]), entry) for entry in queued)
            self.recount()

    def stats(self) -> DeliveryStats:
        """Return the statistics, all of one moment."""
        with self.lock:
            self.recount()
            moments = (self.delivery.oldest(), self.inbox.oldest())
            oldest = min((moment for moment in moments if moment is not None), default=math.inf)
            return self.delivery.ledger.snapshot(
                queued=len(self.inbox),
                in_flight=len(self.delivery.out),
                oldest=max(0.0, time.time() - oldest),
                held=len(self.delivery.counters),
            )

    def recount(self) -> None:
        """Tell the callers how much waits behind the inbox, and who waits. Under the lock."""
        delivery, inbox = self.delivery, self.inbox
        if inbox.turned_away:
            self._enter_turned_away()
        if delivery.bytes < self._config.queue_max_bytes:
            waiting = delivery.ledger.unsettled - len(delivery.out)
            inbox.room = self._config.queue_size - waiting
        else:
            inbox.room = 0
        for wait in delivery.ledger.waits:
            if not inbox.holds(wait.up_to) and delivery.ledger.is_settled(wait.up_to):
                wait.end()

    # What is said, and handed to hooks: without the lock.

    def tell(self) -> None:
        """Say what there is to say."""
        with self.lock:
            messages = self.delivery.messages()
        self._diagnostics.tell(messages)

    def has_losses(self) -> bool:
        """Tell whether ``on_drop`` has not yet been told of all losses."""
        return bool(self.delivery.lost or self._turned_away or self._handing_over)

    def hand_over_losses(self, deadline: float = math.inf) -> None:
        """Hand lost calls to ``on_drop``: in the sender's thread, or where there is none.

        Args:
            deadline: When to stop (monotonic clock). What is left then is counted only.
        """
        hook = self._config.on_drop
        if hook is None or not (self.delivery.lost or self._turned_away):
            return
        if time.monotonic() >= deadline:  # a sender that is late may come to it
            return
        with self.lock:
            lost, self.delivery.lost = self.delivery.lost, []
            turned_away, self._turned_away = self._turned_away, []
            self._handing_over += 1
        try:
            lines = itertools.chain(lost, _lines_of(turned_away))
            tell_of_losses(hook, lines, self._diagnostics, deadline)
        finally:
            with self.lock:
                self._handing_over -= 1

    def _enter_turned_away(self) -> None:
        """Enter in the books what did not come in. Under the lock."""
        events: Counter[str] = Counter()
        last: dict[str, Place] = {}
        while self.inbox.turned_away:
            found = self.inbox.turned_away.popleft()
            reason, last[reason], _ = found
            events[reason] += 1
            if self._config.on_drop is not None and len(self._turned_away) < MOST_LOST:
                self._turned_away.append(found)
        for reason, place in last.items():
            self.delivery.turn_away(reason, events[reason], source_at(place))


def _lines_of(turned_away: list[TurnedAway]) -> Iterator[tuple[dict[str, object], str]]:
    """Build the calls that did not come in, for ``on_drop``."""
    for reason, _, entry in turned_away:
        if entry is not None:
            with contextlib.suppress(Exception):  # what cannot be built cannot be handed on
                yield entry[0](entry[1]).line(), reason
