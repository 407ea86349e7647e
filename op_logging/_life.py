"""The threads of an engine, from the first event to ``close()``.

An engine that is reopened gets a new `Life`; the threads of the old one look only at their own,
so that neither can hang on or steal from the other.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable

from . import _process
from ._bell import Bell
from ._inbox import Doorbell
from ._transport import Connection

__all__ = ["Life"]

_LANE_IDLE = 60.0
"""Seconds after which a lane without work ends. The server closes idle connections after 72 s."""


class Life(Doorbell):
    """The threads of one stretch from the first event to ``close()``; rings for its sender.

    Attributes:
        over: Whether they are to end.
        hurry: Whether somebody waits: the sender then takes what there is at once.
        lanes: How many lanes there are. Under the lock.
        idle: The doorbells of those that wait, the one that worked last at the end: it is rung
            first, so that few connections stay in use. Under the lock.
        threads: All of them. Only its own sender takes dead ones off the list.
        own: The sender's own connection, for when no lane can be started.
        due: Whether the sender takes what is in the queue, to its end.
        wakes_at: When the sender will look again by itself (monotonic clock).
        first_seen: When the sender saw the oldest event of the queue (monotonic clock).
    """

    def __init__(self) -> None:
        super().__init__()
        self.over = False
        self.hurry = False
        self.due = False
        self.lanes = 0
        self.idle: list[Bell] = []
        self.threads: list[threading.Thread] = []
        self.own: Connection | None = None
        self.wakes_at = math.inf
        self.first_seen: float | None = None

    def rest(self) -> None:
        """Note that nothing is left in the queue to be taken."""
        self.due = self.hurry = False
        self.first_seen = None

    def await_work(self, doorbell: Bell, lock: threading.RLock) -> bool:
        """Wait as a lane for work; return False when it is to end."""
        with lock:
            if self.over:
                return False
            self.idle.append(doorbell)
        while not doorbell.wait(_LANE_IDLE):
            with lock:
                if doorbell not in self.idle:  # rung since the time ran out
                    return True
                if self.over or not _process.NO_THREADS_AT_EXIT:  # there none starts in its place
                    self.idle.remove(doorbell)
                    self.lanes -= 1
                    return False
        return True

    def end(self) -> None:
        """Tell all threads to end. Under the lock."""
        self.over = True
        for doorbell in list(self.idle):
            doorbell.ring()
        self.ring()

    def start_thread(self, target: Callable[[Life], None], name: str) -> bool:
        """Start a thread; return False where none can be had.

        At an interpreter's exit some versions refuse (3.12.0 to 3.12.2 in exit hooks already), some
        wait for the thread without an end, and a system may be out of threads.
        """
        if sys.is_finalizing():
            return False

        def run() -> None:
            with _process.delivering():
                target(self)

        thread = threading.Thread(target=run, name=f"op_logging-{name}", daemon=True)
        self.threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            self.threads.remove(thread)
            return False
        return True
