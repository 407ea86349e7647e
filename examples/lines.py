"""Events as lines of JSON on standard output, for a collector that ships them."""

from __future__ import annotations

import logging
import sys

from op_logging import EventFilter, OpenPanelFormatter


def main() -> None:
    """Write one line for the event, and none for the other record."""
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(EventFilter())
    handler.setFormatter(OpenPanelFormatter(static_fields={"app": "shop"}))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logger = logging.getLogger("shop")
    logger.info("Order paid", extra={"event": "order_paid", "profile_id": "ada", "total": 42})
    logger.info("Not an event")


if __name__ == "__main__":
    main()
