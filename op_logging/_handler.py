"""The handler: decides whether a record is an event, and hands it over.

It waits for nothing and raises nothing. A record that is no event costs a few look-ups, before any
lock or filter.
"""

from __future__ import annotations

import logging
from itertools import islice
from logging import LogRecord
from typing import TYPE_CHECKING

from . import _process
from ._capture import OWN_ATTRIBUTES, freeze_extras, is_dict
from ._client import OpenPanelClient
from ._config import OpenPanelConfig
from ._copying import Rooted
from ._formatter import OpenPanelFormatter
from ._freezing import are_scalars
from ._patterns import Patterns
from ._process import speakers
from ._render import name_of
from ._rendered import place_of
from ._seen import was_sent

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._config import Options
    from ._inbox import Inbox
    from ._rendered import Data
    from ._stats import DeliveryStats

__all__ = ["OpenPanelHandler"]


class OpenPanelHandler(Rooted, logging.Handler):
    """Sends log records that have an ``event`` extra to OpenPanel.

    Put it on any logger, beside other handlers. Handlers with the same credentials and delivery
    options share one client, and a record that passes two of them is sent once.

    Thread-safe, and safe in signal handlers. A forked child goes on with a client of its own.

    Args:
        client_id: The OpenPanel client's id; default: ``OPENPANEL_CLIENT_ID``. Without one the
            handler is inert and says so once.
        client_secret: The client's secret; default: ``OPENPANEL_CLIENT_SECRET``.
        level: Records below it are ignored.
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
        level: int | str = logging.NOTSET,
        client: OpenPanelClient | None = None,
        **options: Unpack[Options],
    ) -> None:
        given = {"client_id": client_id, "client_secret": client_secret, **options}
        self.config = OpenPanelConfig.from_options(given)
        self.client = client or OpenPanelClient.shared(self.config)
        self._filters_by_itself = type(self).filter is not logging.Handler.filter
        self._meets_twice = False
        super().__init__(level)  # from here on logging.shutdown() knows it, and flushes it
        self._inbox = self.client.inbox
        only_loggers, only_events = self.config.only_loggers, self.config.only_events
        self._only_loggers = Patterns(only_loggers, with_children=True) if only_loggers else None
        self._only_events = Patterns(only_events) if only_events else None
        self.setFormatter(None)
        self.client.attach(self)

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802
        """Use an `OpenPanelFormatter`; any other formatter is kept, but not asked.

        So a formatter that a configuration gives to all its handlers does no harm.
        """
        super().setFormatter(fmt)
        formatter = fmt if isinstance(fmt, OpenPanelFormatter) else OpenPanelFormatter()
        self._formatter = formatter.under(self.config)
        self._event_key = self._formatter.event_key
        self._marker = self._formatter.marker
        self._build = self._formatter.build_plain
        self.look_again()

    def look_again(self) -> None:
        """Find out whether the quick way of `handle` will do. For the client."""
        self._is_quick = (
            self._inbox is not None
            and self._formatter.is_plain
            and self._only_loggers is None
            and self._only_events is None
            and self.client.attached == 1
            and type(self).emit is OpenPanelHandler.emit
            and not self._filters_by_itself
            and not self._meets_twice
        )

    def handle(  # type: ignore[override]  # noqa: C901 - each call more would cost a twentieth
        self, record: LogRecord
    ) -> bool | LogRecord:
        """Hand the record over if it is an event. Takes no lock, unlike other handlers.

        Returns:
            What the filters returned; False for a record that is no event.
        """
        fields = record.__dict__
        if type(fields.get(self._event_key)) is str and self._is_quick:
            # What most programs log, without the calls that the rest needs: they would double it.
            came_in = False
            try:
                if type(record) is LogRecord and not (
                    self.filters or speakers or fields["exc_info"]
                ):
                    inbox: Inbox = self._inbox  # type: ignore[assignment]  # who is quick has one
                    made = fields["relativeCreated"]
                    if made is inbox.last:
                        return self._meet_again()
                    data = fields.copy()
                    if not are_scalars(map(type, islice(data.values(), OWN_ATTRIBUTES, None))):
                        freeze_extras(data)
                    entry = (self._build, data, inbox.generation)
                    came_in = True
                    inbox.last = made
                    if len(inbox.queue) < inbox.room or inbox.make_room(entry):
                        inbox.queue.append(entry)
                        doorbell = inbox.doorbell
                        if doorbell is None or doorbell.asleep:
                            inbox.call_sender()
                    return True
            except Exception:  # noqa: BLE001 - a strange type among the values, or no room to recurse
                if came_in:
                    return True
        if (
            self._event_key not in fields
            and self._marker not in fields
            and (type(record.msg) is str or not is_dict(record.msg))
        ):
            return False
        passed: bool | LogRecord = True
        if self.filters or self._filters_by_itself:
            passed = self._filtered(record)
            if not passed:
                return False
            if not isinstance(passed, bool):  # Python 3.12 on: a filter may replace the record
                record = passed
        self.emit(record)
        return passed

    def emit(self, record: LogRecord) -> None:
        """Capture the record and hand it to the client. Raises nothing."""
        inbox = self._inbox
        if inbox is None:
            return
        try:
            found = self._formatter.capture(record)
            if found is None or self._is_left_out(record, found[1]):
                return
            if self._was_sent(record):
                return
            if speakers and _process.is_speaking():
                inbox.turn_away("recursion", place_of(record.__dict__))
            else:
                inbox.put(*found)
        except Exception:  # noqa: BLE001 - nothing may reach the application's log call
            self._fail(record)

    def flush(self, timeout: float | None = None) -> bool:  # type: ignore[override]
        """Wait until all events that came in so far are settled; see `OpenPanelClient.flush`.

        Args:
            timeout: Seconds to wait at most; default: ``shutdown_timeout``.

        Returns:
            Whether nothing is left.
        """
        return self.client.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:  # type: ignore[override]
        """Flush, and take the handler off the logging module's list.

        The client goes on, since others may share it; the exit hook flushes it. A record that
        comes after all is still sent.

        Args:
            timeout: Seconds to wait at most; default: ``shutdown_timeout``.

        Returns:
            Whether nothing is left.
        """
        done = self.flush(timeout)
        super().close()
        return done

    def stats(self) -> DeliveryStats:
        """Return what became of the client's events so far."""
        return self.client.stats()

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin.filters = self.filters[:]
        twin.createLock()
        twin.client.attach(twin)
        return twin

    def __repr__(self) -> str:
        return f"<OpenPanelHandler {logging.getLevelName(self.level)} {self.client!r}>"

    def _filtered(self, record: LogRecord) -> bool | LogRecord:
        try:
            return self.filter(record)
        except Exception:  # noqa: BLE001 - nothing may reach the application's log call
            self._fail(record)
            return False

    def _is_left_out(self, record: LogRecord, data: Data) -> bool:
        """Tell whether ``only_loggers`` or ``only_events`` leave a record out."""
        if self._only_loggers is not None and not self._only_loggers(record.name):
            return True
        if self._only_events is None:
            return False
        event = data[self._event_key] if isinstance(data, dict) else data[0]
        return not self._only_events(name_of(event))

    def _fail(self, record: LogRecord) -> None:
        """Count an event that was lost to an exception, and show it as any handler does."""
        if self._inbox is not None:
            self._inbox.turn_away("invalid", place_of(record.__dict__))
        self.handleError(record)

    def _was_sent(self, record: LogRecord) -> bool:
        """Tell whether a handler or processor had this very event for the same client."""
        made = record.__dict__.get("relativeCreated")
        if made is not None and self._inbox is not None and made is self._inbox.last:
            return True  # the quick way, by one that was alone a moment ago
        key = self._event_key if self._event_key in record.__dict__ else self._marker
        return was_sent(record, key, self.client)

    def _meet_again(self) -> bool:
        """Note that one record passes this handler twice: it is on two loggers of one branch.

        From now on it looks more closely: other threads may log between the two.
        """
        self._meets_twice = True
        self.look_again()
        return True
