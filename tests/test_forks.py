"""Forks of every kind, while other threads log, and gevent instead of threads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from support.programs import run
from support.scripted_server import Hang, ScriptedServer
from support.servers import needs


def test_two_hundred_forks_while_threads_log(tmp_path: Path, server: ScriptedServer) -> None:
    """No child hangs, each event arrives once, whoever logged it."""
    code = """
    import threading
    over = threading.Event()
    logged = [0] * 4
    def work(number):
        while not over.wait(0.001):
            log(f"parent {number}.{logged[number]}")
            logged[number] += 1
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in range(200):
        pid = os.fork()
        if pid == 0:
            log(f"child {number}")
            os._exit(0 if op_logging.flush(20) else 1)
        assert os.waitpid(pid, 0)[1] == 0, number
    over.set()
    for thread in threads:
        thread.join()
    print(*logged)
    """
    status, out, errors = run(tmp_path, server.url, code, queue_size="1000000")
    assert status == 0, errors
    expected = [f"child {number}" for number in range(200)]
    for thread, events in enumerate(map(int, out.split())):
        expected += [f"parent {thread}.{number}" for number in range(events)]
    assert Counter(server.names) == Counter(expected)


def test_a_fork_server(tmp_path: Path, server: ScriptedServer) -> None:
    """Its children import the program anew, and run no exit hooks."""
    code = """
    def work(number):
        log(f"child {number}")
    if __name__ == "__main__":
        import multiprocessing
        context = multiprocessing.get_context("forkserver")
        children = [context.Process(target=work, args=(number,)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        log("parent")
    """
    status, _, errors = run(tmp_path, server.url, code, flush_interval="60")
    assert status == 0, errors
    assert sorted(server.names) == ["child 0", "child 1", "child 2", "parent"]


def test_a_child_of_a_child(tmp_path: Path, server: ScriptedServer) -> None:
    """Each ends with its own."""
    code = """
    log("first")
    if os.fork() == 0:
        log("second")
        if os.fork() == 0:
            log("third")
            sys.exit(0)
        os.wait()
        sys.exit(0)
    os.wait()
    """
    status, _, errors = run(tmp_path, server.url, code, flush_interval="60")
    assert status == 0, errors
    assert sorted(server.names) == ["first", "second", "third"]


def test_a_fork_in_a_thread_that_flushes_beside_a_hung_server(tmp_path: Path) -> None:
    """Locks and waits that were held at the fork are the parent's; the child's end is its own."""
    code = """
    import threading, time
    log("hangs")
    flushing = threading.Thread(target=handler.flush, args=(2,), daemon=True)
    flushing.start()
    for number in range(20):
        pid = os.fork()
        if pid == 0:
            assert handler.stats().accepted == 0
            assert handler.flush(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    """
    with ScriptedServer(lambda _request: Hang()) as server:
        status, _, errors = run(tmp_path, server.url, code, shutdown_timeout="0.5")
    assert status == 0, errors


@needs("gevent")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("flush_interval", ["0.05", "60"])
def test_greenlets_log_and_wait_as_threads_do(
    tmp_path: Path, server: ScriptedServer, when: str, flush_interval: str
) -> None:
    """Patched before this package is imported, or after; nobody is held up by a wait."""
    code = """
    import gevent, time
    ticks = []
    def tick():
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.005)
    ticking = gevent.spawn(tick)
    def work(number):
        for each in range(10):
            log(f"{number}.{each}")
            gevent.sleep(0.001)
    gevent.joinall([gevent.spawn(work, number) for number in range(10)])
    assert handler.flush(20)
    assert handler.stats().delivered == 100
    log("last")
    assert len(ticks) > 1
    """
    patch = "from gevent import monkey; monkey.patch_all()\n"
    code = "\n".join(line[4:] for line in code.splitlines())
    programs = {"before": [code], "after": [patch, code]}
    if when == "before":
        (tmp_path / "sitecustomize.py").write_text(patch)
        programs["before"] = ["import sys; assert 'gevent' in sys.modules\n", code]
    status, _, errors = run(
        tmp_path,
        server.url,
        *programs[when],
        flush_interval=flush_interval,
        environment={"PYTHONPATH": str(tmp_path)},
    )
    assert status == 0, errors
    assert len(set(server.names)) == len(server.names) == 101


@needs("gevent")
def test_a_greenlet_that_flushes_beside_a_hung_server_holds_nobody_up(tmp_path: Path) -> None:
    """The others go on while it waits."""
    code = """
    from gevent import monkey; monkey.patch_all()
    import gevent
    count = 0
    def tick():
        global count
        while True:
            count += 1
            gevent.sleep(0.01)
    gevent.spawn(tick)
    log("hangs")
    assert handler.flush(1) is False
    assert count > 10, count
    """
    with ScriptedServer(lambda _request: Hang()) as server:
        status, _, errors = run(tmp_path, server.url, code, shutdown_timeout="0.5")
    assert status == 0, errors
