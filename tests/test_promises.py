"""Any sequence of calls, answers, failures, flushes and closes keeps the promises."""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from op_logging import Decrement, Group, Identify, Increment, Revenue, Track
from op_logging._calls import Call
from support.world import INTERVAL, REPLIES, Crowded, World


def test_a_barrier_that_made_room_for_another_holds_up_no_counter() -> None:
    """It was never sent, so nothing was written."""
    world = Crowded(INTERVAL, {"queue_size": 1, "overflow": "drop_oldest"})
    world.log(Identify("u1"))
    world.log(Track("seen"))
    world.log(Increment("u1", "visits"))
    assert dict(world.delivery.ledger.reasons) == {"queue_full": 2}
    world.finish()
    assert world.delivery.ledger.delivered == 1


def test_a_barrier_that_a_close_dropped_holds_up_no_counter() -> None:
    """What comes later is another life's, and safe as soon as the time has come."""
    world = World(INTERVAL)
    world.log(Identify("u1"))
    world.close()
    world.log(Increment("u1", "visits"))
    world.finish()
    world.check_the_end()
    assert world.delivery.ledger.delivered == 1


PROFILES = st.sampled_from(["u1", "u2"])
CALLS = st.one_of(
    st.builds(Track, st.just("seen"), profile_id=st.sampled_from(["u1", "u2", None])),
    st.builds(Identify, PROFILES),
    st.builds(Group, st.sampled_from(["g1", "u1"]), st.just("company"), st.just("Acme")),
    st.builds(Revenue, st.just(100), profile_id=PROFILES),
    st.builds(Increment, PROFILES, st.sampled_from("ab"), st.integers(1, 3)),
    st.builds(Decrement, PROFILES, st.sampled_from("ab"), st.integers(1, 3)),
)
Step = Callable[[World], object]


def _log(call: Call) -> Step:
    return lambda world: world.log(call)


def _enqueue(call: Call) -> Step:
    return lambda world: world.enqueue(call)


def _reply(name: str, which: int) -> Step:
    return lambda world: world.reply(REPLIES[name], which)


def _wait(seconds: float) -> Step:
    return lambda world: world.wait(seconds)


STEPS = st.lists(
    st.one_of(
        CALLS.map(_log),
        CALLS.map(_log),
        CALLS.map(_enqueue),
        st.just(World.send),
        st.just(World.send),
        st.builds(_reply, st.just("ok"), st.integers(0, 9)),
        st.builds(_reply, st.sampled_from(sorted(REPLIES)), st.integers(0, 9)),
        st.sampled_from([0.1, 1.0, 5.0, 12.0, 70.0]).map(_wait),
        st.just(World.flush),
        st.just(World.leave),
        st.just(lambda world: world.leave(force=True)),
        st.just(World.close),
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(steps=STEPS, interval=st.sampled_from([0.0, INTERVAL]), narrow=st.booleans())
def test_any_sequence_keeps_the_promises(steps: list[Step], interval: float, narrow: bool) -> None:
    """Order, at least once or at most once, sums that add up, and books that do at every step."""
    world = World(interval, {"max_connections": 1 if narrow else 16})
    for step in steps:
        step(world)
    world.finish()
    world.check_the_end()


@settings(max_examples=100)
@given(
    steps=STEPS,
    overflow=st.sampled_from(["drop_newest", "drop_oldest"]),
    interval=st.sampled_from([0.0, INTERVAL]),
)
def test_a_queue_that_is_full_keeps_the_books(
    steps: list[Step], overflow: str, interval: float
) -> None:
    """What goes is counted, holds up nobody, and no more waits than there is room for."""
    options = {"queue_size": 3, "queue_max_bytes": 1_024, "overflow": overflow}
    world = Crowded(interval, options)
    for step in steps:
        step(world)
    world.finish()
    assert world.delivery.bytes == 0
    assert world.delivery.counters.next_leave == math.inf
