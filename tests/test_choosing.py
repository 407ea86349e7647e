"""What a handler takes and hides: only_events, only_loggers and redact."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from op_logging import (
    ConfigurationError,
    Group,
    Identify,
    Increment,
    OpenPanelClient,
    OpenPanelConfig,
    OpenPanelFormatter,
    OpenPanelHandler,
    OpenPanelProcessor,
    Revenue,
    Track,
)
from support.clients import CLIENT_ID, SECRET, client_of, logger_of
from support.hooks import Recorder
from support.records import formatted, record
from support.scripted_server import ScriptedServer, http
from support.waiting import wait_until

HIDDEN = "(redacted)"


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[OpenPanelClient]:
    """A client of the server."""
    with client_of(server.url) as made:
        yield made


@contextmanager
def logging_on(name: str, handler: OpenPanelHandler) -> Iterator[logging.Logger]:
    """Give a logger of that name with a handler."""
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)


ALL: list[Any] = [
    "order_paid", "order_lost", "page", Identify("u1"), Group("g1", "company", "Acme"),
    Increment("u1", "visits"), Revenue(100), Track("order_back"),
    {"type": "track", "payload": {"name": "order_raw"}},
    {"type": "increment", "payload": {"profileId": "u2", "property": "order_count"}},
]  # fmt: skip
CHOICES = [
    (["order_*"], ["order_back", "order_lost", "order_paid", "order_raw"]),
    (["page", "identify"], ["identify", "page"]),
    (["increment", "gr?up"], ["Acme", "increment", "increment"]),
    (["revenue"], ["revenue"]),
    (["ORDER_*"], []),
    (["order"], []),
    (["[op]*"], ["order_back", "order_lost", "order_paid", "order_raw", "page"]),
]


@pytest.mark.parametrize(("only", "taken"), CHOICES)
def test_a_handler_takes_only_the_events_that_it_is_told_to(
    only: list[str], taken: list[str], server: ScriptedServer, client: OpenPanelClient
) -> None:
    """Track calls by their names, others by their type; what it leaves out is counted nowhere."""
    with logger_of(client, only_events=only) as logger:
        for event in ALL:
            logger.info("One", extra={"event": event})
        assert client.flush(5)
    assert sorted(server.names) == taken
    assert client.stats().accepted == len(taken)


@pytest.mark.parametrize(("only", "taken"), CHOICES)
def test_a_processor_takes_only_the_events_that_it_is_told_to(
    only: list[str], taken: list[str], server: ScriptedServer, client: OpenPanelClient
) -> None:
    """The same; the entry goes on down the chain either way, without its marker."""
    processor = OpenPanelProcessor(client=client, only_events=only)
    for event in ALL:
        assert processor(None, "info", {"event": "One", "_event": event}) == {"event": "One"}
    assert client.flush(5)
    assert sorted(server.names) == taken


def test_events_to_take_may_be_named_in_the_environment(
    server: ScriptedServer, client: OpenPanelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With commas."""
    monkeypatch.setenv("OPENPANEL_ONLY_EVENTS", "order_*, identify")
    with logger_of(client) as logger:
        for event in ("order_paid", "page", Identify("u1")):
            logger.info("One", extra={"event": event})
        assert client.flush(5)
    assert sorted(server.names) == ["identify", "order_paid"]


def test_an_event_that_one_handler_leaves_out_is_still_the_others(
    server: ScriptedServer, client: OpenPanelClient
) -> None:
    """Leaving it out is not having sent it."""
    with logger_of(client, only_events="order_*") as logger:
        other = OpenPanelHandler(CLIENT_ID, SECRET, client=client, only_events="page")
        logger.addHandler(other)
        for event in ("page", "order_paid", "more"):
            logger.info("One", extra={"event": event})
        logger.removeHandler(other)
        assert client.flush(5)
    assert sorted(server.names) == ["order_paid", "page"]


LOGGERS = ["tests.a", "tests.a.b", "tests.a.b.c", "tests.ab", "tests.b.a"]


@pytest.mark.parametrize(
    ("only", "taken"),
    [
        ("tests.a", ["tests.a", "tests.a.b", "tests.a.b.c"]),
        ("tests.a.b", ["tests.a.b", "tests.a.b.c"]),
        ("tests.a*", ["tests.a", "tests.a.b", "tests.a.b.c", "tests.ab"]),
        ("tests.*.b", ["tests.a.b", "tests.a.b.c"]),
        (["tests.ab", "tests.b"], ["tests.ab", "tests.b.a"]),
        ("a", []),
        ("TESTS.A", []),
    ],
)
def test_a_handler_takes_only_the_records_of_some_loggers(
    only: Any, taken: list[str], server: ScriptedServer, client: OpenPanelClient
) -> None:
    """A name stands for the loggers below it, too, and not for those that begin like it."""
    handler = OpenPanelHandler(CLIENT_ID, SECRET, client=client, only_loggers=only)
    with logging_on("tests", handler):
        for name in LOGGERS:
            logging.getLogger(name).info("One", extra={"event": name})
        assert client.flush(5)
    assert sorted(server.names) == taken
    assert client.stats().accepted == len(taken)


def test_loggers_may_be_named_in_the_environment(
    server: ScriptedServer, client: OpenPanelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With commas; and both choices must hold."""
    monkeypatch.setenv("OPENPANEL_ONLY_LOGGERS", "tests.ab,tests.b")
    handler = OpenPanelHandler(CLIENT_ID, SECRET, client=client, only_events=["*a", "*c"])
    with logging_on("tests", handler):
        for name in LOGGERS:
            logging.getLogger(name).info("One", extra={"event": name})
        assert client.flush(5)
    assert server.names == ["tests.b.a"]


SECRETS: dict[str, Any] = {
    "card": "4242",
    "Card": {"number": "4242"},
    "api_token": ["4242"],
    "API_TOKEN_OLD": 4242,
    "safe": {"list": [{"card": "4242", "kept": 1}, [{"a": {"x_token": 4242}}]], "kept": "yes"},
}
PATTERNS = ["card", "*_token"]
SHOWN: dict[str, Any] = {
    "card": HIDDEN,
    "Card": HIDDEN,
    "api_token": HIDDEN,
    "API_TOKEN_OLD": 4242,
    "safe": {"list": [{"card": HIDDEN, "kept": 1}, [{"a": {"x_token": HIDDEN}}]], "kept": "yes"},
}


def properties(server: ScriptedServer) -> list[dict[str, Any]]:
    """Return the properties of what came in, without their time."""
    found = [dict(request.call["payload"]["properties"]) for request in server.requests]
    for each in found:
        each.pop("__timestamp", None)
    return found


def test_a_handler_hides_properties_at_any_depth(
    server: ScriptedServer, client: OpenPanelClient
) -> None:
    """By name or pattern, whatever the case; of events, objects, raw calls, nested properties."""
    common = {"global_properties": {"card": "4242"}}
    with logger_of(client, redact=PATTERNS, **common) as logger:
        logger.info("One", extra={"event": "a", **SECRETS})
        logger.info("One", extra={"event": "a", "properties": SECRETS})
        logger.info("One", extra={"event": Track("a", SECRETS)})
        assert client.flush(5)
        logger.info("One", extra={"event": Identify("u1", properties=SECRETS)})
        logger.info("One", extra={"event": Group("g1", "company", "Acme", properties=SECRETS)})
        raw = {"type": "track", "payload": {"name": "a", "properties": SECRETS}}
        logger.info("One", extra={"event": raw})
        assert client.flush(5)
    assert properties(server) == [SHOWN] * 6
    assert raw["payload"] == {"name": "a", "properties": SECRETS}, "the caller's own is his"


def test_a_processor_hides_properties(server: ScriptedServer, client: OpenPanelClient) -> None:
    """In the call, not in the entry that goes on down the chain."""
    processor = OpenPanelProcessor(client=client, redact=PATTERNS)
    entry = {"event": "One", "_event": "a", **SECRETS}
    assert processor(None, "info", entry) == {"event": "One", **SECRETS}
    processor(None, "info", {"event": "One", "_event": Track("a", SECRETS)})
    assert client.flush(5)
    assert properties(server) == [SHOWN] * 2


def test_a_client_hides_properties(server: ScriptedServer) -> None:
    """Of what is submitted to it."""
    with client_of(server.url, redact=PATTERNS) as client:
        client.submit(Track("a", SECRETS))
        client.submit(Identify("u1", properties=SECRETS))
        assert client.flush(5)
    assert properties(server) == [SHOWN] * 2


def test_a_line_of_the_formatter_hides_properties() -> None:
    """Also with a formatter that renames: what counts is what a property is called then."""
    found = formatted(record(event="a", **SECRETS), redact=PATTERNS)["payload"]["properties"]
    found.pop("__timestamp")
    assert found == SHOWN
    renamed = formatted(record(event="a", pan="4242"), redact="card", rename_fields={"pan": "card"})
    assert renamed["payload"]["properties"]["card"] == HIDDEN


def test_what_to_hide_may_be_named_in_the_environment(
    server: ScriptedServer, client: OpenPanelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With commas; a formatter's own choice goes before the handler's."""
    monkeypatch.setenv("OPENPANEL_REDACT", "card, *_token")
    with logger_of(client) as logger:
        logger.info("One", extra={"event": "a", **SECRETS})
        assert client.flush(5)
        handler = logger.handlers[0]
        handler.setFormatter(OpenPanelFormatter(redact="kept"))
        logger.info("One", extra={"event": "a", "card": "1234", "kept": 1})
        assert client.flush(5)
    assert properties(server) == [SHOWN, {"card": "1234", "kept": HIDDEN}]


def test_hooks_see_what_is_hidden_as_it_is_sent() -> None:
    """Neither before_send nor on_drop gets the value."""
    before, lost = Recorder(), Recorder()
    with ScriptedServer(lambda _request: http(400, "no")) as server:
        hooks: dict[str, Any] = {"before_send": before, "on_drop": lost}
        with client_of(server.url, redact=PATTERNS, **hooks) as client:
            client.submit(Track("a", SECRETS))
            assert client.flush(5)
            wait_until(lambda: lost.lines)
    for hook in before, lost:
        assert hook.lines[0]["payload"]["properties"]["card"] == HIDDEN


def test_what_hides_is_for_properties_alone(
    server: ScriptedServer, client: OpenPanelClient
) -> None:
    """A pattern that matches everything leaves the name, the profile and the groups."""
    with logger_of(client, redact="*") as logger:
        logger.info(
            "One", extra={"event": "a", "profile_id": "u1", "groups": ["g1"], "x": {"y": 1}}
        )
        assert client.flush(5)
    payload = server.requests[0].call["payload"]
    assert (payload["name"], payload["profileId"], payload["groups"]) == ("a", "u1", ["g1"])
    assert payload["properties"]["x"] == HIDDEN


@pytest.mark.parametrize("option", ["only_events", "only_loggers", "redact"])
@pytest.mark.parametrize("value", [5, [5], [""], {"a": 1}.items()])
def test_what_is_no_list_of_names_is_refused(option: str, value: Any) -> None:
    """Where it is given."""
    with pytest.raises(ConfigurationError, match=option):
        OpenPanelConfig.from_options({option: value})


def test_a_pattern_cannot_be_wrong(server: ScriptedServer, client: OpenPanelClient) -> None:
    """What would be none in the shell stands for itself."""
    with logger_of(client, only_events=["[a", "b)", "(c", "\\d"]) as logger:
        for name in ("[a", "a", "b)", "(c", "\\d", "5"):
            logger.info("One", extra={"event": name})
        assert client.flush(5)
    assert sorted(server.names) == ["(c", "[a", "\\d", "b)"]
