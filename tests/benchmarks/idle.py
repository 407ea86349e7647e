"""What the package does while there is little or nothing to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .events import FLAT, tracked
from .measure import Bench, Goal, Line, Sample, Versus, at_rate, rotated

__all__ = ["idle"]

_TASKS = Path("/proc/self/task")
_SWITCHES = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.MULTILINE)
_RATE = 10
_SETTLING = 0.3
"""Seconds in which threads that have just delivered may go to sleep."""


def idle(bench: Bench) -> list[Line]:
    """Wake-ups of its threads while nothing is logged, and connections at ten events a second."""
    runs = {"idle": partial(_while_idle, bench), "slow": partial(_while_slow, bench)}
    found = rotated(runs, 1)
    lines = []
    if _TASKS.exists():
        asleep = Sample("op_logging", tuple(woken for woken, _ in found["idle"]))
        slow = Sample("op_logging", tuple(woken for woken, _ in found["slow"]))
        lines += [
            Line("after a flush", "wake-ups/s", asleep, versus=Versus.NOTHING, goal=Goal(0.0)),
            Line(f"{_RATE} events/s", "wake-ups/s", slow),
        ]
    open_ones = Sample("op_logging", tuple(connections for _, connections in found["slow"]))
    lines.append(
        Line(f"{_RATE} events/s", "connections", open_ones, versus=Versus.NOTHING, goal=Goal(1.0))
    )
    return lines


def _while_idle(bench: Bench) -> tuple[float, float]:
    return _watched(bench, lambda _log, seconds: time.sleep(seconds))


def _while_slow(bench: Bench) -> tuple[float, float]:
    return _watched(bench, lambda log, seconds: at_rate(log, _RATE, seconds))


def _watched(
    bench: Bench, spend: Callable[[Callable[[], None], float], object]
) -> tuple[float, float]:
    """Return the wake-ups a second of the client's threads, and how many connections it opened."""
    bench.plain.start_over(0.05)
    seconds = bench.seconds(2.0)
    foreign = _wake_ups()
    with tracked(bench.plain) as ours:
        time.sleep(_SETTLING)
        before = _wake_ups()
        spend(lambda: ours.logger.info("Order paid", extra=FLAT), seconds)
        after = _wake_ups()
        woken = sum(
            times - before.get(task, 0) for task, times in after.items() if task not in foreign
        )
        ours.flush()
        return woken / seconds, float(bench.plain.counts().connections)


def _wake_ups() -> dict[str, int]:
    """Return how often each thread of this process went to sleep so far; nothing but on Linux."""
    found = {}
    for task in _TASKS.iterdir() if _TASKS.exists() else ():
        switches = _SWITCHES.search((task / "status").read_text())
        if switches:
            found[task.name] = int(switches[1])
    return found
