"""Ways in which a server answers, or does not, that are more than some bytes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

Greeting = Callable[[socket.socket, int], bool]
"""What a server does with a connection before it reads from it, and with which one it is; whether
it goes on to serve it."""


class Play(ABC):
    """An answer that is played on the connection."""

    @abstractmethod
    def play(self, connection: socket.socket, over: threading.Event) -> bool:
        """Answer one request.

        Args:
            connection: Where to.
            over: Set when the server stops.

        Returns:
            Whether the connection stays open.
        """


class Pieces(Play):
    """An answer in pieces, with a pause between them."""

    def __init__(self, *pieces: bytes, pause: float = 0.02, closes: bool = False) -> None:
        self._pieces = pieces
        self._pause = pause
        self._closes = closes

    def play(self, connection: socket.socket, over: threading.Event) -> bool:
        """Send them all."""
        for piece in self._pieces:
            connection.sendall(piece)
            over.wait(self._pause)
        return not self._closes


class Trickle(Play):
    """A beginning, and then one byte after the other for ever."""

    def __init__(self, begin: bytes, byte: bytes = b"x", pause: float = 0.02) -> None:
        self._begin = begin
        self._byte = byte
        self._pause = pause

    def play(self, connection: socket.socket, over: threading.Event) -> bool:
        """Send until the peer has had enough."""
        connection.sendall(self._begin)
        while not over.wait(self._pause):
            connection.sendall(self._byte)
        return False


class Flood(Play):
    """A beginning, and then so many bytes as fast as they go.

    Attributes:
        sent: How many were sent before the peer hung up.
    """

    def __init__(self, begin: bytes, part: bytes, size: int) -> None:
        self.sent = 0
        self._begin = begin
        self._part = part
        self._size = size

    def play(self, connection: socket.socket, over: threading.Event) -> bool:
        """Send all of it, if the peer takes all of it."""
        connection.sendall(self._begin)
        while self.sent < self._size and not over.is_set():
            connection.sendall(self._part)
            self.sent += len(self._part)
        return True


class Parting(Play):
    """An answer, after which the connection is closed, or reset, when an event is set."""

    def __init__(self, answer: bytes, when: threading.Event, *, resets: bool = False) -> None:
        self._answer = answer
        self._when = when
        self._resets = resets

    def play(self, connection: socket.socket, over: threading.Event) -> bool:
        """Send the answer and wait."""
        connection.sendall(self._answer)
        while not over.is_set() and not self._when.wait(0.05):
            pass
        if self._resets:
            reset_when_closed(connection)
        return False


def reset_when_closed(connection: socket.socket) -> None:
    """Let the close of a connection be a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def read_head(connection: socket.socket) -> bytes:
    """Read a request up to the end of its head, not much beyond it."""
    head = b""
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in head and (more := connection.recv(64)):
            head += more
    return head
