"""The first half of formatting: in the application's thread, take what may change.

Runs inside log calls: it encodes nothing that can wait, never changes the record, and keeps
no reference to it, to its arguments or to its traceback.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from types import FrameType
from uuid import UUID

from ._calls import Call, Revenue, Track
from ._encoding import freeze, plain
from ._render import SPECIAL_FIELDS, FrozenCall, OddValue, build, to_rendered
from ._rendered import RenderedCall

__all__ = [
    "ALWAYS_RESERVED",
    "STRUCTLOG_KEYS",
    "CapturedEvent",
    "SentMarker",
    "as_event",
    "caller",
    "freeze_event",
    "freeze_fields",
    "own_fields",
]

ALWAYS_RESERVED = frozenset({"taskName", "request"})
"""Names that are no extras beside a record's own: asyncio's (Python 3.12 on), and Django's."""
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
_TEXTS_AND_NUMBERS = (str, int, float, UUID, Decimal, enum.Enum, IPv4Address, IPv6Address)
_FOREIGN_PREFIXES = ("_", "otel", "dd.")
"""Private names, and what OpenTelemetry and Datadog put on every record."""
_SKIPPED_PACKAGES = frozenset({"structlog", "logging", "op_logging"})


class SentMarker(str):
    """The marker of an entry that is on its way already: whoever meets it sends nothing."""

    __slots__ = ()


class CapturedEvent:
    """An event as the caller hands it over: frozen, not yet rendered.

    Args:
        event: The name of a track call, a `FrozenCall`, or a raw call as a dict.
        fields: The extras, frozen.
        common: Properties of every track call, frozen; shared, so never changed.
        created: When it was logged, in seconds since the epoch.
        pathname: The file of the line that logged it.
        lineno: That line's number.
    """

    __slots__ = ("_common", "_event", "_fields", "_lineno", "_pathname", "created", "generation")

    def __init__(
        self,
        event: object,
        fields: dict[str, object],
        common: Mapping[str, object],
        created: float,
        pathname: str,
        lineno: int,
    ) -> None:
        self._event = event
        self._fields = fields
        self._common = common
        self.created = created
        self._pathname = pathname
        self._lineno = lineno
        self.generation = 0

    @property
    def source(self) -> str:
        """Which line of code logged it, ``path:line``."""
        return f"{self._pathname}:{self._lineno}"

    def wire(self) -> dict[str, object]:
        """Return the call as it stands on a line of the formatter.

        Raises:
            UnsendableError: If no call can be made of it.
        """
        built = build(self._event, self._fields, self._common, self.created)
        return {**built.call, "headers": built.headers} if built.headers else built.call

    def render(self) -> RenderedCall:
        """Build the call.

        Raises:
            UnsendableError: If no call can be made of it.
        """
        built = build(self._event, self._fields, self._common, self.created)
        return to_rendered(built, self.created, self.source)


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
    """Freeze what `as_event` returned."""
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


def freeze_fields(
    fields: Mapping[str, object], reserved: Collection[str], into: dict[str, object]
) -> None:
    """Put those fields into ``into``, frozen, that are neither reserved nor another tool's."""
    for name, value in own_fields(fields, reserved):
        into[name] = _freeze_exactly(value) if name in _IDENTIFYING else freeze(value)


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


def caller() -> tuple[str, int]:
    """Return file and line of the application's code that is logging in this thread."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - public in all but its name
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module.partition(".")[0] not in _SKIPPED_PACKAGES:
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return "<unknown>", 0
