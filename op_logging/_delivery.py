"""What happens to a call: the one place where outcomes become decisions.

    WAITING ---- take ----> OUT ---- settle ----> DELIVERED | REJECTED | DROPPED
       ^                     |
       +------- again -------+   (retry, with the shared back-off)

No threads, no clock, no network: moments and outcomes are handed in; what is to be said is noted,
for the engine to say when it has let go of its lock.
Not thread-safe by itself: only the client uses it, under the client's lock.
"""

from __future__ import annotations

import time
from collections import deque

from ._config import OpenPanelConfig
from ._diagnostics import Message
from ._lanes import Lanes
from ._ledger import Ledger
from ._outcomes import Outcome, Verdict
from ._pace import Pace, PaceState, backoff
from ._rendered import RenderedCall

__all__ = ["Delivery"]

_UNKNOWN_PROFILE_PATIENCE = 60.0
"""Seconds in which the server may learn of a profile; it writes its profiles every 10 s."""
_MOST_SERVER_ERRORS = 5
"""5xx answers after which a call that fails while others get through is its own fault."""
_LONGEST_PROFILE_WAIT = 10.0
_TURNED_AWAY = {
    "queue_full": "the queue is full ({} events)",
    "invalid": "an event could not be captured",
    "recursion": "an event was logged while a diagnosis of this package was shown",
}
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
    """

    def __init__(self, config: OpenPanelConfig) -> None:
        self.ledger = Ledger()
        self.lanes = Lanes()
        self.pace = Pace(config.max_backoff, config.max_connections)
        self.out: set[RenderedCall] = set()
        self.answer_time = 0.0
        self._messages: list[Message] = []
        self._closed_up_to = -1
        self._config = config
        self._host = config.api_url
        self._lost_before = 0

    def line_up(self, call: RenderedCall) -> None:
        """Put a new call in line, unless the client was closed since it was logged."""
        if call.generation <= self._closed_up_to:
            self.ledger.drop(call.generation, "closed")
        else:
            self.lanes.add(call)

    def take(self, now: float) -> RenderedCall | None:
        """Take the next call that may leave at ``now``; `settle` must follow."""
        self.lanes.wake(now)
        while self.pace.room(now, len(self.out)):
            call = self.lanes.take(probe=self.pace.state is not PaceState.OPEN)
            if call is None:
                return None
            if time.time() - call.created > self._config.max_age:
                self._drop(call, "expired")
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
        if self.pace.state is PaceState.PROBING:
            return None
        due = self.lanes.next_due
        if self.pace.state is PaceState.OPEN:
            return due
        if self.lanes.ready:
            return self.pace.opens_at
        return None if due is None else max(due, self.pace.opens_at)

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
            self.lanes.answered(call)
            self.ledger.deliver(call.generation)
            return
        self.ledger.last_error = _describe(call, outcome)
        if outcome.verdict is Verdict.REJECTED:
            self._reject(call, outcome.reason, outcome)
        elif outcome.verdict is Verdict.UNKNOWN_PROFILE:
            self._settle_unknown_profile(call, outcome, now)
        elif outcome.verdict is Verdict.AMBIGUOUS:
            self._settle_ambiguous(call, outcome, now)
        else:
            self._again(call, now)

    def close(self, queued: list[int], up_to: int) -> None:
        """Drop what waits, up to a generation: calls, and events from the queue.

        What is out is settled by its answer; what would have to be sent again then is dropped.

        Args:
            queued: The generations of those events.
            up_to: The generation.
        """
        self._closed_up_to = max(self._closed_up_to, up_to)
        self.ledger.take(queued)
        gone = queued + [call.generation for call in self.lanes.withdraw(up_to)]
        for generation in gone:
            self.ledger.drop(generation, "closed")
        if gone:
            text = f"the client was closed before {len(gone)} events were delivered: dropped"
            self._say("closed", text)

    def enter_turned_away(self, turned_away: deque[tuple[str, str]]) -> None:
        """Count the events that did not come in, by reason and source, and say so."""
        sources: dict[str, str] = {}
        while turned_away:
            reason, source = turned_away.popleft()
            self.ledger.turn_away(reason)
            sources[reason] = source
        for reason, source in sources.items():
            words = _TURNED_AWAY[reason].format(self._config.queue_size)
            dropped = self.ledger.reasons[reason]
            text = f"{words}: {dropped} events were dropped so far, the last one at {source}"
            self._say(reason, text)

    def messages(self) -> list[Message]:
        """Return what is to be said, once."""
        messages, self._messages = self._messages, []
        return messages

    def oldest(self) -> float | None:
        """Return when the oldest unsettled call was logged, in seconds since the epoch."""
        created = [call.created for call in self.lanes]
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
                lost = self.ledger.lost - self._lost_before
                self._say(
                    "outage over",
                    f"{self._host} takes events again after {now - since:.1f} s: "
                    f"{self.lanes.waiting} waited, {lost} were lost meanwhile",
                    once=True,
                )
            return
        pace.failed(now, call.started, outcome.retry_after)
        if pace.told or (pace.failures < 2 and verdict is not Verdict.PAUSED):
            return
        pace.told = True
        self._lost_before = self.ledger.lost
        hint = _HINTS.get(outcome.reason)
        self._say(
            "outage",
            f"{self._host} takes no events: {_words(outcome)}. They wait in memory (at most "
            f"{self._config.queue_size}) and are tried again" + (f"; {hint}" if hint else ""),
            once=True,
        )

    def _settle_unknown_profile(self, call: RenderedCall, outcome: Outcome, now: float) -> None:
        if not call.first_unknown:
            call.first_unknown = now
            self.lanes.detach(call)
        if not call.counter or now - call.first_unknown >= _UNKNOWN_PROFILE_PATIENCE:
            self._reject(call, outcome.reason, outcome)
            return
        self._again(call, now, longest=_LONGEST_PROFILE_WAIT)

    def _settle_ambiguous(self, call: RenderedCall, outcome: Outcome, now: float) -> None:
        if call.at_most_once or not self._config.retry_ambiguous:
            self._drop(call, "unconfirmed")
            self._say(
                "unconfirmed",
                f"{_describe(call, outcome)}. It may or may not have been stored, and is not sent "
                "again, since it must not count twice",
            )
            return
        if outcome.status is not None and outcome.status >= 500:
            if not call.server_errors:
                call.delivered_before = self.ledger.delivered
            call.server_errors += 1
            others = self.ledger.delivered > call.delivered_before
            if call.server_errors >= _MOST_SERVER_ERRORS and others:
                self._reject(call, "server_error", outcome)
                return
        self._again(call, now)

    def _again(self, call: RenderedCall, now: float, longest: float | None = None) -> None:
        if call.generation <= self._closed_up_to:
            self._drop(call, "closed")
            self._say(
                "closed", f"the client was closed before {_name(call)} was delivered: dropped"
            )
            return
        self.ledger.retried += 1
        longest = min(longest or self._config.max_backoff, 2.0 ** min(call.attempts - 1, 30))
        self.lanes.again(call, now + backoff(longest))

    def _reject(self, call: RenderedCall, reason: str, outcome: Outcome) -> None:
        self.lanes.answered(call)
        self.ledger.reject(call.generation, reason)
        hint = _HINTS.get(reason)
        text = _describe(call, outcome) + (f"; {hint}" if hint else "")
        self._say(f"rejected {call.type} {reason}", text)

    def _drop(self, call: RenderedCall, reason: str) -> None:
        self.lanes.answered(call)
        self.ledger.drop(call.generation, reason)

    def _say(self, kind: str, text: str, *, once: bool = False) -> None:
        self._messages.append(Message(kind, text, once))


def _name(call: RenderedCall) -> str:
    return f"{call.label} (logged at {call.source})"


def _describe(call: RenderedCall, outcome: Outcome) -> str:
    verb = "refused" if outcome.verdict is Verdict.REJECTED else "did not take"
    return f"the server {verb} {_name(call)}: {_words(outcome)}"


def _words(outcome: Outcome) -> str:
    words = outcome.message or outcome.reason.replace("_", " ")
    return words if outcome.status is None else f"{words} ({outcome.status})"
