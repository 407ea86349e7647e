"""The handler: from every kind of configuration, beside other handlers, and never in the way."""

from __future__ import annotations

import copy
import io
import json
import logging
import logging.config
import logging.handlers
import queue
import sys
from typing import Any

import pytest

from op_logging import (
    EventFilter,
    OpenPanelClient,
    OpenPanelFormatter,
    OpenPanelHandler,
)
from support.clients import CLIENT_ID, SECRET, client_of, installed, logger_of, shop
from support.scripted_server import ScriptedServer
from support.waiting import wait_until


def test_behind_a_queue_handler(server: ScriptedServer) -> None:
    """The extras survive the journey to the listener's thread."""
    with client_of(server.url) as client:
        target = OpenPanelHandler(client=client)
        records: queue.Queue[logging.LogRecord] = queue.Queue()
        listener = logging.handlers.QueueListener(records, target)
        logger = logging.getLogger("behind.a.queue")
        logger.setLevel(logging.INFO)
        logger.propagate = False
        front = logging.handlers.QueueHandler(records)
        logger.addHandler(front)
        listener.start()
        logger.info("Paid %d", 5, extra={"event": "order_paid", "total": 5})
        listener.stop()
        logger.removeHandler(front)
        assert client.flush(5)
    properties = server.requests[0].call["payload"]["properties"]
    del properties["__timestamp"]
    assert properties == {"total": 5}


def test_on_any_logger_and_through_propagation(server: ScriptedServer) -> None:
    """A handler on a parent gets its children's events."""
    with shop(server.url) as (logger, client):
        logger.getChild("orders").info("Paid", extra={"event": "order_paid"})
        assert client.flush(5)
    assert server.names == ["order_paid"]


def test_a_logger_adapters_extras_count(server: ScriptedServer) -> None:
    """They are extras like any others."""
    with shop(server.url) as (logger, client):
        adapter = logging.LoggerAdapter(logger, {"event": "seen", "profile_id": "u1"})
        adapter.info("Seen")
        assert client.flush(5)
    assert server.requests[0].call["payload"]["profileId"] == "u1"


def test_one_record_through_two_handlers_is_sent_once(server: ScriptedServer) -> None:
    """On the same logger, or on a logger and its parent."""
    with client_of(server.url) as client, logger_of(client) as parent:
        child = parent.getChild("child")
        second = OpenPanelHandler(client=client)
        child.addHandler(second)
        for number in range(5):
            child.info("Paid", extra={"event": f"order_paid {number}"})
        assert client.flush(5)
        assert client.stats().accepted == 5
        child.removeHandler(second)
        second.close()
    assert len(server.requests) == 5


def test_a_closed_handler_that_stays_attached_sends_nothing_twice(server: ScriptedServer) -> None:
    """After a dictConfig the old handler of a logger that it does not name is still there."""
    with client_of(server.url) as client, logger_of(client) as logger:
        old = installed(logger)
        old.close()
        new = OpenPanelHandler(client=client)
        logger.addHandler(new)
        logger.info("Paid", extra={"event": "order_paid"})
        assert client.flush(5)
        logger.removeHandler(new)
    assert server.names == ["order_paid"]


def test_one_record_with_an_event_for_each_of_two_handlers_is_two_events(
    server: ScriptedServer,
) -> None:
    """They look under different keys."""
    with client_of(server.url) as client, logger_of(client) as logger:
        other = OpenPanelHandler(client=client, event_key="analytics")
        logger.addHandler(other)
        logger.info("Paid", extra={"event": "paid", "analytics": "order_paid"})
        assert client.flush(5)
        logger.removeHandler(other)
    assert sorted(server.names) == ["order_paid", "paid"]


def test_handlers_share_a_client_if_their_options_are_the_same() -> None:
    """Properties and keys are the handler's own; credentials and delivery are the client's."""
    options: dict[str, Any] = {"client_id": CLIENT_ID, "api_url": "http://127.0.0.1:9"}
    one = OpenPanelHandler(**options)
    other = OpenPanelHandler(**options, event_key="analytics", global_properties={"a": 1})
    apart = OpenPanelHandler(**options, batch_size=5)
    assert one.client is other.client
    assert apart.client is not one.client


def test_a_record_that_is_no_event_is_left_alone(server: ScriptedServer) -> None:
    """Also one whose ``event`` is something else."""
    with shop(server.url) as (logger, client):
        logger.info("Nothing")
        logger.info("Something else", extra={"event": 5})
        logger.info({"a": "dict as a message"})
        assert client.stats().accepted == 0
    assert server.requests == []


def test_an_extra_that_is_wrong_is_counted_and_said_and_raises_nothing(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """With the line of code that logged it."""
    with shop(server.url) as (logger, client):
        logger.info("Empty", extra={"event": ""})
        logger.info("Raw", extra={"event": {"type": "track", "payload": "text"}})
        logger.info("Odd", extra={"event": "odd", "profile_id": ["u1"], "groups": 3})
        assert client.flush(5)
        stats = client.stats()
    assert (stats.accepted, stats.delivered, stats.dropped) == (3, 1, 2)
    assert dict(stats.reasons) == {"invalid": 2, "left_out": 2}
    assert "event's name is empty" in caplog.text
    assert "profile_id must be" in caplog.text
    assert "groups must be" in caplog.text
    assert caplog.text.count(f"{__file__}:") >= 3


def test_a_formatter_that_fails_costs_its_event_only(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted, and ``handleError`` shows it as for any handler."""

    class Failing(OpenPanelFormatter):
        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            del log_data
            raise RuntimeError("no")

    with client_of(server.url) as client, logger_of(client) as logger:
        installed(logger).setFormatter(Failing())
        logger.info("Paid", extra={"event": "order_paid"})
        installed(logger).setFormatter(None)
        logger.info("Paid", extra={"event": "order_paid"})
        assert client.flush(5)
        assert (client.stats().delivered, dict(client.stats().reasons)) == (1, {"invalid": 1})
    assert "RuntimeError: no" in capsys.readouterr().err


def test_a_filter_that_fails_costs_its_event_only(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is counted and shown; nothing reaches the log call, nor the handlers that come next."""

    def broken(_record: logging.LogRecord) -> bool:
        raise RuntimeError("no")

    with shop(server.url) as (logger, client):
        installed(logger).addFilter(broken)
        console = logging.StreamHandler(io.StringIO())
        logger.addHandler(console)
        logger.info("Paid", extra={"event": "order_paid"})
        installed(logger).removeFilter(broken)
        logger.removeHandler(console)
        assert client.flush(5)
        assert dict(client.stats().reasons) == {"invalid": 1}
    assert console.stream.getvalue() == "Paid\n"
    assert "RuntimeError: no" in capsys.readouterr().err


class Hostile:
    """A lazy object that fails as soon as somebody looks at it."""

    @property  # type: ignore[misc]  # as lazy objects do
    def __class__(self) -> type:
        raise RuntimeError("not now")


def test_an_object_that_nobody_may_look_at_costs_itself_only(server: ScriptedServer) -> None:
    """As an event, as an id, in a list of ids that goes round in a circle."""
    circle: list[Any] = ["g1"]
    circle.append(circle)
    with shop(server.url) as (logger, client):
        lines = logging.StreamHandler(io.StringIO())
        lines.addFilter(EventFilter())
        logger.addHandler(lines)
        logger.info("None", extra={"event": Hostile()})
        logger.info("Id", extra={"event": "id", "profile_id": Hostile()})
        logger.info("Groups", extra={"event": "groups", "groups": circle})
        logger.removeHandler(lines)
        assert client.flush(5)
        payloads = {request.name: request.call["payload"] for request in server.requests}
    assert set(payloads) == {"id", "groups"}
    assert "profileId" not in payloads["id"]
    assert payloads["groups"]["groups"] == ["g1"]


class Unreadable(dict[str, Any]):
    """A mapping whose items nobody can have."""

    def items(self) -> Any:
        """Fail."""
        raise RuntimeError("no")


def test_a_raw_call_that_cannot_be_read_is_invalid(
    server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is not taken for a call of some odd name."""
    with shop(server.url) as (logger, client):
        logger.info("Raw", extra={"event": Unreadable(type="track", payload={"name": "x"})})
        assert client.flush(5)
        assert dict(client.stats().reasons) == {"invalid": 1}
    assert server.names == []
    assert "cannot be read" in capsys.readouterr().err


def test_filters_decide_and_may_replace_the_record(server: ScriptedServer) -> None:
    """Replacing is Python 3.12's; deciding is everybody's."""
    may_replace = sys.version_info >= (3, 12)

    def replace(record: logging.LogRecord) -> Any:
        if record.getMessage() == "drop":
            return False
        other = copy.copy(record)
        other.total = 2
        return other if may_replace else True

    with client_of(server.url) as client, logger_of(client) as logger:
        installed(logger).addFilter(replace)
        logger.info("drop", extra={"event": "dropped", "total": 1})
        logger.info("keep", extra={"event": "kept", "total": 1})
        assert client.flush(5)
    (request,) = server.requests
    expected = 2 if may_replace else 1
    assert request.call["payload"]["properties"]["total"] == expected


def test_without_a_client_id_it_is_inert_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One clear warning, however many handlers and events; nothing raised, nothing counted."""
    handlers = [OpenPanelHandler(), OpenPanelHandler()]
    logger = logging.getLogger("inert")
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
        logger.info("Paid", extra={"event": "order_paid"})
        assert handler.flush()
        assert handler.stats().accepted == 0
        logger.removeHandler(handler)
        assert handler.close()
    said = [each.getMessage() for each in caplog.records if each.name == "op_logging"]
    assert len(said) == 1
    assert "OPENPANEL_CLIENT_ID" in said[0]


def test_what_is_not_enabled_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    """``enabled=False`` needs no credentials and gives no warning."""
    handler = OpenPanelHandler(enabled=False)
    assert handler.client.state.value == "inert"
    assert caplog.records == []


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "no client secret"),
        ({"client_secret": SECRET, "client_id": "NOT-A-UUID"}, "lower-case UUID"),
        ({"client_secret": SECRET, "api_url": "http://analytics.example"}, "in clear"),
    ],
)
def test_what_will_not_work_as_expected_is_said_at_once(
    options: dict[str, Any], word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """When the client is made, not when the first event is lost."""
    OpenPanelClient(**{"client_id": CLIENT_ID, **options})
    assert word in caplog.text
    assert SECRET not in caplog.text


def test_the_secret_shows_nowhere(server: ScriptedServer) -> None:
    """In no repr of anything that holds it."""
    with client_of(server.url) as client, logger_of(client) as logger:
        handler = installed(logger)
        shown = (
            f"{handler!r} {client!r} {handler.config!r} {handler.formatter!r} {client.stats()!r}"
        )
    assert SECRET not in shown
    assert "client_secret=<set>" in shown


def test_a_console_and_a_file_beside_it_get_what_they_always_got(server: ScriptedServer) -> None:
    """The record stays as it was."""
    console, lines = io.StringIO(), io.StringIO()
    with client_of(server.url) as client, logger_of(client) as logger:
        plain = logging.StreamHandler(console)
        plain.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        events = logging.StreamHandler(lines)
        events.setFormatter(OpenPanelFormatter())
        events.addFilter(EventFilter())
        for handler in (plain, events):
            logger.addHandler(handler)
        logger.info("Paid %s", "now", extra={"event": "order_paid", "total": 42})
        logger.info("Not an event")
        for handler in (plain, events):
            logger.removeHandler(handler)
        assert client.flush(5)
    assert console.getvalue() == "INFO Paid now\nINFO Not an event\n"
    assert json.loads(lines.getvalue()) == server.requests[0].call


def test_records_of_the_package_itself_are_no_events(server: ScriptedServer) -> None:
    """With the root logger at DEBUG, what delivers must not deliver what it logs."""
    root = logging.getLogger()
    with client_of(server.url) as client:
        handler = OpenPanelHandler(client=client, level=logging.DEBUG)
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        logging.getLogger("any").info("Paid", extra={"event": "order_paid"})
        assert client.flush(5)
        root.removeHandler(handler)
        assert client.stats().accepted == 1


def test_a_handler_that_was_closed_still_sends(server: ScriptedServer) -> None:
    """Since dictConfig closes handlers that may stay attached."""
    with client_of(server.url) as client, logger_of(client) as logger:
        handler = installed(logger)
        handler.close()
        handler.close()
        logger.info("Late", extra={"event": "late"})
        wait_until(lambda: server.names == ["late"])


@pytest.mark.parametrize("pathname", [None, ["not", "hashable"], 5])
def test_a_record_with_an_odd_origin_costs_nothing(server: ScriptedServer, pathname: Any) -> None:
    """Records that were rebuilt from something else may have anything there."""
    odd = {"levelno": logging.INFO, "pathname": pathname, "lineno": "x"}
    with shop(server.url) as (logger, client):
        for name in ("", "fine"):
            logger.handle(logging.makeLogRecord({**odd, "event": name}))
        assert client.flush(5)
        stats = client.stats()
    assert server.names == ["fine"]
    assert (stats.delivered, dict(stats.reasons)) == (1, {"invalid": 1})
