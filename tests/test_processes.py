"""Exit, signals and forks, each in a real child process."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest

from support.clients import SECRET
from support.programs import run, start
from support.scripted_server import OK, Hang, Request, Reset, ScriptedServer, http


@pytest.mark.parametrize("events", [1, 95, 1000])
def test_a_normal_exit_delivers_everything(
    tmp_path: Path, server: ScriptedServer, events: int
) -> None:
    """Without any call to clean up."""
    status, out, errors = run(
        tmp_path, server.url, f"for number in range({events}): log(str(number))"
    )
    assert (status, out, errors) == (0, "", "")
    assert sorted(map(int, server.names)) == list(range(events))


def test_an_exit_while_much_waits_uses_many_connections(tmp_path: Path) -> None:
    """A thousand events at 20 ms would take 20 s on one."""
    with ScriptedServer(delay=0.02) as server:
        status, _, errors = run(tmp_path, server.url, "for number in range(1000): log(str(number))")
        assert (status, errors) == (0, "")
        assert len(server.requests) == 1000


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise RuntimeError('unhandled')", 1),
        ("sys.exit(3)", 3),
        ("import threading\nthreading.Thread(target=sys.exit).start()", 0),
        ("os.kill(os.getpid(), __import__('signal').SIGINT)\nimport time; time.sleep(60)", -2),
    ],
)
def test_every_way_out_that_python_sees_delivers(
    tmp_path: Path, server: ScriptedServer, code: str, status: int
) -> None:
    """An unhandled exception, sys.exit, a thread that exits, Ctrl-C."""
    assert run(tmp_path, server.url, f"log('last')\n{code}")[0] == status
    assert server.names == ["last"]


def test_a_handled_sigterm_delivers_and_an_unhandled_one_loses_what_waits(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """SIGTERM's default action runs nothing of Python's; the README says so."""
    code = """
    import signal, time
    if HANDLED:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log("waits")
    print("ready", flush=True)
    time.sleep(60)
    """
    for handled, status in (("True", 0), ("False", -signal.SIGTERM)):
        program = code.replace("HANDLED", handled)
        with start(tmp_path, server.url, program, flush_interval="30") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.terminate()
            process.communicate(timeout=30)
        assert process.returncode == status
    assert server.names == ["waits"]


def test_an_exit_beside_a_hung_server_takes_no_longer_than_its_deadline(tmp_path: Path) -> None:
    """What is left is said, with the number of events."""
    with ScriptedServer(lambda _request: Hang()) as server:
        began = time.monotonic()
        status, _, errors = run(
            tmp_path, server.url, "for number in range(50): log(str(number))", shutdown_timeout="1"
        )
        took = time.monotonic() - began
    assert status == 0
    assert took < 10
    assert "50 events could not be delivered" in errors
    assert SECRET not in errors


def test_an_exit_beside_a_port_that_refuses_says_why(tmp_path: Path) -> None:
    """The exit hook and ``logging.shutdown()`` share one deadline."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    began = time.monotonic()
    status, _, errors = run(tmp_path, url, "log('lost')", shutdown_timeout="1.5")
    assert status == 0
    assert time.monotonic() - began < 10
    assert "1 event could not be delivered" in errors
    assert "refused" in errors


def test_the_first_event_ever_may_come_from_an_exit_hook(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """Where some versions start no more threads, it is delivered in the hook's own thread."""
    code = "import atexit\natexit.register(log, 'from a hook')"
    assert run(tmp_path, server.url, code)[0] == 0
    assert server.names == ["from a hook"]


def test_the_exit_finds_a_client_that_nobody_refers_to_any_more(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """It was a function's own; its events are delivered all the same."""
    code = """
    import gc
    def work():
        op_logging.OpenPanelClient().submit(op_logging.Track("local"))
    work()
    gc.collect()
    """
    assert run(tmp_path, server.url, code, flush_interval="30")[0] == 0
    assert server.names == ["local"]


def test_an_exit_hook_that_was_registered_before_the_first_event_may_log_events(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """Through the processor, too, which `logging.shutdown` does not know."""
    code = """
    import atexit, structlog
    from op_logging import OpenPanelProcessor
    structlog.configure(
        processors=[OpenPanelProcessor(), lambda *_: "rendered"],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    atexit.register(lambda: structlog.get_logger().info("x", _event="from a hook"))
    structlog.get_logger().info("x", _event="before")
    """
    assert run(tmp_path, server.url, code)[0] == 0
    assert sorted(server.names) == ["before", "from a hook"]


def test_many_events_from_an_exit_hook(tmp_path: Path, server: ScriptedServer) -> None:
    """After events that came before it, and with the sender asleep."""
    code = """
    import atexit
    def last():
        for number in range(50):
            log(f"late {number}")
    atexit.register(last)
    log("early")
    assert handler.flush(5)
    """
    status, _, errors = run(tmp_path, server.url, code)
    assert (status, errors) == (0, "")
    assert sorted(server.names) == sorted(["early", *(f"late {number}" for number in range(50))])


FORKS = {
    "os.fork": """
        log("parent before")
        pid = os.fork()
        if pid == 0:
            log("child")
            sys.exit(0)
        os.waitpid(pid, 0)
        log("parent after")
        """,
    "multiprocessing fork": """
        import multiprocessing
        log("parent before")
        child = multiprocessing.get_context("fork").Process(target=log, args=("child",))
        child.start()
        child.join()
        log("parent after")
        """,
    "multiprocessing spawn": """
        if __name__ == "__main__":
            import multiprocessing
            log("parent before")
            child = multiprocessing.get_context("spawn").Process(target=log, args=("child",))
            child.start()
            child.join()
            log("parent after")
        """,
    "a process pool": """
        if __name__ == "__main__":
            import concurrent.futures, multiprocessing
            log("parent before")
            context = multiprocessing.get_context("fork")
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                pool.submit(log, "child").result()
            log("parent after")
        """,
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", FORKS)
def test_a_forked_child_works(tmp_path: Path, server: ScriptedServer, how: str) -> None:
    """The child's events once, the parent's once, whatever waits at the moment of the fork."""
    for flush_interval in ("0.01", "30"):
        server.requests.clear()
        began = time.monotonic()
        status, _, _ = run(tmp_path, server.url, FORKS[how], flush_interval=flush_interval)
        assert status == 0
        assert sorted(server.names) == ["child", "parent after", "parent before"]
        assert time.monotonic() - began < 20


def test_a_fork_while_other_threads_log_does_not_hang(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """Locks that another thread held at the moment of the fork are replaced in the child."""
    code = """
    import faulthandler, threading
    over = threading.Event()
    def work():
        while not over.wait(0.0005):
            log("parent")
    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(30):
        pid = os.fork()
        if pid == 0:
            log(f"child {number}")
            if not op_logging.flush(10) or handler.stats().delivered != 1:
                print(handler.stats(), handler.client.state)
                faulthandler.dump_traceback()
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0, number
    over.set()
    for thread in threads:
        thread.join()
    """
    status, out, errors = run(tmp_path, server.url, code)
    assert status == 0, out + errors
    children = [name for name in server.names if name.startswith("child")]
    assert sorted(children) == sorted(f"child {number}" for number in range(30))


def test_delivery_imports_nothing(tmp_path: Path) -> None:
    """A fork in the middle of a thread's import leaves the child with half a module."""

    def script(request: Request) -> bytes | Reset:
        answers: list[bytes | Reset] = [
            http(503, "", {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}),
            http(400, {"message": "no"}),
            Reset(),
            http(202, {"bot": {"name": "x"}}),
        ]
        return answers[request.number - 1] if request.number <= len(answers) else OK

    code = r"""
    from op_logging import Identify
    before = set(sys.modules)
    for number in range(8):
        log(f"n\u00e9\n{number}", ip="1.1.1.1", user_agent="\u2603", odd={"a": {1, 2}}, far=1e999)
    log(Identify("u1"))
    assert handler.flush(10)
    assert set(sys.modules) == before, set(sys.modules) - before
    """
    with ScriptedServer(script) as server:
        status, _, errors = run(tmp_path, server.url, code, max_backoff="0.1")
    assert status == 0, errors


def test_no_thread_starts_before_the_first_event(tmp_path: Path, server: ScriptedServer) -> None:
    """Threads started early do not survive a fork, and make it warn."""
    code = """
    import threading
    logger.info("no event")
    assert threading.active_count() == 1, threading.enumerate()
    log("event")
    assert threading.active_count() > 1
    """
    status, _, errors = run(tmp_path, server.url, code)
    assert (status, errors) == (0, "")


def test_a_log_call_in_a_signal_handler_does_not_hang(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """In the middle of any other log call, of a flush, or of the statistics."""
    code = """
    import signal, time
    count = 0
    def on_alarm(*_):
        global count
        count += 1
        log("signal")
    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.0005)
    until = time.monotonic() + 1
    main = 0
    while time.monotonic() < until:
        log("main")
        main += 1
        handler.stats()
        handler.flush(0)
        time.sleep(0.001)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert handler.flush(20)
    stats = handler.stats()
    assert stats.accepted == stats.delivered == main + count, (stats, main, count)
    assert count > 50
    """
    status, _, errors = run(tmp_path, server.url, code, queue_size="1000000")
    assert (status, errors) == (0, "")


def test_a_serverless_function_flushes_before_it_returns(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """``op_logging.flush`` serves all clients; the process may be frozen or killed after it."""
    code = """
    log("invocation")
    assert op_logging.flush(timeout=5)
    os._exit(0)
    """
    assert run(tmp_path, server.url, code, flush_interval="30")[0] == 0
    assert server.names == ["invocation"]
