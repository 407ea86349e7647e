"""What a log call costs while the server is in trouble: it waits for none of it."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

from op_logging import OpenPanelClient, OpenPanelHandler

from .events import CLIENT_ID, FLAT, SECRET, logger_with
from .measure import Bench, Line, Sample, at_rate

__all__ = ["trouble"]

_RATE, _BURST = 10_000, 30
_CALLS_OF_ONE = 10_000
_HANGS = 3_600.0
_SLOW = 5.0
"""Seconds that the name takes to be found: longer than the measurement."""


def trouble(bench: Bench) -> list[Line]:
    """30,000 log calls while the server answers, hangs, refuses, or fails, or cannot be found."""
    with closing(socket.create_server(("127.0.0.1", 0))) as closed:
        refused = f"http://127.0.0.1:{closed.getsockname()[1]}"
    url = bench.plain.url
    cases: list[tuple[str, str, Callable[[], object]]] = [
        ("answers", url, partial(bench.plain.start_over)),
        ("hangs", url, partial(bench.plain.start_over, _HANGS)),
        ("refuses", refused, lambda: None),
        ("500s", url, partial(bench.plain.start_over, 0.0, 500)),
    ]
    lines = []
    for name, where, prepare in cases:
        prepare()
        lines += _lines(name, _timed(where, bench))
    bench.plain.start_over()
    # No name server here can be made to be slow.
    with patch("socket.getaddrinfo", _slow_look_up):
        lines += _lines("slow name", _timed("http://slow.example:80", bench))
    return lines


def _lines(name: str, found: list[list[int]]) -> list[Line]:
    return [
        Line(f"{name}, {what}", "µs", Sample(what, tuple(_at(took, share) for took in found)))
        for what, share in (("p99.9", 0.999), ("slowest", 1.0))
    ]


def _at(took: list[int], share: float) -> float:
    ordered = sorted(took)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000


def _timed(url: str, bench: Bench) -> list[list[int]]:
    """Return how many nanoseconds each log call took, three times over."""
    with _logger(url) as logger:
        found = []
        for _ in range(bench.repetitions(3)):
            took: list[int] = []
            at_rate(
                partial(_one, took, logger), _RATE, bench.seconds(_CALLS_OF_ONE / _RATE), _BURST
            )
            found.append(took)
        return found


def _one(took: list[int], logger: logging.Logger) -> None:
    started = time.perf_counter_ns()
    logger.info("Order paid", extra=FLAT)
    took.append(time.perf_counter_ns() - started)


@contextmanager
def _logger(url: str) -> Iterator[logging.Logger]:
    said = logging.getLogger("op_logging")
    level = said.level
    said.setLevel(logging.CRITICAL)  # the trouble is made on purpose
    client = OpenPanelClient(CLIENT_ID, SECRET, api_url=url)
    handler = OpenPanelHandler(CLIENT_ID, SECRET, client=client)
    try:
        with logger_with(handler) as logger:
            yield logger
    finally:
        handler.close(0.0)
        client.close(0.0)
        said.setLevel(level)


def _slow_look_up(*_: Any, **__: Any) -> Any:
    time.sleep(_SLOW)
    raise socket.gaierror(socket.EAI_NONAME, "no such name")
