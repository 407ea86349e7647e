"""Django's development server with autoreload: two processes, each of which configures twice."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.clients import CLIENT_ID, SECRET
from support.scripted_server import ScriptedServer
from support.servers import Server, get, needs
from support.waiting import wait_until

SETTINGS = """
import logging, logging.config, os
SECRET_KEY = "x"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "urls"
INSTALLED_APPS = ["shop.apps.ShopConfig"]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {name: {"class": "op_logging.OpenPanelHandler"} for name in ("one", "two")},
    "loggers": {"shop": {"level": "INFO", "handlers": ["two"]}},
    "root": {"level": "INFO", "handlers": ["one"]},
}
logging.config.dictConfig(LOGGING)  # as some do; Django configures again, with its own first
logging.getLogger("shop").info("Settings", extra={"event": f"settings in {os.getpid()}"})
"""
APPS = """
import logging, os
from django.apps import AppConfig
class ShopConfig(AppConfig):
    name = "shop"
    def ready(self):
        logging.getLogger("shop").info("Ready", extra={"event": f"ready in {os.getpid()}"})
"""
URLS = """
import logging, os
from django.http import HttpResponse
from django.urls import path
def view(request):
    event = f"request {request.path.strip('/')}"
    logging.getLogger("shop.views").info("Seen", extra={"event": event, "request": request})
    return HttpResponse(str(os.getpid()))
urlpatterns = [path("<int:number>", lambda request, number: view(request))]
"""
MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


def free_port() -> int:
    """Return a port that nobody listens at: ``runserver`` does not say which one it took."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def runserver(folder: Path, port: int, api_url: str) -> Iterator[Server]:
    """Run Django's development server with autoreload."""
    (folder / "shop").mkdir()
    files = {"settings": SETTINGS, "shop/__init__": "", "shop/apps": APPS, "urls": URLS}
    for name, code in {**files, "manage": MANAGE}.items():
        (folder / f"{name}.py").write_text(code)
    environment = {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        "OPENPANEL_CLIENT_ID": CLIENT_ID,
        "OPENPANEL_CLIENT_SECRET": SECRET,
        "OPENPANEL_API_URL": api_url,
        "OPENPANEL_FLUSH_INTERVAL": "0.05",
    }
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", f"127.0.0.1:{port}"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    server = Server(process)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):  # a group of its own, with its child
            os.killpg(process.pid, signal.SIGKILL)
        server._end()  # reads to the end of its output, as `serve` does


def ask(url: str) -> str:
    """Make a request as soon as somebody listens; return which process answered."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return get(url)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)  # between two looks, as in `wait_until`


@needs("django")
def test_each_event_is_sent_once_by_the_process_that_logs_it(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """Those of settings and of ``ready()`` by the reloader as well as by the server it starts."""
    port = free_port()
    with runserver(tmp_path, port, server.url) as django:
        first = ask(f"http://127.0.0.1:{port}/1")
        server.wait_for(5, 60)
        changed = tmp_path / "urls.py"
        os.utime(changed, (time.time() + 60, time.time() + 60))
        wait_until(lambda: (tmp_path / "urls.py").exists() and "reloading" in django.text, 30)
        server.wait_for(7, 60)  # the next child is there
        second = ask(f"http://127.0.0.1:{port}/2")
        server.wait_for(8, 30)
        os.killpg(django.process.pid, signal.SIGTERM)
        wait_until(lambda: django.process.poll() is not None, 30)
    reloader = str(django.process.pid)
    assert len({reloader, first, second}) == 3
    at_start = [
        f"{what} in {pid}" for what in ("settings", "ready") for pid in (reloader, first, second)
    ]
    assert Counter(server.names) == Counter([*at_start, "request 1", "request 2"]), django.text
    assert "Traceback" not in django.text
