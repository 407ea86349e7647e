"""How many events a second get through to a server that takes its time.

One POST carries one event, so connections divided by the answer time is all there can be.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from op_logging import OpenPanelClient, Track

from .events import CLIENT_ID, SECRET, NotDeliveredError, body_of, delivered, fresh
from .loopback import Server
from .measure import Bench, Goal, Line, Sample, Versus, constant, rotated
from .references import pool

__all__ = ["ANSWER_TIME", "CONNECTIONS", "throughput"]

ANSWER_TIME = 0.05
CONNECTIONS = (1, 16, 64, 128)
_GOALS = {1: 0.95, 16: 0.95, 64: 0.95}
"""The share of what there can be that is to get through."""
_GOAL_OF_MANY = 2_000.0
"""Events a second that are to get through on the most connections."""
_LATEST = 0.002
"""Seconds by which the server may be late; more is a machine with no time to measure."""
_EXTRA = fresh(1)


def throughput(bench: Bench) -> list[Line]:
    """Events a second over 1, 16, 64 and 128 connections, answers in 50 ms."""
    delay = _delay(bench.plain, bench.amount(20))
    body = body_of(_EXTRA)
    runs: dict[str, Callable[[], float]] = {}
    chosen = (CONNECTIONS[0], CONNECTIONS[-1]) if bench.short else CONNECTIONS
    for connections in chosen:
        waves = 5 if bench.short else 16
        runs[f"many {connections}"] = partial(
            _ours, bench.plain, delay, connections, waves, profiles=100_000
        )
        runs[f"one {connections}"] = partial(
            _ours, bench.plain, delay, connections, waves, profiles=1
        )
        runs[f"pool {connections}"] = partial(_pool, bench.plain, delay, connections, waves, body)
    found = rotated(runs, bench.repetitions(2))
    lines = []
    for connections in chosen:
        for profiles in ("many", "one"):
            ours = Sample("op_logging", tuple(found[f"{profiles} {connections}"]))
            lines.append(_line(connections, profiles, ours))
        ours = Sample("op_logging", tuple(found[f"many {connections}"]))
        beside = Sample("threads, HTTPAdapter", tuple(found[f"pool {connections}"]))
        lines.append(Line(_what(connections, "many"), "events/s", ours, beside))
    return lines


def _line(connections: int, profiles: str, ours: Sample) -> Line:
    what = _what(connections, profiles)
    if connections in _GOALS:
        limit = constant("limit", connections / ANSWER_TIME, ours)
        goal = Goal(_GOALS[connections], at_least=True)
        return Line(what, "events/s", ours, limit, goal=goal)
    goal = Goal(_GOAL_OF_MANY, at_least=True)
    return Line(what, "events/s", ours, versus=Versus.NOTHING, goal=goal)


def _what(connections: int, profiles: str) -> str:
    return f"{connections}, {profiles} profile{'s' if profiles == 'many' else ''}"


def _delay(server: Server, probes: int) -> float:
    """Return the delay with which a bare socket waits just ``ANSWER_TIME`` for an answer.

    Timers and wake-ups are late by a percent of it, differently on every machine, and that is
    nobody's fault who is measured here.
    """
    server.start_over(ANSWER_TIME)
    took = []
    with socket.create_connection(("127.0.0.1", server.port)) as probe:
        for _ in range(probes):
            started = time.perf_counter()
            probe.sendall(b"POST /track HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
            probe.recv(65_536)
            took.append(time.perf_counter() - started)
    late = median(took) - ANSWER_TIME
    return ANSWER_TIME - min(max(0.0, late), _LATEST)


def _ours(server: Server, delay: float, connections: int, waves: int, profiles: int) -> float:
    client = OpenPanelClient(
        CLIENT_ID,
        SECRET,
        api_url=server.url,
        max_connections=connections,
        queue_size=100_000,
    )
    server.start_over(delay)
    properties = {name: value for name, value in _EXTRA.items() if name != "profile_id"}
    try:
        for number in range(connections * waves):
            client.submit(Track("order_paid", properties, profile_id=f"u{number % profiles}"))
        delivered(client)
    finally:
        client.close(1.0)
    return _steady(server.arrivals(), connections, waves)


def _pool(server: Server, delay: float, connections: int, waves: int, body: bytes) -> float:
    server.start_over(delay)
    with pool(server, connections) as running:
        for _ in range(connections * waves):
            running.put(body)
    return _steady(server.arrivals(), connections, waves)


def _steady(arrivals: list[float], connections: int, waves: int) -> float:
    """Return the events a second between a fifth and nine tenths of all events.

    So the opening of connections and the last stragglers are left out. Connections tend to be
    answered in step: whole waves are counted, since a part of one would be no measure.
    """
    if len(arrivals) < connections * waves:
        raise NotDeliveredError(f"{len(arrivals)} of {connections * waves} events came in")
    first, last = round(0.2 * waves) * connections, round(0.9 * waves) * connections - connections
    return (last - first) / (arrivals[last] - arrivals[first])
