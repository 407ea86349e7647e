"""One POST, one outcome: proxies, and failures of the network."""

from __future__ import annotations

import socket

import pytest

from op_logging import OpenPanelConfig, Track
from op_logging._direct import DirectConnection, Target, UnsentError
from op_logging._outcomes import Verdict
from op_logging._transport import Transport
from support.clients import CLIENT_ID, SECRET, client_of
from support.scripted_server import Hang, Request, ScriptedServer, Vanish, http


def transport(url: str, **options: object) -> Transport:
    """Return a transport to a server."""
    given = {"client_id": CLIENT_ID, "client_secret": SECRET, "timeout": (2, 2), "api_url": url}
    return Transport(OpenPanelConfig.from_options({**given, **options}, {}))


@pytest.fixture
def closed_port() -> str:
    """The URL of a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_refused_connection_and_an_unknown_host_were_never_sent(closed_port: str) -> None:
    """With the system's own words."""
    outcome = transport(closed_port).connect().post(b"{}", {})
    assert (outcome.verdict, outcome.reason) == (Verdict.NOT_PROCESSED, "connect")
    assert "refused" in outcome.message
    outcome = transport("http://no-such-host.invalid").connect().post(b"{}", {})
    assert (outcome.verdict, outcome.reason) == (Verdict.NOT_PROCESSED, "connect")


def test_no_answer_in_time_and_a_lost_connection_are_ambiguous(server: ScriptedServer) -> None:
    """The server may have done what it was asked to."""
    server.script = lambda request: Hang() if request.number == 1 else Vanish()
    connection = transport(server.url, timeout=(1, 0.2)).connect()
    found = [connection.post(b'{"type":"x","payload":{}}', {}) for _ in range(2)]
    connection.close()
    assert [each.verdict for each in found] == [Verdict.AMBIGUOUS] * 2
    assert [each.reason for each in found] == ["timeout", "connection_lost"]


def test_who_has_less_time_than_the_time_out_waits_no_longer(server: ScriptedServer) -> None:
    """An exit's deadline is shorter than a request's."""
    server.script = lambda _request: Hang()
    connection = transport(server.url, timeout=(30, 30)).connect()
    assert connection.post(b'{"type":"x","payload":{}}', {}, 0.2).reason == "timeout"
    connection.close()


def test_a_large_answer_is_not_read_to_its_end(server: ScriptedServer) -> None:
    """The connection is given up; the next call opens another."""
    server.script = lambda _request: http(400, "x" * 300_000)
    connection = transport(server.url).connect()
    for _ in range(2):
        outcome = connection.post(b'{"type":"x","payload":{}}', {})
        assert (outcome.verdict, len(outcome.message)) == (Verdict.REJECTED, 200)
    connection.close()
    assert server.connections == 2


def test_a_server_that_repeats_the_secret_does_not_get_it_into_a_log(
    server: ScriptedServer,
) -> None:
    """Its words are shown, the secret is not."""
    server.script = lambda _request: http(400, {"message": f"wrong: {SECRET}"})
    connection = transport(server.url).connect()
    outcome = connection.post(b'{"type":"x","payload":{}}', {})
    connection.close()
    assert outcome.message == "wrong: <client secret>"


def test_the_environments_proxy_is_used(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for once, when the client is made."""
    monkeypatch.setenv("HTTP_PROXY", server.url)
    with client_of("http://openpanel.example") as client:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        client.submit(Track("through a proxy"))
        assert client.flush(5)
    assert server.requests[0].path == "http://openpanel.example/track"


def test_an_address_that_needs_no_proxy_gets_none(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``NO_PROXY`` counts."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with client_of(server.url) as client:
        client.submit(Track("direct"))
        assert client.flush(5)
    assert server.requests[0].path == "/track"


def test_a_proxy_that_refuses_is_a_connection_that_was_never_made(
    closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was sent."""
    monkeypatch.setenv("HTTP_PROXY", closed_port)
    outcome = transport("http://openpanel.example").connect().post(b"{}", {})
    assert (outcome.verdict, outcome.reason) == (Verdict.NOT_PROCESSED, "connect")


def test_a_secret_in_a_long_message_is_taken_out_before_it_is_cut(server: ScriptedServer) -> None:
    """No part of it remains."""
    server.script = lambda _request: http(400, {"message": "x" * 190 + SECRET})
    connection = transport(server.url).connect()
    outcome = connection.post(b'{"type":"x","payload":{}}', {})
    connection.close()
    assert SECRET[:5] not in outcome.message
    assert outcome.message.endswith("…")


def test_the_request_is_told_apart_by_nothing_but_its_own_headers(
    server: ScriptedServer,
) -> None:
    """A header of one call is gone in the next."""
    connection = transport(server.url).connect()
    body = b'{"type":"x","payload":{}}'
    for headers in ({"user-agent": "Mozilla/5.0", "x-client-ip": "1.1.1.1"}, {}):
        connection.post(body, headers)
    connection.close()
    seen: list[Request] = server.requests
    assert [request.headers["user-agent"][:9] for request in seen] == ["Mozilla/5", "op-loggin"]
    assert ["x-client-ip" in request.headers for request in seen] == [True, False]
    assert server.connections == 1


@pytest.mark.parametrize("host", ["api..example.com", "a" * 64 + ".example.com"])
def test_a_name_that_no_host_can_have_was_never_sent(host: str) -> None:
    """Python raises something else than for a host that does not exist."""
    target = Target(host, 80, "/track", {}, None, (1.0, 1.0))
    with pytest.raises(UnsentError):
        DirectConnection(target).post(b"{}", {}, 1.0)
