"""Where outcomes become decisions: without threads, clock or network."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from op_logging import OpenPanelConfig
from op_logging._delivery import Delivery
from op_logging._outcomes import Outcome, Verdict
from op_logging._pace import PaceState
from op_logging._rendered import RenderedCall
from support.calls import Named, counter
from support.clients import assert_adds_up

DELIVERED = Outcome(Verdict.DELIVERED, status=200)
UNKNOWN = Outcome(Verdict.UNKNOWN_PROFILE, "unknown_profile", "Profile not found", 404)
BROKEN = Outcome(Verdict.AMBIGUOUS, "http_500", "Internal server error", 500)
LOST = Outcome(Verdict.AMBIGUOUS, "connection_lost", "reset")
BUSY = Outcome(Verdict.NOT_PROCESSED, "http_429", "Too Many Requests", 429, retry_after=3.0)
BAD = Outcome(Verdict.REJECTED, "bad_request", "no", 400)
LOCKED_OUT = Outcome(Verdict.PAUSED, "credentials", "Ingestion: Invalid client id", 401)


class Desk:
    """A delivery with a clock that the test moves."""

    def __init__(self, **options: Any) -> None:
        self.delivery = Delivery(OpenPanelConfig(client_id="x", **options))
        self.now = 1000.0
        self.generation = 0

    def add(self, label: str, profile: str | None = "u1", **options: bool) -> RenderedCall:
        """Put a call in line."""
        call = Named(label, profile, **options)
        call.generation = self.generation
        self.delivery.ledger.take([self.generation])
        self.delivery.line_up(call, self.now)
        return call

    def take(self) -> RenderedCall | None:
        """Take the next call, as soon as one may leave; None if that will never be."""
        while True:
            until = self.delivery.wait_until()
            if until is not None:
                self.now = max(self.now, until)
                self.delivery.let_counters_leave(self.now)
            call = self.delivery.take(self.now)
            if call is not None or until is None:
                return call

    def settle(self, call: RenderedCall, outcome: Outcome) -> list[str]:
        """Settle a call half a second later; return what is to be said."""
        self.now += 0.5
        self.delivery.settle(call, outcome, self.now)
        self.check()
        return [message.text for message in self.delivery.messages()]

    def check(self) -> None:
        """Check that the books are in order."""
        ledger, out = self.delivery.ledger, len(self.delivery.out)
        waiting = self.delivery.lanes.waiting + len(self.delivery.counters)
        assert ledger.unsettled == waiting + out
        assert_adds_up(ledger.snapshot(0, out, 0.0))


def test_a_counter_waits_for_its_profile_for_a_minute_and_is_then_refused() -> None:
    """The server learns of a profile within seconds, or never."""
    desk = Desk()
    desk.add("increment visits", counter=True, at_most_once=True)
    said: list[str] = []
    began = desk.now
    while (call := desk.take()) is not None:
        said += desk.settle(call, UNKNOWN)
    assert 60 <= desk.now - began < 80
    assert len(said) == 1
    assert "Profile not found" in said[0]
    assert dict(desk.delivery.ledger.reasons) == {"unknown_profile": 1}


def test_an_unknown_profile_is_no_reason_to_slow_down() -> None:
    """The server answered."""
    desk = Desk()
    desk.add("increment", counter=True)
    call = desk.take()
    assert call is not None
    desk.settle(call, UNKNOWN)
    assert desk.delivery.pace.state is PaceState.OPEN


def test_a_404_like_a_counters_on_another_call_is_refused_at_once() -> None:
    """Only counters wait for their profile."""
    desk = Desk()
    desk.add("track")
    call = desk.take()
    assert call is not None
    assert desk.settle(call, UNKNOWN)
    assert desk.delivery.ledger.rejected == 1


def test_wrong_credentials_are_said_at_once_and_other_outages_at_the_second_failure() -> None:
    """One lost connection is no outage."""
    for outcome, said in ((LOCKED_OUT, [True, False, False]), (LOST, [False, True, False])):
        desk = Desk()
        desk.add("a")
        found = []
        for _ in said:
            call = desk.take()
            assert call is not None
            found.append(any("takes no events" in text for text in desk.settle(call, outcome)))
        assert found == said


def test_a_probe_does_not_risk_revenue_while_something_else_can_be_sent() -> None:
    """It would be lost with the probe's answer."""
    desk = Desk()
    desk.add("revenue", at_most_once=True, profile=None)
    first = desk.take()
    assert first is not None
    desk.settle(first, BUSY)
    desk.add("track", profile=None)
    probe = desk.take()
    assert probe is not None
    assert probe.label == "track"


def test_nothing_is_sent_while_a_probe_is_out() -> None:
    """And there is no moment to wait for but its answer."""
    desk = Desk()
    for label in "abc":
        desk.add(label)
    call = desk.take()
    assert call is not None
    desk.settle(call, BUSY)
    assert desk.take() is not None
    assert desk.delivery.take(desk.now + 1000) is None
    assert desk.delivery.wait_until() is None


def test_a_barrier_that_is_refused_lets_the_others_go_on() -> None:
    """A refusal is an answer."""
    desk = Desk()
    desk.add("identify", barrier=True)
    desk.add("track")
    identify = desk.take()
    assert identify is not None
    assert desk.take() is None
    desk.settle(identify, BAD)
    track = desk.take()
    assert track is not None
    assert track.label == "track"


OUTCOMES = st.sampled_from([DELIVERED, UNKNOWN, BROKEN, LOST, BUSY, BAD, LOCKED_OUT])
CALLS = st.lists(
    st.tuples(
        st.sampled_from(["u1", "u2", None]), st.sampled_from(["track", "barrier", "counter"])
    ),
    min_size=1,
    max_size=15,
)


@given(calls=CALLS, outcomes=st.lists(OUTCOMES, max_size=80), choices=st.lists(st.integers(0, 9)))
def test_any_answers_keep_the_promises(
    calls: list[tuple[str | None, str]], outcomes: list[Outcome], choices: list[int]
) -> None:
    """Sums add up; what may be doubled is sent until it is settled, the rest at most once."""
    desk = Desk()
    for number, (profile, kind) in enumerate(calls):
        is_counter = kind == "counter" and profile is not None
        desk.add(
            str(number),
            profile,
            barrier=kind == "barrier" and profile is not None,
            at_most_once=is_counter,
            counter=is_counter,
        )
    script, picks = iter(outcomes), iter(choices)
    uncertain: set[str] = set()
    out: list[RenderedCall] = []
    for _ in range(2_000):
        call = desk.take() if next(picks, 0) < 5 or not out else None
        if call is not None:
            assert call.label not in uncertain, "sent again although it may have been stored"
            out.append(call)
            continue
        if not out:
            break
        call = out.pop(next(picks, 0) % len(out))
        outcome = next(script, DELIVERED)
        if call.kind.at_most_once and outcome.verdict is Verdict.AMBIGUOUS:
            uncertain.add(call.label)
        desk.settle(call, outcome)
    assert desk.delivery.ledger.unsettled == 0
    reasons = set(desk.delivery.ledger.reasons)
    assert reasons <= {"bad_request", "unconfirmed", "unknown_profile", "server_error"}


def test_waiting_ends_when_all_that_came_before_is_settled() -> None:
    """What comes later does not count, nor what is dropped at the door."""
    desk = Desk()
    ledger = desk.delivery.ledger
    desk.add("before")
    desk.generation = 1
    desk.add("after")
    ledger.turn_away("queue_full")
    assert not ledger.is_settled(0)
    for settled in ([True, False], [True, True]):
        call = desk.take()
        assert call is not None
        desk.settle(call, DELIVERED)
        assert [ledger.is_settled(0), ledger.is_settled(1)] == settled


def test_what_is_out_when_the_client_is_closed_is_not_sent_again() -> None:
    """It is dropped and said; what came later goes on."""
    desk = Desk()
    desk.add("out")
    out = desk.take()
    assert out is not None
    desk.delivery.close([], 0, desk.now)
    desk.generation = 1
    desk.add("later")
    said = desk.settle(out, BUSY)
    assert dict(desk.delivery.ledger.reasons) == {"closed": 1}
    assert "closed before out" in said[-1]
    later = desk.take()
    assert later is not None
    assert later.label == "later"


def test_a_counter_whose_profile_is_unknown_keeps_its_distance_from_what_writes_it() -> None:
    """It is held once more: an identify that came meanwhile would be undone."""
    desk = Desk(counter_interval=12.0)
    first = counter(5)
    desk.delivery.ledger.take([0])
    desk.delivery.line_up(first, desk.now)
    taken = desk.take()
    assert taken is first
    desk.settle(taken, UNKNOWN)
    settled = desk.now
    identify = desk.add("identify", barrier=True)
    assert desk.delivery.take(desk.now) is identify
    desk.settle(identify, DELIVERED)
    answered = desk.now
    desk.delivery.ledger.take([0])
    desk.delivery.line_up(counter(2), desk.now)
    again = desk.take()
    assert again is not None
    assert json.loads(again.body)["payload"]["value"] == 7
    assert desk.now >= max(settled, answered) + 12.0
    while again is not None:  # and the minute counts from the first time on
        desk.settle(again, UNKNOWN)
        assert desk.now < settled + 60.0 + 2 * 12.5
        again = desk.take()
    assert dict(desk.delivery.ledger.reasons) == {"unknown_profile": 1}


def test_a_connection_that_had_ended_is_no_outage() -> None:
    """Its call goes again at once; one that must not count twice is lost, and that is all."""
    desk = Desk()
    stale = LOST._replace(stale=True)
    for number in range(5):
        desk.add(str(number), None)
    calls = [desk.delivery.take(desk.now) for _ in range(5)]
    for one in calls:
        assert one is not None
        assert desk.settle(one, stale) == []
    assert desk.delivery.pace.state is PaceState.OPEN
    again = [desk.delivery.take(desk.now) for _ in range(5)]
    assert set(again) == set(calls)
    desk.add("money", None, at_most_once=True)
    money = desk.delivery.take(desk.now)
    assert money is not None
    assert len(desk.settle(money, stale)) == 1
    assert dict(desk.delivery.ledger.reasons) == {"unconfirmed": 1}


def test_what_was_lost_meanwhile_is_all_that_was_and_no_more() -> None:
    """From the first failure on, and without what a hook dropped on purpose."""
    desk = Desk()
    ledger = desk.delivery.ledger
    for number in range(4):
        desk.add(str(number), None, at_most_once=True)
    for _ in range(3):
        money = desk.take()
        assert money is not None
        desk.settle(money, LOST)
        ledger.take([0])
        ledger.drop(0, "before_send")
    last = desk.take()
    assert last is not None
    (over,) = [text for text in desk.settle(last, DELIVERED) if "again" in text]
    assert "3 were lost meanwhile" in over


def test_a_server_that_flaps_is_not_said_to_each_time() -> None:
    """Less than a minute after an outage it takes a longer one to be said."""
    desk = Desk(max_backoff=1.0)
    said = []
    for _ in range(10):
        for outcome in (BROKEN, BROKEN, DELIVERED):
            if desk.delivery.lanes.waiting == 0:
                desk.add("event", None)
            call = desk.take()
            assert call is not None
            said += desk.settle(call, outcome)
    assert len([text for text in said if "takes no events" in text]) == 1
    for _ in range(7):
        desk.add("event", None)
        call = desk.take()
        assert call is not None
        said += desk.settle(call, BUSY)
    assert len([text for text in said if "takes no events" in text]) == 2


def test_the_age_of_an_event_counts_from_when_it_came_in() -> None:
    """A record that was logged long ago, and is handed over now, is not too old to be tried."""
    desk = Desk(max_age=5.0)
    call = Named("replayed", None)
    call.created -= 3600.0
    desk.delivery.ledger.take([0])
    desk.delivery.line_up(call, desk.now)
    assert desk.delivery.take(desk.now) is call


def test_a_sum_that_a_close_drops_is_told_with_all_that_it_stands_for() -> None:
    """Whoever hears of the loss wants the sum, not what it began with."""
    desk = Desk(counter_interval=12.0, on_drop=print)
    desk.delivery.ledger.take([0] * 5)
    for _ in range(5):
        desk.delivery.line_up(counter(2), desk.now)
    desk.delivery.close([], 0, desk.now)
    ((line, reason),) = desk.delivery.lost
    assert (line["payload"]["value"], reason) == (10, "closed")
