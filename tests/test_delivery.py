"""What happens to a call, each against a server on a real socket that behaves just so."""

from __future__ import annotations

import socket

import pytest

from op_logging import Identify, Increment, Revenue, Track
from support.clients import CLIENT_ID, SECRET, client_of, shop
from support.scripted_server import OK, Hang, Request, Reset, ScriptedServer, Vanish, http
from support.waiting import wait_until


def test_an_event_arrives_with_the_guides_headers() -> None:
    """One POST to /track, JSON, with credentials and the SDK's name."""
    with ScriptedServer() as server, shop(server.url) as (logger, client):
        logger.info("Paid", extra={"event": "order_paid", "profile_id": "u1", "total": 42})
        assert client.flush(5)
        (request,) = server.requests
    payload = request.call["payload"]
    assert request.path == "/track"
    assert request.call["type"] == "track"
    assert (payload["name"], payload["profileId"]) == ("order_paid", "u1")
    assert payload["properties"]["total"] == 42
    assert request.headers["content-type"] == "application/json"
    assert request.headers["openpanel-client-id"] == CLIENT_ID
    assert request.headers["openpanel-client-secret"] == SECRET
    assert request.headers["openpanel-sdk-name"] == "op-logging"
    assert request.headers["openpanel-sdk-version"]
    assert request.headers["user-agent"].startswith("op-logging/")


def test_the_visitors_address_and_browser_are_headers_of_that_call_alone() -> None:
    """And not of the next one on the same connection."""
    with ScriptedServer() as server, shop(server.url, max_connections=1) as (logger, client):
        browser = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
        extra = {"event": "seen", "ip": "81.2.69.160", "user_agent": browser}
        logger.info("Seen", extra=extra)
        logger.info("Next", extra={"event": "next"})
        assert client.flush(5)
        seen, following = server.requests
    assert (seen.headers["x-client-ip"], seen.headers["user-agent"]) == ("81.2.69.160", browser)
    assert "ip" not in seen.call["payload"]["properties"]
    assert "x-client-ip" not in following.headers
    assert following.headers["user-agent"].startswith("op-logging/")


def test_connections_are_kept_alive_and_one_is_enough_at_low_load() -> None:
    """Ten events one after the other use one connection."""
    with ScriptedServer() as server, client_of(server.url) as client:
        for number in range(10):
            client.submit(Track(f"event {number}"))
            assert client.flush(5)
        assert (server.connections, len(server.requests)) == (1, 10)


def test_more_connections_are_opened_when_much_waits() -> None:
    """Up to the limit, not beyond."""
    with ScriptedServer(delay=0.05) as server, client_of(server.url, max_connections=8) as client:
        for number in range(200):
            client.submit(Track(f"event {number}", profile_id="one"))
        assert client.flush(20)
        assert 2 <= server.connections <= 8
        assert server.most_at_once == server.connections
        assert client.stats().delivered == 200


REFUSALS = [
    (http(400, {"status": 400, "message": "body/payload/name Too big"}), "bad_request"),
    (http(400, {"status": 400, "message": "Alias is not supported"}), "bad_request"),
    (http(401, "Ingestion: Profile id is blocked by project filter"), "refused"),
    (http(401, "Ingestion: Revenue tracking is not allowed without a client secret"), "refused"),
    (http(413, {"message": "Request body is too large"}), "too_large_for_server"),
    (http(415, {"message": "Unsupported Media Type"}), "unsupported_media_type"),
    (http(431, {"message": "Exceeded maximum allowed HTTP header size"}), "headers_too_large"),
    (http(202, {"bot": {"name": "Googlebot"}}), "bot"),
    (http(400, "<html>"), "bad_request"),
    (http(422, {"message": "no"}), "http_422"),
]


@pytest.mark.parametrize(("answer", "reason"), REFUSALS)
def test_a_refused_call_is_counted_said_and_never_sent_again(
    answer: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the server's words and the line that logged it; other calls go on."""

    def script(request: Request) -> bytes:
        return answer if request.name == "bad" else OK

    with ScriptedServer(script) as server, shop(server.url) as (logger, client):
        logger.info("Bad", extra={"event": "bad"})
        logger.info("Good", extra={"event": "good"})
        assert client.flush(5)
        stats = client.stats()
        assert sorted(server.names) == ["bad", "good"]
    assert (stats.delivered, stats.rejected, dict(stats.reasons)) == (1, 1, {reason: 1})
    (said,) = [record.getMessage() for record in caplog.records if record.name == "op_logging"]
    assert "track bad" in said
    assert f"{__file__}:" in said
    assert stats.last_error is not None
    assert SECRET not in said


CREDENTIALS = [
    http(401, "Ingestion: Invalid client id"),
    http(401, "Ingestion: Invalid cors or secret"),
    http(401, "Ingestion: Missing client id"),
    http(401, {"error": "Invalid client credentials", "status": 401}),
    http(404, {"message": "Route POST:/track not found", "error": "Not Found", "statusCode": 404}),
    http(307, "", {"location": "http://127.0.0.1:1/elsewhere"}),
    http(301, "", {"location": "https://example.com/track"}),
]


@pytest.mark.parametrize("answer", CREDENTIALS)
def test_what_concerns_every_call_pauses_the_client_and_loses_nothing(
    answer: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; one call probes; when the server takes it, all the others follow."""
    state = {"answer": answer}
    with ScriptedServer(lambda _request: state["answer"]) as server:
        with client_of(server.url, max_connections=4) as client:
            client.submit(Track("first"))
            server.wait_for(1)
            for number in range(20):
                client.submit(Track(f"event {number}"))
            server.wait_for(3)
            assert server.most_at_once == 1
            assert client.stats().rejected == client.stats().dropped == 0
            state["answer"] = OK
            assert client.flush(10)
            assert client.stats().delivered == 21
    said = [record.getMessage() for record in caplog.records if record.name == "op_logging"]
    assert len([text for text in said if "takes no events" in text]) == 1
    assert len([text for text in said if "takes events again" in text]) == 1
    assert SECRET not in "".join(said)


def test_a_redirect_is_never_followed() -> None:
    """The credentials, which are custom headers, would go along."""
    with ScriptedServer() as elsewhere:
        answer = http(302, "", {"location": f"{elsewhere.url}/track"})
        with ScriptedServer(lambda _request: answer) as server:
            with client_of(server.url) as client:
                client.submit(Track("first"))
                server.wait_for(2)
        assert elsewhere.requests == []


SURE_FAILURES = [
    http(429, {"status": 429, "error": "Too Many Requests"}),
    http(503, "<html>"),
]
AMBIGUOUS_FAILURES = [
    http(500, "Internal server error"),
    http(502, "<html>"),
    http(504, "<html>"),
    http(520, "<html>"),
    http(408, ""),
    http(425, ""),
    Reset(),
    Vanish(),
    b"this is no HTTP\r\n\r\n",
]


@pytest.mark.parametrize("failure", [*SURE_FAILURES, *AMBIGUOUS_FAILURES])
def test_a_passing_failure_is_tried_again(failure: bytes | Reset | Vanish) -> None:
    """The event arrives in the end, and is counted once."""

    def script(request: Request) -> bytes | Reset | Vanish:
        return failure if request.number <= 2 else OK

    with ScriptedServer(script) as server, client_of(server.url) as client:
        client.submit(Track("event"))
        assert client.flush(10)
        stats = client.stats()
        assert server.names == ["event"] * 3
    assert (stats.accepted, stats.delivered, stats.retried) == (1, 1, 2)


@pytest.mark.parametrize("failure", AMBIGUOUS_FAILURES)
@pytest.mark.parametrize(
    "call", [Revenue(100), Increment("u1", "n"), Track("bought", {"__revenue": 5})]
)
def test_what_must_not_count_twice_is_not_sent_again_when_it_may_have_arrived(
    failure: bytes | Reset | Vanish, call: Revenue | Increment | Track
) -> None:
    """Counters and revenue are dropped as unconfirmed."""
    with ScriptedServer(lambda _request: failure) as server, client_of(server.url) as client:
        client.submit(call)
        assert client.flush(5)
        stats = client.stats()
        assert len(server.requests) == 1
    assert (stats.dropped, dict(stats.reasons)) == (1, {"unconfirmed": 1})


@pytest.mark.parametrize("failure", SURE_FAILURES)
def test_what_must_not_count_twice_is_sent_again_when_it_surely_did_not_arrive(
    failure: bytes,
) -> None:
    """429 and 503 prove that nothing was processed."""

    def script(request: Request) -> bytes:
        return failure if request.number == 1 else OK

    with ScriptedServer(script) as server, client_of(server.url) as client:
        client.submit(Revenue(100))
        assert client.flush(5)
        assert client.stats().delivered == 1


def test_retrying_what_may_have_arrived_can_be_turned_off() -> None:
    """``retry_ambiguous=False`` drops it instead."""
    with ScriptedServer(lambda _request: Reset()) as server:
        with client_of(server.url, retry_ambiguous=False) as client:
            client.submit(Track("event"))
            assert client.flush(5)
            assert dict(client.stats().reasons) == {"unconfirmed": 1}
        assert len(server.requests) == 1


def test_no_answer_in_time_is_tried_again() -> None:
    """A hung server costs the read time-out, no more."""

    def script(request: Request) -> bytes | Hang:
        return Hang() if request.number == 1 else OK

    with ScriptedServer(script) as server, client_of(server.url, timeout=(2, 0.2)) as client:
        client.submit(Track("event"))
        assert client.flush(5)
        stats = client.stats()
    assert (stats.delivered, stats.retried) == (1, 1)


def test_a_refused_connection_is_tried_again_until_somebody_listens() -> None:
    """Nothing is lost meanwhile, not even revenue."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with client_of(f"http://127.0.0.1:{port}") as client:
        client.submit(Revenue(100))
        wait_until(lambda: client.stats().retried >= 2)
        assert client.stats().queued + client.stats().in_flight == 1
        assert "refused" in str(client.stats().last_error).lower()


def test_retry_after_is_honoured() -> None:
    """The whole client waits as long as the server asks."""

    def script(request: Request) -> bytes:
        return http(429, "", {"retry-after": "1"}) if request.number == 1 else OK

    with ScriptedServer(script) as server, client_of(server.url, max_backoff=5) as client:
        client.submit(Track("first"))
        wait_until(lambda: client.stats().retried)
        client.submit(Track("second"))
        assert client.flush(10)
        first, second, third = server.requests
    assert second.at - first.at >= 0.95
    assert third.at - first.at >= 0.95


def test_a_call_that_fails_every_time_does_not_stop_the_others() -> None:
    """After five 5xx answers, with others getting through, it is the call's own fault."""

    def script(request: Request) -> bytes:
        return http(500, "Internal server error") if request.name == "poison" else OK

    with ScriptedServer(script) as server, client_of(server.url, max_backoff=0.1) as client:
        client.submit(Track("poison", profile_id="u1"))
        for number in range(30):
            client.submit(Track(f"event {number}", profile_id="u1"))
            client.flush(0.02)
        assert client.flush(10)
        stats = client.stats()
        assert server.names.count("poison") == 5
    assert (stats.delivered, stats.rejected, dict(stats.reasons)) == (30, 1, {"server_error": 1})


def test_a_counter_of_an_unknown_profile_is_tried_again_and_holds_up_nobody() -> None:
    """The server learns of a profile with a delay."""

    def script(request: Request) -> bytes:
        unknown = request.call["type"] == "increment" and len(server.requests) < 4
        return http(404, {"status": 404, "message": "Profile not found"}) if unknown else OK

    with ScriptedServer(script) as server, client_of(server.url) as client:
        client.submit(Increment("u1", "visits"))
        server.wait_for(1)
        client.submit(Identify("u1", first_name="Ada"))
        server.wait_for(2)
        client.submit(Track("event", profile_id="u1"))
        assert client.flush(20)
        stats = client.stats()
    assert (stats.delivered, stats.rejected) == (3, 0)


def test_identify_is_a_barrier_on_the_wire() -> None:
    """Nothing of the profile is out together with it; other profiles are not held up."""
    with ScriptedServer(delay=0.02) as server, client_of(server.url) as client:
        for number in range(20):
            client.submit(Track(f"before {number}", profile_id="u1"))
        client.submit(Identify("u1", first_name="Ada"))
        for number in range(20):
            client.submit(Track(f"after {number}", profile_id="u1"))
        assert client.flush(10)
        names = server.names
    assert {name.split()[0] for name in names[:20]} == {"before"}
    assert names[20] == "identify"
    assert {name.split()[0] for name in names[21:]} == {"after"}
