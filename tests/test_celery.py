"""Under Celery, with a real Redis between: its workers run no exit hooks, and send a signal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from support.programs import PREAMBLE
from support.scripted_server import ScriptedServer
from support.servers import needs, serve, tool
from support.waiting import wait_until

pytestmark = needs("celery", "redis", "redis-server", "gevent")

TASKS = 40
APPLICATION = f"""{PREAMBLE}
from celery import Celery
app = Celery("shop", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.broker_connection_retry_on_startup = True
log("imported")
@app.task
def pay(number):
    log("paid " + str(number), pid=os.getpid())
    return number
"""
CALLER = """
import shop
results = [shop.pay.delay(number) for number in range(int(__import__("sys").argv[1]))]
for result in results:
    result.get(timeout=60)
"""


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the tests' own, on loopback, that writes nothing to the disk."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        [tool("redis-server"), *options, "--dir", str(tmp_path_factory.mktemp("redis"))],
        stdout=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    try:
        wait_until(answers, 20)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("flush_interval", ["0.05", "60"])
@pytest.mark.parametrize(
    "options",
    [(), ("--max-tasks-per-child", "5"), ("--pool", "threads"), ("--pool", "gevent")],
    ids=lambda options: " ".join(options) or "prefork",
)
def test_what_tasks_log_arrives_once(
    tmp_path: Path,
    server: ScriptedServer,
    redis: str,
    options: tuple[str, ...],
    flush_interval: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also of workers that end after so many tasks, and when the whole is told to end."""
    monkeypatch.setenv("BROKER", redis)
    worker = [sys.executable, "-m", "celery", "-A", "shop", "worker", "--concurrency", "2"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    with serve(
        tmp_path,
        server.url,
        [*worker, *quiet, *options],
        APPLICATION,
        flush_interval=flush_interval,
    ) as celery:
        celery.wait_for_line("ready", 60)
        subprocess.run(
            [sys.executable, "-c", CALLER, str(TASKS)],
            cwd=tmp_path,
            env={**os.environ, "OPENPANEL_ENABLED": "false"},
            check=True,
            timeout=90,
        )
        assert celery.stop(signal.SIGTERM, 60) == 0, celery.text
    found = Counter(server.names)
    assert found.pop("imported") == 1
    assert found == Counter(f"paid {number}" for number in range(TASKS)), celery.text
