"""A program with dictConfig: the console as always, and events for OpenPanel beside it.

Credentials come from the environment: ``OPENPANEL_CLIENT_ID``, ``OPENPANEL_CLIENT_SECRET``.
Without an account, set them to any UUID and text, start ``op-logging inspect``, and set
``OPENPANEL_API_URL=http://127.0.0.1:3333``.
"""

from __future__ import annotations

import logging
import logging.config
from decimal import Decimal

from op_logging import Identify, Increment, Revenue

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s %(name)s: %(message)s"}},
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "plain"},
        "openpanel": {
            "class": "op_logging.OpenPanelHandler",
            "global_properties": {"app": "shop"},
        },
    },
    "root": {"level": "INFO", "handlers": ["console", "openpanel"]},
}

logger = logging.getLogger("shop")


def main() -> None:
    """Do what a shop does."""
    logging.config.dictConfig(LOGGING)
    ada = Identify("ada", first_name="Ada", email="ada@example.com")
    logger.info("Ada signed up", extra={"event": ada})
    paid = {"event": "order_paid", "profile_id": "ada", "total": Decimal("42.50")}
    logger.info("Order paid", extra=paid)
    logger.info("Revenue", extra={"event": Revenue(4250, profile_id="ada")})
    logger.info("Orders of Ada", extra={"event": Increment("ada", "orders")})
    logger.info("Not an event")


if __name__ == "__main__":
    main()
