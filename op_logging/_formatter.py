"""The formatter: a log record becomes a call, in one step or in two.

On an `OpenPanelHandler` the two steps are apart: `OpenPanelFormatter.capture` in the application's
thread, rendering in the sender's. On any other handler `OpenPanelFormatter.format` does both and
returns one line of JSON. The formatter never changes the record and sends nothing.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS, BaseJsonFormatter

from ._capture import (
    LAST_OWN_ATTRIBUTE,
    OWN_ATTRIBUTES,
    STRUCTLOG_KEYS,
    Wanted,
    as_event,
    capture_extras,
    freeze_event,
    freeze_fields,
    is_dict,
    own_fields,
)
from ._config import OpenPanelConfig
from ._diagnostics import Diagnostics
from ._encoding import dumps, plain, render_properties
from ._redaction import Redaction
from ._render import build
from ._rendered import Built, Captured, Data, UnsendableError, created_of, place_of, source_at

__all__ = ["EventFilter", "OpenPanelFormatter", "find_event"]

_diagnostics = Diagnostics()
Found = tuple[Callable[[Any], Built], Data]
_ALWAYS_RESERVED = frozenset({"taskName", "request"})
"""Names that are no extras beside a record's own: asyncio's (Python 3.12 on), and Django's."""


def find_event(
    record: logging.LogRecord, event_key: str, marker: str
) -> tuple[object | None, bool]:
    """Return the event of a record, or None, and whether structlog handed it over.

    structlog leaves its marker among the extras (``render_to_log_kwargs``) or in a dict as the
    message (``ProcessorFormatter.wrap_for_formatter``).
    """
    fields = record.__dict__
    value = fields.get(event_key)
    event = None if value is None else as_event(value)
    if event is not None:
        return event, False
    message = fields.get("msg")
    value = message.get(marker) if is_dict(message) else None
    value = fields.get(marker) if value is None else value
    return (None if value is None else as_event(value)), True


class OpenPanelFormatter(BaseJsonFormatter):
    """Maps log records to OpenPanel calls.

    ``python-json-logger``'s options work here, on properties: what ``fmt`` names becomes one (no
    ``fmt``, the default, names none), ``rename_fields``, ``static_fields``, ``defaults``,
    ``timestamp`` and ``reserved_attrs`` as documented there. Renaming comes first, so
    ``rename_fields={"user_id": "profile_id"}`` makes a profile of your own extra.
    Safe to share between handlers and threads.

    Args:
        fmt: Names of record attributes to send as properties, such as ``"%(message)s"``.
        datefmt: How ``asctime`` is written, where ``fmt`` names it.
        style: How ``fmt`` is written: ``%``, ``{`` or ``$``.
        validate: Whether ``fmt`` is checked.
        event_key: The extra that makes a record an event; default ``event``.
        marker: The key that marks an entry of structlog; default ``_event``.
        global_properties: Properties of every track call.
        redact: Names or patterns of properties whose values are hidden; default: none.
        **options: The other options of ``python-json-logger``'s ``BaseJsonFormatter``.

    Raises:
        ConfigurationError: If one of its own options has a value that is not allowed.
    """

    def __init__(  # noqa: PLR0913 - four are logging.Formatter's
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: str = "%",
        validate: bool = True,
        *,
        event_key: str | None = None,
        marker: str | None = None,
        global_properties: Mapping[str, object] | str | None = None,
        redact: Iterable[str] | str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(fmt, datefmt, style, validate, **options)
        if fmt is None:  # the base class would add the message
            self._required_fields = []
            self._skip_fields = set(self.reserved_attrs)
        self._reserved = self.reserved_attrs | _ALWAYS_RESERVED
        self._given: dict[str, object] = {
            "event_key": event_key,
            "marker": marker,
            "global_properties": global_properties,
            "redact": redact,
        }
        self.is_plain = self._only_extras()
        config = OpenPanelConfig.from_options(self._given)
        if redact is not None:
            self._given["redact"] = config.redact  # what can be read once only was read here
        self._configure(config)

    def under(self, config: OpenPanelConfig) -> OpenPanelFormatter:
        """Return this formatter for a handler: what it was not given itself is the handler's."""
        mine = copy.copy(self)
        own = {name: value for name, value in self._given.items() if value is not None}
        handlers = {name: getattr(config, name) for name in self._given}
        mine._configure(OpenPanelConfig.from_options({**handlers, **own}))  # noqa: SLF001 - its own
        return mine

    def _configure(self, config: OpenPanelConfig) -> None:
        self.event_key = config.event_key
        self.marker = config.marker
        self._common = render_properties(config.global_properties)
        self._redaction = Redaction(config.redact) if config.redact else None
        self._left_out = frozenset({*self._reserved, self.event_key, self.marker})
        self._wanted = Wanted(self._left_out)

    def capture(self, record: logging.LogRecord) -> Found | None:
        """Take what is needed of a record, frozen; None if it is no event.

        Called in the application's thread. The record stays as it is.

        Returns:
            How to build the call, and what from.
        """
        if (
            self.is_plain
            and type(record) is logging.LogRecord
            and type(record.__dict__.get(self.event_key)) is str
        ):
            return self.build_plain, capture_extras(record)
        return self._capture_any(record)

    def _capture_any(self, record: logging.LogRecord) -> Found | None:
        """Take a record of any kind: with a call as an object, from structlog, by options."""
        event, is_entry = find_event(record, self.event_key, self.marker)
        if event is None:
            return None
        if self.is_plain:
            left_out = self._left_out | STRUCTLOG_KEYS if is_entry else self._left_out
            fields = freeze_fields(own_fields(record.__dict__, left_out))
            if is_entry and is_dict(record.msg):
                fields.update(freeze_fields(own_fields(record.msg, STRUCTLOG_KEYS)))
        else:
            fields = freeze_fields(self._select(record).items())
        place = place_of(record.__dict__)
        return self._build, (freeze_event(event), fields, record.created, place)

    def build_plain(self, data: dict[str, Any]) -> Built:
        """Build the call of a plain record, in the sender's thread."""
        wanted = self._wanted
        extras = islice(data.items(), OWN_ATTRIBUTES, None)
        try:
            if next(islice(data, OWN_ATTRIBUTES - 1, None)) != LAST_OWN_ATTRIBUTE:
                raise TypeError  # a filter took some away
            fields = [item for item in extras if wanted[item[0]]]
        except TypeError:  # or a key is no text
            fields = list(own_fields(data, self._left_out))
        event = data[self.event_key]
        return build(event, fields, self._common, created_of(data), self._redaction)

    def _build(self, data: Captured) -> Built:
        """Build the call of any other record, in the sender's thread."""
        event, fields, _, _ = data
        created = created_of(data)
        return build(event, fields.items(), self._common, created, self._redaction)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's call as one line of JSON; an empty text if it is no event.

        Add an `EventFilter` to the handler, so that records that are no events give no line. What
        cannot become a call gives an empty text, too, and is said on the logger ``op_logging``.
        """
        found = self.capture(record)
        if found is None:
            return ""
        build_call, data = found
        try:
            return self.serialize_log_record(build_call(data).line())
        except UnsendableError as error:
            text = f"an event logged at {source_at(place_of(data))} cannot be written: {error}"
            _diagnostics.say(error.reason, text)
            return ""

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        """Return a call as JSON."""
        return dumps(plain(log_data)).decode("utf-8")

    def _only_extras(self) -> bool:
        """Tell whether the record's extras are all that is wanted, so that options cost nothing."""
        of_mine = type(self)
        return (
            not any((self._required_fields, self.rename_fields, self.static_fields))
            and not any((self.defaults, self.timestamp))
            and self._reserved.issuperset(RESERVED_ATTRS)
            and of_mine.add_fields is BaseJsonFormatter.add_fields
            and of_mine.process_log_record is BaseJsonFormatter.process_log_record
        )

    def _select(self, record: logging.LogRecord) -> Mapping[str, object]:
        """Let the base class put the properties together, on a copy of the record."""
        wanted = set(self._required_fields)
        present = record.__dict__.keys()
        names = (wanted | {*RESERVED_ATTRS}) & present - {self.event_key, self.marker}
        attributes = {name: record.__dict__[name] for name in names}
        attributes.update(own_fields(record.__dict__, self._left_out))
        twin = logging.makeLogRecord(attributes)
        entry: dict[str, object] = {}
        if is_dict(record.msg):
            entry.update(own_fields(record.msg, STRUCTLOG_KEYS))
            twin.message = str(record.msg.get("event", ""))
        elif "message" in wanted:
            twin.message = record.getMessage()
        if "asctime" in wanted:
            twin.asctime = self.formatTime(twin, self.datefmt)
        if "exc_info" in wanted and record.exc_info:
            entry["exc_info"] = self.formatException(record.exc_info)
        if "stack_info" in wanted and record.stack_info:
            entry["stack_info"] = self.formatStack(record.stack_info)
        selected: dict[str, object] = {}
        self.add_fields(selected, twin, entry)
        return self.process_log_record(selected)


class EventFilter(logging.Filter):
    """Lets only events pass: put it on a handler that writes with `OpenPanelFormatter`.

    Args:
        event_key: The extra that makes a record an event; default ``event``.
        marker: The key that marks an entry of structlog; default ``_event``.
    """

    def __init__(self, event_key: str | None = None, marker: str | None = None) -> None:
        super().__init__()
        config = OpenPanelConfig.from_options({"event_key": event_key, "marker": marker})
        self._event_key = config.event_key
        self._marker = config.marker

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is an event."""
        return find_event(record, self._event_key, self._marker)[0] is not None
