"""What it costs to have the package in a program that logs no event yet."""

from __future__ import annotations

import subprocess
import sys
from functools import partial

from .events import CLIENT_ID, SECRET
from .measure import Bench, Goal, Line, Sample, Versus, rotated

__all__ = ["start"]

_BASE = "requests, structlog"
_IMPORT = """
import time
started = time.perf_counter()
import {modules}
print((time.perf_counter() - started) * 1e3)
"""
_ATTACH = f"""
import logging, threading
from op_logging import OpenPanelHandler
logging.getLogger().addHandler(OpenPanelHandler({CLIENT_ID!r}, {SECRET!r}))
logging.getLogger().warning("No event")
print(threading.active_count() - 1)
"""


def start(bench: Bench) -> list[Line]:
    """What the import adds in a fresh interpreter; threads before any event.

    A program that logs with structlog imports it anyway, and op_logging does not: so both sides
    import it, and what is new is the difference.
    """
    each = {
        "with it": partial(_figure, _IMPORT.format(modules=f"{_BASE}, op_logging")),
        _BASE: partial(_figure, _IMPORT.format(modules=_BASE)),
    }
    if not bench.short:
        rotated(each, 1)  # compiles what is not compiled yet
    found = rotated(each, bench.repetitions(7))
    ours, beside = (Sample(name, tuple(values)) for name, values in found.items())
    threads = Sample("op_logging", (_figure(_ATTACH),))
    return [
        Line("import", "ms", ours, beside, Versus.DIFFERENCE, Goal(60.0)),
        Line("before an event", "threads", threads, versus=Versus.NOTHING, goal=Goal(0.0)),
    ]


def _figure(code: str) -> float:
    """Run a program in an interpreter of its own; return the figure that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    return float(done.stdout)
