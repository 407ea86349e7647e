"""What there is once per process: the marks on threads, the exit hook, the fork hook.

The hooks hold clients weakly. In a forked child nothing that was inherited is acquired:
each client replaces its locks and forgets what the parent will send.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

__all__ = [
    "NO_THREADS_AT_EXIT",
    "concerns_application",
    "deadline_after",
    "deadline_by_default",
    "delivering",
    "enroll",
    "is_ours",
    "is_speaking",
    "logging_is_locked",
    "members",
    "on_delivery_thread",
    "speakers",
    "speaking",
    "uwsgi_runs_no_threads",
    "watch_exit",
]


NO_THREADS_AT_EXIT = (3, 12, 0) <= sys.version_info[:3] < (3, 12, 3)
"""These versions refuse to start a thread from the end of the main thread on."""


class Member(Protocol):
    """What a client offers to the hooks of the process."""

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until what waits is delivered."""

    def flush_at_exit(self) -> None:
        """Deliver what waits, within the exit's deadline."""

    def hurry(self) -> None:
        """Start to deliver what waits, without waiting for it."""

    def after_fork(self) -> None:
        """Become as good as new in a forked child."""


_AFTERMATH = 0.1
"""Seconds after a wait in vain in which the same thread's next one is part of it."""
_LONGEST_WAIT = 4_000_000.0
"""Seconds. What is longer overflows in some wait of some system."""

speakers: dict[int, int] = {}
"""The threads inside of `speaking`, and how deep. Mostly empty, which is a quick look for others.
No lock, so safe in signal handlers."""
_members: list[weakref.ref[Member]] = []
_delivering: set[int] = set()
_exit_began: float | None = None
_last_wait = (0, -math.inf)
_watched_by: int | None = None
_process_id = os.getpid()


def enroll(member: Member) -> None:
    """Let a client take part in forks and exits from now on."""
    _watch_uwsgi()
    _members[:] = [known for known in _members if known() is not None]
    _members.append(weakref.ref(member))


def members() -> list[Member]:
    """Return the clients of this process."""
    found = [known() for known in list(_members)]
    return [member for member in found if member is not None]


@contextmanager
def delivering() -> Iterator[None]:
    """Mark the current thread as one of the package's own: it must not wait for itself.

    By its number, as it is now: gevent may have made threads greenlets since the import.
    """
    thread = threading.get_ident()
    _delivering.add(thread)
    try:
        yield
    finally:
        _delivering.discard(thread)


def on_delivery_thread() -> bool:
    """Tell whether the current thread is one of the package's own."""
    return threading.get_ident() in _delivering


def is_ours() -> bool:
    """Tell whether the current thread runs on the package's behalf: it must wait for nothing."""
    return on_delivery_thread() or is_speaking()


def concerns_application(error: BaseException) -> bool:
    """Tell whether what came out of somebody else's code is for the thread that it came up in.

    In the package's own threads nothing is. In the application's, a hook may be interrupted by
    what is raised from outside (KeyboardInterrupt, a time-out of gevent's); SystemExit is its own.
    """
    return not isinstance(error, (Exception, SystemExit)) and not on_delivery_thread()


@contextmanager
def speaking() -> Iterator[None]:
    """Mark the current thread as running somebody else's code on the package's behalf.

    What is logged there, by a hook, or by a handler that shows a diagnosis, must not become an
    event: it might be the cause of the next one, for ever.
    """
    thread = threading.get_ident()
    outer = speakers.get(thread, 0)
    speakers[thread] = outer + 1
    try:
        yield
    finally:
        if outer:
            speakers[thread] = outer
        else:
            speakers.pop(thread, None)


def is_speaking() -> bool:
    """Tell whether the current thread is inside of `speaking`."""
    return threading.get_ident() in speakers


def deadline_after(seconds: float) -> float:
    """Return the moment (monotonic clock) that a wait of so many seconds ends at.

    Any number is allowed: one below 0, or none at all, ends at once; infinity is bounded by
    what the system can wait for.
    """
    return time.monotonic() + min(max(0.0, seconds), _LONGEST_WAIT)


def logging_is_locked() -> bool:
    """Tell whether this thread holds the logging module's lock, as ``dictConfig`` does.

    Who waits then for a thread that logs, waits for ever.
    """
    is_owned = getattr(getattr(logging, "_lock", None), "_is_owned", None)
    return bool(is_owned is not None and is_owned())


def deadline_by_default(shutdown_timeout: float) -> float:
    """Return the moment that a wait without a time of its own ends at.

    All hooks of one exit (this module's and ``logging.shutdown()``) share it. Otherwise a wait
    that follows right after another was in vain shares that one's: ``logging.shutdown()``, called
    by the program, flushes each handler and then closes it.
    """
    global _last_wait  # noqa: PLW0603 - replaced as a whole, so safe in any thread
    if _exit_began is not None:
        return _exit_began + shutdown_timeout
    thread, deadline = _last_wait
    if thread == threading.get_ident() and deadline <= time.monotonic() < deadline + _AFTERMATH:
        return deadline
    deadline = deadline_after(shutdown_timeout)
    _last_wait = (threading.get_ident(), deadline)
    return deadline


def watch_exit() -> None:
    """Make sure that a child of multiprocessing delivers what waits when it ends. Cheap to repeat.

    Such a child runs no exit hooks before Python 3.13, but finalizers. They have to
    be registered in the child itself, at its first event: multiprocessing wipes what is registered
    in a fork hook. A worker of Celery's runs neither: it sends a signal of Celery's, and is gone.
    """
    global _watched_by  # noqa: PLW0603 - there is one exit per process
    pid = os.getpid()
    if _watched_by == pid:
        return
    _watched_by = pid
    _watch_uwsgi()
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415 - only where it is in use

        Finalize(None, _at_exit, exitpriority=10)
    celery = sys.modules.get("celery.signals")
    if celery is not None:
        celery.worker_process_shutdown.connect(_at_workers_end, weak=False, dispatch_uid=__name__)


def _at_exit() -> None:
    global _exit_began  # noqa: PLW0603 - there is one exit per process
    if _exit_began is None:
        _exit_began = time.monotonic()
    waiting = members()
    for member in waiting:
        member.hurry()
    for member in waiting:
        member.flush_at_exit()


def uwsgi_runs_no_threads() -> bool:
    """Tell whether this program runs in a uWSGI that was not told to let threads run.

    It lets them run by default since 2.0.27, and where it has several threads of its own.
    """
    uwsgi = sys.modules.get("uwsgi")
    options = getattr(uwsgi, "opt", None)
    if not isinstance(options, dict) or "enable-threads" in options or "threads" in options:
        return False
    version = getattr(uwsgi, "version", b"")
    text = version.decode("latin-1") if isinstance(version, bytes) else str(version)
    numbers = [int(part) for part in text.split(".")[:3] if part.isdigit()]
    return len(numbers) == 3 and numbers < [2, 0, 27]


def _watch_uwsgi() -> None:
    """Hear of uWSGI's forks: it runs none of Python's hooks unless told to. May be repeated."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is None:
        return
    try:
        # uWSGI calls one function; this module of its own makes it several, and takes its place.
        chain = importlib.import_module("uwsgidecorators").postfork_chain
    except Exception:  # noqa: BLE001 - it is not installed, or there is no master and no fork
        if getattr(uwsgi, "post_fork_hook", None) is None:
            setattr(uwsgi, "post_fork_hook", _after_fork)  # noqa: B010 - mypy knows no such module
        return
    if _after_fork not in chain:
        chain.insert(0, _after_fork)


def _at_workers_end(**_: object) -> None:
    _at_exit()


def _after_fork() -> None:
    global _exit_began, _process_id  # noqa: PLW0603 - the child has an exit of its own
    if _process_id == os.getpid():  # both Python's hook and uWSGI's ran
        return
    _process_id = os.getpid()
    _exit_began = None
    _delivering.clear()
    speakers.clear()
    for member in members():
        member.after_fork()


class _ForkWatch:
    """Hears of a fork before most hooks, when `logging` renews the locks of its handlers.

    What a hook of another package logs after that is the child's own. Python has no public way to
    be first; where this one is gone, the hook below does the same, only later.
    """

    def _at_fork_reinit(self) -> None:
        _after_fork()


_fork_watch = _ForkWatch()
getattr(logging, "_register_at_fork_reinit_lock", lambda _: None)(_fork_watch)
# Hooks run in the reverse order of their registration. Registered when the package is imported,
# this one runs after all hooks of the application that came later, and delivers what they log.
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
