"""Counters that wait, with moments handed in: what is summed, held, and may leave when."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from op_logging._counters import Counters, Leaving
from support.calls import counter

INTERVAL = 12.0


class Held:
    """Counters with a clock that the test moves, which answers at once unless it is told not to."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self.counters = Counters(interval)
        self.now = 100.0

    def add(self, amount: float, name: str = "visits", profile: str = "u1", **options: int) -> bool:
        """Add a counter; return whether it was merged."""
        call = counter(amount, name, profile, **options)
        assert call.rare.counts is not None
        if self.counters.merge(call.rare.counts):
            return True
        self.counters.hold(call, call.rare.counts, self.now)
        return False

    def wrote(self, profile: str = "u1") -> None:
        """Let the profile be written, with the answer at once."""
        self.counters.writes(profile)
        self.counters.wrote(profile, self.now)

    def leave(self, after: float = 0.0, **how: bool) -> list[Leaving]:
        """Move the clock, and take what may leave."""
        self.now += after
        return self.counters.leave(self.now, **how)

    def answer(self, leaving: list[Leaving]) -> None:
        """Answer what has left."""
        for each in leaving:
            if each.call is not None and each.call.rare.counts is not None:
                self.counters.wrote(each.call.rare.counts.profile, self.now)


def changes(leaving: list[Leaving]) -> list[tuple[str, str, str, float]]:
    """Return what the bodies say: type, profile, property and value."""
    found = []
    for each in leaving:
        assert each.call is not None
        call = json.loads(each.call.body)
        payload = call["payload"]
        found.append(
            (call["type"], payload["profileId"], payload["property"], payload.get("value", 1))
        )
    return found


def test_a_sum_is_held_for_an_interval_from_its_first_increment() -> None:
    """Later ones are merged into it, and do not keep it longer."""
    held = Held()
    assert held.add(1) is False
    assert held.counters.next_leave == held.now + INTERVAL
    for _ in range(4):
        assert held.leave(after=2.0) == []
        assert held.add(2) is True
    assert len(held.counters) == 1
    assert held.leave(after=3.99) == []
    assert changes(held.leave(after=0.01)) == [("increment", "u1", "visits", 9)]
    assert len(held.counters) == 0
    assert held.counters.next_leave == math.inf


def test_decrements_and_increments_are_one_sum() -> None:
    """It leaves as what it comes to."""
    held = Held()
    held.add(2)
    held.add(-5)
    (left,) = held.leave(after=INTERVAL)
    assert changes([left]) == [("decrement", "u1", "visits", 3)]
    assert left.call is not None
    assert left.call.rare.counts is not None
    assert left.call.rare.counts.amount == -3
    assert left.call.kind.at_most_once
    assert left.call.kind.type == "decrement"


def test_a_lone_counter_leaves_as_it_came() -> None:
    """The very call, not a copy of it."""
    held = Held()
    call = counter(3)
    assert call.rare.counts is not None
    held.counters.hold(call, call.rare.counts, held.now)
    assert list(held.counters) == [call]
    (left,) = held.leave(after=INTERVAL)
    assert left == Leaving(call, call, at_risk=False)


def test_a_sum_keeps_the_place_the_time_and_the_generation_of_its_first() -> None:
    """So that messages name a line of code, and a flush waits for it."""
    held = Held()
    held.add(1, generation=3)
    held.add(1, generation=7)
    (left,) = held.leave(after=INTERVAL)
    assert left.call is not None
    assert left.call is not left.first
    for call in left.first, left.call:
        assert (call.generation, call.source, call.created) == (3, "app.py:1", left.first.created)


def test_what_is_net_zero_is_not_sent() -> None:
    """It leaves the books at its time, and nothing is on its way then."""
    held = Held()
    held.add(2)
    held.add(-2)
    assert len(held.counters) == 1
    (left,) = held.leave(after=INTERVAL)
    assert (left.call, left.at_risk) == (None, False)
    held.add(1)
    assert len(held.leave(after=INTERVAL)) == 1, "a call that was never sent held it up"


def test_two_writes_of_one_profile_are_an_interval_apart() -> None:
    """Its properties leave one by one, each an interval after the answer to the last."""
    held = Held()
    for name in "abc":
        held.add(1, name)
    left = held.leave(after=INTERVAL)
    assert [change[2] for change in changes(left)] == ["a"]
    assert held.leave(after=60.0) == [], "while one is out"
    held.answer(left)
    assert held.counters.next_leave == held.now + INTERVAL
    assert held.leave(after=INTERVAL - 0.01) == []
    left = held.leave(after=0.01)
    assert [change[2] for change in changes(left)] == ["b"]
    held.answer(left)
    assert [change[2] for change in changes(held.leave(after=INTERVAL))] == ["c"]


def test_profiles_do_not_wait_for_each_other() -> None:
    """Each has its own time."""
    held = Held()
    held.add(1, profile="u1")
    held.leave(after=5.0)
    held.add(1, profile="u2")
    held.wrote("u3")
    assert [change[1] for change in changes(held.leave(after=7.0))] == ["u1"]
    assert [change[1] for change in changes(held.leave(after=5.0))] == ["u2"]


def test_an_identify_keeps_a_sum_back() -> None:
    """From its way out, to an interval after its answer."""
    held = Held()
    held.add(1)
    held.leave(after=11.0)
    held.counters.writes("u1")
    assert held.leave(after=100.0) == []
    assert held.counters.next_leave == math.inf, "its answer decides"
    held.counters.wrote("u1", held.now)
    assert held.leave(after=INTERVAL - 0.01) == []
    assert len(held.leave(after=0.01)) == 1


def test_all_writes_that_are_out_must_be_answered() -> None:
    """Not the first of them only."""
    held = Held()
    held.add(1)
    held.counters.writes("u1")
    held.counters.writes("u1")
    held.counters.wrote("u1", held.now)
    assert held.leave(after=100.0, hurry=True) == []
    held.counters.wrote("u1", held.now)
    assert len(held.leave(after=INTERVAL)) == 1


def test_a_sum_leaves_early_if_somebody_waits_and_it_is_safe() -> None:
    """A short script need not wait: its sums are exact, and the profile is not out."""
    held = Held()
    held.add(1, "a")
    held.add(1, "b")
    held.add(1, profile="u2")
    held.wrote("u3")
    held.add(1, profile="u3")
    left = held.leave(hurry=True)
    assert [change[1:3] for change in changes(left)] == [("u1", "a"), ("u2", "visits")]
    assert not any(each.at_risk for each in left)
    held.answer(left)
    assert held.leave(after=1.0, hurry=True) == []
    assert held.counters.next_leave <= held.now + INTERVAL - 1.0, "as soon as it is safe"
    left = held.leave(after=INTERVAL - 1.0, hurry=True)
    assert [change[1:3] for change in changes(left)] == [("u1", "b"), ("u3", "visits")]


def test_looks_that_somebody_in_a_hurry_made_needless_are_not_due_for_ever() -> None:
    """Who delivers without threads would look without a pause."""
    held = Held()
    held.add(1, "a")
    held.add(1, "b")
    held.leave(after=INTERVAL - 1.0, hurry=True)
    held.counters.wrote("u1", held.now)
    assert held.leave(after=2.0, hurry=True) == []
    assert held.counters.next_leave > held.now


def test_at_the_end_all_leave_and_those_that_are_not_safe_are_told() -> None:
    """The second property of a profile is a risk, and what was written not long ago."""
    held = Held()
    held.add(1, "a")
    held.add(1, "b")
    held.add(1, "zero")
    held.add(-1, "zero")
    held.wrote("u2")
    held.add(1, profile="u2")
    held.add(1, profile="u3")
    left = held.leave(force=True)
    assert [each.at_risk for each in left] == [False, True, False, True, False]
    assert left[2].call is None
    assert len(held.counters) == 0


def test_withdrawing_takes_what_came_before_and_leaves_the_rest() -> None:
    """What is left still has its time, though what it stood behind is gone."""
    held = Held()
    held.add(1, "old", generation=0)
    held.leave(after=2.0)
    held.add(1, "new", generation=1)
    ((gone, _, _),) = held.counters.withdraw(0)
    assert gone.rare.counts is not None
    assert gone.rare.counts.property == "old"
    assert len(held.counters) == 1
    assert held.leave(after=INTERVAL - 2.0) == []
    assert held.counters.next_leave == held.now + 2.0
    assert [change[2] for change in changes(held.leave(after=2.0))] == ["new"]
    assert held.counters.withdraw(5) == []


def test_floats_are_summed_too() -> None:
    """As exactly as floats are."""
    held = Held()
    for _ in range(4):
        held.add(0.25)
    held.add(1)
    assert changes(held.leave(after=INTERVAL)) == [("increment", "u1", "visits", 2.0)]


@pytest.mark.parametrize("amounts", [(1.7e308, 1.7e308), (2**53, 1), (-(2**53), -1), (2**53, 2.5)])
def test_a_sum_that_json_cannot_hold_is_not_made(amounts: tuple[float, float]) -> None:
    """The counter that would make it has a turn of its own, and so has the next one."""
    held = Held()
    assert held.add(amounts[0]) is False
    assert held.add(amounts[1]) is False
    assert len(held.counters) == 2
    left = held.leave(after=INTERVAL)
    held.answer(left)
    left += held.leave(after=INTERVAL)
    found = [change[3] for change in changes(left)]
    assert found == [abs(amount) for amount in amounts]
    assert all(isinstance(amount, (int, float)) for amount in found)


def test_a_property_with_an_odd_name_is_its_own() -> None:
    """Whatever stands in it: what could not be merged is not taken for it."""
    held = Held()
    held.add(1.7e308, "a")
    held.add(1.7e308, "a")
    assert held.add(1, "a\0") is False
    left = held.leave(force=True)
    assert [change[2:] for change in changes(left)] == [("a", 1.7e308), ("a", 1.7e308), ("a\0", 1)]


def test_with_no_interval_nothing_is_held_nor_noted() -> None:
    """Counters are off then."""
    held = Held(0.0)
    assert not held.counters.is_on
    assert Counters(0.1).is_on
    held.wrote()
    assert held.counters._profiles == {}


def test_an_answer_of_a_profile_that_nobody_knows_does_no_harm() -> None:
    """It may have been written before counters were noted."""
    Held().counters.wrote("unknown", 1.0)


def test_however_many_profiles_come_by_nothing_stays_behind() -> None:
    """Neither of those that were counted nor of those that were identified."""
    held = Held()
    for number in range(100_000):
        if number % 10:
            held.wrote(f"u{number}")
        else:
            held.add(1, profile=f"u{number}")
        if number % 5_000 == 0:
            held.answer(held.leave(after=INTERVAL))
            assert len(held.counters._profiles) <= 11_000
            assert len(held.counters._looks) <= 11_000
    for _ in range(3):
        held.answer(held.leave(after=INTERVAL))
    assert held.counters._profiles == {}
    assert held.counters._looks == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "write", "leave", "hurry", "force", "answer"]),
        st.sampled_from(["u1", "u2"]),
        st.sampled_from(["a", "b"]),
        st.integers(-3, 3).filter(bool),
        st.sampled_from([0.0, 1.0, 6.0, 12.0]),
    ),
    max_size=60,
)


class Model(Held):
    """Keeps what was added and sent, and when each profile was written."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: dict[tuple[str, str], float] = {}
        self.sent: dict[tuple[str, str], float] = {}
        self.out: list[str] = []
        self.last: dict[str, float] = {}

    def step(self, what: str, profile: str, name: str, amount: int) -> None:
        """Do one thing."""
        if what == "add":
            self.wanted[profile, name] = self.wanted.get((profile, name), 0) + amount
            self.add(amount, name, profile)
        elif what == "write":
            self.counters.writes(profile)
            self.out.append(profile)
        elif what == "answer":
            self.answer_one(amount)
        else:
            self.send(hurry=what == "hurry", force=what == "force")

    def send(self, **how: bool) -> None:
        """Send what may leave; check that it may."""
        for each in self.leave(**how):
            if each.call is None:
                continue
            assert each.call.rare.counts is not None
            profile, _, name, amount = each.call.rare.counts
            is_late = self.now >= self.last.get(profile, -math.inf) + INTERVAL
            is_safe = is_late and profile not in self.out
            assert each.at_risk is not is_safe
            assert is_safe or how.get("force")
            self.sent[profile, name] = self.sent.get((profile, name), 0) + amount
            self.out.append(profile)

    def answer_one(self, which: int = 0) -> None:
        """Answer one of those that are out."""
        if self.out:
            profile = self.out.pop(which % len(self.out))
            self.counters.wrote(profile, self.now)
            self.last[profile] = self.now


@given(steps=STEPS)
def test_any_steps_keep_sums_and_intervals(steps: list[tuple[str, str, str, int, float]]) -> None:
    """Nothing is lost or counted twice, and what is not at risk is an interval after a write."""
    model = Model()
    for what, profile, name, amount, pause in steps:
        model.now += pause
        model.step(what, profile, name, amount)
    while model.out or len(model.counters):
        while model.out:
            model.answer_one()
        if len(model.counters):
            assert model.counters.next_leave < math.inf
            model.now = max(model.now, model.counters.next_leave)
            model.send()
    assert {key: model.sent.get(key, 0) for key in model.wanted} == model.wanted


def test_sums_of_fractions_are_exact() -> None:
    """The server cuts what it has read to a whole number: 0.999… would be lost."""
    held = Held()
    for _ in range(10):
        held.add(0.1)
    for amount in (0.1, 0.1, 0.1, -0.3):
        held.add(amount, "nothing", "u2")
    sent, nothing = (one.call for one in held.leave(INTERVAL))
    assert nothing is None
    assert sent is not None
    assert json.loads(sent.body)["payload"]["value"] == 1
