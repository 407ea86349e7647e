"""Flushing and closing: whoever waits, for what, and for how long."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from op_logging import Identify, Track, flush
from op_logging._rendered import Captured
from support.clients import client_of
from support.scripted_server import OK, Hang, Request, ScriptedServer, http
from support.waiting import wait_until


def test_closing_ends_all_threads(server: ScriptedServer) -> None:
    """And opening and closing again and again leaves nothing behind."""
    before = threading.active_count()
    with client_of(server.url) as client:
        for number in range(20):
            client.submit(Track(str(number)))
            assert client.close(5)
            assert threading.active_count() <= before + 2  # the server's own, one a connection
            wait_until(lambda: threading.active_count() == before)
        assert len(server.requests) == 20


def test_events_while_it_is_being_closed_are_sent_or_counted(server: ScriptedServer) -> None:
    """By many threads at once; nothing hangs, nothing is lost without a count."""
    with client_of(server.url) as client:
        over = threading.Event()
        submitted = [0] * 4

        def work(index: int) -> None:
            while not over.wait(0.0005):
                client.submit(Track("event"))
                submitted[index] += 1

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                client.close(0.01)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        client.flush(10)
        client.close(5)
        stats = client.stats()
        assert stats.accepted == sum(submitted)
        assert stats.delivered + stats.dropped == stats.accepted
        assert set(stats.reasons) <= {"closed"}


def test_an_answer_after_the_close_is_counted_and_the_order_goes_on() -> None:
    """What was on its way is settled by its answer, also if its profile has gone on since."""
    gate = threading.Event()

    def script(request: Request) -> bytes:
        if request.number == 1:
            gate.wait(10)
        return OK

    with ScriptedServer(script) as server, client_of(server.url) as client:
        client.submit(Identify("u1"))
        server.wait_for(1)
        client.submit(Track("dropped", profile_id="u1"))
        assert client.close(0.1) is False
        client.submit(Track("after", profile_id="u1"))
        gate.set()
        assert client.flush(10)
        stats = client.stats()
        assert server.names == ["identify", "after"]
    assert (stats.accepted, stats.delivered, dict(stats.reasons)) == (3, 2, {"closed": 1})


def test_a_close_beside_a_hung_server_keeps_its_deadline() -> None:
    """What is in flight settles when its time-out has come."""
    with ScriptedServer(lambda _request: Hang()) as server:
        with client_of(server.url, timeout=(1, 1)) as client:
            client.submit(Track("hangs"))
            server.wait_for(1)
            began = time.monotonic()
            assert client.close(0.2) is False
            assert time.monotonic() - began < 0.9
            wait_until(lambda: client.stats().dropped == 1)
            assert dict(client.stats().reasons) == {"closed": 1}


def test_what_is_logged_while_it_is_being_closed_is_the_next_lifes() -> None:
    """It is delivered; only what a close has waited for in vain is dropped, and said."""
    gate = threading.Event()

    def script(request: Request) -> bytes:
        if request.name == "slow":
            gate.wait(10)
        return OK

    with ScriptedServer(script) as server, client_of(server.url, flush_interval=30) as client:
        client.submit(Track("slow"))
        client.hurry()
        server.wait_for(1)
        closing = threading.Thread(target=client.close, args=(10,))
        closing.start()
        engine = client._engine
        assert engine is not None
        wait_until(lambda: engine.inbox.generation == 1)
        client.submit(Track("late"))
        gate.set()
        closing.join(10)
        assert client.flush(5)
        stats = client.stats()
    assert server.names == ["slow", "late"]
    assert (stats.delivered, stats.dropped) == (2, 0)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 1e12])
def test_a_time_without_an_end_is_allowed(server: ScriptedServer, timeout: float) -> None:
    """Systems have a longest wait; who waits need not know it."""
    with client_of(server.url) as client:
        client.submit(Track("one"))
        assert client.flush(timeout)
        client.submit(Track("two"))
        assert flush(timeout)
        assert client.close(timeout)
    assert server.names == ["one", "two"]


def test_an_event_whose_log_call_overlaps_a_close_is_the_next_lifes(
    server: ScriptedServer,
) -> None:
    """It was marked before the close, and came into the queue after it."""
    with client_of(server.url) as client:
        client.submit(Track("before"))
        inbox = client.inbox
        assert inbox is not None
        build_call = client._build
        event: Captured = ("late", {}, time.time(), ("app.py", 1))
        marked = (build_call, event, inbox.generation)
        assert client.close(5)
        inbox.queue.append(marked)
        assert client.flush(5)
        assert (client.stats().delivered, dict(client.stats().reasons)) == (2, {})
    assert server.names == ["before", "late"]


def test_an_exception_of_the_applications_own_ends_a_flush(server: ScriptedServer) -> None:
    """An alarm that raises is not taken for a time that was up; nobody goes on waiting."""

    class AlarmError(TimeoutError):
        """The application's."""

    def on_alarm(_signal: int, _frame: object) -> None:
        raise AlarmError

    server.script = lambda _request: Hang()
    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        with client_of(server.url) as client:
            client.submit(Track("hangs"))
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(AlarmError):
                client.flush(30)
            engine = client._engine
            assert engine is not None
            assert engine._dispatch.delivery.ledger.waits == ()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_two_closes_and_an_event_between_them_leave_no_thread_behind(
    server: ScriptedServer,
) -> None:
    """The second one meets a life that began meanwhile: it must not cut it off."""
    with client_of(server.url) as client:
        engine = client._engine
        assert engine is not None
        client.submit(Track("a"))
        assert client.flush(5)
        expected = engine._dispatch.expect()
        assert expected is not None
        assert client.close(5)
        client.submit(Track("b"))
        assert client.flush(5)
        engine._end(expected, time.monotonic() + 5)  # the other close's second half
        client.submit(Track("c"))
        assert client.flush(5)
        assert client.close(5)
        wait_until(lambda: not [t for t in threading.enumerate() if t.name.startswith("op_log")])
    assert server.names == ["a", "b", "c"]


@pytest.mark.parametrize("timeout", [0, -5, float("-inf"), float("nan")])
def test_no_time_at_all_does_not_wait(timeout: float) -> None:
    """It says whether anything is left."""
    with ScriptedServer(lambda _request: Hang()) as server, client_of(server.url) as client:
        assert client.flush(timeout)
        client.submit(Track("hangs"))
        assert client.flush(timeout) is False
        assert client.close(timeout) is False


def test_a_flush_waits_for_its_own_events_while_a_full_queue_drops_them(
    server: ScriptedServer,
) -> None:
    """With ``drop_oldest`` others may push them out; those do not count for later ones."""
    gate = threading.Event()

    def script(request: Request) -> bytes:
        if request.name == "waits":
            gate.wait(10)
        return OK

    server.script = script
    options = {"overflow": "drop_oldest", "queue_size": 5, "flush_interval": 30, "batch_size": 1000}
    with client_of(server.url, **options) as client:
        client.submit(Track("waits"))
        client.hurry()
        server.wait_for(1)
        done: list[bool] = []
        flushing = threading.Thread(target=lambda: done.append(client.flush(10)))
        flushing.start()
        engine = client._engine
        assert engine is not None
        wait_until(lambda: engine.inbox.generation == 1)
        for number in range(50):
            client.submit(Track(f"later {number}"))
        assert client.stats().dropped > 0
        assert done == []
        gate.set()
        flushing.join(10)
    assert done == [True]


def test_a_flush_that_comes_between_two_looks_of_the_sender_is_not_overlooked(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment is made by hand: the hurry is taken back right after it was asked for."""
    with client_of(server.url, flush_interval=60) as client:
        engine = client._engine
        assert engine is not None
        client.submit(Track("first"))
        assert client.flush(5)
        hurry = engine.hurry

        def hurry_in_vain() -> None:
            hurry()
            if engine.life is not None:
                engine.life.hurry = False

        monkeypatch.setattr(engine, "hurry", hurry_in_vain)
        client.submit(Track("second"))
        assert client.flush(5)
    assert server.names == ["first", "second"]


def test_what_comes_back_after_a_close_and_came_in_after_it_goes_on() -> None:
    """On a lane of the life before: there may be nobody else to send it again."""
    gate = threading.Event()

    def script(request: Request) -> bytes:
        if request.name == "again" and not gate.is_set():
            gate.wait(10)
            return http(503, "")
        return OK

    with ScriptedServer(script) as server, client_of(server.url) as client:
        engine = client._engine
        assert engine is not None
        closing = engine._dispatch.expect()
        assert closing is not None
        client.submit(Track("again"))
        server.wait_for(1)
        engine._end(closing, time.monotonic())  # of a close that began before the event
        assert client.state.value != "running"
        gate.set()
        server.wait_for(2)
        wait_until(lambda: client.stats().delivered == 1)
