"""Logging is configured again and again, by every way there is, while the program logs."""

from __future__ import annotations

import gc
import itertools
import logging
import logging.config
import logging.handlers
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import op_logging
from op_logging import OpenPanelHandler
from support.clients import CLIENT_ID, SECRET, assert_adds_up, installed
from support.scripted_server import Hang, ScriptedServer
from support.waiting import wait_until

THREADS = 4
TIMES = 20
PAUSE = 0.004
"""Seconds between two events of a thread: a thousand a second, which the server can take."""
CHILD = "reconfigured"


def handler_of(url: str, **options: Any) -> dict[str, Any]:
    """Return a handler as it stands in a configuration."""
    return {
        "class": "op_logging.OpenPanelHandler",
        "client_id": CLIENT_ID,
        "client_secret": SECRET,
        "api_url": url,
        "flush_interval": 0.01,
        "max_backoff": 0.3,
        "counter_interval": 0,
        **options,
    }


def config_of(url: str, *, root: bool = True, child: bool = True, **options: Any) -> dict[str, Any]:
    """Return a configuration with a handler on the root logger and one on a child of it."""
    names = ["one"] * root + ["two"] * child
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {name: handler_of(url, **options) for name in names},
        "loggers": {CHILD: {"level": "DEBUG", "handlers": ["two"] if child else []}},
        "root": {"level": "DEBUG", "handlers": ["one"] if root else []},
    }


def our_threads() -> list[str]:
    """Return the names of the package's threads."""
    return [each.name for each in threading.enumerate() if each.name.startswith("op_logging")]


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - as many names, whatever they are


class Orphans(logging.Handler):
    """In the place of ``logging.lastResort``: the events that logging handed to no handler at all.

    Logging takes a logger's handlers off before it puts the new ones on. What passes in between is
    lost before any handler could see it, and is no loss of ours.
    """

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep its name."""
        if hasattr(record, "event"):
            self.names.append(record.event)


class Load:
    """Threads that log events all the time, each under a name of its own.

    Attributes:
        logged: The names.
    """

    def __init__(self) -> None:
        self.logged: list[str] = []
        self.orphans = Orphans()
        self._over = threading.Event()

    @property
    def handed(self) -> list[str]:
        """The names of those events that logging gave to a handler, in order of the alphabet."""
        return sorted((Counter(self.logged) - Counter(self.orphans.names)).elements())

    def log(self, who: int) -> None:
        """Log until it is over."""
        logger = logging.getLogger(f"{CHILD}.{who}")
        for number in itertools.count():  # pytest fails a test whose thread fails
            name = f"event {who}.{number}"
            self.logged.append(name)
            logger.debug("Something", extra={"event": name, "profile_id": f"u{who}"})
            if self._over.wait(PAUSE):
                return

    def beside(self, monkeypatch: pytest.MonkeyPatch, *ways: Callable[[], None]) -> float:
        """Configure logging again and again, in turns; return the seconds of the slowest time."""
        # Not a real handler, for there is no other way to see what logging hands to none.
        monkeypatch.setattr(logging, "lastResort", self.orphans)
        threads = [threading.Thread(target=self.log, args=(who,)) for who in range(THREADS)]
        for thread in threads:
            thread.start()
        slowest = 0.0
        try:
            for configure in itertools.islice(itertools.cycle(ways), TIMES):
                before = len(self.logged)
                began = time.monotonic()
                configure()
                slowest = max(slowest, time.monotonic() - began)
                # mypy infers no type for a lambda's default, which binds the loop's value
                wait_until(lambda before=before: len(self.logged) > before + 20)  # type: ignore[misc]  # mypy: no default
        finally:
            self._over.set()
            for thread in threads:
                thread.join(10)
        return slowest


def by_dict(_path: Path, url: str) -> None:
    """Configure from a dict."""
    logging.config.dictConfig(config_of(url))


def by_file(path: Path, url: str) -> None:
    """Configure from an INI file."""
    lines = ["[loggers]", "keys=root,child", "[handlers]", "keys=one,two", "[formatters]", "keys="]
    for name in ("one", "two"):
        options = {k: v for k, v in handler_of(url).items() if k != "class"}
        lines += [f"[handler_{name}]", "class=op_logging.OpenPanelHandler", "args=()"]
        lines += [f"kwargs={options!r}"]
    lines += ["[logger_root]", "level=DEBUG", "handlers=one"]
    lines += ["[logger_child]", "level=DEBUG", "handlers=two", f"qualname={CHILD}"]
    (path / "logging.ini").write_text("\n".join(lines))
    logging.config.fileConfig(path / "logging.ini", disable_existing_loggers=False)


def by_force(_path: Path, url: str) -> None:
    """Configure the root logger by ``basicConfig``, which closes the handlers that are there."""
    options = {k: v for k, v in handler_of(url).items() if k != "class"}
    logging.getLogger(CHILD).setLevel(logging.DEBUG)
    logging.basicConfig(level=logging.DEBUG, handlers=[OpenPanelHandler(**options)], force=True)


@pytest.fixture(autouse=True)
def _no_handler_left() -> Iterator[None]:
    """Take the handlers of these tests off, and put back what they took off the root logger."""
    before = logging.getLogger().handlers[:]
    yield
    for handler in before:  # pytest's own
        logging.getLogger().addHandler(handler)
    logging.getLogger(CHILD).handlers.clear()
    logging.getLogger(CHILD).setLevel(logging.NOTSET)


@pytest.mark.parametrize("way", [by_dict, by_file, by_force])
def test_beside_a_good_server_nothing_is_lost_or_sent_twice_or_left_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: Callable[[Path, str], None]
) -> None:
    """Twenty times in a row under load, with one client all along."""
    threads, open_before = our_threads(), descriptors()
    load = Load()
    with ScriptedServer() as server:
        way(tmp_path, server.url)
        client = installed(logging.getLogger()).client
        load.beside(monkeypatch, lambda: way(tmp_path, server.url))
        assert installed(logging.getLogger()).client is client
        assert client.close(30)
        assert sorted(server.names) == load.handed
        stats = client.stats()
        assert (stats.delivered, stats.dropped) == (len(load.handed), 0)
        assert_adds_up(stats)
        assert len(load.orphans.names) < len(load.logged) / 10
        wait_until(lambda: our_threads() == threads, what=str(our_threads()))
        wait_until(lambda: server.ended == server.connections)
    wait_until(lambda: descriptors() <= open_before, what=str(descriptors()))


@contextmanager
def asking_for_loggers() -> Iterator[list[float]]:
    """Ask for new loggers all the time, as imports do; give the seconds that each took."""
    took: list[float] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(PAUSE):
            began = time.monotonic()
            logging.getLogger(f"{CHILD}.new.{len(took)}")
            took.append(time.monotonic() - began)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield took
    finally:
        over.set()
        thread.join(10)


@contextmanager
def refusing() -> Iterator[str]:
    """Give the address of a port that refuses connections, and is nobody else's meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def hanging() -> Iterator[str]:
    """Give the address of a server that never answers."""
    with ScriptedServer(lambda _request: Hang()) as server:
        yield server.url


@pytest.mark.parametrize("trouble", [hanging, refusing])
def test_beside_a_server_in_trouble_nobody_waits(
    monkeypatch: pytest.MonkeyPatch, trouble: Any
) -> None:
    """Neither who configures, nor who asks for a logger meanwhile; and what waits goes on."""
    load = Load()
    with trouble() as url:
        config = config_of(url, timeout=[2, 60])
        logging.config.dictConfig(config)
        client = installed(logging.getLogger()).client
        with asking_for_loggers() as took:
            slowest = load.beside(monkeypatch, lambda: logging.config.dictConfig(config))
        stats = client.stats()
        assert_adds_up(stats)
        assert (stats.accepted, stats.delivered, stats.dropped) == (len(load.handed), 0, 0)
        assert stats.in_flight or stats.retried
        assert slowest < 0.5
        assert len(took) > TIMES
        assert max(took) < 0.5
        client.close(0)


def test_one_record_through_two_handlers_is_sent_once_while_handlers_come_and_go(
    monkeypatch: pytest.MonkeyPatch, server: ScriptedServer
) -> None:
    """The handler moves from a logger to its parent, to both, and back, under a record's feet."""
    load = Load()
    both, root = config_of(server.url), config_of(server.url, child=False)
    child = config_of(server.url, root=False)
    logging.config.dictConfig(both)
    client = installed(logging.getLogger()).client
    turns = (child, both, root, child, root, both)
    load.beside(monkeypatch, *(partial(logging.config.dictConfig, config) for config in turns))
    assert client.close(30)
    assert [name for name, times in Counter(server.names).items() if times > 1] == []
    assert sorted(server.names) == load.handed


@pytest.mark.parametrize("child", [False, True])
def test_a_record_that_is_under_way_while_its_handler_moves_up_is_sent_once(
    server: ScriptedServer, child: bool
) -> None:
    """It has passed the only handler there was, and meets a new one on the parent."""

    class Configuring(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - any will do
            logging.config.dictConfig(config_of(server.url, child=child))

    logging.config.dictConfig(config_of(server.url, root=False))
    logger = logging.getLogger(CHILD)
    gc.collect()  # of handlers that other tests left
    logger.handlers.append(Configuring(logging.INFO))  # the second that the record passes
    logger.info("Paid", extra={"event": "order_paid"})
    assert op_logging.flush(5)
    assert server.names == ["order_paid"]


def test_handlers_of_a_configuration_share_a_client_if_their_options_are_the_same() -> None:
    """And do not where they are not."""
    config = config_of("http://127.0.0.1:9")
    config["handlers"]["apart"] = handler_of("http://127.0.0.1:9", batch_size=7)
    config["loggers"]["apart"] = {"handlers": ["apart"]}
    logging.config.dictConfig(config)
    root, child, apart = (installed(logging.getLogger(name)) for name in (None, CHILD, "apart"))
    logging.getLogger("apart").handlers.clear()
    assert root.client is child.client is not apart.client


def test_an_incremental_configuration_changes_the_level_of_the_same_handler(
    server: ScriptedServer,
) -> None:
    """It makes no new one."""
    logging.config.dictConfig(config_of(server.url, root=False))
    logger = logging.getLogger(CHILD)
    handler = installed(logger)
    logger.info("One", extra={"event": "one"})
    change = {"version": 1, "incremental": True, "handlers": {"two": {"level": "ERROR"}}}
    logging.config.dictConfig(change)
    logger.info("Two", extra={"event": "two"})
    logger.error("Three", extra={"event": "three"})
    assert installed(logger) is handler
    assert handler.flush(5)
    assert sorted(server.names) == ["one", "three"]


@pytest.mark.parametrize("hook", ["before_send", "on_drop"])
def test_a_hook_may_configure_logging(server: ScriptedServer, hook: str) -> None:
    """In the sender's thread, which closes the handlers that it delivers for."""
    configured: list[str] = []

    def configure(call: dict[str, Any], reason: str = "") -> dict[str, Any]:
        logging.config.dictConfig(config)
        configured.append(f"{call['payload']['name']}{reason}")
        return call

    options: dict[str, Any] = {hook: configure, "max_event_bytes": 500}
    config = config_of(server.url, **options)
    logging.config.dictConfig(config)
    logger = logging.getLogger(CHILD)
    for number in range(5):
        logger.info("Seen", extra={"event": f"event {number}"})
        logger.info("Huge", extra={"event": "huge", "text": "x" * 500})
        logging.config.dictConfig(config)
        assert op_logging.flush(10)
    wait_until(lambda: len(configured) >= 5)
    assert sorted(server.names) == [f"event {number}" for number in range(5)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="dictConfig makes listeners from 3.12 on")
def test_behind_a_queue_that_the_configuration_makes(server: ScriptedServer) -> None:
    """The listener is started and stopped by hand, before and after each configuration."""
    queue = {
        "class": "logging.handlers.QueueHandler",
        "queue": "queue.SimpleQueue",
        "listener": "logging.handlers.QueueListener",
        "handlers": ["one"],
        "respect_handler_level": True,
    }
    config = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"one": handler_of(server.url), "queue": queue},
        "loggers": {CHILD: {"level": "DEBUG", "handlers": ["queue"], "propagate": False}},
    }
    logger = logging.getLogger(CHILD)
    for number in range(3):
        logging.config.dictConfig(config)
        (front,) = logger.handlers
        listener = front.listener  # type: ignore[attr-defined]  # from 3.12 on
        listener.start()
        logger.info("Paid %d", number, extra={"event": f"event {number}", "total": number})
        listener.stop()
    logger.propagate = True
    assert op_logging.flush(10)
    assert sorted(server.names) == ["event 0", "event 1", "event 2"]
    assert sorted(r.call["payload"]["properties"]["total"] for r in server.requests) == [0, 1, 2]


@pytest.mark.parametrize("changed", ["address", "credentials", "both"])
def test_what_was_logged_before_goes_the_old_way(changed: str) -> None:
    """To the old address with the old credentials; what comes later goes the new way."""
    new_secret = SECRET if changed == "address" else "sec_another"
    with ScriptedServer(delay=0.05) as old, ScriptedServer() as other:
        new = old if changed == "credentials" else other
        before = config_of(old.url, flush_interval=0.3)
        after = config_of(new.url, client_secret=new_secret)
        logging.config.dictConfig(before)
        logger = logging.getLogger(CHILD)
        for number in range(10):
            logger.info("Before", extra={"event": f"before {number}"})
        logging.config.dictConfig(after)
        for number in range(10):
            logger.info("After", extra={"event": f"after {number}"})
        assert op_logging.flush(10)
        requests = [*old.requests, *(other.requests if new is other else ())]
    keys = ("openpanel-client-secret", "host")
    found = sorted((r.name, *(r.headers[key] for key in keys)) for r in requests)
    ways = {"before": (SECRET, old.port), "after": (new_secret, new.port)}
    assert found == sorted(
        (f"{when} {number}", secret, f"127.0.0.1:{port}")
        for when, (secret, port) in ways.items()
        for number in range(10)
    )
