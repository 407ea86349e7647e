"""Bells: how one thread wakes another, from a signal handler as well.

A `threading.Event` will not do: its ``set`` takes a lock, and in a signal handler that interrupted
another ``set`` it deadlocks. ``SimpleQueue.put`` is reentrant.
"""

from __future__ import annotations

import queue

__all__ = ["Bell", "Silence", "new_bell"]

Bell = queue.SimpleQueue[None]
Silence = queue.Empty
"""What a bell's ``get`` raises when nobody rang in time."""


def new_bell() -> Bell:
    """Return a bell for the kind of threads that this program has now.

    gevent may replace them after this package was imported (gunicorn's worker does so), and a
    greenlet that waits on the standard library's queue stops all the others.
    """
    return queue.SimpleQueue()
