"""What goes when there is no room: by events and bytes, behind a barrier, in an outage, by age."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from op_logging import Identify, Increment, OpenPanelClient, Track
from op_logging._delivery import Delivery
from support.clients import assert_adds_up, client_of
from support.scripted_server import OK, Answer, Request, ScriptedServer, http
from support.waiting import wait_until

ROOM = 20


class Gate:
    """A server that takes nothing, or answers nothing, until it is opened."""

    def __init__(self, *, is_outage: bool) -> None:
        self._is_outage = is_outage
        self.opened = threading.Event()
        self.taken: list[str] = []

    def __call__(self, request: Request) -> Answer:
        """Answer a request."""
        if self._is_outage and not self.opened.is_set():
            return http(503, "")
        if request.name == "identify":
            self.opened.wait(30)
        self.taken.append(request.name)
        return OK


@contextmanager
def closed_gate(is_outage: bool, **options: Any) -> Iterator[tuple[OpenPanelClient, Gate]]:
    """Give a client that waits for the answer to an identify, or for the end of an outage."""
    gate = Gate(is_outage=is_outage)
    with ScriptedServer(gate) as server, client_of(server.url, **options) as client:
        client.submit(Track("first") if is_outage else Identify("u1"))
        server.wait_for(1)
        if is_outage:
            wait_until(lambda: client.stats().retried > 0)
        yield client, gate
        gate.opened.set()


def delivery_of(client: OpenPanelClient) -> Delivery:
    """Return what holds the calls."""
    assert client._engine is not None
    return client._engine._dispatch.delivery


def submit(client: OpenPanelClient, calls: int, text: str = "") -> None:
    """Submit numbered calls of a profile; look on as they come in."""
    for number in range(calls):
        client.submit(Track(str(number), {"text": text}, profile_id="u1"))
        stats = client.stats()
        assert_adds_up(stats)
        on_its_way = len(client.inbox or ())
        assert stats.queued + stats.held <= ROOM + on_its_way + 1
        assert on_its_way <= ROOM
        if number % 7 == 0:
            wait_until(lambda: not client.inbox)


@pytest.mark.parametrize("is_outage", [False, True], ids=["barrier", "outage"])
@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_the_queue_keeps_what_it_was_told_to(
    is_outage: bool, overflow: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The newest or the oldest, also of what the sender has taken: it does not outgrow its size."""
    with closed_gate(is_outage, queue_size=ROOM, overflow=overflow) as (client, gate):
        submit(client, 200)
        wait_until(lambda: not client.inbox)
        stats = client.stats()
        assert ROOM - 1 <= stats.queued <= ROOM
        gate.opened.set()
        assert client.flush(20)
        stats = client.stats()
    numbers = sorted(int(name) for name in gate.taken if name.isdigit())
    if overflow == "drop_oldest":
        assert numbers == list(range(200 - len(numbers), 200))
    else:
        assert numbers == list(range(len(numbers)))
    assert ROOM - 1 <= len(numbers) <= ROOM + 1
    assert stats.accepted == 201
    assert stats.delivered == len(gate.taken)
    assert dict(stats.reasons) == {"queue_full": 201 - len(gate.taken)}
    assert "the queue is full" in caplog.text


@pytest.mark.parametrize("is_outage", [False, True], ids=["barrier", "outage"])
@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_the_queue_keeps_so_many_bytes(
    is_outage: bool, overflow: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the calls' bodies, in memory or on their way; what fits is kept."""
    most = 12_000
    options = {"queue_max_bytes": most, "overflow": overflow, "batch_size": 10}
    with closed_gate(is_outage, **options) as (client, gate):
        for number in range(60):
            client.submit(Track(str(number), {"text": "x" * 900}, profile_id="u1"))
            wait_until(lambda: not client.inbox)
            assert delivery_of(client).bytes <= most
            assert_adds_up(client.stats())
        gate.opened.set()
        assert client.flush(20)
        wait_until(lambda: delivery_of(client).bytes == 0)
        stats = client.stats()
    numbers = sorted(int(name) for name in gate.taken if name.isdigit())
    assert 10 <= len(numbers) <= 12
    if overflow == "drop_oldest":
        assert numbers == list(range(60 - len(numbers), 60))
    else:
        assert numbers == list(range(len(numbers)))
    assert dict(stats.reasons) == {"queue_full": 61 - len(gate.taken)}
    assert "the queue is full" in caplog.text


def test_a_small_call_may_come_in_where_a_large_one_may_not() -> None:
    """The limit is looked at for each."""
    with closed_gate(is_outage=False, queue_max_bytes=2_000) as (client, gate):
        for name, size in (("a", 1_500), ("b", 1_500), ("c", 100)):
            client.submit(Track(name, {"text": "x" * size}))
        wait_until(lambda: client.stats().dropped == 1)
        gate.opened.set()
        assert client.flush(10)
    assert sorted(gate.taken) == ["a", "c", "identify"]


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
def test_sums_that_are_held_are_no_more_than_the_queue_takes(overflow: str) -> None:
    """A sum has one place, however much goes into it; others find the queue full."""
    options: dict[str, Any] = {"counter_interval": 60, "queue_size": ROOM, "overflow": overflow}
    with ScriptedServer() as server, client_of(server.url, **options) as client:
        for number in range(100):
            client.submit(Increment(f"u{number}", "visits"))
            if number < ROOM - 1:
                client.submit(Increment(f"u{number}", "visits", 2))
            wait_until(lambda: not client.inbox)
            stats = client.stats()
            assert_adds_up(stats)
            assert stats.held + stats.queued <= ROOM + 1
        wait_until(lambda: client.stats().dropped == 100 - ROOM)
        assert client.stats().held == ROOM
        assert client.stats().merged == ROOM - 1
        client.submit(Track("no room"))
        wait_until(lambda: client.stats().dropped == 101 - ROOM)
        assert client.flush(5)
        client.submit(Track("room"))
        assert client.flush(5)
        assert client.stats().delivered == ROOM + 1
        assert dict(client.stats().reasons) == {"queue_full": 101 - ROOM}
        values = [each.call["payload"].get("value") for each in server.requests]
        assert sorted(values, key=str) == [1, *[3] * (ROOM - 1), None]


def test_sums_that_are_held_count_by_their_bytes() -> None:
    """And make no room for others, since each stands for many."""
    options: dict[str, Any] = {"counter_interval": 60, "overflow": "drop_oldest"}
    with ScriptedServer() as server:
        with client_of(server.url, queue_max_bytes=1_024, **options) as client:
            for number in range(100):
                client.submit(Increment(f"u{number}", "visits", 5))
                wait_until(lambda: not client.inbox)
                assert delivery_of(client).bytes <= 1_024
            held = client.stats().held
            assert 5 < held < 20
            assert client.stats().dropped == 100 - held
            assert client.flush(5)
            assert delivery_of(client).bytes == 0
            assert client.stats().delivered == held


def test_a_counter_is_not_too_old_for_having_been_held() -> None:
    """``max_age`` counts from when it may leave."""
    with ScriptedServer() as server:
        with client_of(server.url, max_age=0.1, counter_interval=0.4) as client:
            for _ in range(3):
                client.submit(Increment("u1", "visits"))
            wait_until(lambda: server.requests)
            assert client.flush(5)
            assert (client.stats().delivered, client.stats().dropped) == (1, 0)


def test_a_counter_that_could_not_be_delivered_grows_too_old() -> None:
    """Then it expires as any other call."""
    with ScriptedServer(lambda _request: http(503, "")) as server:
        with client_of(server.url, max_age=0.2, counter_interval=0.1) as client:
            client.submit(Increment("u1", "visits"))
            assert client.flush(10)
            assert dict(client.stats().reasons) == {"expired": 1}
        assert server.requests
