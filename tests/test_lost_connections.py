"""Connections that end before a request, in it, after it, and while nobody uses them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from op_logging import Identify, OpenPanelConfig, Revenue, Track
from op_logging._direct import DirectConnection
from op_logging._outcomes import Verdict
from op_logging._transport import Transport
from support.clients import CLIENT_ID, client_of, logger_of
from support.misbehaving import Parting, Pieces, read_head, reset_when_closed
from support.scripted_server import OK, Request, Reset, ScriptedServer, Vanish, http
from support.waiting import wait_until
from support.what_happens import (
    CALLS,
    IDS,
    QUICK,
    Call,
    Meaning,
    assert_goes_another_way,
    check,
    goes_on,
)

LARGE = {f"key {number}": "x" * 8_000 for number in range(4_000)}
"""More than the buffers of two sockets hold."""
ROOM = {"max_event_bytes": 100_000_000, "queue_max_bytes": 400_000_000}
LARGE_EVENTS = {
    "event": {"type": "track", "payload": {"name": "event", "properties": LARGE}},
    "revenue": {
        "type": "track",
        "payload": {"name": "revenue", "properties": {"__revenue": 100, **LARGE}},
    },
    "counter": {
        "type": "increment",
        "payload": {"profileId": "u1", "property": "visits", "value": 1, "more": LARGE},
    },
}


def once(behaviour: Callable[[socket.socket], None]) -> Callable[[ScriptedServer], None]:
    """Let a server treat its first connection so, and close it unread."""

    def greeting(connection: socket.socket, number: int) -> bool:
        if number == 1:
            behaviour(connection)
        return number > 1

    def prepare(server: ScriptedServer) -> None:
        server.greeting = greeting

    return prepare


def reset_after_the_head(connection: socket.socket) -> None:
    """Read the head of a request, and reset."""
    assert read_head(connection).startswith(b"POST /track HTTP/1.1\r\n")
    reset_when_closed(connection)


def close_after_the_head(connection: socket.socket) -> None:
    """Read the head of a request, and close."""
    read_head(connection)


@pytest.mark.parametrize("leave", [reset_after_the_head, close_after_the_head])
@pytest.mark.parametrize("name", IDS)
def test_a_request_that_was_not_written_to_its_end_was_surely_not_processed(
    name: str, leave: Callable[[socket.socket], None]
) -> None:
    """So revenue and counters are sent again, too, and arrive once."""
    with ScriptedServer() as server, client_of(server.url, **QUICK, **ROOM) as client:
        once(leave)(server)
        with logger_of(client) as logger:
            logger.info("Large", extra={"event": LARGE_EVENTS[name]})
            assert client.flush(20)
        stats = client.stats()
        assert (stats.delivered, stats.retried, len(server.requests)) == (1, 1, 1)
        assert len(server.requests[0].body) > 10_000_000
        goes_on(client, server)


@pytest.mark.parametrize("name", IDS)
def test_who_refuses_a_call_before_he_has_read_it_is_heard(name: str) -> None:
    """413 and a close while the body is still being written: it must not come again and again."""

    def refuse(connection: socket.socket, _number: int) -> bool:
        if b"\r\n" in read_head(connection):
            connection.sendall(http(413, {"message": "Request body is too large"}))
        return False

    with ScriptedServer() as server, client_of(server.url, **QUICK, **ROOM) as client:
        server.greeting = refuse
        with logger_of(client) as logger:
            logger.info("Large", extra={"event": LARGE_EVENTS[name]})
            assert client.flush(20)
        stats = client.stats()
        assert dict(stats.reasons) == {"too_large_for_server": 1}
        assert (stats.rejected, stats.retried, server.connections) == (1, 0, 1)
        assert "Request body is too large (413)" in str(stats.last_error)


@pytest.mark.parametrize("status", [200, 408, 425, 500, 502])
def test_any_other_early_answer_leaves_a_call_unsent(status: int) -> None:
    """It says nothing about a request that the server did not have: revenue is sent again."""

    def answer_early(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(http(status, "early"))

    with ScriptedServer() as server, client_of(server.url, **QUICK, **ROOM) as client:
        once(answer_early)(server)
        with logger_of(client) as logger:
            logger.info("Large", extra={"event": LARGE_EVENTS["revenue"]})
            assert client.flush(20)
        stats = client.stats()
        assert (stats.delivered, stats.retried, len(server.requests)) == (1, 1, 1)


@pytest.mark.parametrize("leave", [reset_when_closed, lambda _connection: None])
@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_a_connection_that_ends_as_soon_as_it_is_made_doubles_nothing(
    call: Call, leave: Callable[[socket.socket], None]
) -> None:
    """Whether the request was on its way already is a matter of luck: revenue may be given up."""
    with ScriptedServer() as server, client_of(server.url, **QUICK) as client:
        once(leave)(server)
        client.submit(call)
        assert client.flush(10)
        stats = client.stats()
        assert stats.delivered + stats.reasons.get("unconfirmed", 0) == 1
        assert (len(server.requests), stats.retried) == (stats.delivered, stats.delivered)
        if isinstance(call, Track):
            assert stats.delivered == 1
        goes_on(client, server)


def test_a_server_that_speaks_before_it_is_asked_is_not_understood() -> None:
    """What it says first is taken for its answer, and is none."""
    for call, meaning in zip(CALLS, [Meaning.AMBIGUOUS] * 3, strict=True):

        def prepare(server: ScriptedServer) -> None:
            def greeting(connection: socket.socket, number: int) -> bool:
                if number == 1:
                    connection.sendall(b"220 mail.example ESMTP\r\n")
                return True

            server.greeting = greeting

        check(call, meaning, on_server=prepare)


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_a_connection_that_ended_while_idle_costs_nothing(call: Call, resets: bool) -> None:
    """It is seen before the call is written, and another is made: one copy, no retry, no loss."""
    leave = threading.Event()

    def script(request: Request) -> bytes | Parting:
        return Parting(OK, leave, resets=resets) if request.number == 1 else OK

    with ScriptedServer(script) as server, client_of(server.url, **QUICK) as client:
        client.submit(Track("first"))
        assert client.flush(10)
        leave.set()
        wait_until(lambda: server.ended == 1)
        server.wait_until_idle()
        assert_goes_another_way(call, client, server)


@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_what_a_server_says_on_an_idle_connection_is_no_answer_to_the_next_call(
    call: Call,
) -> None:
    """Some answer 408 to nothing before they close; it would be taken for the next call's."""

    def script(request: Request) -> bytes | Pieces:
        return Pieces(OK, http(408, "idle"), pause=0.02) if request.number == 1 else OK

    with ScriptedServer(script) as server, client_of(server.url, **QUICK) as client:
        client.submit(Track("first"))
        assert client.flush(10)
        server.wait_until_idle()
        assert_goes_another_way(call, client, server)


def test_connections_that_stay_open_are_kept() -> None:
    """The look at an idle one does not end it."""
    with ScriptedServer() as server, client_of(server.url, **QUICK) as client:
        for _ in range(5):
            client.submit(Track("event"))
            assert client.flush(10)
            server.wait_until_idle()
        assert (len(server.requests), server.connections) == (5, 1)


@pytest.mark.parametrize("ending", [Reset(), Vanish()])
def test_of_many_calls_whose_connections_are_lost_each_arrives_once_or_as_often_as_it_was_sent(
    ending: Reset | Vanish,
) -> None:
    """Every third request is lost after it was read. Revenue and what is counted never doubles."""

    def script(request: Request) -> bytes | Reset | Vanish:
        return ending if request.number % 3 == 0 else OK

    options = {**QUICK, "max_connections": 4}
    with ScriptedServer(script) as server, client_of(server.url, **options) as client:
        for number in range(12):
            client.submit(Track(f"event {number}"))
            client.submit(Revenue(100 + number, properties={"number": number}))
            client.submit(Identify(f"u{number}", first_name="Ada"))
        assert client.flush(30)
        stats = client.stats()
        revenue = [r.call["payload"]["properties"] for r in server.requests if r.name == "revenue"]
        assert len(revenue) == len({each["number"] for each in revenue}) == 12
        assert stats.delivered + stats.reasons.get("unconfirmed", 0) == 36
        assert stats.reasons.get("unconfirmed", 0) <= 12
        assert len(server.requests) == 36 + stats.retried


def test_what_would_be_lost_with_a_connection_is_not_written_on_one_that_has_ended() -> None:
    """However soon after its last answer. Some servers close after each without a word."""
    with ScriptedServer(lambda _request: Pieces(OK, pause=0, closes=True)) as server:
        given = {"client_id": CLIENT_ID, "api_url": server.url}
        connection = Transport(OpenPanelConfig.from_options(given, {})).connect()
        for number in range(1, 20):
            body = b'{"type":"track","payload":{"name":"revenue"}}'
            assert connection.post(body, {}, careful=True).verdict is Verdict.DELIVERED
            # mypy infers no type for a lambda's default, which binds the loop's value
            wait_until(lambda number=number: server.ended == number)  # type: ignore[misc]
        connection.close()
        assert len(server.requests) == server.connections == 19


@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_what_would_be_lost_with_a_connection_is_sent_with_care(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain event is not: it is sent again, and the look costs a switch between threads."""
    found: list[object] = []
    post = DirectConnection.post

    def watched(self: DirectConnection, *arguments: Any, **options: Any) -> Any:
        found.append(options["careful"])
        return post(self, *arguments, **options)

    monkeypatch.setattr(DirectConnection, "post", watched)
    for retries in (True, False):
        with ScriptedServer() as server, client_of(server.url, retry_ambiguous=retries) as client:
            client.submit(call)
            assert client.flush(10)
    assert found == [not isinstance(call, Track), True]


def at_once() -> threading.Event:
    """Return an event that is set."""
    event = threading.Event()
    event.set()
    return event


def test_a_server_that_closes_after_each_answer_is_no_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a word of it in the answer: each event then needs a connection of its own."""
    with ScriptedServer(lambda _request: Parting(OK, at_once())) as server:
        with client_of(server.url, max_backoff=30) as client:
            for number in range(100):
                client.submit(Track(str(number)))
            assert client.flush(20)
            assert client.stats().delivered == 100
        assert sorted(map(int, set(server.names))) == list(range(100))
    assert "takes no events" not in caplog.text


def test_money_is_not_risked_on_a_connection_to_such_a_server() -> None:
    """Once it is known: a look at a connection may come before its end."""
    with ScriptedServer(lambda _request: Parting(OK, at_once())) as server:
        with client_of(server.url, max_connections=1) as client:
            for number in range(5):  # it learns
                client.submit(Track(str(number)))
                assert client.flush(10)
                time.sleep(0.02)
            for amount in range(1, 31):
                client.submit(Revenue(amount))
            assert client.flush(20)
            assert client.stats().delivered == 35
        assert server.names.count("revenue") == 30
