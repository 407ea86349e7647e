"""Values: from anything that Python has to JSON that the server keeps.

One odd value costs that value, never the event: nothing here raises, whatever the objects do.
No module state, so everything is safe in any thread and in a forked child. What the server
does to values is how the open-source server, run as of August 2026, behaved.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import dataclasses
import enum
import json
import math
import re
import time
import types
from collections import deque
from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from datetime import date, datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

__all__ = [
    "TAKEN_FOR_JSON",
    "dumps",
    "header_text",
    "is_allowed",
    "iso_timestamp",
    "plain",
    "profile_key",
    "property_value",
    "render_properties",
]

_CUT = "…"
_LONGEST_TEXT = 8_192
_DEEPEST = 32
_MOST_ITEMS = 10_000
_LARGEST_INT = 2**53
_LONGEST_HEADER = 1_024
_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    type,
)
_LISTS = (list, tuple, deque, range, KeysView, ValuesView, ItemsView, Sequence)
TAKEN_FOR_JSON = ("{", "[")
"""What the server takes a text for JSON by; see `property_value`."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_encode = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
).encode


def property_value(value: object) -> Any:
    """Return a property's value as JSON, guarded against what the server does to texts.

    It takes a text that begins with ``{`` or ``[`` for JSON, and explodes or drops it. A leading
    space keeps it; the server trims the space.
    """
    kind = type(value)
    if kind is str:
        return _guard_text(_text(value))
    if kind is bool or value is None:
        return value
    if kind is int and -_LARGEST_INT <= value <= _LARGEST_INT:  # type: ignore[operator]  # it is one
        return value
    return _guard(plain(value))


def plain(value: object) -> Any:
    """Return a value as JSON can hold it: texts, numbers, booleans, None, dicts and lists.

    Always a fresh structure. Texts that are derived from objects are cut at 8,192 characters,
    nesting at 32 levels, and the whole at 10,000 items.
    """
    return _Plain().of(value, 0)


def is_allowed(name: str, value: object) -> bool:
    """Tell whether the server takes a key: it refuses a call with one that could do it harm."""
    if name == "constructor":
        return not (isinstance(value, dict) and "prototype" in value)
    return name != "__proto__"


def render_properties(properties: Mapping[str, object]) -> dict[str, Any]:
    """Return properties as JSON; see `property_value`."""
    rendered = _guard(plain(properties))
    return rendered if isinstance(rendered, dict) else {}


def _dumps_by_json(value: object) -> bytes:
    return _encode(value).encode("utf-8")


_encoders: list[Callable[[Any], bytes]] = [_dumps_by_json]
with contextlib.suppress(ImportError):
    import orjson

    def _dumps_by_orjson(value: object) -> bytes:
        # What orjson returns holds more memory than it has bytes; a copy does not.
        return memoryview(orjson.dumps(value)).tobytes()

    _encoders.append(_dumps_by_orjson)


def dumps(value: object) -> bytes:
    """Return compact JSON in UTF-8 of what is `plain`, and some of whatever else it is.

    With the extra ``fast`` by orjson, with the same result for what is `plain`.
    """
    try:
        return _encoders[-1](value)
    except Exception:  # noqa: BLE001 - NaN, surrogates, cycles, strange objects: all the same
        return _dumps_by_json(plain(value))


def header_text(value: object) -> str | None:
    """Return a header's value that HTTP allows: visible ASCII, at most 1,024 characters.

    Control characters are removed, so that nobody writes headers of his own; others become ``?``.
    None for what is no text or has nothing left.
    """
    if not isinstance(value, str):
        return None
    kept = "".join(char for char in str(value) if char >= " " and not "\x7f" <= char <= "\x9f")
    return kept.encode("ascii", "replace").decode("ascii").strip()[:_LONGEST_HEADER] or None


_second = (0, "1970-01-01T00:00:00")
"""The last whole second that was written, and its text: events come many to a second."""


def iso_timestamp(created: float) -> str:
    """Return epoch seconds as ISO 8601 in UTC with milliseconds; absurd ones as the time now."""
    global _second  # noqa: PLW0603 - replaced as a whole, so safe in any thread
    second, text = _second
    milliseconds = (created - second) * 1000 + 1e-4 if type(created) is float else -1.0
    if 0.0 <= milliseconds < 1000.0:
        return f"{text}.{int(milliseconds):03d}Z"
    try:
        moment = datetime.fromtimestamp(created, timezone.utc)
    except (ValueError, OverflowError, OSError, TypeError):
        moment = datetime.fromtimestamp(time.time(), timezone.utc)
    text = f"{moment:%Y-%m-%dT%H:%M:%S}"
    _second = (int(moment.timestamp() // 1), text)
    return f"{text}.{moment.microsecond // 1000:03d}Z"


def profile_key(value: object) -> str | int | float | None:
    """Return a profile's id as the API takes it: a non-empty text or a number; else None."""
    if value is None or (
        isinstance(value, (bool, Mapping, AbstractSet, *_LISTS))
        and not isinstance(value, (str, bytes))
    ):
        return None
    found = plain(value)
    if isinstance(found, (str, int, float)) and not isinstance(found, bool) and found != "":
        return found
    return None


def _guard(value: Any) -> Any:
    if isinstance(value, str):
        return _guard_text(value)
    if isinstance(value, dict):
        return {key: _guard(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_guard(item) for item in value]
    return value


def _guard_text(text: str) -> str:
    return f" {text}" if text.startswith(TAKEN_FOR_JSON) else text


class _Plain:
    """One walk through one value, with the bounds of that walk."""

    __slots__ = ("_items", "_open")

    def __init__(self) -> None:
        self._items = 0
        self._open: set[int] = set()

    def of(self, value: object, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return _text(value)
        if kind is bool or value is None:
            return value
        if kind is int or kind is float:
            return _number(value)
        try:
            return self._odd(value, depth)
        except Exception:  # noqa: BLE001 - it may do anything; it costs itself
            return f"<unprintable {_type_name(value)}>"

    def _odd(self, value: object, depth: int) -> Any:
        if isinstance(value, enum.Enum):
            return self.of(value.value, depth + 1) if depth < _DEEPEST else _CUT
        if isinstance(value, Decimal):
            return _decimal(value)
        if isinstance(value, float) and not math.isfinite(value):
            return None
        found = _known(value)
        if found is not None:
            return found
        if self._is_container(value):
            return self._container(value, depth)
        if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
            if getattr(value, "size", 1) > _MOST_ITEMS:  # to make them all only to cut them
                value = value.flat[:_MOST_ITEMS]  # type: ignore[attr-defined]  # an array
            return self.of(value.tolist(), depth + 1) if depth < _DEEPEST else _CUT
        if isinstance(value, BaseException):
            words = str(value)[: _LONGEST_TEXT + 1]
            return _cut(f"{_type_name(value)}: {words}" if words else _type_name(value))
        if isinstance(value, _FUNCTIONS):
            return str(getattr(value, "__qualname__", None) or getattr(value, "__name__", "?"))
        return _cut(str(value)) if _has_own_str(value) else _type_name(value)

    def _is_container(self, value: object) -> bool:
        if isinstance(value, (Mapping, AbstractSet, *_LISTS)):
            return True
        return dataclasses.is_dataclass(value) and not isinstance(value, type)

    def _container(self, value: Any, depth: int) -> Any:
        if depth >= _DEEPEST or id(value) in self._open:
            return _CUT
        self._open.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._dict(value.items(), depth)
            if isinstance(value, tuple) and hasattr(value, "_fields"):
                return self._dict(zip(value._fields, value, strict=False), depth)
            if isinstance(value, AbstractSet) and not isinstance(value, (KeysView, ItemsView)):
                return sorted(
                    self._list(value, depth), key=lambda item: (_type_name(item), str(item))
                )
            if isinstance(value, (AbstractSet, *_LISTS)):
                return self._list(value, depth)
            fields = dataclasses.fields(value)
            return self._dict(((f.name, getattr(value, f.name, None)) for f in fields), depth)
        finally:
            self._open.discard(id(value))

    def _dict(self, items: Iterable[tuple[object, object]], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in items:
            self._items += 1
            if self._items > _MOST_ITEMS:
                found[_CUT] = _CUT
                break
            name = _text(key) if type(key) is str else self._key(key)
            made = self.of(item, depth + 1)
            if is_allowed(name, made):
                found[name] = made
        return found

    def _list(self, items: Iterable[object], depth: int) -> list[Any]:
        found: list[Any] = []
        for item in items:
            self._items += 1
            if self._items > _MOST_ITEMS:
                found.append(_CUT)
                break
            found.append(self.of(item, depth + 1))
        return found

    def _key(self, key: object) -> str:
        made = self.of(key, _DEEPEST - 4)
        if isinstance(made, str):
            return made
        return _encode(made)


def _text(value: Any) -> str:
    if value.isascii():
        return str(value)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", value)
    return str(value)


def _number(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if -_LARGEST_INT <= value <= _LARGEST_INT:
        return value
    bits = value.bit_length()
    # A program may have lowered how many digits it lets an integer have as a text: to 640 at least.
    return str(value) if bits < 2_000 else f"<integer of {bits} bits>"


def _known(value: object) -> Any:
    """Return the form of a value of a known type that is never None; else None."""
    if isinstance(value, str):
        return _text(str.__str__(value))
    if isinstance(value, int):
        return _number(int.__int__(value))
    if isinstance(value, float) and math.isfinite(value):
        return float.__float__(value)
    if isinstance(value, (date, time_of_day)):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        return int(seconds) if seconds.is_integer() else seconds
    if isinstance(value, (UUID, PurePath)):
        return _text(str(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(memoryview(value).cast("B")[: 4 * _LONGEST_TEXT + 4]))
    return None


def _bytes(value: bytes) -> str:
    """Return bytes as a text, or in base64 if they are none; more may follow than a text holds."""
    try:
        is_cut = len(value) > 4 * _LONGEST_TEXT
        return _cut(codecs.utf_8_decode(value, "strict", not is_cut)[0])
    except UnicodeDecodeError:
        return _cut(base64.b64encode(value[:_LONGEST_TEXT]).decode("ascii"))


def _decimal(value: Decimal) -> Any:
    if not value.is_finite():
        return None
    if abs(value) <= _LARGEST_INT and value == value.to_integral_value():
        return int(value)
    number = float(value)
    return number if math.isfinite(number) and Decimal(repr(number)) == value else _cut(str(value))


def _cut(text: str) -> str:
    text = _text(text)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + _CUT


def _has_own_str(value: object) -> bool:
    """Tell whether its class says how it reads. A ``repr`` may query a database."""
    for kind in type(value).__mro__:
        if "__str__" in vars(kind):
            return kind is not object
    return False


def _type_name(value: object) -> str:
    return type(value).__qualname__
