"""The engine: a queue that callers never wait for, one sender, and lanes that post.

States of an event, who moves it on, and under which lock::

    QUEUED ---> WAITING <----> OUT ----> DELIVERED | REJECTED | DROPPED
      |   |       ^  |
      |   +-> HELD   +-> DROPPED
      +-> DROPPED  +-> MERGED

    what                                     who                      lock
    ----------------------------------------------------------------------------------------
    -> QUEUED                                the caller               none: deque.append
    QUEUED -> DROPPED (overflow)             the caller               none: deque.popleft;
                                             the sender enters it in the books, under `lock`
    QUEUED -> WAITING (taken in a batch,     the sender               `lock` to take and to
      rendered, put in its profile's line),                           line up, none to render
      HELD or MERGED (a counter)
    QUEUED -> DROPPED (cannot be rendered)   the sender               `lock`
    HELD -> WAITING (its time has come)      the sender               `lock`
    WAITING -> OUT (posted)                  a lane                   `lock`, not while it posts
    WAITING -> DROPPED (expired, overflow)   a lane, the sender       `lock`
    OUT -> DELIVERED, REJECTED, DROPPED,     the same lane            `lock`
      or back to WAITING (to be retried)
    QUEUED, HELD, WAITING -> DROPPED         who closes the client,   `lock`
      (closed)                               at the end of its wait

States of the client::

    INERT     no client id, or not enabled: takes nothing, for ever
    NEW       nothing was logged yet, or the process was forked: no thread, no socket
    RUNNING   a `Life` has a sender and lanes
    CLOSED    threads told to end; the next event starts a new `Life`

NEW -> RUNNING and CLOSED -> RUNNING happen in the caller that logs the next event, under
`_starting`, which is tried and never waited for. RUNNING -> CLOSED happens in ``close()``,
under `lock`. A fork makes it NEW in the child: the hook replaces both locks and all else.

Every event has a *generation*: how often somebody had begun to wait when it came in. So a flush
ends when nothing up to its generation is unsettled, and a close drops what was there when it began
and leaves what came later to the next `Life`.

`lock` is the `Dispatch`'s. The caller of a log call takes neither lock (but tries `_starting` for
the first event) and wakes the sender only where it sleeps without an end: through a doorbell, since
setting a `threading.Event` could deadlock in a signal handler. While there is work the sender
looks by itself every `_NAP` seconds, and works in short turns with `_BREATH`s between them, so that
the application's threads get the interpreter.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time

from . import _process
from ._bell import Bell
from ._config import OpenPanelConfig
from ._diagnostics import Diagnostics
from ._dispatch import Dispatch
from ._ledger import Wait
from ._life import Life
from ._pace import PaceState
from ._rendered import RenderedCall
from ._transport import Connection, Transport

__all__ = ["Engine"]

_NAP = 0.02
"""Seconds between two looks of the sender while there is work."""
_BREATH = 0.001
"""Seconds between two short turns while much waits to be rendered."""
_SHORTEST_GOAL, _LONGEST_GOAL = 0.05, 0.5
"""Seconds in which what waits should be out; more lanes are opened where it would take longer."""
_LAST_CALL = 0.4
"""The share of a close's time that is kept for counters that are sent at the server's risk."""


class Engine:
    """Ships what is put into its inbox. See the module's text for states and locks.

    Args:
        config: The options; it must be active.
        diagnostics: Where to say what went wrong.
    """

    def __init__(self, config: OpenPanelConfig, diagnostics: Diagnostics) -> None:
        self._config = config
        self._diagnostics = diagnostics
        self._goal = min(max(config.flush_interval, _SHORTEST_GOAL), _LONGEST_GOAL)
        self._transport = Transport(config)
        self._starting = threading.Lock()
        self._dispatch = Dispatch(config, diagnostics, self._start)
        self.inbox = self._dispatch.inbox
        self.expect = self._dispatch.expect
        self.stats = self._dispatch.stats

    def renew(self) -> None:
        """Start from nothing, also in a forked child: nothing that was inherited is acquired."""
        self._starting = threading.Lock()
        self._dispatch.renew()

    def _start(self) -> None:
        """Start a sender. Only tries the lock: who holds it starts one."""
        while self.life is None and self._starting.acquire(blocking=False):
            try:
                started = self.life is not None or self._begin(Life())
            finally:
                self._starting.release()
            # Closed again by another thread meanwhile? What came in since found the lock taken.
            if not started or not self._dispatch.has_work():
                return

    def _begin(self, life: Life) -> bool:
        """Start the threads of a life; return False where no thread can be had."""
        _process.watch_exit()
        started = False
        try:
            self.inbox.doorbell = life
            if _process.NO_THREADS_AT_EXIT:  # so all that an exit may need start now
                self._open_lanes(life, self._config.max_connections)
            started = life.start_thread(self._run_sender, "sender")
        finally:
            # A signal handler of the application may raise in the middle of it, and whoever logs
            # near the limit of recursion may not get through: the next event tries again.
            if not started:
                self.inbox.doorbell = None
                life.over = True
                with self._dispatch.lock:  # held for moments: no lane is just about to wait
                    life.end()
        # Without a sender whoever flushes, the exit hook at the latest, delivers by himself.
        return started

    @property
    def life(self) -> Life | None:
        """The life that goes on; None before the first event, and after ``close()``."""
        doorbell = self.inbox.doorbell
        return doorbell if isinstance(doorbell, Life) else None

    # Whoever waits.

    def hurry(self) -> None:
        """Let the sender take what there is at once."""
        life = self.life
        if life is not None:
            life.hurry = True
            life.ring()

    def wait(self, wait: Wait, deadline: float, *, last: bool = False) -> bool:
        """Wait until ``deadline`` at the latest; without a sender, deliver in this thread.

        Args:
            wait: What to wait for.
            deadline: Until when (monotonic clock).
            last: Whether nobody will wait again: counters that are still held then leave in time,
                at the risk that the server loses them.
        """
        try:
            if last and not wait.done:
                now = time.monotonic()
                self._wait(wait, now + (1.0 - _LAST_CALL) * max(0.0, deadline - now))
                if not wait.done:
                    with self._dispatch.lock:
                        self._dispatch.delivery.let_counters_leave(time.monotonic(), force=True)
            self._wait(wait, deadline)
        finally:
            self._dispatch.forget(wait)
        self._dispatch.tell()
        if last:
            self._see_losses_handed_over(deadline)
        return wait.done

    def _see_losses_handed_over(self, deadline: float) -> None:
        """Wait until ``on_drop`` was told of all losses: by the sender, if there is one."""
        while self._dispatch.has_losses() and time.monotonic() < deadline:
            if self.life is None:
                self._dispatch.hand_over_losses(deadline)
            self.hurry()
            time.sleep(_BREATH)

    def _wait(self, wait: Wait, deadline: float) -> None:
        if not wait.done:
            self.hurry()
            if self.life is None:
                self._deliver_inline(wait, deadline)
        wait.until(deadline)

    def close(self, deadline: float) -> bool:
        """Deliver what came in so far, and end the threads; return whether all was out."""
        wait = self._dispatch.expect()
        if wait is None:  # never: nothing bounds that wait, and the lock is held for moments
            return False
        try:
            return self.wait(wait, deadline, last=True)
        finally:
            self._end(wait, deadline)

    def _end(self, wait: Wait, deadline: float) -> None:
        """Tell the threads to end, and join them until ``deadline``.

        What ``wait`` waited for and still waits is dropped; for what came later, others start.
        """
        with self._dispatch.lock:
            life = self.life
            if life is not None:  # not None at once: another thread may be starting one
                self.inbox.doorbell = None
                life.end()
            self._dispatch.drop_up_to(wait.up_to)
        self._dispatch.tell()
        if life is None:
            self._dispatch.hand_over_losses(deadline)
        else:
            life.ring()  # the sender hands over what was lost just now, and ends
            for thread in list(life.threads):
                with contextlib.suppress(RuntimeError):  # not started yet, or the current one
                    thread.join(max(0.0, deadline - time.monotonic()))
        if self._dispatch.has_work():
            self._start()

    # The sender.

    def _run_sender(self, life: Life) -> None:
        while not life.over:
            try:
                pause = self._turn(life)
                nap = pause is not None and pause <= _NAP
            except BaseException as error:  # noqa: BLE001 - the sender must not die of anything
                self._diagnostics.say("sender", f"the sender failed: {type(error).__name__}")
                pause, nap = 1.0, True
            if pause is None or pause > 0.0:
                life.wakes_at = math.inf if pause is None else time.monotonic() + pause
                self.inbox.sleep(life, pause, nap=nap)
        self._dispatch.tell()
        self._dispatch.hand_over_losses()
        if life.own is not None:
            life.own.close()

    def _turn(self, life: Life) -> float | None:
        """Move on what can be moved; return the seconds until the next look, None for no need."""
        life.wakes_at = math.inf  # what changes from here on rings
        goes_on = self._line_up(life)
        dispatch, delivery = self._dispatch, self._dispatch.delivery
        with dispatch.lock:
            now = time.monotonic()
            # Not while counters that somebody waits for are in the queue: they belong to the sums.
            hurry = any(not self.inbox.holds(wait.up_to) for wait in delivery.ledger.waits)
            delivery.let_counters_leave(now, hurry=hurry)
            dispatch.recount()
            delivery.lanes.wake(now)
            short_of_lanes = not self._employ(life, now)
            until = delivery.wait_until()
        dispatch.tell()
        dispatch.hand_over_losses()
        if short_of_lanes and self._work_in_sender(life):
            return 0.0
        if goes_on:
            return 0.0 if life.hurry else _BREATH
        if life.first_seen is not None:
            return min(_NAP, max(_BREATH, life.first_seen + self._config.flush_interval - now))
        if delivery.pace.state is PaceState.OPEN and delivery.lanes.ready:
            return _NAP
        return None if until is None else max(_NAP, until - now)

    def _line_up(self, life: Life) -> bool:
        """Render a batch if it is time; return whether there is more to do at once."""
        if not self._batch_is_due(life):
            return False
        self._dispatch.line_up()
        if self.inbox:
            return True
        life.rest()
        return False

    def _batch_is_due(self, life: Life) -> bool:
        """Tell whether the sender is to take events from the inbox now."""
        events = len(self.inbox)
        if not events or life.over:
            life.rest()
            return False
        if not life.due:
            now = time.monotonic()
            if life.first_seen is None:
                life.first_seen = now
            is_late = now - life.first_seen >= self._config.flush_interval
            is_full = events >= self._config.batch_size
            life.due = life.hurry or is_full or is_late or self._dispatch.is_awaited()
        return life.due

    def _employ(self, life: Life, now: float) -> bool:
        """Wake idle lanes for what is ready, and open more where it would take too long.

        Returns:
            False where there is something to send, and no lane nor a way to start one.
        """
        delivery = self._dispatch.delivery
        ready = min(delivery.lanes.ready, delivery.pace.room(now, len(delivery.out)))
        if not ready or life.over:
            return True
        slowest = max((now - call.started for call in delivery.out), default=0.0)
        answer_time = max(delivery.answer_time, slowest)
        waiting = delivery.lanes.ready + (len(self.inbox) if life.due else 0)
        wanted = math.ceil(waiting * answer_time / self._goal)
        wanted = min(max(1, wanted), self._config.max_connections, len(delivery.out) + ready)
        while life.idle and life.lanes - len(life.idle) < wanted:
            life.idle.pop().ring()
        self._open_lanes(life, wanted)
        return life.lanes > 0

    def _open_lanes(self, life: Life, wanted: int) -> None:
        """Start lanes until there are as many as wanted, or no more can be had. Under the lock."""
        if life.lanes < wanted:
            life.threads = [thread for thread in life.threads if thread.is_alive()]
        while life.lanes < wanted and life.start_thread(self._run_lane, f"lane-{life.lanes + 1}"):
            life.lanes += 1

    def _work_in_sender(self, life: Life) -> bool:
        if life.own is None:
            life.own = self._transport.connect()
        call = self._dispatch.take()
        if call is None:
            return False
        self._post(call, life.own)
        return True

    # The lanes.

    def _run_lane(self, life: Life) -> None:
        doorbell = Bell()
        connection = self._transport.connect()
        while not life.over:
            try:
                call = self._dispatch.take()
                if call is not None:
                    self._post(call, connection)
                elif not life.await_work(doorbell, self._dispatch.lock):
                    break
            except BaseException as error:  # noqa: BLE001 - a lane must not die of anything
                self._diagnostics.say("lane", f"a lane failed: {type(error).__name__}")
        connection.close()
        # What came back from the server after a close, and came in after it, is the next life's.
        if self.life is None and self._dispatch.has_work():
            self._start()

    def _post(self, call: RenderedCall, connection: Connection, deadline: float = math.inf) -> None:
        """Post a call that was taken, and settle it."""
        left = deadline - time.monotonic()
        careful = call.kind.at_most_once or not self._config.retry_ambiguous
        outcome = connection.post(call.body, call.rare.headers, left, careful=careful)
        dispatch, delivery = self._dispatch, self._dispatch.delivery
        with dispatch.lock:
            was_open = delivery.pace.state is PaceState.OPEN
            delivery.settle(call, outcome, time.monotonic())
            dispatch.recount()
            life = self.life  # not always this lane's own: the client may have been reopened
            if life is not None and (not was_open or self._is_sender_needed(life)):
                life.wakes_at = 0.0  # once is enough
                life.ring()
        if life is None:  # closed meanwhile: there is no sender that would
            dispatch.tell()
            dispatch.hand_over_losses()

    def _is_sender_needed(self, life: Life) -> bool:
        """Tell whether the sender sleeps for longer than is good. Under the lock."""
        delivery = self._dispatch.delivery
        soon = time.monotonic() + _NAP
        if life.wakes_at <= soon:
            return False
        until = delivery.wait_until()
        is_due = until is not None and until < life.wakes_at - _NAP
        return is_due or delivery.has_news or delivery.lanes.ready > 0

    def _deliver_inline(self, wait: Wait, deadline: float) -> None:
        """Do the work of sender and lanes in this thread: none can be started any more."""
        dispatch, delivery = self._dispatch, self._dispatch.delivery
        connection = self._transport.connect()
        try:
            while not wait.done and time.monotonic() < deadline:
                while self.inbox:
                    dispatch.line_up()
                with dispatch.lock:
                    delivery.let_counters_leave(time.monotonic(), hurry=True)
                call = dispatch.take()
                if call is not None:
                    self._post(call, connection, deadline)
                    continue
                with dispatch.lock:
                    until = delivery.wait_until()
                if until is None:
                    break
                time.sleep(max(0.0, min(until, deadline) - time.monotonic()))
        finally:
            connection.close()
