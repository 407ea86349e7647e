"""Under gunicorn: every kind of worker, with and without --preload, reloads and stops."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from support.scripted_server import Hang, ScriptedServer
from support.servers import Server, ask_all, get, needs, serve, tool
from support.waiting import wait_until

pytestmark = needs("gunicorn", "gevent")

WORKERS = 2


def command(*options: str) -> list[str]:
    """Return the command line of a gunicorn."""
    base = [tool("gunicorn"), "--bind", "127.0.0.1:0", "--workers", str(WORKERS)]
    return [*base, *options, "shop:application"]


def requests(server: Server, numbers: range) -> list[str]:
    """Make requests; return the names of the events that they log."""
    url = server.wait_for_line(r"Listening at: (http://\S+)")
    for number in numbers:
        assert get(f"{url}/{number}")
    return [f"request {number}" for number in numbers]


@pytest.mark.parametrize("flush_interval", ["0.05", "60"])
@pytest.mark.parametrize("preload", [False, True])
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_a_graceful_stop_loses_nothing_and_doubles_nothing(
    tmp_path: Path, server: ScriptedServer, kind: str, preload: bool, flush_interval: str
) -> None:
    """What the master logged is the master's to send, what a worker logged the worker's."""
    options = ["--worker-class", kind, *(["--preload"] if preload else [])]
    with serve(tmp_path, server.url, command(*options), flush_interval=flush_interval) as gunicorn:
        url = gunicorn.wait_for_line(r"Listening at: (http://\S+)")
        expected = ask_all(url, WORKERS)
        assert gunicorn.stop() == 0, gunicorn.text
    found = Counter(server.names)
    assert found.pop("imported") == (1 if preload else WORKERS)
    assert found == expected, gunicorn.text
    assert "Traceback" not in gunicorn.text


def test_a_reload_under_load(tmp_path: Path, server: ScriptedServer) -> None:
    """Old workers deliver what they logged before they go."""
    with serve(
        tmp_path, server.url, command("--worker-class", "gthread", "--threads", "2")
    ) as gunicorn:
        expected = requests(gunicorn, range(10))
        over = threading.Event()
        failed: list[Exception] = []

        def ask() -> None:
            try:
                number = 10
                while not over.is_set():
                    expected.extend(requests(gunicorn, range(number, number + 1)))
                    number += 1
            except Exception as error:  # noqa: BLE001 - shown by the test
                failed.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            for _ in range(3):
                before = gunicorn.text.count("Booting worker")
                gunicorn.process.send_signal(signal.SIGHUP)
                wait_until(
                    lambda: gunicorn.text.count("Booting worker") >= before + WORKERS,  # noqa: B023 - at once
                    30,
                )
                wait_until(lambda: gunicorn.text.count("Worker exiting") >= WORKERS, 30)
        finally:
            over.set()
            asking.join()
        assert failed == []
        assert gunicorn.stop() == 0
    found = Counter(server.names)
    del found["imported"]
    assert found == Counter(expected)


def test_workers_that_end_after_so_many_requests(tmp_path: Path, server: ScriptedServer) -> None:
    """As --max-requests has it; with a flush interval that never comes."""
    options = ["--max-requests", "5"]
    with serve(tmp_path, server.url, command(*options), flush_interval="60") as gunicorn:
        expected = requests(gunicorn, range(40))
        assert gunicorn.stop() == 0
    found = Counter(server.names)
    del found["imported"]
    assert found == Counter(expected)


def test_a_hung_api_does_not_hold_a_worker(tmp_path: Path) -> None:
    """Requests are answered, and the stop takes no longer than its time-out allows."""
    with ScriptedServer(lambda _request: Hang()) as server:
        with serve(tmp_path, server.url, command(), shutdown_timeout="1") as gunicorn:
            requests(gunicorn, range(20))
            assert gunicorn.stop(within=25) == 0
        assert "could not be delivered" in gunicorn.text
