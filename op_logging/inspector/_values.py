"""What storage does to values, in the server's (that is JavaScript's) way."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any

__all__ = ["event_time", "flatten", "integer", "leading_integer", "text_of"]

_LARGEST_INT = 2**53
_MOST_EXACT_DIGITS = 16
_SURROGATES = re.compile("[\ud800-\udfff]")
_LEADING_INTEGER = re.compile(r"\s*([+-]?\d+)")
_FUTURE = timedelta(minutes=1)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?\s?"
    r"([Zz]|[+-]\d\d:?\d\d)?)?"
)


def flatten(properties: Any) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return properties as they are stored, and the keys whose values were dropped.

    Nested objects and lists become dotted keys, values trimmed texts. What is empty vanishes. A
    text that begins like JSON is taken for JSON: exploded if it parses, dropped if not.
    """
    kept: dict[str, str] = {}
    dropped: list[str] = []
    waiting: list[tuple[str, Any]] = [("", properties)]
    while waiting:
        path, value = waiting.pop(0)
        if isinstance(value, str) and value.startswith(("{", "[")):
            try:
                value = json.loads(value, parse_int=integer)
            except (ValueError, RecursionError):
                dropped.append(path)
                continue
        if isinstance(value, dict):
            inner = list(value.items())
        elif isinstance(value, list):
            inner = [(str(index), item) for index, item in enumerate(value)]
        else:
            text = text_of(value)
            if text:
                kept[path] = text
            else:
                dropped.append(path)
            continue
        if not inner and path:
            dropped.append(path)
        waiting[:0] = [(f"{path}.{key}" if path else key, item) for key, item in inner]
    return kept, tuple(dropped)


def text_of(value: Any) -> str:
    """Return a scalar as JavaScript's ``String()`` has it, trimmed; empty for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value)
    return _SURROGATES.sub("", str(value)).strip()


def integer(digits: str) -> int | float:
    """Return an integer; a long one as the double that JavaScript makes of it, maybe infinity."""
    return int(digits) if len(digits) <= _MOST_EXACT_DIGITS else float(digits)


def leading_integer(text: str) -> int | float | None:
    """Return the integer that a text begins with, as ``parseInt`` does; None without one."""
    match = _LEADING_INTEGER.match(text)
    return None if match is None else integer(match[1])


def event_time(value: Any, now: datetime) -> datetime:
    """Return an event's time: ``__timestamp`` if it can be read and is not ahead, else ``now``."""
    moment = _moment(value)
    return now if moment is None or moment > now + _FUTURE else moment


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not value:
        return None
    try:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value / 1000, timezone.utc)
        match = _ISO.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            return None
        year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
        milliseconds = int(((match[7] or "") + "000")[:3])
        zone = _zone(match[8])
        return datetime(
            year, month, day, hour, minute, second, milliseconds * 1000, tzinfo=zone
        ).astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def _zone(text: str | None) -> timezone:
    if text is None or text in "Zz":
        return timezone.utc
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _number(value: float) -> str:
    if isinstance(value, int) and abs(value) <= _LARGEST_INT:
        return str(value)
    try:
        value = float(value)
    except OverflowError:
        return "Infinity" if value > 0 else "-Infinity"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value.is_integer() and abs(value) < 1e21:
        digits = f"{value:.0f}"
        shortest = repr(value)
        if "e" in shortest:
            mantissa = shortest.partition("e")[0].replace(".", "").lstrip("-")
            whole = digits.lstrip("-")
            digits = digits[: len(digits) - len(whole)] + mantissa.ljust(len(whole), "0")
        return digits
    mantissa, e, exponent = repr(value).partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}" if e else mantissa
