"""Clients and handlers that end with the test."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from op_logging import DeliveryStats, OpenPanelClient, OpenPanelHandler

CLIENT_ID = "9d0a7c3e-1f52-4a86-b0cd-6f1e2a3b4c5d"
SECRET = "sec_0123456789abcdef"
FAST: dict[str, Any] = {
    "flush_interval": 0.01,
    "timeout": (2.0, 2.0),
    "max_backoff": 0.3,
    "counter_interval": 0,
}
"""Options that make a test quick; the behaviour is the same."""

_numbers = count(1)


@contextmanager
def client_of(url: str, **options: Any) -> Iterator[OpenPanelClient]:
    """Give a client of its own for a test, and close it."""
    given = {"client_id": CLIENT_ID, "client_secret": SECRET, "api_url": url, **FAST, **options}
    client = OpenPanelClient(**given)
    try:
        yield client
    finally:
        client.close(0.5)
        assert_adds_up(client.stats())


@contextmanager
def logger_of(client: OpenPanelClient, **options: Any) -> Iterator[logging.Logger]:
    """Give a logger of its own with a handler of that client, and take it off again."""
    handler = OpenPanelHandler(client=client, client_id=CLIENT_ID, client_secret=SECRET, **options)
    logger = logging.getLogger(f"tests.shop{next(_numbers)}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        handler.close(0.0)


@contextmanager
def shop(url: str, **options: Any) -> Iterator[tuple[logging.Logger, OpenPanelClient]]:
    """Give a logger and its client."""
    with client_of(url, **options) as client, logger_of(client) as logger:
        yield logger, client


def assert_adds_up(stats: DeliveryStats) -> None:
    """Check the equation that the statistics promise."""
    parts = (
        stats.delivered,
        stats.merged,
        stats.rejected,
        stats.dropped,
        stats.queued,
        stats.in_flight,
        stats.spooled,
        stats.held,
    )
    assert stats.accepted == sum(parts), stats
    losses = {k: v for k, v in stats.reasons.items() if k not in {"left_out", "counter_at_risk"}}
    assert stats.rejected + stats.dropped == sum(losses.values()), stats
    assert min(parts) >= 0, stats


def installed(logger: logging.Logger) -> OpenPanelHandler:
    """Return the handler that a configuration put on a logger."""
    (handler,) = [each for each in logger.handlers if isinstance(each, OpenPanelHandler)]
    return handler
