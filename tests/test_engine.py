"""The engine where things are tight: no threads to be had, closing, and things that break."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from op_logging import (
    Identify,
    Increment,
    OpenPanelClient,
    OpenPanelHandler,
    Track,
    _life,
)
from op_logging._render import build
from op_logging._rendered import Built, Data, created_of
from support.clients import client_of, shop
from support.programs import run
from support.scripted_server import OK, Hang, Request, ScriptedServer, http
from support.waiting import wait_until

NO_MORE_THREADS = """
import resource, threading
def no_more_threads():
    # A thread's stack is bigger than what the process may have from now on.
    threading.stack_size(1 << 30)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), resource.RLIM_INFINITY))
    try:
        threading.Thread(target=print).start()
    except RuntimeError:
        return
    sys.exit(9)
"""


def test_without_any_thread_the_exit_delivers_in_its_own(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """A system that is out of threads costs speed, not events."""
    code = NO_MORE_THREADS + "no_more_threads()\nfor n in range(20): log(str(n))"
    status, _, errors = run(tmp_path, server.url, code)
    assert (status, errors) == (0, "")
    assert sorted(map(int, server.names)) == list(range(20))


def test_without_any_thread_a_flush_retries_and_keeps_its_deadline(tmp_path: Path) -> None:
    """Also beside a server that fails first, and one that hangs."""

    def script(request: Request) -> bytes | Hang:
        if request.name == "hangs":
            return Hang()
        return http(503, "") if request.number == 1 else OK

    code = """
    no_more_threads()
    log("first")
    assert handler.flush(10)
    log("hangs")
    import time
    began = time.monotonic()
    assert handler.flush(0.5) is False
    assert time.monotonic() - began < 5
    os._exit(0)
    """
    with ScriptedServer(script) as server:
        status, _, errors = run(tmp_path, server.url, NO_MORE_THREADS, code)
        assert (status, errors) == (0, "")
        assert server.names == ["first", "first", "hangs"]


def test_a_sender_that_can_have_no_lanes_sends_by_itself(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """It was started while there were threads to be had."""
    code = """
    for n in range(10):
        log(str(n))
    no_more_threads()
    assert handler.flush(10)
    """
    status, _, errors = run(tmp_path, server.url, NO_MORE_THREADS, code, flush_interval="30")
    assert (status, errors) == (0, "")
    assert sorted(map(int, server.names)) == list(range(10))


def test_a_lane_without_work_ends_and_another_starts_when_there_is_some(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real time is a minute: too long to wait for in a test."""
    monkeypatch.setattr(_life, "_LANE_IDLE", 0.05)
    monkeypatch.setattr("op_logging._process.NO_THREADS_AT_EXIT", False)
    with client_of(server.url) as client:
        for name in ("one", "two"):
            client.submit(Track(name))
            assert client.flush(5)
            wait_until(lambda: not lanes())
        assert server.names == ["one", "two"]
        assert server.connections == 2


def lanes() -> list[threading.Thread]:
    """Return the lanes that are alive."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("op_logging-lane")]


def test_what_a_barrier_lets_go_is_sent_side_by_side_while_a_retry_is_far_away() -> None:
    """The sender, which sleeps until that retry, is needed to open lanes."""

    def script(request: Request) -> bytes:
        unknown = http(404, {"status": 404, "message": "Profile not found"})
        return unknown if request.call["type"] == "increment" else OK

    with ScriptedServer(script, delay=0.05) as server, client_of(server.url) as client:
        client.submit(Increment("nobody", "visits"))
        engine = client._engine  # how long it will sleep cannot be seen from outside
        assert engine is not None
        wait_until(lambda: engine.life is not None and engine.life.wakes_at > 1.0)
        delivery = engine._dispatch.delivery
        wait_until(lambda: (delivery.lanes.next_due or 0.0) > time.monotonic() + 1.5, 60)
        client.submit(Identify("u1"))
        for number in range(60):
            client.submit(Track(f"event {number}", profile_id="u1"))
        server.wait_for(61)
        assert server.most_at_once >= 4


def test_an_event_that_comes_just_before_the_sender_sleeps_is_not_overslept(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment is made by hand: it is some microseconds long."""
    with client_of(server.url) as client:
        client.submit(Track("first"))
        assert client.flush(5)
        engine = client._engine
        assert engine is not None
        turn = engine._turn
        late: list[bool] = []

        def turn_and_then(life: object) -> float | None:
            pause = turn(life)  # type: ignore[arg-type]
            if not late:
                late.append(client.submit(Track("late")))
                return 60.0
            return pause

        monkeypatch.setattr(engine, "_turn", turn_and_then)
        engine.hurry()
        server.wait_for(2)
    assert server.names == ["first", "late"]


def test_an_idle_client_wakes_nobody(server: ScriptedServer) -> None:
    """Its sender sleeps until the doorbell rings."""
    with client_of(server.url) as client:
        client.submit(Track("one"))
        assert client.flush(5)
        engine = client._engine  # how often it wakes cannot be seen from outside
        assert engine is not None
        life = engine.life
        assert life is not None
        wait_until(lambda: life.asleep and life.wakes_at == float("inf"))


class Unreadable(Mapping[str, object]):
    """Properties that nobody can read."""

    def __getitem__(self, key: str) -> object:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError


def test_properties_that_cannot_be_read_cost_their_event_only(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Handed to the client, or as an extra: nothing reaches the caller."""
    with shop(server.url) as (logger, client):
        assert client.submit(Track("one", Unreadable())) is False
        assert client.submit("no call") is False  # type: ignore[arg-type]  # that is the point
        logger.info("Two", extra={"event": Track("two", Unreadable())})
        logger.info("Three", extra={"event": "three", "properties": Unreadable()})
        logger.info("Four", extra={"event": "four", "odd": Unreadable()})
        assert client.flush(5)
        stats = client.stats()
        assert sorted(server.names) == ["four", "three"]
    assert (stats.accepted, dict(stats.reasons)) == (5, {"invalid": 3, "left_out": 1})
    assert "RuntimeError" in capsys.readouterr().err


def put_in(client: OpenPanelClient, build_call: Callable[[Data], Built]) -> None:
    """Put an event into the queue that is built in an odd way."""
    assert client.inbox is not None
    client.inbox.put(build_call, ("event", {}, time.time(), ("app.py", 1)))


def broken(_data: Data) -> Built:
    """Fail in a way that nobody thought of."""
    raise ZeroDivisionError


def test_an_event_that_breaks_the_rendering_costs_itself_only(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The others of its batch are sent."""
    with client_of(server.url) as client:
        client.submit(Track("before"))
        put_in(client, broken)
        client.submit(Track("after"))
        assert client.flush(5)
        assert sorted(server.names) == ["after", "before"]
        assert dict(client.stats().reasons) == {"invalid": 1}
    assert "ZeroDivisionError" in caplog.text


def test_a_sender_and_a_lane_that_fail_go_on(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of the engine's own is said and costs a second: nothing outside can cause one."""
    with client_of(server.url) as client:
        engine = client._engine
        assert engine is not None
        turn, await_work = engine._turn, _life.Life.await_work
        faults = {"turn": 1, "lane": 1}

        def broken_turn(life: object) -> object:
            if faults["turn"]:
                faults["turn"] -= 1
                raise ZeroDivisionError
            return turn(life)  # type: ignore[arg-type]

        def broken_await(life: object, doorbell: object, lock: object) -> object:
            if faults["lane"]:
                faults["lane"] -= 1
                raise ZeroDivisionError
            return await_work(life, doorbell, lock)  # type: ignore[arg-type]

        monkeypatch.setattr(engine, "_turn", broken_turn)
        monkeypatch.setattr(_life.Life, "await_work", broken_await)
        client.submit(Track("event"))
        assert client.flush(10)
        assert server.names == ["event"]
        wait_until(lambda: "a lane failed: ZeroDivisionError" in caplog.text)
    assert "the sender failed: ZeroDivisionError" in caplog.text


def test_the_delivery_threads_do_not_wait_for_themselves_but_may_log_events(
    server: ScriptedServer,
) -> None:
    """A finalizer may run in any thread, and log there."""
    found: list[bool] = []

    with shop(server.url) as (logger, client):

        def nosy(data: Data) -> Built:
            found.append(client.flush(5))
            logger.info("Gone", extra={"event": "finalized"})
            return build("event", (), {}, created_of(data))

        put_in(client, nosy)
        server.wait_for(2)
        assert client.flush(5)
        assert client.stats().delivered == 2
    assert found == [False]
    assert sorted(server.names) == ["event", "finalized"]


def test_an_event_that_is_logged_while_a_diagnosis_is_shown_is_turned_away(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It might be the cause of the next diagnosis, for ever. It is counted and said."""
    server.script = lambda _request: http(400, {"message": "no"})
    with shop(server.url) as (logger, client):

        class Nosy(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                logger.info("Heard %s", record.msg, extra={"event": "heard"})

        nosy = Nosy()
        logging.getLogger("op_logging").addHandler(nosy)
        try:
            logger.info("Bad", extra={"event": "bad"})
            wait_until(lambda: "a diagnosis of this package ran" in caplog.text)
        finally:
            logging.getLogger("op_logging").removeHandler(nosy)
        assert client.flush(5)
        stats = client.stats()
    assert server.names == ["bad"]
    assert stats.reasons["recursion"] == stats.accepted - 1 >= 1


def test_the_oldest_event_ages(server: ScriptedServer) -> None:
    """In the queue, in line, or on its way."""
    with client_of(server.url, flush_interval=30) as client:
        assert client.stats().oldest == 0.0
        client.submit(Track("event"))
        wait_until(lambda: client.stats().oldest > 0.02)
        assert client.flush(5)
        assert client.stats().oldest == 0.0


def test_handlers_count_for_their_client_as_long_as_they_exist(
    server: ScriptedServer,
) -> None:
    """How many there are decides whether records are looked at twice; closed ones may still log."""
    with client_of(server.url) as client:
        handlers = [OpenPanelHandler(client=client) for _ in range(2)]
        for handler in handlers:
            handler.close()
        assert client.attached == 2
        del handler
        handlers.pop()
        gc.collect()
        assert client.attached == 1
