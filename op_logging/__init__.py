"""Product events for OpenPanel, from the logging calls that a program already has.

::

    logger.info("Order paid", extra={"event": "order_paid", "profile_id": "u1", "total": 42})

See `OpenPanelHandler` for the standard library's logging and `OpenPanelProcessor` for structlog.
"""

from __future__ import annotations

from ._calls import (
    Alias,
    AssignGroup,
    Decrement,
    Group,
    Identify,
    Increment,
    InvalidCallError,
    Revenue,
    Track,
)
from ._client import OpenPanelClient, flush
from ._config import ConfigurationError, OpenPanelConfig
from ._formatter import EventFilter, OpenPanelFormatter
from ._handler import OpenPanelHandler
from ._stats import DeliveryStats
from ._structlog import OpenPanelProcessor
from ._version import __version__

__all__ = [
    "Alias",
    "AssignGroup",
    "ConfigurationError",
    "Decrement",
    "DeliveryStats",
    "EventFilter",
    "Group",
    "Identify",
    "Increment",
    "InvalidCallError",
    "OpenPanelClient",
    "OpenPanelConfig",
    "OpenPanelFormatter",
    "OpenPanelHandler",
    "OpenPanelProcessor",
    "Revenue",
    "Track",
    "__version__",
    "flush",
]
