"""A client without threads, clock and network, a model of its server, and what must hold.

The server stores what it takes, and may store what it does not answer.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from op_logging import Decrement, Group, Identify, Increment, OpenPanelConfig, Revenue
from op_logging._calls import Call
from op_logging._capture import freeze_event
from op_logging._delivery import Delivery
from op_logging._ledger import Wait
from op_logging._outcomes import Outcome, Verdict, read_answer
from op_logging._render import build, to_rendered
from op_logging._rendered import Captured, RenderedCall

from .clients import assert_adds_up

INTERVAL = 12.0
LOST = Outcome(Verdict.AMBIGUOUS, "connection_lost", "reset")
UNSENT = Outcome(Verdict.NOT_PROCESSED, "connect", "refused")
UNKNOWN = b'{"status":404,"message":"Profile not found"}'


def answer(status: int, body: bytes = b"", wait: str = "") -> Outcome:
    """Return what an answer means."""
    return read_answer(status, {"retry-after": wait}, body)


@dataclass
class Reply:
    """What the model's server does with a call.

    Attributes:
        outcome: What the client learns.
        is_stored: Whether the call counts.
    """

    outcome: Outcome
    is_stored: bool = False


REPLIES = {
    "ok": Reply(answer(200), is_stored=True),
    "bad": Reply(answer(400)),
    "busy": Reply(answer(503)),
    "slow down": Reply(answer(429, wait="3")),
    "locked out": Reply(answer(401, b"Ingestion: Invalid client id")),
    "moved": Reply(answer(301)),
    "unsent": Reply(UNSENT),
    "broken": Reply(answer(500)),
    "broken but stored": Reply(answer(502), is_stored=True),
    "lost": Reply(LOST),
    "lost but stored": Reply(LOST, is_stored=True),
    "unknown": Reply(answer(404, UNKNOWN)),
}
PATIENCE = 60.0
MOST_ERRORS = 5
FINAL = frozenset({Verdict.DELIVERED, Verdict.REJECTED})


@dataclass
class Logged:
    """What the model knows of a call that was logged.

    Attributes:
        number: When it was logged.
        call: What was logged.
        times: How often the server stored it.
        is_over: Whether it left the books: it was answered for good, or given up.
        is_merged: Whether it is part of another's sum.
    """

    number: int
    call: Call
    times: int = 0
    is_over: bool = False
    is_merged: bool = False

    @property
    def order(self) -> str | None:
        """What its order is kept by."""
        profile = getattr(self.call, "profile_id", None)
        return profile or (f"group {self.call.id}" if isinstance(self.call, Group) else None)

    @property
    def is_barrier(self) -> bool:
        """Whether the calls around it may not overtake it."""
        return isinstance(self.call, (Identify, Group))

    @property
    def is_counter(self) -> bool:
        """Whether it is summed."""
        return isinstance(self.call, (Increment, Decrement))

    @property
    def is_at_most_once(self) -> bool:
        """Whether it must not be stored twice."""
        return self.is_counter or isinstance(self.call, Revenue)


@dataclass
class World:
    """A client without threads, and its server."""

    interval: float = INTERVAL
    options: dict[str, Any] = field(default_factory=dict)
    now: float = 1_000.0

    def __post_init__(self) -> None:
        config = OpenPanelConfig(client_id="x", counter_interval=self.interval, **self.options)
        self.delivery = Delivery(config)
        self.generation = 0
        self.logged: dict[int, Logged] = {}
        self.out: list[RenderedCall] = []
        self.waits: list[Wait] = []
        self.wanted: Counter[tuple[str, str]] = Counter()
        self.stored: Counter[tuple[str, str]] = Counter()
        self.answered: dict[str, float] = {}
        self.uncertain: set[int] = set()
        self.gone: set[int] = set()
        self.queue: list[RenderedCall] = []
        self.risky: set[int] = set()

    # What a test may do.

    def enqueue(self, call: Call) -> None:
        """Log a call."""
        number = len(self.logged) + 1
        data: Captured = (freeze_event(call), {}, time.time(), ("app.py", number))
        rendered = to_rendered(build(data[0], (), {}, data[2]), data, self.generation)
        self.logged[number] = Logged(number, call)
        self.queue.append(rendered)
        self.check()

    def log(self, call: Call) -> None:
        """Log a call, and let the sender take what there is."""
        self.enqueue(call)
        self.line_up()

    def line_up(self) -> None:
        """Let the sender take what was logged."""
        queue, self.queue = self.queue, []
        ledger = self.delivery.ledger
        ledger.take(call.generation for call in queue)
        for call in queue:
            merged = ledger.merged
            self.delivery.line_up(call, self.now)
            known = self.logged[_number(call)]
            if ledger.merged > merged:
                known.is_merged = known.is_over = True
            if known.is_counter and self.interval:
                self.wanted[_counted(call)] += _amount(call)
        self.check()

    def flush(self) -> None:
        """Begin to wait for what is there."""
        self.waits.append(self.delivery.ledger.expect(self.generation))
        self.generation += 1
        self.leave()

    def close(self) -> None:
        """Drop what waits, as a close does at the end of its time."""
        ledger = self.delivery.ledger
        dropped = ledger.dropped
        for call in (*self.delivery.lanes, *self.delivery.counters):
            self._over(call)
            self.gone.add(_number(call))
            if call.rare.counts is not None and self.interval:
                self._forget(call)
        for call in self.queue:
            self.gone.add(_number(call))
            self.logged[_number(call)].is_over = True
        self.delivery.close([call.generation for call in self.queue], self.generation, self.now)
        self.queue.clear()
        self.generation += 1
        assert ledger.reasons["closed"] >= ledger.dropped - dropped
        assert self.delivery.lanes.waiting == len(self.delivery.counters) == 0
        self.check()

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds
        self.leave()

    def leave(self, *, force: bool = False) -> None:
        """Let sums leave."""
        risky = self.delivery.ledger.reasons["counter_at_risk"]
        self.delivery.let_counters_leave(self.now, hurry=bool(self.waits), force=force)
        assert force or self.delivery.ledger.reasons["counter_at_risk"] == risky
        if force:
            self.risky |= {id(call) for call in self.delivery.lanes if call.rare.counts is not None}
        self.check()

    def send(self) -> bool:
        """Take a call, as a lane does; check that it may leave."""
        call = self.delivery.take(self.now)
        if call is None:
            return False
        known = self.logged[_number(call)]
        assert not known.is_over
        assert known.number not in self.uncertain, "sent again though it may have been stored"
        if call.rare.counts is None or not self.interval:
            self._check_order(known)
        elif id(call) not in self.risky and call.attempts == 1:
            at = self.answered.get(call.rare.counts.profile, -math.inf)
            assert self.now >= at + self.interval, "a profile was written too soon"
        self.out.append(call)
        self.check()
        return True

    def reply(self, reply: Reply, which: int = 0) -> None:
        """Answer one of the calls that are out."""
        if not self.out:
            return
        call = self.out.pop(which % len(self.out))
        known = self.logged[_number(call)]
        outcome = reply.outcome
        if outcome.verdict is Verdict.UNKNOWN_PROFILE and not known.is_counter:
            outcome = LOST
        self.now += 0.3
        if reply.is_stored:
            known.times += 1
            if call.rare.counts is not None and self.interval:
                self.stored[_counted(call)] += _amount(call)
        gone = self.delivery.ledger.rejected + self.delivery.ledger.dropped
        self.delivery.settle(call, outcome, self.now)
        is_gone = self.delivery.ledger.rejected + self.delivery.ledger.dropped > gone
        if outcome.verdict is Verdict.AMBIGUOUS and known.is_at_most_once:
            self.uncertain.add(known.number)
            assert is_gone
        if is_gone and not reply.is_stored and call.rare.counts is not None and self.interval:
            self._forget(call)
        if is_gone:
            self.gone.add(known.number)
            assert self._may_go(call, known, outcome), f"{known} was given up for {outcome}"
        if is_gone or outcome.verdict in FINAL:
            self._over(call)
        self.check()

    def finish(self) -> None:
        """Let the server take everything, until nothing is left."""
        self.line_up()
        for _ in range(10_000):
            if self.send():
                continue
            if self.out:
                self.reply(REPLIES["ok"])
                continue
            until = self.delivery.wait_until()
            if until is None:
                break
            self.now = max(self.now, until)
            self.leave()
        assert self.delivery.ledger.unsettled == 0
        self.check()

    # What must hold.

    def check(self) -> None:
        """Check the books, at every step."""
        delivery, ledger = self.delivery, self.delivery.ledger
        held, out = len(delivery.counters), len(delivery.out)
        assert out == len(self.out)
        assert ledger.unsettled == delivery.lanes.waiting + out + held
        assert ledger.taken == len(self.logged) - len(self.queue)
        stats = ledger.snapshot(len(self.queue), out, 0.0, held)
        assert_adds_up(stats)
        assert stats.accepted == len(self.logged)
        calls = (*delivery.lanes, *delivery.counters, *delivery.out)
        assert delivery.bytes == sum(len(call.body) for call in calls)
        for known in self.logged.values():
            assert known.times <= 1 or not known.is_at_most_once, "stored twice"

    def check_the_end(self) -> None:
        """Check what came of it all."""
        ledger = self.delivery.ledger
        assert {key: value for key, value in self.wanted.items() if value} == {
            key: value for key, value in self.stored.items() if value
        }
        assert self.delivery.counters.next_leave == math.inf
        for wait in self.waits:
            assert ledger.is_settled(wait.up_to)
        gone = ledger.rejected + ledger.dropped
        assert ledger.delivered + ledger.merged + gone == len(self.logged)
        for known in self.logged.values():
            if not known.is_counter:
                assert known.times or known.number in self.gone, f"{known} was lost"

    def _may_go(self, call: RenderedCall, known: Logged, outcome: Outcome) -> bool:
        """Tell whether a call may be given up for what happened to it."""
        if outcome.verdict is Verdict.REJECTED or call.generation <= self.delivery.closed_up_to:
            return True
        if outcome.verdict is Verdict.UNKNOWN_PROFILE:
            first = call.rare.first_unknown or self.now
            return self.now - first >= PATIENCE
        if outcome.verdict is not Verdict.AMBIGUOUS:
            return False
        errors = call.rare.server_errors
        return known.is_at_most_once or (
            errors >= MOST_ERRORS and self.delivery.ledger.delivered > 0
        )

    def _check_order(self, known: Logged) -> None:
        """Check that nothing that must be over first is not, and nothing overtook it."""
        if known.order is None:
            return
        for other in self.logged.values():
            if other.order != known.order or other.number == known.number:
                continue
            if other.is_counter and (self.interval or self._is_detached(other)):
                continue
            if other.number < known.number and (other.is_barrier or known.is_barrier):
                assert other.is_over, f"{known} left before the answer to {other}"

    def _is_detached(self, other: Logged) -> bool:
        """Tell whether it waits for a profile that the server does not know, and holds up none."""
        waiting = (*self.delivery.lanes, *self.out)
        return any(_number(call) == other.number and call.rare.first_unknown for call in waiting)

    def _over(self, call: RenderedCall) -> None:
        self.logged[_number(call)].is_over = True
        if not call.attempts:
            return
        if call.rare.writes is not None:
            self.answered[call.rare.writes] = self.now

    def _forget(self, call: RenderedCall) -> None:
        """Note that a sum is lost: what it comes to is not to be expected."""
        sums = self.delivery.counters._profiles
        assert call.rare.counts is not None
        profile = sums.get(call.rare.counts.profile)
        held = None if profile is None else profile.sums.get(call.rare.counts.property)
        is_held = held is not None and held.first is call
        amount = held.amount if held is not None and is_held else call.rare.counts.amount
        self.wanted[_counted(call)] -= int(amount)


def _number(call: RenderedCall) -> int:
    return int(call.place[1])


def _counted(call: RenderedCall) -> tuple[str, str]:
    payload = json.loads(call.body)["payload"]
    return payload["profileId"], payload["property"]


def _amount(call: RenderedCall) -> int:
    """Return what the body says, as the server reads it."""
    body = json.loads(call.body)
    amount = int(body["payload"].get("value", 1))
    return amount if body["type"] == "increment" else -amount


class Crowded(World):
    """A world in which calls go without a word: the order and the books must hold all the same."""

    def line_up(self) -> None:
        """Let the sender take what was logged; find out what had to go for it."""
        super().line_up()
        delivery = self.delivery
        waiting = {_number(one) for one in (*delivery.lanes, *delivery.counters, *delivery.out)}
        for known in self.logged.values():
            known.is_over = known.is_over or known.number not in waiting
        assert delivery.bytes <= 1_024
