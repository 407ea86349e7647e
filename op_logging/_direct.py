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

__all__ = ["DirectConnection", "StaleError", "Target", "UnsentError"]

_FRESH = 0.01
"""Seconds after an answer in which a connection is used again without a look whether it ended:
the look lets go of the interpreter, which is dear beside a busy thread."""
_SOON = 2.0
"""Seconds after an answer in which no server closes a connection that it means to keep."""
_DISTRUST = 60.0
"""Seconds for which connections are looked at each time after one had ended without a word."""
_LAST_LOOK = 0.05
"""Seconds for the answer of a server that reads no further."""
_TOO_SLOW = frozenset({408, 425})
_CHUNK = 64 * 1024


class UnsentError(Exception):
    """The request did not leave: it was surely not processed. The cause says why.

    Args:
        stale: Whether the connection had served before: then it says nothing of the server.
    """

    def __init__(self, *, stale: bool = False) -> None:
        super().__init__()
        self.stale = stale


class StaleError(Exception):
    """A connection that had served before ended without a byte of this answer. The cause says how.

    The server may have closed it before it read the request, or after. A new one may well do.
    """


class Target:
    """Where a client's requests go. Safe to share between threads: one attribute changes, alone.

    Args:
        host: The host's name or address.
        port: Its port.
        path: The path of the request.
        headers: The headers of every request, among them ``User-Agent``.
        context: How TLS is spoken; None: not at all.
        timeout: Seconds to connect, and to wait for an answer.

    Attributes:
        distrusted_until: Until when (monotonic clock) its connections are not taken for alive
            without a look, since some ended without a word.
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
        self.distrusted_until = 0.0
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
        self._answers = 0
        self._received = False

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
            StaleError: If nobody knows, and it is no sign that the server is in trouble.
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
                _send(connected, self._patience, request)
            else:
                self._tls.send(request)
        except OSError as error:
            refusal = self._early_refusal()
            stale = self._is_stale()
            self.close()
            if refusal is None:
                raise UnsentError(stale=stale) from error
            return refusal
        self._deadline = time.monotonic() + max(0.01, min(self._target.answer_timeout, longest))
        try:
            answer = self._read_answer()
        except BaseException as error:  # nobody knows what comes next on this connection
            stale = not isinstance(error, TimeoutError) and self._is_stale()
            self.close()
            if stale and isinstance(error, Exception):
                raise StaleError from error
            raise
        if answer.reusable:
            self._answers += 1
            self._used_at = time.monotonic()
        else:
            self.close()
        return answer

    def _is_stale(self) -> bool:
        """Tell whether a connection that was lost had served before; be careful for a while."""
        if self._received or not self._answers:
            return False
        self._target.distrusted_until = time.monotonic() + _DISTRUST
        return True

    def _read_answer(self) -> Answer:
        self._received = False
        return read_answer(self._receive_some)

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
        self._answers = 0
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
        connected, target = self._socket, self._target
        if connected is not None:
            now = time.monotonic()
            is_trusted = now >= target.distrusted_until
            if is_trusted and not careful and now - self._used_at < _FRESH:
                return connected
            # A look may come too early: what must not be lost then gets a connection of its own.
            if (is_trusted or not careful) and not self._has_ended(connected):
                return connected
            if now - self._used_at < _SOON:
                target.distrusted_until = now + _DISTRUST
            self.close()
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
                target.context,
                target.host.rstrip("."),
                partial(_send, connected, target.answer_timeout),
                self._receive,
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

    def _receive_some(self) -> bytes:
        """Return what comes next of the answer itself."""
        received = self._receive() if self._tls is None else self._tls.receive()
        if received:
            self._received = True
        return received

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


def _send(connected: socket.socket, patience: float, request: bytes) -> None:
    """Write a request to its last byte, within so many seconds."""
    sent = 0
    if _send_now is not None and type(connected) is _Socket:
        # What it did not take, and what went wrong, is found by the usual way.
        sent = max(0, _send_now(connected.fileno(), request, len(request), _NOW))
    # Each of the others may wait as long as an answer may take; all of them together no longer.
    deadline = time.monotonic() + patience
    while sent < len(request):
        if time.monotonic() >= deadline:
            raise TimeoutError
        sent += connected.send(memoryview(request)[sent:])


def _block(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")
