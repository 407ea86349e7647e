"""The options: one table, one place where each is read, checked and explained.

Keyword beats environment (``OPENPANEL_`` and the name in capitals) beats default. The secret
shows in no error, no repr and no notice.
"""

from __future__ import annotations

import difflib
import importlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, TypedDict
from urllib.parse import urlsplit

__all__ = ["ConfigurationError", "OpenPanelConfig", "Options", "import_dotted"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_LONGEST_SHOWN = 80
_LARGEST = 1e9
_NOT_IN_URL = frozenset("?#\\ ")


class ConfigurationError(ValueError):
    """An option that is unknown, or has a value that is not allowed.

    Names the option, where it came from, the value and what is allowed.
    """


class _NotAllowedError(Exception):
    """A value that an option does not take."""


class Options(TypedDict, total=False):
    """The keywords that handler, processor and client take beside the credentials."""

    api_url: str | None
    enabled: bool | str | None
    event_key: str | None
    marker: str | None
    global_properties: Mapping[str, Any] | str | None
    flush_interval: float | str | None
    batch_size: int | str | None
    max_connections: int | str | None
    queue_size: int | str | None
    overflow: str | None
    max_event_bytes: int | str | None
    timeout: float | str | tuple[float, float] | list[float] | None
    max_backoff: float | str | None
    max_age: float | str | None
    retry_ambiguous: bool | str | None
    shutdown_timeout: float | str | None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.strip().isascii():
        raise _NotAllowedError
    if not value.strip().isprintable():
        raise _NotAllowedError
    return value.strip()


def _key(value: object) -> str:
    text = _text(value)
    if text in vars(logging.makeLogRecord({})) or text in {"message", "asctime"}:
        raise _NotAllowedError
    return text


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _TRUE | _FALSE:
        return value.strip().lower() in _TRUE
    raise _NotAllowedError


def _number(value: object) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise _NotAllowedError from None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _NotAllowedError
    if not abs(value) <= _LARGEST:  # so is NaN, and an integer too long for a float
        raise _NotAllowedError
    return float(value)


def _seconds(*, above: float = -1.0) -> Callable[[object], float]:
    def parse(value: object) -> float:
        number = _number(value)
        if number < 0 or number <= above:
            raise _NotAllowedError
        return number

    return parse


def _count(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        number = _number(value)
        if not number.is_integer() or not least <= number <= most:
            raise _NotAllowedError
        return int(number)

    return parse


def _timeouts(value: object) -> tuple[float, float]:
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    parts = list(value) if isinstance(value, (list, tuple)) else [value, value]
    if len(parts) != 2:
        raise _NotAllowedError
    connect, answer = (_seconds(above=0.0)(part) for part in parts)
    return connect, answer


def _choice(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise _NotAllowedError
        return value

    return parse


def _properties(value: object) -> Mapping[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _NotAllowedError from None
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _NotAllowedError
    return MappingProxyType(dict(value))


def _url(value: object) -> str:
    text = _text(value)
    try:
        parts = urlsplit(text)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise _NotAllowedError from None
    extra = parts.username is not None or not _NOT_IN_URL.isdisjoint(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or extra or not port_is_fine:
        raise _NotAllowedError
    path = parts.path.rstrip("/").removesuffix("/track").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}"


@dataclass(frozen=True)
class _Option:
    """How one option is read: its parser, what it allows in words, who uses it."""

    parse: Callable[[object], Any]
    allowed: str
    is_delivery: bool = True
    is_secret: bool = False


_FLAG = _Option(_flag, "true or false")
_OPTIONS: Mapping[str, _Option] = {
    "client_id": _Option(_text, "the id of an OpenPanel client, printable ASCII"),
    "client_secret": _Option(_text, "the client's secret, printable ASCII", is_secret=True),
    "api_url": _Option(_url, "an http or https URL without user, query and fragment"),
    "enabled": _FLAG,
    "event_key": _Option(_key, "an ASCII name that no log record has itself", is_delivery=False),
    "marker": _Option(_key, "an ASCII name that no log record has itself", is_delivery=False),
    "global_properties": _Option(
        _properties, "a mapping with texts as keys, in the environment as JSON", is_delivery=False
    ),
    "flush_interval": _Option(_seconds(), "a number of seconds, 0 or more"),
    "batch_size": _Option(_count(1, 1_000_000), "a number of events, 1 or more"),
    "max_connections": _Option(_count(1, 1_024), "a number from 1 to 1024"),
    "queue_size": _Option(_count(1, 1_000_000_000), "a number of events, 1 or more"),
    "overflow": _Option(_choice("drop_newest", "drop_oldest"), "'drop_newest' or 'drop_oldest'"),
    "max_event_bytes": _Option(_count(256, 500 * 2**20), "a number of bytes, 256 or more"),
    "timeout": _Option(
        _timeouts, "seconds above 0: one number, or two to connect and to wait for an answer"
    ),
    "max_backoff": _Option(_seconds(above=0.0), "a number of seconds above 0"),
    "max_age": _Option(_seconds(above=0.0), "a number of seconds above 0"),
    "retry_ambiguous": _FLAG,
    "shutdown_timeout": _Option(_seconds(), "a number of seconds, 0 or more"),
}


@dataclass(frozen=True, kw_only=True, repr=False)
class OpenPanelConfig:
    """All options, checked. Immutable, safe to share.

    Attributes:
        client_id: The OpenPanel client's id, a lower-case UUID. Without one nothing is sent.
        client_secret: Its secret. Without one the server refuses revenue and checks for bots.
        api_url: The server, without ``/track``.
        enabled: False: nothing is sent, and nothing is said.
        event_key: The extra that makes a record an event.
        marker: The key that marks an entry of structlog.
        global_properties: Properties of every track call.
        flush_interval: Seconds that an event waits for others at most; 0: not at all.
        batch_size: So many events leave at once, without waiting.
        max_connections: How many connections may be open at a time.
        queue_size: How many events may wait in memory.
        overflow: Which event goes when the queue is full: ``drop_newest`` or ``drop_oldest``.
        max_event_bytes: The largest body in bytes; an event with a larger one is dropped.
        timeout: Seconds to connect, and seconds to wait for an answer.
        max_backoff: The longest pause between two attempts, in seconds.
        max_age: Seconds after which an event that could not be delivered is dropped.
        retry_ambiguous: Whether a call is sent again of which nobody knows if it arrived.
        shutdown_timeout: Seconds that an exit, and ``flush()`` without a time, wait at most.

    Raises:
        ConfigurationError: If a value is not allowed.
    """

    client_id: str | None = None
    client_secret: str | None = None
    api_url: str = "https://api.openpanel.dev"
    enabled: bool = True
    event_key: str = "event"
    marker: str = "_event"
    global_properties: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    flush_interval: float = 0.5
    batch_size: int = 100
    max_connections: int = 16
    queue_size: int = 10_000
    overflow: str = "drop_newest"
    max_event_bytes: int = 65_536
    timeout: tuple[float, float] = (5.0, 15.0)
    max_backoff: float = 30.0
    max_age: float = 86_400.0
    retry_ambiguous: bool = True
    shutdown_timeout: float = 5.0

    def __post_init__(self) -> None:
        for name in _OPTIONS:
            value = getattr(self, name)
            if value is not None or name not in {"client_id", "client_secret"}:
                object.__setattr__(self, name, _parse(name, value, f"option {name}"))

    @classmethod
    def from_options(
        cls, options: Mapping[str, object], environ: Mapping[str, str] | None = None
    ) -> OpenPanelConfig:
        """Read the options from keywords and the environment.

        Args:
            options: Keywords; None means that it was not given.
            environ: Environment variables; default: those of the process. An empty one means that
                it was not given.

        Raises:
            ConfigurationError: If a keyword is unknown or a value is not allowed.
        """
        environ = os.environ if environ is None else environ
        for name in options:
            if name not in _OPTIONS:
                raise ConfigurationError(_unknown(name))
        found: dict[str, Any] = {}
        for name in _OPTIONS:
            variable = f"OPENPANEL_{name.upper()}"
            if options.get(name) is not None:
                found[name] = _parse(name, options[name], f"option {name}")
            elif environ.get(variable, "").strip():
                found[name] = _parse(name, environ[variable], f"environment variable {variable}")
        return cls(**found)

    @property
    def active(self) -> bool:
        """Whether anything can be sent at all."""
        return self.enabled and self.client_id is not None

    @property
    def track_url(self) -> str:
        """Where calls are posted to."""
        return f"{self.api_url}/track"

    def delivery_key(self) -> tuple[object, ...]:
        """Return what handlers must have in common to share a client. Hashable."""
        return tuple(getattr(self, name) for name, opt in _OPTIONS.items() if opt.is_delivery)

    def notices(self) -> tuple[tuple[str, str], ...]:
        """Return what to warn of, as kind and text; nothing while it is not enabled."""
        if not self.enabled:
            return ()
        if self.client_id is None:
            text = (
                "no client id is set: no events are sent. Set client_id or OPENPANEL_CLIENT_ID, "
                "or enabled=False to be silent"
            )
            return (("no client id", text),)
        found: list[tuple[str, str]] = []
        if self.client_secret is None:
            text = (
                "no client secret is set: the server refuses revenue and may take events for a "
                "bot's. Set client_secret or OPENPANEL_CLIENT_SECRET"
            )
            found.append(("no client secret", text))
        if not _UUID.fullmatch(self.client_id):
            text = (
                "client_id is no lower-case UUID (is it the secret?): the server will answer "
                "401. Take the id from the project's settings"
            )
            found.append(("client id", text))
        if self.api_url.startswith("http:") and not _is_loopback(self.api_url):
            text = f"{self.api_url} is not https: the client secret travels in clear"
            found.append(("plain http", text))
        return tuple(found)

    def __repr__(self) -> str:
        parts = []
        for each in fields(self):
            value = getattr(self, each.name)
            if _OPTIONS[each.name].is_secret:
                shown = "None" if value is None else "<set>"
            elif each.name == "global_properties":
                shown = f"<{len(value)} keys>"
            else:
                shown = repr(value)
            parts.append(f"{each.name}={shown}")
        return f"OpenPanelConfig({', '.join(parts)})"


def import_dotted(option: str, path: str) -> Callable[..., object]:
    """Return the callable that a dotted path names.

    Raises:
        ConfigurationError: If there is none.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module else None
    except (ImportError, AttributeError):
        found = None
    if not callable(found):
        raise ConfigurationError(
            f"option {option}={_shown(path)} is not allowed: it names nothing that can be called"
        )
    return found  # type: ignore[no-any-return]  # whatever it returns is looked at with care


def _parse(name: str, value: object, where: str) -> Any:
    option = _OPTIONS[name]
    try:
        return option.parse(value)
    except _NotAllowedError:
        hidden = option.is_secret or (name == "api_url" and "@" in _repr(value))
        shown = "<hidden>" if hidden else _shown(value)
        raise ConfigurationError(f"{where}={shown} is not allowed: use {option.allowed}") from None


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, _OPTIONS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"option {name} is unknown.{hint} Allowed are: {', '.join(sorted(_OPTIONS))}"


def _shown(value: object) -> str:
    text = _repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - the error to be told of is the option's, not this one
        return f"<{type(value).__name__}>"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
