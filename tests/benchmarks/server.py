"""The far side of the benchmarks: a quick HTTP server on loopback, in a process of its own.

Started by path by `benchmarks.loopback`, so it imports nothing but the standard library. It takes
every POST and answers as OpenPanel's server does, after ``delay`` seconds if it is told so, which
holds up no other request. It says its port on the first line of its output; on its input it takes
these commands, one a line, and it ends where its input ends::

    reset           forget what came in so far; connections that are open stay open
    delay SECONDS   wait so long before each answer
    status CODE     answer with this status
    count           write a line: {"requests": …, "connections": …}
    arrivals        write a line: when each request was complete, in seconds of the monotonic clock
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import selectors
import ssl
import sys
import time
from typing import cast

_LENGTH = re.compile(rb"\r\ncontent-length:[ ]*(\d+)", re.IGNORECASE)
_BODY = (
    b'{"deviceId":"f4e5c6a7b8d90123456789abcdef0123",'
    b'"sessionId":"0f1e2d3c-4b5a-4697-8877-665544332211"}'
)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"access-control-allow-origin: *\r\n"
    b"access-control-allow-credentials: true\r\n"
    b"vary: Origin\r\n"
    b"content-type: application/json; charset=utf-8\r\n"
    b"content-length: %d\r\n"
    b"date: Mon, 24 Nov 2025 16:00:00 GMT\r\n"
    b"connection: keep-alive\r\n"
    b"keep-alive: timeout=72\r\n"
    b"\r\n%s"
) % (len(_BODY), _BODY)
_BACKLOG = 1024


class Books:
    """What came in so far, and how long to wait before an answer."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.answer = _ANSWER
        self.reset()

    def reset(self) -> None:
        """Forget what came in."""
        self.connections = 0
        self.arrivals: list[float] = []


class Connection(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._data = bytearray()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self._transport = cast("asyncio.Transport", transport)
        self._books.connections += 1

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._data += data
        while end := _end_of_request(self._data):
            del self._data[:end]
            books = self._books
            books.arrivals.append(time.monotonic())
            if books.delay:
                self._loop.call_later(books.delay, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._books.answer)


def _end_of_request(data: bytearray) -> int:
    """Return how many bytes the first request has; 0 while it is not complete."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return 0
    length = _LENGTH.search(data, 0, head)
    end = head + 4 + (int(length[1]) if length else 0)
    return end if len(data) >= end else 0


class Commands:
    """Takes the commands that come in on the standard input."""

    def __init__(self, books: Books, over: asyncio.Event) -> None:
        self._books = books
        self._over = over
        self._text = b""

    def read(self) -> None:
        """Obey what came in; where the input ended, the server ends."""
        data = os.read(sys.stdin.fileno(), 4096)
        if not data:
            self._over.set()
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            self._obey(*line.decode().split())

    def _obey(self, command: str, *arguments: str) -> None:
        books = self._books
        if command == "reset":
            books.reset()
        elif command == "delay":
            books.delay = float(arguments[0])
        elif command == "status":
            books.answer = _ANSWER.replace(b" 200 OK", f" {arguments[0]} Status".encode())
        elif command == "count":
            _say({"requests": len(books.arrivals), "connections": books.connections})
        elif command == "arrivals":
            _say(books.arrivals)


def _say(found: object) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


async def serve(certificate: str | None) -> None:
    """Serve until the input ends; over TLS with a certificate, a file of PEM."""
    secure = None
    if certificate is not None:
        secure = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secure.load_cert_chain(certificate)
    books, over = Books(), asyncio.Event()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(books), "127.0.0.1", 0, ssl=secure, backlog=_BACKLOG
    )
    loop.add_reader(sys.stdin.fileno(), Commands(books, over).read)
    _say(server.sockets[0].getsockname()[1])
    await over.wait()


def main() -> None:
    """Run the server."""
    # epoll and poll count in milliseconds, which is too coarse for the answer times here.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(serve(sys.argv[1] if len(sys.argv) > 1 else None))


if __name__ == "__main__":
    main()
