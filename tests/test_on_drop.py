"""The hook on_drop: it hears of every loss, with its reason, in the sender."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from op_logging import Increment, OpenPanelClient, Revenue, Track
from support.clients import client_of, logger_of, shop
from support.hooks import Line, Recorder, name_of
from support.programs import run
from support.scripted_server import OK, Answer, Hang, Request, ScriptedServer, Vanish, http
from support.waiting import wait_until

SENDER = "op_logging-sender"


@contextmanager
def losing(
    script: Callable[[Request], Answer] = lambda _request: OK, **options: Any
) -> Iterator[tuple[OpenPanelClient, Recorder, ScriptedServer]]:
    """Give a client with a hook, and its server."""
    hook = Recorder()
    with ScriptedServer(script) as server:
        with client_of(server.url, on_drop=hook, **options) as client:
            yield client, hook, server


def test_what_the_server_refuses() -> None:
    """It is handed the call as the formatter would write it, when it is known."""

    def script(request: Request) -> Answer:
        return http(400, "no") if request.name == "bad" else OK

    with losing(script) as (client, hook, _), logger_of(client) as logger:
        logger.info("Good", extra={"event": "good"})
        logger.info("Bad", extra={"event": "bad", "total": 42, "ip": "192.0.2.1"})
        wait_until(lambda: hook.lines)
        assert client.flush(5)
        assert client.stats().rejected == 1
    assert hook.reasons == ["bad_request"]
    (line,) = hook.lines
    assert line["payload"]["name"] == "bad"
    assert line["payload"]["properties"]["total"] == 42
    assert line["headers"] == {"x-client-ip": "192.0.2.1"}
    assert hook.threads == [SENDER]


def test_what_is_too_large() -> None:
    """All of it: what to do with it is the hook's business."""
    with losing(max_event_bytes=300) as (client, hook, server):
        client.submit(Track("large", {"text": "x" * 400}))
        client.submit(Track("small"))
        assert client.flush(5)
        wait_until(lambda: hook.lines)
        assert server.names == ["small"]
    assert hook.reasons == ["too_large"]
    assert hook.lines[0]["payload"]["properties"]["text"] == "x" * 400
    assert hook.threads == [SENDER]


@pytest.mark.parametrize(("overflow", "lost"), [("drop_newest", (10, 18)), ("drop_oldest", (0, 8))])
def test_what_finds_the_queue_full(overflow: str, lost: tuple[int, int]) -> None:
    """The newest or the oldest, as it was told; built in the sender's thread, and redacted."""
    hook = Recorder()
    options = {"queue_size": 10, "overflow": overflow, "flush_interval": 60, "on_drop": hook}
    with ScriptedServer() as server, client_of(server.url, **options) as client:
        with logger_of(client, redact="card") as logger:
            for number in range(18):
                logger.info("One", extra={"event": str(number), "card": "4242"})
                assert len(client.inbox or ()) <= 10
            assert client.flush(5)
        wait_until(lambda: len(hook.lines) == 8)
        assert client.stats().reasons == {"queue_full": 8}
    assert hook.names == [str(number) for number in range(*lost)]
    assert set(hook.reasons) == {"queue_full"}
    assert {line["payload"]["properties"]["card"] for line in hook.lines} == {"(redacted)"}
    assert set(hook.threads) == {SENDER}


@pytest.mark.parametrize(("overflow", "lost"), [("drop_newest", "last"), ("drop_oldest", "first")])
def test_what_finds_too_many_bytes(overflow: str, lost: str) -> None:
    """Also what the sender had taken already."""
    options = {"queue_max_bytes": 1_024, "overflow": overflow, "max_connections": 1}
    with losing(lambda _request: http(503, ""), **options) as (client, hook, server):
        client.submit(Track("probe"))
        server.wait_for(1)
        client.submit(Track("first", {"text": "x" * 600}))
        wait_until(lambda: client.stats().retried > 0)
        client.submit(Track("last", {"text": "x" * 600}))
        wait_until(lambda: lost in hook.names)
        assert set(hook.reasons) == {"queue_full"}
        assert set(hook.threads) == {SENDER}


def test_what_is_too_old() -> None:
    """It could not be delivered within max_age."""
    with losing(lambda _request: http(503, ""), max_age=0.1) as (client, hook, _):
        client.submit(Track("old"))
        wait_until(lambda: hook.lines)
    assert (hook.names, hook.reasons, hook.threads) == (["old"], ["expired"], [SENDER])


def test_what_may_have_arrived_and_must_not_count_twice() -> None:
    """A sum as it was sent, and revenue."""
    with losing(lambda _request: Vanish(), counter_interval=0.05) as (client, hook, server):
        for _ in range(3):
            client.submit(Increment("u1", "visits"))
        client.submit(Revenue(100, profile_id="u2"))
        assert client.flush(10)
        wait_until(lambda: len(hook.lines) == 2)
        assert len(server.requests) == 2
    assert hook.reasons == ["unconfirmed"] * 2
    values = [line["payload"].get("value") for line in hook.lines]
    assert sorted(values, key=str) == [3, None]
    assert set(hook.threads) == {SENDER}


def test_what_fails_every_time_while_others_get_through() -> None:
    """After five answers of 5xx."""

    def script(request: Request) -> Answer:
        return http(500, "Internal server error") if request.name == "poison" else OK

    with losing(script, max_backoff=0.1) as (client, hook, _):
        client.submit(Track("poison"))
        for number in range(200):
            if hook.lines:
                break
            client.submit(Track(f"event {number}"))
            client.flush(0.05)
        wait_until(lambda: hook.lines)
    assert (hook.names, hook.reasons, hook.threads) == (["poison"], ["server_error"], [SENDER])


def test_what_waits_when_the_client_is_closed() -> None:
    """What waited to be sent again, what was held, all of it: a moment after the time is up."""
    with losing(lambda _request: http(503, ""), counter_interval=60) as (client, hook, _):
        for number in range(5):
            client.submit(Track(str(number)))
        client.submit(Increment("u1", "visits"))
        assert client.close(0.3) is False
        wait_until(lambda: len(hook.names) == 6)
        assert sorted(hook.names) == ["0", "1", "2", "3", "4", "increment"]
        assert set(hook.reasons) == {"closed"}
        assert set(hook.threads) == {SENDER}


def test_what_was_never_taken_when_the_client_is_closed() -> None:
    """What waited in the queue is built for it, when the thread that hung goes on."""
    go_on = threading.Event()

    def hang(line: Line) -> Line:
        if name_of(line) == "first":
            go_on.wait(30)
        return line

    with losing(before_send=hang) as (client, hook, _):
        client.submit(Track("first"))
        wait_until(lambda: not client.inbox)
        for number in range(5):
            client.submit(Track(str(number)))
        assert client.close(0.1) is False
        assert hook.names == []
        go_on.set()
        wait_until(lambda: len(hook.names) == 6)
        assert hook.names == ["first", "0", "1", "2", "3", "4"]
        assert set(hook.threads) == {SENDER}
        assert dict(client.stats().reasons) == {"closed": 6}


def test_what_was_out_when_the_client_was_closed(caplog: pytest.LogCaptureFixture) -> None:
    """Its answer comes too late, when there is no sender any more; it is said all the same."""
    with losing(lambda _request: Hang(), timeout=(2, 0.5)) as (client, hook, server):
        client.submit(Track("out"))
        server.wait_for(1)
        assert client.close(0.1) is False
        assert hook.lines == []
        assert client.stats().in_flight == 1
        wait_until(lambda: hook.lines)
        assert (hook.names, hook.reasons) == (["out"], ["closed"])
    wait_until(lambda: "was closed before track out" in caplog.text)


def fail(_line: Line) -> NoReturn:
    """Raise."""
    raise ValueError("4242")


@pytest.mark.parametrize("then", [fail, lambda _line: sys.exit(3)])
def test_one_that_raises_costs_nothing_else(
    then: Callable[[Line], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once, and hears of the next one, too."""
    hook = Recorder(then)

    def script(request: Request) -> Answer:
        return http(400, "no") if request.name == "bad" else OK

    with ScriptedServer(script) as server, client_of(server.url, on_drop=hook) as client:
        for _ in range(3):
            client.submit(Track("bad"))
            client.submit(Track("good"))
            assert client.flush(5)
        wait_until(lambda: len(hook.lines) == 3)
        assert (client.stats().delivered, client.stats().rejected) == (3, 3)
    assert caplog.text.count("on_drop raised") == 1
    assert "4242" not in caplog.text


def test_events_that_it_logs_itself_are_no_events(caplog: pytest.LogCaptureFixture) -> None:
    """Each would be the next loss, for ever."""
    made: list[logging.Logger] = []

    def chatter(_line: Line) -> None:
        made[0].info("Lost", extra={"event": "lost"})

    hook = Recorder(chatter)
    with ScriptedServer(lambda _request: http(400, "no")) as server:
        with shop(server.url, on_drop=hook) as (logger, client):
            made.append(logger)
            logger.info("Bad", extra={"event": "bad"})
            assert client.flush(5)
            wait_until(lambda: client.stats().dropped == 1)
            assert client.flush(5)
            assert dict(client.stats().reasons) == {"bad_request": 1, "recursion": 1}
        assert server.names == ["bad"]
    assert hook.names == ["bad"]
    wait_until(lambda: "while a hook" in caplog.text)


def test_it_hears_of_what_is_lost_at_the_end_of_a_flush() -> None:
    """Before flush comes back, or soon after it: nobody has to log another event for it."""
    with losing(lambda _request: http(400, "no")) as (client, hook, _):
        for number in range(1, 6):
            client.submit(Track("bad"))
            assert client.flush(5)
            # mypy infers no type for a lambda's default, which binds the loop's value
            wait_until(lambda number=number: len(hook.lines) == number)  # type: ignore[misc]


def test_a_slow_hook_does_not_hold_who_closes() -> None:
    """It goes on in the sender's thread: the close has one deadline."""
    go_on = threading.Event()
    heard: list[str] = []

    def slow(line: Line, _reason: str) -> None:
        go_on.wait(30)
        heard.append(name_of(line))

    with ScriptedServer(lambda _request: http(503, "")) as server:
        with client_of(server.url, on_drop=slow) as client:
            for number in range(3):
                client.submit(Track(str(number)))
            began = time.monotonic()
            assert client.close(0.3) is False
            assert time.monotonic() - began < 10
            go_on.set()
            wait_until(lambda: len(heard) == 3)


class CancellationError(BaseException):
    """Such as asyncio's, trio's and gevent's."""


def test_a_hook_that_is_cancelled_costs_nothing_more(caplog: pytest.LogCaptureFixture) -> None:
    """The sender goes on."""

    def cancelled(_line: Line, _reason: str) -> NoReturn:
        raise CancellationError

    def script(request: Request) -> Answer:
        return http(400, "no") if request.name == "bad" else OK

    with ScriptedServer(script) as server, client_of(server.url, on_drop=cancelled) as client:
        client.submit(Track("bad"))
        wait_until(lambda: "on_drop raised CancellationError" in caplog.text)
        client.submit(Track("good"))
        assert client.flush(5)
        assert server.names == ["bad", "good"]


def test_the_exit_waits_for_the_hook(tmp_path: Path, server: ScriptedServer) -> None:
    """It hears of what the server refused at the very end."""
    server.script = lambda _request: http(400, "no")
    code = """
    import time
    def on_drop(call, reason):
        time.sleep(0.2)
        print(call["payload"]["name"], reason, flush=True)
    client = op_logging.OpenPanelClient(on_drop=on_drop)
    client.submit(op_logging.Track("refused"))
    client.submit(op_logging.Track("too"))
    """
    status, out, _ = run(tmp_path, server.url, code)
    assert (status, out.split()) == (0, ["refused", "bad_request", "too", "bad_request"])
