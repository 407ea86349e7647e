"""The caller: its log calls wait for nothing and raise nothing, whatever they meet or interrupt."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import pytest
import structlog

from op_logging import OpenPanelClient, OpenPanelHandler, OpenPanelProcessor, Track
from support.clients import CLIENT_ID, SECRET, client_of, logger_of
from support.scripted_server import OK, Answer, Request, ScriptedServer, http
from support.waiting import wait_until

Say = Callable[..., Any]
Fault = tuple[str, list[object], threading.Event]
DELAY = 2.0
"""Seconds that a server or a name server takes, where it does: whoever waited would be seen."""
CALLS = 2_000
WAYS = ["handler", "processor", "client"]
FAULTS = ["answers", "answers late", "hangs", "refuses", "fails", "a slow name"]


@contextmanager
def opened(kind: str, client: OpenPanelClient) -> Iterator[tuple[Say, Callable[[float], object]]]:
    """Give a function that logs an event, and one that closes what it logs with."""
    if kind == "client":
        yield (lambda name, **fields: client.submit(Track(name, fields))), client.close
    elif kind == "handler":
        with logger_of(client) as logger:
            (handler,) = logger.handlers
            assert isinstance(handler, OpenPanelHandler)
            yield (
                (lambda name, **fields: logger.info("Said", extra={"event": name, **fields})),
                (handler.close),
            )
    else:
        processor = OpenPanelProcessor(CLIENT_ID, SECRET, client=client)
        log = structlog_logger(processor)
        yield (lambda name, **fields: log.info("Said", _event=name, **fields)), processor.close


@contextmanager
def way(kind: str, client: OpenPanelClient) -> Iterator[Say]:
    """Give a function that logs an event: by a handler, a processor, or the client."""
    with opened(kind, client) as (say, _):
        yield say


def structlog_logger(processor: OpenPanelProcessor) -> Any:
    """Return a structlog logger with context variables and a processor."""
    return structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[structlog.contextvars.merge_contextvars, processor, lambda *_: "rendered"],
    )


@contextmanager
def fault(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fault]:
    """Give the URL of a server that does what it does, who came to it, and what ends it."""
    came: list[object] = []
    over = threading.Event()

    def script(request: Request) -> Answer:
        came.append(request.name)
        if kind in {"hangs", "answers late"}:
            over.wait(60 if kind == "hangs" else DELAY)
        return http(500, "no") if kind == "fails" else OK

    with ScriptedServer(script) as server:
        url = server.url
        if kind == "a slow name":
            look_up = socket.getaddrinfo

            # No name can be relied on to be found slowly; the look-up itself is a call into C.
            def slowly(_host: object, *arguments: Any, **options: Any) -> Any:
                came.append("look-up")
                over.wait(DELAY)
                return look_up("127.0.0.1", *arguments, **options)

            monkeypatch.setattr(socket, "getaddrinfo", slowly)
            url = f"http://events.localhost:{server.port}"
        elif kind == "refuses":
            with socket.create_server(("127.0.0.1", 0)) as closed:
                url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        yield url, came, over


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("how", WAYS)
def test_a_log_call_waits_for_no_server(
    how: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, while and after the first events have come to it."""
    with fault(kind, monkeypatch) as (url, came, over):
        with client_of(url) as client, way(how, client) as say:
            slowest = 0.0
            for number in range(CALLS):
                if number == CALLS // 2:
                    wait_until(lambda: came or client.stats().last_error)
                began = time.monotonic()
                say(str(number), total=number)
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < DELAY / 2
            assert client.stats().accepted == CALLS
            if kind == "answers":
                assert client.flush(20)
                assert client.stats().delivered == CALLS
            over.set()
            client.close(0)


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest"])
@pytest.mark.parametrize("how", WAYS)
def test_a_log_call_waits_for_no_room(how: str, overflow: str) -> None:
    """A full queue costs an event, and no time; what was lost is counted."""
    over = threading.Event()

    def script(_request: Request) -> Answer:
        over.wait(60)
        return OK

    with ScriptedServer(script) as server:
        with client_of(server.url, queue_size=10, overflow=overflow) as client:
            with way(how, client) as say:
                slowest = 0.0
                for number in range(CALLS):
                    began = time.monotonic()
                    say(str(number))
                    slowest = max(slowest, time.monotonic() - began)
                assert slowest < DELAY / 2
                stats = client.stats()
                assert stats.accepted == CALLS
                assert stats.reasons["queue_full"] == stats.dropped > CALLS / 2
            over.set()


class Hostile:
    """Raises whatever it is asked."""

    def __getattribute__(self, name: str) -> NoReturn:
        raise RuntimeError(name)

    def __repr__(self) -> NoReturn:
        raise RuntimeError

    def __bool__(self) -> NoReturn:
        raise RuntimeError

    def __eq__(self, other: object) -> NoReturn:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]  # that is the point


class Unreadable(Mapping[str, object]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> NoReturn:
        raise RuntimeError(key)

    def __iter__(self) -> NoReturn:
        raise RuntimeError

    def __len__(self) -> NoReturn:
        raise RuntimeError


def odd_values() -> list[Any]:
    """Return what nobody expects in an event."""
    circle: list[Any] = []
    circle.append({"again": circle})
    deep: dict[str, Any] = {}
    for _ in range(5_000):
        deep = {"deeper": deep}
    values: list[Any] = [math.nan, -math.inf, 10**5_000, -(2**70), 1e308, 1j, "\ud800", "\0"]
    values += [b"\xff", bytearray(3), memoryview(b"x"), range(3), "x" * 10_000, "[", "{"]
    values += [object, object(), len, threading.Lock(), logging, Exception("x"), NotImplemented]
    values += [(each for each in "abc"), {1, "a"}, {(1, 2): 3, None: 4}, {"__proto__": 1}]
    return [*values, Hostile(), Unreadable(), circle, deep, type("Odd", (str,), {})("odd")]


@pytest.mark.parametrize("how", WAYS)
def test_an_odd_value_raises_nothing_and_costs_no_event(
    how: str, server: ScriptedServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """What arrives is JSON as the server reads it."""
    values = odd_values()
    with client_of(server.url) as client, way(how, client) as say:
        for number, value in enumerate(values):
            say(f"{number} as it is", odd=value)
            say(f"{number} inside", odd={"list": [value, {"value": value}]})
        assert client.flush(20)
        stats = client.stats()
    names = [f"{number} {how}" for number in range(len(values)) for how in ("as it is", "inside")]
    assert (stats.delivered, dict(stats.reasons)) == (len(names), {})
    assert sorted(server.names) == sorted(names)
    for request in server.requests:
        json.loads(request.body.decode(), parse_constant=pytest.fail)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("how", WAYS)
def test_an_event_that_is_none_raises_nothing(how: str, server: ScriptedServer) -> None:
    """Whatever stands where an event's name should."""
    with client_of(server.url) as client, way(how, client) as say:
        if how == "client":
            for value in odd_values():
                assert client.submit(value) is False
        else:
            for value in odd_values():
                say(value)
        say("after")
        assert client.flush(20)
        assert "after" in server.names


@pytest.mark.parametrize("how", WAYS)
def test_a_signal_handler_logs_in_the_middle_of_log_calls(how: str, server: ScriptedServer) -> None:
    """In the middle of anything; nothing is lost, nothing hangs."""
    count = main = 0
    with client_of(server.url, queue_size=1_000_000) as client, way(how, client) as say:

        def on_alarm(_signal: int, _frame: FrameType | None) -> None:
            nonlocal count
            count += 1
            say("signal", odd={"a": [count]})

        before = signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
        try:
            while count < 200:
                say("main", odd={"a": [main]})
                main += 1
                threading.Event().wait(0.0005)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert client.flush(30)
        assert client.stats().delivered == main + count


class Dying:
    """Something that logs when it is gone; in a circle, so that the collector finds it."""

    def __init__(self, say: Say) -> None:
        self.me = self
        self.say = say

    def __del__(self) -> None:
        self.say("finalizer", odd=[1])


@pytest.mark.parametrize("how", WAYS)
def test_finalizers_and_callbacks_log_in_the_middle_of_log_calls(
    how: str, server: ScriptedServer
) -> None:
    """Of objects, of weak references and of the collector, which runs here after a few objects."""
    weak: list[object] = []
    collections: list[str] = []  # appended to, which no other thread can come between
    ends: list[object] = []
    with client_of(server.url, queue_size=1_000_000) as client, way(how, client) as say:

        def on_collection(phase: str, _info: object) -> None:
            if phase == "start" and len(collections) < 300:
                collections.append(phase)
                say("collection", odd=[1])

        def on_end(ref: object) -> None:
            ends.append(ref)
            say("weak reference", odd=[1])

        threshold = gc.get_threshold()
        gc.callbacks.append(on_collection)
        gc.set_threshold(20, 2, 2)
        try:
            for number in range(300):
                dying = Dying(say)
                weak.append(weakref.ref(dying, on_end))
                del dying
                say("main", odd={"a": [number]})
        finally:
            gc.set_threshold(*threshold)
            gc.callbacks.remove(on_collection)
        gc.collect()
        assert client.flush(30)
        names = server.names
        assert names.count("weak reference") == len(ends) == 300
        assert names.count("main") == names.count("finalizer") == 300
        assert names.count("collection") == len(collections) > 10
        assert client.stats().delivered == len(names)


@pytest.mark.parametrize("how", WAYS)
def test_many_threads_log_at_once(how: str, server: ScriptedServer) -> None:
    """As a pool's; whose events arrive once each."""
    with client_of(server.url) as client, way(how, client) as say:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: say(f"{number}", odd={"a": [number]}), range(CALLS)))
        assert client.flush(30)
    assert sorted(map(int, server.names)) == list(range(CALLS))


def test_each_task_logs_with_its_own_context(server: ScriptedServer) -> None:
    """Context variables are read in the log call, not in the sender."""
    with client_of(server.url) as client:
        log = structlog_logger(OpenPanelProcessor(CLIENT_ID, SECRET, client=client))

        async def work(number: int) -> None:
            structlog.contextvars.bind_contextvars(profile_id=f"u{number}", task=number)
            for step in range(5):
                log.info("Said", _event=f"{number}", step=step)
                await asyncio.sleep(0)

        async def work_all() -> None:
            await asyncio.gather(*map(work, range(100)))

        asyncio.run(work_all())
        assert client.flush(30)
    assert len(server.requests) == 500
    for request in server.requests:
        payload = request.call["payload"]
        assert payload["profileId"] == f"u{payload['name']}"
        assert payload["properties"]["task"] == int(payload["name"])


@pytest.mark.parametrize("how", WAYS)
def test_log_calls_while_another_thread_closes(how: str, server: ScriptedServer) -> None:
    """Again and again; each event is delivered, or counted as lost to a close."""
    failures: list[BaseException] = []
    over = threading.Event()
    with client_of(server.url) as client, opened(how, client) as (say, close_it):

        def close() -> None:
            number = 0
            while not over.is_set():
                number += 1
                try:
                    client.close((0.0, 0.005, 0.05)[number % 3])
                    close_it((0.0, 0.005, 0.05)[number % 3])
                except BaseException as error:  # noqa: BLE001 - whatever it is, it is a failure
                    failures.append(error)

        closing = threading.Thread(target=close)
        closing.start()
        slowest = 0.0
        try:
            for number in range(CALLS):
                began = time.monotonic()
                say(str(number))
                slowest = max(slowest, time.monotonic() - began)
                if number % 20 == 0:
                    over.wait(0.002)
        finally:
            over.set()
            closing.join(20)
        assert client.flush(20)
        stats = client.stats()
    assert failures == []
    assert slowest < DELAY / 2
    assert stats.accepted == CALLS == stats.delivered + stats.dropped
    assert set(stats.reasons) <= {"closed"}
