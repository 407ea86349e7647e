"""Ways to end a program that are rarer than those of ``test_processes``, each in a real one."""

from __future__ import annotations

import socket
import textwrap
import time
from pathlib import Path

import pytest

from op_logging._process import NO_THREADS_AT_EXIT
from support.misbehaving import Trickle
from support.programs import run
from support.scripted_server import Hang, Request, ScriptedServer

# No name can be relied on to hang, or to take half a second: so the look-up is replaced.
HUNG_LOOK_UP = """
import socket, time
socket.getaddrinfo = lambda *_, **__: time.sleep(300)
"""
SLOW_LOOK_UP = """
import socket, time
look_up = socket.getaddrinfo
def slowly(host, *arguments, **options):
    time.sleep(0.5)
    return look_up("127.0.0.1", *arguments, **options)
socket.getaddrinfo = slowly
"""
WATCH = "import faulthandler; faulthandler.dump_traceback_later(10, exit=True)"
"""The first line of a program that might hang: it then shows where, and fails."""
NOW = "import time; print(time.monotonic(), flush=True)"
"""The last line of a program: from when on its exit is timed. All processes share this clock."""


def since(out: str) -> float:
    """Return the seconds since the program ran its last line."""
    return time.monotonic() - float(out.rsplit(maxsplit=1)[-1])


def run_as_it_is(tmp_path: Path, url: str, code: str) -> tuple[int, str, str]:
    """Run a program that decides itself when the package is imported."""
    path = tmp_path / "early.py"
    path.write_text(textwrap.dedent(code))
    return run(tmp_path, url, f"os.execv(sys.executable, [sys.executable, {str(path)!r}])")


def refused_url() -> str:
    """Return the URL of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


def test_an_exit_beside_a_look_up_that_hangs_keeps_its_deadline(tmp_path: Path) -> None:
    """A look-up has no time-out of its own; what is left is said."""
    code = "for number in range(3): log(str(number))\n" + NOW
    status, out, errors = run(
        tmp_path, "http://events.localhost:9", HUNG_LOOK_UP, code, shutdown_timeout="1"
    )
    assert status == 0
    assert since(out) < 4
    assert "3 events could not be delivered to http://events.localhost:9 within 1 s" in errors
    assert "Traceback" not in errors


@pytest.mark.skipif(
    NO_THREADS_AT_EXIT, reason="the exit looks the name up in its own thread, which nothing bounds"
)
def test_a_first_event_in_an_exit_hook_beside_a_look_up_that_hangs(tmp_path: Path) -> None:
    """It is looked up in a thread that was started at the exit."""
    code = f"{WATCH}\nimport atexit\natexit.register(log, 'late')\n{NOW}"
    status, out, errors = run(
        tmp_path, "http://events.localhost:9", HUNG_LOOK_UP, code, shutdown_timeout="1"
    )
    assert status == 0
    assert since(out) < 4
    assert "1 event could not be delivered" in errors


def test_a_name_that_is_found_slowly_delivers(tmp_path: Path, server: ScriptedServer) -> None:
    """The exit waits for it, as it waits for an answer."""
    url = f"http://events.localhost:{server.port}"
    status, _, errors = run(tmp_path, url, SLOW_LOOK_UP, "log('one'); log('two')")
    assert (status, errors) == (0, "")
    assert sorted(server.names) == ["one", "two"]


def test_a_thread_that_exits_delivers_what_it_logged(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """``sys.exit`` ends the thread alone; its status is not the program's."""
    code = """
    import threading
    def work():
        log("before")
        try:
            sys.exit(3)
        finally:
            log("on the way out")
    threading.Thread(target=work).start()
    log("main")
    """
    status, _, errors = run(tmp_path, server.url, code)
    assert (status, errors) == (0, "")
    assert sorted(server.names) == ["before", "main", "on the way out"]


@pytest.mark.parametrize("first", ["log('main')", ""], ids=["main first", "threads alone"])
def test_threads_that_outlive_the_main_one_lose_nothing(
    tmp_path: Path, server: ScriptedServer, first: str
) -> None:
    """The program ends when they do. Theirs may be the first events of all."""
    code = """
    import threading, time
    def work(index):
        threading.main_thread().join()
        for number in range(50):
            log(f"{index} {number}")
            time.sleep(0.004)
    for index in range(4):
        threading.Thread(target=work, args=(index,)).start()
    """
    status, _, errors = run(tmp_path, server.url, code, first)
    assert (status, errors) == (0, "")
    expected = [f"{index} {number}" for index in range(4) for number in range(50)]
    assert sorted(server.names) == sorted([*expected, *(["main"] if first else [])])


def test_a_daemon_thread_that_logs_into_the_very_end(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """It is stopped anywhere; what was logged before the main thread ended arrives, once."""
    code = """
    import threading, time
    logged = 0
    def work():
        global logged
        while True:
            log(f"daemon {logged}")
            logged += 1
            time.sleep(0.0005)
    threading.Thread(target=work, daemon=True).start()
    for number in range(100):
        log(f"main {number}")
        time.sleep(0.002)
    print(logged, flush=True)
    """
    for _ in range(3):
        server.requests.clear()
        status, out, errors = run(tmp_path, server.url, code, shutdown_timeout="20")
        assert (status, errors) == (0, "")
        names = set(server.names)
        assert len(names) == len(server.names)
        assert names >= {f"main {number}" for number in range(100)}
        assert int(out) > 0
        assert names >= {f"daemon {number}" for number in range(int(out))}


@pytest.mark.parametrize(
    "end", ["handler.close()", "handler.client.close()", "logging.shutdown()", "handler.flush()"]
)
def test_what_is_logged_after_an_end_arrives(
    tmp_path: Path, server: ScriptedServer, end: str
) -> None:
    """Whatever was ended, once or again; also if nothing was logged before."""
    for before in ("log('before')", ""):
        server.requests.clear()
        code = f"{before}\n{end}\n{end}\nlog('after')\n{end}\nlog('last')"
        status, _, errors = run(tmp_path, server.url, code)
        assert (status, errors) == (0, "")
        assert sorted(server.names) == sorted(["after", "last", *(["before"] if before else [])])


def test_an_exit_right_after_logging_was_configured_again(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """By the old handler and the new one alike; also when an exit hook does it."""
    code = """
    import atexit, logging.config
    def configure():
        logging.config.dictConfig({
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"openpanel": {"class": "op_logging.OpenPanelHandler"}},
            "loggers": {"shop": {"level": "INFO", "handlers": ["openpanel"]}},
        })
    def last():
        log("in a hook")
        configure()
        log("after a hook")
    atexit.register(last)
    for number in range(5):
        log(str(number))
        configure()
    log("5")
    """
    status, _, errors = run(tmp_path, server.url, code, flush_interval="30")
    assert (status, errors) == (0, "")
    assert sorted(server.names) == ["0", "1", "2", "3", "4", "5", "after a hook", "in a hook"]


@pytest.mark.parametrize("before", ["log('early')", ""], ids=["not the first", "the first ever"])
def test_hooks_registered_before_and_after_the_import_deliver(
    tmp_path: Path, server: ScriptedServer, before: str
) -> None:
    """The earlier ones run after the package's own, but before ``logging.shutdown()``."""
    code = f"""
    import atexit, logging
    def log(name):
        logging.getLogger("shop").info(name, extra={{"event": name}})
    atexit.register(log, "registered before")
    import op_logging
    atexit.register(log, "registered after")
    logging.basicConfig(level=logging.INFO, handlers=[op_logging.OpenPanelHandler()])
    {before}
    """
    status, _, errors = run_as_it_is(tmp_path, server.url, code)
    assert (status, errors) == (0, "")
    early = ["early"] if before else []
    assert sorted(server.names) == [*early, "registered after", "registered before"]


@pytest.mark.parametrize("before", ["log('early')", ""], ids=["not the first", "the first ever"])
def test_a_hook_that_runs_after_all_others_does_no_harm(
    tmp_path: Path, server: ScriptedServer, before: str
) -> None:
    """Nobody is left who would wait for its event: it may be lost, the others are not."""
    code = f"""
    import atexit
    atexit.register(lambda: log("too late"))
    import logging, op_logging
    def log(name):
        logging.getLogger("shop").info(name, extra={{"event": name}})
    logging.basicConfig(level=logging.INFO, handlers=[op_logging.OpenPanelHandler()])
    {before}
    """
    status, _, errors = run_as_it_is(tmp_path, server.url, code)
    assert (status, errors) == (0, "")
    assert set(server.names) - {"too late"} == ({"early"} if before else set())


@pytest.mark.parametrize("before", ["log('early')", ""], ids=["not the first", "the first ever"])
def test_an_event_of_a_finalizer_at_the_very_end_does_no_harm(
    tmp_path: Path, server: ScriptedServer, before: str
) -> None:
    """The interpreter is half gone, and no thread of Python's runs any more, nor could start."""
    code = f"""
    {WATCH}
    class Last:
        def __init__(self, log):
            self.log = log
        def __del__(self):
            self.log("too late")
    last = Last(log)
    {before}
    """
    status, _, errors = run(tmp_path, server.url, code)
    assert (status, errors) == (0, "")
    assert set(server.names) - {"too late"} == ({"early"} if before else set())


@pytest.mark.parametrize(
    "code",
    [
        "import weakref\nclass Thing: pass\nthing = Thing()\nweakref.finalize(thing, log, 'first')",
        "import contextlib, atexit\nstack = contextlib.ExitStack()\natexit.register(stack.close)\n"
        "stack.callback(log, 'first')",
        "import threading\nthreading.Thread("
        "target=lambda: (threading.main_thread().join(), log('first'))).start()",
        "sys.excepthook = lambda *_: log('first')\nraise RuntimeError",
    ],
    ids=["weakref.finalize", "an exit stack", "a thread", "an excepthook"],
)
def test_the_first_event_ever_may_come_from_anything_that_runs_at_the_end(
    tmp_path: Path, server: ScriptedServer, code: str
) -> None:
    """As long as somebody is left to wait for it."""
    _, _, errors = run(tmp_path, server.url, code)
    assert errors == ""
    assert server.names == ["first"]


def test_exception_hooks_that_log_and_fail(tmp_path: Path, server: ScriptedServer) -> None:
    """The threads', whose failure goes to the program's, and the program's own."""
    code = """
    import threading
    def of(what):
        def hook(*_):
            log(what)
            raise RuntimeError("the hook failed")
        return hook
    threading.excepthook, sys.excepthook = of("thread"), of("program")
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    raise ValueError("the program failed")
    """
    status, _, errors = run(tmp_path, server.url, code)
    assert status == 1
    assert "the program failed" in errors
    assert sorted(server.names) == ["program", "program", "thread"]


def test_a_hard_exit_loses_what_waits_and_does_not_hang(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """``os._exit`` runs nothing of Python's."""
    code = f"log('waits')\n{NOW}\nos._exit(4)"
    status, out, errors = run(tmp_path, server.url, code, flush_interval="30")
    assert (status, errors) == (4, "")
    assert since(out) < 4
    assert server.names == []


def test_many_clients_share_one_deadline_and_a_healthy_one_delivers(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """They were given other options, so each is a client of its own."""
    code = f"""
    from op_logging import OpenPanelClient, Track
    clients = [OpenPanelClient(batch_size=size) for size in (1, 2, 3)]
    clients.append(OpenPanelClient(api_url={server.url!r}, flush_interval=60))
    handlers = [OpenPanelHandler(client=client) for client in clients]
    for client in clients:
        assert client.submit(Track("one"))
    """
    with ScriptedServer(lambda _request: Hang()) as hung:
        status, out, errors = run(tmp_path, hung.url, code, NOW, shutdown_timeout="1")
        assert since(out) < 2.5
    assert status == 0
    assert errors.count("1 event could not be delivered") == 3
    assert server.names == ["one"]


def test_an_explicit_shutdown_of_logging_keeps_one_deadline(tmp_path: Path) -> None:
    """It flushes each handler, and then closes it: that is one wait, not two, nor one for each."""
    code = """
    import time
    from op_logging import OpenPanelClient, Track
    clients = [OpenPanelClient(batch_size=size) for size in (1, 2, 3)]
    handlers = [OpenPanelHandler(client=client) for client in clients]
    for client in clients:
        assert client.submit(Track("one"))
    began = time.monotonic()
    logging.shutdown()
    print(time.monotonic() - began)
    """
    with ScriptedServer(lambda _request: Hang()) as hung:
        status, out, _ = run(tmp_path, hung.url, code, NOW, shutdown_timeout="1")
        took = since(out)
    assert status == 0
    assert float(out.split()[0]) < 1.9
    assert took < 2.5


@pytest.mark.parametrize("fault", ["hangs", "refuses", "a name that hangs", "trickles"])
def test_a_flush_and_a_close_keep_their_time(tmp_path: Path, fault: str) -> None:
    """Whatever goes on at the other end. Each is asked for 0.3 s; so is the exit."""
    code = """
    import time
    for number in range(30):
        log(str(number))
    def timed(wait):
        began = time.monotonic()
        assert wait(0.3) is False
        print(time.monotonic() - began)
    for wait in (handler.flush, handler.client.flush, op_logging.flush, handler.close):
        timed(wait)
    timed(handler.client.close)
    log("after")
    timed(handler.client.close)
    log("last")
    """

    def script(_request: Request) -> Hang | Trickle:
        return Hang() if fault == "hangs" else Trickle(b"HTTP/1.1 200 ")

    with ScriptedServer(script) as server:
        url = refused_url() if fault == "refuses" else server.url
        patch = HUNG_LOOK_UP if fault == "a name that hangs" else ""
        status, out, errors = run(tmp_path, url, patch, code, NOW, shutdown_timeout="0.3")
        took = since(out)
    assert status == 0, errors
    assert max(map(float, out.split()[:-1])) < 1.5
    assert took < 3
    assert "could not be delivered" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("events", [95, 1000])
def test_a_normal_exit_delivers_everything_over_one_connection(
    tmp_path: Path, server: ScriptedServer, events: int
) -> None:
    """Also where no more connections are allowed."""
    code = f"for number in range({events}): log(str(number))"
    status, out, errors = run(tmp_path, server.url, code, max_connections="1")
    assert (status, out, errors) == (0, "", "")
    assert sorted(map(int, server.names)) == list(range(events))
    assert server.connections == 1
