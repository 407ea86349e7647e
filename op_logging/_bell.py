"""Bells: how one thread wakes another, from a signal handler as well.

A `threading.Event` will not do: its ``set`` takes a lock, and in a signal handler that interrupted
another ``set`` it deadlocks. Nor will `queue.SimpleQueue`: before Python 3.13 its ``get`` waits
without an end when a signal handler ran past its time-out.
"""

from __future__ import annotations

import contextlib
import threading

__all__ = ["Bell"]


class Bell:
    """Wakes one thread that waits for it. It is silent again when that thread was woken.

    It is made of the kind of lock that the program's threads use now: gevent may replace it after
    this package was imported (gunicorn's worker does so), and a greenlet that waits for a lock of
    the standard library stops all the others.
    """

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake who waits, now or as soon as somebody does. Waits for nothing, takes nothing."""
        with contextlib.suppress(RuntimeError):  # it rings already
            self._silence.release()

    def wait(self, seconds: float | None) -> bool:
        """Wait for a ring, at most so many seconds; None: without an end.

        Returns:
            Whether it rang.
        """
        if seconds is None:
            return self._silence.acquire()
        return self._silence.acquire(timeout=min(max(0.0, seconds), threading.TIMEOUT_MAX))
