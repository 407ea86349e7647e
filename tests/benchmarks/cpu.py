"""Processor time of an event, from the log call to the answer.

The server is in a process of its own, so that `time.process_time` counts this side alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from .events import body_of, fresh, logger_with, tracked
from .loopback import Server, trusting
from .measure import Bench, Goal, Line, Sample, Versus, at_rate, rotated
from .references import http_client, session

__all__ = ["WAYS", "cpu"]

WAYS = ("plain", "TLS")
_PACE = 500
"""Events a second, for the events that do not come in bursts."""


def cpu(bench: Bench) -> list[Line]:
    """An event of 500 bytes over one kept-alive connection.

    What the log call costs with a ``NullHandler`` is taken off ours, since it is paid without us,
    too; rendering is in it. The references are given bytes that are rendered already.
    """
    found: list[Line] = []
    for how, server in zip(WAYS, (bench.plain, bench.secure), strict=True):
        with trusting(server):
            found += _burst(bench, server, how)
    return found + _paced(bench)


def _burst(bench: Bench, server: Server, how: str) -> list[Line]:
    server.start_over()
    events = bench.amount(1_000)
    extra, body = fresh(1), body_of(fresh(1))
    with ExitStack() as stack:
        ours = stack.enter_context(tracked(server, max_connections=1))
        nothing = stack.enter_context(logger_with(logging.NullHandler()))
        plain = stack.enter_context(http_client(server))
        posts = stack.enter_context(session(server))

        def deliver() -> None:
            for _ in range(events):
                ours.logger.info("Order paid", extra=extra)
            ours.flush()

        def log_only() -> None:
            for _ in range(events):
                nothing.info("Order paid", extra=extra)

        found = _cost(
            {
                "op_logging": deliver,
                "NullHandler": log_only,
                "http.client": partial(_post, plain.post, body, events),
                "requests.Session.post": partial(_post, posts.post, body, events),
            },
            events,
            bench.repetitions(5),
        )
    gross, nothing_done = found["op_logging"], found["NullHandler"]
    net = _less("op_logging", gross, nothing_done)
    return [
        Line(f"{how}, burst", "µs", net, found["http.client"], goal=Goal(0.5)),
        Line(f"{how}, burst", "µs", net, found["requests.Session.post"], goal=Goal(0.1)),
        Line(f"{how}, with the log call", "µs", gross, nothing_done, Versus.NOTHING),
    ]


def _paced(bench: Bench) -> list[Line]:
    """The same at so many events a second; sleeping costs both, and is taken off both."""
    bench.plain.start_over()
    extra, body = fresh(1), body_of(fresh(1))
    seconds = bench.seconds(1.0)
    events = round(seconds * _PACE)
    with ExitStack() as stack:
        ours = stack.enter_context(tracked(bench.plain, max_connections=1))
        nothing = stack.enter_context(logger_with(logging.NullHandler()))
        plain = stack.enter_context(http_client(bench.plain))

        def deliver() -> None:
            at_rate(lambda: ours.logger.info("Order paid", extra=extra), _PACE, seconds)
            ours.flush()

        found = _cost(
            {
                "op_logging": deliver,
                "NullHandler": lambda: at_rate(
                    lambda: nothing.info("Order paid", extra=extra), _PACE, seconds
                ),
                "http.client": lambda: at_rate(lambda: plain.post(body), _PACE, seconds),
                "nothing": lambda: at_rate(lambda: None, _PACE, seconds),
            },
            events,
            bench.repetitions(3),
        )
    net = _less("op_logging", found["op_logging"], found["NullHandler"])
    beside = _less("http.client", found["http.client"], found["nothing"])
    return [Line(f"plain, {_PACE}/s", "µs", net, beside, goal=Goal(0.5))]


def _post(post: Callable[[bytes], None], body: bytes, events: int) -> None:
    for _ in range(events):
        post(body)


def _cost(
    contenders: dict[str, Callable[[], object]], events: int, repetitions: int
) -> dict[str, Sample]:
    """Return the processor time an event of each contender, in microseconds."""

    def one(run: Callable[[], object]) -> float:
        before = time.process_time()
        run()
        return (time.process_time() - before) / events * 1e6

    found = rotated({name: partial(one, run) for name, run in contenders.items()}, repetitions)
    return {name: Sample(name, tuple(values)) for name, values in found.items()}


def _less(name: str, gross: Sample, taken_off: Sample) -> Sample:
    pairs = zip(gross.values, taken_off.values, strict=True)
    return Sample(name, tuple(one - other for one, other in pairs))
