"""Outages while a program goes on to log: what goes out meanwhile, and what comes of it all.

Each case logs for two seconds. With ``OP_LOGGING_LONG=60`` in the environment it is so many.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest

from op_logging import DeliveryStats, Identify, OpenPanelClient
from support.clients import assert_adds_up, shop
from support.misbehaving import reset_when_closed
from support.scripted_server import OK, Answer, Hang, Request, ScriptedServer, http
from support.waiting import wait_until

LOGGER = logging.getLogger("tests.outages")
"""Says what was measured: see it with ``--log-cli-level=INFO``."""
SECONDS = float(os.environ.get("OP_LOGGING_LONG", "2"))
RATE = 200
"""Events a second."""
PROFILES = 4
EACH = 10
"""Every tenth call of a profile is a barrier."""
SHORTEST = 0.05
"""Seconds: no pause between two attempts is shorter."""
LONGEST = 0.4
"""Seconds: the longest back-off."""
TIME_OUT = 0.3
LANES = 8
OPTIONS: dict[str, Any] = {
    "max_backoff": LONGEST,
    "timeout": (5.0, 5.0),
    "max_connections": LANES,
    "queue_size": 1_000_000,
}


class Case(NamedTuple):
    """A kind of outage.

    Attributes:
        answer: What the server answers meanwhile.
        says: What is said of it.
        pause: How far apart two attempts are at least, in seconds.
        time_out: Seconds to wait for an answer.
    """

    answer: Answer
    says: str
    pause: float = SHORTEST
    time_out: float = 5.0

    @property
    def is_sure(self) -> bool:
        """Whether what fails was surely not processed."""
        return isinstance(self.answer, bytes)


CASES = {
    "503": Case(http(503, "busy"), r"busy \(503\)"),
    "429": Case(
        http(429, "slower", {"retry-after": "3600"}),
        r"slower \(429\)",
        LONGEST,  # what the server asks for is clamped to it
    ),
    "hung": Case(Hang(), "no answer in time", TIME_OUT, TIME_OUT),
}


class Log:
    """What the server saw, in order.

    Attributes:
        answer: What everybody gets.
        seen: Profile, number, and whether it was taken, of each call.
        failed: When each request came in that was not taken.
    """

    def __init__(self) -> None:
        self.answer: Answer = OK
        self.seen: list[tuple[str, int, bool]] = []
        self.failed: list[float] = []
        self._lock = threading.Lock()

    def script(self, request: Request) -> Answer:
        """Answer a request."""
        payload = request.call["payload"]
        with self._lock:
            answer = self.answer
            is_taken = answer is OK
            number = int(payload["properties"]["number"])
            self.seen.append((payload["profileId"], number, is_taken))
            if not is_taken:
                self.failed.append(request.at)
        return answer

    def check_order(self, logged: int, *, is_sure: bool = True) -> None:
        """Check that all was taken, once if it is sure, and came in in the promised order."""
        taken: dict[str, set[int]] = {}
        for profile, number, is_taken in self.seen:
            known = taken.setdefault(profile, set())
            assert not is_sure or number not in known, f"{number} came again after it was taken"
            first = 0 if is_barrier(number) else number - number % EACH
            # A barrier comes after all that was logged before it, and others after theirs.
            before = range(first, number) if is_barrier(number) else range(first, first + 1)
            missing = [other for other in before if other not in known and other != number]
            assert missing == [], f"{number} came before {missing}"
            if is_taken:
                known.add(number)
        assert sum(map(len, taken.values())) == logged


def is_barrier(number: int) -> bool:
    """Tell whether that call of a profile is an identify."""
    return number % EACH == 0


class Load:
    """Logs at a steady rate, while somebody looks at the statistics all the time.

    Attributes:
        logged: How many calls were logged so far.
        looks: How many times somebody looked.
    """

    def __init__(self, logger: logging.Logger, client: OpenPanelClient) -> None:
        self.logged = 0
        self.looks = 0
        self.total = int(RATE * SECONDS)
        self._logger = logger
        self._client = client
        self._over = threading.Event()
        self._errors: list[BaseException] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Log, and look, beside what the test does; at its end all is logged."""
        logging_, looking = (
            threading.Thread(target=self._run, args=(each,)) for each in (self._log, self._look)
        )
        logging_.start()
        looking.start()
        try:
            yield
            logging_.join(SECONDS + 20)
            assert self.logged == self.total
            assert self._client.flush(SECONDS + 20)
        finally:
            self._over.set()
            logging_.join(10)
            looking.join(10)
        assert self._errors == []

    def wait_for(self, share: float) -> None:
        """Wait until such a share of all calls was logged."""
        wait_until(lambda: self.logged >= share * self.total, SECONDS + 20)

    def _run(self, what: Callable[[], None]) -> None:
        try:
            what()
        except BaseException as error:  # noqa: BLE001 - the test fails of it
            self._errors.append(error)

    def _log(self) -> None:
        began = time.monotonic()
        for turn in range(self.total):
            number, profile = divmod(turn, PROFILES)
            who, properties = f"u{profile}", {"number": number}
            event: object = "seen"
            if is_barrier(number):
                event = Identify(who, properties=properties)
            extra = {"event": event, "profile_id": who, **properties}
            self._logger.info("Something", extra=extra)
            self.logged += 1
            if self._over.wait(max(0.0, began + self.logged / RATE - time.monotonic())):
                return

    def _look(self) -> None:
        last = DeliveryStats()
        while not self._over.wait(0.005):
            before, stats, after = self.logged, self._client.stats(), self.logged
            assert_adds_up(stats)
            assert before <= stats.accepted <= after + 1
            assert stats.delivered >= last.delivered
            assert (stats.rejected, stats.dropped, stats.merged, stats.held) == (0, 0, 0, 0)
            last = stats
            self.looks += 1


def check_pace(times: list[float], seconds: float, pause: float, at_once: int) -> float:
    """Check that attempts are spaced as one back-off spaces them.

    Args:
        times: When each came in.
        seconds: How long the outage was.
        pause: The shortest pause.
        at_once: How many may have been out when it began: they fail together, as one.

    Returns:
        How many there were in a second.
    """
    gaps = [after - before for before, after in itertools.pairwise(times)]
    while len(gaps) > len(times) - at_once and gaps[0] < pause * 0.9:
        del gaps[0]
    assert all(gap >= pause * 0.9 for gap in gaps), gaps
    assert len(times) <= at_once + seconds / pause + 1
    # Even if each pause was the longest, and the machine slow, somebody looks again.
    assert len(times) >= seconds / (LONGEST + TIME_OUT + 0.5)
    return len(times) / seconds


def check_words(caplog: pytest.LogCaptureFixture, url: str, says: str, waited: range) -> None:
    """Check that the outage was said when it began and when it ended, and not in between."""
    said = [record.getMessage() for record in caplog.records if record.name == "op_logging"]
    assert len(said) == 2, said
    begin, end = said
    assert re.match(re.escape(url) + f" takes no events: .*{says}", begin), begin
    found = re.search(
        r" takes events again after ([0-9.]+) s: (\d+) waited, 0 were lost meanwhile$", end
    )
    assert found, end
    assert float(found[1]) > SECONDS / 4
    assert int(found[2]) in waited


def check_books(load: Load, client: OpenPanelClient, attempts: int | None = None) -> None:
    """Check that all was delivered, and what was tried again was counted."""
    stats = client.stats()
    assert_adds_up(stats)
    assert (stats.accepted, stats.delivered, stats.oldest) == (load.total, load.total, 0.0)
    assert dict(stats.reasons) == {}
    assert load.looks > 20
    if attempts is not None:
        assert stats.retried == attempts


@pytest.mark.parametrize("name", CASES)
def test_a_server_that_takes_nothing_for_a_while(
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the middle of it all; with connections that are open, and stay so."""
    case, log = CASES[name], Log()
    options = {**OPTIONS, "timeout": (5.0, case.time_out)}
    with ScriptedServer(log.script) as server, shop(server.url, **options) as (logger, client):
        load = Load(logger, client)
        with load.going_on():
            load.wait_for(0.25)
            log.answer, began = case.answer, time.monotonic()
            load.wait_for(0.75)
            least = client.stats().queued // 2
            log.answer, ended = OK, time.monotonic()
        pace = check_pace(log.failed, ended - began, case.pause, LANES)
        LOGGER.info("%s: %.1f attempts a second", name, pace)
        check_words(caplog, server.url, case.says, range(least, load.total))
        # A slow machine may read a request after its time is up: then nothing is sure.
        check_books(load, client, len(log.failed) if case.is_sure else None)
        log.check_order(load.total, is_sure=case.is_sure)


class Late(ScriptedServer):
    """A server at a port that refuses connections until it is opened."""

    def __init__(self, script: Callable[[Request], Answer]) -> None:
        super().__init__(script)
        self._listener.close()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Late:  # noqa: PYI034 - Self is in typing from 3.11 on
        return self

    def open(self) -> None:
        """Take connections from now on."""
        self._listener.listen(256)
        self._run(self._accept)


def test_a_port_that_is_closed_and_then_opened(caplog: pytest.LogCaptureFixture) -> None:
    """From the first event on. Only the client itself sees the attempts, and counts them."""
    log = Log()
    with Late(log.script) as server, shop(server.url, **OPTIONS) as (logger, client):
        load, began = Load(logger, client), time.monotonic()
        with load.going_on():
            load.wait_for(0.6)
            attempts, least = client.stats().retried, client.stats().queued // 2
            seconds = time.monotonic() - began
            server.open()
        assert seconds / (LONGEST + 0.5) <= attempts <= LANES + seconds / SHORTEST + 1
        LOGGER.info("refused: %.1f attempts a second", attempts / seconds)
        check_words(caplog, server.url, "refused", range(least, load.total))
        check_books(load, client)
        log.check_order(load.total)
        assert len(server.requests) == load.total


def test_a_server_that_resets_what_it_accepts(caplog: pytest.LogCaptureFixture) -> None:
    """From the first event on: each attempt is a connection, and reads nothing."""
    log = Log()
    accepted: list[float] = []
    is_open = threading.Event()

    def greet(connection: socket.socket, _number: int) -> bool:
        if is_open.is_set():
            return True
        accepted.append(time.monotonic())
        with contextlib.suppress(OSError):
            reset_when_closed(connection)
        return False

    with ScriptedServer(log.script) as server, shop(server.url, **OPTIONS) as (logger, client):
        server.greeting = greet
        load, began = Load(logger, client), time.monotonic()
        with load.going_on():
            load.wait_for(0.6)
            least, seconds = client.stats().queued // 2, time.monotonic() - began
            is_open.set()
        pace = check_pace(accepted, seconds, SHORTEST, LANES)
        LOGGER.info("reset: %.1f attempts a second", pace)
        check_words(caplog, server.url, "", range(least, load.total))
        check_books(load, client, len(accepted))
        log.check_order(load.total)
        assert len(server.requests) == load.total
