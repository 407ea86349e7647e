"""The order in which calls may leave."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from op_logging._lanes import Lanes
from op_logging._rendered import RenderedCall
from support.calls import Named, counter


def call(
    name: str, profile: str | None = "u1", *, attempts: int = 0, **options: bool
) -> RenderedCall:
    """Return a call that stands for itself."""
    made = Named(name, profile, **options)
    made.attempts = attempts
    return made


def take_all(lanes: Lanes) -> list[RenderedCall]:
    """Take all calls that may leave now."""
    taken = []
    while (one := lanes.take()) is not None:
        taken.append(one)
    return taken


def labels(calls: list[RenderedCall]) -> list[str]:
    """Return the names of calls."""
    return [each.label for each in calls]


def test_track_calls_of_one_profile_go_side_by_side() -> None:
    """A busy profile is not slowed down to one call a round trip."""
    lanes = Lanes()
    for name in "abc":
        lanes.add(call(name))
    assert labels(take_all(lanes)) == ["a", "b", "c"]


def test_a_barrier_waits_for_the_answers_to_what_came_before() -> None:
    """It leaves after the last answer, not after the last departure."""
    lanes = Lanes()
    lanes.add(call("a"))
    lanes.add(call("b"))
    lanes.add(call("identify", barrier=True))
    a, b = take_all(lanes)
    lanes.answered(a)
    assert take_all(lanes) == []
    lanes.answered(b)
    assert labels(take_all(lanes)) == ["identify"]


def test_what_comes_after_a_barrier_waits_for_its_answer() -> None:
    """All of it is let go at once then, up to the next barrier."""
    lanes = Lanes()
    lanes.add(call("first", barrier=True))
    for name in "ab":
        lanes.add(call(name))
    lanes.add(call("second", barrier=True))
    lanes.add(call("c"))
    (first,) = take_all(lanes)
    assert lanes.waiting == 4
    lanes.answered(first)
    a, b = take_all(lanes)
    assert labels([a, b]) == ["a", "b"]
    lanes.answered(a)
    lanes.answered(b)
    (second,) = take_all(lanes)
    lanes.answered(second)
    assert labels(take_all(lanes)) == ["c"]


def test_a_barrier_of_one_profile_does_not_hold_up_another() -> None:
    """Only the profile's own calls wait; calls without a profile wait for nobody."""
    lanes = Lanes()
    lanes.add(call("identify u1", barrier=True))
    lanes.add(call("track u1"))
    lanes.add(call("track u2", profile="u2"))
    lanes.add(call("anonymous", profile=None))
    assert labels(take_all(lanes)) == ["identify u1", "track u2", "anonymous"]


def test_a_call_that_is_sent_again_still_holds_the_barrier_behind_it() -> None:
    """A retry is no answer."""
    lanes = Lanes()
    lanes.add(call("a"))
    lanes.add(call("identify", barrier=True))
    (a,) = take_all(lanes)
    lanes.again(a, due=10.0)
    assert lanes.next_due == 10.0
    lanes.wake(9.9)
    assert take_all(lanes) == []
    lanes.wake(10.0)
    assert take_all(lanes) == [a]
    lanes.answered(a)
    assert labels(take_all(lanes)) == ["identify"]


def test_a_detached_call_holds_up_nobody() -> None:
    """A counter that waits for its profile lets the profile's other calls go on."""
    lanes = Lanes()
    lanes.add(call("counter"))
    lanes.add(call("identify", barrier=True))
    (counter,) = take_all(lanes)
    lanes.detach(counter)
    lanes.again(counter, due=60.0)
    (identify,) = take_all(lanes)
    assert identify.label == "identify"
    lanes.answered(identify)
    lanes.wake(60.0)
    assert take_all(lanes) == [counter]
    lanes.answered(counter)
    assert lanes.waiting == 0


def test_a_probe_is_a_fresh_call_that_may_be_sent_twice() -> None:
    """Revenue is not risked on a server that may be down, a failed call is not tried first."""
    lanes = Lanes()
    lanes.add(call("failed", attempts=1))
    lanes.add(call("revenue", at_most_once=True))
    lanes.add(call("fresh"))
    probe = lanes.take(probe=True)
    assert probe is not None
    assert probe.label == "fresh"
    probe = lanes.take(probe=True)
    assert probe is not None
    assert probe.label == "failed"


def test_nothing_is_kept_of_profiles_that_are_done() -> None:
    """A million profiles leave nothing behind."""
    lanes = Lanes()
    for number in range(100):
        lanes.add(call("a", profile=f"u{number}"))
        lanes.add(call("identify", profile=f"u{number}", barrier=True))
    while lanes.waiting:
        for each in take_all(lanes):
            lanes.answered(each)
    assert lanes._unanswered == {}


def test_withdrawing_takes_out_everything_that_waits() -> None:
    """Ready, behind a barrier, or to be sent again."""
    lanes = Lanes()
    lanes.add(call("ready", profile=None))
    lanes.add(call("identify", barrier=True))
    lanes.add(call("behind"))
    again = lanes.take()
    assert again is not None
    lanes.again(again, due=1.0)
    assert {each.label for each in lanes.withdraw(0)} == {"ready", "identify", "behind"}
    assert (lanes.waiting, lanes.ready, lanes.next_due) == (0, 0, None)
    assert lanes._unanswered == {}


def test_withdrawing_leaves_what_came_later_in_its_order() -> None:
    """It is the next life's; what was taken out holds up nobody."""
    lanes = Lanes()
    lanes.add(call("identify", barrier=True))
    lanes.add(call("old"))
    for label in ("new", "group"):
        later = call(label, barrier=label == "group")
        later.generation = 1
        lanes.add(later)
    assert labels(lanes.withdraw(0)) == ["identify", "old"]
    (new,) = take_all(lanes)
    assert new.label == "new"
    lanes.answered(new)
    assert labels(take_all(lanes)) == ["group"]


def test_what_is_out_while_all_is_withdrawn_is_still_waited_for() -> None:
    """A client that is closed and opened again keeps the order."""
    lanes = Lanes()
    lanes.add(call("out", barrier=True))
    out = lanes.take()
    assert out is not None
    lanes.add(call("behind"))
    assert labels(lanes.withdraw(0)) == ["behind"]
    lanes.add(call("later"))
    assert take_all(lanes) == []
    lanes.answered(out)
    (later,) = take_all(lanes)
    assert later.label == "later"
    lanes.answered(later)
    assert lanes._unanswered == {}


@given(
    calls=st.lists(
        st.tuples(st.sampled_from(["u1", "u2", None]), st.booleans()), min_size=1, max_size=40
    ),
    choices=st.lists(st.integers(0, 5), min_size=400, max_size=400),
)
def test_any_mix_of_calls_answers_and_retries_keeps_the_order(
    calls: list[tuple[str | None, bool]], choices: list[int]
) -> None:
    """No call is out together with a barrier of its profile, and none overtakes one."""
    lanes = Lanes()
    numbers: dict[int, int] = {}
    for number, (profile, barrier) in enumerate(calls):
        each = call(str(number), profile, barrier=barrier and profile is not None)
        numbers[id(each)] = number
        lanes.add(each)
    out: list[RenderedCall] = []
    done: dict[int | str | None, set[int]] = defaultdict(set)
    now = 0.0
    for choice in choices:
        now += 1.0
        lanes.wake(now)
        if choice < 3 or not out:
            taken = lanes.take()
            if taken is None:
                continue
            earlier = {
                number
                for number, (profile, barrier) in enumerate(calls[: int(taken.label)])
                if profile == taken.profile is not None and (barrier or taken.kind.barrier)
            }
            assert earlier <= done[taken.profile]
            out.append(taken)
            continue
        chosen = out.pop(choice % len(out))
        if choice == 5:
            lanes.again(chosen, now + 2.0)
        else:
            done[chosen.profile].add(int(chosen.label))
            lanes.answered(chosen)
    while lanes.waiting or out:
        now += 10.0
        lanes.wake(now)
        out.extend(take_all(lanes))
        for each in out:
            done[each.profile].add(int(each.label))
            lanes.answered(each)
        out = []
    assert sum(map(len, done.values())) == len(calls)


def test_a_probe_is_rather_one_that_waits_for_its_turn_than_money() -> None:
    """Unless it may be what makes the server fail."""
    for attempts, expected in ((3, "tried"), (10, "money")):
        lanes = Lanes()
        lanes.add(call("tried", None))
        tried = lanes.take()
        assert tried is not None
        tried.attempts = attempts
        lanes.again(tried, due=1e9)
        for _ in range(100):
            lanes.add(call("money", None, at_most_once=True))
        probe = lanes.take(probe=True)
        assert probe is not None
        assert probe.label == expected


def test_a_probe_is_found_behind_any_amount_of_money() -> None:
    """It is looked for rarely: between two pauses."""
    lanes = Lanes()
    for _ in range(1_000):
        lanes.add(call("money", None, at_most_once=True))
    lanes.add(call("harmless", None))
    probe = lanes.take(probe=True)
    assert probe is not None
    assert probe.label == "harmless"


def test_sums_make_no_room_for_others() -> None:
    """Each stands for many; whether it is ready, waits for its next attempt, or for its turn."""
    lanes = Lanes()
    lanes.add(counter(200))
    lanes.add(counter(5, profile="u2"))
    first = lanes.take()
    assert first is not None
    lanes.again(first, due=5.0)
    lanes.add(call("barrier", "u2", barrier=True))
    lanes.add(call("track", None))
    evicted = [lanes.evict(), lanes.evict(), lanes.evict()]
    assert [one and one.label for one in evicted] == ["track", "barrier", None]
