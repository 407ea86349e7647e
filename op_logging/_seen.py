"""Which records were sent already: one record may pass several handlers and processors.

Kept per thread, for its last few records: they pass one after the other, in the thread that logs.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from logging import LogRecord

__all__ = ["was_sent"]

_MOST_RECORDS = 8


class _Seen(threading.local):
    def __init__(self) -> None:
        self.last: deque[tuple[weakref.ref[LogRecord], str, object]] = deque(maxlen=_MOST_RECORDS)


_seen = _Seen()


def was_sent(record: LogRecord, key: str, client: object) -> bool:
    """Tell whether an event was handed to a client before, and note it.

    Args:
        record: The record that holds it.
        key: Under which name: one record may hold two events.
        client: The client.
    """
    for known, known_key, known_client in _seen.last:
        if known() is record and known_key == key and known_client is client:
            return True
    _seen.last.append((weakref.ref(record), key, client))
    return False
