"""What became of the events: the immutable snapshot that ``stats()`` returns.

This module only describes; the counting is the ledger's (``_ledger``), under the dispatch's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ._copying import Value

__all__ = ["DeliveryStats"]

_EMPTY: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class DeliveryStats(Value):
    """A snapshot of one client's counters. Immutable, safe to share between threads.

    It always adds up::

        accepted == delivered + merged + rejected + dropped
                    + queued + in_flight + spooled + held

    Attributes:
        accepted: Events that were handed to the client, whatever became of them.
        delivered: Calls that the server confirmed as stored.
        merged: Counter calls that were summed into another call.
        rejected: Calls that the server refused for good.
        dropped: Events that this process gave up; ``reasons`` says why.
        queued: Events that wait in memory, also for another attempt.
        in_flight: Calls that were sent and wait for their answer.
        spooled: Calls that wait in a file on disk.
        held: Counters that wait until the server can take them safely.
        reasons: How many calls were rejected or dropped, by reason, such as ``bad_request``,
            ``queue_full``, ``expired``. Two more are no losses: ``left_out`` (extras that were
            left out of a call), and ``counter_at_risk`` (counters that were sent too soon after
            another, since the program ended: the server may lose one of the two).
        retried: How many times a call was put back to be sent again. One call may count
            several times.
        oldest: Age in seconds of the oldest event that is not answered yet; 0.0 without one.
        last_error: The last thing that went wrong, in words; None while nothing did.
            Holds no payload and no secret.
    """

    accepted: int = 0
    delivered: int = 0
    merged: int = 0
    rejected: int = 0
    dropped: int = 0
    queued: int = 0
    in_flight: int = 0
    spooled: int = 0
    held: int = 0
    reasons: Mapping[str, int] = field(default_factory=lambda: _EMPTY)
    retried: int = 0
    oldest: float = 0.0
    last_error: str | None = None
