"""What a log call costs the thread that makes it."""

from __future__ import annotations

import logging
import logging.handlers
import queue
import threading
import time
import timeit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from op_logging import OpenPanelProcessor

from .events import CLIENT_ID, FLAT, NESTED, SECRET, logger_with, tracked
from .measure import Bench, Goal, Line, Sample, Versus, at_rate, rotated

__all__ = ["bursts", "entries", "nested", "others", "tails", "threads"]

_RATE, _BURST = 6_000, 30
"""Calls a second, and how many in a row, for the calls made while events are delivered."""


@dataclass(frozen=True)
class Contender:
    """Somebody whose log calls are timed.

    Attributes:
        log: The log call.
        settle: What to do between two repetitions, so that nothing of one is left in the next.
    """

    log: Callable[..., object]
    settle: Callable[[], None]


@contextmanager
def _contenders(bench: Bench) -> Iterator[dict[str, Contender]]:
    """Give three loggers: ours, one that does nothing, and one that queues records."""
    bench.plain.start_over()
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with ExitStack() as stack:
        ours = stack.enter_context(tracked(bench.plain))
        nothing = stack.enter_context(logger_with(logging.NullHandler()))
        queued = stack.enter_context(logger_with(logging.handlers.QueueHandler(records)))
        yield {
            "op_logging": Contender(ours.logger.info, ours.flush),
            "NullHandler": Contender(nothing.info, lambda: None),
            "QueueHandler": Contender(queued.info, partial(_empty, records)),
        }


@contextmanager
def _listened() -> Iterator[Contender]:
    """Give a logger that queues records for a thread that takes them out and does nothing more."""
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(records, logging.NullHandler())
    listener.start()
    try:
        with logger_with(logging.handlers.QueueHandler(records)) as logger:
            yield Contender(logger.info, lambda: None)
    finally:
        listener.stop()


def _empty(records: queue.SimpleQueue[Any]) -> None:
    while not records.empty():
        records.get_nowait()


def bursts(bench: Bench) -> list[Line]:
    """A log call with seven scalar extras, one after the other."""
    found = _bursts(bench, FLAT)
    ours = found["op_logging"]
    return [
        Line("p50", "µs", ours, found["NullHandler"], goal=Goal(1.2)),
        Line("p50", "µs", ours, found["QueueHandler"], goal=Goal(0.7)),
    ]


def nested(bench: Bench) -> list[Line]:
    """The same with a dict and a list among the extras."""
    found = _bursts(bench, NESTED)
    ours = found["op_logging"]
    return [
        Line("p50", "µs", ours, found["NullHandler"], goal=Goal(1.7)),
        Line("p50", "µs", ours, found["QueueHandler"]),
    ]


def _bursts(bench: Bench, extra: Mapping[str, Any]) -> dict[str, Sample]:
    """Return the median call of each repetition for each contender."""

    def one(contender: Contender) -> float:
        took = _timed(contender.log, bench.amount(800), extra=extra)
        contender.settle()
        return _microseconds(took, 0.5)

    with _contenders(bench) as contenders:
        each = {name: partial(one, contender) for name, contender in contenders.items()}
        rotated(each, 1)  # warms up
        found = rotated(each, bench.repetitions(10))
    return {name: Sample(name, tuple(values)) for name, values in found.items()}


def tails(bench: Bench) -> list[Line]:
    """The slow ones among 30,000 log calls, small bursts of them while events are delivered."""

    def one(contender: Contender) -> list[int]:
        took: list[int] = []
        timed = partial(_time_into, took, contender.log, {"extra": FLAT})
        at_rate(timed, _RATE, bench.seconds(1.0), _BURST)
        contender.settle()
        return sorted(took)

    with _contenders(bench) as contenders, _listened() as listened:
        contenders["QueueHandler, listened to"] = listened
        found = rotated(
            {name: partial(one, contender) for name, contender in contenders.items()},
            bench.repetitions(5),
        )
    lines = []
    for what, share in (("p99", 0.99), ("p99.9", 0.999), ("slowest", 1.0)):
        ours, *others = (
            Sample(name, tuple(_microseconds(took, share) for took in repetitions))
            for name, repetitions in found.items()
        )
        for other in others:
            wanted = what == "p99.9" and other.name == "QueueHandler"
            lines.append(Line(what, "µs", ours, other, goal=Goal(1.0) if wanted else None))
    return lines


def _timed(log: Callable[..., object], calls: int, **keywords: Any) -> list[int]:
    """Return how many nanoseconds each of so many log calls took, the quick ones first."""
    clock = time.perf_counter_ns
    took = []
    for _ in range(calls):
        started = clock()
        log("Order paid", **keywords)
        took.append(clock() - started)
    return sorted(took)


def _time_into(
    took: list[int], log: Callable[..., object], keywords: Mapping[str, Mapping[str, Any]]
) -> None:
    started = time.perf_counter_ns()
    log("Order paid", **keywords)
    took.append(time.perf_counter_ns() - started)


def _microseconds(took: Sequence[int], share: float) -> float:
    """Return in how many microseconds such a share of the calls was done."""
    return took[min(len(took) - 1, int(share * len(took)))] / 1e3


def entries(bench: Bench) -> list[Line]:
    """An entry of structlog that goes through a chain with the processor, and one without."""
    bench.plain.start_over()
    fields = {name: value for name, value in FLAT.items() if name != "event"}

    def one(log: Callable[..., object], settle: Callable[[], object]) -> float:
        took = _timed(log, bench.amount(800), _event="order_paid", **fields)
        settle()
        return _microseconds(took, 0.5)

    with tracked(bench.plain) as ours:
        processor = OpenPanelProcessor(CLIENT_ID, SECRET, client=ours.client)
        each = {
            "op_logging": partial(one, _chain(processor), ours.flush),
            "same chain without": partial(one, _chain(), lambda: None),
        }
        rotated(each, 1)  # warms up
        found = rotated(each, bench.repetitions(10))
    with_it, without = (Sample(name, tuple(values)) for name, values in found.items())
    return [Line("p50", "µs", with_it, without, Versus.DIFFERENCE, Goal(1.5))]


def _chain(*processors: Any) -> Callable[..., object]:
    """Return the log call of a logger with these processors and a renderer that costs nothing."""
    logger = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[
            structlog.processors.add_log_level,
            *processors,
            lambda _logger, _method, _entry: "",
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    log: Callable[..., object] = logger.bind().info
    return log


def threads(bench: Bench) -> list[Line]:
    """Eight threads that log at the same time."""
    calls = bench.amount(500)

    def one(contender: Contender) -> float:
        rate = _calls_a_second(contender.log, calls)
        contender.settle()
        return rate

    with _contenders(bench) as contenders:
        each = {name: partial(one, contender) for name, contender in contenders.items()}
        found = rotated(each, bench.repetitions(5))
    ours, nothing, queued = (Sample(name, tuple(values)) for name, values in found.items())
    return [
        Line("together", "calls/s", ours, nothing, goal=Goal(0.7, at_least=True)),
        Line("together", "calls/s", ours, queued),
    ]


def _calls_a_second(log: Callable[..., object], calls: int) -> float:
    ready = threading.Barrier(9)

    def run() -> None:
        ready.wait()
        for _ in range(calls):
            log("Order paid", extra=FLAT)

    running = [threading.Thread(target=run) for _ in range(8)]
    for thread in running:
        thread.start()
    ready.wait()
    started = time.perf_counter()
    for thread in running:
        thread.join()
    return 8 * calls / (time.perf_counter() - started)


class _Idle(logging.Handler):
    """The stock ``handle()`` with its lock, and nothing behind it."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


def others(bench: Bench) -> list[Line]:
    """A record that is no event, handed to the handler itself."""
    bench.plain.start_over()
    record = logging.makeLogRecord({"name": "shop", "levelno": 20, "msg": "Starting", "items": 3})
    rounds = bench.amount(20_000)

    def one(handler: logging.Handler) -> float:
        names = {"handle": handler.handle, "record": record}
        return timeit.timeit("handle(record)", globals=names, number=rounds) / rounds * 1e9

    with tracked(bench.plain) as ours:
        each = {"op_logging": partial(one, ours.handler), "stock handle()": partial(one, _Idle())}
        found = rotated(each, bench.repetitions(9))
    quick, stock = (Sample(name, tuple(values)) for name, values in found.items())
    return [
        Line("handle(record)", "ns", quick, versus=Versus.NOTHING, goal=Goal(200.0)),
        Line("handle(record)", "ns", quick, stock),
    ]
