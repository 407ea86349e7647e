"""An outage as a whole: how a client goes into it, waits, and comes out of it."""

from __future__ import annotations

import itertools
import time

import pytest

from op_logging import Revenue, Track
from support.clients import client_of
from support.scripted_server import OK, Request, Reset, ScriptedServer, http
from support.waiting import wait_until

BUSY = http(503, "busy")
LANES = 16
SHORTEST = 0.05
"""No pause between two probes is shorter."""


class Weather:
    """A server's script that a test changes.

    Attributes:
        answer: What everybody gets.
        taken: The requests that got a 200.
    """

    def __init__(self, answer: bytes | Reset = OK) -> None:
        self.answer = answer
        self.taken: list[Request] = []

    def script(self, request: Request) -> bytes | Reset:
        """Answer a request."""
        if self.answer is OK:
            self.taken.append(request)
        return self.answer


@pytest.mark.parametrize("failure", [BUSY, http(500, "error"), Reset()])
def test_many_lanes_that_fail_slow_down_as_one(failure: bytes | Reset) -> None:
    """What was out fails; from then on one call at a time finds out, with a pause in between."""
    weather = Weather()
    with ScriptedServer(weather.script, delay=0.03) as server:
        with client_of(server.url, max_connections=LANES, max_backoff=0.2) as client:
            for number in range(200):
                client.submit(Track(f"event {number}"))
            wait_until(lambda: server.most_at_once > 4)
            weather.answer = failure
            wait_until(lambda: client.stats().retried)
            wait_until(lambda: client.stats().in_flight == 0)
            server.most_at_once = 0
            before, began = len(server.requests), time.monotonic()
            server.wait_for(before + 8)
            probes = server.requests[before:]
            assert len(probes) <= (time.monotonic() - began) / SHORTEST + 2
            assert server.most_at_once == 1
            assert all(request.beside == 0 for request in probes)
            gaps = [b.at - a.at for a, b in itertools.pairwise(probes)]
            assert min(gaps) > SHORTEST
            weather.answer = OK
            assert client.flush(20)
            assert client.stats().delivered == 200


def test_pauses_double_from_the_first_failure_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to ``max_backoff``. Chance is taken out: each pause is as long as it may be."""
    monkeypatch.setattr("op_logging._pace._FIRST_BACKOFF", 0.1)
    monkeypatch.setattr("op_logging._pace.backoff", lambda longest: longest)
    monkeypatch.setattr("op_logging._delivery.backoff", lambda _longest: 0.05)
    with ScriptedServer(lambda _request: BUSY) as server:
        with client_of(server.url, max_connections=LANES, max_backoff=0.4) as client:
            client.submit(Track("first"))
            wait_until(lambda: client.stats().retried)
            for number in range(50):
                client.submit(Track(f"event {number}"))
            server.wait_for(6)
            assert client.stats().dropped == 0
            times = [request.at for request in server.requests[:6]]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    least = [0.1, 0.2, 0.4, 0.4, 0.4]
    assert all(pause > wanted - 0.01 for pause, wanted in zip(pauses, least, strict=True)), pauses


def test_lanes_that_fail_together_are_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a dozen in a row, which would be worth the longest pause at once."""
    monkeypatch.setattr("op_logging._pace._FIRST_BACKOFF", 0.1)
    monkeypatch.setattr("op_logging._pace.backoff", lambda longest: longest)
    monkeypatch.setattr("op_logging._delivery.backoff", lambda _longest: 0.05)
    weather = Weather()
    with ScriptedServer(weather.script, delay=0.05) as server:
        with client_of(server.url, max_connections=LANES, max_backoff=60) as client:
            for number in range(1000):
                client.submit(Track(f"event {number}"))
            wait_until(lambda: server.most_at_once >= LANES - 2)
            weather.answer = BUSY
            wait_until(lambda: client.stats().retried >= LANES - 6)
            wait_until(lambda: client.stats().in_flight == 0)
            weather.answer = OK
            server.wait_for(len(server.requests) + 3, within=10)


def test_the_backlog_is_let_out_slowly_at_first() -> None:
    """Two calls at first, and one more at a time with each answer, up to all lanes."""
    weather = Weather(BUSY)
    with ScriptedServer(weather.script, delay=0.05) as server:
        with client_of(server.url, max_connections=LANES, max_backoff=0.2) as client:
            for number in range(300):
                client.submit(Track(f"event {number}"))
            wait_until(lambda: client.stats().retried)
            wait_until(lambda: client.stats().in_flight == 0)
            weather.answer = OK
            assert client.flush(30)
            assert client.stats().delivered == 300
    drained = sorted(weather.taken, key=lambda request: request.number)
    assert len(drained) == 300
    # So many are out that each answer since the probe's has let two more go.
    assert all(request.beside <= number / 2 for number, request in enumerate(drained))
    assert max(request.beside for request in drained) >= LANES // 2


def test_an_outage_is_said_when_it_begins_and_when_it_ends_and_not_in_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two messages, whatever failed how often, with how long it was and how much waited."""
    weather = Weather()
    with ScriptedServer(weather.script) as server:
        with client_of(server.url, max_connections=LANES, max_backoff=0.05) as client:
            for failure in (BUSY, http(502, "bad gateway"), Reset(), http(401, "who?")):
                weather.answer = failure
                before = len(server.requests)
                client.submit(Track(f"event {before}"))
                server.wait_for(before + 4)
            waiting = client.stats().queued + client.stats().in_flight
            weather.answer = OK
            assert client.flush(20)
            assert (waiting, client.stats().delivered) == (4, 4)
        begin, end = [r.getMessage() for r in caplog.records if r.name == "op_logging"]
    assert begin.startswith(f"{server.url} takes no events: busy (503)")
    assert end.startswith(f"{server.url} takes events again after ")
    assert end.endswith("waited, 0 were lost meanwhile")


def test_each_outage_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The second one, too, though it comes within the minute."""
    weather = Weather()
    with (
        ScriptedServer(weather.script) as server,
        client_of(server.url, max_backoff=0.05) as client,
    ):
        for number in range(3):
            weather.answer = BUSY
            client.submit(Track("event"))
            # mypy infers no type for a lambda's default, which binds the loop's value
            wait_until(lambda number=number: caplog.text.count("takes no events") == number + 1)  # type: ignore[misc]
            weather.answer = OK
            assert client.flush(10)
            # mypy infers no type for a lambda's default, which binds the loop's value
            wait_until(lambda number=number: caplog.text.count("takes events again") == number + 1)  # type: ignore[misc]


def test_a_failure_that_passes_at_once_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """One lost connection among many calls is nobody's business."""

    def script(request: Request) -> bytes:
        return BUSY if request.number == 5 else OK

    with ScriptedServer(script) as server, client_of(server.url, max_backoff=0.05) as client:
        for number in range(20):
            client.submit(Track(f"event {number}"))
        assert client.flush(10)
        stats = client.stats()
    assert (stats.delivered, stats.retried) == (20, 1)
    assert caplog.text == ""


def test_revenue_is_not_what_finds_out_if_the_server_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would be lost with the probe's answer; it leaves when an event has found the way."""
    monkeypatch.setattr("op_logging._delivery.backoff", lambda _longest: 1.0)
    weather = Weather(BUSY)
    options = {"max_connections": 4, "max_backoff": 0.05, "flush_interval": 0.3}
    with ScriptedServer(weather.script) as server, client_of(server.url, **options) as client:
        client.submit(Track("first"))
        wait_until(lambda: client.stats().retried)
        weather.answer = Reset()
        client.submit(Revenue(100))  # in front of all others, which come in the same batch
        for number in range(50):
            client.submit(Track(f"event {number}"))
        server.wait_for(7)
        assert "revenue" not in server.names
        weather.answer = OK
        assert client.flush(20)
        assert client.stats().delivered == 52
        assert server.names.count("revenue") == 1
