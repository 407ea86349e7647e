"""What the process holds for an event that waits."""

from __future__ import annotations

import gc
import logging
import logging.handlers
import queue
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from op_logging import OpenPanelClient, OpenPanelHandler

from .events import CLIENT_ID, SECRET, body_of, fresh, logger_with
from .measure import Bench, Goal, Line, Sample, constant, rotated

__all__ = ["memory"]

_STEADY = 0.002
"""The share by which what is held may still change when it counts as settled."""
_PATIENCE = 15.0


def memory(bench: Bench) -> list[Line]:
    """Events that wait for a server that cannot be reached."""
    events = max(1_000, bench.amount(10_000))
    with _silenced(), _refusing() as url:
        found = rotated(
            {
                "op_logging": partial(_held_by_us, url, events),
                "QueueHandler's records": partial(_held_by_records, events),
            },
            bench.repetitions(2),
        )
    ours, records = (Sample(name, tuple(values)) for name, values in found.items())
    body = constant("its body", float(len(body_of(fresh(1)))), ours)
    what = f"{events:,} wait"
    return [
        Line(what, "bytes/event", ours, body, goal=Goal(1.7)),
        Line(what, "bytes/event", ours, records),
    ]


def _held_by_us(url: str, events: int) -> float:
    # No attempt comes between the first and the measuring, and none is left by its time-out.
    given: dict[str, Any] = {"api_url": url, "queue_size": 2 * events, "max_backoff": 300.0}
    client = OpenPanelClient(CLIENT_ID, SECRET, **given)
    handler = OpenPanelHandler(CLIENT_ID, SECRET, client=client, **given)
    try:
        with logger_with(handler) as logger:
            return _held(logger, events)
    finally:
        handler.close(0.0)
        client.close(0.0)


def _held_by_records(events: int) -> float:
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with logger_with(logging.handlers.QueueHandler(records)) as logger:
        return _held(logger, events)


def _held(logger: logging.Logger, events: int) -> float:
    """Return how many bytes are held for each event once nothing changes any more."""
    logger.info("Order paid", extra=fresh(0))
    tracemalloc.start()
    try:
        before = _traced()
        for number in range(1, events + 1):
            logger.info("Order paid", extra=fresh(number))
        return (_settled(_traced) - before) / events
    finally:
        tracemalloc.stop()


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def _settled(measure: Callable[[], int]) -> int:
    """Return a figure once it does not change any more."""
    deadline = time.monotonic() + _PATIENCE
    before, steady = measure(), 0
    while steady < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
        now = measure()
        steady = steady + 1 if abs(now - before) <= _STEADY * before + 4_096 else 0
        before = now
    return before


@contextmanager
def _refusing() -> Iterator[str]:
    """Give an address that refuses connections: its port is taken, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep quiet about the outage, and about what is given up at the end: both are meant."""
    logger = logging.getLogger("op_logging")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
