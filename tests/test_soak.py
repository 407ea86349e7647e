"""A small part of the soak: nothing grows; ``python -m tests.soak`` runs all of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.loopback import Server, serving
from soak.run import handlers, stream

MEBIBYTE = 2**20


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    """A server in a process of its own, as the benchmarks have it."""
    with serving() as (server, _):
        yield server


def test_a_long_stream_of_events_leaves_nothing_behind(plain: Server) -> None:
    """Once it has warmed up: memory, threads and open files stay what they are."""
    first, *others = stream(plain.url, 30_000, 5)
    assert max(sample.memory for sample in others) < first.memory + 12 * MEBIBYTE
    assert max(sample.threads for sample in others) <= first.threads + 4
    assert max(sample.descriptors for sample in others) <= first.descriptors + 4


def test_handlers_that_are_opened_and_closed_leave_nothing_behind(plain: Server) -> None:
    """Each with a client, threads and connections of its own."""
    first, *others = handlers(plain.url, 100, 5)
    assert max(sample.memory for sample in others) < first.memory + 4 * MEBIBYTE
    assert {sample.threads for sample in others} == {first.threads}
    assert {sample.descriptors for sample in others} == {first.descriptors}
