"""A few seconds of chaos; ``python -m tests.chaos`` runs it for long."""

from __future__ import annotations

import logging
from random import SystemRandom

import pytest
from chaos.run import Chaos

SEEDS = [1, 2, SystemRandom().randrange(10**6)]
"""Two that are always the same, and one by chance: its name tells which."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # it forks while threads run: that is it
@pytest.mark.parametrize("seed", SEEDS)
def test_the_promises_hold_in_any_weather(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Threads log, handlers come and go, processes fork; the server does what it likes."""
    caplog.set_level(logging.CRITICAL)
    found = Chaos(seed, seconds=3.0).run()
    assert found["events"]
    assert found["children"]
    assert found["retried"]
