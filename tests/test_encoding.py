"""Values: one odd value costs that value, never the event."""

from __future__ import annotations

import collections
import enum
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from op_logging._encoding import (
    dumps,
    header_text,
    iso_timestamp,
    plain,
    profile_key,
    render_properties,
)
from op_logging._freezing import freeze


class Colour(enum.Enum):
    """An enum of texts."""

    RED = "red"


class Level(enum.IntEnum):
    """An enum that is a number as well."""

    HIGH = 3


class Point(NamedTuple):
    """A named tuple."""

    x: int
    y: float


@dataclass
class Order:
    """A dataclass that holds another value."""

    id: UUID
    lines: list[Any]


class WithStr:
    """An object that says how it reads."""

    def __str__(self) -> str:
        return "readable"


class QuerySet:
    """What looks like a list, and asks a database as soon as somebody looks."""

    def __repr__(self) -> str:
        raise AssertionError("a query")

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("a query")

    def __len__(self) -> int:
        raise AssertionError("a query")


class Broken:
    """An object that fails when it is asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no")


class Liar:
    """An object whose text is none."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307 - that is what is odd about it


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone.utc)
NUMBER = UUID("9d0a7c3e-1f52-4a86-b0cd-6f1e2a3b4c5d")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (5, 5),
        (2**53, 2**53),
        (2**53 + 1, str(2**53 + 1)),
        (-(2**70), str(-(2**70))),
        (1.5, 1.5),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        ("text", "text"),
        ("日本", "日本"),
        ("a\ud800b", "a\ufffdb"),
        (MOMENT, "2026-01-02T03:04:05.678901+00:00"),
        (datetime(2026, 1, 2), "2026-01-02T00:00:00"),  # noqa: DTZ001 - naive on purpose
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=2), 120),
        (timedelta(milliseconds=1500), 1.5),
        (NUMBER, str(NUMBER)),
        (Decimal("42.50"), 42.5),
        (Decimal("42.00"), 42),
        (Decimal("0.1"), 0.1),
        (Decimal("3.14159265358979323846"), "3.14159265358979323846"),
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        (Decimal("Infinity"), None),
        (Decimal("1e400"), "1E+400"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (b"text", "text"),
        (b"\xff\xfe", "//4="),
        (bytearray(b"a"), "a"),
        (memoryview(b"a"), "a"),
        (PurePosixPath("/a/b"), "/a/b"),
        ({"b", "a"}, ["a", "b"]),
        (frozenset({2, 1, "a"}), [1, 2, "a"]),
        ((1, (2,)), [1, [2]]),
        (collections.deque([1]), [1]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.items(), [["a", 1]]),
        (Point(1, 2.5), {"x": 1, "y": 2.5}),
        (Order(NUMBER, [Colour.RED]), {"id": str(NUMBER), "lines": ["red"]}),
        (collections.OrderedDict(a=1), {"a": 1}),
        (ValueError("out of stock"), "ValueError: out of stock"),
        (KeyError(), "KeyError"),
        (int, "int"),
        (len, "len"),
        (json, "json"),
        (WithStr(), "readable"),
        (QuerySet(), "QuerySet"),
        (object(), "object"),
        (Broken(), "<unprintable Broken>"),
        (Liar(), "<unprintable Liar>"),
        ((number for number in [1]), "generator"),
        (iter([1]), "list_iterator"),
        ({(1, 2): 3, NUMBER: 4}, {"[1,2]": 3, str(NUMBER): 4}),
        ({"__proto__": 1, "a": {"__proto__": 2, "b": 3}}, {"a": {"b": 3}}),
        ({"constructor": {"prototype": 1}, "a": 1}, {"a": 1}),
        ({"constructor": {"b": 1}}, {"constructor": {"b": 1}}),
    ],
)  # fmt: skip
def test_each_kind_of_value_has_a_sensible_form(value: object, expected: object) -> None:
    """And the same form again when it is asked twice."""
    found = plain(value)
    assert found == expected
    assert type(found) is type(expected)
    assert plain(found) == found


def test_subclasses_of_scalars_become_plain_ones() -> None:
    """JSON encoders treat them in their own ways."""

    class Text(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "something else"

    class Number(int):
        def __repr__(self) -> str:
            return "five"

    class Real(float):
        pass

    found = [plain(Text("text")), plain(Number(5)), plain(Real(1.5)), plain(Real("nan"))]
    assert found == ["text", 5, 1.5, None]
    assert [type(each) for each in found[:3]] == [str, int, float]


def test_an_integer_of_thousands_of_digits_is_named_only() -> None:
    """Python itself refuses to write it out."""
    assert plain(10**5000) == "<integer of 16610 bits>"


def test_keys_become_texts() -> None:
    """As JSON would write them."""
    assert plain({1: "a", None: "b", 1.5: "c"}) == {"1": "a", "null": "b", "1.5": "c"}
    assert plain({False: "d"}) == {"false": "d"}


def test_a_cycle_is_cut() -> None:
    """Where it closes."""
    basket: dict[str, Any] = {"name": "b", "lines": []}
    basket["lines"].append(basket)
    assert plain(basket) == {"name": "b", "lines": ["…"]}


def test_the_same_value_twice_is_no_cycle() -> None:
    """It is written out twice."""
    line = {"sku": "tea"}
    assert plain([line, line]) == [line, line]


def test_deep_nesting_is_cut() -> None:
    """At 32 levels: no recursion error, whatever comes in."""
    deep: Any = "bottom"
    for _ in range(5_000):
        deep = [deep]
    found = plain(deep)
    depth = 0
    while isinstance(found, list):
        (found,) = found
        depth += 1
    assert (depth, found) == (32, "…")


def test_many_items_are_cut() -> None:
    """At 10,000 of them, and it says so."""
    found = plain({"many": list(range(20_000))})
    assert len(found["many"]) == 10_000
    assert found["many"][-1] == "…"
    assert plain({str(n): n for n in range(20_000)})["…"] == "…"


def test_texts_that_are_derived_are_cut_but_not_those_that_were_given() -> None:
    """``max_event_bytes`` bounds the latter."""
    assert plain("x" * 20_000) == "x" * 20_000
    assert plain(ValueError("x" * 20_000)) == "ValueError: " + "x" * (8_192 - 12) + "…"
    assert len(plain(b"\xff" * 100_000)) <= 8_193


def test_numpys_scalars_and_arrays_are_their_values() -> None:
    """Recognised by their module, without importing it."""
    kind = type("float64", (), {"__module__": "numpy", "tolist": lambda _self: 1.5})
    assert plain(kind()) == 1.5


def test_texts_that_look_like_json_get_a_space() -> None:
    """At any depth; the server would explode or drop them, and trims the space."""
    given_properties = {"log": "[INFO] hi", "deep": [{"a": "{x"}], "ok": " [", "n": 1}
    assert render_properties(given_properties) == {
        "log": " [INFO] hi",
        "deep": [{"a": " {x"}],
        "ok": " [",
        "n": 1,
    }


def test_scalars_are_frozen_as_they_are_and_the_rest_is_copied() -> None:
    """What can change is made plain at once."""
    for value in (None, True, 5, 1.5, "a", MOMENT, NUMBER, Decimal(1), b"a", timedelta(1)):
        assert freeze(value) is value
    tags = ["a"]
    frozen = freeze(tags)
    tags.append("b")
    assert frozen == ["a"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Mozilla/5.0 (X11)", "Mozilla/5.0 (X11)"),
        ("a\r\nx-evil: 1", "ax-evil: 1"),
        ("a\0\t\x7f\x85b", "ab"),
        ("naïve ☃", "na?ve ?"),
        ("  padded ", "padded"),
        ("x" * 5_000, "x" * 1_024),
        ("", None),
        ("\r\n", None),
        (None, None),
        (5, None),
        (b"bytes", None),
    ],
)
def test_header_values_are_made_safe(value: object, expected: str | None) -> None:
    """Visible ASCII on one line, or none at all."""
    assert header_text(value) == expected


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_764_000_000.25, "2025-11-24T16:00:00.250Z"),
        (1_764_000_000.9999, "2025-11-24T16:00:00.999Z"),
    ],
)
def test_time_stamps_are_utc_with_milliseconds(created: float, expected: str) -> None:
    """Cut, not rounded into the next second."""
    assert iso_timestamp(created) == expected


@pytest.mark.parametrize("created", [math.nan, math.inf, 1e20, -1e20])
def test_an_absurd_time_is_now(created: float) -> None:
    """The event is not lost over it."""
    stamp = datetime.fromisoformat(iso_timestamp(created).replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - stamp) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("u1", "u1"),
        (7, 7),
        (1.5, 1.5),
        (2**60, str(2**60)),
        (NUMBER, str(NUMBER)),
        (Colour.RED, "red"),
        (Decimal(7), 7),
        (None, None),
        ("", None),
        (True, None),
        (math.nan, None),
        ([], None),
        ({"a": 1}, None),
        ({"a"}, None),
        (("u", 1), None),
    ],
)
def test_profile_ids_are_what_the_api_takes(value: object, expected: object) -> None:
    """A non-empty text or a number."""
    assert profile_key(value) == expected


NASTY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.text(st.characters(categories=["Cs", "Lu"])),
    st.binary(),
    st.decimals(),
    st.datetimes(),
    st.timedeltas(),
    st.uuids(),
    st.builds(Broken),
    st.builds(Liar),
    st.builds(QuerySet),
    st.builds(WithStr),
    st.just(Colour.RED),
    st.just(ValueError("x")),
)
KEYS = st.one_of(
    st.text(), st.integers(), st.none(), st.floats(), st.sampled_from(["__proto__", "constructor"])
)
VALUES = st.recursive(
    NASTY,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(KEYS, inner), st.sets(st.text())
    ),
    max_leaves=20,
)


def refuse(constant: str) -> None:
    """Fail on what is no JSON."""
    raise AssertionError(constant)


@given(st.dictionaries(st.text(), VALUES))
def test_anything_becomes_json_that_means_the_same(properties: dict[str, Any]) -> None:
    """Nothing raises, nothing is NaN, and it reads back as what it was."""
    rendered = render_properties(properties)
    assert json.loads(dumps(rendered), parse_constant=refuse) == rendered
    assert plain(rendered) == rendered


@given(VALUES)
def test_dumps_takes_what_is_not_plain_as_well(value: Any) -> None:
    """As the last line of defence."""
    json.loads(dumps(value), parse_constant=refuse)
