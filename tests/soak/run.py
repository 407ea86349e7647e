"""Events without an end, and handlers that are opened and closed."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from op_logging import Identify, Increment, OpenPanelClient, OpenPanelHandler
from support.clients import CLIENT_ID, SECRET, assert_adds_up
from support.waiting import wait_until

__all__ = ["Sample", "handlers", "stream"]

_MOST_WAITING = 2_000
_PATIENCE = 60.0


@dataclass(frozen=True)
class Sample:
    """What the process holds at a moment.

    Attributes:
        done: How many events, or handlers, were there before.
        memory: Bytes in physical memory.
        threads: How many threads.
        descriptors: How many open files.
    """

    done: int
    memory: int
    threads: int
    descriptors: int


def _sample(done: int) -> Sample:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return Sample(
        done,
        pages * os.sysconf("SC_PAGE_SIZE"),
        threading.active_count(),
        len(list(Path("/proc/self/fd").iterdir())),
    )


def stream(url: str, events: int, samples: int) -> Iterator[Sample]:
    """Log events of many kinds for many profiles, and look at the process now and then."""
    client = OpenPanelClient(
        CLIENT_ID, SECRET, api_url=url, counter_interval=0.5, max_connections=4, flush_interval=0.05
    )
    handler = OpenPanelHandler(CLIENT_ID, SECRET, client=client)
    logger = logging.getLogger("soak")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    each = events // samples
    try:
        for number in range(1, events + 1):
            profile = f"user {number % 50_021}"
            event: object = "order_paid"
            if number % 50 == 0:
                event = Identify(profile, properties={"plan": "yearly"})
            elif number % 25 == 0:
                event = Increment(f"user {number % 101}", "visits")
            logger.info("Paid", extra={"event": event, "profile_id": profile, "items": [number]})
            if number % 500 == 0:
                wait_until(lambda: client.stats().queued <= _MOST_WAITING, _PATIENCE)
            if number % each == 0:
                assert client.flush(_PATIENCE)
                assert_adds_up(client.stats())
                yield _sample(number)
        stats = client.stats()
        assert stats.accepted == events == stats.delivered + stats.merged, stats
    finally:
        logger.removeHandler(handler)
        handler.close(0)
        client.close(5)


def handlers(url: str, amount: int, samples: int) -> Iterator[Sample]:
    """Open handlers with a client each, log an event, and close both."""
    logger = logging.getLogger("soak.handlers")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for number in range(1, amount + 1):
        client = OpenPanelClient(CLIENT_ID, SECRET, api_url=url, flush_interval=0.01)
        handler = OpenPanelHandler(CLIENT_ID, SECRET, client=client)
        logger.addHandler(handler)
        logger.info("Paid", extra={"event": "order_paid"})
        logger.removeHandler(handler)
        assert handler.close(_PATIENCE)
        assert client.close(_PATIENCE)
        assert client.stats().delivered == 1
        del handler, client
        if number % (amount // samples) == 0:
            yield _sample(number)
