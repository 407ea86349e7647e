"""The stand-in on a real socket: in a thread for tests and the demo, or in the foreground."""

from __future__ import annotations

import io
import ipaddress
import socket
import sys
import threading
from types import TracebackType
from typing import Any, TextIO

import uvicorn

from ._answers import ReceivedCall
from ._app import Inspector
from ._store import Store

__all__ = ["InspectorServer", "run"]

_KEEP_ALIVE = 72
"""Seconds after which an idle connection is closed, as the real server does."""
_PATIENCE = 5.0
_LONGEST_VALUE = 60


class InspectorServer:
    """The stand-in in a thread of its own, as a context manager.

    Args:
        inspector: What answers; default: a new one, made of ``options``.
        host: A loopback address to listen on.
        port: The port; 0: any that is free.
        **options: Those of `Inspector`.

    Raises:
        ValueError: If the host is no loopback address.
        OSError: If the port cannot be had.
    """

    def __init__(
        self,
        inspector: Inspector | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        **options: Any,
    ) -> None:
        self.inspector = inspector or Inspector(**options)
        self._socket = _listen(host, port)
        self.url = _url(self._socket)
        self._server = _server_of(self.inspector)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="op_logging-inspector"
        )

    @property
    def store(self) -> Store:
        """What came in and what was stored."""
        return self.inspector.store

    def start(self) -> InspectorServer:
        """Start to answer. Requests that come before wait at the socket."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop, and give the port back."""
        self._server.should_exit = True
        self._server.force_exit = True
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)
        self._socket.close()

    def __enter__(self) -> InspectorServer:  # noqa: PYI034 - Self is in typing from 3.11 on
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def run(host: str, port: int, inspector: Inspector, *, out: TextIO | None = None) -> None:
    """Answer in the foreground, and print each call, until Ctrl-C or SIGTERM.

    Args:
        host: A loopback address to listen on.
        port: The port; 0: any that is free.
        inspector: What answers.
        out: Where to print; default: standard output.

    Raises:
        ValueError: If the host is no loopback address.
        OSError: If the port cannot be had.
    """
    out = out or sys.stdout
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")
    listener = _listen(host, port)
    url = _url(listener)
    inspector.on_call = lambda call: print(line_of(call), file=out, flush=True)
    print(f"Listening on {url}. Point your program here:\n", file=out)
    print(f"    export OPENPANEL_API_URL={url}\n", file=out, flush=True)
    with listener:
        _server_of(inspector).run([listener])


def line_of(call: ReceivedCall) -> str:
    """Return one readable line for a call; nothing in it can control a terminal."""
    parts = [f"{call.received_at:%H:%M:%S}", call.type or "?"]
    if call.name:
        parts.append(_shown(call.name))
    payload = call.payload if isinstance(call.payload, dict) else {}
    if payload.get("profileId") is not None:
        parts.append(f"of {_shown(payload['profileId'])}")
    if call.status != 200:
        return "  ".join([*parts, f"REFUSED {call.status}: {_shown(call.message, 300)}"])
    if call.event is not None:
        parts += [f"{_shown(key)}={_shown(value)}" for key, value in call.event.properties.items()]
        if call.event.revenue is not None:
            parts.append(f"revenue={call.event.revenue}")
    parts += [f"{_shown(key)}=(dropped)" for key in call.dropped]
    return "  ".join(parts)


def _shown(value: object, longest: int = _LONGEST_VALUE) -> str:
    text = str(value)
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _listen(host: str, port: int) -> socket.socket:
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"host {host!r} is no loopback address: use 127.0.0.1, ::1 or localhost")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        words = error.strerror or str(error)
        raise OSError(f"cannot listen on {host} port {port}: {words}; try another --port") from None
    # Accepted sockets inherit it. asyncio does not set it on those of `create_server`, and an
    # answer in two pieces would wait 40 ms for the peer's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server_of(inspector: Inspector) -> uvicorn.Server:
    config = uvicorn.Config(
        inspector.app,
        interface="asgi3",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        h11_max_incomplete_event_size=64 * 1024,
    )
    return uvicorn.Server(config)
