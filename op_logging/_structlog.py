"""The structlog processor: entries that are marked become events, and go on down the chain.

It waits for nothing, raises nothing (``DropEvent`` neither), and changes nothing in an entry but
its marker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import partial
from logging import LogRecord
from time import time
from typing import TYPE_CHECKING, Any

from . import _process
from ._capture import (
    STRUCTLOG_KEYS,
    Caller,
    SentMarker,
    Wanted,
    as_event,
    freeze_event,
    freeze_fields,
    own_fields,
)
from ._client import OpenPanelClient
from ._config import ConfigurationError, OpenPanelConfig
from ._copying import Rooted
from ._diagnostics import LOGGER
from ._encoding import render_properties
from ._freezing import are_scalars
from ._parsing import NotAllowedError, function
from ._patterns import Patterns
from ._process import speakers
from ._redaction import Redaction
from ._render import build, name_of
from ._seen import was_sent

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._config import Options
    from ._rendered import Built, Captured
    from ._stats import DeliveryStats

__all__ = ["OpenPanelProcessor"]

Entry = MutableMapping[str, Any]
Track = Callable[[Entry], object]
_TEXT = frozenset({str})
_HTTP_LOGGERS = frozenset({"urllib3", "requests"})


class OpenPanelProcessor(Rooted):
    """Sends structlog entries to OpenPanel.

    ::

        log.info("Order paid", _event="order_paid", profile_id="u1", total=42)

    Put it into the chain before the renderer or before ``ProcessorFormatter.wrap_for_formatter``.
    The marker is taken out of the entry, so that a handler further down sends nothing twice.
    Thread-safe. A forked child goes on with a client of its own.

    Args:
        client_id: The OpenPanel client's id; default: ``OPENPANEL_CLIENT_ID``. Without one the
            processor is inert and says so once.
        client_secret: The client's secret; default: ``OPENPANEL_CLIENT_SECRET``.
        track: Which entries are events. ``"marked"``: those with the marker. ``"all"``: every
            entry, by its own ``event``. A list of patterns such as ``["order_*"]``: entries whose
            ``event`` matches one, upper and lower case apart. A callable, or its dotted path:
            entries for which ``track(entry)`` is true; a text that it returns is the event's
            name. A marker makes an entry an event in any case.
        keep: Whether the marker stays in the entry.
        client: A client of your own, instead of the shared one.
        **options: See `OpenPanelConfig`. Keyword beats environment beats default.

    Raises:
        ConfigurationError: If an option is unknown or its value is not allowed.
    """

    def __init__(
        self,
        client_id: str | None = None,
        client_secret: str | None = None,
        *,
        track: str | Iterable[str] | Track = "marked",
        keep: bool = False,
        client: OpenPanelClient | None = None,
        **options: Unpack[Options],
    ) -> None:
        given = {"client_id": client_id, "client_secret": client_secret, **options}
        self.config = OpenPanelConfig.from_options(given)
        self.client = client or OpenPanelClient.shared(self.config)
        self.client.attach(self)
        self._inbox = self.client.inbox
        self._marker = self.config.marker
        self._keep = keep
        self._track = _chooser(track)
        self._common = render_properties(self.config.global_properties)
        self._redaction = Redaction(self.config.redact) if self.config.redact else None
        self._caller = Caller()
        only_events = self.config.only_events
        self._only_events = Patterns(only_events) if only_events else None
        self._left_out = STRUCTLOG_KEYS | {self._marker}
        self._wanted = Wanted(self._left_out)
        if self._inbox is not None:
            self._put = partial(self._inbox.put, self._build)
        is_simple = self._track is None and not keep and not only_events
        self._is_quick = self._inbox is not None and is_simple

    def __call__(self, logger: object, method_name: str, event_dict: Entry) -> Entry:  # noqa: ARG002
        """Hand the entry over if it is an event, and pass it on."""
        try:
            if self._is_quick:
                event = event_dict.pop(self._marker, None)
                if event is None:
                    return event_dict
                if type(event) is str and not speakers and "_record" not in event_dict:
                    fields = event_dict.copy() if type(event_dict) is dict else dict(event_dict)
                    try:
                        is_simple = are_scalars(map(type, fields.values()))
                    except Exception:  # noqa: BLE001 - a metaclass may do anything
                        is_simple = False
                    if not is_simple:
                        fields = freeze_fields(own_fields(fields, self._left_out))
                    self._put((event, fields, time(), self._caller()))
                    return event_dict
                event_dict[self._marker] = event
            if self._marker in event_dict or (self._track and not _is_our_own(event_dict)):
                found = self._event_of(event_dict)
                if found is not None:
                    self._hand_over(found, event_dict)
        except Exception:  # noqa: BLE001 - nothing may reach the application's log call
            if self._inbox is not None:
                self._inbox.turn_away("invalid", self._caller())
        return event_dict

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all events that came in so far are settled; see `OpenPanelClient.flush`."""
        return self.client.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush. The client goes on, since others may share it; the exit hook flushes it."""
        return self.client.flush(timeout)

    def stats(self) -> DeliveryStats:
        """Return what became of the client's events so far."""
        return self.client.stats()

    def look_again(self) -> None:
        """Take note of how many handlers and processors the client has: it is all the same here."""

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.client.attach(twin)
        return twin

    def __repr__(self) -> str:
        return f"<OpenPanelProcessor {self.client!r}>"

    def _event_of(self, entry: Entry) -> object | None:
        """Take the marker out of an entry; return what it stands for, if it is an event."""
        if self._marker in entry:
            value = entry[self._marker]
            if type(value) is SentMarker:
                return None
            event = as_event(value)
            if not self._keep:
                del entry[self._marker]
            elif event is not None:
                entry[self._marker] = SentMarker(event if isinstance(event, str) else "call")
            if event is not None:
                return event
        chosen = None if self._track is None else self._track(entry)
        if not chosen:
            return None
        return chosen if isinstance(chosen, str) else as_event(entry.get("event"))

    def _hand_over(self, event: object, entry: Entry) -> None:
        """Hand over an event of any kind, if it is wanted."""
        if self._inbox is None:
            return
        frozen = freeze_event(event)
        if self._only_events is not None and not self._only_events(name_of(frozen)):
            return
        record = entry.get("_record")
        if isinstance(record, LogRecord) and was_sent(record, self._marker, self.client):
            return
        if speakers and _process.is_speaking():
            self._inbox.turn_away("recursion", self._caller())
            return
        fields = freeze_fields(own_fields(entry, self._left_out))
        self._put((frozen, fields, time(), self._caller()))

    def _build(self, data: Captured) -> Built:
        """Build the call of an entry, in the sender's thread."""
        event, fields, created, _ = data
        if _TEXT.issuperset(map(type, fields)):
            wanted = self._wanted
            own = [item for item in fields.items() if wanted[item[0]]]
        else:
            own = list(own_fields(fields, self._left_out))
        return build(event, own, self._common, created, self._redaction)


def _is_our_own(entry: Entry) -> bool:
    """Tell whether a record of this package, or of its way to the server, came by.

    So it is through ``foreign_pre_chain``. With ``track="all"`` it would be the next event.
    """
    name = str(getattr(entry.get("_record"), "name", ""))
    if name == LOGGER.name or name.startswith(f"{LOGGER.name}."):
        return True
    return name.partition(".")[0] in _HTTP_LOGGERS and _process.on_delivery_thread()


def _chooser(track: str | Iterable[str] | Track) -> Track | None:
    """Turn the option ``track`` into a function of the entry; None for ``"marked"``."""
    if track == "marked":
        return None
    if track == "all":
        return lambda _entry: True
    if isinstance(track, str) or callable(track):
        try:
            return function(track)
        except NotAllowedError:
            raise _wrong(track) from None
    try:
        patterns = list(track)
    except TypeError:
        patterns = []
    if not patterns or not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise _wrong(track)
    matches = Patterns(patterns)

    def by_name(entry: Mapping[str, Any]) -> bool:
        name = entry.get("event")
        return isinstance(name, str) and matches(name)

    return by_name


def _wrong(track: object) -> ConfigurationError:
    return ConfigurationError(
        f"track={track!r} is not allowed: use 'marked', 'all', a list of patterns such as "
        "['order_*'], a callable, or the dotted path of one"
    )
