"""From a log record to a call: names, values, options, and lines."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from op_logging import (
    Alias,
    AssignGroup,
    ConfigurationError,
    Decrement,
    EventFilter,
    Group,
    Identify,
    Increment,
    OpenPanelFormatter,
    Revenue,
    Track,
)

CREATED = 1_764_000_000.25
STAMP = "2025-11-24T16:00:00.250Z"


def record(message: str = "Paid", *arguments: object, **extra: Any) -> logging.LogRecord:
    """Return a record as ``logger.info(message, *arguments, extra=extra)`` makes it."""
    made = logging.getLogger("shop").makeRecord(
        "shop", logging.INFO, "/app/shop.py", 12, message, arguments, None, "pay", extra
    )
    made.created = CREATED
    return made


def formatted(made: logging.LogRecord, **options: Any) -> dict[str, Any]:
    """Return the call that the formatter makes of a record."""
    found = json.loads(OpenPanelFormatter(**options).format(made))
    assert isinstance(found, dict)
    return found


def properties(made: logging.LogRecord, **options: Any) -> dict[str, Any]:
    """Return its properties, without the time stamp."""
    found = dict(formatted(made, **options)["payload"]["properties"])
    assert found.pop("__timestamp") == STAMP
    return found


def unstamped(call: dict[str, Any]) -> dict[str, Any]:
    """Take the time stamp off a track call."""
    del call["payload"]["properties"]["__timestamp"]
    return call


GUIDE: list[tuple[object, dict[str, Any]]] = [
    (
        Track("my_event", {"foo": "bar"}),
        {"type": "track", "payload": {"name": "my_event", "properties": {"foo": "bar"}}},
    ),
    (
        Identify(
            "123",
            first_name="Joe",
            last_name="Doe",
            email="joe@example.com",
            properties={"tier": "premium"},
        ),
        {
            "type": "identify",
            "payload": {
                "profileId": "123",
                "firstName": "Joe",
                "lastName": "Doe",
                "email": "joe@example.com",
                "properties": {"tier": "premium"},
            },
        },
    ),
    (Alias("1", "a1"), {"type": "alias", "payload": {"profileId": "1", "alias": "a1"}}),
    (
        Increment("1", "visits", 1),
        {"type": "increment", "payload": {"profileId": "1", "property": "visits", "value": 1}},
    ),
    (
        Decrement("1", "visits", 1),
        {"type": "decrement", "payload": {"profileId": "1", "property": "visits", "value": 1}},
    ),
]


@pytest.mark.parametrize(("call", "expected"), GUIDE)
def test_the_guides_five_calls_as_objects(call: object, expected: dict[str, Any]) -> None:
    """JSON-equal to the guide's examples, but for the time stamp of a track call."""
    made = formatted(record(event=call))
    assert (unstamped(made) if expected["type"] == "track" else made) == expected


@pytest.mark.parametrize(("_call", "raw"), GUIDE)
def test_the_guides_five_calls_as_raw_mappings(_call: object, raw: dict[str, Any]) -> None:
    """As they are, plus a time stamp where a track call has none."""
    made = formatted(record(event=raw))
    assert (unstamped(made) if raw["type"] == "track" else made) == raw


def test_the_guides_track_call_as_plain_extras() -> None:
    """Every extra that has no meaning of its own is a property."""
    made = formatted(record(event="my_event", foo="bar"))
    assert unstamped(made) == GUIDE[0][1]


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            Group("g1", type="company", name="Acme", properties={"size": 3}),
            {
                "type": "group",
                "payload": {
                    "id": "g1",
                    "type": "company",
                    "name": "Acme",
                    "properties": {"size": 3},
                },
            },
        ),
        (
            AssignGroup(["g1", "g2"], profile_id="u1"),
            {"type": "assign_group", "payload": {"groupIds": ["g1", "g2"], "profileId": "u1"}},
        ),
        (
            Revenue(4250, profile_id="u1", device_id="d1", properties={"plan": "pro"}),
            {
                "type": "track",
                "payload": {
                    "name": "revenue",
                    "properties": {
                        "plan": "pro",
                        "__revenue": 4250,
                        "__deviceId": "d1",
                        "__timestamp": STAMP,
                    },
                    "profileId": "u1",
                },
            },
        ),
    ],
)
def test_the_servers_other_calls(call: object, expected: dict[str, Any]) -> None:
    """Group, assign_group, and revenue, which is a track call."""
    assert formatted(record(event=call)) == expected


def test_special_extras_go_where_the_api_wants_them() -> None:
    """And are no properties."""
    made = formatted(
        record(
            event="seen",
            profile_id="u1",
            groups=["g1"],
            device_id="d1",
            ip="81.2.69.160",
            user_agent="Mozilla/5.0",
            properties={"name": "n", "total": 1},
            total=2,
            currency="EUR",
        )
    )
    assert made == {
        "type": "track",
        "payload": {
            "name": "seen",
            "properties": {
                "total": 1,
                "currency": "EUR",
                "name": "n",
                "__deviceId": "d1",
                "__timestamp": STAMP,
            },
            "profileId": "u1",
            "groups": ["g1"],
        },
        "headers": {"x-client-ip": "81.2.69.160", "user-agent": "Mozilla/5.0"},
    }


@pytest.mark.parametrize(
    ("extra", "payload"),
    [
        ({"profile_id": 7}, {"profileId": 7}),
        ({"profile_id": UUID(int=5)}, {"profileId": str(UUID(int=5))}),
        ({"profile_id": None}, {}),
        ({"profile_id": ""}, {}),
        ({"profile_id": True}, {}),
        ({"profile_id": {"id": 1}}, {}),
        ({"profile_id": float("nan")}, {}),
        ({"groups": "g1"}, {"groups": ["g1"]}),
        ({"groups": ("g1", "", 5, "g2")}, {"groups": ["g1", "g2"]}),
        ({"groups": 5}, {}),
        ({"groups": None}, {}),
        ({"groups": []}, {}),
        ({"properties": "no mapping"}, {}),
        ({"properties": None}, {}),
        ({"device_id": None}, {}),
        ({"device_id": ["d"]}, {}),
        ({"ip": None, "user_agent": ""}, {}),
        ({"ip": ["1.2.3.4"]}, {}),
    ],
)
def test_an_odd_special_extra_costs_itself_and_not_the_event(
    extra: dict[str, Any], payload: dict[str, object]
) -> None:
    """The API refuses null and wrong types: they are left out."""
    made = formatted(record(event="seen", **extra))
    expected = {"name": "seen", "properties": {"__timestamp": STAMP}, **payload}
    assert made == {"type": "track", "payload": expected}


def test_hostile_headers_are_made_harmless() -> None:
    """A visitor's browser may say anything, and must not write headers of its own."""
    made = formatted(record(event="seen", ip="1.2.3.4\r\nx-evil: 1", user_agent="M\0ozilla ☃"))
    assert made["headers"] == {"x-client-ip": "1.2.3.4x-evil: 1", "user-agent": "Mozilla ?"}


def test_what_is_no_extra_is_no_property() -> None:
    """The record's own attributes, private names, and what other tools put on every record."""
    made = record(
        "Paid %s",
        "now",
        event="paid",
        total=1,
        _private=2,
        otelTraceID="a",
        otelSpanID="b",
        request=object(),
        **{"dd.trace_id": "c", "dd.env": "prod"},
    )
    made.taskName = "t"  # asyncio's, on every record from Python 3.12 on
    made.exc_info = (ValueError, ValueError("secret"), None)
    made.message = "set by another handler"
    assert properties(made) == {"total": 1}


def test_a_given_time_stamp_is_kept() -> None:
    """In the properties, or in a raw call."""
    given = "2026-01-02T03:04:05Z"
    for made in (
        record(event="seen", properties={"__timestamp": given}),
        record(event=Track("seen", {"__timestamp": given})),
        record(
            event={
                "type": "track",
                "payload": {"name": "seen", "properties": {"__timestamp": given}},
            }
        ),
    ):
        assert formatted(made)["payload"]["properties"] == {"__timestamp": given}


def test_a_raw_call_stays_as_it_is() -> None:
    """Extras and global properties are not mixed in; a type that nobody knows is the server's."""
    replay = {"type": "replay", "payload": {"payload": "[]", "chunk_index": 0}}
    assert formatted(record(event=replay, total=1), global_properties={"app": "shop"}) == replay
    no_properties = {"type": "track", "payload": {"name": "seen", "properties": None}}
    assert formatted(record(event=no_properties)) == no_properties


def test_values_become_what_the_server_keeps() -> None:
    """Texts that look like JSON get a space, which the server trims; the rest is JSON."""
    made = record(
        event="seen",
        when=datetime(2026, 1, 2, tzinfo=timezone.utc),
        price=Decimal("1.50"),
        nothing=float("nan"),
        tags={"b", "a"},
        text="[INFO] hello",
        deep={"list": ["{x"]},
        big=2**60,
    )
    assert properties(made) == {
        "when": "2026-01-02T00:00:00+00:00",
        "price": 1.5,
        "nothing": None,
        "tags": ["a", "b"],
        "text": " [INFO] hello",
        "deep": {"list": [" {x"]},
        "big": str(2**60),
    }


def test_extras_beat_global_properties() -> None:
    """Which are added to track calls only."""
    options = {"global_properties": {"app": "shop", "env": "prod"}}
    assert properties(record(event="seen", app="cli"), **options) == {"app": "cli", "env": "prod"}
    assert properties(record(event=Track("seen", {"env": "dev"})), **options) == {
        "app": "shop",
        "env": "dev",
    }
    assert "properties" not in formatted(record(event=Identify("u1")), **options)["payload"]


def test_extras_beside_a_call_object_are_its_properties() -> None:
    """Where the call has any; the call's own win."""
    made = formatted(record(event=Identify("u1", properties={"plan": "pro"}), plan="x", age=3))
    assert made["payload"]["properties"] == {"plan": "pro", "age": 3}
    made = formatted(record(event=Track("seen"), profile_id="u1", groups=["g1"], age=3))
    assert made["payload"]["profileId"] == "u1"
    assert made["payload"]["groups"] == ["g1"]
    assert made["payload"]["properties"]["age"] == 3
    made = formatted(record(event=Increment("u1", "visits"), profile_id="u2", age=3))
    assert made["payload"] == {"profileId": "u1", "property": "visits", "value": 1}
    made = formatted(record(event=AssignGroup(["g1"]), profile_id="u2"))
    assert made["payload"] == {"groupIds": ["g1"], "profileId": "u2"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"fmt": "%(message)s %(levelname)s"}, {"message": "Paid 5", "levelname": "INFO", "n": 1}),
        ({"fmt": "{name}", "style": "{"}, {"name": "shop", "n": 1}),
        ({"rename_fields": {"n": "number"}}, {"number": 1}),
        ({"fmt": "%(message)s", "rename_fields": {"message": "text"}}, {"text": "Paid 5", "n": 1}),
        ({"static_fields": {"app": "shop"}}, {"app": "shop", "n": 1}),
        ({"defaults": {"n": 7, "m": 8}}, {"n": 1, "m": 8}),
        ({"timestamp": "at"}, {"at": "2025-11-24T16:00:00.250000+00:00", "n": 1}),
        ({"reserved_attrs": [*vars(logging.makeLogRecord({})), "n"]}, {}),
        ({"fmt": "%(asctime)s", "datefmt": "%Y"}, {"asctime": "2025", "n": 1}),
    ],
)
def test_the_inherited_options_work_on_properties(
    options: dict[str, Any], expected: dict[str, object]
) -> None:
    """As python-json-logger documents them."""
    made = record("Paid %d", 5, event="paid", n=1, _private=1, request="r")
    made.taskName = "t"
    assert properties(made, **options) == expected


def test_an_extra_may_be_renamed_to_a_special_one() -> None:
    """Renaming comes first."""
    made = formatted(record(event="paid", user="u1"), rename_fields={"user": "profile_id"})
    assert made["payload"]["profileId"] == "u1"
    assert set(made["payload"]["properties"]) == {"__timestamp"}


def test_a_traceback_is_sent_only_if_it_is_named() -> None:
    """By ``fmt``, like the message."""
    made = record(event="failed")
    try:
        raise ValueError("out of stock")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert properties(made) == {}
    sent = properties(made, fmt="%(exc_info)s")
    assert sent["exc_info"].endswith("ValueError: out of stock")


def test_a_subclass_may_change_the_properties() -> None:
    """Through the base class's own steps."""

    class Upper(OpenPanelFormatter):
        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {key.upper(): value for key, value in log_data.items()}

    made = json.loads(Upper().format(record(event="paid", total=1)))
    assert made["payload"]["properties"] == {"TOTAL": 1, "__timestamp": STAMP}


@pytest.mark.parametrize(
    "event", [None, 5, 1.5, True, ["x"], {}, {"type": "track"}, {"payload": {}}, object(), b"x"]
)
def test_anything_else_is_no_event(event: object) -> None:
    """It gives no line and no error."""
    made = record(event=event)
    assert OpenPanelFormatter().format(made) == ""
    assert EventFilter().filter(made) is False


@pytest.mark.parametrize(
    "event",
    [
        "",
        {"type": 5, "payload": {}},
        {"type": "track", "payload": []},
        {"type": None, "payload": None},
    ],
)
def test_an_event_that_cannot_be_a_call_gives_no_line(event: object) -> None:
    """It is said on the logger ``op_logging``; nothing is raised."""
    assert OpenPanelFormatter().format(record(event=event)) == ""


def test_one_json_line_an_event_on_a_stream() -> None:
    """With the filter, records that are no events give no line."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(OpenPanelFormatter())
    handler.addFilter(EventFilter())
    for made in (record(event="one", text="two\nlines"), record("no event"), record(event="two")):
        handler.handle(made)
    names = [json.loads(line)["payload"]["name"] for line in stream.getvalue().splitlines()]
    assert names == ["one", "two"]


def test_a_prefix_stands_before_the_line() -> None:
    """As collectors want it."""
    line = OpenPanelFormatter(prefix="@cee: ").format(record(event="one"))
    assert line.startswith('@cee: {"type":"track"')


def test_the_event_key_can_be_another_one() -> None:
    """``event`` is then a property like any other."""
    options = {"event_key": "analytics"}
    made = record(analytics="paid", event="something else")
    assert formatted(made, **options)["payload"]["name"] == "paid"
    assert properties(made, **options) == {"event": "something else"}
    assert EventFilter(event_key="analytics").filter(made) is True
    assert EventFilter().filter(record(analytics="paid")) is False


def test_options_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keyword beats environment."""
    monkeypatch.setenv("OPENPANEL_EVENT_KEY", "analytics")
    monkeypatch.setenv("OPENPANEL_GLOBAL_PROPERTIES", '{"app": "shop"}')
    assert properties(record(analytics="paid")) == {"app": "shop"}
    assert formatted(record(event="paid"), event_key="event")["payload"]["name"] == "paid"
    with pytest.raises(ConfigurationError, match="event_key"):
        OpenPanelFormatter(event_key="")


def test_the_record_is_never_changed() -> None:
    """Other handlers get it next."""
    made = record(
        "Paid %d", 5, event="paid", deep={"a": [1]}, when=datetime(2026, 1, 1, tzinfo=timezone.utc)
    )
    before = dict(vars(made))
    for options in (
        {},
        {"fmt": "%(message)s %(asctime)s %(exc_info)s"},
        {"static_fields": {"a": 1}},
    ):
        OpenPanelFormatter(**options).format(made)
    assert vars(made) == before


def test_what_changes_after_the_call_is_not_sent() -> None:
    """Mutable values are frozen when the record is captured, not when it is rendered."""
    basket: dict[str, Any] = {"items": ["tea"]}
    call = Track("seen", basket)
    for made in (record(event="seen", **basket), record(event=call)):
        captured = OpenPanelFormatter().capture(made)
        assert captured is not None
        basket["items"].append("late")
        body = json.loads(captured.render().body)
        assert "late" not in body["payload"]["properties"]["items"]
        basket["items"].remove("late")


def test_a_mapping_that_is_no_dict_is_a_raw_call_as_well() -> None:
    """Any mapping is."""

    class Frozen(Mapping[str, object]):
        def __getitem__(self, key: str) -> object:
            return GUIDE[2][1][key]

        def __iter__(self) -> Any:
            return iter(["type", "payload"])

        def __len__(self) -> int:
            return 2

    assert formatted(record(event=Frozen())) == GUIDE[2][1]
