"""Names and patterns, as options give them: ``order_*`` matches ``order_paid``."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

__all__ = ["Patterns"]

_MOST_REMEMBERED = 10_000


class Patterns:
    """Tells whether a name matches one of some patterns. Thread-safe; remembers what it found.

    Args:
        patterns: Names, or patterns with ``*``, ``?`` and ``[…]`` as in the shell.
        ignore_case: Whether upper and lower case are the same.
        with_children: Whether a name also stands for the names below it, after a dot.
    """

    def __init__(
        self, patterns: Iterable[str], *, ignore_case: bool = False, with_children: bool = False
    ) -> None:
        translated = [fnmatch.translate(pattern) for pattern in patterns]
        if with_children:
            translated += [fnmatch.translate(f"{pattern}.*") for pattern in patterns]
        self._matches = re.compile("|".join(translated), re.IGNORECASE if ignore_case else 0).match
        self._found: dict[str, bool] = {}

    def __call__(self, name: str) -> bool:
        """Tell whether a name matches."""
        found = self._found.get(name)
        if found is None:
            found = self._matches(name) is not None
            if len(self._found) < _MOST_REMEMBERED:  # names may come from outside, without an end
                self._found[name] = found
        return found
