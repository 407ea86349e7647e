"""What op_logging is held against: other ways to post the same bodies to the same server."""

from __future__ import annotations

import http.client
import queue
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import requests
import requests.adapters

from .events import CLIENT_ID, SECRET, NotDeliveredError
from .loopback import Server

__all__ = ["Pool", "http_client", "pool", "session"]

_HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": "benchmarks/1.0.0",
    "openpanel-client-id": CLIENT_ID,
    "openpanel-client-secret": SECRET,
    "openpanel-sdk-name": "benchmarks",
    "openpanel-sdk-version": "1.0.0",
}
_TIMEOUT = 15.0
_PATIENCE = 60.0


class HttpClient:
    """One kept-alive connection of the standard library's ``http.client``."""

    def __init__(self, server: Server) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_TIMEOUT)
        if server.authority is not None:
            secure = ssl.create_default_context(cafile=str(server.authority))
            self._connection = http.client.HTTPSConnection(
                "127.0.0.1", server.port, timeout=_TIMEOUT, context=secure
            )

    def post(self, body: bytes) -> None:
        """Post a body and read the answer."""
        self._connection.request("POST", "/track", body, _HEADERS)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise NotDeliveredError(str(answer.status))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Session:
    """One kept-alive connection of ``requests.Session``, used as its documentation shows."""

    def __init__(self, server: Server) -> None:
        self._session = requests.Session()
        self._url = f"{server.url}/track"

    def post(self, body: bytes) -> None:
        """Post a body and read the answer."""
        answer = self._session.post(self._url, data=body, headers=_HEADERS, timeout=_TIMEOUT)
        answer.raise_for_status()

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


@contextmanager
def http_client(server: Server) -> Iterator[HttpClient]:
    """Give a connection of ``http.client`` that is open already."""
    client = HttpClient(server)
    try:
        client.post(b"{}")
        yield client
    finally:
        client.close()


@contextmanager
def session(server: Server) -> Iterator[Session]:
    """Give a session that has a connection open already."""
    client = Session(server)
    try:
        client.post(b"{}")
        yield client
    finally:
        client.close()


class Pool:
    """Threads that post what is put into a queue, each over a connection of its own.

    They use the cheapest part of ``requests`` that still does the work: an ``HTTPAdapter``, and a
    request that is prepared once.
    """

    def __init__(self, server: Server, threads: int) -> None:
        self._url = f"{server.url}/track"
        self._bodies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._put = 0
        self._threads = [
            threading.Thread(target=self._run, name=f"pool-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def put(self, body: bytes) -> None:
        """Hand over a body."""
        self._put += 1
        self._bodies.put(body)

    @property
    def waiting(self) -> int:
        """How many bodies have no answer yet."""
        return self._put - self._answers.qsize()

    def flush(self) -> None:
        """Wait until everything has arrived."""
        deadline = time.monotonic() + _PATIENCE
        try:
            while self._put:
                status = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
                self._put -= 1
                if status != 200:
                    raise NotDeliveredError(str(status))
        except queue.Empty:
            raise NotDeliveredError(f"{self._put} bodies wait in the pool") from None

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._bodies.put(None)
        for thread in self._threads:
            thread.join(_PATIENCE)

    def _run(self) -> None:
        adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=1)
        request = requests.Request("POST", self._url, headers=_HEADERS, data=b"").prepare()
        while (body := self._bodies.get()) is not None:
            request.body = body
            request.headers["Content-Length"] = str(len(body))
            try:
                self._answers.put(adapter.send(request, timeout=_TIMEOUT).status_code)
            except requests.RequestException:
                self._answers.put(0)
        adapter.close()


@contextmanager
def pool(server: Server, threads: int) -> Iterator[Pool]:
    """Give a pool of threads; at the end everything put into it has to have arrived."""
    running = Pool(server, threads)
    try:
        yield running
        running.flush()
    finally:
        running.close()
