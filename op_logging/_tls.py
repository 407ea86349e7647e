"""TLS over a socket whose waits are bounded elsewhere.

The standard library's ``ssl`` with the same verification as ever, but through memory: the socket
itself stays a plain one, so that a request costs one send and one receive. (``SSLSocket`` with a
time-out polls before each, tries to read before anything can be there, and gives up the
interpreter every time.) Not thread-safe: each connection has its own.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable

__all__ = ["Tls"]

_CHUNK = 64 * 1024


class Tls:
    """One side of a TLS connection: the client's.

    Args:
        context: How TLS is spoken, and what is trusted.
        host: Whose certificate it has to be.
        send: Writes bytes to the socket, all of them; raises OSError.
        receive: Returns what came next, nothing at the end of the stream; raises OSError.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        host: str,
        send: Callable[[bytes], None],
        receive: Callable[[], bytes],
    ) -> None:
        self._send = send
        self._receive = receive
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake_hands(self) -> None:
        """Agree with the server on how to go on, and find out that it is the right one.

        Raises:
            OSError: If it is not (`ssl.SSLError`), or the connection failed.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # tell the server why, if it still listens
                    self._send_what_is_due()
                raise
            else:
                self._send_what_is_due()
                return
            self._send_what_is_due()
            self._take_in(self._receive())

    def send(self, data: bytes) -> None:
        """Send bytes, all of them."""
        self._tls.write(data)
        self._send_what_is_due()

    def receive(self) -> bytes:
        """Return what comes next; nothing at the end of the stream."""
        while True:
            try:
                return self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                pass
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            self._send_what_is_due()
            self._take_in(self._receive())

    def has_ended(self, received: bytes | None = None) -> bool:
        """Tell whether bytes that nobody asked for are more than what TLS itself has to say.

        Args:
            received: What came since the last answer; default: what came along with it.
        """
        if received is not None:
            self._take_in(received)
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:  # a session ticket, or the like
            return False
        except ssl.SSLError:
            pass
        return True

    def _take_in(self, received: bytes) -> None:
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    def _send_what_is_due(self) -> None:
        if self._outgoing.pending:
            self._send(self._outgoing.read())
