"""What the package says about itself: once, then at most once a minute."""

from __future__ import annotations

import logging
import pickle
import threading
import time

import pytest

from op_logging import (
    Alias,
    DeliveryStats,
    Increment,
    OpenPanelClient,
    OpenPanelFormatter,
    Track,
    flush,
)
from op_logging._diagnostics import Diagnostics
from support.clients import CLIENT_ID, SECRET, client_of
from support.records import record
from support.scripted_server import ScriptedServer, http
from support.waiting import wait_until


class Clock:
    """Seconds that a test moves on."""

    now = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


def test_each_kind_is_said_once_and_then_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """With how many were left out in between."""
    clock = Clock()
    diagnostics = Diagnostics(clock=clock)
    said = [diagnostics.say("a", "first"), diagnostics.say("b", "other")]
    for _ in range(5):
        said.append(diagnostics.say("a", "again"))
        clock.now += 10
    clock.now = 60
    said.append(diagnostics.say("a", "later"))
    assert said == [True, True, *[False] * 5, True]
    assert [each.getMessage() for each in caplog.records] == [
        "first",
        "other",
        "later (5 more like it since the last time this was said)",
    ]


def test_a_handler_that_fails_harms_nobody() -> None:
    """What the application does with the message is its own business."""

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError(record.msg)

    handler = Failing()
    logging.getLogger("op_logging").addHandler(handler)
    try:
        assert Diagnostics().say("a", "text") is True
    finally:
        logging.getLogger("op_logging").removeHandler(handler)


def test_many_refusals_are_one_line(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The statistics have the number."""
    server.script = lambda _request: http(400, {"message": "no"})
    with client_of(server.url) as client:
        for number in range(50):
            client.submit(Track(str(number)))
        assert client.flush(5)
        assert client.stats().rejected == 50
    assert len([each for each in caplog.records if each.name == "op_logging"]) == 1


def test_refusals_of_different_calls_are_said_apart(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused alias does not hide a refused event."""
    server.script = lambda _request: http(400, {"message": "no"})
    with client_of(server.url) as client:
        for call in (Track("seen"), Alias("u1", "u2"), Increment("u1", "visits"), Track("again")):
            client.submit(call)
            assert client.flush(5)
    said = [each.getMessage() for each in caplog.records if each.name == "op_logging"]
    assert [text.split("refused ")[1].split(" (")[0] for text in said] == [
        "track seen",
        "alias",
        "increment visits",
    ]


def test_kinds_of_messages_are_not_remembered_without_a_bound() -> None:
    """Names in them may come from outside."""
    diagnostics = Diagnostics()
    for number in range(3_000):
        diagnostics.say(str(number), "text", level=logging.DEBUG)
    assert len(diagnostics._last) <= 1_001


def test_without_any_configuration_it_goes_to_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Through logging's handler of last resort, in one line."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers.clear()
    try:
        OpenPanelClient()
    finally:
        root.handlers.extend(handlers)
    assert "no client id is set" in capfd.readouterr().err


def test_what_the_formatter_cannot_write_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """With the line that logged it."""
    assert OpenPanelFormatter().format(record(event="")) == ""
    assert "/app/shop.py:12" in caplog.text


def test_statistics_are_an_immutable_snapshot(server: ScriptedServer) -> None:
    """What happens later does not change it."""
    server.script = lambda _request: http(400, {"message": "no"})
    with client_of(server.url) as client:
        before = client.stats()
        client.submit(Track("bad"))
        assert client.flush(5)
        after = client.stats()
    assert before == DeliveryStats()
    assert (after.rejected, after.reasons["bad_request"]) == (1, 1)
    with pytest.raises(AttributeError):
        after.rejected = 0  # type: ignore[misc]
    with pytest.raises(TypeError):
        after.reasons["bad_request"] = 0  # type: ignore[index]
    assert after.last_error is not None
    assert "track bad" in after.last_error


def test_an_inert_client_takes_nothing_and_waits_for_nothing() -> None:
    """It counts nothing either: nothing was promised."""
    client = OpenPanelClient(enabled=False)
    assert client.submit(Track("event")) is False
    assert client.flush() is client.close() is True
    assert client.stats() == DeliveryStats()
    client.hurry()
    assert repr(client) == "<OpenPanelClient inert https://api.openpanel.dev>"


def test_a_clients_states(server: ScriptedServer) -> None:
    """New, running, closed, and running again."""
    with client_of(server.url) as client:
        states = [client.state.value]
        client.submit(Track("one"))
        states.append(client.state.value)
        client.close(5)
        states.append(client.state.value)
        client.submit(Track("two"))
        states.append(client.state.value)
    assert states == ["new", "running", "closed", "running"]


def test_all_clients_are_flushed_within_one_time() -> None:
    """False where one of them could not be emptied; none gets a time of its own."""
    with ScriptedServer() as good, ScriptedServer(lambda _request: http(503, "")) as bad:
        with client_of(good.url) as one, client_of(bad.url) as two:
            assert flush(5) is True
            one.submit(Track("arrives"))
            two.submit(Track("waits"))
            began = time.monotonic()
            assert flush(0.5) is False
            assert time.monotonic() - began < 3
            assert good.names == ["arrives"]


def test_a_client_that_is_busy_does_not_keep_a_flush_beyond_its_time(
    server: ScriptedServer,
) -> None:
    """Not even one whose lock is held: whoever holds it is at fault, not who waits."""
    with client_of(server.url) as client:
        engine = client._engine
        assert engine is not None
        client.submit(Track("event"))
        assert client.flush(5)
        release = threading.Event()
        held = threading.Event()

        def hold() -> None:
            with engine._dispatch.lock:
                held.set()
                release.wait(10)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(5)
        began = time.monotonic()
        assert client.flush(0.1) is False
        assert time.monotonic() - began < 5
        release.set()
        thread.join()


def test_secrets_are_in_no_statistics_and_no_repr(server: ScriptedServer) -> None:
    """Of whatever holds them."""
    with client_of(server.url) as client:
        shown = f"{client!r} {client.config!r} {client.stats()!r} {vars(client)!r}"
    assert SECRET not in shown
    assert CLIENT_ID in shown


def test_calls_can_be_pickled_for_queues_between_processes() -> None:
    """As ``QueueHandler`` and multiprocessing need it."""
    made = record(event=Track("seen", {"a": 1}))
    again = logging.makeLogRecord(pickle.loads(pickle.dumps(vars(made))))  # noqa: S301 - made here
    assert OpenPanelFormatter().format(again) == OpenPanelFormatter().format(made)


def test_a_handler_that_exits_ends_no_delivery(server: ScriptedServer) -> None:
    """In a thread of ours it would end that thread, and not the program."""

    class Exiting(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            raise SystemExit

    handler = Exiting()
    logging.getLogger("op_logging").addHandler(handler)
    server.script = lambda request: http(400 if request.name == "bad" else 200, {"message": "no"})
    try:
        with client_of(server.url) as client:
            client.submit(Track("bad"))
            wait_until(lambda: client.stats().rejected == 1)
            client.submit(Track("good"))
            wait_until(lambda: client.stats().delivered == 1)
            wait_until(lambda: client._diagnostics._last != {})
            client.submit(Track("more"))
            assert client.flush(5)
    finally:
        logging.getLogger("op_logging").removeHandler(handler)
    assert server.names == ["bad", "good", "more"]
