"""What a signal handler interrupts: it may take its time, and it may raise."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from op_logging import Track
from op_logging._bell import Bell
from support.clients import client_of, logger_of, shop
from support.programs import run
from support.scripted_server import Hang, ScriptedServer

Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def on_alarm(handler: Handler, after: float) -> Iterator[None]:
    """Let a signal come in a while."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_flush_ends_though_a_signal_handler_ran_past_its_deadline() -> None:
    """A queue's ``get`` takes the negative rest of its time for no limit, before Python 3.13."""
    with ScriptedServer(lambda _request: Hang()) as server, client_of(server.url) as client:
        client.submit(Track("hangs"))
        done: list[bool] = []

        def dump(*_: object) -> None:
            time.sleep(0.4)

        with on_alarm(dump, 0.1):
            began = time.monotonic()
            done.append(client.flush(0.3))
            assert time.monotonic() - began < 5
        assert done == [False]


def test_an_exit_ends_though_a_signal_handler_flushes_past_its_deadline(tmp_path: Path) -> None:
    """As a program does that handles SIGTERM, and gets one while it ends."""
    code = """
    import signal
    def on_term(*_):
        log("last words")
        handler.flush()
    signal.signal(signal.SIGTERM, on_term)
    log("hangs")
    import threading, time
    def kill():
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=kill, daemon=True).start()
    """
    with ScriptedServer(lambda _request: Hang()) as server:
        status, _, errors = run(tmp_path, server.url, code, shutdown_timeout="1")
    assert status == 0
    assert "2 events could not be delivered" in errors


@pytest.mark.parametrize("seconds", [0, 0.0, -1.0, 0.01])
def test_a_bell_that_nobody_rings(seconds: float) -> None:
    """It waits no longer than it is told to, whatever that is."""
    assert Bell().wait(seconds) is False


def test_a_bell_that_rings_twice_wakes_once() -> None:
    """And the waiter need not wait already."""
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait(None) is True
    assert bell.wait(0) is False


def test_what_is_raised_while_the_first_event_starts_the_sender_costs_nothing_more(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time-out of the application's own may come just then: made here by hand, at its worst."""

    class OutOfTimeError(BaseException):
        """As some programs raise it in a signal handler."""

    start = threading.Thread.start

    def before_it(_thread: threading.Thread) -> NoReturn:
        raise OutOfTimeError

    def after_it(thread: threading.Thread) -> NoReturn:
        start(thread)
        raise OutOfTimeError

    for interrupted in (before_it, after_it):
        with shop(server.url) as (logger, client):
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", interrupted)
                with pytest.raises(OutOfTimeError):
                    logger.info("First", extra={"event": "first"})
            logger.info("Second", extra={"event": "second"})
            assert client.flush(10)
            assert client.stats().delivered == 2
    assert sorted(server.names) == ["first", "first", "second", "second"]


def test_a_first_event_near_the_limit_of_recursion_leaves_no_dead_client(
    server: ScriptedServer,
) -> None:
    """Wherever the recursion ends: the start of a thread is deeper than the rest."""

    def deep(left: int, log: Callable[[], object]) -> None:
        if left:
            deep(left - 1, log)
        else:
            log()

    depth = 0
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        frame, depth = frame.f_back, depth + 1
    lost = 0
    for short_of in range(2, 60, 2):
        with client_of(server.url) as client, logger_of(client) as logger:
            logged = "not logged"
            try:
                deep(
                    sys.getrecursionlimit() - depth - short_of,
                    lambda: logger.info("Deep", extra={"event": "deep"}),
                )
                logged = "logged"
            except RecursionError:
                lost += 1
            logger.info("After", extra={"event": "after"})
            assert client.flush(10), (short_of, logged)
            assert client.stats().delivered >= 1
    assert lost > 0


# It may also strike in a callback of the test's own tools, where nothing can be raised.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_raised_in_the_middle_of_many_log_calls(server: ScriptedServer) -> None:
    """It costs the event at hand at most, wherever it strikes."""

    class OutOfTimeError(Exception):
        """The application's."""

    def raise_it(*_: object) -> NoReturn:
        raise OutOfTimeError

    logging.raiseExceptions, before = False, logging.raiseExceptions
    try:
        for number in range(60):
            with shop(server.url) as (logger, client):
                with on_alarm(raise_it, 0.0005 + 0.00003 * number):
                    try:
                        for _ in range(200):
                            logger.info("One", extra={"event": "one"})
                        time.sleep(0.05)
                    except OutOfTimeError:
                        pass
                logger.info("After", extra={"event": "after"})
                assert client.flush(10), client.stats()
    finally:
        logging.raiseExceptions = before
    assert server.names.count("after") == 60
