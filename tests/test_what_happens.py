"""Each answer that a server may give, for a plain event and for what must not count twice."""

from __future__ import annotations

import email.utils
import time

import pytest

from op_logging import Increment, Revenue, Track
from support.clients import SECRET, client_of, shop
from support.scripted_server import OK, Request, ScriptedServer, http
from support.waiting import wait_until
from support.what_happens import CALLS, IDS, QUICK, Call, Meaning, check

DELIVERED, REJECTED, AGAIN, AMBIGUOUS = Meaning
HTML = "<html><body><h1>Sorry</h1></body></html>"
ANSWERS = [
    (http(200, {"deviceId": "d", "sessionId": "s"}), DELIVERED, ""),
    (http(200, "Duplicate event"), DELIVERED, ""),
    (http(200, ""), DELIVERED, ""),
    (http(200, '{"deviceId": '), DELIVERED, ""),
    (http(200, HTML), DELIVERED, ""),
    (http(200, {"status": 500, "error": "Internal server error"}), DELIVERED, ""),
    (http(201, ""), DELIVERED, ""),
    (http(201, {"bot": {"name": "Googlebot"}}), DELIVERED, ""),
    (b"HTTP/1.1 204 No Content\r\n\r\n", DELIVERED, ""),
    (http(202, ""), DELIVERED, ""),
    (http(202, {"bot": None}), DELIVERED, ""),
    (http(202, "bot"), DELIVERED, ""),
    (http(202, '["bot"]'), DELIVERED, ""),
    (http(202, {"bot": {"name": "Googlebot", "category": "Search"}}), REJECTED, "bot"),
    (http(202, {"bot": True}), REJECTED, "bot"),
    (http(400, {"status": 400, "message": "body/payload/name Too big"}), REJECTED, "bad_request"),
    (http(400, "{"), REJECTED, "bad_request"),
    (http(400, HTML), REJECTED, "bad_request"),
    (http(403, HTML), REJECTED, "http_403"),
    (http(413, {"message": "too large"}), REJECTED, "too_large_for_server"),
    (http(415, {"message": "Unsupported"}), REJECTED, "unsupported_media_type"),
    (http(422, ""), REJECTED, "http_422"),
    (http(431, ""), REJECTED, "headers_too_large"),
    (
        http(401, "Ingestion: Revenue tracking is not allowed without a client secret"),
        REJECTED,
        "refused",
    ),
    (http(401, "Ingestion: IP address is blocked by project filter"), REJECTED, "refused"),
    (http(401, {"message": "Profile id is blocked by project filter"}), REJECTED, "refused"),
    (http(401, "Ingestion: Missing client id"), AGAIN, ""),
    (http(401, "Ingestion: Client ID must be a valid UUIDv4"), AGAIN, ""),
    (http(401, "Ingestion: Invalid client id"), AGAIN, ""),
    (http(401, "Ingestion: Client has no project"), AGAIN, ""),
    (http(401, "Ingestion: Invalid cors or secret"), AGAIN, ""),
    (http(401, {"error": "Invalid client credentials", "status": 401}), AGAIN, ""),
    (http(401, "a text that nobody knows"), AGAIN, ""),
    (http(401, ""), AGAIN, ""),
    (http(402, ""), AGAIN, ""),
    (http(404, {"message": "Route POST:/track not found"}), AGAIN, ""),
    (http(404, HTML), AGAIN, ""),
    (http(405, ""), AGAIN, ""),
    (http(300, ""), AGAIN, ""),
    (http(304, ""), AGAIN, ""),
    (http(429, {"status": 429, "error": "Too Many Requests"}), AGAIN, ""),
    (http(503, HTML), AGAIN, ""),
    (http(408, ""), AMBIGUOUS, ""),
    (http(425, ""), AMBIGUOUS, ""),
    (http(500, "Internal server error"), AMBIGUOUS, ""),
    (http(501, ""), AMBIGUOUS, ""),
    (http(502, HTML), AMBIGUOUS, ""),
    (http(504, HTML), AMBIGUOUS, ""),
    (http(520, HTML), AMBIGUOUS, ""),
    (http(524, HTML), AMBIGUOUS, ""),
    (http(599, ""), AMBIGUOUS, ""),
    (http(999, ""), AMBIGUOUS, ""),
    (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", AMBIGUOUS, ""),
]


@pytest.mark.parametrize("call", CALLS, ids=IDS)
@pytest.mark.parametrize(("answer", "meaning", "reason"), ANSWERS)
def test_each_answer_has_its_consequence(
    answer: bytes, meaning: Meaning, reason: str, call: Call
) -> None:
    """One attempt, or two where that is right; and the next call goes through."""
    check(call, meaning, reason, answer=answer)


@pytest.mark.parametrize("answer", [row[0] for row in ANSWERS if row[1] is AMBIGUOUS])
def test_nothing_that_may_have_arrived_is_sent_again_where_that_is_not_wanted(
    answer: bytes,
) -> None:
    """With ``retry_ambiguous=False`` a plain event is treated as revenue is."""
    with ScriptedServer(lambda _request: answer) as server:
        with client_of(server.url, **QUICK, retry_ambiguous=False) as client:
            client.submit(Track("event"))
            assert client.flush(5)
            assert dict(client.stats().reasons) == {"unconfirmed": 1}
        assert server.names == ["event"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_anywhere(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """The target sees nothing, revenue is neither lost nor doubled, and the address is said."""
    with ScriptedServer() as elsewhere:
        moved = http(status, "", {"location": f"{elsewhere.url}/track"})
        check(Revenue(100), AGAIN, answer=moved)
        assert (elsewhere.connections, elsewhere.requests) == (0, [])
        (said,) = [text for text in caplog.messages if "takes no events" in text]
    assert f"redirect to {elsewhere.url}/track ({status})" in said
    assert SECRET not in caplog.text


@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_to_nowhere_is_one_all_the_same(status: int) -> None:
    """It may even name no address."""
    check(Track("event"), AGAIN, answer=http(status, ""))


def test_only_a_counter_waits_for_its_profile() -> None:
    """The server may learn of it yet. No other call is refused in these words."""
    unknown = http(404, {"status": 404, "message": "Profile not found"})
    check(Increment("u1", "visits"), AGAIN, answer=unknown, counter_interval=0)
    check(Track("event"), REJECTED, "unknown_profile", answer=unknown)


WAITS = [
    ({"retry-after": "0.4"}, 0.4),
    ({"x-ratelimit-reset": "0.4"}, 0.4),
    ({"retry-after": "soon", "x-ratelimit-reset": "0.4"}, 0.4),
    ({"Retry-After": "1e300"}, 0.5),
    ({"x-ratelimit-reset": "99999999"}, 0.5),
    ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 0.5),
    ({"retry-after": "-1e300"}, 0.0),
    ({"retry-after": "-7"}, 0.0),
    ({"retry-after": "Mon, 01 Jan 1990 00:00:00 GMT"}, 0.0),
    ({"retry-after": "inf"}, 0.0),
    ({"retry-after": "nan"}, 0.0),
    ({"retry-after": "soon"}, 0.0),
    ({"retry-after": ""}, 0.0),
    ({"retry-after": "9" * 5000}, 0.0),
    ({"retry-after": "Mon, 99 Foo 2025 25:61:61 GMT"}, 0.0),
]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("headers", "least"), WAITS)
def test_the_server_may_ask_for_a_pause(
    headers: dict[str, str], least: float, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is honoured up to ``max_backoff`` for all calls, and an absurd one does no harm."""
    monkeypatch.setattr("op_logging._pace.backoff", lambda _longest: 0.05)
    monkeypatch.setattr("op_logging._delivery.backoff", lambda _longest: 0.05)

    def script(request: Request) -> bytes:
        return http(status, "", headers) if request.number == 1 else OK

    with ScriptedServer(script) as server, client_of(server.url, max_backoff=0.5) as client:
        client.submit(Revenue(100))
        wait_until(lambda: client.stats().retried)
        client.submit(Track("event"))
        assert client.flush(10)
        first, *others = server.requests
        stats = client.stats()
    assert (stats.delivered, stats.retried, len(others)) == (2, 1, 2)
    assert min(request.at for request in others) - first.at >= least - 0.01


def test_the_pause_may_be_a_date() -> None:
    """A second is the finest that a date can say."""

    def script(request: Request) -> bytes:
        date = email.utils.formatdate(time.time() + 2, usegmt=True)
        return http(503, "", {"retry-after": date}) if request.number == 1 else OK

    with ScriptedServer(script) as server, client_of(server.url, max_backoff=30) as client:
        client.submit(Revenue(100))
        assert client.flush(20)
        first, second = server.requests
    assert second.at - first.at >= 0.9


@pytest.mark.parametrize("status", [500, 502, 504])
def test_five_errors_of_the_server_for_one_call_while_others_get_through_are_its_fault(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is refused after exactly five attempts, and the others were sent once each."""

    def script(request: Request) -> bytes:
        return http(status, "Internal server error") if request.name == "poison" else OK

    with ScriptedServer(script) as server, shop(server.url, max_backoff=0.05) as (logger, client):
        logger.info("Bad", extra={"event": "poison", "profile_id": "u1"})
        server.wait_for(1)
        sent = 0
        while not client.stats().rejected:
            assert sent < 500
            logger.info("Good", extra={"event": f"event {sent}"})
            sent += 1
            assert client.flush(0.02) in {True, False}
        assert client.flush(10)
        stats = client.stats()
        names = server.names
    assert names.count("poison") == 5
    assert len(names) == len(set(names)) + 4
    assert (stats.delivered, stats.retried) == (sent, 4)
    assert dict(stats.reasons) == {"server_error": 1}
    (said,) = [text for text in caplog.messages if "poison" in text]
    assert "Internal server error" in said
    assert f"{__file__}:" in said


def test_errors_of_the_server_for_every_call_are_nobodys_fault() -> None:
    """However often: then the server is down, and everything waits."""
    state = {"down": True}

    def script(_request: Request) -> bytes:
        return http(500, "Internal server error") if state["down"] else OK

    with ScriptedServer(script) as server, client_of(server.url, max_backoff=0.05) as client:
        for number in range(3):
            client.submit(Track(f"event {number}"))
        server.wait_for(25)
        assert client.stats().rejected == 0
        state["down"] = False
        assert client.flush(10)
        assert client.stats().delivered == 3


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
def test_whatever_a_server_says_the_secret_is_not_repeated(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in what is logged, nor in the statistics, nor as a part of a redirect's address."""
    answers = iter(
        [
            http(status, f"no {SECRET}"),
            http(status, {"message": "x" * 190 + SECRET}),
            http(307, "", {"location": f"http://127.0.0.1/{SECRET}"}),
        ]
    )
    with ScriptedServer(lambda _request: next(answers, OK)) as server:
        with client_of(server.url, **QUICK) as client:
            for _ in range(3):
                client.submit(Track("event"))
                client.flush(0.2)
                assert SECRET[:8] not in str(client.stats())
            assert client.flush(10)
            assert len(server.requests) >= 4
    assert caplog.text
    assert SECRET[:8] not in caplog.text
