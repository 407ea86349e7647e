"""The structlog processor: marked entries become events, and go on unchanged."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from op_logging import ConfigurationError, Identify, OpenPanelClient, OpenPanelProcessor
from support.clients import client_of, logger_of
from support.scripted_server import ScriptedServer, http


@pytest.fixture(autouse=True)
def _clean_structlog() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[OpenPanelClient]:
    """A client of the server."""
    with client_of(server.url) as made:
        yield made


class Chain:
    """A structlog logger with a processor, and what came out at the end of its chain."""

    def __init__(self, processor: OpenPanelProcessor) -> None:
        self.entries: list[dict[str, Any]] = []
        self.log = structlog.wrap_logger(
            structlog.ReturnLogger(),
            processors=[structlog.processors.add_log_level, processor, self._keep],
        )

    def _keep(self, _logger: object, _name: str, entry: Any) -> str:
        self.entries.append(dict(entry))
        return "rendered"


def sent(server: ScriptedServer, client: OpenPanelClient) -> list[dict[str, Any]]:
    """Return the payloads that arrived, without time stamps."""
    assert client.flush(5)
    payloads = [request.call["payload"] for request in server.requests]
    for payload in payloads:
        payload.get("properties", {}).pop("__timestamp", None)
    return payloads


def test_a_marked_entry_is_sent_and_goes_on_without_its_marker(
    server: ScriptedServer, client: OpenPanelClient
) -> None:
    """What structlog's own processors add is no property."""
    chain = Chain(OpenPanelProcessor(client=client, global_properties={"app": "shop"}))
    chain.log.info("Order paid", _event="order_paid", profile_id="u1", total=42, _private=1)
    chain.log.info("Not an event", total=1)
    expected = {
        "name": "order_paid",
        "properties": {"app": "shop", "total": 42},
        "profileId": "u1",
    }
    assert sent(server, client) == [expected]
    assert chain.entries == [
        {"event": "Order paid", "profile_id": "u1", "total": 42, "_private": 1, "level": "info"},
        {"event": "Not an event", "total": 1, "level": "info"},
    ]


def test_the_marker_may_stay(server: ScriptedServer, client: OpenPanelClient) -> None:
    """It then says that the entry is on its way: a second processor sends nothing."""
    first = Chain(OpenPanelProcessor(client=client, keep=True))
    second = Chain(OpenPanelProcessor(client=client))
    first.log.info("Paid", _event="order_paid")
    first.log.info("Signed up", _event=Identify("u1"))
    for entry in first.entries:
        second.log.info(entry.pop("event"), **entry)
    assert first.entries[0]["_event"] == "order_paid"
    assert len(sent(server, client)) == 2


@pytest.mark.parametrize(
    ("track", "expected"),
    [
        ("marked", ["marked"]),
        ("all", ["order_paid", "order_lost", "seen", "marked"]),
        (["order_*"], ["order_paid", "order_lost", "marked"]),
        (("order_paid", "s??n"), ["order_paid", "seen", "marked"]),
        (lambda entry: entry.get("total", 0) > 1, ["order_paid", "marked"]),
        (lambda entry: "renamed" if entry["event"] == "seen" else None, ["renamed", "marked"]),
    ],
)
def test_what_is_tracked(
    server: ScriptedServer, client: OpenPanelClient, track: Any, expected: list[str]
) -> None:
    """Marked entries, all of them, by pattern, or as a callable says; a marker always counts."""
    chain = Chain(OpenPanelProcessor(client=client, track=track))
    chain.log.info("order_paid", total=2)
    chain.log.info("order_lost", total=1)
    chain.log.warning("seen")
    chain.log.info("Some message", _event="marked")
    names = [payload["name"] for payload in sent(server, client)]
    assert sorted(names) == sorted(expected)
    assert len(chain.entries) == 4


def test_a_callable_may_be_a_dotted_path(server: ScriptedServer, client: OpenPanelClient) -> None:
    """As dictConfig and its kin can hold it."""
    chain = Chain(OpenPanelProcessor(client=client, track="support.tracking.is_order"))
    chain.log.info("order_paid")
    chain.log.info("seen")
    assert [payload["name"] for payload in sent(server, client)] == ["order_paid"]


@pytest.mark.parametrize("track", [5, [], [5], [""], None, "no.such.thing", "json.decoder", "typo"])
def test_a_wrong_choice_raises_where_it_is_configured(client: OpenPanelClient, track: Any) -> None:
    """It names the option and what is allowed."""
    with pytest.raises(ConfigurationError, match="track="):
        OpenPanelProcessor(client=client, track=track)


def test_call_objects_and_raw_calls_are_marked_as_well(
    server: ScriptedServer, client: OpenPanelClient
) -> None:
    """The marker stands for what an ``event`` extra stands for."""
    chain = Chain(OpenPanelProcessor(client=client, max_connections=1))
    chain.log.info("Signed up", _event=Identify("u1", first_name="Ada"))
    assert client.flush(5)
    chain.log.info("Raw", _event={"type": "track", "payload": {"name": "raw"}})
    assert sent(server, client) == [
        {"profileId": "u1", "firstName": "Ada"},
        {"name": "raw", "properties": {}},
    ]


@pytest.mark.parametrize("marker", [None, 5, True, ["x"], {"a": 1}])
def test_a_marker_that_stands_for_nothing_sends_nothing(
    server: ScriptedServer, client: OpenPanelClient, marker: object
) -> None:
    """And the entry goes on."""
    chain = Chain(OpenPanelProcessor(client=client))
    chain.log.info("Odd", _event=marker)
    assert sent(server, client) == []
    assert chain.entries[0]["event"] == "Odd"


def test_a_callable_that_raises_costs_nothing_but_the_event(
    server: ScriptedServer, client: OpenPanelClient, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and said; the log call goes on."""

    def broken(_entry: object) -> bool:
        raise RuntimeError("no")

    chain = Chain(OpenPanelProcessor(client=client, track=broken))
    assert chain.log.info("Seen") == "rendered"
    assert chain.log.info("Marked", _event="marked") == "rendered"
    assert [payload["name"] for payload in sent(server, client)] == ["marked"]
    assert dict(client.stats().reasons) == {"invalid": 1}
    assert "could not be captured" in caplog.text
    assert f"{__file__}:" in caplog.text


def test_the_packages_own_records_are_no_events(
    server: ScriptedServer, client: OpenPanelClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where every record of the program passes a processor that takes all."""
    server.script = lambda _request: http(400, {"message": "no"})
    console = logging.StreamHandler()
    console.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.processors.JSONRenderer()],
            foreign_pre_chain=[OpenPanelProcessor(client=client, track="all")],
        )
    )
    root = logging.getLogger()
    root.addHandler(console)
    root.warning("foreign")
    assert [payload["name"] for payload in sent(server, client)] == ["foreign"]
    assert client.stats().accepted == 1
    assert "refused track foreign" in capsys.readouterr().err


def test_the_way_to_the_server_is_no_event_either(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through a proxy urllib3 logs each request, with the root logger at DEBUG: without an end."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    with client_of("http://openpanel.example") as client:
        console = logging.StreamHandler()
        console.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[structlog.processors.JSONRenderer()],
                foreign_pre_chain=[OpenPanelProcessor(client=client, track="all")],
            )
        )
        root = logging.getLogger()
        root.addHandler(console)
        root.setLevel(logging.DEBUG)
        logging.getLogger("app").info("one line")
        assert client.flush(5)
        logging.getLogger("app").info("another")
        assert client.flush(5)
        assert client.stats().accepted == 2
    assert server.names == ["one line", "another"]
    assert "urllib3" in capsys.readouterr().err


def test_one_record_that_passes_formatters_and_a_handler_is_sent_once(
    server: ScriptedServer, client: OpenPanelClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Shared processors stand in the formatters of several handlers; all see the same record."""
    processor = OpenPanelProcessor(client=client)
    shared: list[Any] = [structlog.stdlib.ExtraAdder(), processor]
    with logger_of(client) as target:
        consoles = [logging.StreamHandler() for _ in range(2)]
        for console in consoles:
            console.setFormatter(
                structlog.stdlib.ProcessorFormatter(
                    processors=[processor, structlog.processors.KeyValueRenderer()],
                    foreign_pre_chain=shared,
                )
            )
            target.addHandler(console)
        log = structlog.wrap_logger(
            target,
            processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        target.info("From logging", extra={"_event": "foreign"})
        log.info("From structlog", _event="native")
        for console in consoles:
            target.removeHandler(console)
    assert [payload["name"] for payload in sent(server, client)] == ["foreign", "native"]
    assert capsys.readouterr().err.count("event='From structlog'") == 2


def test_an_entry_may_be_any_kind_of_mapping(
    server: ScriptedServer, client: OpenPanelClient
) -> None:
    """Also for the handler, where structlog hands it over."""
    with logger_of(client) as target:
        log = structlog.wrap_logger(
            target,
            processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            wrapper_class=structlog.stdlib.BoundLogger,
            context_class=OrderedDict,
        )
        log.info("Paid", _event="order_paid", total=1)
    assert sent(server, client) == [{"name": "order_paid", "properties": {"total": 1}}]


def test_in_front_of_processor_formatter(
    server: ScriptedServer, client: OpenPanelClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Structlog hands over to logging; an OpenPanel handler behind it sends nothing twice."""
    with logger_of(client) as target:
        console = logging.StreamHandler()
        console.setFormatter(
            structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer())
        )
        target.addHandler(console)
        log = structlog.wrap_logger(
            target,
            processors=[
                structlog.stdlib.add_log_level,
                OpenPanelProcessor(client=client),
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        log.info("Order paid", _event="order_paid", total=42)
        target.removeHandler(console)
    expected = [{"name": "order_paid", "properties": {"total": 42}}]
    assert sent(server, client) == expected
    assert json.loads(capsys.readouterr().err) == {
        "event": "Order paid",
        "total": 42,
        "level": "info",
    }


@pytest.mark.parametrize(
    "last",
    [
        structlog.stdlib.render_to_log_kwargs,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
)
@pytest.mark.parametrize("with_processor", [True, False])
def test_the_handler_understands_what_structlog_hands_over(
    server: ScriptedServer, client: OpenPanelClient, last: Any, with_processor: bool
) -> None:
    """Alone, or behind the processor: once in any case, with the same properties."""
    processor = [OpenPanelProcessor(client=client)] if with_processor else []
    with logger_of(client) as target:
        log = structlog.wrap_logger(
            target,
            processors=[
                structlog.stdlib.add_log_level,
                structlog.processors.TimeStamper(),
                *processor,
                last,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
        log.info("Order paid", _event="order_paid", profile_id="u1", total=42)
        log.info("Not an event")
    expected = {"name": "order_paid", "properties": {"total": 42}, "profileId": "u1"}
    assert sent(server, client) == [expected]


def test_an_inert_processor_changes_nothing_but_the_marker() -> None:
    """Without credentials the chain goes on as it would with them."""
    chain = Chain(OpenPanelProcessor(enabled=False))
    chain.log.info("Paid", _event="order_paid", total=1)
    assert chain.entries == [{"event": "Paid", "total": 1, "level": "info"}]


def test_values_are_frozen_when_they_are_logged(
    server: ScriptedServer, client: OpenPanelClient
) -> None:
    """What changes afterwards is not sent."""
    chain = Chain(OpenPanelProcessor(client=client))
    basket = ["tea"]
    chain.log.info("Seen", _event="seen", basket=basket)
    basket.append("late")
    assert sent(server, client)[0]["properties"] == {"basket": ["tea"]}


def test_the_line_that_logged_is_found_behind_any_helper(
    server: ScriptedServer, client: OpenPanelClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Modules whose names only begin like structlog's or ours are the application's."""
    server.script = lambda _request: http(400, {"message": "no"})
    chain = Chain(OpenPanelProcessor(client=client))
    names = {"__name__": "logging_helpers", "log": chain.log}
    exec(compile("log.info('Bad', _event='bad')", "helpers.py", "exec"), names)  # noqa: S102
    assert client.flush(5)
    assert "helpers.py:1" in caplog.text


def test_flush_close_and_stats_are_the_clients(
    server: ScriptedServer, client: OpenPanelClient
) -> None:
    """As the handler's are."""
    processor = OpenPanelProcessor(client=client)
    Chain(processor).log.info("Seen", _event="seen")
    assert processor.flush(5)
    assert processor.stats().delivered == 1
    assert processor.close(5)
    assert server.names == ["seen"]
    assert "OpenPanelProcessor" in repr(processor)
