"""How the values of options are read: from keywords as they are, from the environment as texts.

Each parser returns the value, or raises `NotAllowedError`; what is allowed, in words, stands beside
it in the table of ``_config``.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import requests

__all__ = [
    "NotAllowedError",
    "choice",
    "count",
    "flag",
    "function",
    "key",
    "names",
    "properties",
    "seconds",
    "text",
    "timeouts",
    "url",
]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_LARGEST = 1e9
_NOT_IN_URL = frozenset("?#\\ ")


class NotAllowedError(Exception):
    """A value that an option does not take."""


def text(value: object) -> str:
    """Read a text of printable ASCII."""
    if not isinstance(value, str) or not value.strip() or not value.strip().isascii():
        raise NotAllowedError
    if not value.strip().isprintable():
        raise NotAllowedError
    return value.strip()


def key(value: object) -> str:
    """Read a name that no log record has itself."""
    name = text(value)
    if name in vars(logging.makeLogRecord({})) or name in {"message", "asctime"}:
        raise NotAllowedError
    return name


def flag(value: object) -> bool:
    """Read true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise NotAllowedError


def seconds(*, above: float = -1.0) -> Callable[[object], float]:
    """Return a parser of seconds, 0 or more, and more than ``above``."""

    def parse(value: object) -> float:
        found = _number(value)
        if found < 0 or found <= above:
            raise NotAllowedError
        return found

    return parse


def count(least: int, most: int) -> Callable[[object], int]:
    """Return a parser of whole numbers within bounds."""

    def parse(value: object) -> int:
        found = _number(value)
        if not found.is_integer() or not least <= found <= most:
            raise NotAllowedError
        return int(found)

    return parse


def timeouts(value: object) -> tuple[float, float]:
    """Read one time, or two."""
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    parts = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(parts) != 2:
        raise NotAllowedError
    connect, answer = (seconds(above=0.0)(part) for part in parts)
    return connect, answer


def choice(*allowed: str) -> Callable[[object], str]:
    """Return a parser of one of some texts."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise NotAllowedError
        return value

    return parse


def properties(value: object) -> Mapping[str, Any]:
    """Read a mapping, or JSON of one."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise NotAllowedError from None
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise NotAllowedError
    return MappingProxyType(dict(value))


def names(value: object) -> tuple[str, ...]:
    """Read names or patterns: a list, or a text with commas."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")]
    if isinstance(value, (bytes, Mapping)) or not isinstance(value, Iterable):
        raise NotAllowedError
    found = tuple(value)
    if not all(isinstance(name, str) and name for name in found):
        raise NotAllowedError
    return found


def function(value: object) -> Callable[..., Any]:
    """Take what can be called, or import what a dotted path names."""
    if isinstance(value, str):
        module, _, name = value.strip().rpartition(".")
        try:
            value = getattr(importlib.import_module(module), name) if module else None
        except (ImportError, AttributeError, ValueError, TypeError):
            raise NotAllowedError from None
    if not callable(value):
        raise NotAllowedError
    return value


def url(value: object) -> str:
    """Read the server's URL, without ``/track``."""
    given = text(value)
    try:
        parts = urlsplit(given)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise NotAllowedError from None
    extra = parts.username is not None or not _NOT_IN_URL.isdisjoint(given)
    if parts.scheme not in {"http", "https"} or not parts.hostname or extra or not port_is_fine:
        raise NotAllowedError
    path = parts.path.rstrip("/").removesuffix("/track").rstrip("/")
    found = f"{parts.scheme}://{parts.netloc}{path}"
    try:
        requests.Request("POST", f"{found}/track").prepare()
    except (ValueError, OSError):  # what requests raises is both
        raise NotAllowedError from None
    return found


def _number(value: object) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise NotAllowedError from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotAllowedError
    if not abs(value) <= _LARGEST:  # so is NaN, and an integer too long for a float
        raise NotAllowedError
    return float(value)
