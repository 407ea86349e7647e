"""The events that are logged, and a logger whose handler delivers them to the server."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from op_logging import OpenPanelClient, OpenPanelFormatter, OpenPanelHandler

from .loopback import Server

__all__ = [
    "CLIENT_ID",
    "FLAT",
    "NESTED",
    "SECRET",
    "NotDeliveredError",
    "Tracked",
    "body_of",
    "delivered",
    "fresh",
    "logger_with",
    "tracked",
]

CLIENT_ID = "9d0a7c3e-1f52-4a86-b0cd-6f1e2a3b4c5d"
SECRET = "sec_0123456789abcdef"
FLAT: Mapping[str, Any] = {
    "event": "order_paid",
    "profile_id": "u1842",
    "total": 42.5,
    "currency": "EUR",
    "items": 3,
    "paid": True,
    "plan": "yearly",
}
"""Seven scalar extras."""
NESTED: Mapping[str, Any] = {
    **FLAT,
    "address": {"city": "Malmö", "zip": "21119", "country": "SE"},
    "skus": ["teapot", "cup", "saucer"],
}
"""The same, a dict and a list besides."""
_ENOUGH = 200_000
"""The size of a queue that never gets full here."""
_PATIENCE = 60.0
"""Seconds after which an event counts as lost."""

_numbers = count(1)


class NotDeliveredError(Exception):
    """An event did not arrive, so that a figure would be worth nothing."""


def fresh(number: int) -> dict[str, Any]:
    """Return extras whose call has about 500 bytes; no value is shared with another event's."""
    return {
        "event": "order_paid",
        "profile_id": f"user_{number:012d}",
        "total": number + 0.25,
        "currency": "EUR",
        "order_id": f"order_{number:018d}",
        "referrer": f"https://shop.example.com/campaigns/autumn/{number:010d}?source=letter",
        "title": f"A teapot of {number:08d} pieces, with a cup and a saucer for each of them",
        "session": f"{number:032x}",
        "variant": f"checkout-with-one-page-{number:06d}",
        "items": 1_000 + number,
        "paid": True,
    }


def body_of(extra: Mapping[str, Any]) -> bytes:
    """Return the body of the call that a record with these extras becomes."""
    record = logging.getLogger("shop").makeRecord(
        "shop", logging.INFO, "shop.py", 12, "Order paid", (), None, "pay", dict(extra)
    )
    return OpenPanelFormatter().format(record).encode()


@contextmanager
def logger_with(handler: logging.Handler) -> Iterator[logging.Logger]:
    """Give a logger that has this handler alone."""
    logger = logging.getLogger(f"benchmarks.{next(_numbers)}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        logger.removeHandler(handler)


@dataclass(frozen=True)
class Tracked:
    """A logger whose records are delivered to a server."""

    logger: logging.Logger
    handler: OpenPanelHandler
    client: OpenPanelClient

    def flush(self) -> None:
        """Wait until everything has arrived."""
        delivered(self.client)


@contextmanager
def tracked(server: Server, **options: Any) -> Iterator[Tracked]:
    """Give a logger with a handler and a client of its own, warmed up by one event.

    At the end everything that was logged has to have arrived; then the client is closed.
    """
    given = {"api_url": server.url, "queue_size": _ENOUGH, **options}
    client = OpenPanelClient(CLIENT_ID, SECRET, **given)
    handler = OpenPanelHandler(CLIENT_ID, SECRET, client=client, **given)
    try:
        with logger_with(handler) as logger:
            logger.info("Order paid", extra=FLAT)
            delivered(client)
            yield Tracked(logger, handler, client)
            delivered(client)
    finally:
        handler.close(0.0)
        client.close(1.0)


def delivered(client: OpenPanelClient) -> None:
    """Wait until everything has arrived.

    Raises:
        NotDeliveredError: If anything was lost, or did not arrive in time.
    """
    client.flush(_PATIENCE)
    stats = client.stats()
    if stats.delivered != stats.accepted:
        raise NotDeliveredError(str(stats))
