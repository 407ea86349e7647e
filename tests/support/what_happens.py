"""What happens to a call that is answered in one way first and taken after that."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from op_logging import Increment, OpenPanelClient, Revenue, Track

from .clients import client_of
from .scripted_server import OK, Answer, Request, ScriptedServer

Call = Track | Revenue | Increment
QUICK: dict[str, Any] = {"max_backoff": 0.05, "timeout": (5.0, 5.0), "max_connections": 1}
CALLS: list[Call] = [Track("event"), Revenue(100), Increment("u1", "visits")]
"""One that may arrive twice, and two that must not."""
IDS = ["event", "revenue", "counter"]


class Meaning(enum.Enum):
    """What an answer means for the call."""

    DELIVERED = "delivered"
    REJECTED = "refused for good"
    AGAIN = "surely not processed, or nobody's call gets through: sent again"
    AMBIGUOUS = "perhaps processed: sent again if a double does no harm"


def check(
    call: Call,
    meaning: Meaning,
    reason: str = "",
    *,
    answer: Answer | None = None,
    on_server: Callable[[ScriptedServer], None] | None = None,
    seen: int = 1,
    **options: Any,
) -> None:
    """Send a call to a server that misbehaves at the first attempt, and see what becomes of it.

    Args:
        call: The call.
        meaning: What the misbehaviour means.
        reason: What a loss is counted as.
        answer: The answer to the first request; then all is well.
        on_server: Makes the server misbehave in another way, once.
        seen: How many requests the server reads of the first attempt: one or none.
        options: Options of the client.
    """

    def script(request: Request) -> Answer:
        return answer if answer is not None and request.number == 1 else OK

    with ScriptedServer(script) as server, client_of(server.url, **{**QUICK, **options}) as client:
        if on_server is not None:
            on_server(server)
        client.submit(call)
        assert client.flush(10)
        counts = not isinstance(call, Track)
        may_repeat = meaning is Meaning.AGAIN or (meaning is Meaning.AMBIGUOUS and not counts)
        delivered = may_repeat or meaning is Meaning.DELIVERED
        # What is counted once more than it was retried was tried in two places.
        assert client.stats().retried == int(may_repeat)
        server.wait_for(seen + int(may_repeat))  # it may read later than the client gives up
        assert len(server.requests) == seen + int(may_repeat)
        assert_became(client, delivered=delivered, meaning=meaning, reason=reason)
        goes_on(client, server)


def assert_became(
    client: OpenPanelClient, *, delivered: bool, meaning: Meaning, reason: str
) -> None:
    """Check the end of the client's only call."""
    stats = client.stats()
    rejected = meaning is Meaning.REJECTED
    lost = {} if delivered else {reason if rejected else "unconfirmed": 1}
    assert dict(stats.reasons) == lost
    found = (stats.accepted, stats.delivered, stats.rejected, stats.dropped)
    assert found == (1, int(delivered), int(rejected), int(not delivered and not rejected))


def goes_on(client: OpenPanelClient, server: ScriptedServer) -> None:
    """Check that the next call arrives, once, and is answered by its own answer."""
    before, delivered = len(server.requests), client.stats().delivered
    client.submit(Track("the next"))
    assert client.flush(10)
    assert server.names[before:] == ["the next"]
    assert client.stats().delivered == delivered + 1


def assert_goes_another_way(call: Call, client: OpenPanelClient, server: ScriptedServer) -> None:
    """Check that the client's second call arrives on a new connection, once and at once."""
    client.submit(call)
    assert client.flush(10)
    stats = client.stats()
    assert (stats.delivered, stats.dropped, stats.retried) == (2, 0, 0)
    assert [request.connection for request in server.requests] == [1, 2]
