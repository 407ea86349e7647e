"""An HTTP server on a real socket that answers, or misbehaves, as a test tells it to."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from .misbehaving import Greeting, Play, reset_when_closed
from .waiting import wait_until


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    number: int
    connection: int
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    beside: int = 0
    """How many other requests were not answered yet when it came in."""

    @property
    def call(self) -> dict[str, Any]:
        """The body as JSON."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def name(self) -> str:
        """The name of a track call, else the call's type."""
        call = self.call
        return str(call["payload"].get("name", call["type"]))


class Hang:
    """Read the request and say nothing until the server stops."""


class Reset:
    """Read the request and reset the connection."""


class Vanish:
    """Read the request and close the connection."""


Answer = bytes | Hang | Reset | Vanish | Play
Script = Callable[[Request], Answer]


def http(
    status: int = 200,
    body: str | dict[str, Any] = "",
    headers: dict[str, str] | None = None,
) -> bytes:
    """Return an HTTP answer as bytes."""
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/plain" if isinstance(body, str) else "application/json"
    data = text.encode()
    lines = [f"HTTP/1.1 {status} Some Reason", f"content-type: {kind}"]
    lines += [f"content-length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


OK = http(200, {"deviceId": "d", "sessionId": "s"})


class ScriptedServer:
    """Serves on loopback; ``script`` decides the answer to each request.

    Attributes:
        requests: All requests in the order in which they came in.
        connections: How many connections were accepted.
        ended: How many of them are closed again.
        greeting: What to do with a connection before it is read from.
    """

    def __init__(self, script: Script | None = None, delay: float = 0.0) -> None:
        self.script: Script = script or (lambda _request: OK)
        self.delay = delay
        self.requests: list[Request] = []
        self.connections = 0
        self.ended = 0
        self.greeting: Greeting = lambda _connection, _number: True
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedServer:  # noqa: PYI034 - Self is in typing from 3.11 on
        self._run(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        with self._lock:
            sockets = [self._listener, *self._sockets]
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5.0)

    @property
    def names(self) -> list[str]:
        """The names of the requests in the order in which they came in."""
        return [request.name for request in list(self.requests)]

    def wait_for(self, requests: int, within: float = 10.0) -> None:
        """Wait until so many requests came in."""
        wait_until(
            lambda: len(self.requests) >= requests, within, f"{requests} requests: {self.names}"
        )

    def wait_until_idle(self, seconds: float = 0.1) -> None:
        """Wait until no request has come in for so long."""
        wait_until(lambda: time.monotonic() - self.requests[-1].at > seconds)

    def _run(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._sockets.append(connection)
                number = self.connections
            self._run(self._serve, connection, number)

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        try:
            if not self.greeting(connection, number):
                return
            while (request := self._read(reader, number)) is not None:
                if not self._answer(connection, request):
                    return
        except (OSError, ValueError):
            pass
        finally:
            reader.close()
            connection.close()
            with self._lock:
                self.ended += 1

    def _read(self, reader: Any, connection: int) -> Request | None:
        first = reader.readline()
        if not first:
            return None
        headers = {}
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = reader.read(int(headers.get("content-length", "0")))
        with self._lock:
            request = Request(
                number=len(self.requests) + 1,
                connection=connection,
                path=first.split()[1].decode(),
                headers=headers,
                body=body,
                at=time.monotonic(),
                beside=self._at_once,
            )
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        return request

    def _answer(self, connection: socket.socket, request: Request) -> bool:
        """Answer as the script says; return whether the connection stays open."""
        answer = self.script(request)
        if self.delay:
            self._over.wait(self.delay)
        if isinstance(answer, bytes):
            self._answered()  # before the peer can know
            connection.sendall(answer)
            return True
        try:
            if isinstance(answer, Play):
                return answer.play(connection, self._over)
            if isinstance(answer, Hang):
                self._over.wait(60.0)
            elif isinstance(answer, Reset):
                reset_when_closed(connection)
            return False
        finally:
            self._answered()

    def _answered(self) -> None:
        with self._lock:
            self._at_once -= 1
