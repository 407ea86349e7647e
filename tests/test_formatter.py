"""From a log record to a call: names, values, options, and lines."""

from __future__ import annotations

import enum
import io
import json
import logging
import sys
import time
from datetime import datetime, timezone
from decimal import Decimal
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest

from op_logging import (
    AssignGroup,
    ConfigurationError,
    EventFilter,
    Identify,
    Increment,
    OpenPanelFormatter,
    Track,
)
from support.records import STAMP, formatted, properties, record


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


class Stranger:
    """An object that says how it reads, which is no id."""

    def __str__(self) -> str:
        return "Ada"


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
        ({"profile_id": Stranger()}, {}),
        ({"profile_id": iter("u1")}, {}),
        ({"profile_id": b"u1"}, {}),
        ({"groups": iter(["g1"])}, {}),
        ({"groups": [Stranger(), "g1", UUID(int=5)]}, {"groups": ["g1", str(UUID(int=5))]}),
        ({"groups": {"g1"}}, {"groups": ["g1"]}),
        ({"device_id": Stranger()}, {}),
        ({"user_agent": Stranger()}, {}),
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


def test_an_address_may_be_an_address_object() -> None:
    """As the standard library has it."""
    made = formatted(record(event="seen", ip=ip_address("2001:db8::1")))
    assert made["headers"] == {"x-client-ip": "2001:db8::1"}


def test_an_enum_of_texts_names_an_event_by_its_value() -> None:
    """Not by how it reads, which differs between versions of Python."""

    class Name(str, enum.Enum):
        PAID = "order_paid"

    assert formatted(record(event=Name.PAID))["payload"]["name"] == "order_paid"


def test_a_record_without_a_time_gets_one() -> None:
    """Records that were rebuilt from something else may have none."""
    made = record(event="seen")
    made.created = None  # type: ignore[assignment]  # that is what is odd about it
    stamp = formatted(made)["payload"]["properties"]["__timestamp"]
    moment = datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    assert abs(moment - time.time()) < 60


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


def test_a_stack_is_sent_only_if_it_is_named() -> None:
    """Like a traceback."""
    made = record(event="seen")
    made.stack_info = "Stack (most recent call last): here"
    assert properties(made) == {}
    assert properties(made, fmt="%(stack_info)s") == {"stack_info": made.stack_info}


def test_options_work_on_what_structlog_hands_over() -> None:
    """Its own keys are no properties; its message is one where ``fmt`` names it."""
    made = record()
    made.msg = {"event": "Order paid", "_event": "paid", "level": "info", "n": 1}
    assert properties(made, fmt="%(message)s", rename_fields={"n": "number"}) == {
        "message": "Order paid",
        "number": 1,
    }


def test_a_device_that_is_no_text_becomes_one() -> None:
    """Where that makes sense."""
    assert properties(record(event="seen", device_id=UUID(int=5)))["__deviceId"] == str(UUID(int=5))
    assert properties(record(event="seen", device_id=7))["__deviceId"] == "7"


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
        build_call, data = captured
        assert "late" not in build_call(data).call["payload"]["properties"]["items"]
        basket["items"].remove("late")
