"""What there is once per process: the mark on our threads, the exit hook, the fork hook.

The hooks hold clients weakly. In a forked child nothing that was inherited is acquired:
each client replaces its locks and forgets what the parent will send.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
import weakref
from typing import Protocol

__all__ = [
    "NO_THREADS_AT_EXIT",
    "deadline_of_exit",
    "enroll",
    "logging_is_locked",
    "mark_delivery_thread",
    "members",
    "on_delivery_thread",
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


_members: list[weakref.ref[Member]] = []
_thread = threading.local()
_exit_began: float | None = None
_watched_by: int | None = None


def enroll(member: Member) -> None:
    """Let a client take part in forks and exits from now on."""
    _members[:] = [known for known in _members if known() is not None]
    _members.append(weakref.ref(member))


def members() -> list[Member]:
    """Return the clients of this process."""
    found = [known() for known in list(_members)]
    return [member for member in found if member is not None]


def mark_delivery_thread() -> None:
    """Mark the current thread as one of the package's own: its records are no events."""
    _thread.delivers = True


def on_delivery_thread() -> bool:
    """Tell whether the current thread is one of the package's own."""
    return getattr(_thread, "delivers", False)


def logging_is_locked() -> bool:
    """Tell whether this thread holds the logging module's lock, as ``dictConfig`` does.

    Who waits then for a thread that logs, waits for ever.
    """
    is_owned = getattr(getattr(logging, "_lock", None), "_is_owned", None)
    return bool(is_owned is not None and is_owned())


def deadline_of_exit(shutdown_timeout: float) -> float | None:
    """Return the moment up to which an exit that has begun may take; None before an exit.

    All hooks of one exit (this module's and ``logging.shutdown()``) share it.
    """
    return None if _exit_began is None else _exit_began + shutdown_timeout


def watch_exit() -> None:
    """Make sure that this process delivers what waits when it ends. Cheap when called again."""
    global _watched_by  # noqa: PLW0603 - there is one exit per process
    pid = os.getpid()
    if _watched_by == pid:
        return
    inherited = _watched_by is not None
    _watched_by = pid
    if not inherited:
        atexit.register(_at_exit)
    # A child of multiprocessing runs no exit hooks before Python 3.13, but finalizers. They have to
    # be registered in the child itself: what is registered in a fork hook is wiped.
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and multiprocessing.parent_process() is not None:
        from multiprocessing.util import Finalize  # noqa: PLC0415 - only where it is in use

        Finalize(None, _at_exit, exitpriority=10)


def _at_exit() -> None:
    global _exit_began  # noqa: PLW0603 - there is one exit per process
    if _exit_began is None:
        _exit_began = time.monotonic()
    waiting = members()
    for member in waiting:
        member.hurry()
    for member in waiting:
        member.flush_at_exit()


def _after_fork() -> None:
    global _exit_began, _thread  # noqa: PLW0603 - the child has an exit of its own
    _exit_began = None
    _thread = threading.local()
    for member in members():
        member.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
