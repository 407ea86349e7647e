"""What an answer of the server means for a call: one value, decided in one place.

The facts behind `read_answer` are the API guide's and, where it is silent, how the
open-source server (run as of August 2026) answered. Never raises, whatever the answer is.
"""

from __future__ import annotations

import enum
import json
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

__all__ = ["Outcome", "Verdict", "clean_message", "read_answer"]


class Verdict(enum.Enum):
    """What is to be done with a call after an attempt to send it."""

    DELIVERED = "delivered"
    """Stored by the server."""
    REJECTED = "rejected"
    """Refused for good: this call must not be sent again."""
    UNKNOWN_PROFILE = "unknown profile"
    """A counter of a profile that the server does not know *yet*: to be sent again soon."""
    PAUSED = "paused"
    """No call would get through (credentials, wrong URL, redirect): all wait, one probes."""
    NOT_PROCESSED = "not processed"
    """Surely not processed: to be sent again."""
    AMBIGUOUS = "ambiguous"
    """Perhaps processed: to be sent again only if a double does no harm."""


class Outcome(NamedTuple):
    """The result of one attempt. Immutable.

    Attributes:
        verdict: What is to be done.
        reason: A short name for statistics, such as ``bad_request``.
        message: The server's or the network's words, one line, at most 200 characters.
        status: The HTTP status, None without an answer.
        retry_after: How many seconds the server asks to wait, None where it does not.
        stale: Whether a kept-alive connection had ended: that says nothing of the server.
    """

    verdict: Verdict
    reason: str = ""
    message: str = ""
    status: int | None = None
    retry_after: float | None = None
    stale: bool = False


_REASONS = {
    400: "bad_request",
    401: "refused",
    413: "too_large_for_server",
    415: "unsupported_media_type",
    431: "headers_too_large",
}
_ROUTE = frozenset({402, 404, 405, 407})
_NOT_PROCESSED = frozenset({429, 503})
_AMBIGUOUS = frozenset({408, 425})
_CALL_REFUSALS = (
    "revenue tracking is not allowed",
    "ip address is blocked",
    "profile id is blocked",
)
_LONGEST_MESSAGE = 200
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, secret: str | None = None
) -> Outcome:
    """Tell what an HTTP answer to ``POST /track`` means.

    Args:
        status: The HTTP status.
        headers: The answer's headers; looked up by lower-case name.
        body: What was read of the body.
        secret: What must not stand in the outcome's message.

    Returns:
        The outcome. The server answers refused credentials and refused calls both with 401 and
        tells them apart in the text only; an unknown text counts as credentials, so that nothing is
        lost by a wrong guess.
    """
    if 200 <= status < 300:
        return _read_success(status, body)
    message = _message(body, secret)
    if 300 <= status < 400:
        where = clean_message(headers.get("location", ""), secret)
        return Outcome(Verdict.PAUSED, "redirect", f"redirect to {where or 'nowhere'}", status)
    if status == 401 and not message.lower().removeprefix("ingestion: ").startswith(_CALL_REFUSALS):
        return Outcome(Verdict.PAUSED, "credentials", message, status)
    if status == 404 and message.lower().startswith("profile not found"):
        return Outcome(Verdict.UNKNOWN_PROFILE, "unknown_profile", message, status)
    if status in _ROUTE:
        return Outcome(Verdict.PAUSED, f"http_{status}", message, status)
    if status in _NOT_PROCESSED:
        wait = _wait_asked_for(headers)
        return Outcome(Verdict.NOT_PROCESSED, f"http_{status}", message, status, wait)
    if status in _AMBIGUOUS or status >= 500 or status < 200:
        wait = _wait_asked_for(headers)
        return Outcome(Verdict.AMBIGUOUS, f"http_{status}", message, status, wait)
    return Outcome(Verdict.REJECTED, _REASONS.get(status, f"http_{status}"), message, status)


def clean_message(text: str, secret: str | None = None) -> str:
    """Make somebody else's text fit for a log line: one line, no control characters, not long.

    The secret is taken out before the text is cut, so that no part of it remains.
    """
    if secret:
        text = text.replace(secret, "<client secret>")
    text = _CONTROL.sub(" ", text).strip()
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


def _read_success(status: int, body: bytes) -> Outcome:
    if status == 202 and isinstance(answer := _parse(body), dict) and answer.get("bot"):
        return Outcome(Verdict.REJECTED, "bot", "taken for a bot and not stored", status)
    return Outcome(Verdict.DELIVERED, status=status)


def _parse(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _message(body: bytes, secret: str | None) -> str:
    """Return the words of an error body: JSON with ``message`` or ``error``, or plain text."""
    answer = _parse(body)
    if isinstance(answer, dict):
        words = answer.get("message") or answer.get("error")
        return clean_message(words, secret) if isinstance(words, str) else ""
    text = body.decode("utf-8", "replace")
    return "" if text.lstrip().startswith("<") else clean_message(text, secret)


def _wait_asked_for(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` or ``x-ratelimit-reset`` ask for."""
    for name in ("retry-after", "x-ratelimit-reset"):
        wait = _seconds(headers.get(name, ""))
        if wait is not None:
            return wait
    return None


def _seconds(text: str) -> float | None:
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    else:
        if wait > 1e9:  # an epoch time, as some proxies send it
            wait -= time.time()
    return max(0.0, wait) if math.isfinite(wait) else None
