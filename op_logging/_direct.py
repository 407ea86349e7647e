"""A lean kept-alive connection straight to the server: one write, one read, one answer.

Where nothing stands between (no proxy), this is what a call is sent over: a blocking socket, the
request's bytes built once, and ``http.client`` only for answers that are not plain. TLS is the
standard library's, with the context that urllib3 makes for ``requests``.

What decides whether a call may be sent again is seen here, on the socket: a request that was not
written to its last byte cannot have been processed; nor can one on a connection whose end was
seen before the first. Not thread-safe: each lane has its own connection.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from urllib3.util.wait import wait_for_read

from ._answer import Answer, read_answer
from ._tls import Tls

__all__ = ["DirectConnection", "Target", "UnsentError"]

_FRESH = 0.01
"""Seconds after an answer in which a connection is used again without a look whether it ended:
the look lets go of the interpreter, which is dear beside a busy thread."""
_LAST_LOOK = 0.05
"""Seconds for the answer of a server that reads no further."""
_TOO_SLOW = frozenset({408, 425})
_CHUNK = 64 * 1024


class UnsentError(Exception):
    """The request did not leave: it was surely not processed. The cause says why."""


class Target:
    """Where a client's requests go. Only read, so safe to share between threads.

    Args:
        host: The host's name or address.
        port: Its port.
        path: The path of the request.
        headers: The headers of every request, among them ``User-Agent``.
        context: How TLS is spoken; None: not at all.
        timeout: Seconds to connect, and to wait for an answer.
    """

    def __init__(
        self,
        host: str,
        port: int,
        path: str,
        headers: Mapping[str, str],
        context: ssl.SSLContext | None,
        timeout: tuple[float, float],
    ) -> None:
        self.host = host
        self.port = port
        self.context = context
        self.connect_timeout, self.answer_timeout = timeout
        name = host.partition("%")[0]  # a zone is this machine's own affair
        shown = f"[{name}]" if ":" in host else host
        usual = 80 if context is None else 443
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {shown}" if port == usual else f"Host: {shown}:{port}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.head = _block(lines)
        self.head_without_agent = _block(
            line for line in lines if not line.lower().startswith("user-agent:")
        )


class DirectConnection:
    """One connection. It connects when it is first used, and again when it was lost.

    Args:
        target: Where to.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._socket: socket.socket | None = None
        self._tls: Tls | None = None
        self._used_at = 0.0
        self._patience = 0.0
        self._deadline = 0.0

    def post(
        self, body: bytes, headers: Mapping[str, str], longest: float, *, careful: bool = False
    ) -> Answer:
        """Send one request and read its answer.

        Args:
            body: The request's body.
            headers: Headers of this request, on top of the target's; lower-case names.
            longest: Seconds that the caller has left; shortens the time-outs.
            careful: Whether a connection is looked at even if it was used a moment ago.

        Raises:
            UnsentError: If it surely was not processed.
            OSError: If nobody knows; `TimeoutError` if no answer came in time.
            http.client.HTTPException: If the answer was no HTTP, or none at all.
        """
        try:
            connected = self._ready(longest, careful)
            request = self._request(body, headers)
        except Exception as error:  # a host's name can fail in more ways than as an OSError
            self.close()
            raise UnsentError from error
        try:
            if self._tls is None:
                _send(connected, request)
            else:
                self._tls.send(request)
        except OSError as error:
            refusal = self._early_refusal()
            self.close()
            if refusal is None:
                raise UnsentError from error
            return refusal
        self._deadline = time.monotonic() + max(0.01, min(self._target.answer_timeout, longest))
        try:
            answer = self._read_answer()
        except BaseException:  # whatever it is, nobody knows what comes next on this connection
            self.close()
            raise
        if answer.reusable:
            self._used_at = time.monotonic()
        else:
            self.close()
        return answer

    def _read_answer(self) -> Answer:
        return read_answer(self._receive if self._tls is None else self._tls.receive)

    def _early_refusal(self) -> Answer | None:
        """Return what a server said that would not read a request to its end.

        None where it said nothing, or what would leave open whether it did process it.
        """
        self._deadline = time.monotonic() + _LAST_LOOK
        try:
            answer = self._read_answer()
        except (OSError, http.client.HTTPException):
            return None
        is_refusal = 300 <= answer.status < 500 and answer.status not in _TOO_SLOW
        return answer._replace(reusable=False) if is_refusal else None

    def close(self) -> None:
        """Close the connection. It may be used again: it then connects anew."""
        connected, self._socket, self._tls = self._socket, None, None
        if connected is not None:
            with contextlib.suppress(OSError):
                connected.close()

    def _request(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        target = self._target
        if not headers:
            return b"%bContent-Length: %d\r\n\r\n%b" % (target.head, len(body), body)
        head = target.head_without_agent if "user-agent" in headers else target.head
        own = _block(f"{name}: {value}" for name, value in headers.items())
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, own, len(body), body)

    def _ready(self, longest: float, careful: bool) -> socket.socket:
        """Return a connection that was not seen to have ended."""
        connected = self._socket
        if connected is not None:
            if not careful and time.monotonic() - self._used_at < _FRESH:
                return connected
            if not self._has_ended(connected):
                return connected
            self.close()
        target = self._target
        seconds = max(0.01, min(target.connect_timeout, longest))
        connected = socket.create_connection((target.host, target.port), seconds)
        self._socket = connected
        # Each address of the host may have taken as long: what follows has a time of its own.
        self._deadline = time.monotonic() + seconds
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._patience = 0.0
        self._wait_at_most(connected, seconds)
        if target.context is not None:
            tls = Tls(
                target.context, target.host.rstrip("."), partial(_send, connected), self._receive
            )
            tls.shake_hands()
            self._tls = tls
        self._wait_at_most(connected, target.answer_timeout)
        return connected

    def _has_ended(self, connected: socket.socket) -> bool:
        """Tell whether the peer has closed a connection, or said what nobody asked for."""
        try:
            if self._tls is not None and self._tls.has_ended():
                return True
            if not wait_for_read(connected, timeout=0.0):
                return False
            return self._tls is None or self._tls.has_ended(connected.recv(_CHUNK))
        except OSError:
            return True

    def _receive(self) -> bytes:
        """Return what comes next; nothing at the end of the stream."""
        connected = self._socket
        left = self._deadline - time.monotonic()
        if left <= 0 or connected is None:
            raise TimeoutError
        self._wait_at_most(connected, left)
        try:
            return connected.recv(_CHUNK)
        except BlockingIOError:
            raise TimeoutError from None

    def _wait_at_most(self, connected: socket.socket, seconds: float) -> None:
        """Bound the waits on a socket, by the kernel where it can: Python would poll each time."""
        if seconds <= self._patience <= 1.2 * seconds + 0.1:
            return
        self._patience = 1.1 * seconds + 0.05
        if type(connected) is _Socket and _KERNEL_WAITS:
            # A struct timeval. Without one, or with a patched socket, Python has to wait.
            limit = struct.pack("ll", int(self._patience), int(self._patience % 1 * 1e6))
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            connected.settimeout(None)
        else:
            connected.settimeout(self._patience)


_Socket = socket.socket
"""Python's own class: what patches sockets later on does so under their name."""
_KERNEL_WAITS = sys.platform != "win32" and socket.socket.__module__ == "socket"


def _system_send() -> Callable[[int, bytes, int, int], int] | None:
    """Return the system's ``send``, called without giving up the interpreter; None without one.

    A thread that gives it up beside one that computes gets it back after milliseconds only. A send
    that does not wait is over in microseconds.
    """
    if not _KERNEL_WAITS:
        return None
    try:
        import ctypes  # noqa: PLC0415 - some builds of Python do without it

        send = ctypes.PyDLL(None).send
    except (ImportError, OSError, AttributeError):
        return None
    send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
    send.restype = ctypes.c_ssize_t
    found: Callable[[int, bytes, int, int], int] = send
    return found


_send_now = _system_send()
_NOW = getattr(socket, "MSG_DONTWAIT", 0) | getattr(socket, "MSG_NOSIGNAL", 0)


def _send(connected: socket.socket, request: bytes) -> None:
    """Write a request to its last byte."""
    sent = 0
    if _send_now is not None and type(connected) is _Socket:
        # What it did not take, and what went wrong, is found by the usual way.
        sent = max(0, _send_now(connected.fileno(), request, len(request), _NOW))
    if sent < len(request):
        connected.sendall(memoryview(request)[sent:])


def _block(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")
