"""Servers that answer in an odd way, in part, too slowly, or without an end."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from op_logging import Track
from support.clients import client_of
from support.misbehaving import Flood, Pieces, Trickle
from support.scripted_server import OK, Answer, Hang, Reset, ScriptedServer, Vanish, http
from support.what_happens import CALLS, IDS, QUICK, Call, Meaning, check

DELIVERED, REJECTED, AGAIN, AMBIGUOUS = Meaning
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
HUGE = b"x-huge: " + b"y" * 60_000 + b"\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\n"

FORMS: list[tuple[str, Answer, Meaning]] = [
    ("in two pieces", Pieces(OK[:20], OK[20:]), DELIVERED),
    ("its body apart", Pieces(OK[:-10], OK[-10:]), DELIVERED),
    ("byte by byte", Pieces(*(OK[at : at + 1] for at in range(len(OK))), pause=0.001), DELIVERED),
    ("chunked", HEAD + CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", DELIVERED),
    ("chunks apart", Pieces(HEAD + CHUNKED, b"2\r\n{", b"}\r\n0", b"\r\n\r\n"), DELIVERED),
    ("chunked failure", BUSY + CHUNKED + b"4\r\nbusy\r\n0\r\n\r\n", AGAIN),
    ("no length", Pieces(HEAD + b"\r\n{}", closes=True), DELIVERED),
    ("no length, a failure", Pieces(BUSY + b"\r\nbusy", closes=True), AGAIN),
    ("announced close", Pieces(http(headers={"connection": "close"}), closes=True), DELIVERED),
    ("HTTP/1.0", Pieces(b"HTTP/1.0 200 OK\r\n\r\n{}", closes=True), DELIVERED),
    ("HTTP/1.0 kept open", b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", DELIVERED),
    ("folded header", HEAD + b"x: a\r\n  b\r\ncontent-length: 2\r\n\r\n{}", DELIVERED),
    ("bare line feeds", b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}", DELIVERED),
    ("huge header", HEAD + HUGE + b"content-length: 2\r\n\r\n{}", DELIVERED),
    ("many huge headers", HEAD + HUGE * 10 + b"content-length: 2\r\n\r\n{}", DELIVERED),
    ("huge header, a failure", BUSY + HUGE + b"content-length: 0\r\n\r\n", AGAIN),
    ("100 before it", b"HTTP/1.1 100 Continue\r\n\r\n" + OK, DELIVERED),
    ("100 well before it", Pieces(b"HTTP/1.1 100 Continue\r\n\r\n", OK), DELIVERED),
    ("103 before it", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + OK, DELIVERED),
    ("103 before a failure", Pieces(b"HTTP/1.1 103 Early\r\n\r\n", http(503, "busy")), AGAIN),
    ("two answers", OK + http(500, "no"), DELIVERED),
    ("a byte too many", OK + b"x", DELIVERED),
    ("a garbled chunk", HEAD + CHUNKED + b"two\r\n{}\r\n", DELIVERED),
    ("other words", b"HTTP/1.1 200 \xc3\x84\r\ncontent-length: 0\r\n\r\n", DELIVERED),
]
PARTS: list[tuple[str, Answer, Meaning]] = [
    ("nothing, then a close", Vanish(), AMBIGUOUS),
    ("nothing, then a reset", Reset(), AMBIGUOUS),
    ("half a status", Pieces(b"HTTP/1.1 2", closes=True), AMBIGUOUS),
    ("half a 100", Pieces(b"HTTP/1.1 100 Continue\r\n\r\n", closes=True), AMBIGUOUS),
    ("a 200 without its body", Pieces(OK[:-41], closes=True), DELIVERED),
    ("a 200 with half its body", Pieces(OK[:-10], closes=True), DELIVERED),
    ("half a refusal", Pieces(http(400, {"message": "no"})[:-5], closes=True), REJECTED),
    ("half a 503", Pieces(http(503, "busy")[:-2], closes=True), AGAIN),
    ("half a 500", Pieces(http(500, "error")[:-2], closes=True), AMBIGUOUS),
    ("half a chunk", Pieces(HEAD + CHUNKED + b"5\r\nhe", closes=True), DELIVERED),
]
SILENT: list[tuple[str, Answer, Meaning]] = [
    ("a garbled length", HEAD + b"content-length: two\r\n\r\n{}", DELIVERED),
    ("nothing at all", Hang(), AMBIGUOUS),
    ("a 200 whose body hangs", Pieces(OK[:-10], pause=5), DELIVERED),
    ("the status, trickled", Trickle(b"HTTP/1.1 ", b"2"), AMBIGUOUS),
    ("the reason, trickled", Trickle(b"HTTP/1.1 200 "), AMBIGUOUS),
    ("a header, trickled", Trickle(HEAD + b"x: "), AMBIGUOUS),
    ("the body, trickled", Trickle(HEAD + b"content-length: 9999\r\n\r\n"), DELIVERED),
    ("a body without an end, trickled", Trickle(HEAD + b"\r\n"), DELIVERED),
    ("a failure, trickled", Trickle(BUSY + b"content-length: 9999\r\n\r\n"), AGAIN),
    ("a chunk's size, trickled", Trickle(HEAD + CHUNKED, b"0"), DELIVERED),
    ("one 100 after the other", Trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), AMBIGUOUS),
    ("a TLS alert", b"\x15\x03\x01\x00\x02\x02\x46", AMBIGUOUS),
]
NO_HTTP: list[tuple[str, Answer, Meaning]] = [
    ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n", AMBIGUOUS),
    ("SMTP", b"220 mail.example ESMTP\r\n", AMBIGUOUS),
    ("JSON alone", b'{"deviceId": "d"}\n', AMBIGUOUS),
    ("bytes", bytes(range(256)) * 300, AMBIGUOUS),
    ("empty lines", b"\r\n" * 1000, AMBIGUOUS),
    ("an impossible status", b"HTTP/1.1 2000 OK\r\n\r\n", AMBIGUOUS),
    ("no status", b"HTTP/1.1 OK\r\n\r\n", AMBIGUOUS),
    ("HTTP of another kind", b"HTTP/9 200 OK\r\n\r\n", AMBIGUOUS),
    ("headers that are too large", HEAD + HUGE * 20 + b"\r\n", AMBIGUOUS),
    ("too many headers", HEAD + b"x: y\r\n" * 150 + b"\r\n", AMBIGUOUS),
    ("a header that is too long", HEAD + b"x: " + b"y" * 100_000 + b"\r\n\r\n", AMBIGUOUS),
]
AT_ONCE = [*FORMS, *PARTS, *NO_HTTP]


def names_of(rows: list[tuple[str, Answer, Meaning]]) -> list[str]:
    """Return what the rows of a table are called."""
    return [name for name, _, _ in rows]


@pytest.mark.parametrize("call", CALLS, ids=IDS)
@pytest.mark.parametrize(("_name", "answer", "meaning"), AT_ONCE, ids=names_of(AT_ONCE))
def test_each_odd_answer_has_its_consequence(
    _name: str, answer: Answer, meaning: Meaning, call: Call
) -> None:
    """The call was sent once, or twice where that is right, and the next one gets through."""
    began = time.monotonic()
    check(call, meaning, "bad_request" if meaning is REJECTED else "", answer=answer)
    assert time.monotonic() - began < 5, "nothing had to be waited for"


@pytest.mark.parametrize("call", CALLS[:2], ids=IDS[:2])
@pytest.mark.parametrize(("_name", "answer", "meaning"), SILENT, ids=names_of(SILENT))
def test_what_does_not_come_to_an_end_is_not_waited_for(
    _name: str, answer: Answer, meaning: Meaning, call: Call
) -> None:
    """The time-out is one for the answer as a whole: a byte now and then does not prolong it."""
    began = time.monotonic()
    check(call, meaning, answer=answer, timeout=(5.0, 0.5))
    assert time.monotonic() - began < 5


MEGABYTE = 1 << 20
FLOODS = [
    (HEAD + b"content-length: 104857600\r\n\r\n", b"x" * MEGABYTE, DELIVERED),
    (HEAD + b"\r\n", b"x" * MEGABYTE, DELIVERED),
    (HEAD + CHUNKED, b"100000\r\n" + b"x" * MEGABYTE + b"\r\n", DELIVERED),
    (b"HTTP/1.1 400 Bad\r\ncontent-length: 104857600\r\n\r\n", b"x" * MEGABYTE, REJECTED),
    (BUSY + b"content-length: 104857600\r\n\r\n", b"x" * MEGABYTE, AGAIN),
    (b"HTTP/1.1 500 Error\r\n\r\n", b"[" * MEGABYTE, AMBIGUOUS),
    (HEAD + b"x: ", b"x" * MEGABYTE, AMBIGUOUS),
    (HEAD, b"x: y\r\n" * 150_000, AMBIGUOUS),
    (b"", b"x" * MEGABYTE, AMBIGUOUS),
    (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40_000, AMBIGUOUS),
    (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 40_000, AMBIGUOUS),
]


@pytest.mark.parametrize(("begin", "part", "meaning"), FLOODS)
def test_an_answer_of_a_hundred_megabytes_is_not_read_to_its_end(
    begin: bytes, part: bytes, meaning: Meaning
) -> None:
    """Neither time nor memory goes to it: at most what the sockets' buffers hold is sent."""
    flood = Flood(begin, part, 100 * MEGABYTE)
    tracemalloc.start()
    began = time.monotonic()
    try:
        reason = "bad_request" if meaning is REJECTED else ""
        check(CALLS[0], meaning, reason, answer=flood, timeout=(5, 60))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.monotonic() - began < 10
    assert flood.sent < 40 * MEGABYTE
    assert peak < 8 * MEGABYTE


def test_a_server_that_is_no_http_server_costs_an_attempt_now_and_then_and_no_event() -> None:
    """The client waits for a better one, and says so."""
    state: dict[str, Answer] = {"answer": b"SSH-2.0-OpenSSH_9.6\r\n"}
    with ScriptedServer(lambda _request: state["answer"]) as server:
        with client_of(server.url, **QUICK) as client:
            for number in range(20):
                client.submit(Track(f"event {number}"))
            server.wait_for(5)
            stats = client.stats()
            assert (stats.delivered, stats.rejected, stats.dropped) == (0, 0, 0)
            assert "BadStatusLine" in str(stats.last_error)
            state["answer"] = OK
            assert client.flush(10)
            assert client.stats().delivered == 20
            assert set(server.names) == {f"event {number}" for number in range(20)}


@pytest.mark.parametrize("seconds", [0.2, 0.6])
def test_the_time_out_is_the_one_that_was_asked_for(seconds: float) -> None:
    """Whether nothing comes, or too little."""
    for answer in (Hang(), Trickle(HEAD + b"x: ")):
        # mypy infers no type for a lambda's default, which binds the loop's value
        with ScriptedServer(lambda _request, answer=answer: answer) as server:  # type: ignore[misc]
            with client_of(server.url, timeout=(2, seconds), retry_ambiguous=False) as client:
                began = time.monotonic()
                client.submit(Track("event"))
                assert client.flush(10)
                assert seconds <= time.monotonic() - began < seconds + 3
                assert str(client.stats().last_error).endswith("no answer in time")
