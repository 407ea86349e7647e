"""The client: the engine's public face. It hands over, flushes, closes and counts.

One client per set of credentials and delivery options serves all handlers and processors of a
process: `OpenPanelClient.shared`. What its states are, who changes them and under which lock is
written down in ``_engine``.
"""

from __future__ import annotations

import enum
import time
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from . import _process
from ._calls import Call
from ._capture import Caller, freeze_event
from ._config import OpenPanelConfig
from ._copying import Rooted
from ._diagnostics import Diagnostics
from ._engine import Engine
from ._inbox import Inbox
from ._redaction import Redaction
from ._render import build
from ._stats import DeliveryStats

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._config import Options
    from ._rendered import Built, Captured

__all__ = ["ClientState", "OpenPanelClient", "flush"]


_NOTHING: Mapping[str, object] = {}
_common = Diagnostics()
"""What concerns all clients is said once for all of them."""


class Attached(Protocol):
    """What a handler or a processor offers to its client."""

    def look_again(self) -> None:
        """Take note of how many the client has."""


class ClientState(enum.Enum):
    """What a client is doing; see ``_engine`` for who changes it."""

    INERT = "inert"
    """Without a client id, or not enabled: it takes nothing."""
    NEW = "new"
    """Nothing was logged yet, or the process was just forked: no thread, no socket."""
    RUNNING = "running"
    """Its threads deliver."""
    CLOSED = "closed"
    """Its threads have ended. The next event opens it again."""


class OpenPanelClient(Rooted):
    """Delivers calls to OpenPanel in the background.

    Handlers and processors use a shared one; build one yourself to send calls without a log
    record. Thread-safe. After a fork the child's client starts anew; what the parent had not sent
    yet is the parent's to send.

    Args:
        client_id: The OpenPanel client's id; default: ``OPENPANEL_CLIENT_ID``. Without one the
            client is inert and says so once.
        client_secret: The client's secret; default: ``OPENPANEL_CLIENT_SECRET``.
        config: All options at once, instead of single ones.
        **options: See `OpenPanelConfig`. Keyword beats environment beats default.

    Raises:
        ConfigurationError: If an option is unknown or its value is not allowed.
    """

    _shared: dict[tuple[object, ...], OpenPanelClient] = {}  # noqa: RUF012 - one per process

    def __init__(
        self,
        client_id: str | None = None,
        client_secret: str | None = None,
        *,
        config: OpenPanelConfig | None = None,
        **options: Unpack[Options],
    ) -> None:
        given = {"client_id": client_id, "client_secret": client_secret, **options}
        self.config = config or OpenPanelConfig.from_options(given)
        self.attached = 0
        self._caller = Caller()
        self._handlers: set[weakref.ref[Attached]] = set()
        self._redaction = Redaction(self.config.redact) if self.config.redact else None
        self._diagnostics = Diagnostics()
        self._closed = False
        self._engine = Engine(self.config, self._diagnostics) if self.config.active else None
        if self._engine is not None:
            self._engine.inbox.owner = self
        for kind, text in self.config.notices():
            (_common if kind == "no client id" else self._diagnostics).say(kind, text)
        if self._engine is not None and _process.uwsgi_runs_no_threads():
            _common.say(
                "uwsgi",
                "uWSGI runs without threads: events are delivered when a worker ends, and few "
                "before. Start it with --enable-threads",
            )
        _process.enroll(self)

    @classmethod
    def shared(cls, config: OpenPanelConfig) -> OpenPanelClient:
        """Return the process's client for these credentials and delivery options."""
        key = config.delivery_key()
        # No lock: whoever makes a client may have to wait for logging's lock, to say something.
        return cls._shared.get(key) or cls._shared.setdefault(key, cls(config=config))

    def attach(self, handler: Attached) -> None:
        """Count a handler or processor for as long as it exists: a closed one may still log.

        Where there are several (``attached``), they look whether a record was sent already.
        """

        def forget(known: weakref.ref[Attached]) -> None:
            self._handlers.discard(known)
            self.attached = len(self._handlers)

        self._handlers.add(weakref.ref(handler, forget))
        self.attached = len(self._handlers)
        for known in list(self._handlers):
            other = known()
            if other is not None:
                other.look_again()

    @property
    def state(self) -> ClientState:
        """What the client is doing."""
        if self._engine is None:
            return ClientState.INERT
        if self._engine.life is not None:
            return ClientState.RUNNING
        return ClientState.CLOSED if self._closed else ClientState.NEW

    @property
    def inbox(self) -> Inbox | None:
        """Where captured events are put; None for an inert client."""
        return None if self._engine is None else self._engine.inbox

    def submit(self, call: Call) -> bool:
        """Hand over one call. Waits for no network and no lock; never raises.

        Args:
            call: A call object, such as ``Track("order_paid", profile_id="u1")``.

        Returns:
            Whether it was taken: False when the queue is full, the client is inert, the call's
            properties cannot be read, it is no call, or it comes from a hook of this package.
        """
        inbox = self.inbox
        if inbox is None:
            return False
        place = self._caller()
        try:
            if not isinstance(call, Call):
                raise TypeError
            data = (freeze_event(call), _NOTHING, time.time(), place)
        except Exception:  # noqa: BLE001 - a mapping of the caller's may do anything
            inbox.turn_away("invalid", place)
            return False
        if _process.speakers and _process.is_speaking():  # a hook of ours: it would never end
            inbox.turn_away("recursion", place)
            return False
        return inbox.put(self._build, data)

    def _build(self, data: Captured) -> Built:
        """Build the call of a call object, in the sender's thread."""
        return build(data[0], (), _NOTHING, data[2], self._redaction)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all events that came in so far are settled.

        Called while logging is being configured (``dictConfig`` flushes the handlers that it
        replaces, holding logging's lock), it does not wait, but lets delivery go on at once.

        Args:
            timeout: Seconds to wait at most, for the whole call; default: ``shutdown_timeout``. An
                exit's flushes share one ``shutdown_timeout``.

        Returns:
            Whether nothing is left: False when the time was up, or from the client's own threads.
        """
        engine = self._engine
        if engine is None:
            return True
        deadline = self._deadline(timeout)
        wait = engine.expect(deadline)
        return wait is not None and engine.wait(wait, deadline)

    def close(self, timeout: float | None = None) -> bool:
        """Flush, end the threads and close the connections. The next event opens it again.

        What is not out in time is dropped, counted as ``closed``, and said. What other threads log
        meanwhile counts as the next event.

        Args:
            timeout: Seconds for the whole call; default: ``shutdown_timeout``.

        Returns:
            Whether everything that had come in before was out.
        """
        engine = self._engine
        if engine is None:
            return True
        deadline = self._deadline(timeout)
        self._closed = True
        return engine.close(deadline)

    def stats(self) -> DeliveryStats:
        """Return what became of the events so far: an immutable snapshot that adds up."""
        return DeliveryStats() if self._engine is None else self._engine.stats()

    def hurry(self) -> None:
        """Start to deliver what waits, without waiting for it."""
        if self._engine is not None:
            self._engine.hurry()

    def flush_at_exit(self) -> None:
        """Deliver what waits, within the exit's deadline, and say what was left. For the hooks."""
        engine = self._engine
        deadline = self._deadline(None)
        wait = None if engine is None else engine.expect(deadline)
        if engine is None or (wait is not None and engine.wait(wait, deadline, last=True)):
            return
        stats = self.stats()
        left = stats.queued + stats.in_flight + stats.held
        events = "1 event" if left == 1 else f"{left} events"
        why = f"; the last error: {stats.last_error}" if stats.last_error else ""
        self._diagnostics.announce(
            f"{events} could not be delivered to {self.config.api_url} within "
            f"{self.config.shutdown_timeout:g} s before the program ended{why}"
        )

    def after_fork(self) -> None:
        """Become as good as new in a forked child. For the hooks."""
        self._closed = False
        self._diagnostics.renew()
        if self._engine is not None:
            self._engine.renew()

    def __copy__(self) -> OpenPanelClient:
        return self

    def __repr__(self) -> str:
        return f"<OpenPanelClient {self.state.value} {self.config.api_url}>"

    def _deadline(self, timeout: float | None) -> float:
        if _process.is_ours() or _process.logging_is_locked():
            return time.monotonic()
        if timeout is not None:
            return _process.deadline_after(timeout)
        return _process.deadline_by_default(self.config.shutdown_timeout)


def flush(timeout: float | None = None) -> bool:
    """Flush all clients of this process, as a serverless function does before it returns.

    Args:
        timeout: Seconds for all of them together; default: each client's ``shutdown_timeout``.

    Returns:
        Whether nothing is left.
    """
    clients = _process.members()
    for client in clients:
        client.hurry()
    deadline = None if timeout is None else _process.deadline_after(timeout)
    done = True
    for client in clients:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        done = client.flush(left) and done
    return done
