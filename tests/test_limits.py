"""Limits, batches, closing, and what is said: against servers on real sockets."""

from __future__ import annotations

import logging
import time

import pytest

from op_logging import Track
from support.clients import assert_adds_up, client_of, logger_of, shop
from support.scripted_server import OK, Request, ScriptedServer, http
from support.waiting import wait_until


def test_an_old_event_expires(caplog: pytest.LogCaptureFixture) -> None:
    """What could not be delivered within ``max_age`` is dropped, counted and said."""
    with ScriptedServer(lambda _request: http(503, "")) as server:
        with client_of(server.url, max_age=0.2) as client:
            client.submit(Track("event"))
            assert client.flush(10)
            assert dict(client.stats().reasons) == {"expired": 1}
        assert server.requests
    assert "track event" in caplog.text
    assert "not delivered within max_age" in caplog.text


@pytest.mark.parametrize(("overflow", "survivors"), [("drop_newest", "0"), ("drop_oldest", "29")])
def test_a_full_queue_drops_what_it_was_told_to(
    overflow: str, survivors: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Counted, said, and the rest is delivered."""
    with ScriptedServer() as server:
        options = {"queue_size": 10, "overflow": overflow, "flush_interval": 5.0}
        with client_of(server.url, **options) as client, logger_of(client) as logger:
            for number in range(30):
                logger.info("One", extra={"event": str(number)})
            assert client.flush(5)
            stats = client.stats()
            names = server.names
    assert (stats.accepted, stats.delivered, stats.dropped) == (30, 10, 20)
    assert dict(stats.reasons) == {"queue_full": 20}
    assert survivors in names
    wait_until(lambda: "the queue is full (10 events)" in caplog.text)


def test_an_event_that_is_too_large_is_dropped_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It names the line that logged it, and not its content."""
    with ScriptedServer() as server, shop(server.url, max_event_bytes=500) as (logger, client):
        logger.info("Large", extra={"event": "large", "text": "x" * 600})
        logger.info("Small", extra={"event": "small"})
        assert client.flush(5)
        assert server.names == ["small"]
        assert dict(client.stats().reasons) == {"too_large": 1}
    assert "track large" in caplog.text
    assert "max_event_bytes (500)" in caplog.text
    assert f"{__file__}:" in caplog.text
    assert "xxx" not in caplog.text


def test_a_batch_leaves_when_it_is_full_or_its_time_has_come() -> None:
    """``batch_size`` and ``flush_interval``, whichever comes first."""
    with ScriptedServer() as server:
        with client_of(server.url, flush_interval=60, batch_size=5) as client:
            for number in range(4):
                client.submit(Track(f"event {number}"))
            engine = client._engine
            assert engine is not None
            wait_until(lambda: engine.life is not None and engine.life.first_seen is not None)
            fifth = time.monotonic()
            client.submit(Track("event 4"))
            server.wait_for(5)
            assert all(request.at >= fifth for request in server.requests)
        with client_of(server.url, flush_interval=0.2) as client:
            client.submit(Track("alone"))
            server.wait_for(6)


def test_a_closed_client_opens_again_for_the_next_event() -> None:
    """And leaves no thread behind when it is closed."""
    with ScriptedServer() as server, client_of(server.url) as client:
        client.submit(Track("one"))
        assert client.close(5)
        assert client.state.value == "closed"
        client.submit(Track("two"))
        assert client.flush(5)
        assert sorted(server.names) == ["one", "two"]
        assert client.stats().delivered == 2


def test_close_drops_what_is_not_out_in_time_and_counts_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says so, and the statistics still add up."""
    with ScriptedServer(lambda _request: http(503, "")) as server:
        with client_of(server.url) as client:
            for number in range(10):
                client.submit(Track(f"event {number}"))
            assert client.close(0.3) is False
            wait_until(lambda: client.stats().dropped == 10)
            assert dict(client.stats().reasons) == {"closed": 10}
    assert "the client was closed before" in caplog.text


def test_flush_waits_for_what_came_before_it_only() -> None:
    """Events that go on coming in do not keep it for ever."""
    with ScriptedServer() as server, client_of(server.url) as client:
        client.submit(Track("first"))
        assert client.flush(5)
        assert client.flush(0)
        assert_adds_up(client.stats())
        assert server.names == ["first"]


def test_an_outage_is_said_once_when_it_starts_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With how many calls waited and were lost."""
    state = {"down": True}

    def script(_request: Request) -> bytes:
        return http(503, "") if state["down"] else OK

    with ScriptedServer(script) as server, client_of(server.url, max_backoff=0.1) as client:
        for number in range(10):
            client.submit(Track(f"event {number}"))
        wait_until(lambda: "takes no events" in caplog.text)
        state["down"] = False
        assert client.flush(10)
        assert client.stats().delivered == 10
    said = [r.getMessage() for r in caplog.records if r.name == "op_logging"]
    assert ["takes no events" in text for text in said] == [True, False]
    assert "0 were lost" in said[1]


def test_diagnostics_go_to_their_own_logger_even_if_a_configuration_disabled_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A dictConfig disables all loggers that it does not name, unless it is told not to."""
    logging.getLogger("op_logging").disabled = True
    with ScriptedServer(lambda _request: http(400, "no")) as server:
        with client_of(server.url) as client:
            client.submit(Track("bad"))
            assert client.flush(5)
    assert "refused track bad" in caplog.text
