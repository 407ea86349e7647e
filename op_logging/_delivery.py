"""What happens to a call: the one place where outcomes become decisions.

    HELD ---- leave ---+
                       v
    line_up -------> WAITING ---- take ----> OUT ---- settle ----> DELIVERED | REJECTED | DROPPED
                       ^                     |
                       +------- again -------+   (retry, with the shared back-off)

No threads, no clock, no network: moments and outcomes are handed in; what is to be said is noted,
for the engine to say when it has let go of its lock.
Not thread-safe by itself: only the dispatch uses it, under its lock.
"""

from __future__ import annotations

import math
from typing import Any

from ._config import OpenPanelConfig
from ._counters import Counters
from ._diagnostics import INTERVAL, Message
from ._lanes import Lanes
from ._ledger import Ledger
from ._outcomes import Outcome, Verdict
from ._pace import Pace, PaceState, backoff
from ._rendered import RenderedCall

__all__ = ["MOST_LOST", "Delivery"]

_UNKNOWN_PROFILE_PATIENCE = 60.0
"""Seconds in which the server may learn of a profile; it writes its profiles every 10 s."""
_MOST_SERVER_ERRORS = 5
"""5xx answers after which a call that fails while others get through is its own fault."""
_LONGEST_PROFILE_WAIT = 10.0
_UNREACHABLE = frozenset({"connect", "tls"})
_MOST_FLAPS = 5
"""Failures in a row that make an outage which comes less than a minute after another."""
MOST_LOST = 10_000
"""Lost calls that wait for a slow ``on_drop``; what is more is counted only."""
_HINTS = {
    "bot": "set a client secret: the server checks for bots only without one",
    "credentials": "check client_id and client_secret",
    "redirect": "api_url must be the address that answers itself; redirects are never followed",
    "http_404": "check api_url: the server knows no such address",
}


class Delivery:
    """The calls of a client from the queue to their end.

    Args:
        config: The client's options.

    Attributes:
        closed_up_to: The generation up to which a close dropped what waited.
        bytes: The bodies' size of all calls that are not settled.
        lost: Each call that was lost, as hooks see it, and why: for the sender to hand to
            ``on_drop``, and only if there is one.
    """

    def __init__(self, config: OpenPanelConfig) -> None:
        self.ledger = Ledger()
        self.lanes = Lanes()
        self.counters = Counters(config.counter_interval)
        self.pace = Pace(config.max_backoff, config.max_connections)
        self.out: set[RenderedCall] = set()
        self.answer_time = 0.0
        self.bytes = 0
        self.lost: list[tuple[dict[str, Any], str]] = []
        self._messages: list[Message] = []
        self.closed_up_to = -1
        self._config = config
        self._host = config.api_url
        self._lost_before = 0
        self._outage_ended = -math.inf

    def line_up(self, call: RenderedCall, now: float) -> None:
        """Put a new call in line, or hold it if it counts."""
        call.since = now
        if call.generation <= self.closed_up_to:
            self._drop_new(call, "closed")
            self._say("closed", f"the client was closed before {_name(call)} was sent: dropped")
            return
        counts = call.rare.counts if self.counters.is_on else None
        if counts is not None and self.counters.merge(counts):
            self.ledger.merge(call.generation)
            return
        if not self._has_room(call, now):
            self._drop_new(call, "queue_full")
            self._say("queue_full", f"the queue is full: {_name(call)} was dropped")
            return
        self.bytes += len(call.body)
        if counts is not None:
            self.counters.hold(call, counts, now)
            return
        if call.rare.writes is not None:
            self.counters.writes(call.rare.writes)
        self.lanes.add(call)

    def let_counters_leave(self, now: float, *, hurry: bool = False, force: bool = False) -> None:
        """Line up the sums whose time has come; see `Counters.leave`."""
        for first, call, at_risk in self.counters.leave(now, hurry=hurry, force=force):
            self.bytes += (len(call.body) if call else 0) - len(first.body)
            if call is None:
                self.ledger.merge(first.generation)
                continue
            call.since = now
            if at_risk:
                self.ledger.reasons["counter_at_risk"] += 1
                self._say("counter_at_risk", f"{_name(call)}: {_AT_RISK}")
            self.lanes.add(call)

    def take(self, now: float) -> RenderedCall | None:
        """Take the next call that may leave at ``now``; `settle` must follow."""
        self.lanes.wake(now)
        while self.pace.room(now, len(self.out)):
            call = self.lanes.take(probe=self.pace.state is not PaceState.OPEN)
            if call is None:
                return None
            if now - call.since > self._config.max_age:
                self._drop(call, "expired", now)
                self._say("expired", f"{_name(call)} was not delivered within max_age: dropped")
                continue
            self.pace.left()
            call.attempts += 1
            call.started = now
            self.out.add(call)
            return call
        return None

    def wait_until(self) -> float | None:
        """Return when to look again for what may not leave now; None where an answer decides."""
        counters = self.counters.next_leave
        if self.pace.state is PaceState.PROBING:
            return None
        due = self.lanes.next_due
        due = counters if due is None else min(due, counters)
        if self.pace.state is not PaceState.OPEN:
            due = self.pace.opens_at if self.lanes.ready else max(due, self.pace.opens_at)
        return None if due == _NEVER else due

    def settle(self, call: RenderedCall, outcome: Outcome, now: float) -> None:
        """Decide what becomes of a call that was out.

        Args:
            call: The call.
            outcome: What the attempt led to.
            now: The moment (monotonic clock).
        """
        self.out.discard(call)
        self._pace_by(call, outcome, now)
        if outcome.verdict is Verdict.DELIVERED:
            self._finish(call, now)
            self.ledger.deliver(call.generation)
            return
        words = self.ledger.last_error = _describe(call, outcome)
        if outcome.verdict is Verdict.REJECTED:
            self._reject(call, outcome.reason, words, now)
        elif outcome.verdict is Verdict.UNKNOWN_PROFILE:
            self._settle_unknown_profile(call, outcome.reason, words, now)
        elif outcome.verdict is Verdict.AMBIGUOUS:
            self._settle_ambiguous(call, outcome, words, now)
        else:
            self._again(call, now, at_once=outcome.stale)

    def close(self, queued: list[int], up_to: int, now: float) -> None:
        """Drop what waits, up to a generation: calls, and events from the queue.

        What is out is settled by its answer; what would have to be sent again then is dropped.

        Args:
            queued: The generations of those events.
            up_to: The generation.
            now: The moment (monotonic clock).
        """
        self.closed_up_to = max(self.closed_up_to, up_to)
        self.ledger.take(queued)
        for generation in queued:
            self.ledger.drop(generation, "closed")
        gone = self.lanes.withdraw(up_to)
        for call in gone:
            self._wrote(call, now)
        for call in gone:
            self.bytes -= len(call.body)
            self._drop_new(call, "closed")
        for first, call_of_sum, _ in self.counters.withdraw(up_to):
            self.bytes -= len(first.body)
            gone.append(first)
            self._drop_new(call_of_sum or first, "closed")
        dropped = len(queued) + len(gone)
        if dropped:
            text = f"the client was closed before {dropped} events were delivered: dropped"
            self._say("closed", text)

    def turn_away(self, reason: str, events: int, last: str) -> None:
        """Count events that did not come in, and say so, with the line that logged the last."""
        self.ledger.turn_away(reason, events)
        words = _TURNED_AWAY[reason].format(self._config.queue_size)
        dropped = f"{self.ledger.reasons[reason]} events were dropped so far"
        self._say(reason, f"{words}: {dropped}, the last one at {last}")

    @property
    def has_news(self) -> bool:
        """Whether there is something to say, or to hand to ``on_drop``."""
        return bool(self._messages or self.lost)

    def messages(self) -> list[Message]:
        """Return what is to be said, once."""
        messages, self._messages = self._messages, []
        return messages

    def oldest(self) -> float | None:
        """Return when the oldest unsettled call was logged, in seconds since the epoch."""
        created = [call.created for calls in (self.lanes, self.counters) for call in calls]
        created.extend(call.created for call in self.out)
        return min(created, default=None)

    def _pace_by(self, call: RenderedCall, outcome: Outcome, now: float) -> None:
        """Let the outcome slow the client down or speed it up; say both ends of an outage."""
        pace = self.pace
        verdict = outcome.verdict
        if verdict in (Verdict.DELIVERED, Verdict.REJECTED, Verdict.UNKNOWN_PROFILE):
            took = now - call.started
            self.answer_time = 0.8 * self.answer_time + 0.2 * took if self.answer_time else took
            since = pace.since
            if pace.answered(call.started):
                lost = self._lost_by_accident() - self._lost_before
                self._outage_ended = now
                self._say(
                    "outage over",
                    f"{self._host} takes events again after {now - since:.1f} s: "
                    f"{self.lanes.waiting} waited, {lost} were lost meanwhile",
                    once=True,
                )
            return
        if outcome.stale:
            pace.unproven(call.started)
            return
        if not pace.failures:
            self._lost_before = self._lost_by_accident()
        is_paused = verdict is Verdict.PAUSED
        is_down = is_paused or outcome.reason in _UNREACHABLE
        pace.failed(now, call.started, outcome.retry_after, is_down=is_down)
        flaps = now - self._outage_ended < INTERVAL
        if pace.told or (pace.failures < (_MOST_FLAPS if flaps else 2) and not is_paused):
            return
        pace.told = True
        hint = _HINTS.get(outcome.reason)
        self._say(
            "outage",
            f"{self._host} takes no events: {_words(outcome)}. They wait in memory (at most "
            f"{self._config.queue_size}) and are tried again" + (f"; {hint}" if hint else ""),
            once=True,
        )

    def _lost_by_accident(self) -> int:
        return self.ledger.lost - self.ledger.reasons["before_send"]

    def _settle_unknown_profile(
        self, call: RenderedCall, reason: str, words: str, now: float
    ) -> None:
        trouble = call.own()
        first = trouble.first_unknown = trouble.first_unknown or now
        if not call.kind.counter or now - first >= _UNKNOWN_PROFILE_PATIENCE:
            self._reject(call, reason, words, now)
            return
        self.lanes.detach(call)
        counts = call.rare.counts if self.counters.is_on else None
        if counts is None or call.generation <= self.closed_up_to:
            self._again(call, now, longest=_LONGEST_PROFILE_WAIT)
            return
        # It is held once more, so that it keeps its distance from what writes the profile.
        self.ledger.retried += 1
        self._wrote(call, now)
        if self.counters.merge(counts, first):
            self.bytes -= len(call.body)
            self.ledger.merge(call.generation)
        else:
            self.counters.hold(call, counts, now)

    def _settle_ambiguous(
        self, call: RenderedCall, outcome: Outcome, words: str, now: float
    ) -> None:
        if call.kind.at_most_once or not self._config.retry_ambiguous:
            self._drop(call, "unconfirmed", now)
            self._say(
                "unconfirmed",
                f"{words}. It may or may not have been stored, and is not sent "
                "again, since it must not count twice",
            )
            return
        if outcome.status is not None and outcome.status >= 500:
            trouble = call.own()
            if not trouble.server_errors:
                trouble.delivered_before = self.ledger.delivered
            trouble.server_errors += 1
            others = self.ledger.delivered > trouble.delivered_before
            if trouble.server_errors >= _MOST_SERVER_ERRORS and others:
                self._reject(call, "server_error", words, now)
                return
        self._again(call, now, at_once=outcome.stale)

    def _again(
        self,
        call: RenderedCall,
        now: float,
        longest: float | None = None,
        *,
        at_once: bool = False,
    ) -> None:
        if call.generation <= self.closed_up_to:
            self._drop(call, "closed", now)
            self._say("closed", f"the client was closed before {_name(call)} arrived: dropped")
            return
        self.ledger.retried += 1
        longest = min(longest or self._config.max_backoff, 2.0 ** min(call.attempts - 1, 30))
        self.lanes.again(call, now if at_once else now + backoff(longest))

    def _has_room(self, call: RenderedCall, now: float) -> bool:
        """Tell whether a new call may wait; make room for it if ``overflow`` says so."""
        limits = self._config
        while self.bytes + len(call.body) > limits.queue_max_bytes or (
            limits.overflow == "drop_oldest"
            and self.ledger.unsettled - len(self.out) > limits.queue_size
        ):
            oldest = self.lanes.evict() if limits.overflow == "drop_oldest" else None
            if oldest is None:
                return False
            self.bytes -= len(oldest.body)
            self._wrote(oldest, now)
            self._drop_new(oldest, "queue_full")
            self._say("queue_full", f"the queue is full: {_name(oldest)} was dropped")
        return True

    def _reject(self, call: RenderedCall, reason: str, words: str, now: float) -> None:
        self._finish(call, now)
        self.ledger.reject(call.generation, reason)
        self._lose(call, reason)
        hint = _HINTS.get(reason)
        text = words + (f"; {hint}" if hint else "")
        self._say(f"rejected {call.kind.type} {reason}", text)

    def _drop(self, call: RenderedCall, reason: str, now: float) -> None:
        """Drop a call that was taken."""
        self._finish(call, now)
        self._drop_new(call, reason)

    def _drop_new(self, call: RenderedCall, reason: str) -> None:
        """Drop a call that is in no line."""
        self.ledger.drop(call.generation, reason)
        self._lose(call, reason)

    def _lose(self, call: RenderedCall, reason: str) -> None:
        if self._config.on_drop is not None and len(self.lost) < MOST_LOST:
            self.lost.append((call.line, reason))

    def _finish(self, call: RenderedCall, now: float) -> None:
        """Let go of a call that was taken: what waited for it may go."""
        self.bytes -= len(call.body)
        self.lanes.answered(call)
        self._wrote(call, now)

    def _wrote(self, call: RenderedCall, now: float) -> None:
        if call.rare.writes is not None:
            self.counters.wrote(call.rare.writes, now)

    def _say(self, kind: str, text: str, *, once: bool = False) -> None:
        self._messages.append(Message(kind, text, once))


_NEVER = float("inf")
_AT_RISK = (
    "sent although the same profile was written not long ago: the program ends, and the server "
    "may lose one of the two"
)
_TURNED_AWAY = {
    "queue_full": "the queue is full ({} events)",
    "invalid": "an event could not be captured",
    "recursion": "an event was logged while a hook or a diagnosis of this package ran",
}


def _name(call: RenderedCall) -> str:
    return f"{call.label} (logged at {call.source})"


def _describe(call: RenderedCall, outcome: Outcome) -> str:
    verb = "refused" if outcome.verdict is Verdict.REJECTED else "did not take"
    return f"the server {verb} {_name(call)}: {_words(outcome)}"


def _words(outcome: Outcome) -> str:
    words = outcome.message or outcome.reason.replace("_", " ")
    return words if outcome.status is None else f"{words} ({outcome.status})"
