"""What a main thread that never rests loses to delivery, and whether delivery keeps up."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from .events import body_of, fresh, logger_with, tracked
from .loopback import Server, trusting
from .measure import Bench, Goal, Line, Sample, Versus, rotated
from .references import pool

__all__ = ["busy"]

_ANSWER_TIME = 0.05
_THREADS = 64
_KEPT = {100: 0.97, 500: 0.94, 1_000: 0.9}
"""The share of its rounds that the thread is to keep, by events a second."""
_BESIDE = 500
"""Events a second for TLS and for the reference."""
_MOST_LATE = 2.0
_ROUNDS = range(200)
_EXTRA = fresh(1)


@dataclass(frozen=True)
class _Shop:
    """Where a busy thread logs to."""

    log: Callable[[], object]
    waiting: Callable[[], int] = lambda: 0
    settle: Callable[[], object] = lambda: None
    lead: float = 0.1
    """Seconds before rounds are counted: long enough for delivery to be under way."""


@dataclass(frozen=True)
class _Run:
    """What became of one stretch.

    Attributes:
        rounds: How many rounds a second the thread did.
        alone: How many it did just before and after, while nothing was shipped.
        waiting: How many events were not delivered when it ended.
        late: How many seconds later they were.
    """

    rounds: float
    alone: float
    waiting: int
    late: float


def busy(bench: Bench) -> list[Line]:
    """A main thread that computes without a rest and logs at a pace; answers in 50 ms."""
    with _shops(bench) as (ours, secure, pooled, alone):
        runs = {f"op_logging {rate}": partial(_run, bench, ours, alone, rate) for rate in _KEPT}
        runs["TLS"] = partial(_run, bench, secure, alone, _BESIDE)
        runs["pool"] = partial(_run, bench, pooled, alone, _BESIDE)
        found = rotated(runs, bench.repetitions(3))
    lines = []
    for rate, share in _KEPT.items():
        lines += _lines(f"{rate}/s", found[f"op_logging {rate}"], share)
    lines += _lines(f"{_BESIDE}/s, TLS", found["TLS"], _KEPT[_BESIDE])
    return lines + _reference(found[f"op_logging {_BESIDE}"], found["pool"])


def _lines(what: str, runs: Sequence[_Run], share: float) -> list[Line]:
    """Return what was kept beside a thread that ships nothing, and how delivery kept up."""
    rounds = Sample("op_logging", tuple(run.rounds / 1e6 for run in runs))
    alone = Sample("NullHandler", tuple(run.alone / 1e6 for run in runs))
    waiting, late = _kept_up("op_logging", runs)
    kept = Goal(share, at_least=True)
    return [
        Line(f"{what}, kept", "million rounds/s", rounds, alone, goal=kept),
        Line(f"{what}, waiting at the end", "events", waiting),
        Line(f"{what}, delivered after", "s", late, versus=Versus.NOTHING, goal=Goal(_MOST_LATE)),
    ]


def _reference(runs: Sequence[_Run], pooled: Sequence[_Run]) -> list[Line]:
    """Return the same of a pool of threads, beside ours."""
    name, what = f"{_THREADS} threads, HTTPAdapter", f"{_BESIDE}/s"
    ours = Sample("op_logging", tuple(100.0 * run.rounds / run.alone for run in runs))
    others = Sample(name, tuple(100.0 * run.rounds / run.alone for run in pooled))
    waiting, late = _kept_up("op_logging", runs)
    other_waiting, other_late = _kept_up(name, pooled)
    return [
        Line(f"{what}, kept", "%", ours, others, Versus.NOTHING),
        Line(f"{what}, waiting at the end", "events", waiting, other_waiting, Versus.NOTHING),
        Line(f"{what}, delivered after", "s", late, other_late, Versus.NOTHING),
    ]


def _kept_up(name: str, runs: Sequence[_Run]) -> tuple[Sample, Sample]:
    waiting = Sample(name, tuple(float(run.waiting) for run in runs))
    return waiting, Sample(name, tuple(run.late for run in runs))


@contextmanager
def _shops(bench: Bench) -> Iterator[tuple[_Shop, _Shop, _Shop, _Shop]]:
    """Give ours, ours over TLS, the pool of threads, and the one that ships nothing."""
    body = body_of(fresh(1))
    bench.plain.start_over(_ANSWER_TIME)
    bench.secure.start_over(_ANSWER_TIME)
    with ExitStack() as stack:
        stack.enter_context(trusting(bench.secure))  # plain HTTP does not ask
        nothing = stack.enter_context(logger_with(logging.NullHandler()))
        threads = stack.enter_context(pool(bench.plain, _THREADS))
        yield (
            _ours(stack, bench.plain),
            _ours(stack, bench.secure),
            _Shop(lambda: threads.put(body), lambda: threads.waiting, threads.flush, lead=0.3),
            _Shop(partial(_log, nothing)),
        )


def _ours(stack: ExitStack, server: Server) -> _Shop:
    shop = stack.enter_context(tracked(server, max_connections=_THREADS))

    def waiting() -> int:
        stats = shop.client.stats()
        return stats.accepted - stats.delivered

    # The first events wait for others, half a second at most: they are to be on their way.
    return _Shop(partial(_log, shop.logger), waiting, shop.flush, lead=0.6)


def _log(logger: logging.Logger) -> None:
    logger.info("Order paid", extra=_EXTRA)


def _run(bench: Bench, shop: _Shop, alone: _Shop, rate: int) -> _Run:
    """Compute for a second, and log ``rate`` times; then wait until everything has arrived.

    Half a second before it and half a second after it nothing is shipped, so that what the
    machine's speed does meanwhile falls on both.
    """
    half = bench.seconds(0.5)
    before = _compute(alone.log, rate, half)
    _compute(shop.log, rate, bench.seconds(shop.lead))
    rounds = _compute(shop.log, rate, bench.seconds(1.0))
    waiting = shop.waiting()
    ended = time.perf_counter()
    shop.settle()
    late = time.perf_counter() - ended
    after = _compute(alone.log, rate, half)
    return _Run(rounds, (before + after) / 2, waiting, late)


def _compute(log: Callable[[], object], rate: int, seconds: float) -> float:
    """Count without a pause, and log at a pace; return how many rounds a second that made."""
    clock = time.perf_counter
    begin = now = due = clock()
    counted = 0
    while now < begin + seconds:
        if now >= due:
            log()
            due += 1.0 / rate
        for _ in _ROUNDS:
            counted += 1
        now = clock()
    return counted / (now - begin)
