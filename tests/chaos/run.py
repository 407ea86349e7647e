"""The processes and threads that log into the chaos, and what has to hold at its end."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from op_logging import (
    Decrement,
    Identify,
    Increment,
    OpenPanelClient,
    OpenPanelHandler,
    Revenue,
    Track,
)
from op_logging._calls import Call
from support.clients import CLIENT_ID, SECRET, assert_adds_up
from support.scripted_server import ScriptedServer
from support.waiting import wait_until

from .weather import TIMEOUT, Weather, identity

__all__ = ["Chaos", "Report"]

THREADS = 4
RATE = 150
"""Events a second and thread, about."""
OPTIONS: dict[str, Any] = {
    "flush_interval": 0.02,
    "timeout": (2.0, TIMEOUT),
    "max_backoff": 0.05,
    "counter_interval": 0.05,
    "max_connections": 8,
    "queue_size": 100_000,
}
OPEN_LOSSES = frozenset({"unconfirmed", "closed", "server_error"})
"""Reasons of losses after which nobody knows whether the call was stored."""


@dataclass(frozen=True)
class Logged:
    """A call that was logged: which one, for whom, and after how many others of its profile."""

    number: str
    kind: str
    profile: str
    place: int


@dataclass
class Report:
    """What one process logged, what it heard to be lost, and what its statistics say."""

    logged: list[Logged] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    counters: int = 0
    lost: list[tuple[str, str]] = field(default_factory=list)
    lost_sums: list[tuple[str, float, str]] = field(default_factory=list)

    def on_drop(self, call: dict[str, Any], reason: str) -> None:
        """Take note of a loss."""
        if call["type"] in {"increment", "decrement"}:
            sign = 1 if call["type"] == "increment" else -1
            self.lost_sums.append((identity(call), sign * call["payload"]["value"], reason))
        else:
            self.lost.append((identity(call), reason))


class Shop:
    """One thread that logs, for a profile of its own, in an order that can be checked."""

    def __init__(self, name: str, seed: int, report: Report) -> None:
        self._name = name
        self._random = random.Random(seed)
        self._report = report
        self._places = itertools.count()

    def log(self, logger: logging.Logger) -> None:
        """Log one call of some kind."""
        place = next(self._places)
        number = f"{self._name}.{place}"
        call = self._call(number)
        if isinstance(call, Increment):
            sign = -1 if isinstance(call, Decrement) else 1
            self._report.sums[f"{self._name} {call.property}"] += sign * int(call.value)
            self._report.counters += 1
        else:
            kind = type(call).__name__
            self._report.logged.append(Logged(number, kind, self._name, place))
        logger.info("Something happened", extra={"event": call})

    def _call(self, number: str) -> Call:
        chance = self._random.random()
        if chance < 0.6:
            return Track("seen", {"number": number}, profile_id=self._name)
        if chance < 0.75:
            return Identify(self._name, properties={"number": number})
        if chance < 0.85:
            return Revenue(100, self._name, properties={"number": number})
        kind = Increment if chance < 0.95 else Decrement
        return kind(self._name, self._random.choice("ab"), self._random.randint(1, 5))


class Chaos:
    """One run.

    Args:
        seed: What all chances follow from, but for the order in which threads run.
        seconds: How long to log.
    """

    def __init__(self, seed: int, seconds: float) -> None:
        self._random = random.Random(seed)
        self._seconds = seconds
        self.weather = Weather(seed)
        self.report = Report()
        self.children: list[Report] = []
        self._over = threading.Event()
        self._failed: list[BaseException] = []

    def run(self) -> dict[str, object]:
        """Run it; return figures. Raises AssertionError if a promise was broken."""
        before = _descriptors()
        with ScriptedServer(self.weather.script) as server:
            server.greeting = self.weather.greeting
            client = OpenPanelClient(
                CLIENT_ID, SECRET, api_url=server.url, on_drop=self.report.on_drop, **OPTIONS
            )
            logger = logging.getLogger(f"chaos.{id(self)}")
            logger.setLevel(logging.INFO)
            logger.propagate = False
            with _handler(logger, client):
                self._log_from_all_sides(logger, client, server.url)
                self.weather.storm = 0.0
                assert client.flush(60), client.stats()
            assert client.close(10)
            stats = client.stats()
        assert not self._failed, self._failed
        assert stats.accepted == len(self.report.logged) + self.report.counters
        assert_adds_up(stats)
        heard = len(self.report.lost) + len(self.report.lost_sums)
        assert heard == stats.rejected + stats.dropped, (heard, stats)
        for report in [self.report, *self.children]:
            self._check(report)
        threads = [each.name for each in threading.enumerate() if "op_logging" in each.name]
        assert threads == [], threads
        assert _descriptors() <= before
        return {
            "events": stats.accepted,
            "children": len(self.children),
            "children's events": sum(len(each.logged) for each in self.children),
            "requests": sum(self.weather.kinds.values()),
            "retried": stats.retried,
            "reasons": dict(stats.reasons),
            "sent twice": sum(seen.stored > 1 for seen in self.weather.seen.values()),
        }

    def _log_from_all_sides(
        self, logger: logging.Logger, client: OpenPanelClient, url: str
    ) -> None:
        jobs: list[Callable[[], None]] = [
            partial(self._come_and_go, logger, client),
            partial(self._look, client),
        ]
        for number in range(THREADS):
            shop = Shop(f"t{number}", self._random.randrange(10**6), self.report)
            jobs.append(partial(self._keep_shop, shop, logger))
        threads = [threading.Thread(target=self._guarded, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        until = time.monotonic() + self._seconds
        try:
            while time.monotonic() < until:
                self.weather.storm = self._random.choice([0.0, 0.2, 0.5, 0.9])
                self._fork(url)
                client.flush(self._random.choice([0.0, 0.05]))
                if self._random.random() < 0.05:
                    client.close(self._random.choice([0.0, 0.1]))
                time.sleep(0.1)
        finally:
            self._over.set()
            for thread in threads:
                thread.join(30)

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            while not self._over.is_set():
                job()
        except BaseException as error:  # noqa: BLE001 - shown at the end
            self._failed.append(error)

    def _keep_shop(self, shop: Shop, logger: logging.Logger) -> None:
        shop.log(logger)
        self._over.wait(1 / RATE)

    def _come_and_go(self, logger: logging.Logger, client: OpenPanelClient) -> None:
        """Let another handler of the same client pass the same records for a while."""
        with _handler(logger, client):
            self._over.wait(0.02)

    def _look(self, client: OpenPanelClient) -> None:
        assert_adds_up(client.stats())
        self._over.wait(0.005)

    def _fork(self, url: str) -> None:
        """Let a child log, end and report through a pipe."""
        number = len(self.children)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(reader)
                os.write(writer, _child(number, url).encode())
                status = 0
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader, encoding="utf-8") as stream:
            found = json.loads(stream.read() or "null")
        assert os.waitpid(child, 0)[1] == 0
        assert found is not None, "a child ended without a report"
        self.children.append(
            Report(
                [Logged(*each) for each in found["logged"]],
                Counter(found["sums"]),
                found["counters"],
                [tuple(each) for each in found["lost"]],
                [tuple(each) for each in found["lost_sums"]],
            )
        )

    def _check(self, report: Report) -> None:
        """Check the promises for what one process logged."""
        lost = dict(report.lost)
        assert len(lost) == len(report.lost), "something was lost twice"
        for each in report.logged:
            seen, reason = self.weather.seen[each.number], lost.get(each.number)
            about = (each, seen, reason)
            assert seen.stored or reason, about
            assert not (seen.stored and reason) or reason in OPEN_LOSSES or seen.ambiguous, about
            assert seen.stored <= 1 or (seen.ambiguous and each.kind != "Revenue"), about
            assert not seen.after_doubt or each.kind != "Revenue", about
            assert not seen.after_the_end, about
        self._check_order(report)
        lost_sums: Counter[str] = Counter()
        unsure: Counter[str] = Counter()
        for name, value, reason in report.lost_sums:
            lost_sums[name] += int(value)
            unsure[name] += abs(int(value)) * (reason in OPEN_LOSSES)
        for name, logged in report.sums.items():
            missing = logged - self.weather.sums[name] - lost_sums[name]
            assert abs(missing) <= unsure[name], (name, logged, self.weather.sums[name], lost_sums)

    def _check_order(self, report: Report) -> None:
        """Check that no call of a profile came in before a barrier that was logged before it."""
        for _, calls in itertools.groupby(
            sorted(report.logged, key=lambda each: (each.profile, each.place)),
            key=lambda each: each.profile,
        ):
            latest, since_barrier = 0.0, 0.0
            for each in calls:
                arrived = self.weather.seen[each.number].arrived
                if not arrived:
                    continue
                if each.kind == "Identify":
                    assert arrived >= latest, (each, "overtook what came before it")
                    since_barrier = arrived
                assert arrived >= since_barrier, (each, "came before its barrier")
                latest = max(latest, arrived)


def _child(number: int, url: str) -> str:
    """Log in a forked child, with a client of its own; return the report as JSON."""
    report = Report()
    client = OpenPanelClient(CLIENT_ID, SECRET, api_url=url, on_drop=report.on_drop, **OPTIONS)
    logger = logging.getLogger(f"chaos.child.{number}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    shop = Shop(f"c{number}", number, report)
    with _handler(logger, client):
        for _ in range(20):
            shop.log(logger)
        client.flush(2)
    client.close(2)
    stats = client.stats()
    assert_adds_up(stats)
    assert stats.accepted == len(report.logged) + report.counters, stats
    assert stats.queued == stats.held == 0, stats

    def has_heard_of_all() -> bool:  # also of what was out, and lost at last
        stats = client.stats()
        heard = len(report.lost) + len(report.lost_sums)
        return not stats.in_flight and heard == stats.rejected + stats.dropped

    wait_until(has_heard_of_all)
    return json.dumps(
        {
            "logged": [[e.number, e.kind, e.profile, e.place] for e in report.logged],
            "sums": report.sums,
            "counters": report.counters,
            "lost": report.lost,
            "lost_sums": report.lost_sums,
        }
    )


@contextlib.contextmanager
def _handler(logger: logging.Logger, client: OpenPanelClient) -> Iterator[OpenPanelHandler]:
    handler = OpenPanelHandler(CLIENT_ID, SECRET, client=client)
    logger.addHandler(handler)
    try:
        yield handler
    finally:
        logger.removeHandler(handler)
        handler.close(0)


def _descriptors() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0
