"""Records as logging makes them, and what the formatter makes of them."""

from __future__ import annotations

import json
import logging
from typing import Any

from op_logging import OpenPanelFormatter

CREATED = 1_764_000_000.25
STAMP = "2025-11-24T16:00:00.250Z"


def record(message: str = "Paid", *arguments: object, **extra: Any) -> logging.LogRecord:
    """Return a record as ``logger.info(message, *arguments, extra=extra)`` makes it."""
    made = logging.getLogger("shop").makeRecord(
        "shop", logging.INFO, "/app/shop.py", 12, message, arguments, None, "pay", extra
    )
    made.created = CREATED
    return made


def formatted(made: logging.LogRecord, **options: Any) -> dict[str, Any]:
    """Return the call that the formatter makes of a record."""
    found = json.loads(OpenPanelFormatter(**options).format(made))
    assert isinstance(found, dict)
    return found


def properties(made: logging.LogRecord, **options: Any) -> dict[str, Any]:
    """Return its properties, without the time stamp."""
    found = dict(formatted(made, **options)["payload"]["properties"])
    assert found.pop("__timestamp") == STAMP
    return found


def unstamped(call: dict[str, Any]) -> dict[str, Any]:
    """Take the time stamp off a track call."""
    del call["payload"]["properties"]["__timestamp"]
    return call
