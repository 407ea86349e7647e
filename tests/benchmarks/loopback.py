"""The benchmarks' side of their server: starts it, tells it what to do, asks what it saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import trustme

__all__ = ["Counts", "Server", "serving", "trusting"]

_PROGRAM = Path(__file__).with_name("server.py")


@dataclass(frozen=True)
class Counts:
    """What the server has seen since it was told to start over."""

    requests: int
    connections: int


class Server:
    """A server on loopback, in a process of its own.

    Args:
        certificate: Its certificate and key, a file of PEM; None: plain HTTP.
        authority: Who has to be trusted to speak to it, a file of PEM.
    """

    def __init__(self, certificate: Path | None = None, authority: Path | None = None) -> None:
        self.authority = authority
        # Isolated: else this folder's modules would be importable by their bare names there.
        command = [sys.executable, "-I", str(_PROGRAM)]
        self._process = subprocess.Popen(
            command if certificate is None else [*command, str(certificate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:  # noqa: PYI034 - Self is in typing from 3.11 on
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.communicate()

    def start_over(self, delay: float = 0.0, status: int = 200) -> None:
        """Forget what came in, and answer so after so many seconds from now on."""
        self._tell(f"delay {delay}", f"status {status}", "reset", "count")
        self._line()  # so that what comes next is counted

    def counts(self) -> Counts:
        """Return how many requests and connections came in."""
        self._tell("count")
        return Counts(**self._line())

    def arrivals(self) -> list[float]:
        """Return when each request came in, in seconds of the monotonic clock."""
        self._tell("arrivals")
        return [float(moment) for moment in self._line()]

    def _tell(self, *commands: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{command}\n" for command in commands))
        self._process.stdin.flush()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def serving() -> Iterator[tuple[Server, Server]]:
    """Give two servers, one that speaks plain HTTP and one that speaks TLS, and end them."""
    with TemporaryDirectory() as folder:
        authority, certificate = Path(folder, "authority.pem"), Path(folder, "server.pem")
        issuer = trustme.CA()
        issuer.cert_pem.write_to_path(authority)
        issuer.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        with Server() as plain, Server(certificate, authority) as secure:
            yield plain, secure


@contextmanager
def trusting(server: Server) -> Iterator[None]:
    """Let everything that follows the environment trust the server's certificate."""
    before = os.environ.pop("REQUESTS_CA_BUNDLE", None)
    if server.authority is not None:
        os.environ["REQUESTS_CA_BUNDLE"] = str(server.authority)
    try:
        yield
    finally:
        os.environ.pop("REQUESTS_CA_BUNDLE", None)
        if before is not None:
            os.environ["REQUESTS_CA_BUNDLE"] = before
