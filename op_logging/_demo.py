"""``python -m op_logging demo``: a small shop logs, and its events arrive.

Everything is real but the server: the package's own stand-in, on loopback, answers and stores as
OpenPanel's server does. Nothing leaves this machine.
"""

from __future__ import annotations

import logging
import logging.config
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, TextIO

import structlog

from ._calls import Identify, Increment, Revenue
from ._client import flush
from ._handler import OpenPanelHandler

if TYPE_CHECKING:
    from ._stats import DeliveryStats
    from .inspector import Store

__all__ = ["run_demo"]

_CLIENT_ID = "3f6c1e52-5f0b-4b6e-9d3a-0c2b8a7d4e11"
_CLIENT_SECRET = "sec_demo"  # noqa: S105 - known to the stand-in only


def logging_config(api_url: str) -> dict[str, object]:
    """Return the shop's logging configuration: one console handler, and one entry for OpenPanel."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"format": "  %(levelname)-7s %(name)s: %(message)s"},
        },
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": "plain",
                "stream": "ext://sys.stdout",
            },
            "openpanel": {
                "class": "op_logging.OpenPanelHandler",
                "client_id": _CLIENT_ID,
                "client_secret": _CLIENT_SECRET,
                "api_url": api_url,
                "global_properties": {"app": "shop"},
                "counter_interval": 0.2,  # the stand-in writes profiles at once, unlike the server
            },
        },
        "root": {"level": "INFO", "handlers": ["console", "openpanel"]},
    }


def shop() -> None:
    """Do what a shop does, and log it: with the standard library and with structlog."""
    logger = logging.getLogger("shop")
    basket = structlog.get_logger("shop.basket")

    logger.info("Starting")
    logger.info(
        "Ada signed up",
        extra={"event": Identify("ada", first_name="Ada", email="ada@example.com")},
    )
    basket.info("Added to basket", _event="basket_add", profile_id="ada", item="teapot", price=18.5)
    basket.info("Looked at a price list", items=12)
    logger.info(
        "Order paid",
        extra={
            "event": "order_paid",
            "profile_id": "ada",
            "total": Decimal("42.50"),
            "lines": [{"sku": "teapot", "count": 2}, {"sku": "cup", "count": 1}],
            "ip": "81.2.69.160",
        },
    )
    logger.info("Revenue", extra={"event": Revenue(4250, profile_id="ada")})
    logger.info("One more order", extra={"event": Increment("ada", "orders")})
    logger.warning("Odd search", extra={"event": "search ../../etc/passwd", "profile_id": "ada"})


def run_demo(out: TextIO | None = None) -> int:
    """Run the demo; return the exit status: 0 if all that should arrive arrived.

    Args:
        out: Where to print; default: standard output.
    """
    from .inspector import InspectorServer  # noqa: PLC0415 - needs the extra

    out = out or sys.stdout
    with InspectorServer(client_id=_CLIENT_ID, client_secret=_CLIENT_SECRET) as server:
        print(f"A stand-in for OpenPanel's server listens on {server.url}.\n", file=out)
        print("The shop runs. Its console shows what it always showed:", file=out)
        logging.config.dictConfig(logging_config(server.url))
        structlog.configure(
            processors=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.render_to_log_kwargs,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
        )
        shop()
        delivered = flush(timeout=10)
        handler = next(h for h in logging.getLogger().handlers if isinstance(h, OpenPanelHandler))
        stats = handler.stats()
        handler.client.close(timeout=2)
        _report(server.store, stats, out)
    return 0 if delivered and (stats.delivered, stats.rejected) == (5, 1) else 1


def _report(store: Store, stats: DeliveryStats, out: TextIO) -> None:
    print("\nStored events:", file=out)
    for event in store.events:
        who = f" of {event.profile_id}" if event.profile_id else ""
        money = f", revenue {event.revenue}" if event.revenue is not None else ""
        print(f"  {event.name}{who}{money}", file=out)
        for key, value in event.properties.items():
            print(f"      {key} = {value}", file=out)
    print("Stored profiles:", file=out)
    for profile in store.profiles.values():
        print(f"  {profile.id}: {profile.first_name}, {profile.email}", file=out)
        for key, value in profile.properties.items():
            print(f"      {key} = {value}", file=out)
    print("Refused:", file=out)
    for call in store.refused:
        print(f"  {call.type} {call.name!r}: {call.message} ({call.status})", file=out)
    print(
        f"\nStatistics: {stats.accepted} accepted = {stats.delivered} delivered + "
        f"{stats.rejected} rejected {dict(stats.reasons)} + {stats.dropped} dropped + "
        f"{stats.queued + stats.in_flight} waiting",
        file=out,
    )
    print(_NEXT_STEPS, file=out)


_NEXT_STEPS = """
To connect it to your account, take a client's id and secret from your project's settings in
OpenPanel, and:

    export OPENPANEL_CLIENT_ID=...  OPENPANEL_CLIENT_SECRET=...

    import logging, op_logging
    logging.basicConfig(level=logging.INFO)
    logging.getLogger().addHandler(op_logging.OpenPanelHandler())
    logging.info("Hello", extra={"event": "hello"})

Your own server, or this stand-in (op-logging inspect): export OPENPANEL_API_URL=http://..."""
