"""The hook before_send: what it sees, what it may do, and what becomes of one that fails."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import pytest

from op_logging import (
    Identify,
    Increment,
    OpenPanelClient,
    OpenPanelHandler,
    OpenPanelProcessor,
    Track,
)
from support.clients import CLIENT_ID, SECRET, client_of, logger_of, shop
from support.hooks import Line, Recorder, name_of
from support.scripted_server import OK, Answer, Request, ScriptedServer, Vanish
from support.waiting import wait_until


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the package said."""
    return [one.getMessage() for one in caplog.records if one.name == "op_logging"]


def test_what_it_returns_is_sent(server: ScriptedServer) -> None:
    """Changed in place, or another mapping altogether."""

    def change(line: Line) -> Mapping[str, Any]:
        if name_of(line) == "first":
            line["payload"]["properties"]["total"] = 43
            del line["payload"]["properties"]["card"]
            return line
        return {"type": "track", "payload": {"name": "other", "properties": {"odd": {1, 2}}}}

    hook = Recorder(change)
    with shop(server.url, before_send=hook) as (logger, client):
        extras = {"total": 42, "card": "4242", "profile_id": "u1"}
        logger.info("Paid", extra={"event": "first", **extras})
        logger.info("Paid", extra={"event": "second", **extras})
        assert client.flush(5)
        assert client.stats().delivered == 2
    first, other = sorted((request.call for request in server.requests), key=name_of)
    stamp = first["payload"]["properties"].pop("__timestamp")
    assert stamp
    assert first == {
        "type": "track",
        "payload": {"name": "first", "profileId": "u1", "properties": {"total": 43}},
    }
    assert other["payload"] == {"name": "other", "properties": {"odd": [1, 2]}}
    assert set(hook.threads) == {"op_logging-sender"}


def test_it_sees_all_calls_as_the_formatter_writes_them(server: ScriptedServer) -> None:
    """With headers where a call has any, also those of client.submit and of a processor."""
    hook = Recorder()
    with shop(server.url, before_send=hook) as (logger, client):
        logger.info("Seen", extra={"event": "a", "ip": "192.0.2.1", "user_agent": "Browser"})
        logger.info("Known", extra={"event": Identify("u1", first_name="Ada")})
        client.submit(Increment("u1", "visits", 2))
        processor = OpenPanelProcessor(client=client)
        processor(None, "info", {"event": "Words", "_event": "b"})
        assert client.flush(5)
    assert hook.names == ["a", "identify", "increment", "b"]
    seen, known, counted, _ = hook.lines
    assert seen["headers"] == {"x-client-ip": "192.0.2.1", "user-agent": "Browser"}
    assert known == {"type": "identify", "payload": {"profileId": "u1", "firstName": "Ada"}}
    assert counted["payload"] == {"profileId": "u1", "property": "visits", "value": 2}


def test_it_may_change_headers(server: ScriptedServer) -> None:
    """Those that a call may have, to what a header may hold; credentials stay as they are."""

    def change(line: Line) -> Line:
        headers = {"x-client-ip": "192.0.2.0\r\nx-other: 1", "x-more": "1"}
        return {**line, "headers": {**headers, "openpanel-client-id": "mine", "user-agent": 5}}

    with shop(server.url, before_send=change) as (logger, client):
        logger.info("Seen", extra={"event": "a", "ip": "192.0.2.1", "user_agent": "Browser"})
        assert client.flush(5)
    (request,) = server.requests
    assert request.headers["x-client-ip"] == "192.0.2.0x-other: 1"
    assert request.headers["user-agent"].startswith("op-logging/")
    assert request.headers["openpanel-client-id"] == CLIENT_ID
    assert {"x-more", "x-other"}.isdisjoint(request.headers)
    assert "headers" not in request.call


def test_headers_that_it_takes_away_are_not_sent(server: ScriptedServer) -> None:
    """Such as an address that is personal data."""

    def change(line: Line) -> Line:
        del line["headers"]
        return line

    with shop(server.url, before_send=change) as (logger, client):
        logger.info("Seen", extra={"event": "a", "ip": "192.0.2.1"})
        assert client.flush(5)
        assert client.stats().delivered == 1
    assert "x-client-ip" not in server.requests[0].headers


def test_what_it_drops_is_counted_and_nothing_is_said(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It was meant: no loss, so on_drop does not hear of it."""
    hook = Recorder(lambda line: None if name_of(line) == "no" else line)
    losses = Recorder()
    with shop(server.url, before_send=hook, on_drop=losses) as (logger, client):
        for name in ("no", "yes", "no"):
            logger.info("One", extra={"event": name})
        assert client.flush(5)
        stats = client.stats()
    assert server.names == ["yes"]
    assert (stats.accepted, stats.delivered, stats.dropped) == (3, 1, 2)
    assert dict(stats.reasons) == {"before_send": 2}
    assert stats.last_error is None
    assert said(caplog) == []
    assert losses.lines == []


class Unreadable(Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> NoReturn:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


def fail(line: Line) -> NoReturn:
    """Raise, with what must not be said."""
    raise RuntimeError(str(line))


def leave(_line: Line) -> NoReturn:
    """Try to end the program."""
    sys.exit(3)


NONSENSE = [
    5,
    "text",
    [1],
    b"{}",
    True,
    {},
    {"type": "track"},
    {"type": "track", "payload": None},
    {"type": 5, "payload": {}},
    {"payload": {"name": "x"}},
    Unreadable(),
]


@pytest.mark.parametrize(
    "then", [fail, leave, *((lambda _line, found=found: found) for found in NONSENSE)]
)
def test_one_that_fails_costs_that_event_only(
    then: Any, server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and said with the line of code, and not with what is in the event."""
    hook = Recorder(lambda line: then(line) if name_of(line) == "bad" else line)
    losses = Recorder()
    with shop(server.url, before_send=hook, on_drop=losses) as (logger, client):
        for name in ("good", "bad", "fine", "bad"):
            logger.info("One", extra={"event": name, "card": "4242"})
        assert client.flush(5)
        stats = client.stats()
    assert sorted(server.names) == ["fine", "good"]
    assert dict(stats.reasons) == {"hook_failed": 2}
    assert (stats.dropped, stats.delivered) == (2, 2)
    (text,) = said(caplog)
    assert f"{__file__}:" in text
    assert "4242" not in text
    assert str(stats.last_error) in text
    assert (losses.names, losses.reasons) == (["bad", "bad"], ["hook_failed"] * 2)


def test_events_that_it_logs_itself_are_no_events(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """They would be its next calls, for ever: counted as recursion, and said once."""
    made: list[logging.Logger] = []

    def chatter(line: Line) -> Line:
        made[0].info("Sent", extra={"event": "sent"})
        made[0].info("no event")
        return line

    with shop(server.url, before_send=chatter) as (logger, client):
        made.append(logger)
        for _ in range(3):
            logger.info("One", extra={"event": "one"})
        assert client.flush(5)
        wait_until(lambda: client.stats().dropped == 3)
        assert dict(client.stats().reasons) == {"recursion": 3}
        assert client.stats().accepted == 6
        wait_until(lambda: said(caplog))
    assert server.names == ["one"] * 3
    (text,) = said(caplog)
    assert "while a hook" in text
    assert f"{__file__}:" in text


def test_events_of_other_threads_are_taken_while_it_runs(server: ScriptedServer) -> None:
    """Only what its own thread logs is its own doing."""
    started: list[str] = []

    def wait(line: Line) -> Line:
        started.append(name_of(line))
        if name_of(line) == "slow":
            wait_until(lambda: "logged" in started)
        return line

    with shop(server.url, before_send=wait) as (logger, client):
        logger.info("Slow", extra={"event": "slow"})
        wait_until(lambda: started == ["slow"])
        logger.info("Other", extra={"event": "other"})
        started.append("logged")
        assert client.flush(5)
        assert dict(client.stats().reasons) == {}
    assert sorted(server.names) == ["other", "slow"]


def test_one_that_flushes_is_not_kept_waiting_for_itself(server: ScriptedServer) -> None:
    """In the sender's thread nothing is waited for."""
    clients: list[OpenPanelClient] = []

    def flush(line: Line) -> Line:
        began = time.monotonic()
        assert clients[0].flush(30) is False
        assert time.monotonic() - began < 5
        return line

    with client_of(server.url, before_send=flush) as client:
        clients.append(client)
        client.submit(Track("one"))
        assert client.flush(10)
        assert client.stats().delivered == 1


def test_what_it_makes_of_a_call_decides_what_becomes_of_it() -> None:
    """A track call that it turns into revenue, say, is sent at most once."""

    def bill(line: Line) -> Line:
        line["payload"]["properties"]["__revenue"] = 100
        return line

    with ScriptedServer(lambda _request: Vanish()) as server:
        with client_of(server.url, before_send=bill) as client:
            client.submit(Track("paid"))
            assert client.flush(5)
            assert dict(client.stats().reasons) == {"unconfirmed": 1}
        assert len(server.requests) == 1


def test_it_leaves_the_order_as_it_is() -> None:
    """Also that of a call which names no profile itself, but was logged for one."""
    go_on = threading.Event()

    def script(request: Request) -> Answer:
        if request.name == "group":
            go_on.wait(30)
        return OK

    with ScriptedServer(script) as server, shop(server.url, before_send=Recorder()) as shopping:
        logger, client = shopping
        group = {"type": "group", "payload": {"id": "g1", "type": "company"}}
        logger.info("Team", extra={"event": group, "profile_id": "u1"})
        logger.info("Seen", extra={"event": "held up", "profile_id": "u1"})
        for _ in range(3):
            logger.info("Seen", extra={"event": "other", "profile_id": "u2"})
        server.wait_for(4)
        assert sorted(server.names) == ["group", "other", "other", "other"]
        go_on.set()
        assert client.flush(5)
        assert server.names[-1] == "held up"


def test_counters_are_summed_as_it_returns_them(server: ScriptedServer) -> None:
    """It sees each of them, not the sum."""

    def double(line: Line) -> Line:
        line["payload"]["value"] *= 2
        return line

    hook = Recorder(double)
    with client_of(server.url, before_send=hook, counter_interval=60) as client:
        for _ in range(3):
            client.submit(Increment("u1", "visits", 5))
        assert client.flush(5)
    assert len(hook.lines) == 3
    assert [request.call["payload"]["value"] for request in server.requests] == [30]


def test_a_call_that_it_makes_too_large_is_dropped(server: ScriptedServer) -> None:
    """The limit is for what would be sent."""

    def blow_up(line: Line) -> Line:
        line["payload"]["properties"]["text"] = "x" * 1_000
        return line

    with client_of(server.url, before_send=blow_up, max_event_bytes=500) as client:
        client.submit(Track("one"))
        assert client.flush(5)
        assert dict(client.stats().reasons) == {"too_large": 1}


def test_it_may_be_named_in_the_environment(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its dotted path, as in a dictConfig."""
    monkeypatch.setenv("OPENPANEL_BEFORE_SEND", "support.hooks.mark")
    with shop(server.url) as (logger, client):
        logger.info("One", extra={"event": "one"})
        assert client.flush(5)
    assert server.requests[0].call["payload"]["properties"]["marked"] is True


def test_it_may_be_named_in_a_configuration(server: ScriptedServer) -> None:
    """Two handlers that name different ones share no client."""
    options: dict[str, Any] = {"api_url": server.url, "client_secret": SECRET}
    dropping = OpenPanelHandler(CLIENT_ID, before_send="support.hooks.drop", **options)
    marking = OpenPanelHandler(CLIENT_ID, before_send="support.hooks.mark", **options)
    assert dropping.client is not marking.client
    with logger_of(marking.client) as logger:
        logger.addHandler(dropping)
        logger.info("One", extra={"event": "one"})
        assert dropping.flush(5)
        assert marking.flush(5)
        logger.removeHandler(dropping)
    assert dict(dropping.stats().reasons) == {"before_send": 1}
    assert len(server.requests) == 1


class CancellationError(BaseException):
    """Such as asyncio's, trio's and gevent's."""


def test_one_that_is_cancelled_costs_its_event_only(server: ScriptedServer) -> None:
    """The sender goes on, and the books are right."""

    def cancelled(line: Line) -> Line:
        if name_of(line) == "bad":
            raise CancellationError
        return line

    with client_of(server.url, before_send=cancelled) as client:
        for name in ("one", "bad", "two"):
            client.submit(Track(name))
        assert client.flush(5)
        assert sorted(server.names) == ["one", "two"]
        assert dict(client.stats().reasons) == {"hook_failed": 1}


def test_what_is_raised_at_the_application_while_it_runs_there_is_the_applications(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no thread can be started, it runs in who flushes: Ctrl-C goes through, and counts."""

    def interrupted(_line: Line) -> NoReturn:
        raise KeyboardInterrupt

    # No more threads for real would need another process: see the tests of the engine.
    monkeypatch.setattr("op_logging._life.Life.start_thread", lambda *_: False)
    with client_of(server.url, before_send=interrupted) as client:
        client.submit(Track("one"))
        with pytest.raises(KeyboardInterrupt):
            client.flush(5)
        assert client.flush(5)
        assert dict(client.stats().reasons) == {"hook_failed": 1}


def test_calls_that_it_submits_itself_are_turned_away(server: ScriptedServer) -> None:
    """They would never end."""
    submitted: list[bool] = []

    def busy(line: Line) -> Line:
        submitted.append(client.submit(Track("again")))
        return line

    with client_of(server.url, before_send=busy) as client:
        client.submit(Track("one"))
        assert client.flush(5)
        assert dict(client.stats().reasons) == {"recursion": 1}
    assert (server.names, submitted) == (["one"], [False])
