"""The stand-in's answers over real sockets: cases of our own, after the real server's."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from op_logging.inspector import InspectorServer

CLIENT_ID = "9d0a7c3e-1f52-4a86-b0cd-6f1e2a3b4c5d"
SECRET = "sec_0123456789abcdef"
JSON = {"content-type": "application/json", "user-agent": "op-logging/1.0.0"}
CREDENTIALS = {"openpanel-client-id": CLIENT_ID, "openpanel-client-secret": SECRET}
BLOCKED = "body/payload/name Event name contains blocked content"
NO_JSON = "Body is not valid JSON but content-type is set to 'application/json'"
SIZE = "Request body size did not match Content-Length"


@pytest.fixture(scope="module")
def running() -> Iterator[InspectorServer]:
    """A stand-in that accepts any well-formed client, with filters."""
    with InspectorServer(blocked_ips=["8.8.4.4"], blocked_profiles=["7"]) as server:
        yield server


def ask(
    server: InspectorServer,
    body: bytes | str | dict[str, Any] | None,
    headers: dict[str, str] | None = None,
    method: str = "POST",
    path: str = "/track",
) -> tuple[int, Any, http.client.HTTPResponse]:
    """Send one request; return status, body (as JSON where it is), and the response."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    data = data.encode() if isinstance(data, str) else data
    host = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request(
            method, path, data, {**JSON, **CREDENTIALS} if headers is None else headers
        )
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    is_json = (response.getheader("content-type") or "").startswith("application/json")
    return response.status, json.loads(text) if is_json and text else text, response


def call(kind: str, **payload: Any) -> dict[str, Any]:
    """Return a call."""
    return {"type": kind, "payload": payload}


def replay(**changed: Any) -> dict[str, Any]:
    """Return a replay chunk."""
    chunk = {
        "chunk_index": 0,
        "events_count": 2,
        "is_full_snapshot": False,
        "started_at": "2026-01-01T00:00:00.5Z",
        "ended_at": "2026-01-01T00:00:01Z",
        "payload": "[]",
    }
    return call("replay", **{**chunk, **changed})


@pytest.mark.parametrize(
    "body",
    [
        call("track", name="x"),
        call("track", name="😀" * 40),
        call("track", name="/about"),
        call("track", name="GET /index.html"),
        call("track", name="a.php"),
        call("track", name="session_started"),
        call("track", name="x", groups=None, properties={}, profileId=0),
        call("track", name="x", unknown=1) | {"more": True},
        call("track", name="revenue", properties={"__revenue": 5.0}),
        call("track", name="revenue", properties={"__revenue": None}),
        call("identify", profileId=1.5, firstName="", email="A.b-c+d@sub.example.org"),
        call("identify", profileId="u", avatar="mailto:x"),
        call("identify", profileId="u", avatar=" https://user:pw@x.y:8080/a b?c#d "),
        call("identify", profileId="u", avatar="http://[::1]/x"),
        call("group", id="g", type="t", name="n", properties={"a": [1]}),
        call("assign_group", groupIds=[], profileId="u"),
        call("assign_group", groupIds=["g"]),
        replay(),
    ],
)
def test_what_the_server_takes(running: InspectorServer, body: dict[str, Any]) -> None:
    """It answers with a device and a session."""
    status, found, _ = ask(running, body)
    assert status == 200
    assert set(found) == {"deviceId", "sessionId"}
    assert (len(found["deviceId"]), len(found["sessionId"])) == (32, 22)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (call("nope"), "body/type Invalid input"),
        ({"type": 5, "payload": {}}, "body/type Invalid input"),
        (call("track"), "body/payload/name Invalid input: expected string, received undefined"),
        ({"type": "track", "payload": None},
         "body/payload Invalid input: expected object, received null"),
        ({"type": "group", "payload": "x"},
         "body/payload Invalid input: expected object, received string"),
        (call("track", name=""),
         "body/payload/name Too small: expected string to have >=1 characters"),
        (call("track", name=["x"]),
         "body/payload/name Invalid input: expected string, received array"),
        (call("track", name="session_end"),
         "body/payload/name Event name cannot be one of the reserved names: "
         "session_start, session_end"),
        (call("track", name="x" * 81), BLOCKED),
        (call("track", name="😀" * 40 + "x"), BLOCKED),
        (call("track", name="two\nlines"), BLOCKED),
        (call("track", name="The CMD.EXE"), BLOCKED),
        (call("track", name="/backup.SQL"), BLOCKED),
        (call("track", name="/wp-login.php"), BLOCKED),
        (call("track", name="x", properties=[]),
         "body/payload/properties Invalid input: expected record, received array"),
        (call("track", name="x", properties=True),
         "body/payload/properties Invalid input: expected record, received boolean"),
        (call("track", name="x", profileId=None), "body/payload/profileId Invalid input"),
        (call("track", name="x", profileId=False), "body/payload/profileId Invalid input"),
        (call("track", name="x", profileId=""),
         "body/payload/profileId Too small: expected string to have >=1 characters"),
        (call("track", name="x", groups=["a", None, ""]),
         "body/payload/groups/1 Invalid input: expected string, received null, "
         "body/payload/groups/2 Too small: expected string to have >=1 characters"),
        (call("track", name=5, profileId=[]),
         "body/payload/name Invalid input: expected string, received number, "
         "body/payload/profileId Invalid input"),
        (call("track", name="x", properties={"__revenue": "5"}),
         "body/payload/properties/__revenue __revenue must be an integer (no floats or strings)"),
        (call("track", name="x", properties={"__revenue": 1.5}),
         "body/payload/properties/__revenue __revenue must be an integer (no floats or strings)"),
        (call("identify"), "body/payload/profileId Invalid input"),
        (call("identify", profileId="u", lastName=5, email="a@b"),
         "body/payload/lastName Invalid input: expected string, received number, "
         "body/payload/email Invalid email address"),
        (call("identify", profileId="u", email=".a@b.co"),
         "body/payload/email Invalid email address"),
        (call("identify", profileId="u", email="a..b@b.co"),
         "body/payload/email Invalid email address"),
        (call("identify", profileId="u", avatar="http://"), "body/payload/avatar Invalid URL"),
        (call("identify", profileId="u", avatar="http://x:99999"),
         "body/payload/avatar Invalid URL"),
        (call("identify", profileId="u", avatar={}),
         "body/payload/avatar Invalid input: expected string, received object"),
        (call("alias", profileId="u", alias="v"), "Alias is not supported"),
        (call("alias", profileId="u"),
         "body/payload/alias Invalid input: expected string, received undefined"),
        (call("increment", profileId="u", property="", value="1"),
         "body/payload/property Too small: expected string to have >=1 characters, "
         "body/payload/value Invalid input: expected number, received string"),
        (call("decrement", profileId="u", property="n", value=0),
         "body/payload/value Too small: expected number to be >0"),
        (call("group", id="g", type="t"),
         "body/payload/name Invalid input: expected string, received undefined"),
        (call("assign_group", profileId="u"),
         "body/payload/groupIds Invalid input: expected array, received undefined"),
        (replay(started_at="yesterday", chunk_index=-1, events_count="2"),
         "body/payload/chunk_index Too small: expected number to be >=0, "
         "body/payload/events_count Invalid input: expected number, received string, "
         "body/payload/started_at Invalid ISO datetime"),
        (replay(is_full_snapshot=1, payload=None, chunk_index=1.5, ended_at=5),
         "body/payload/chunk_index Invalid input: expected int, received number, "
         "body/payload/is_full_snapshot Invalid input: expected boolean, received number, "
         "body/payload/ended_at Invalid input: expected string, received number, "
         "body/payload/payload Invalid input: expected string, received null"),
    ],
)  # fmt: skip
def test_what_the_server_refuses(
    running: InspectorServer, body: dict[str, Any], message: str
) -> None:
    """With 400, the field, and its words; several in the order of the fields."""
    status, found, _ = ask(running, body)
    assert (status, found["status"], found["message"]) == (400, 400, message)


TWICE = "body/ Invalid input: expected object, received {0}, " * 2


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        ("", "application/json", 400,
         "Body cannot be empty when content-type is set to 'application/json'"),
        ("{", "application/json", 400, NO_JSON),
        ('{"a": NaN}', "application/json", 400, NO_JSON),
        ('{"a": Infinity}', "application/json", 400, NO_JSON),
        ('{"type":"track","payload":{"name":"x","properties":{"a":{"__proto__":1}}}}',
         "application/json", 400, NO_JSON),
        ('{"constructor":{"prototype":{}}}', "application/json", 400, NO_JSON),
        (b'{"type":"track","payload":{"name":"\xe9"}}', "application/json", 400, SIZE),
        (b"\x1f\x8b\x08\x00", "application/json", 400, SIZE),
        ("[]", "application/json", 400, TWICE.format("array")[:-2]),
        ("true", "application/json; charset=utf-8", 400, TWICE.format("boolean")[:-2]),
        ("x", "text/plain", 400, TWICE.format("string")[:-2]),
        ("x", "application/xml", 415, "Unsupported Media Type"),
        ("x", "", 415, "Unsupported Media Type"),
        ("", "", 400, TWICE.format("null")[:-2]),
    ],
)  # fmt: skip
def test_bodies_that_are_no_calls(
    running: InspectorServer, body: bytes | str, kind: str, status: int, message: str
) -> None:
    """Before anybody asks for credentials."""
    headers = {"content-type": kind} if kind else {"accept": "*/*"}
    found = ask(running, body or None, headers)
    assert (found[0], found[1]["message"]) == (status, message)


@pytest.mark.parametrize(
    ("depth", "status"), [(100, 200), (1_000, 200), (4_000, 200), (5_000, 500), (100_000, 500)]
)
@pytest.mark.parametrize(("left", "right"), [('{"a":', "}"), ("[", "]")])
def test_deep_nesting(
    running: InspectorServer, depth: int, status: int, left: str, right: str
) -> None:
    """The server fails at it somewhere between 4,000 and 5,000 levels, every time."""
    deep = left * depth + '"]}"' + right * depth
    body = f'{{"type":"track","payload":{{"name":"deep","properties":{{"a":{deep}}}}}}}'
    found = ask(running, body)
    assert found[0] == status
    if status == 500:
        assert found[1] == "Internal server error"


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Missing client id"),
        ({"openpanel-client-id": ""}, "Missing client id"),
        ({"openpanel-client-id": "shop"}, "Client ID must be a valid UUIDv4"),
        ({"openpanel-client-id": CLIENT_ID.upper()}, "Client ID must be a valid UUIDv4"),
        ({**CREDENTIALS, "x-client-ip": "8.8.4.4"}, "IP address is blocked by project filter"),
    ],
)
def test_a_401_is_a_text(running: InspectorServer, headers: dict[str, str], message: str) -> None:
    """Whatever the reason."""
    status, found, response = ask(running, call("track", name="x"), {**JSON, **headers})
    assert (status, found) == (401, f"Ingestion: {message}")
    assert (response.getheader("content-type") or "").startswith("text/plain")


def test_a_blocked_profile_and_revenue_without_a_secret_are_401_for_that_call() -> None:
    """Other calls of the same client go on."""
    without_secret = {**JSON, "openpanel-client-id": CLIENT_ID}
    with InspectorServer(blocked_profiles=["7"]) as server:
        revenue = call("track", name="revenue", properties={"__revenue": 1})
        answers = [
            ask(server, call("track", name="x", profileId=7))[:2],
            ask(server, revenue, without_secret)[:2],
            ask(server, call("track", name="x"), without_secret)[:1],
        ]
    assert answers == [
        (401, "Ingestion: Profile id is blocked by project filter"),
        (401, "Ingestion: Revenue tracking is not allowed without a client secret"),
        (200,),
    ]


def test_a_stand_in_with_credentials_takes_no_others() -> None:
    """Id and secret, in the headers or in the body."""
    other = {**JSON, **CREDENTIALS, "openpanel-client-id": CLIENT_ID.replace("9d", "8d")}
    no_secret = {**JSON, "openpanel-client-id": CLIENT_ID}
    inside = call("track", name="x") | {"clientId": CLIENT_ID, "clientSecret": SECRET}
    with InspectorServer(client_id=CLIENT_ID, client_secret=SECRET) as server:
        assert ask(server, call("track", name="x"))[0] == 200
        assert ask(server, inside, JSON)[0] == 200
        assert ask(server, call("track", name="x"), other)[1] == "Ingestion: Invalid client id"
        wrong = {**no_secret, "openpanel-client-secret": "nope"}
        for headers in (no_secret, wrong):
            found = ask(server, call("track", name="x"), headers)[:2]
            assert found == (401, "Ingestion: Invalid cors or secret")


def test_bots_are_recognised_only_without_a_secret(running: InspectorServer) -> None:
    """202, and nothing is stored."""
    bot = {"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1)"}
    without = {**JSON, **bot, "openpanel-client-id": CLIENT_ID}
    found = ask(running, call("track", name="by a bot"), without)[:2]
    assert found == (202, {"bot": {"name": "Googlebot", "type": "Search bot"}})
    assert ask(running, call("track", name="x"), {**without, **CREDENTIALS})[0] == 200
    assert "by a bot" not in [event.name for event in running.store.events]


def test_other_routes_and_methods(running: InspectorServer) -> None:
    """As the server's framework answers them."""
    track = call("track", name="x")
    assert ask(running, track, path="/track/")[0] == 200
    assert ask(running, track, path="/track?a=1")[0] == 200
    for path in ("//track", "/Track", "/nope?a=1"):
        status, found, _ = ask(running, track, path=path)
        expected = {
            "message": f"Route POST:{path} not found",
            "error": "Not Found",
            "statusCode": 404,
        }
        assert (status, found) == (404, expected)
    assert ask(running, None, {}, "GET")[1]["message"] == "Route GET:/track not found"
    assert ask(running, None, {}, "HEAD")[0] == 404
    assert ask(running, None, {}, "OPTIONS")[0] == 204
    device = ask(running, None, {"x-client-ip": "8.8.8.8"}, "GET", "/track/device-id")[1]
    assert device["message"] == "No session exists for this device id"


def test_headers_that_are_too_large(running: InspectorServer) -> None:
    """431 from 16 KiB on."""
    assert ask(running, call("track", name="x"), {**JSON, "x": "y" * 17_000})[0] == 431


def test_the_same_body_at_once_is_a_duplicate_only_with_an_origin(
    running: InspectorServer,
) -> None:
    """As browsers send it."""
    headers = {**JSON, **CREDENTIALS, "x-client-ip": "8.8.8.8"}
    body = call("track", name="twice")
    assert [ask(running, body, headers)[0] for _ in range(2)] == [200, 200]
    assert running.store.events[-1] == running.store.events[-1]
    stored = len(running.store.events)
    found = [ask(running, body, {**headers, "origin": "https://x.y"})[1] for _ in range(2)]
    assert found[1] == "Duplicate event"
    assert len(running.store.events) == stored + 1
