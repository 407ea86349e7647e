"""Counters end to end: against the stand-in, which loses what comes close together as the server.

It writes its profiles every 0.4 s here, where the server takes ten, and clients wait a bit more.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from op_logging import Decrement, Identify, Increment, OpenPanelClient, Track
from op_logging.inspector import InspectorServer
from support import programs
from support.clients import assert_adds_up, client_of, logger_of, shop
from support.scripted_server import OK, Answer, Request, ScriptedServer, Vanish, http
from support.waiting import wait_until

FLUSH = 0.4
INTERVAL = 0.5
PROPERTIES = ("visits", "clicks", "points")
PROFILES = tuple(f"u{number}" for number in range(10))


def count_and_identify(logger: logging.Logger, client: OpenPanelClient) -> Counter[str]:
    """Log 100 increments of each property of each profile, and three identifies."""
    wanted: Counter[str] = Counter()
    for profile in PROFILES:
        logger.info("New", extra={"event": Identify(profile, first_name="Ada")})
    for number in range(100):
        for profile in PROFILES:
            for amount, name in enumerate(PROPERTIES, start=1):
                wanted[name] += amount
                logger.info("Counted", extra={"event": Increment(profile, name, amount)})
            if number in {33, 66}:
                plan = {"plan": f"plan {number}"}
                logger.info("Plan", extra={"event": Identify(profile, properties=plan)})
        assert_adds_up(client.stats())
    return wanted


def stored(server: InspectorServer, name: str) -> int:
    """Return what a property of all profiles comes to, as far as they are written."""
    found = (server.store.profiles[profile].properties for profile in PROFILES)
    return sum(int(properties.get(name, "0")) for properties in found)


def wait_for_writing() -> None:
    """Wait until the stand-in has written all that came in."""
    came = time.monotonic()
    wait_until(lambda: time.monotonic() > came + FLUSH)


def test_increments_add_up_exactly() -> None:
    """Three properties of ten profiles, mixed with identifies: nothing overwrites anything."""
    with InspectorServer(profile_flush=FLUSH) as server:
        with shop(server.url, counter_interval=INTERVAL) as (logger, client):
            wanted = count_and_identify(logger, client)
            assert client.flush(30)
            stats = client.stats()
        wait_for_writing()
        assert {name: stored(server, name) for name in PROPERTIES} == wanted
        for profile in server.store.profiles.values():
            assert (profile.first_name, profile.properties["plan"]) == ("Ada", "plan 66")
        kinds = Counter(call.type for call in server.store.calls)
        assert server.store.refused == []
    assert kinds["identify"] == 30
    assert stats.accepted == 3_030
    assert stats.delivered == sum(kinds.values())
    assert stats.merged == 3_000 - kinds["increment"]
    assert kinds["increment"] <= 60, "they were hardly summed"
    assert stats.reasons == {}


def test_increments_that_are_sent_one_by_one_are_lost() -> None:
    """What the sums are for: the server takes all of them, and most do not count."""
    with InspectorServer(profile_flush=FLUSH) as server:
        with shop(server.url, counter_interval=0, max_connections=2) as (logger, client):
            for profile in PROFILES:
                client.submit(Identify(profile))
            assert client.flush(10)
            wait_for_writing()
            wanted = count_and_identify(logger, client)
            assert client.flush(30)
            assert client.stats().merged == 0
            assert client.stats().delivered == 3_040
        wait_for_writing()
        for name in PROPERTIES:
            assert 0 < stored(server, name) < wanted[name] / 2


def test_a_script_sends_one_exact_sum_at_its_end(tmp_path: Path, server: ScriptedServer) -> None:
    """At once, and not after the interval, which is 12 s."""
    code = """
    from op_logging import Decrement, Increment
    for number in range(100):
        logger.info("Visit", extra={"event": Increment("u1", "visits", 3)})
    logger.info("Visit", extra={"event": Decrement("u1", "visits")})
    """
    began = time.monotonic()
    status, out, errors = programs.run(tmp_path, server.url, code)
    assert (status, out, errors) == (0, "", "")
    assert [request.call for request in server.requests] == [
        {
            "type": "increment",
            "payload": {"profileId": "u1", "property": "visits", "value": 299},
        }
    ]
    assert time.monotonic() - began < 10


def test_a_script_that_ends_too_soon_sends_the_rest_at_risk_and_says_so(
    tmp_path: Path, server: ScriptedServer
) -> None:
    """Within ``shutdown_timeout``, and not long before its end."""
    code = """
    from op_logging import Identify, Increment
    logger.info("New", extra={"event": Identify("u1")})
    for _ in range(5):
        logger.info("Visit", extra={"event": Increment("u1", "visits")})
        logger.info("Click", extra={"event": Increment("u2", "clicks")})
    """
    status, _, errors = programs.run(tmp_path, server.url, code, shutdown_timeout="2")
    assert status == 0
    assert sorted(server.names) == ["identify", "increment", "increment"]
    assert {request.call["payload"].get("value") for request in server.requests} == {None, 5}
    *soon, last = sorted(server.requests, key=lambda request: request.at)
    assert last.call["payload"]["profileId"] == "u1"
    assert last.at - soon[0].at > 0.8, "what is at risk waits as long as it can"
    assert errors.count("the server may lose one of the two") == 1
    assert "increment visits" in errors


def test_close_sends_what_is_held_and_counts_what_is_at_risk(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The first property of a profile is safe, the others are not; nothing is dropped."""
    with ScriptedServer() as server, client_of(server.url, counter_interval=60) as client:
        for name in "abc":
            for _ in range(4):
                client.submit(Increment("u1", name))
        client.submit(Increment("u2", "zero", 2))
        client.submit(Decrement("u2", "zero", 2))
        assert client.close(1.0)
        stats = client.stats()
        bodies = [request.call["payload"] for request in server.requests]
    assert sorted((body["property"], body["value"]) for body in bodies) == [
        ("a", 4), ("b", 4), ("c", 4),
    ]  # fmt: skip
    assert (stats.accepted, stats.delivered, stats.merged, stats.dropped) == (14, 3, 11, 0)
    assert dict(stats.reasons) == {"counter_at_risk": 2}
    assert caplog.text.count("the server may lose one of the two") == 1, "once a minute"


def test_flush_does_not_send_what_is_at_risk() -> None:
    """Its time being up is no reason: somebody may wait again."""
    with ScriptedServer() as server, client_of(server.url, counter_interval=60) as client:
        for name in "ab":
            client.submit(Increment("u1", name))
        assert client.flush(0.5) is False
        assert len(server.requests) == 1
        assert client.stats().held == 1
        assert dict(client.stats().reasons) == {}


def test_what_waits_is_held_and_what_was_summed_is_merged() -> None:
    """The statistics add up at all times; a held sum is as old as its first counter."""
    with ScriptedServer() as server, client_of(server.url, counter_interval=0.6) as client:
        assert client.submit(Increment("u1", "visits"))
        wait_until(lambda: client.stats().held == 1)
        wait_until(lambda: client.stats().oldest > 0.2)
        for _ in range(9):
            client.submit(Increment("u1", "visits"))
        client.submit(Increment("u1", "clicks"))
        wait_until(lambda: client.stats().held == 2)
        stats = client.stats()
        assert (stats.queued, stats.in_flight, stats.merged) == (0, 0, 9)
        assert server.requests == []
        assert_adds_up(stats)

        def is_done() -> bool:
            now = client.stats()
            assert_adds_up(now)
            assert now.merged == 9
            assert now.held + now.queued + now.in_flight + now.delivered == 2
            return now.delivered == 2

        wait_until(is_done)
        first, second = server.requests
    assert second.at - first.at > 0.55
    assert client.stats().oldest == 0.0


def test_a_sum_whose_answer_was_lost_is_not_sent_again() -> None:
    """It may have been stored: it is unconfirmed, once, whatever was merged into it."""
    with ScriptedServer(lambda _request: Vanish()) as server:
        with client_of(server.url, counter_interval=0.05) as client:
            for _ in range(7):
                client.submit(Increment("u1", "visits"))
            assert client.flush(5)
            stats = client.stats()
        assert len(server.requests) == 1
    assert (stats.accepted, stats.merged, stats.dropped, stats.retried) == (7, 6, 1, 0)
    assert dict(stats.reasons) == {"unconfirmed": 1}


def test_a_sum_that_surely_did_not_arrive_is_sent_again_as_it_was() -> None:
    """What came meanwhile is another sum, an interval later."""
    state = {"busy": True}

    def script(_request: Request) -> Answer:
        return http(503, "") if state["busy"] else OK

    with ScriptedServer(script) as server, client_of(server.url, counter_interval=0.2) as client:
        for _ in range(3):
            client.submit(Increment("u1", "visits"))
        server.wait_for(1)
        client.submit(Increment("u1", "visits", 10))
        wait_until(lambda: client.stats().held == 1)
        state["busy"] = False
        assert client.flush(10)
        values = [request.call["payload"]["value"] for request in server.requests]
        times = [request.at for request in server.requests]
    assert values == [3] * (len(values) - 1) + [10]
    assert len(values) > 2
    assert times[-1] - times[-2] >= 0.19


def test_a_counter_of_a_profile_that_is_not_known_yet_waits_for_it() -> None:
    """Another process identifies it; until then the server says 404."""
    with InspectorServer(profile_flush=FLUSH) as server:
        with client_of(server.url, counter_interval=INTERVAL) as client:
            for _ in range(5):
                client.submit(Increment("new", "visits", 2))
            client.submit(Track("seen", profile_id="new"))
            wait_until(lambda: client.stats().retried > 0)
            assert client.stats().rejected == 0
            with client_of(server.url) as other:
                other.submit(Identify("new"))
                assert other.flush(5)
            assert client.flush(20)
            stats = client.stats()
        wait_for_writing()
        assert server.store.profiles["new"].properties == {"visits": "10"}
        statuses = [call.status for call in server.store.calls if call.type == "increment"]
    assert statuses[-1] == 200
    assert set(statuses[:-1]) == {404}
    assert (stats.accepted, stats.delivered, stats.merged) == (6, 2, 4)


def test_raw_counters_are_summed_as_well() -> None:
    """A mapping is as good as an object, and a value that is not given is 1."""
    with ScriptedServer() as server, client_of(server.url, counter_interval=0.3) as client:
        with logger_of(client) as logger:
            for payload in ({}, {"value": 2}, {"value": 0.5}):
                call = {"profileId": "u1", "property": "visits", **payload}
                logger.info("Raw", extra={"event": {"type": "increment", "payload": call}})
            logger.info("Object", extra={"event": Decrement("u1", "visits")})
        assert client.flush(5)
        (request,) = server.requests
    assert request.call["payload"] == {"profileId": "u1", "property": "visits", "value": 2.5}


ODD: list[dict[str, Any]] = [
    {"profileId": "u1", "property": "visits", "value": True},
    {"profileId": "u1", "property": "visits", "value": "3"},
    {"profileId": "u1", "property": "visits", "value": None},
    {"profileId": "u1", "property": "visits", "value": 0},
    {"profileId": "u1", "property": "visits", "value": -1},
    {"profileId": "u1", "property": "visits", "more": 1},
    {"profileId": "u1", "property": "", "value": 1},
    {"profileId": "u1", "property": 5, "value": 1},
    {"profileId": "u1", "value": 1},
    {"profileId": "", "property": "visits", "value": 1},
    {"property": "visits", "value": 1},
    {"profileId": ["u1"], "property": "visits", "value": 1},
]


def test_odd_counters_are_not_summed() -> None:
    """Each is sent as it is, for the server to judge, and holds up no sum."""
    with ScriptedServer() as server, client_of(server.url, counter_interval=60) as client:
        with logger_of(client) as logger:
            for payload in ODD:
                logger.info("Odd", extra={"event": {"type": "increment", "payload": payload}})
            server.wait_for(len(ODD))
            logger.info("Good", extra={"event": Increment("u1", "visits")})
        assert client.flush(5)
        found = [request.call["payload"] for request in server.requests]
    assert sorted(map(str, found[:-1])) == sorted(map(str, ODD))
    assert found[-1] == {"profileId": "u1", "property": "visits", "value": 1}
    assert client.stats().merged == 0
