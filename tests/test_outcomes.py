"""What an answer of the server means."""

from __future__ import annotations

import email.utils
import json
import time

import pytest

from op_logging._outcomes import Verdict, clean_message, read_answer

HTML = b"<html><h1>Bad gateway</h1></html>"


@pytest.mark.parametrize(
    ("status", "body", "verdict", "reason"),
    [
        (200, b'{"deviceId": "a", "sessionId": "b"}', Verdict.DELIVERED, ""),
        (200, b"Duplicate event", Verdict.DELIVERED, ""),
        (200, b"", Verdict.DELIVERED, ""),
        (201, b"", Verdict.DELIVERED, ""),
        (202, b'{"bot": {"name": "Googlebot"}}', Verdict.REJECTED, "bot"),
        (202, b"accepted", Verdict.DELIVERED, ""),
        (301, b"", Verdict.PAUSED, "redirect"),
        (307, b"", Verdict.PAUSED, "redirect"),
        (400, b'{"status":400,"message":"body/payload/name"}', Verdict.REJECTED, "bad_request"),
        (400, b"not json", Verdict.REJECTED, "bad_request"),
        (401, b"Ingestion: Missing client id", Verdict.PAUSED, "credentials"),
        (401, b"Ingestion: Client ID must be a valid UUIDv4", Verdict.PAUSED, "credentials"),
        (401, b"Ingestion: Invalid client id", Verdict.PAUSED, "credentials"),
        (401, b"Ingestion: Client has no project", Verdict.PAUSED, "credentials"),
        (401, b"Ingestion: Invalid cors or secret", Verdict.PAUSED, "credentials"),
        (
            401,
            b'{"error": "Invalid client credentials", "status": 401}',
            Verdict.PAUSED,
            "credentials",
        ),
        (401, b"", Verdict.PAUSED, "credentials"),
        (
            401,
            b"Ingestion: Revenue tracking is not allowed without a client secret",
            Verdict.REJECTED,
            "refused",
        ),
        (401, b"Ingestion: IP address is blocked by project filter", Verdict.REJECTED, "refused"),
        (401, b"Ingestion: Profile id is blocked by project filter", Verdict.REJECTED, "refused"),
        (
            404,
            b'{"status":404,"message":"Profile not found"}',
            Verdict.UNKNOWN_PROFILE,
            "unknown_profile",
        ),
        (404, b'{"message":"Route POST:/x not found"}', Verdict.PAUSED, "http_404"),
        (404, HTML, Verdict.PAUSED, "http_404"),
        (405, b"", Verdict.PAUSED, "http_405"),
        (403, HTML, Verdict.REJECTED, "http_403"),
        (413, b"", Verdict.REJECTED, "too_large_for_server"),
        (415, b"", Verdict.REJECTED, "unsupported_media_type"),
        (431, b"", Verdict.REJECTED, "headers_too_large"),
        (408, b"", Verdict.AMBIGUOUS, "http_408"),
        (425, b"", Verdict.AMBIGUOUS, "http_425"),
        (429, b"", Verdict.NOT_PROCESSED, "http_429"),
        (500, b"Internal server error", Verdict.AMBIGUOUS, "http_500"),
        (502, HTML, Verdict.AMBIGUOUS, "http_502"),
        (503, HTML, Verdict.NOT_PROCESSED, "http_503"),
        (504, HTML, Verdict.AMBIGUOUS, "http_504"),
        (522, HTML, Verdict.AMBIGUOUS, "http_522"),
        (599, b"", Verdict.AMBIGUOUS, "http_599"),
    ],
)
def test_each_status_has_its_meaning(
    status: int, body: bytes, verdict: Verdict, reason: str
) -> None:
    """As the API's contract has it."""
    outcome = read_answer(status, {}, body)
    assert (outcome.verdict, outcome.reason, outcome.status) == (verdict, reason, status)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"status":400,"error":"Bad Request","message":"Alias is not supported"}',
         "Alias is not supported"),
        (b'{"error": "Invalid client credentials", "status": 401}', "Invalid client credentials"),
        (b'{"message": 42}', ""),
        (b"[1]", "[1]"),
        (b"Ingestion: \x1b[31mInvalid\r\nforged line", "Ingestion:  [31mInvalid forged line"),
        (b"\xff\xfe", "��"),
        (HTML, ""),
        (b"[" * 100_000, "[" * 199 + "…"),
    ],
)  # fmt: skip
def test_the_servers_words_are_kept_in_one_clean_line(body: bytes, message: str) -> None:
    """Whatever they are; a proxy's page has none."""
    assert read_answer(400, {}, body).message == message


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"x-ratelimit-reset": "12"}, 12.0),
        ({"retry-after": "3", "x-ratelimit-reset": "12"}, 3.0),
        ({"retry-after": "soon", "x-ratelimit-reset": "12"}, 12.0),
        ({}, None),
    ],
)
def test_a_pause_that_the_server_asks_for_is_read(
    headers: dict[str, str], wait: float | None
) -> None:
    """From ``Retry-After`` first, then from ``x-ratelimit-reset``."""
    assert read_answer(429, headers, b"").retry_after == wait


def test_a_pause_may_be_given_as_a_date() -> None:
    """HTTP allows both forms."""
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    wait = read_answer(503, {"retry-after": date}, b"").retry_after
    assert wait is not None
    assert 15 < wait <= 20


def test_an_epoch_time_is_read_as_the_time_until_then() -> None:
    """Some proxies send the moment instead of the seconds."""
    wait = read_answer(429, {"x-ratelimit-reset": str(time.time() + 20)}, b"").retry_after
    assert wait is not None
    assert 15 < wait <= 20


def test_a_long_message_is_cut() -> None:
    """A log line stays a line."""
    body = json.dumps({"message": "x" * 1000}).encode()
    assert len(read_answer(400, {}, body).message) == 200
    assert clean_message("  a\tb\u2028c  ") == "a b c"
