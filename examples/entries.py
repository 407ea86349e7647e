"""A program with structlog: marked entries become events, and are rendered as always."""

from __future__ import annotations

import structlog

from op_logging import OpenPanelProcessor


def main() -> None:
    """Log an event, and something that is none."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            OpenPanelProcessor(global_properties={"app": "shop"}),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.contextvars.bind_contextvars(profile_id="ada")
    log = structlog.get_logger()
    log.info("Order paid", _event="order_paid", total=42)
    log.info("Not an event")


if __name__ == "__main__":
    main()
