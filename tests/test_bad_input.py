"""What nobody should do, and somebody does: odd times, closing twice, copies, hooks of forks."""

from __future__ import annotations

import copy
import logging
import math
import pickle
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import op_logging
from op_logging import (
    ConfigurationError,
    DeliveryStats,
    OpenPanelClient,
    OpenPanelConfig,
    OpenPanelFormatter,
    OpenPanelHandler,
    OpenPanelProcessor,
    Track,
)
from support.clients import CLIENT_ID, SECRET, client_of, logger_of
from support.hooks import mark
from support.programs import run
from support.records import formatted, record
from support.scripted_server import Hang, ScriptedServer
from support.waiting import wait_until

Wait = Callable[[float], bool]
WAITS = [
    "handler.flush", "handler.close", "processor.flush", "processor.close", "client.flush",
    "client.close", "op_logging.flush",
]  # fmt: skip
NONE_AT_ALL = [0, 0.0, -0.0, -1, -1e300, -math.inf, math.nan, False]
WITHOUT_AN_END = [1e300, math.inf, 10**400, 5e6]


def wait_of(name: str, client: OpenPanelClient) -> tuple[object, Wait]:
    """Return a function that waits, and whose it is: who has it must keep that."""
    of, _, what = name.partition(".")
    if of == "op_logging":
        return client, op_logging.flush
    owner: Any = client
    if of == "handler":
        owner = OpenPanelHandler(CLIENT_ID, SECRET, client=client)
    elif of == "processor":
        owner = OpenPanelProcessor(CLIENT_ID, SECRET, client=client)
    return owner, getattr(owner, what)


# Times.


@pytest.mark.parametrize("name", WAITS)
def test_no_time_at_all_does_not_wait(name: str) -> None:
    """It says whether anything is left."""
    with ScriptedServer(lambda _request: Hang()) as server, client_of(server.url) as client:
        wait_until(lambda: op_logging.flush(0), 30)  # what an earlier test's client had out
        _owner, wait = wait_of(name, client)
        assert [wait(timeout) for timeout in NONE_AT_ALL] == [True] * len(NONE_AT_ALL)
        client.submit(Track("hangs"))
        server.wait_for(1)
        began = time.monotonic()
        assert [wait(timeout) for timeout in NONE_AT_ALL] == [False] * len(NONE_AT_ALL)
        assert time.monotonic() - began < 1


@pytest.mark.parametrize("timeout", WITHOUT_AN_END, ids=str)
@pytest.mark.parametrize("name", WAITS)
def test_a_time_without_an_end_waits_for_the_end(
    name: str, timeout: float, server: ScriptedServer
) -> None:
    """Systems have a longest wait; who waits need not know it."""
    server.delay = 0.05
    with client_of(server.url) as client:
        _owner, wait = wait_of(name, client)
        client.submit(Track("one"))
        assert wait(timeout)
        assert client.stats().delivered == 1


@pytest.mark.parametrize("value", [-1, -1e300, -math.inf, math.nan, 1e300, math.inf, 10**400, ""])
@pytest.mark.parametrize(
    "name",
    ["timeout", "flush_interval", "shutdown_timeout", "max_backoff", "max_age", "counter_interval"],
)
def test_a_time_that_is_none_is_refused(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whatever takes options; the error names the option, the value and what is allowed."""
    expected = rf"option {name}=.*{re.escape(str(value)[:20])}.* is not allowed: use .*seconds"
    values: list[Any] = [value]
    if name == "timeout":
        values += [(value, 1), [1, value]]
    for given in values:
        for kind in (OpenPanelHandler, OpenPanelProcessor, OpenPanelClient):
            with pytest.raises(ConfigurationError, match=expected):
                kind(CLIENT_ID, SECRET, **{name: given})
        with pytest.raises(ConfigurationError, match=expected):
            OpenPanelConfig(**{name: given})
    if value:
        monkeypatch.setenv(f"OPENPANEL_{name.upper()}", str(value)[:300])
        with pytest.raises(
            ConfigurationError, match=f"environment variable OPENPANEL_{name.upper()}="
        ):
            OpenPanelClient(CLIENT_ID, SECRET)


@pytest.mark.parametrize("value", [0, 1e-300, 1e-9, 1e-4, 3e6, 1e9])
@pytest.mark.parametrize("name", ["flush_interval", "shutdown_timeout", "max_backoff", "max_age"])
def test_a_time_that_is_allowed_works(name: str, value: float, server: ScriptedServer) -> None:
    """However short or long it is: an event is delivered, unless it is too old at once."""
    if value == 0 and name in {"max_backoff", "max_age"}:
        with pytest.raises(ConfigurationError, match="a number of seconds above 0"):
            OpenPanelConfig.from_options({name: value})
        return
    with client_of(server.url, **{name: value}) as client:
        client.submit(Track("one"))
        assert client.flush(10)
        if name == "max_age" and value < 1:
            assert client.stats().delivered + client.stats().reasons.get("expired", 0) == 1
        else:
            assert server.names == ["one"]


@pytest.mark.parametrize("value", [3e6, 1e9, (1e9, 5), (5, 1e9)])
def test_a_long_time_for_an_answer_works(value: object, server: ScriptedServer) -> None:
    """Also one that no system's call takes as it is."""
    with client_of(server.url, timeout=value) as client:
        client.submit(Track("one"))
        assert client.flush(5), client.stats()
    assert server.names == ["one"]


@pytest.mark.parametrize("value", [1e-300, 1e-9, 1e-4])
def test_a_short_time_for_an_answer_ends(value: float) -> None:
    """It is not taken for none."""
    with ScriptedServer(lambda _request: Hang()) as server:
        with client_of(server.url, timeout=value) as client:
            client.submit(Track("one"))
            wait_until(lambda: client.stats().retried > 0)


def test_a_long_time_for_the_exit_works(tmp_path: Path, server: ScriptedServer) -> None:
    """A program that ends waits no longer than it must; one that has no time does not wait."""
    for seconds in ("1e9", "0"):
        status, _, errors = run(tmp_path, server.url, "log('one')", shutdown_timeout=seconds)
        assert status == 0
        assert (errors == "") == (seconds == "1e9")
    assert server.names[:1] == ["one"]


# Again and again, and from within.


def test_a_handler_that_is_closed_many_times(server: ScriptedServer) -> None:
    """It says each time whether all is out, and goes on sending."""
    with client_of(server.url) as client, logger_of(client) as logger:
        (handler,) = logger.handlers
        assert isinstance(handler, OpenPanelHandler)
        assert [handler.close(), handler.close(), handler.close(0)] == [True] * 3
        for number in range(10):
            logger.info("Again", extra={"event": str(number)})
            assert handler.close(5) is True
            assert handler.close() is True
            assert client.close(5) is True
            assert client.close() is True
        logger.removeHandler(handler)
        logger.addHandler(handler)
        handler.flush()
        logging.shutdown([])
    assert server.names == [str(number) for number in range(10)]


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("hook", ["before_send", "on_drop"])
def test_a_hook_that_waits_for_its_own_client_does_not_hang(
    hook: str, name: str, server: ScriptedServer
) -> None:
    """It would wait for itself. It is told at once that something is left."""
    said: list[bool] = []
    waits: list[Callable[[], bool]] = []

    def before_send(line: dict[str, Any]) -> dict[str, Any]:
        if hook == "before_send" and not said:
            said.append(waits[0]())
        return line

    def on_drop(_line: dict[str, Any], _reason: str) -> None:
        if hook == "on_drop" and not said:
            said.append(waits[0]())

    options: dict[str, Any] = {"before_send": before_send, "on_drop": on_drop}
    with client_of(server.url, max_event_bytes=500, **options) as client:
        owner, wait = wait_of(name, client)
        waits.append(wait)  # type: ignore[arg-type]  # without a time: the option's
        began = time.monotonic()
        client.submit(Track("too large", {"text": "x" * 1_000}))
        client.submit(Track("one"))
        wait_until(lambda: said)
        client.submit(Track("two"))
        assert client.flush(10), client.stats()
        assert time.monotonic() - began < 4
        stats = client.stats()
        closed = stats.reasons.get("closed", 0)
        assert stats.accepted == 3 == stats.delivered + stats.dropped
        assert closed == 0 or name == "client.close"
        assert "two" in server.names
        assert owner is not None
    if hook == "before_send":
        assert said == [False]


def test_a_hook_that_flushes_while_the_exit_delivers_does_not_hang(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """Also where no thread can be started any more, and the hook runs in the main one."""
    code = """
    import atexit
    def before_send(line):
        handler.flush()
        client.flush()
        op_logging.flush()
        return line
    client = op_logging.OpenPanelClient(before_send=before_send)
    atexit.register(lambda: client.submit(op_logging.Track("one")))
    """
    began = time.monotonic()
    status, _, errors = run(tmp_path, server.url, code, shutdown_timeout="8")
    assert (status, errors) == (0, "")
    assert time.monotonic() - began < 6
    assert server.names == ["one"]


# Copies.


@pytest.fixture
def client(server: ScriptedServer) -> Any:
    """A client of the server."""
    with client_of(server.url) as made:
        yield made


def twins(thing: Any) -> list[Any]:
    """Return copies of a thing, shallow, deep, and through a pickle."""
    pickled = [pickle.dumps(thing, protocol) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    loaded = [pickle.loads(each) for each in pickled]  # noqa: S301 - its own
    return [copy.copy(thing), copy.deepcopy(thing), *loaded]


def test_a_configuration_can_be_copied_and_pickled() -> None:
    """As an argument of a process that is spawned: it is plain values."""
    config = OpenPanelConfig(
        client_id=CLIENT_ID,
        client_secret=SECRET,
        global_properties={"app": "shop"},
        redact=("card",),
        before_send=mark,  # which is pickled by its name
    )
    for twin in twins(config):
        assert twin == config
        assert twin.delivery_key() == config.delivery_key()
        with pytest.raises(TypeError):
            twin.global_properties["app"] = "other"


def test_a_formatter_can_be_copied_and_pickled() -> None:
    """Its twins write the same lines."""
    formatter = OpenPanelFormatter(
        "%(message)s", global_properties={"app": "shop"}, redact=["card"], static_fields={"a": 1}
    )
    made = record("Paid", event="paid", card="4111", nested={"card": 1})
    expected = formatter.format(made)
    assert formatted(made)["payload"]["name"] == "paid"
    for twin in twins(formatter):
        assert twin.format(made) == expected


def test_statistics_can_be_copied_and_pickled(client: OpenPanelClient) -> None:
    """As whoever monitors several processes passes them on."""
    client.submit(Track("too large", {"text": "x" * 100_000}))
    assert client.flush(5)
    stats = client.stats()
    assert stats.reasons
    for twin in (*twins(stats), *twins(DeliveryStats())):
        assert twin in {stats.accepted: [stats], 0: [DeliveryStats()]}[twin.accepted]
        with pytest.raises(TypeError):
            twin.reasons["other"] = 1


def things(client: OpenPanelClient) -> list[Any]:
    """Return what has threads and connections behind it."""
    return [
        client,
        OpenPanelHandler(CLIENT_ID, SECRET, client=client),
        OpenPanelProcessor(CLIENT_ID, SECRET, client=client),
        OpenPanelHandler(CLIENT_ID, SECRET, api_url=client.config.api_url),
        OpenPanelProcessor(CLIENT_ID, SECRET, api_url=client.config.api_url),
    ]


def test_what_delivers_cannot_be_pickled_and_says_what_to_do(client: OpenPanelClient) -> None:
    """Threads and connections do not travel: each process makes its own."""
    for thing in things(client):
        name = type(thing).__name__
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match=rf"{name}.*process") as caught:
                pickle.dumps(thing, protocol)
            assert SECRET not in str(caught.value)
            assert "mappingproxy" not in str(caught.value)


@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy])
def test_a_copy_of_what_delivers_has_the_same_client(
    twin_of: Callable[[Any], Any], client: OpenPanelClient
) -> None:
    """An application's object that refers to a logger may be copied with all it refers to."""
    for thing in things(client):
        twin = twin_of(thing)
        if thing is client:
            assert twin is client
        else:
            assert twin.client is thing.client
            assert twin.config == thing.config


@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy])
def test_a_record_that_passes_a_handler_and_its_copy_is_sent_once(
    twin_of: Callable[[Any], Any], server: ScriptedServer, client: OpenPanelClient
) -> None:
    """As with any two handlers of one client."""
    with logger_of(client) as logger:
        (handler,) = logger.handlers
        twin = twin_of(handler)
        logger.addHandler(twin)
        logger.info("Paid", extra={"event": "paid"})
        assert client.flush(5)
        logger.removeHandler(twin)
    assert server.names == ["paid"]


# Forks.


@pytest.mark.parametrize("what", ["log('in the hook')", "log('in the hook'); handler.flush(1)"])
@pytest.mark.parametrize("before", ["log('parent before')", ""], ids=["running", "new"])
@pytest.mark.parametrize("early", [True, False], ids=["before the import", "after it"])
def test_another_packages_fork_hook_may_log(
    tmp_path: Path, server: ScriptedServer, early: bool, before: str, what: str
) -> None:
    """In the child, whichever package was imported first: hooks run in that order."""
    register = f"os.register_at_fork(after_in_child=lambda: ({what.replace(';', ',')}))"
    # A child that hangs shows where, and ends; the parent's own watch does not survive the fork.
    code = f"""
import faulthandler, logging, os, sys
watch = lambda: faulthandler.dump_traceback_later(15, exit=True)
os.register_at_fork(after_in_child=watch)
def log(name):
    logging.getLogger("shop").info(name, extra={{"event": name}})
{register if early else ""}
import op_logging
{"" if early else register}
handler = op_logging.OpenPanelHandler()
logging.basicConfig(level=logging.INFO, handlers=[handler])
{before}
child = os.fork()
if child == 0:
    log("child")
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
log("parent after")
"""
    path = tmp_path / "forks.py"
    path.write_text(code)
    restart = f"os.execv(sys.executable, [sys.executable, {str(path)!r}])"
    status, _, errors = run(tmp_path, server.url, restart, flush_interval="30")
    assert status == 0, errors
    expected = ["child", "in the hook", "parent after", *(["parent before"] if before else [])]
    assert sorted(server.names) == expected
