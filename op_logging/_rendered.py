"""A call on its way to the server: its bytes, and what delivery has to know of it.

A record becomes a `RenderedCall` in the sender's thread. From then on only the client
changes it, under its lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Captured", "RenderedCall", "UnsendableError"]


class UnsendableError(Exception):
    """An event that cannot become a call.

    Args:
        reason: A short name for the statistics, such as ``invalid``.
        words: What was wrong, never the value of it.
    """

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


@dataclass(eq=False)
class RenderedCall:
    """One API call, ready to be posted.

    Attributes:
        type: The API's name of the call, such as ``track``.
        label: What to call it in a message, such as ``track order_paid``. No personal data.
        body: The request's body.
        headers: The headers of this call alone: visitor's address and user agent.
        profile: What its order is kept by; None where no order is promised.
        barrier: Whether it leaves alone, after what was logged before it for its profile.
        at_most_once: Whether a double would do harm (counters, revenue).
        counter: Whether it is an increment or a decrement.
        created: When it was logged, in seconds since the epoch.
        source: Which line of code logged it, ``path:line``.
        notes: What was left out of it and why, to be said.
        generation: Which wait it came before; see ``_inbox``.
        attempts: How many times it was sent.
        server_errors: How many of them were answered with a 5xx.
        delivered_before: How many calls of the client had been delivered at its first 5xx.
        first_unknown: When its profile was unknown for the first time (monotonic clock).
        started: When the last attempt began (monotonic clock).
    """

    type: str
    label: str
    body: bytes
    headers: dict[str, str]
    profile: str | None
    barrier: bool
    at_most_once: bool
    counter: bool
    created: float
    source: str
    notes: tuple[str, ...] = ()
    generation: int = 0
    attempts: int = 0
    server_errors: int = 0
    delivered_before: int = 0
    first_unknown: float = 0.0
    started: float = 0.0


class Captured(Protocol):
    """What the caller hands over: frozen, to be rendered later in the sender's thread.

    Attributes:
        generation: Set by the inbox.
    """

    generation: int

    @property
    def created(self) -> float:
        """When it was logged, in seconds since the epoch."""

    @property
    def source(self) -> str:
        """Which line of code logged it, ``path:line``."""

    def render(self) -> RenderedCall:
        """Build the call.

        Raises:
            UnsendableError: If no call can be made of it.
        """
