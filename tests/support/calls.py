"""Calls for tests of what becomes of them."""

from __future__ import annotations

import json
import time

from op_logging._encoding import dumps
from op_logging._rendered import NO_HEADERS, Counts, Kind, Rare, RenderedCall, kind_of


class Named(RenderedCall):
    """A call that is called as a test says.

    Args:
        name: What it is called.
        profile: What its order is kept by.
        options: Of its kind: ``barrier``, ``counter``, ``at_most_once``.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str, profile: str | None = "u1", **options: bool) -> None:
        kind = Kind("identify" if options.get("barrier") else "track", **options)
        body = json.dumps({"type": kind.type, "payload": {"name": name}}).encode()
        rare = Rare(writes=profile if kind.barrier else None)
        super().__init__(kind, body, time.time(), ("app.py", 1), profile=profile, rare=rare)
        self._name = name

    @property
    def label(self) -> str:
        """What it is called."""
        return self._name


def counter(
    amount: float, name: str = "visits", profile: str = "u1", *, generation: int = 0
) -> RenderedCall:
    """Return a counter as it is rendered; a decrement for an amount below 0."""
    kind = "increment" if amount > 0 else "decrement"
    payload = {"profileId": profile, "property": name, "value": abs(amount)}
    call = {"type": kind, "payload": payload}
    return RenderedCall(
        kind_of(call),
        dumps(call),
        time.time(),
        ("app.py", 1),
        profile=profile,
        rare=Rare(NO_HEADERS, Counts(profile, profile, name, amount), profile),
        generation=generation,
    )
