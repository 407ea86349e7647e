"""The first half of formatting: in the application's thread, take what may change.

Runs inside log calls: it encodes nothing that can wait, never changes the record, and keeps
no reference to its traceback. A record's arguments may go along until it is rendered, a flush
interval at most.
"""

from __future__ import annotations

import enum
import logging
import numbers
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from types import CodeType, FrameType
from typing import Any, TypeGuard
from uuid import UUID

from ._calls import Call, Revenue, Track
from ._encoding import plain
from ._freezing import freeze, is_scalar
from ._render import SPECIAL_FIELDS, FrozenCall, OddValue
from ._rendered import Place

__all__ = [
    "LAST_OWN_ATTRIBUTE",
    "OWN_ATTRIBUTES",
    "STRUCTLOG_KEYS",
    "Caller",
    "SentMarker",
    "Wanted",
    "as_event",
    "capture_extras",
    "freeze_event",
    "freeze_extras",
    "freeze_fields",
    "is_dict",
    "own_fields",
]

OWN_ATTRIBUTES = len(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
"""How many attributes a record has before its extras: they come first, in one order."""
LAST_OWN_ATTRIBUTE = list(vars(logging.LogRecord("", 0, "", 0, "", (), None)))[-1]
"""The last of them: where it is not, somebody took some away."""
STRUCTLOG_KEYS = frozenset(
    {
        "event", "level", "level_number", "logger", "logger_name", "timestamp", "exception",
        "exc_info", "stack", "stack_info", "positional_args", "pathname", "filename", "module",
        "func_name", "lineno", "process", "process_name", "thread", "thread_name", "task_name",
        "qual_name",
    }
)  # fmt: skip
"""Keys of an entry that structlog's own processors add."""
_IDENTIFYING = SPECIAL_FIELDS - {"properties"}
_MOST_IDS = 1_000
_MOST_NAMES = 10_000
_NUMBERS = (int, float, numbers.Integral, Decimal)
_TEXTS_AND_NUMBERS = (str, *_NUMBERS, UUID, enum.Enum, IPv4Address, IPv6Address)
_FOREIGN_PREFIXES = ("_", "otel", "dd.")
"""Private names, and what OpenTelemetry and Datadog put on every record."""
_SKIPPED_PACKAGES = ("structlog", "logging", "op_logging")


class Wanted(dict[str, bool]):
    """Tells which names are those of properties, and remembers it: look them up.

    A key that is no text raises TypeError: use `own_fields` then.

    Args:
        reserved: Names that are not.
    """

    def __init__(self, reserved: Collection[str]) -> None:
        super().__init__()
        self._reserved = reserved

    def __missing__(self, name: str) -> bool:
        if not isinstance(name, str):
            raise TypeError
        is_wanted = name not in self._reserved and not name.startswith(_FOREIGN_PREFIXES)
        if len(self) < _MOST_NAMES:  # names may come from outside, without an end
            self[name] = is_wanted
        return is_wanted


class SentMarker(str):
    """The marker of an entry that is on its way already: whoever meets it sends nothing."""

    __slots__ = ()


def capture_extras(record: logging.LogRecord) -> dict[str, Any]:
    """Copy a plain record, with its extras frozen. The quick way, for what most programs log."""
    fields = record.__dict__.copy()
    fields["args"] = fields["exc_info"] = None
    freeze_extras(fields)
    return fields


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """Tell whether a value is a dict, without asking the value itself: a proxy may raise."""
    return issubclass(type(value), dict)


def freeze_extras(fields: dict[str, Any]) -> None:
    """Freeze the extras in the copy of a plain record. Raises nothing."""
    for key, value in islice(fields.items(), OWN_ATTRIBUTES, None):
        if not is_scalar(value):
            fields[key] = _freeze(key, value)


def as_event(value: object) -> object | None:
    """Return what an extra stands for if it is an event, else None.

    A text, a call object, or a mapping with ``type`` and ``payload`` is an event. Raises nothing:
    what cannot be looked at is none.
    """
    try:
        if isinstance(value, str):
            return None if type(value) is SentMarker else value
        if isinstance(value, Call):
            return value
        if isinstance(value, Mapping) and "type" in value and "payload" in value:
            return value
    except Exception:  # noqa: BLE001, S110 - a stranger's object may do anything
        pass
    return None


def freeze_event(event: object) -> object:
    """Freeze what `as_event` returned.

    Raises:
        TypeError: If it is a mapping that cannot be read.
    """
    if type(event) is str:
        return event
    if isinstance(event, Call):
        payload = plain(event.payload())
        is_event = isinstance(event, (Track, Revenue))
        return FrozenCall(event.wire_type, payload, is_event=is_event)
    frozen = plain(event)
    if isinstance(event, Mapping) and not isinstance(frozen, dict):
        raise TypeError("a mapping that cannot be read")
    return frozen


def own_fields(
    fields: Mapping[str, object], reserved: Collection[str]
) -> Iterator[tuple[str, object]]:
    """Go through those fields that are neither reserved nor another tool's."""
    for key, value in fields.items():
        if key in reserved:
            continue
        name = key if isinstance(key, str) else str(plain(key))
        if not name.startswith(_FOREIGN_PREFIXES):
            yield name, value


def freeze_fields(fields: Iterable[tuple[str, object]]) -> dict[str, object]:
    """Return the fields, frozen."""
    return {name: _freeze(name, value) for name, value in fields}


def _freeze(name: str, value: object) -> object:
    return _freeze_exactly(value) if name in _IDENTIFYING else freeze(value)


def _freeze_exactly(value: object, *, is_item: bool = False) -> object:
    """Freeze what tells who it was: it must be what it is taken for, not how an object reads."""
    try:
        if value is None or isinstance(value, _TEXTS_AND_NUMBERS):
            return plain(value)
        if isinstance(value, (list, tuple, set, frozenset)) and not is_item:
            return [_freeze_exactly(item, is_item=True) for item in islice(value, _MOST_IDS)]
    except Exception:  # noqa: BLE001, S110 - a lazy object may do anything when it is looked at
        pass
    return OddValue(type(value).__name__)


_passes_on: dict[str, bool] = {}
"""Whether a file is of a package that only passes log calls on. Filled as files are met."""
_MOST_FILES = 10_000


class Caller:
    """Finds the application's code that is logging in this thread.

    It looks first where it found it the last time: the same chain of processors is always as deep,
    and begins in the same code.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: tuple[int, CodeType | None] = (0, None)

    def __call__(self) -> Place:
        """Return the code and its instruction: which line that is can be worked out later."""
        depth, entrance = self._found
        try:
            below: FrameType = sys._getframe(depth)  # noqa: SLF001 - public in all but its name
        except ValueError:  # not so deep this time
            return self._search()
        frame = below.f_back
        if below.f_code is entrance and frame is not None:
            code = frame.f_code
            if _passes_on.get(code.co_filename) is False:
                return code, frame.f_lasti
        return self._search()

    def _search(self) -> Place:
        below: FrameType = sys._getframe(1)  # noqa: SLF001 - the same
        depth = 0
        while (frame := below.f_back) is not None:
            if not _is_passing_on(frame):
                self._found = depth, below.f_code
                return frame.f_code, frame.f_lasti
            below = frame
            depth += 1
        return "<unknown>", 0


def _is_passing_on(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    found = _passes_on.get(file)
    if found is None:
        module = str(frame.f_globals.get("__name__"))
        found = module.partition(".")[0] in _SKIPPED_PACKAGES
        if len(_passes_on) < _MOST_FILES:  # names of code that is made at run time never end
            _passes_on[file] = found
    return found
