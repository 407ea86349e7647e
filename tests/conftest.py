"""What every test gets: a clean environment, and a look at what it left behind."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

from op_logging import OpenPanelClient, _client, _process
from support.scripted_server import ScriptedServer

# A busy machine is no failure of the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


@pytest.fixture(autouse=True)
def clean_environ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the options and proxies of whoever runs the tests out of the environment."""
    for name in list(os.environ):
        if name.startswith("OPENPANEL_") or name.lower() in _PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _clean_logging() -> Iterator[None]:
    """Put logging back as it was: handlers of the root logger, and what a test disabled."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
    root.setLevel(level)
    logging.getLogger("op_logging").disabled = False


@pytest.fixture(autouse=True)
def _no_clients_left() -> Iterator[None]:
    """End the clients that handlers of a test share, so that none goes on beside the next test."""
    yield
    for client in _process.members():
        if isinstance(client, OpenPanelClient):
            client.close(0)
    OpenPanelClient._shared.clear()
    _client._common.renew()


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind which would keep a program from ending."""
    before = set(threading.enumerate())
    yield
    left = [each for each in threading.enumerate() if each not in before and not each.daemon]
    assert left == []


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that takes everything."""
    with ScriptedServer() as running:
        yield running
