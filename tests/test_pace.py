"""The back-off that all connections of a client share."""

from __future__ import annotations

import pytest

from op_logging._pace import Pace, PaceState


def closed_pace() -> Pace:
    """Return a pace after one failure at the moment 100."""
    pace = Pace(max_backoff=30.0, max_width=8)
    pace.failed(now=100.0, started=99.0, retry_after=None)
    return pace


def test_all_connections_may_be_used_while_all_is_well() -> None:
    """Up to the width, not beyond."""
    pace = Pace(max_backoff=30.0, max_width=8)
    assert [pace.room(0.0, out) for out in (0, 7, 8, 9)] == [8, 1, 0, 0]


def test_a_failure_closes_for_all() -> None:
    """Within the first pause, which takes a second at most, nothing leaves."""
    pace = closed_pace()
    assert pace.state is PaceState.CLOSED
    assert pace.room(100.0, 0) == 0
    assert 100.05 <= pace.opens_at <= 101.0


def test_one_probe_leaves_when_the_pause_is_over() -> None:
    """And nothing beside it."""
    pace = closed_pace()
    assert pace.room(pace.opens_at, 0) == 1
    pace.left()
    assert pace.state is PaceState.PROBING
    assert pace.room(1000.0, 1) == 0


def test_an_answered_probe_opens_slowly() -> None:
    """Two calls at first, one more with each answer, up to the width."""
    pace = closed_pace()
    pace.left()
    pace.answered(started=101.0)
    assert (pace.state, pace.room(102.0, 0)) == (PaceState.OPEN, 2)
    for _ in range(20):
        pace.answered(started=102.0)
    assert pace.room(102.0, 0) == 8


def test_pauses_grow_up_to_the_longest() -> None:
    """Doubling, with full jitter."""
    pace = closed_pace()
    longest = []
    for failure in range(10):
        now = 1000.0 * (failure + 1)
        pace.left()
        pace.failed(now, started=now - 1.0, retry_after=None)
        longest.append(pace.opens_at - now)
    assert max(longest) <= 30.0
    assert min(longest) > 0.049
    assert pace.failures == 11


def test_what_left_together_fails_as_one() -> None:
    """Sixteen lanes that fail at once are one failure, not sixteen."""
    pace = closed_pace()
    for _ in range(15):
        pace.failed(now=100.5, started=99.5, retry_after=None)
    assert pace.failures == 1


def test_an_answer_to_what_left_before_the_failure_proves_nothing() -> None:
    """It says how the server was, not how it is."""
    pace = closed_pace()
    assert pace.answered(started=99.0) is False
    assert pace.state is PaceState.CLOSED


@pytest.mark.parametrize(("asked", "waited"), [(7.0, 7.0), (1e9, 30.0)])
def test_the_server_may_ask_for_a_pause_but_not_for_an_absurd_one(
    asked: float, waited: float
) -> None:
    """``Retry-After`` is honoured up to ``max_backoff``."""
    pace = Pace(max_backoff=30.0, max_width=8)
    pace.failed(now=100.0, started=99.0, retry_after=asked)
    assert pace.opens_at == 100.0 + waited


def test_a_late_request_for_a_pause_counts_too() -> None:
    """Of several answers to what left together, the longest pause holds."""
    pace = closed_pace()
    pace.failed(now=100.2, started=99.0, retry_after=20.0)
    assert pace.opens_at == 120.2


def test_the_end_of_an_outage_is_told_once_and_only_if_its_start_was() -> None:
    """`answered` says when."""
    pace = closed_pace()
    pace.left()
    assert pace.answered(started=101.0) is False
    pace.failed(now=200.0, started=199.0, retry_after=None)
    pace.told = True
    pace.left()
    assert pace.answered(started=201.0) is True
    assert pace.answered(started=202.0) is False


def test_a_single_failure_among_answers_is_a_hiccup() -> None:
    """One of several servers may be ill: half as many calls at a time, after a short pause."""
    pace = Pace(max_backoff=30.0, max_width=8)
    pace.answered(started=98.0)
    pace.failed(now=100.0, started=99.0, retry_after=None)
    assert pace.state is PaceState.CLOSED
    assert 100.0 < pace.opens_at <= 100.1
    pace.left()
    pace.answered(started=pace.opens_at)
    assert (pace.state, pace.room(101.0, 0)) == (PaceState.OPEN, 4)


def test_a_second_failure_in_a_row_is_none() -> None:
    """It waits as long as ever, and opens slowly."""
    pauses = []
    for _ in range(50):
        pace = Pace(max_backoff=30.0, max_width=8)
        pace.answered(started=98.0)
        pace.failed(now=100.0, started=99.0, retry_after=None)
        pace.left()
        pace.failed(now=101.0, started=100.5, retry_after=None)
        pauses.append(pace.opens_at - 101.0)
    assert max(pauses) > 0.2
    pace.left()
    pace.answered(started=pace.opens_at)
    assert pace.room(200.0, 0) == 2


def test_a_host_that_cannot_be_reached_is_none_either() -> None:
    """Nobody gets through: there is nothing to be gained by haste."""
    pauses = []
    for _ in range(50):
        pace = Pace(max_backoff=30.0, max_width=8)
        pace.answered(started=98.0)
        pace.failed(now=100.0, started=99.0, retry_after=None, is_down=True)
        pauses.append(pace.opens_at - 100.0)
    assert max(pauses) > 0.2


def test_a_probe_that_found_out_nothing_is_followed_by_another() -> None:
    """At once: the connection had ended, which says nothing of the server."""
    pace = closed_pace()
    pace.left()
    pace.unproven(started=pace.opens_at)
    assert pace.room(pace.opens_at, 0) == 1
