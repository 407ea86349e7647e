"""The options: one table, one place where each is read, checked and explained.

Keyword beats environment (``OPENPANEL_`` and the name in capitals) beats default. The secret
shows in no error, no repr and no notice.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any, TypedDict
from urllib.parse import urlsplit

from . import _parsing as parse
from ._copying import Value

__all__ = ["ConfigurationError", "OpenPanelConfig", "Options"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST_SHOWN = 80


class ConfigurationError(ValueError):
    """An option that is unknown, or has a value that is not allowed.

    Names the option, where it came from, the value and what is allowed.
    """


class Options(TypedDict, total=False):
    """The keywords that handler, processor and client take beside the credentials."""

    api_url: str | None
    enabled: bool | str | None
    delivery: str | None
    event_key: str | None
    marker: str | None
    global_properties: Mapping[str, Any] | str | None
    only_events: Iterable[str] | str | None
    only_loggers: Iterable[str] | str | None
    redact: Iterable[str] | str | None
    flush_interval: float | str | None
    batch_size: int | str | None
    max_connections: int | str | None
    queue_size: int | str | None
    queue_max_bytes: int | str | None
    overflow: str | None
    max_event_bytes: int | str | None
    timeout: float | str | tuple[float, float] | list[float] | None
    max_backoff: float | str | None
    max_age: float | str | None
    retry_ambiguous: bool | str | None
    counter_interval: float | str | None
    shutdown_timeout: float | str | None
    before_send: Callable[[dict[str, Any]], Mapping[str, Any] | None] | str | None
    on_drop: Callable[[dict[str, Any], str], object] | str | None


@dataclass(frozen=True)
class _Option:
    """How one option is read: its parser, what it allows in words, who uses it."""

    parse: Callable[[object], Any]
    allowed: str
    is_delivery: bool = True
    is_secret: bool = False


_FLAG = _Option(parse.flag, "true or false")
_KEY = _Option(parse.key, "an ASCII name that no log record has itself", is_delivery=False)
_NAMES = _Option(
    parse.names,
    "a list of names or patterns such as 'order_*', in the environment with commas",
    is_delivery=False,
)
_FUNCTION = _Option(parse.function, "what can be called, or the dotted path of it")
_FROM_0 = _Option(parse.seconds(), "a number of seconds, 0 or more")
_ABOVE_0 = _Option(parse.seconds(above=0.0), "a number of seconds above 0")
_EVENTS = _Option(parse.count(1, 1_000_000_000), "a number of events, 1 or more")
_OPTIONS: Mapping[str, _Option] = {
    "client_id": _Option(parse.text, "the id of an OpenPanel client, printable ASCII"),
    "client_secret": _Option(parse.text, "the client's secret, printable ASCII", is_secret=True),
    "api_url": _Option(parse.url, "an http or https URL without user, query and fragment"),
    "enabled": _FLAG,
    "delivery": _Option(parse.choice("http", "log"), "'http' or 'log'"),
    "event_key": _KEY,
    "marker": _KEY,
    "global_properties": _Option(
        parse.properties,
        "a mapping with texts as keys, in the environment as JSON",
        is_delivery=False,
    ),
    "only_events": _NAMES,
    "only_loggers": _NAMES,
    "redact": _NAMES,
    "flush_interval": _FROM_0,
    "batch_size": _EVENTS,
    "max_connections": _Option(parse.count(1, 1_024), "a number from 1 to 1024"),
    "queue_size": _EVENTS,
    "queue_max_bytes": _Option(parse.count(1_024, 10**9), "a number of bytes, 1024 or more"),
    "overflow": _Option(
        parse.choice("drop_newest", "drop_oldest"), "'drop_newest' or 'drop_oldest'"
    ),
    "max_event_bytes": _Option(parse.count(256, 500 * 2**20), "a number of bytes, 256 or more"),
    "timeout": _Option(
        parse.timeouts, "seconds above 0: one number, or two to connect and to wait for an answer"
    ),
    "max_backoff": _ABOVE_0,
    "max_age": _ABOVE_0,
    "retry_ambiguous": _FLAG,
    "counter_interval": _FROM_0,
    "shutdown_timeout": _FROM_0,
    "before_send": _FUNCTION,
    "on_drop": _FUNCTION,
}
_MAY_BE_NONE = frozenset({"client_id", "client_secret", "before_send", "on_drop"})


@dataclass(frozen=True, kw_only=True, repr=False)
class OpenPanelConfig(Value):
    """All options, checked. Immutable, safe to share.

    Attributes:
        client_id: The OpenPanel client's id, a lower-case UUID. Without one nothing is sent.
        client_secret: Its secret. Without one the server refuses revenue and checks for bots.
        api_url: The server, without ``/track``.
        enabled: False: nothing is sent, and nothing is said.
        delivery: ``http``: calls are posted. ``log``: each is written to the logger
            ``op_logging.calls`` instead, at INFO, as the formatter writes it; needs no credentials.
        event_key: The extra that makes a record an event.
        marker: The key that marks an entry of structlog.
        global_properties: Properties of every track call.
        only_events: Names or patterns of the events that a handler takes; other calls go by
            their type, such as ``identify``. None given: all.
        only_loggers: Names or patterns of the loggers that a handler takes records of; a name
            stands for the loggers below it, too. None given: all.
        redact: Names or patterns of properties whose values are hidden, at any depth.
        flush_interval: Seconds that an event waits for others at most; 0: not at all.
        batch_size: So many events leave at once, without waiting.
        max_connections: How many connections may be open at a time.
        queue_size: How many events may wait in memory.
        queue_max_bytes: How many bytes their bodies may have. They are counted when they are
            rendered, some milliseconds after the log call.
        overflow: Which event goes when the queue is full: ``drop_newest`` or ``drop_oldest``.
        max_event_bytes: The largest body in bytes; an event with a larger one is dropped.
        timeout: Seconds to connect, and seconds to wait for an answer.
        max_backoff: The longest pause between two attempts, in seconds.
        max_age: Seconds after which an event that could not be delivered is dropped.
        retry_ambiguous: Whether a call is sent again of which nobody knows if it arrived.
        counter_interval: Seconds for which increments and decrements are summed, and between two
            calls that write the same profile: the server, which writes its profiles every 10
            seconds, loses what comes closer together. 0: each is sent as it is logged.
        shutdown_timeout: Seconds that an exit, and ``flush()`` without a time, wait at most.
        before_send: Called with each call as a dict, as the formatter writes it, before it is
            sent; returns it, changed or not, or None to drop it. In the sender's thread.
        on_drop: Called with each call that is lost, and the reason. In the sender's thread.

    Raises:
        ConfigurationError: If a value is not allowed.
    """

    client_id: str | None = None
    client_secret: str | None = None
    api_url: str = "https://api.openpanel.dev"
    enabled: bool = True
    delivery: str = "http"
    event_key: str = "event"
    marker: str = "_event"
    global_properties: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    only_events: tuple[str, ...] = ()
    only_loggers: tuple[str, ...] = ()
    redact: tuple[str, ...] = ()
    flush_interval: float = 0.5
    batch_size: int = 100
    max_connections: int = 16
    queue_size: int = 10_000
    queue_max_bytes: int = 64 * 2**20
    overflow: str = "drop_newest"
    max_event_bytes: int = 65_536
    timeout: tuple[float, float] = (5.0, 15.0)
    max_backoff: float = 30.0
    max_age: float = 86_400.0
    retry_ambiguous: bool = True
    counter_interval: float = 12.0
    shutdown_timeout: float = 5.0
    before_send: Callable[[dict[str, Any]], Mapping[str, Any] | None] | None = None
    on_drop: Callable[[dict[str, Any], str], object] | None = None

    def __post_init__(self) -> None:
        for name in _OPTIONS:
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
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
        return self.enabled and (self.client_id is not None or self.delivery == "log")

    @property
    def track_url(self) -> str:
        """Where calls are posted to."""
        return f"{self.api_url}/track"

    def delivery_key(self) -> tuple[object, ...]:
        """Return what handlers must have in common to share a client. Hashable."""
        values = [getattr(self, name) for name, opt in _OPTIONS.items() if opt.is_delivery]
        return tuple(value if isinstance(value, Hashable) else id(value) for value in values)

    def notices(self) -> tuple[tuple[str, str], ...]:
        """Return what to warn of, as kind and text; nothing while it is not enabled."""
        if not self.enabled or self.delivery == "log":
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


def _parse(name: str, value: object, where: str) -> Any:
    option = _OPTIONS[name]
    try:
        return option.parse(value)
    except parse.NotAllowedError:
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
