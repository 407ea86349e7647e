"""Hiding properties: which ones, and what stands in their place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._patterns import Patterns

__all__ = ["HIDDEN", "Redaction"]

HIDDEN = "(redacted)"
"""What stands in place of a value. A leading bracket would make the server take it for JSON."""

_KEPT = frozenset({"__timestamp", "__revenue"})
"""What makes a call what it is: a pattern such as ``*`` does not mean it."""


class Redaction:
    """Hides the values of properties, at any depth, by their names.

    Args:
        names: Names or patterns such as ``*_token``; upper and lower case are the same.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._hides = Patterns(names, ignore_case=True)

    def apply(self, payload: dict[str, Any]) -> None:
        """Hide what is to be hidden among the properties of a call."""
        properties = payload.get("properties")
        if isinstance(properties, dict):
            payload["properties"] = self._of(properties)

    def _of(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: HIDDEN if self._hides(key) and key not in _KEPT else self._of(item)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self._of(item) for item in value]
        return value
