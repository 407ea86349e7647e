"""Which records were sent already: one record may pass several handlers and processors.

Kept per thread, for its last few records: they pass one after the other, in the thread that logs.
A record is known by the very object that says how long after the start of the program it was
made, since some tools (structlog's ``ProcessorFormatter``) hand on a copy of it: a copy has the
same, and no other record has.
"""

from __future__ import annotations

import threading
from collections import deque
from logging import LogRecord

__all__ = ["was_sent"]

_MOST_RECORDS = 16


class _Seen(threading.local):
    def __init__(self) -> None:
        self.last: deque[tuple[object, str, object]] = deque(maxlen=_MOST_RECORDS)


_seen = _Seen()


def was_sent(record: LogRecord, key: str, client: object) -> bool:
    """Tell whether an event was handed to a client before, and note it.

    Args:
        record: The record that holds it, or a copy.
        key: Under which name: one record may hold two events.
        client: The client.
    """
    made = record.__dict__.get("relativeCreated")
    if made is None:  # it was put together by hand
        return False
    for known, known_key, known_client in _seen.last:
        if known is made and known_key == key and known_client is client:
            return True
    _seen.last.append((made, key, client))
    return False
