"""Calls that are written to a logger instead of being posted: delivery="log"."""

from __future__ import annotations

import json
import logging
import logging.config
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import structlog

from op_logging import (
    Identify,
    Increment,
    OpenPanelClient,
    OpenPanelFormatter,
    OpenPanelHandler,
    OpenPanelProcessor,
    Track,
)
from support import programs
from support.clients import assert_adds_up, logger_of
from support.scripted_server import ScriptedServer
from support.waiting import wait_until

CALLS = "op_logging.calls"
FAST: dict[str, Any] = {"delivery": "log", "flush_interval": 0.01, "counter_interval": 0}


class Lines(logging.Handler):
    """Keeps the records that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.threads: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.threads.add(threading.current_thread().name)
        self.records.append(record)

    @property
    def texts(self) -> list[str]:
        """The lines."""
        return [record.getMessage() for record in list(self.records)]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls."""
        return [json.loads(text) for text in self.texts]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What is written to the logger of calls."""
    handler = Lines()
    logger = logging.getLogger(CALLS)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.disabled = False


@pytest.fixture
def client() -> Iterator[OpenPanelClient]:
    """A client without credentials, that writes to the logger."""
    made = OpenPanelClient(**FAST)
    yield made
    made.close(0.5)
    assert_adds_up(made.stats())


def test_each_call_is_one_line_of_json_at_info(lines: Lines, client: OpenPanelClient) -> None:
    """In the order that is promised, and counted as delivered; no credentials are asked for."""
    client.submit(Identify("u1", first_name="Ada\nB"))
    client.submit(Track("order_paid", {"total": 42}, profile_id="u1"))
    assert client.flush(5)
    known, paid = lines.calls
    assert known == {"type": "identify", "payload": {"profileId": "u1", "firstName": "Ada\nB"}}
    assert paid["payload"]["properties"].pop("__timestamp")
    assert paid == {
        "type": "track",
        "payload": {"name": "order_paid", "profileId": "u1", "properties": {"total": 42}},
    }
    assert {record.levelname for record in lines.records} == {"INFO"}
    assert all("\n" not in text for text in lines.texts)
    assert client.stats().delivered == 2
    assert all(name.startswith("op_logging-") for name in lines.threads)


def test_a_line_is_as_the_formatter_writes_it(lines: Lines, client: OpenPanelClient) -> None:
    """To the letter, with the headers of the call on top."""
    written = Lines()
    formatter = OpenPanelFormatter()
    extras: list[dict[str, Any]] = [
        {"event": "plain", "total": 42, "text": "Ä\u2028"},
        {"event": "seen", "ip": "192.0.2.1", "user_agent": "Browser", "deep": {"a": [1, None]}},
        {"event": Identify("u1"), "ip": "192.0.2.1"},
    ]
    with logger_of(client) as logger:
        logger.addHandler(written)
        for extra in extras:
            logger.info("One", extra=extra)
            assert client.flush(5)
        logger.removeHandler(written)
    assert lines.texts == [formatter.format(record) for record in written.records]
    assert lines.calls[1]["headers"] == {"x-client-ip": "192.0.2.1", "user-agent": "Browser"}
    assert "headers" not in lines.calls[0]


def test_nothing_is_resolved_or_posted(
    lines: Lines, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session, no TLS, no host is looked up: it works without any network."""

    def fail(*_args: object, **_options: object) -> NoReturn:
        raise AssertionError

    for name in ("requests.Session", "create_urllib3_context", "DirectConnection", "select_proxy"):
        monkeypatch.setattr(f"op_logging._transport.{name}", fail)
    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setattr("socket.create_connection", fail)
    secret: dict[str, Any] = {"client_id": "mine", "client_secret": "sec_1234567890"}
    for url in (server.url, "https://no.such.host.invalid"):
        client = OpenPanelClient(api_url=url, **secret, **FAST)
        client.submit(Track("one"))
        assert client.close(5)
        assert client.stats().delivered == 1
    assert len(lines.calls) == 2
    assert "sec_1234567890" not in str(lines.texts)
    assert server.connections == 0


def test_nothing_is_said_about_credentials(caplog: pytest.LogCaptureFixture) -> None:
    """None are needed."""
    client = OpenPanelClient(**FAST)
    assert client.state.value == "new"
    client.submit(Track("one"))
    assert client.close(5)
    assert [record.name for record in caplog.records if record.levelno > logging.INFO] == []


def test_lines_that_come_by_the_handler_are_no_events(
    lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    """Though it is the root logger's, which gets them, too."""
    root = logging.getLogger()
    handler = OpenPanelHandler(**FAST)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for number in range(20):
        logging.getLogger("tests.by_handler").info("One", extra={"event": f"event {number}"})
    assert handler.flush(5)
    assert handler.flush(5)
    stats = handler.stats()
    assert (stats.accepted, stats.delivered, dict(stats.reasons)) == (20, 20, {})
    assert len(lines.texts) == 20
    assert len([one for one in caplog.records if one.name == CALLS]) == 20


def test_lines_that_come_by_a_processor_are_no_events(lines: Lines) -> None:
    """Though it takes every entry, and every record of the standard library."""
    processor = OpenPanelProcessor(track="all", **FAST)
    stream = Lines()
    chain: Any = [processor]
    stream.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.processors.JSONRenderer(), foreign_pre_chain=chain
        )
    )

    def emit(record: logging.LogRecord) -> None:
        stream.format(record)

    stream.emit = emit  # type: ignore[method-assign]  # as it fails
    root = logging.getLogger()
    root.addHandler(stream)
    root.setLevel(logging.INFO)
    logging.getLogger("tests.by_processor").info("One")
    for _ in range(3):
        assert processor.flush(5)
    stats = processor.stats()
    assert (stats.accepted, stats.delivered, dict(stats.reasons)) == (1, 1, {})
    assert len(lines.texts) == 1


def test_events_that_a_handler_of_those_lines_logs_are_no_events(client: OpenPanelClient) -> None:
    """They would be its next lines, for ever."""

    class Chatter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - as it is called
            logger.info("Written", extra={"event": "written"})

    calls = logging.getLogger(CALLS)
    chatter = Chatter()
    calls.addHandler(chatter)
    calls.setLevel(logging.INFO)
    with logger_of(client) as logger:
        logger.info("One", extra={"event": "one"})
        assert client.flush(5)
        wait_until(lambda: client.stats().dropped == 1)
        assert client.flush(5)
        assert dict(client.stats().reasons) == {"recursion": 1}
    calls.removeHandler(chatter)
    calls.setLevel(logging.NOTSET)


def test_a_handler_of_those_lines_that_raises_costs_the_call_only(
    lines: Lines, client: OpenPanelClient, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, and said; the next one is written."""
    keep = lines.emit

    def emit(record: logging.LogRecord) -> None:
        if "bad" in record.getMessage():
            raise RuntimeError(record.getMessage())
        keep(record)

    lines.emit = emit  # type: ignore[method-assign]  # as it fails
    for name in ("bad", "good"):
        client.submit(Track(name))
        assert client.flush(5)
    assert [call["payload"]["name"] for call in lines.calls] == ["good"]
    assert dict(client.stats().reasons) == {"log_failed": 1}
    wait_until(lambda: "RuntimeError was raised" in caplog.text)


def test_a_configuration_that_disables_other_loggers_does_no_harm(
    lines: Lines, client: OpenPanelClient
) -> None:
    """A dictConfig disables all loggers that it does not name, unless it is told not to."""
    logging.getLogger(CALLS).disabled = True
    client.submit(Track("one"))
    assert client.flush(5)
    assert len(lines.texts) == 1


def test_hooks_sums_and_limits_are_the_same(lines: Lines) -> None:
    """It is another way out, and nothing else."""
    options: dict[str, Any] = {**FAST, "counter_interval": 60, "max_event_bytes": 300}
    client = OpenPanelClient(before_send="support.hooks.mark_tracks", redact="card", **options)
    for _ in range(4):
        client.submit(Increment("u1", "visits", 2))
    client.submit(Track("one", {"card": "4242"}))
    client.submit(Track("large", {"text": "x" * 300}))
    assert client.flush(5)
    assert dict(client.stats().reasons) == {"too_large": 1}
    one, counted = sorted(lines.calls, key=lambda call: str(call["type"]), reverse=True)
    assert counted["payload"] == {"profileId": "u1", "property": "visits", "value": 8}
    assert one["payload"]["properties"]["card"] == "(redacted)"
    assert one["payload"]["properties"]["marked"] is True


def test_a_program_writes_all_before_it_ends(tmp_path: Path, server: ScriptedServer) -> None:
    """Chosen in the environment; a stream handler still works when the exit hook runs."""
    code = """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for number in range(50):
        log(f"event {number}")
    """
    status, out, errors = programs.run(tmp_path, server.url, code, delivery="log")
    assert (status, errors) == (0, "")
    written = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    assert sorted(call["payload"]["name"] for call in written) == sorted(
        f"event {number}" for number in range(50)
    )
    assert server.connections == 0
