"""Freezing: making values safe from changes after the log call, at the least cost.

Runs inside log calls, so what is costly has bounds, and nothing here raises.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from ._encoding import plain

__all__ = ["SCALARS", "are_scalars", "freeze", "is_scalar"]

SCALARS = frozenset({str, int, float, bool, type(None), UUID, Decimal})
_IMMUTABLE = frozenset({*SCALARS, datetime, date, time, timedelta, bytes})
_MOST_COPIED = 200
"""Items that are copied as they are in a log call. Larger ones are made `plain`."""
_TEXT = frozenset({str})

are_scalars = SCALARS.issuperset
"""Tells whether all of some types are those of values that cannot change, and may be ids."""


def is_scalar(value: object) -> bool:
    """Tell the same of one value; False where its type cannot be looked up."""
    try:
        return type(value) in SCALARS
    except Exception:  # noqa: BLE001 - a metaclass may do anything
        return False


def freeze(value: object) -> object:
    """Make a value safe from changes after the log call, at the least cost.

    Scalars and immutable values come back as they are, small dicts and lists of them as copies;
    anything else becomes `plain` at once.
    """
    try:
        if type(value) in _IMMUTABLE:
            return value
        return _copied(value, [_MOST_COPIED])
    except Exception:  # noqa: BLE001 - too large, too deep, or no such thing
        return plain(value)


def _copied(value: object, left: list[int]) -> object:
    """Copy dicts and lists of immutable values.

    Args:
        value: A value that is not immutable.
        left: How many items may still be copied.

    Raises:
        ValueError: If it is anything else, or has too many items.
    """
    kind = type(value)
    if kind is dict:
        items: dict[object, object] = value  # type: ignore[assignment]  # it is one
        left[0] -= len(items) + 1
        if left[0] < 0 or not _TEXT.issuperset(map(type, items)):
            raise ValueError
        if _IMMUTABLE.issuperset(map(type, items.values())):
            return items.copy()
        return {
            key: item if type(item) in _IMMUTABLE else _copied(item, left)
            for key, item in items.items()
        }
    if kind is not list and kind is not tuple:
        raise ValueError
    entries: list[object] = value  # type: ignore[assignment]  # it is one
    left[0] -= len(entries) + 1
    if left[0] < 0:
        raise ValueError
    if _IMMUTABLE.issuperset(map(type, entries)):
        return list(entries)
    return [item if type(item) in _IMMUTABLE else _copied(item, left) for item in entries]
