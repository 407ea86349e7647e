"""What the package says about itself, on the logger ``op_logging``.

Each kind of message is said the first time and then at most once a minute, with how many
were left out in between. Never says a payload or a secret: callers pass texts that are free
of both. Never raises. Called from the package's own threads, from configuration, and from
``flush`` and ``close``; in the application's log call only where a formatter writes lines.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from . import _process

__all__ = ["INTERVAL", "LOGGER", "Diagnostics", "Message"]

LOGGER = logging.getLogger("op_logging")
INTERVAL = 60.0
"""Seconds between two messages of one kind."""
_MOST_KINDS = 1_000
"""How many kinds are remembered: names in them may come from outside."""


class Message(NamedTuple):
    """Something to be said when the lock is released.

    Attributes:
        kind: What is said at most once a minute.
        text: The words.
        once: Whether it is to be said in any case, since it cannot come often.
    """

    kind: str
    text: str
    once: bool = False


class Diagnostics:
    """Says each kind of message once, then at most once per interval.

    Thread-safe, and safe in signal handlers: there is no lock. At worst something is said twice.

    Args:
        interval: Seconds between two messages of one kind.
        clock: Returns seconds that only go up.
    """

    def __init__(
        self, interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = interval
        self._clock = clock
        self.renew()

    def renew(self) -> None:
        """Forget what was said, as in a forked child: everything may be said again."""
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def say(self, kind: str, text: str, *, level: int = logging.WARNING) -> bool:
        """Log ``text`` unless this ``kind`` was said less than an interval ago.

        Args:
            kind: What the interval is kept for, such as ``queue_full``.
            text: One line, free of payloads and secrets.
            level: The level to log with.

        Returns:
            Whether it was said.
        """
        now = self._clock()
        if len(self._last) > _MOST_KINDS:
            self._last.clear()
        last = self._last.get(kind)
        if last is not None and now - last < self._interval:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        self._last[kind] = now
        left_out = self._left_out.pop(kind, 0)
        if left_out:
            text = f"{text} ({left_out} more like it since the last time this was said)"
        self.announce(text, level=level)
        return True

    def tell(self, messages: Iterable[Message]) -> None:
        """Say or announce each message, as it asks for."""
        for message in messages:
            if message.once:
                self.announce(message.text)
            else:
                self.say(message.kind, message.text)

    def announce(self, text: str, *, level: int = logging.WARNING) -> None:
        """Log ``text`` in any case: for what happens once, such as the end of an outage."""
        try:
            LOGGER.disabled = False  # dictConfig disables every logger that it does not name
            with _process.speaking():
                LOGGER.log(level, "%s", text)
        except Exception:  # noqa: BLE001, S110 - a handler of the application's failed at it
            pass
        except BaseException:
            if not _process.on_delivery_thread():  # there it would end delivery, not the program
                raise
