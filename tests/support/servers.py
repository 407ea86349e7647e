"""Application servers as child processes: real ones, on loopback, stopped by their own id."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .clients import CLIENT_ID, SECRET
from .programs import PREAMBLE
from .waiting import wait_until

__all__ = ["APPLICATION", "Server", "ask_all", "get", "needs", "serve", "tool"]

APPLICATION = f"""{PREAMBLE}
log("imported")
def application(environ, start_response):
    log("request " + environ["PATH_INFO"].strip("/"), pid=os.getpid())
    body = str(os.getpid()).encode()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]
"""
"""A WSGI application that logs an event when it is imported, and one for each request.

It answers with the number of its process.
"""


def tool(name: str) -> str:
    """Return where a command is: beside this Python, or on the path."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or name


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip tests where a command or module is missing, but not in CI, where all are installed."""
    missing = [
        name
        for name in names
        if importlib.util.find_spec(name) is None and shutil.which(tool(name)) is None
    ]
    return pytest.mark.skipif(
        bool(missing) and not os.environ.get("CI"),
        reason=f"needs {', '.join(missing)}: install the extra 'servers', and redis-server",
    )


class Server:
    """A server process that writes to its standard error.

    Attributes:
        process: The process.
        lines: What it wrote so far.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    @property
    def text(self) -> str:
        """What it wrote so far, as one text."""
        return "".join(self.lines)

    def wait_for_line(self, pattern: str, within: float = 30.0) -> str:
        """Wait until it has written what matches; return the first group, or all of it."""
        wait_until(lambda: re.search(pattern, self.text), within, f"{pattern} in {self.text}")
        found = re.search(pattern, self.text)
        assert found is not None
        return found.group(1) if found.groups() else found.group()

    def stop(self, how: signal.Signals = signal.SIGTERM, within: float = 30.0) -> int:
        """Tell it to end, and wait until it has."""
        self.process.send_signal(how)
        try:
            return self.process.wait(within)
        finally:
            self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()


@contextmanager
def serve(
    folder: Path, api_url: str, command: list[str], code: str = APPLICATION, **options: str
) -> Iterator[Server]:
    """Run a server in a folder with an application ``shop`` in it."""
    (folder / "shop.py").write_text(textwrap.dedent(code))
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "HOME": str(folder),
        "OPENPANEL_CLIENT_ID": CLIENT_ID,
        "OPENPANEL_CLIENT_SECRET": SECRET,
        "OPENPANEL_API_URL": api_url,
        **{f"OPENPANEL_{name.upper()}": value for name, value in options.items()},
    }
    server = Server(
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )
    try:
        yield server
    finally:
        server._end()


def get(url: str) -> str:
    """Ask a server on loopback."""
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - its own address
        return str(answer.read().decode())


def ask_all(url: str, workers: int, at_least: int = 30) -> Counter[str]:
    """Make requests until so many workers have answered; return the names of their events.

    A server that is stopped while a worker still starts may hang (gunicorn 27 with gevent).
    """
    answered: set[str] = set()
    deadline = time.monotonic() + 30
    number = 0
    while number < at_least or len(answered) < workers:
        assert time.monotonic() < deadline, answered
        answered.add(get(f"{url}/{number}"))
        number += 1
    return Counter(f"request {each}" for each in range(number))
