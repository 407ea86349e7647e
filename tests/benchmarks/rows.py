"""The rows of the table, in the order in which they are run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .busy import busy
from .calls import bursts, entries, nested, others, tails, threads
from .cpu import cpu
from .idle import idle
from .measure import Bench, Line
from .memory import memory
from .start import start
from .throughput import throughput
from .trouble import trouble

__all__ = ["ROWS", "title"]

Row = Callable[[Bench], list[Line]]

ROWS: Mapping[str, Row] = {
    "call": bursts,
    "tail": tails,
    "trouble": trouble,
    "nested": nested,
    "structlog": entries,
    "threads": threads,
    "other": others,
    "cpu": cpu,
    "busy": busy,
    "throughput": throughput,
    "memory": memory,
    "idle": idle,
    "start": start,
}


def title(name: str) -> str:
    """Return what a row is about, in a few words: the first line of its text."""
    return (ROWS[name].__doc__ or "").partition("\n")[0].rstrip(".")
