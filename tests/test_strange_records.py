"""Records and values that no reasonable program logs: a log call stands them all."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import structlog

from op_logging import (
    ConfigurationError,
    EventFilter,
    Increment,
    OpenPanelFormatter,
    OpenPanelHandler,
    OpenPanelProcessor,
    Track,
)
from op_logging._encoding import plain
from support.clients import CLIENT_ID, SECRET, client_of, logger_of, shop
from support.records import properties, record
from support.scripted_server import OK, Answer, Request, ScriptedServer, http


class Proxy:
    """As a lazy object that stands for nothing yet: it raises whatever it is asked."""

    @property  # type: ignore[misc]  # that is the point
    def __class__(self) -> type:
        """Say what it stands for."""
        raise RuntimeError("outside of a request")


class Unhashable(type):
    """The type of types that cannot be looked up."""

    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]  # that is the point


class Odd(metaclass=Unhashable):
    """A value of such a type."""


def test_a_message_that_raises_when_it_is_looked_at(server: ScriptedServer) -> None:
    """Also on its way past a handler that has nothing to do with it."""
    with shop(server.url) as (logger, client):
        logger.info(Proxy())
        logger.info(Proxy(), extra={"event": "order_paid"})
        assert client.flush(5)
    assert server.names == ["order_paid"]
    out = io.StringIO()
    lines = logging.StreamHandler(out)
    lines.setFormatter(OpenPanelFormatter())
    lines.addFilter(EventFilter())
    lines.handle(record(Proxy()))  # type: ignore[arg-type]  # that is the point
    lines.handle(record(Proxy(), event="order_paid"))  # type: ignore[arg-type]  # the same
    assert out.getvalue().count("order_paid") == 1


def test_a_value_whose_type_cannot_be_looked_up_costs_itself_only(server: ScriptedServer) -> None:
    """By the handler, in a call object, and by the processor."""
    with client_of(server.url) as client, logger_of(client) as logger:
        logger.info("One", extra={"event": "handler", "odd": Odd(), "total": 1})
        client.submit(Track("call", {"odd": Odd(), "total": 1}))
        log = structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[OpenPanelProcessor(client=client), lambda *_: "rendered"],
        )
        log.info("One", _event="processor", odd=Odd(), total=1)
        assert client.flush(5)
    assert sorted(server.names) == ["call", "handler", "processor"]
    for request in server.requests:
        assert request.call["payload"]["properties"]["total"] == 1


@pytest.mark.parametrize("key", [1, None, ("a", 1), 1.5])
def test_a_key_that_is_no_text_becomes_one(server: ScriptedServer, key: object) -> None:
    """And costs neither itself nor the event."""
    with shop(server.url) as (logger, client):
        logger.info("One", extra={"event": "paid", "total": 1, key: "odd"})  # type: ignore[dict-item]  # the point
        assert client.flush(5)
    found = server.requests[0].call["payload"]["properties"]
    del found["__timestamp"]
    assert len(found) == 2
    assert found["total"] == 1
    assert "odd" in found.values()


def test_a_key_that_the_server_would_refuse_the_call_for_is_left_out() -> None:
    """At the top as well as below it."""
    bad = {"prototype": 1}
    made = properties(record(event="paid", constructor=bad, __proto__=bad, a={"constructor": bad}))
    assert made == {"a": {}}
    assert properties(record(event="paid", constructor="x")) == {"constructor": "x"}


def test_records_with_the_very_same_time_are_records_of_their_own(server: ScriptedServer) -> None:
    """As they are replayed, or in a test where time stands still; by two handlers of one client."""
    with client_of(server.url) as client, logger_of(client) as logger, logger_of(client):
        moment = 1_764_000_000.25
        for number in range(5):
            made = logging.makeLogRecord({"created": moment, "levelno": 20, "event": str(number)})
            logger.handle(made)
        assert client.flush(5)
        assert client.stats().accepted == 5
    assert sorted(server.names) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    "event", ["paid", Increment("u1", "visits"), {"type": "track", "payload": {"name": "paid"}}]
)
def test_one_handler_on_two_loggers_sends_a_record_once(
    server: ScriptedServer, event: object
) -> None:
    """A child's record comes by twice."""
    with client_of(server.url) as client, logger_of(client) as logger:
        child = logger.getChild("orders")
        child.addHandler(logger.handlers[0])
        for _ in range(3):
            child.info("One", extra={"event": event})
        assert client.flush(5)
        assert client.stats().accepted == 3
    assert len(server.requests) == 3


def test_a_filter_of_the_handlers_own_counts(server: ScriptedServer) -> None:
    """As of any handler."""

    class Picky(OpenPanelHandler):
        def filter(self, record: logging.LogRecord) -> bool:
            return record.levelno > logging.INFO

    with client_of(server.url) as client:
        handler = Picky(CLIENT_ID, SECRET, client=client)
        handler.handle(record(event="not this"))
        made = record(event="this")
        made.levelno = logging.ERROR
        handler.handle(made)
        assert client.flush(5)
        handler.close(0)
    assert server.names == ["this"]


def test_a_filter_that_takes_attributes_away_takes_no_extras_with_them(
    server: ScriptedServer,
) -> None:
    """Extras are told apart by their place among the attributes, where that is what it was."""

    def slim(made: logging.LogRecord) -> bool:
        del made.exc_text, made.stack_info
        return True

    with shop(server.url) as (logger, client):
        logger.addFilter(slim)
        logger.info("One", extra={"event": "paid", "total": 1, "items": [1, 2]})
        assert client.flush(5)
    found = server.requests[0].call["payload"]["properties"]
    assert (found["total"], found["items"]) == (1, [1, 2])


def test_a_record_without_what_logging_gives_it(server: ScriptedServer) -> None:
    """Somebody has taken everything away."""
    with shop(server.url) as (logger, client):
        made = record(event="paid", total=1)
        del made.exc_info, made.relativeCreated, made.process
        logger.handle(made)
        assert client.flush(5)
    assert server.requests[0].call["payload"]["properties"]["total"] == 1


@pytest.mark.parametrize(
    "names", [lambda: iter(["password"]), lambda: (name for name in ["password"])]
)
def test_names_to_hide_that_can_be_read_once_only(
    server: ScriptedServer, names: Callable[[], Any]
) -> None:
    """They are hidden by a handler too, which asks for them again."""
    with shop(server.url) as (logger, client):
        logger.handlers[0].setFormatter(OpenPanelFormatter(redact=names()))
        logger.info("One", extra={"event": "seen", "password": "hunter2"})
        assert client.flush(5)
    assert "hunter2" not in server.requests[0].body.decode()


def test_a_pattern_that_hides_everything_leaves_the_time() -> None:
    """And what makes a call revenue: without them it would be another call."""
    made = properties(record(event="paid", total=1), redact=["*"])
    assert made == {"total": "(redacted)"}


def test_the_type_of_a_raw_call_writes_no_lines_of_its_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It may come from outside, and stands in what is said."""

    def script(_request: Request) -> Answer:
        return http(400, "no")

    with ScriptedServer(script) as server, shop(server.url) as (logger, client):
        event = {"type": "x\nCRITICAL fake\x1b[31m", "payload": {}}
        logger.info("One", extra={"event": event})
        assert client.flush(5)
    (said,) = [one.getMessage() for one in caplog.records if "refused" in one.getMessage()]
    assert said.isprintable()


def test_long_values_are_cut_and_huge_numbers_are_no_trouble() -> None:
    """Whatever they are made of."""
    assert len(plain(Decimal("1." + "3" * 200_000))) < 10_000
    assert plain(10**1000) == "<integer of 3322 bits>"
    assert plain(-(10**100)) == str(-(10**100))
    assert len(plain(bytearray(b"x" * 10**6))) < 10_000
    assert len(plain(("é" * 10**6).encode())) < 10_000
    assert len(plain(b"\xff" * 10**6)) < 12_000
    assert len(plain(ValueError("x" * 10**6))) < 10_000


@pytest.mark.parametrize("path", ["..x", "x..y", "....", ".x", "no.such.module.at.all"])
def test_a_dotted_path_that_leads_nowhere(path: str) -> None:
    """However it is written."""
    with pytest.raises(ConfigurationError, match="before_send"):
        OpenPanelHandler(CLIENT_ID, SECRET, before_send=path)


def test_an_answer_is_still_an_answer(server: ScriptedServer) -> None:
    """After all of that."""
    with shop(server.url) as (logger, client):
        for value in (Odd(), Proxy(), object(), Decimal("NaN"), {1: {2: {3}}}):
            logger.info("One", extra={"event": "paid", "value": value})
        assert client.flush(5)
        assert client.stats().delivered == 5
    assert server.script(server.requests[0]) == OK
