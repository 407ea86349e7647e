"""Whatever is logged, configured or answered: hypothesis looks for what nobody thought of."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from op_logging import (
    ConfigurationError,
    Group,
    Increment,
    OpenPanelClient,
    OpenPanelConfig,
    OpenPanelProcessor,
    Track,
)
from support.clients import CLIENT_ID, SECRET, assert_adds_up, client_of, logger_of
from support.misbehaving import Pieces
from support.scripted_server import OK, Answer, Request, ScriptedServer, http

# What is documented of bodies: `OpenPanelConfig` and `op_logging._encoding.plain`.
LARGEST_BODY = 65_536
DEEPEST = 32 + 2
MOST_ITEMS = 10_000
LONGEST_HEADER = 1_024
LARGEST_INT = 2**53

# Texts with lone surrogates, control characters, and what the server would take for JSON.
TEXTS = st.one_of(
    st.text(st.characters(), max_size=20),
    st.text(st.characters(categories=["Cs", "Cc"]), max_size=5),
    st.sampled_from(["", "{", "[1]", "__proto__", "constructor", "\r\nX-Evil: 1", "x" * 70_000]),
)
NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(-(10**4000), 10**4000),  # what has more digits cannot be shown by hypothesis
    st.decimals().filter(lambda number: not number.is_snan()),  # it cannot be hashed
    st.complex_numbers(),
    st.fractions(),
    st.booleans(),
)
MOMENTS = st.one_of(
    st.datetimes(timezones=st.one_of(st.none(), st.just(dt.timezone.utc))),
    st.dates(),
    st.times(),
    st.timedeltas(),
)
HASHABLE = st.one_of(TEXTS, NUMBERS, MOMENTS, st.none(), st.binary(max_size=20), st.uuids())
ODD = [object(), int, len, ..., ValueError("x"), range(5), Decimal("sNaN")]
VALUES = st.recursive(
    st.one_of(HASHABLE, st.sampled_from(ODD)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(HASHABLE, max_size=5),
        st.frozensets(HASHABLE, max_size=5),
        st.dictionaries(HASHABLE, inner, max_size=5),
    ),
    max_leaves=12,
)


def nested(value: object, depth: int) -> object:
    """Return a value inside of so many lists and dicts."""
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


DEEP = st.builds(nested, VALUES, st.integers(1, 60))
"""Deeper than `VALUES` ever get."""
SPECIAL = ["profile_id", "groups", "properties", "ip", "user_agent", "device_id"]
RESERVED = {*vars(logging.makeLogRecord({})), "message", "asctime", "event", "_event"}
"""Extras that logging refuses by itself, and what makes a record an event."""
KEYS = st.one_of(st.sampled_from(SPECIAL), TEXTS).filter(lambda key: key not in RESERVED)
EXTRAS = st.dictionaries(st.one_of(KEYS, st.integers(), st.none()), st.one_of(VALUES, DEEP))
# Names of structlog's own parameters raise TypeError in the caller.
ENTRIES = st.dictionaries(
    KEYS.filter(lambda key: key not in {"self", "method_name"}), st.one_of(VALUES, DEEP)
)
RAW = st.fixed_dictionaries(
    {
        "type": st.one_of(VALUES, st.sampled_from(["track", "identify", "increment", "group"])),
        "payload": st.one_of(
            VALUES,
            st.dictionaries(
                st.sampled_from(["name", "profileId", "properties", "property", "value", "id"]),
                VALUES,
            ),
        ),
    }
)


def refuse(constant: str) -> object:
    """Refuse what is no JSON, though Python takes it."""
    raise AssertionError(constant)


def check_value(value: object, depth: int = 0) -> int:
    """Check a value of a body; return how many items it has."""
    assert depth <= DEEPEST
    if isinstance(value, Mapping):
        assert "__proto__" not in value
        return len(value) + sum(check_value(item, depth + 1) for item in value.values())
    if isinstance(value, list):
        return len(value) + sum(check_value(item, depth + 1) for item in value)
    if isinstance(value, int):
        assert abs(value) <= LARGEST_INT
    if isinstance(value, str):
        value.encode("utf-8")
    return 0


def check_request(request: Request) -> None:
    """Check what was sent."""
    assert len(request.body) <= LARGEST_BODY
    call = json.loads(request.body.decode("utf-8"), parse_constant=refuse)
    assert isinstance(call["type"], str)
    assert check_value(call["payload"]) <= MOST_ITEMS + 100  # of a few parts, each with its bound
    for name in ("x-client-ip", "user-agent"):
        value = request.headers.get(name, "")
        assert value.isascii()
        assert value.isprintable()
        assert len(value) <= LONGEST_HEADER
    assert "x-evil" not in request.headers


def check_delivered(
    server: ScriptedServer, client: OpenPanelClient, log: Callable[[], object], *, is_raw: bool
) -> None:
    """Log something once; check that it arrived as it should, or was too large."""
    before, requests = client.stats(), len(server.requests)
    log()
    assert client.flush(10)
    after = client.stats()
    assert_adds_up(after)
    assert after.accepted - before.accepted <= 1
    assert is_raw or after.accepted > before.accepted
    lost = {k: n - before.reasons.get(k, 0) for k, n in after.reasons.items() if k != "left_out"}
    delivered = after.delivered - before.delivered
    assert delivered + sum(lost.values()) == after.accepted - before.accepted
    allowed = {"too_large", "invalid"} if is_raw else {"too_large"}
    assert {reason for reason, number in lost.items() if number} <= allowed, after.last_error
    assert len(server.requests) == requests + delivered
    for request in server.requests[requests:]:
        check_request(request)


def test_any_extras_through_the_handler(server: ScriptedServer) -> None:
    """Nothing is raised, and an odd value costs itself only."""
    with client_of(server.url) as client, logger_of(client) as logger:
        logger.handlers[0].handleError = _fail  # type: ignore[method-assign]  # it would only print

        @given(EXTRAS)
        @settings(max_examples=120)
        def log(extras: dict[Any, Any]) -> None:
            extra = {"event": "fuzzed", **extras}
            check_delivered(server, client, lambda: logger.info("Odd", extra=extra), is_raw=False)

        log()
        assert client.stats().delivered > 50


def test_any_entries_through_the_processor(server: ScriptedServer) -> None:
    """The same, and the entry goes on down the chain as it came."""
    with client_of(server.url) as client:
        passed: list[Mapping[str, Any]] = []

        def keep(_logger: object, _method: str, entry: Any) -> str:
            passed.append(entry)
            return ""

        log = structlog.wrap_logger(
            structlog.ReturnLogger(), processors=[OpenPanelProcessor(client=client), keep]
        )

        @given(ENTRIES)
        @settings(max_examples=120)
        def run(entry: dict[str, Any]) -> None:
            check_delivered(
                server, client, lambda: log.info("Odd", _event="fuzzed", **entry), is_raw=False
            )
            assert passed[-1].keys() == {*entry, "event"}

        run()
        assert client.stats().delivered > 50


def test_any_raw_call(server: ScriptedServer) -> None:
    """It arrives, or is counted as none that could."""
    with client_of(server.url) as client, logger_of(client) as logger:
        logger.handlers[0].handleError = _fail  # type: ignore[method-assign]  # it would only print

        @given(st.one_of(RAW, VALUES), st.one_of(st.just({}), EXTRAS))
        @settings(max_examples=120)
        def log(event: object, extras: dict[Any, Any]) -> None:
            extra = {**extras, "event": event}
            check_delivered(server, client, lambda: logger.info("Odd", extra=extra), is_raw=True)

        log()


def _fail(record: logging.LogRecord) -> None:
    raise AssertionError(record)


HUGE = 10**5_000
"""Python refuses to write it as a text; so does hypothesis, to show it: it is tried here apart."""


@pytest.mark.parametrize("key", ["total", *SPECIAL])
@pytest.mark.parametrize(
    "value", [HUGE, [HUGE], {"a": HUGE}, Fraction(HUGE, 3), Decimal(HUGE)], ids=type
)
def test_a_number_of_too_many_digits_costs_itself_only(
    server: ScriptedServer, key: str, value: object
) -> None:
    """Wherever it stands."""
    with client_of(server.url) as client, logger_of(client) as logger:
        for event in ("fuzzed", Group("g1", "company", "Acme"), Increment("u1", "n")):
            log = partial(logger.info, "Odd", extra={"event": event, key: value})
            check_delivered(server, client, log, is_raw=False)


SIGNS = ["0", "-1", "1e400", "nan", "inf", " ", ",", "1,2", "1,nan", "true", "[1]", '{"a": 1}', "{"]
PATHS = ["x..y", ".x", "x.", "a\0b.c", "\ud800.x", "os.nothing", "a" * 5000 + ".b", "json.dumps"]
URLS = ["http://", "https://[::1", "http://a\0b", "http://%", "http://x:0", "http://x:99999", "//x"]
HOSTS = TEXTS.map(lambda text: f"http://{text}/a")
WITH_SECRET = [f"https://u:{SECRET}@x.y", f"https://{SECRET}@", f"x@{SECRET}", f"{SECRET}\n@"]
JUNK = st.one_of(VALUES, st.sampled_from([*SIGNS, *PATHS, *URLS, "log", "http", "drop_oldest"]))
SECRETS = st.sampled_from(
    [f"{SECRET}\n{SECRET}", f"\x7f{SECRET}", [SECRET], {SECRET: SECRET}, SECRET.encode(), {SECRET}]
)
OPTIONS = [field.name for field in fields(OpenPanelConfig)]


def built(name: str, make: Callable[[], OpenPanelConfig]) -> None:
    """Build options, and a client of them; check an error."""
    refused = ""
    try:
        config = make()
    except ConfigurationError as error:
        refused = str(error)
    if refused:
        assert re.match(f"(option {name}|environment variable OPENPANEL_{name.upper()})=", refused)
        assert " is not allowed: use " in refused
        assert SECRET not in refused
        return
    assert isinstance(config, OpenPanelConfig)
    assert SECRET not in repr(config)
    assert all(SECRET not in text for _, text in config.notices())
    hash(config.delivery_key())
    assert SECRET not in repr(OpenPanelClient(config=config))


@pytest.mark.parametrize("name", OPTIONS)
def test_any_value_of_an_option(name: str) -> None:
    """It is taken, or refused by the option's name; the secret is shown in neither case."""
    special = {
        "client_secret": SECRETS,
        "api_url": st.one_of(HOSTS, st.sampled_from(WITH_SECRET)),
    }
    junk = st.one_of(JUNK, special[name]) if name in special else JUNK
    usual = {"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": "http://127.0.0.1:9"}

    @given(junk)
    @settings(max_examples=30)
    def configure(value: Any) -> None:
        options = {**usual, name: value}
        built(name, lambda: OpenPanelConfig.from_options(options, {}))
        built(name, lambda: OpenPanelConfig(**options))
        if isinstance(value, str):
            variable = f"OPENPANEL_{name.upper()}"
            rest = {key: known for key, known in usual.items() if key != name}
            built(name, lambda: OpenPanelConfig.from_options(rest, {variable: value}))

    configure()


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
VALID = [
    OK,
    CHUNKED,
    http(202, {"bot": True}),
    http(301, "", {"location": "http://127.0.0.1:1/"}),
    http(400, {"message": "no"}),
    http(401, {"message": "Ingestion: who?"}),
    http(404, "Profile not found"),
    http(429, "slower", {"retry-after": "0"}),
    http(503, "busy", {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    http(500, "error", {"x-ratelimit-reset": "9" * 400}),
    b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a valid answer with some parts replaced, repeated, or cut off."""
    answer = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(answer)))
        end = draw(st.integers(start, min(len(answer), start + 20)))
        part = answer[start:end]
        new = draw(st.sampled_from([b"", part * 2, b"\r\n", b"\0", b"-", b": ", b"\xff"]))
        answer = (
            answer[:start] + draw(st.one_of(st.just(new), st.binary(max_size=8))) + answer[end:]
        )
    return answer


ANSWERS = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=100).map(lambda rest: b"HTTP/1.1 " + rest),
    st.binary(max_size=100).map(lambda rest: b"HTTP/1.1 200 OK\r\n" + rest),
    mutated(),
)
TIME_OUT = 0.15


@pytest.mark.parametrize(("closes", "examples"), [(True, 100), (False, 30)])
def test_any_answer(closes: bool, examples: int, caplog: pytest.LogCaptureFixture) -> None:
    """A flush ends, the books add up, and the next event gets through by its own answer."""
    odd: list[bytes] = []
    numbers = itertools.count()

    def script(_request: Request) -> Answer:
        if not odd:
            return OK
        answer = odd.pop()
        return Pieces(answer, pause=0.0, closes=True) if closes else answer

    options = {"timeout": (2.0, TIME_OUT), "max_backoff": 0.05, "max_connections": 1}
    with ScriptedServer(script) as server, client_of(server.url, **options) as client:

        @given(ANSWERS)
        @settings(max_examples=examples)
        def answer(data: bytes) -> None:
            before, first = client.stats(), len(server.requests)
            odd.append(data)
            began = time.monotonic()
            client.submit(Track(f"event {next(numbers)}"))
            assert client.flush(10)
            assert time.monotonic() - began < 5
            between = client.stats()
            assert_adds_up(between)
            assert odd == []
            settled = between.delivered + between.rejected - before.delivered - before.rejected
            assert settled == 1
            # Once with the odd answer, and once more if that was none.
            assert 1 <= len(server.requests) - first <= 2
            client.submit(Track(name := f"event {next(numbers)}"))
            assert client.flush(10)
            assert client.stats().delivered == between.delivered + 1
            assert name in server.names[first:]

        answer()
        assert client.stats().dropped == 0
    assert "a lane failed" not in caplog.text
    assert "the sender failed" not in caplog.text
