"""The extra ``fast``: with orjson and without, every value gives the same JSON."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta, timezone
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from op_logging import Track, _encoding
from op_logging._capture import freeze_event
from op_logging._encoding import dumps, plain, property_value, render_properties
from op_logging._freezing import freeze
from op_logging._render import build, checked, to_rendered
from op_logging._rendered import RenderedCall, UnsendableError
from support.records import formatted, record

orjson = pytest.importorskip("orjson", reason="it comes with the extra fast")


class Colour(enum.Enum):
    """An enumeration."""

    RED = "red"
    DEEP = (1, 2.5)


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    LOW = 1


class Word(str):
    """A kind of text."""

    __slots__ = ()


class Number(int):
    """A kind of number."""


class Ratio(float):
    """Another."""


class Point(NamedTuple):
    """A tuple with names."""

    x: Any
    y: Any = None


@dataclass
class Order:
    """A dataclass, with a field that orjson would leave out."""

    number: Any
    _hidden: int = 1
    more: list[Any] = field(default_factory=list)


class Raises:
    """What cannot be looked at."""

    def __str__(self) -> str:
        raise RuntimeError


class Plain:
    """What says nothing of itself."""


TEXTS = st.one_of(
    st.text(max_size=8),
    st.text(alphabet=st.characters(categories=["Cs", "Cc", "Zl", "Zp", "So", "Lu"]), max_size=5),
    st.sampled_from(['"\\/\b\f\n\r\t', "\x7f\x80\u2028\u2029", "\U0001f600", "{a", "[1", "\ud800"]),
)
NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**63, 2**64, 2**64 - 1, 10**400]),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e16, 1e22, 5e-324, 1.7976931348623157e308, 0.1, 1e-7]),
    st.decimals(),
    st.booleans(),
)
ODD = st.one_of(
    st.none(),
    st.binary(max_size=6),
    st.uuids(),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.just(timezone(timedelta(hours=2, seconds=19)))),
    st.datetimes(timezones=st.one_of(st.none(), st.just(timezone.utc))),
    st.timedeltas(),
    st.complex_numbers(),
    st.sampled_from([*Colour, Level.LOW, Word("word"), Number(5), Number(2**60), Ratio(0.5)]),
    st.sampled_from([Ratio("nan"), PurePosixPath("/a"), len, dict, math, ValueError("no"), ...]),
    st.builds(Raises),
    st.builds(Plain),
)
SCALARS = st.one_of(TEXTS, NUMBERS, ODD)
KEYS = st.one_of(
    TEXTS, st.sampled_from(["__proto__", "constructor", "", 1, 1.5, True, None, (1, 2), Level.LOW])
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=3)
    dicts = st.dictionaries(KEYS, inner, max_size=3)
    return st.one_of(
        lists,
        dicts,
        lists.map(tuple),
        lists.map(deque),
        dicts.map(OrderedDict),
        dicts.map(MappingProxyType),
        st.sets(st.one_of(st.integers(), TEXTS), max_size=3),
        inner.map(Point),
        lists.map(lambda items: Order(5, more=items)),
        st.builds(range, st.integers(0, 3)),
    )


VALUES = st.recursive(SCALARS, _nested, max_leaves=12)


@contextmanager
def without_orjson() -> Iterator[None]:
    """Encode as where the extra is not installed."""
    encoders = _encoding._encoders[:]
    _encoding._encoders[:] = [_encoding._dumps_by_json]
    try:
        yield
    finally:
        _encoding._encoders[:] = encoders


def assert_same(encode: Any) -> Any:
    """Check that it gives the same with and without; return what."""
    fast = encode()
    with without_orjson():
        slow = encode()
    assert _exact(json.loads(fast)) == _exact(json.loads(slow))
    assert fast.decode("utf-8")
    return json.loads(fast, parse_constant=pytest.fail)


def _exact(value: Any) -> str:
    """Tell 1 from 1.0 and from true, and keep the order of keys."""
    return repr(value)


def test_it_is_used_where_it_is_installed() -> None:
    """Else the rest of this file would compare nothing."""
    assert len(_encoding._encoders) == 2
    assert _encoding._encoders[-1]({"a": 1}) == orjson.dumps({"a": 1})
    with without_orjson():
        assert len(_encoding._encoders) == 1


@given(VALUES)
def test_a_plain_value_is_the_same(value: Any) -> None:
    """And what it was made plain to."""
    found = plain(value)
    assert assert_same(lambda: dumps(found)) == found


@given(VALUES)
def test_what_is_not_plain_becomes_json_all_the_same(value: Any) -> None:
    """Nothing raises, with or without; nobody asks for it."""
    json.loads(dumps(value), parse_constant=pytest.fail)
    with without_orjson():
        json.loads(dumps(value), parse_constant=pytest.fail)


@given(VALUES)
def test_a_call_is_the_same(value: Any) -> None:
    """As it is posted: with the value as an extra, in a call object, and in a raw call."""

    def body(event: object, **fields: Any) -> bytes:
        data = (freeze_event(event), fields, 1.5, ("app.py", 1))
        frozen = ((name, freeze(field)) for name, field in fields.items())
        return rendered(data, frozen).body

    def rendered(data: Any, fields: Any) -> RenderedCall:
        common = render_properties({"common": value})
        return to_rendered(build(data[0], fields, common, 1.5), data, 0)

    assert_same(lambda: body("a", value=value, properties={"deep": value}))
    assert_same(lambda: body(Track("a", {"value": value}), groups=[value], profile_id=value))
    raw = {"type": "track", "payload": {"name": value, "properties": {"v": value}, "more": value}}
    assert_same(lambda: body(raw))
    assert_same(lambda: body({"type": "increment", "payload": {"value": value}, "more": value}))


@given(VALUES)
def test_what_a_hook_returns_is_the_same(value: Any) -> None:
    """It may hand back anything."""

    def body() -> bytes:
        try:
            return dumps(checked({"type": "x", "payload": {"a": value}, "b": value}).line())
        except UnsendableError as error:
            return dumps(str(error))

    assert_same(body)


@given(VALUES)
def test_a_line_of_the_formatter_is_the_same(value: Any) -> None:
    """Whatever stands in an extra."""
    assert_same(lambda: dumps(formatted(record(event="a", value=value))))
    assert_same(lambda: dumps(property_value(value)))


@pytest.mark.parametrize("depth", [10, 31, 32, 33, 250, 256, 900, 5_000])
def test_deep_nesting_is_the_same(depth: int) -> None:
    """The two give up at different depths."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    assert_same(lambda: dumps(plain(value)))
    assert_same(lambda: dumps(formatted(record(event="a", value=value))))
    json.loads(dumps(value))
