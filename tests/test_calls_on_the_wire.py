"""The API's calls on the wire, as its guide has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from op_logging import (
    Alias,
    AssignGroup,
    Decrement,
    Group,
    Identify,
    Increment,
    Revenue,
    Track,
)
from support.records import STAMP, formatted, record, unstamped

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
