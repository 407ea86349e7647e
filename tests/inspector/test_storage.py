"""What the stand-in keeps: as the real server stores it, lost updates included."""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from op_logging.inspector import Inspector, InspectorServer, Store
from op_logging.inspector._server import line_of, run
from op_logging.inspector._values import event_time, flatten, leading_integer

HEADERS = {
    "content-type": "application/json",
    "openpanel-client-id": "9d0a7c3e-1f52-4a86-b0cd-6f1e2a3b4c5d",
    "openpanel-client-secret": "sec_x",
    "openpanel-sdk-name": "op-logging",
    "openpanel-sdk-version": "1.2.3",
    "user-agent": "op-logging/1.2.3",
}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def tell(
    inspector: Inspector, kind: str, headers: dict[str, str] | None = None, **payload: Any
) -> int:
    """Hand a call to a stand-in; return the status of its answer."""
    body = json.dumps({"type": kind, "payload": payload}).encode()
    return inspector.answer("POST", "/track", {**HEADERS, **(headers or {})}, body).status


@pytest.mark.parametrize(
    ("properties", "kept", "dropped"),
    [
        ({"a": 1, "b": 1.5, "c": True}, {"a": "1", "b": "1.5", "c": "true"}, ()),
        ({"a": {"b": {"c": 1}}, "l": [1, [2]]}, {"a.b.c": "1", "l.0": "1", "l.1.0": "2"}, ()),
        ({"a": "  x\n", "b": "   "}, {"a": "x"}, ("b",)),
        ({"a": None, "b": "", "c": {}, "d": []}, {}, ("a", "b", "c", "d")),
        ({"a": '{"b": 1}', "c": "[1, 2]"}, {"a.b": "1", "c.0": "1", "c.1": "2"}, ()),
        ({"a": "[INFO] hello", "b": " [INFO] hello"}, {"b": "[INFO] hello"}, ("a",)),
        ({"a.b": 1, "a": {"b": 2}}, {"a.b": "2"}, ()),
        ({"a": 2**53 + 1, "b": 10**40, "c": 1e21, "d": 1e-7},
         {"a": "9007199254740992", "b": "1e+40", "c": "1e+21", "d": "1e-7"}, ()),
        ({"a": 12345678901234567, "b": -9223372036854775808},
         {"a": "12345678901234568", "b": "-9223372036854776000"}, ()),
        ({"a": "x\ud800y"}, {"a": "xy"}, ()),
    ],
)  # fmt: skip
def test_what_storage_does_to_values(
    properties: dict[str, Any], kept: dict[str, str], dropped: tuple[str, ...]
) -> None:
    """Dotted keys and trimmed texts; what is empty or looks like broken JSON is gone."""
    assert flatten(properties) == (kept, dropped)


@given(st.dictionaries(st.text(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10,
)))  # fmt: skip
def test_storage_takes_any_json(properties: dict[str, Any]) -> None:
    """All that is kept are texts that are not empty."""
    kept, _ = flatten(properties)
    assert all(isinstance(value, str) and value for value in kept.values())


@pytest.mark.parametrize(
    ("given_time", "stored"),
    [
        ("2026-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=timezone.utc)),
        ("2026-01-01T02:00:00.1239+02:00", datetime(2026, 1, 1, 0, 0, 0, 123_000, timezone.utc)),
        ("2026-01-01 00:00:00", datetime(2026, 1, 1, tzinfo=timezone.utc)),
        ("2026-01-01", datetime(2026, 1, 1, tzinfo=timezone.utc)),
        (1_767_225_600_000, datetime(2026, 1, 1, tzinfo=timezone.utc)),
        ("2026-01-02T03:05:04Z", NOW + timedelta(seconds=59)),
        ("2026-01-02T03:05:06Z", NOW),
        ("2026-01-01 10:00:00,123", NOW),
        ("yesterday", NOW),
        ("2026-13-01", NOW),
        ("", NOW),
        (None, NOW),
        (True, NOW),
        ([1], NOW),
        (1e300, NOW),
    ],
)
def test_an_events_time(given_time: object, stored: datetime) -> None:
    """Its own where it can be read and is not ahead, else the server's."""
    assert event_time(given_time, NOW) == stored


@pytest.mark.parametrize(
    ("text", "number"), [("5", 5), ("5.9", 5), (" -3x", -3), ("abc", None), ("", None)]
)
def test_a_counters_value_is_read_as_an_integer(text: str, number: int | None) -> None:
    """As ``parseInt`` does."""
    assert leading_integer(text) == number


def test_an_event_is_stored_with_all_that_is_known_of_it() -> None:
    """What the server reads is no property."""
    inspector = Inspector()
    status = tell(
        inspector,
        "track",
        {"x-client-ip": "81.2.69.160", "user-agent": "Mozilla/5.0 (X11; Linux) Firefox/140"},
        name="paid",
        profileId=7,
        groups=["g1"],
        properties={
            "total": 5,
            "none": None,
            "__timestamp": "2020-01-01T00:00:00Z",
            "__deviceId": "d" * 64,
            "__revenue": 100,
            "__bot": "x",
            "__custom": "kept",
        },
    )
    (event,) = inspector.store.events
    assert status == 200
    assert (event.name, event.profile_id, event.groups) == ("paid", "7", ("g1",))
    assert event.properties == {"total": "5", "__custom": "kept"}
    assert event.dropped == ("none",)
    assert event.created_at == datetime(2020, 1, 1, tzinfo=timezone.utc)
    assert (event.device_id, event.session_id, event.revenue) == ("d" * 64, "", 100)
    assert (event.ip, event.from_server) == ("81.2.69.160", False)
    assert (event.sdk_name, event.sdk_version) == ("op-logging", "1.2.3")


def test_devices_and_sessions_follow_address_and_browser() -> None:
    """The same visitor has the same device; private addresses count for nothing."""
    inspector = Inspector()
    for address in ("8.8.8.8", "8.8.8.8", "1.1.1.1", "10.0.0.1", "", "nonsense"):
        tell(inspector, "track", {"x-client-ip": address}, name="x")
    devices = [event.device_id for event in inspector.store.events]
    assert devices[0] == devices[1] != devices[2]
    assert devices[3] == devices[4] == devices[5]
    assert all(event.from_server for event in inspector.store.events)


def test_identify_and_counters() -> None:
    """Names stay, properties are merged, counters count."""
    inspector = Inspector()
    store = inspector.store
    assert tell(inspector, "increment", profileId="u1", property="n") == 404
    tell(
        inspector, "identify", profileId="u1", firstName=" Ada ", properties={"n": "5.9", "p": "x"}
    )
    tell(inspector, "identify", profileId="u1", email="ada@example.com", properties={"a": {"b": 1}})
    assert tell(inspector, "increment", profileId="u1", property="n", value=2) == 200
    assert tell(inspector, "decrement", profileId="u1", property="a.b", value=3) == 200
    assert tell(inspector, "increment", profileId="u1", property="new", value=0.5) == 200
    assert tell(inspector, "increment", profileId="u1", property="p") == 400
    profile = store.profiles["u1"]
    assert (profile.first_name, profile.email) == ("Ada", "ada@example.com")
    assert profile.properties == {"n": "7", "p": "x", "a.b": "-2", "new": "0.5"}
    assert [call.status for call in store.refused] == [404, 400]


def test_an_event_may_identify_as_well() -> None:
    """``__identify`` names the profile."""
    inspector = Inspector()
    identity = {"profileId": "u9", "firstName": "Zoe"}
    tell(inspector, "track", name="x", profileId="u1", properties={"__identify": identity})
    assert inspector.store.events[0].profile_id == "u9"
    assert inspector.store.profiles["u9"].first_name == "Zoe"


def test_groups_and_assignments() -> None:
    """Merged like profiles."""
    inspector = Inspector()
    tell(inspector, "group", id="g1", type="company", name="Acme", properties={"a": 1})
    tell(inspector, "group", id="g1", type="company", name="Acme Ltd", properties={"b": 2})
    tell(inspector, "assign_group", profileId="u1", groupIds=["g1", "g2"])
    tell(inspector, "assign_group", profileId="u1", groupIds=["g1", "g3"])
    group = inspector.store.groups["g1"]
    assert (group.name, group.properties) == ("Acme Ltd", {"a": "1", "b": "2"})
    assert inspector.store.assignments == {"u1": ("g1", "g2", "g3")}


class Clock:
    """Seconds that a test moves on."""

    now = 100.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


def test_the_profile_buffer_loses_updates_as_the_real_one_does() -> None:
    """Unknown until it is written; increments overwrite each other; one undoes an identify."""
    clock = Clock()
    store = Store(profile_flush=10, clock=clock)
    store.identify("u1", {"firstName": "Ada", "properties": {"visits": 5, "credits": 5}})
    assert store.count("u1", "visits", 1) == "unknown"
    clock.now += 10
    for _ in range(3):
        assert store.count("u1", "visits", 1) is None
    assert store.count("u1", "credits", 2) is None
    assert store.profiles["u1"].properties == {"visits": "5", "credits": "5"}
    clock.now += 10
    assert store.profiles["u1"].properties == {"visits": "5", "credits": "7"}
    store.identify("u1", {"email": "ada@example.com", "properties": {"plan": "pro", "credits": 9}})
    store.count("u1", "visits", 1)
    clock.now += 10
    profile = store.profiles["u1"]
    assert profile.properties == {"visits": "6", "credits": "7", "plan": "pro"}
    assert profile.email == "ada@example.com"
    store.count("u1", "visits", 1)
    store.identify("u1", {"properties": {"credits": 1}})
    clock.now += 10
    assert store.profiles["u1"].properties["visits"] == "7"
    assert store.profiles["u1"].properties["credits"] == "1"


def test_only_the_latest_calls_are_kept_and_all_can_be_cleared() -> None:
    """A stand-in that runs for days does not grow."""
    inspector = Inspector()
    inspector.store = Store(max_calls=5)
    for number in range(8):
        tell(inspector, "track", name=str(number))
    assert [call.name for call in inspector.store.calls] == ["3", "4", "5", "6", "7"]
    inspector.store.clear()
    assert (inspector.store.calls, inspector.store.events) == ([], [])


def test_a_line_shows_a_call_and_cannot_control_a_terminal() -> None:
    """Refused ones with status and words; dropped values are marked."""
    inspector = Inspector()
    tell(inspector, "track", name="paid \x1b[31m", profileId="u\n1", properties={"a": 5, "b": None})
    tell(inspector, "track", name="cmd.exe")
    paid, refused = (line_of(call).split("  ", 1)[1] for call in inspector.store.calls)
    assert paid == "track  paid \\x1b[31m  of u\\n1  a=5  b=(dropped)"
    assert refused == (
        "track  cmd.exe  REFUSED 400: body/payload/name Event name contains blocked content"
    )


def test_a_secret_without_its_client_is_refused() -> None:
    """It would be compared with nothing."""
    with pytest.raises(ValueError, match="needs the id of its client"):
        Inspector(client_secret="sec_x")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.com", ""])
def test_it_listens_on_loopback_only(host: str) -> None:
    """Anything else is refused before a socket is opened."""
    with pytest.raises(ValueError, match="is no loopback address"):
        InspectorServer(host=host)
    with pytest.raises(ValueError, match="is no loopback address"):
        run(host, 0, Inspector(), out=io.StringIO())


def test_a_port_in_use_is_said_in_one_line() -> None:
    """With what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}: .*--port"):
            InspectorServer(port=port)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_runs_until_it_is_stopped(how: signal.Signals) -> None:
    """It prints where it listens, each call, and ends with the signal."""
    command = [sys.executable, "-m", "op_logging", "inspect", "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = first.split()[2].rstrip(".")
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        body = json.dumps({"type": "track", "payload": {"name": "seen"}})
        connection.request("POST", "/track", body, HEADERS)
        assert connection.getresponse().status == 200
        connection.close()
        lines = [process.stdout.readline() for _ in range(4)]
        process.send_signal(how)
        rest, errors = process.communicate(timeout=20)
    assert "track  seen" in lines[-1]
    assert errors == ""
    assert rest == ""
