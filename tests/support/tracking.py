"""What a dotted path in a configuration may name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_order(entry: Mapping[str, Any]) -> bool:
    """Choose the entries that are about orders."""
    return str(entry["event"]).startswith("order")
